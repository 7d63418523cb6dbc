//! `iglu admin`: what the operator does without a browser or a token. It opens the same database that a running server uses; the
//! server takes changes over within a second.

use crate::{
    boot,
    settings::{MASTER_KEY, StoreSettings},
    verb::{Api, Verb, print},
};
use anyhow::bail;
use clap::{Args, Subcommand};
use iglu_core::{
    Core, Limits,
    clock::Clock,
    key_loss::{self, LostKeys},
};
use serde_json::{Value, json};

#[derive(Subcommand)]
enum Admin {
    #[command(flatten)]
    Verb(Verb),
    /// Print a new one-time set-up link; earlier ones end
    SetupLink,
    /// Where the master key is lost: retire the signing keys that it does not open, and make new ones. Stop every server first
    ReplaceKeys {
        /// Do it, and not only say which keys these are
        #[arg(long)]
        yes: bool,
    },
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

pub async fn run(store: StoreSettings, command: AdminCommand) -> anyhow::Result<()> {
    let (json, text) = match command.what {
        Admin::Verb(verb) => with_core(&store, async |core| verb.perform(&Api::here(core)).await).await?,
        Admin::SetupLink => {
            let link = with_core(&store, async |core| Ok(core.setup().link_replace().await?)).await?;
            (json!({ "link": link }), link)
        }
        Admin::ReplaceKeys { yes } => replace_keys(&store, yes).await?,
    };
    print(command.json, &json, &text);
    Ok(())
}

async fn with_core<T>(store: &StoreSettings, does: impl AsyncFnOnce(&Core) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let core = boot::open_core(store, Limits::default(), None).await?;
    let done = does(&core).await;
    core.close().await?;
    done
}

/// Does not open the core, which is not possible where this is needed.
async fn replace_keys(store: &StoreSettings, yes: bool) -> anyhow::Result<(Value, String)> {
    boot::require_database(store)?;
    let _alone = boot::alone(store)?;
    let place = store.master_key_place();
    if !store.has_master_key() {
        // One that is made here may be another than the server's, whose keys would all be taken for lost.
        bail!(
            "there is no master key {place}. If the server gets one from elsewhere, by {MASTER_KEY} or --master-key-file, give it here \
             too. If no copy of it is anywhere, make another one: (umask 077; openssl rand -hex 32 > {place})"
        );
    }
    let master = store.master_key()?;
    let found = match yes {
        true => key_loss::replace(&store.location(), store.opening(), &master, Clock::default().now()).await?,
        false => key_loss::find(&store.location(), &master).await?,
    };
    let mut lines: Vec<String> = found
        .iter()
        .map(|LostKeys { cache, lost, public_key }| {
            let lost = lost.join(", ");
            match public_key {
                Some(key) => format!("{cache}: retired {lost}; machines have to trust {key}"),
                None if yes => format!("{cache}: retired {lost}; its other keys go on"),
                None => format!("{cache}: {lost}"),
            }
        })
        .collect();
    if !found.is_empty() && !yes {
        lines.insert(0, format!("The master key {place} does not open:"));
    }
    lines.push(match (found.is_empty(), yes) {
        (true, _) => format!("The master key {place} opens every signing key. Nothing was to be done."),
        (false, true) => {
            "Start the servers, each with this master key: what is there is signed again by and by.".to_owned()
        }
        (false, false) => {
            "Nothing was changed. If no copy of the right master key is anywhere, --yes retires these keys.".to_owned()
        }
    });
    Ok((json!({ "caches": found, "is_done": yes }), lines.join("\n")))
}
