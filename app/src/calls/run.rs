//! Runs, the queue and the nodes.

use super::UiError;
use iglu_api::{
    member::CreatedInvitation,
    node::NodeRow,
    run::{LogFound, LogPart, RunDetail, RunRow},
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::GetUrl;

/// Lines that a run's page begins with.
#[cfg(feature = "ssr")]
const LAST: u64 = 300;

/// Runs of a builder on one page.
#[cfg(feature = "ssr")]
const SHOWN: u32 = 50;

/// What the page of a run begins with: all about it, and the end of its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBegun {
    pub detail: RunDetail,
    pub log: LogPart,
}

/// Some runs of a builder, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsShown {
    pub runs: Vec<RunRow>,
    /// Whether there are older ones.
    pub has_more: bool,
}

/// The nodes, and the secret of one that was just added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePage {
    pub nodes: Vec<NodeRow>,
    /// Where nodes find this server.
    pub server: String,
    /// The name and the secret of a node that was just added.
    pub created: Option<CreatedInvitation>,
}

/// A run with the end of its log.
#[server(input = GetUrl)]
pub async fn run_page(id: u64) -> Result<RunBegun, UiError> {
    let call = super::context::Call::here()?;
    let detail = call.core.run().get(&call.caller, id).await?;
    let first = detail.line_count.saturating_sub(LAST);
    let log = call.core.run().log(&call.caller, id, first, LAST).await?;
    Ok(RunBegun { detail, log })
}

/// All about a run but its log.
#[server(input = GetUrl)]
pub async fn run_get(id: u64) -> Result<RunDetail, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.run().get(&call.caller, id).await?)
}

/// Lines of a run's log.
#[server(input = GetUrl)]
pub async fn run_log(id: u64, first: u64, most: u64) -> Result<LogPart, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.run().log(&call.caller, id, first, most).await?)
}

/// The lines of a run's log that have a text, or that a derivation wrote.
#[server(input = GetUrl)]
pub async fn run_find(id: u64, text: String, #[server(default)] derivation: Option<u32>) -> Result<LogFound, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.run().find(&call.caller, id, &text, derivation, 0).await?)
}

/// Runs of a builder, the newest first, from before this one on.
#[server(input = GetUrl)]
pub async fn run_list(builder: String, #[server(default)] before: Option<u64>) -> Result<RunsShown, UiError> {
    let call = super::context::Call::here()?;
    let mut runs = call.core.run().list(&call.caller, &builder, before, SHOWN + 1).await?;
    let has_more = runs.len() > SHOWN as usize;
    runs.truncate(SHOWN as usize);
    Ok(RunsShown { runs, has_more })
}

/// Puts a run of a builder into the queue, and leads to its page.
#[server]
pub async fn run_start(builder: String, #[server(default)] reference: String) -> Result<(), UiError> {
    use iglu_api::{Reference, run::RunStart};
    let call = super::context::Call::here()?;
    let reference = match reference.trim() {
        "" => None,
        text => Some(
            Reference::parse(text)
                .map_err(|error| UiError::Invalid { field: "reference".to_owned(), message: error.to_string() })?,
        ),
    };
    let id = call.core.run().start(&call.caller, &builder, &RunStart { reference, priority: 0 }).await?;
    leptos_axum::redirect(&format!("/runs/{id}"));
    Ok(())
}

/// Ends a run.
#[server]
pub async fn run_cancel(id: u64) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.run().cancel(&call.caller, id).await?)
}

/// The runs that wait or are under way, in the order of the queue.
#[server(input = GetUrl)]
pub async fn queue_get() -> Result<Vec<RunRow>, UiError> {
    let call = super::context::Call::logged_in()?;
    Ok(call.core.run().queue(&call.caller).await?)
}

/// The nodes.
#[server(input = GetUrl)]
pub async fn node_list() -> Result<NodePage, UiError> {
    let call = super::context::Call::here()?;
    let nodes = call.core.node().list(&call.caller).await?;
    Ok(NodePage { nodes, server: call.core.public_url(), created: call.take_created_invitation() })
}

/// Adds a node; its secret is shown once, on the page that lists them.
#[server]
pub async fn node_create(name: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let name = name.trim().to_owned();
    let secret = call.core.node().create(&call.caller, &name).await?;
    call.keep_created_invitation(&CreatedInvitation { note: name, link: secret });
    Ok(())
}

/// Lets a node take nothing more, or take again where `to` is `resume`.
#[server]
pub async fn node_drain(node: String, to: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.node().drain(&call.caller, &node, to != "resume").await?)
}

/// Removes a node.
#[server]
pub async fn node_remove(node: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.node().remove(&call.caller, &node).await?)
}
