//! Executes runs: asks a server for them, checks out, evaluates, builds with Nix, pushes what comes, and tells what happens. Speaks to
//! the server over HTTP only, whether it runs beside it or far away; knows neither its database nor its files.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod build;
mod checkout;
mod evaluate;
mod nixlog;
mod process;
mod push;
mod report;
mod run;
mod sandbox;
mod server;

use iglu_api::node::Hello;
use sandbox::Sandbox;
use server::{Server, ServerError};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};

/// How a node is set up.
#[derive(Clone)]
pub struct NodeConfig {
    /// Where the server is, without a trailing slash.
    pub server: String,
    /// The node's secret.
    pub token: String,
    /// Another one for each start.
    pub epoch: String,
    /// A folder of the node's own: its store, and runs while they last.
    pub state: PathBuf,
    /// Runs at a time.
    pub capacity: u32,
    /// Whether Nix's daemon builds; else the node has a store of its own.
    pub with_daemon: bool,
    /// Whom runs are, where the node itself is root.
    pub user_id: u32,
    /// More lines for Nix's configuration.
    pub nix_options: Vec<String>,
    pub version: String,
}

/// Why a node cannot work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("{program} is not there, or does not work: {why}")]
    Program { program: &'static str, why: String },
    #[error("the folder of the node, {folder}")]
    State { folder: String, source: std::io::Error },
    #[error("the server at {server} does not take this node: {why}")]
    Refused { server: String, why: String },
}

/// How long to wait before the server is asked again that could not be reached.
const RETRY: Duration = Duration::from_secs(2);

/// Whether this machine can execute runs at all: Nix, git and bubblewrap are there and work.
pub async fn check(config: &NodeConfig) -> Result<(), NodeError> {
    Sandbox::open(config).await.map(drop)
}

/// Executes runs until told to stop. What is under way then ends, and the server gives it to another node.
pub async fn run_node(config: NodeConfig, mut stopping: watch::Receiver<bool>) -> Result<(), NodeError> {
    let sandbox = Arc::new(Sandbox::open(&config).await?);
    let server = Server::new(&config.server, &config.token);
    let hello = Hello {
        epoch: config.epoch.clone(),
        systems: sandbox.systems().to_vec(),
        features: sandbox.features().to_vec(),
        capacity: config.capacity,
        version: config.version.clone(),
        nix_version: sandbox.nix_version().to_owned(),
    };
    let permits = Arc::new(Semaphore::new(config.capacity.max(1) as usize));
    let mut is_known = false;
    let (ending, ended) = watch::channel(false);
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let Ok(permit) = permit else { break };
        let next = async {
            if !is_known {
                server.hello(&hello).await?;
                tracing::info!(server = config.server, systems = ?hello.systems, "this node takes runs");
            }
            server.claim().await
        };
        let claimed = tokio::select! {
            claimed = next => claimed,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match claimed {
            Ok(assignment) => {
                is_known = true;
                let Some(assignment) = assignment else { continue };
                let (server, sandbox, ended) = (server.clone(), sandbox.clone(), ended.clone());
                tokio::spawn(async move {
                    tracing::info!(run = assignment.run, builder = %assignment.builder, "began");
                    let run = assignment.run;
                    match run::execute(server, &sandbox, assignment, ended).await {
                        Ok(outcome) => tracing::info!(run, ?outcome, "ended"),
                        Err(error) => tracing::warn!(run, %error, "was given up"),
                    }
                    drop(permit);
                });
            }
            Err(ServerError::Refused { status: 401 | 403, message }) => {
                return Err(NodeError::Refused { server: config.server, why: message });
            }
            Err(error) => {
                tracing::warn!(%error, "the server cannot be asked for work; trying again");
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    _ = stopping.wait_for(|stop| *stop) => break,
                }
            }
        }
    }
    // Runs under way kill what they started; their leases end with this node.
    ending.send_replace(true);
    let all = config.capacity.max(1);
    let _ = tokio::time::timeout(Duration::from_secs(10), permits.acquire_many(all)).await;
    Ok(())
}
