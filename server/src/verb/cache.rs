//! `cache`: make, look at, change and remove caches.

use super::{
    Said,
    api::{Api, segment},
};
use clap::{Subcommand, ValueEnum};
use iglu_api::{
    CacheName,
    cache::{CacheChange, CacheCreate, CacheDetail, CacheSummary, Signing, Visibility},
    format,
};
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum CacheCommand {
    /// Print the caches that can be seen
    List,
    /// Make a cache with a fresh signing key
    Create {
        /// Name of the cache
        name: CacheName,
        /// Pulling needs a token
        #[arg(long)]
        private: bool,
        /// Nix asks caches with a lower number first
        #[arg(long, default_value_t = CacheCreate::DEFAULT_PRIORITY)]
        priority: i32,
        /// Those who push sign with keys that they register; the server has none
        #[arg(long)]
        client_signed: bool,
    },
    /// Print name, URL and public keys
    Show {
        /// Name of the cache
        name: String,
    },
    /// Change what is named, and nothing else
    Set {
        /// Name of the cache
        name: String,
        /// Who pulls without a token
        #[arg(long)]
        visibility: Option<Seen>,
        /// Nix asks caches with a lower number first
        #[arg(long)]
        priority: Option<i32>,
        /// Whether a path is shown only when its references are here too, or without them
        #[arg(long)]
        closures: Option<Closures>,
        /// A cache that this one sits on top of: what it has need not be pushed. May be given again; `none` for none
        #[arg(long)]
        upstream: Vec<String>,
        /// A network from which the cache may be used, such as 10.0.0.0/8. May be given again; `none` for everywhere
        #[arg(long)]
        network: Vec<String>,
    },
    /// Remove a cache and all its paths, for ever
    Remove {
        /// Name of the cache
        name: String,
        /// Really
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Seen {
    Public,
    Private,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Closures {
    Strict,
    Lenient,
}

pub async fn perform(api: &Api, command: CacheCommand) -> Said {
    match command {
        CacheCommand::List => {
            let caches: Vec<CacheSummary> = api.get("caches").await?;
            let line = |cache: &CacheSummary| {
                let CacheSummary { name, visibility, path_count, stored_bytes, .. } = cache;
                format!("{name}  {}  {path_count} paths, {}", visibility.as_str(), format::bytes(*stored_bytes))
            };
            let text = caches.iter().map(line).collect::<Vec<_>>().join("\n");
            Ok((json!({ "caches": caches }), text))
        }
        CacheCommand::Create { name, private, priority, client_signed } => {
            let visibility = if private { Visibility::Private } else { Visibility::Public };
            let signing = if client_signed { Signing::Client } else { Signing::Server };
            let create = CacheCreate { priority, signing, ..CacheCreate::new(name, visibility) };
            Ok(shown(&api.post("caches", create).await?))
        }
        CacheCommand::Show { name } => Ok(shown(&api.get(&format!("caches/{}", segment(&name))).await?)),
        CacheCommand::Set { name, visibility, priority, closures, upstream, network } => {
            let change = CacheChange {
                visibility: visibility.map(|seen| match seen {
                    Seen::Public => Visibility::Public,
                    Seen::Private => Visibility::Private,
                }),
                priority,
                is_lenient: closures.map(|closures| matches!(closures, Closures::Lenient)),
                client_filter_keys: None,
                upstreams: replaced(upstream),
                networks: replaced(network),
            };
            Ok(shown(&api.patch(&format!("caches/{}", segment(&name)), change).await?))
        }
        CacheCommand::Remove { name, .. } => {
            let () = api.delete(&format!("caches/{}", segment(&name))).await?;
            Ok((json!({ "removed": name }), format!("cache {name} is removed")))
        }
    }
}

/// What a list is to be; `None` where nothing was said of it.
fn replaced(list: Vec<String>) -> Option<Vec<String>> {
    match &list[..] {
        [] => None,
        [none] if none == "none" => Some(Vec::new()),
        _ => Some(list),
    }
}

fn shown(cache: &CacheDetail) -> (Value, String) {
    let json = json!({
        "name": cache.summary.name,
        "uri": cache.uri,
        "public_keys": cache.public_keys,
        "visibility": cache.summary.visibility,
        "priority": cache.summary.priority,
        "closures": if cache.is_lenient { "lenient" } else { "strict" },
        "upstreams": cache.upstreams,
        "networks": cache.networks,
        "paths": cache.summary.path_count,
        "bytes": cache.summary.stored_bytes,
    });
    (json, format!("{}\n{}\n{}", cache.summary.name, cache.uri, cache.public_keys.join("\n")))
}
