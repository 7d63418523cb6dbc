//! `iglu admin`: what scripts need without a browser. It opens the same database that a running server uses; the server takes
//! changes over within a second.

mod keeping;
mod people;

use crate::{boot, config::StoreSettings};
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use iglu_api::{
    CacheName,
    cache::{CacheChange, CacheCreate, Signing, Visibility},
    key::KeyState,
};
use iglu_core::{Caller, Core, Limits};
use serde_json::{Value, json};
use std::io::Read;
use zeroize::Zeroizing;

#[derive(Subcommand)]
enum Admin {
    /// People who log in
    #[command(subcommand)]
    User(people::UserCommand),
    /// Caches
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Signing keys of caches
    #[command(subcommand)]
    Key(KeyCommand),
    /// What caches keep, and for how long
    #[command(subcommand)]
    Retention(keeping::RetentionCommand),
    /// What may be pushed to caches
    #[command(subcommand)]
    Limits(keeping::LimitsCommand),
    /// Names for paths that stay
    #[command(subcommand)]
    Pin(keeping::PinCommand),
    /// Paths of caches
    #[command(subcommand)]
    Path(keeping::PathCommand),
    /// Tokens for clients and scripts
    #[command(subcommand)]
    Token(people::TokenCommand),
    /// Who may do what in caches
    #[command(subcommand)]
    Member(people::MemberCommand),
    /// Print a new one-time set-up link; earlier ones end
    SetupLink,
}

/// `iglu admin …`
#[derive(Args)]
pub struct AdminCommand {
    #[command(subcommand)]
    what: Admin,
    /// Print one line of JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum CacheCommand {
    /// Make a cache with a fresh signing key
    Create {
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
    Show { name: String },
    /// Change what is named, and nothing else
    Set {
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
    },
    /// Remove a cache and all its paths, for ever
    Remove {
        name: String,
        /// Really
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Seen {
    Public,
    Private,
}

#[derive(Clone, Copy, ValueEnum)]
enum Closures {
    Strict,
    Lenient,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Print the keys of a cache and what each is good for
    List { cache: String },
    /// Make one more key; it signs what comes, and by and by what is there
    Add { cache: String },
    /// Add a key that signed for this cache elsewhere: `name:base64` from standard input
    Import { cache: String },
    /// Take a key out of use; what it signed stays signed
    Retire { cache: String, name: String },
    /// Register the public key (base64) of somebody who signs before pushing
    Register { cache: String, public_key: String },
}

pub async fn run(store: StoreSettings, command: AdminCommand) -> anyhow::Result<()> {
    let core = boot::open_core(&store, Limits::default(), None).await?;
    let done = perform(&core, command.what).await;
    core.close().await?;
    let (json, text) = done?;
    println!("{}", if command.json { json.to_string() } else { text });
    Ok(())
}

/// What to print, for programs and for people.
async fn perform(core: &Core, command: Admin) -> anyhow::Result<(Value, String)> {
    let caller = Caller::Operator;
    match command {
        Admin::User(command) => people::user(core, command).await,
        Admin::Member(command) => people::member(core, command).await,
        Admin::Token(command) => people::token(core, command).await,
        Admin::Cache(CacheCommand::Create { name, private, priority, client_signed }) => {
            let visibility = if private { Visibility::Private } else { Visibility::Public };
            let signing = if client_signed { Signing::Client } else { Signing::Server };
            let create = CacheCreate { priority, signing, ..CacheCreate::new(name.clone(), visibility) };
            core.cache().create(&caller, &create).await?;
            show_cache(core, name.as_str()).await
        }
        Admin::Cache(CacheCommand::Show { name }) => show_cache(core, &name).await,
        Admin::Cache(CacheCommand::Set { name, visibility, priority, closures, upstream }) => {
            let change = CacheChange {
                visibility: visibility.map(|seen| match seen {
                    Seen::Public => Visibility::Public,
                    Seen::Private => Visibility::Private,
                }),
                priority,
                is_lenient: closures.map(|closures| matches!(closures, Closures::Lenient)),
                client_filter_keys: None,
                upstreams: match &upstream[..] {
                    [] => None,
                    [none] if none == "none" => Some(Vec::new()),
                    _ => Some(upstream),
                },
            };
            core.cache().change(&caller, &name, &change).await?;
            show_cache(core, &name).await
        }
        Admin::Cache(CacheCommand::Remove { name, .. }) => {
            core.cache().remove(&caller, &name).await?;
            Ok((json!({ "removed": name }), format!("cache {name} is removed")))
        }
        Admin::Key(command) => {
            let cache = match &command {
                KeyCommand::List { cache } => cache,
                KeyCommand::Add { cache } => {
                    core.key().add(&caller, cache).await?;
                    cache
                }
                KeyCommand::Import { cache } => {
                    let mut secret = Zeroizing::new(String::new());
                    std::io::stdin().take(4096).read_to_string(&mut secret).context("reading the key")?;
                    core.key().import(&caller, cache, &secret).await?;
                    cache
                }
                KeyCommand::Retire { cache, name } => {
                    core.key().retire(&caller, cache, name).await?;
                    cache
                }
                KeyCommand::Register { cache, public_key } => {
                    core.key().register(&caller, cache, public_key).await?;
                    cache
                }
            };
            let keys = core.key().list(&caller, cache).await?;
            let lines = keys.iter().map(|key| format!("{}  {}", key.public_key, key_state(&key.state)));
            Ok((json!({ "keys": keys }), lines.collect::<Vec<_>>().join("\n")))
        }
        Admin::Retention(command) => keeping::retention(core, command).await,
        Admin::Limits(command) => keeping::limits(core, command).await,
        Admin::Pin(command) => keeping::pin(core, command).await,
        Admin::Path(command) => keeping::path(core, command).await,
        Admin::SetupLink => {
            let link = core.setup().link_create().await?;
            Ok((json!({ "link": link }), link))
        }
    }
}

fn key_state(state: &KeyState) -> String {
    match state {
        KeyState::Active => "signs".to_owned(),
        KeyState::Signing { paths_left } => format!("signs, {paths_left} older paths left"),
        KeyState::Retired { at } => format!("retired {}", &at.to_string()[..10]),
        KeyState::Client { registered_by } => format!("signs elsewhere, registered by {registered_by}"),
    }
}

async fn show_cache(core: &Core, name: &str) -> anyhow::Result<(Value, String)> {
    let cache = core.cache().get(&Caller::Operator, name).await?;
    let json = json!({
        "name": cache.summary.name,
        "uri": cache.uri,
        "public_keys": cache.public_keys,
        "visibility": cache.summary.visibility,
        "priority": cache.summary.priority,
        "closures": if cache.is_lenient { "lenient" } else { "strict" },
        "upstreams": cache.upstreams,
        "paths": cache.summary.path_count,
        "bytes": cache.summary.stored_bytes,
    });
    let text = format!("{}\n{}\n{}", cache.summary.name, cache.uri, cache.public_keys.join("\n"));
    Ok((json, text))
}
