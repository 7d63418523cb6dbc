//! `iglu admin`: what the operator does without a browser or a token. It opens the same database that a running server uses; the
//! server takes changes over within a second.

use crate::{
    boot,
    settings::StoreSettings,
    verb::{Api, Verb, print},
};
use clap::{Args, Subcommand};
use iglu_core::{Core, Limits};
use serde_json::{Value, json};

#[derive(Subcommand)]
enum Admin {
    #[command(flatten)]
    Verb(Verb),
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

pub async fn run(store: StoreSettings, command: AdminCommand) -> anyhow::Result<()> {
    let core = boot::open_core(&store, Limits::default(), None).await?;
    let done = perform(&core, command.what).await;
    core.close().await?;
    let (json, text) = done?;
    print(command.json, &json, &text);
    Ok(())
}

async fn perform(core: &Core, command: Admin) -> anyhow::Result<(Value, String)> {
    match command {
        Admin::Verb(verb) => verb.perform(&Api::here(core)).await,
        Admin::SetupLink => {
            let link = core.setup().link_create().await?;
            Ok((json!({ "link": link }), link))
        }
    }
}
