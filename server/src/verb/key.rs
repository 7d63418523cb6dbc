//! `key`: who vouches for the paths of a cache.

use super::{
    Said,
    api::{Api, segment},
};
use anyhow::Context;
use clap::Subcommand;
use iglu_api::key::{KeyAdd, KeyRow, KeyState};
use serde_json::json;
use std::io::Read;
use zeroize::Zeroizing;

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Print the keys of a cache and what each is good for
    List {
        /// Name of the cache
        cache: String,
    },
    /// Make one more key; it signs what comes, and by and by what is there
    Add {
        /// Name of the cache
        cache: String,
    },
    /// Add a key that signed for this cache elsewhere: `name:base64` from standard input
    Import {
        /// Name of the cache
        cache: String,
    },
    /// Take a key out of use; what it signed stays signed
    Retire {
        /// Name of the cache
        cache: String,
        /// Name of the key
        name: String,
    },
    /// Register the public key (base64) of somebody who signs before pushing
    Register {
        /// Name of the cache
        cache: String,
        /// The public key, in base64
        public_key: String,
    },
}

pub async fn perform(api: &Api, command: KeyCommand) -> Said {
    let of = |cache: &str| format!("caches/{}/keys", segment(cache));
    let keys: Vec<KeyRow> = match command {
        KeyCommand::List { cache } => api.get(&of(&cache)).await?,
        KeyCommand::Add { cache } => api.post(&of(&cache), KeyAdd::Fresh {}).await?,
        KeyCommand::Import { cache } => {
            let mut secret = Zeroizing::new(String::new());
            std::io::stdin().take(4096).read_to_string(&mut secret).context("reading the key")?;
            api.post(&of(&cache), KeyAdd::Secret(secret.to_string())).await?
        }
        KeyCommand::Register { cache, public_key } => api.post(&of(&cache), KeyAdd::Public(public_key)).await?,
        KeyCommand::Retire { cache, name } => {
            let () = api.delete(&format!("{}/{}", of(&cache), segment(&name))).await?;
            api.get(&of(&cache)).await?
        }
    };
    let lines = keys.iter().map(|key| format!("{}  {}", key.public_key, in_words(&key.state)));
    Ok((json!({ "keys": keys }), lines.collect::<Vec<_>>().join("\n")))
}

fn in_words(state: &KeyState) -> String {
    match state {
        KeyState::Active => "signs".to_owned(),
        KeyState::Signing { paths_left } => format!("signs, {paths_left} older paths left"),
        KeyState::Retired { at } => format!("retired {}", &at.to_string()[..10]),
        KeyState::Client { registered_by } => format!("signs elsewhere, registered by {registered_by}"),
    }
}
