//! Executes runs: asks a server for them, checks out, evaluates, builds with Nix, pushes what comes, and tells what happens. Speaks to
//! the server over HTTP only, whether it runs beside it or far away; knows neither its database nor its files.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod build;
mod checkout;
mod evaluate;
mod kubernetes;
mod nixlog;
mod probe;
mod process;
mod push;
mod report;
mod run;
mod runner;
mod sandbox;
mod server;

use iglu_api::node::Assignment;
use k8s_openapi::api::batch::v1::Job;
use runner::Runner;
use server::{Server, ServerError};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// A node ends so, as a process, where trying again cannot help: something is missing here, or the server does not know it.
pub const HOPELESS: u8 = 3;

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
    /// Where runs are executed, if not here.
    pub kubernetes: Option<KubernetesConfig>,
}

/// How runs become Jobs of a cluster.
#[derive(Clone)]
pub struct KubernetesConfig {
    /// With `iglu`, Nix, git and bubblewrap.
    pub image: String,
    /// That of the account that asks, where none is named.
    pub namespace: Option<String>,
    /// What every Job says besides; see [`template`].
    pub template: Job,
    /// Where pods find the server.
    pub server: String,
    /// Nix's name of the system that they are of.
    pub system: String,
    /// More lines for Nix's configuration.
    pub nix_options: Vec<String>,
}

impl KubernetesConfig {
    /// Reads what every Job says besides: a Job, in YAML or JSON, of which everything else is left out. The error is one line.
    pub fn template(text: &str) -> Result<Job, String> {
        kubernetes::parse(text)
    }

    /// Whether pods can be asked for that have this system.
    pub fn knows(system: &str) -> bool {
        kubernetes::architecture(system).is_some()
    }
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

/// Executes runs until told to stop. What is under way then ends, and the server gives it to another node.
pub async fn run_node(config: NodeConfig, mut stopping: watch::Receiver<bool>) -> Result<(), NodeError> {
    let runner = Arc::new(Runner::open(&config).await?);
    let server = Server::new(&config.server, &config.token);
    let hello = runner.hello(&config);
    let permits = Arc::new(Semaphore::new(config.capacity.max(1) as usize));
    let (ending, ended) = watch::channel(false);
    let (looking, of) = (runner.clone(), server.clone());
    let looking = tokio::spawn(async move { looking.look(&of).await });
    let begin = |assignment: Assignment, permit: Option<OwnedSemaphorePermit>| {
        let (server, runner, ended) = (server.clone(), runner.clone(), ended.clone());
        tokio::spawn(async move {
            let run = assignment.run;
            tracing::info!(run, builder = %assignment.builder, "began");
            match runner.execute(&server, assignment, ended).await {
                Ok(outcome) => tracing::info!(run, ?outcome, "ended"),
                Err(error) => tracing::warn!(run, %error, "was given up"),
            }
            drop(permit);
        });
    };
    let mut is_known = false;
    let mut was_known = false;
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let Ok(permit) = permit else { break };
        let next = async {
            if !is_known {
                let name = server.hello(&hello).await?.name;
                tracing::info!(server = config.server, systems = ?hello.systems, "this node takes runs");
                if !was_known {
                    for assignment in runner.adopt(&config, &name).await {
                        begin(assignment, permits.clone().try_acquire_owned().ok());
                    }
                    was_known = true;
                }
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
                if let Some(assignment) = assignment {
                    begin(assignment, Some(permit));
                }
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
    looking.abort();
    ending.send_replace(true);
    let all = config.capacity.max(1);
    let _ = tokio::time::timeout(Duration::from_secs(10), permits.acquire_many(all)).await;
    Ok(())
}

/// Executes one run that another node claimed, as the pod of a Job does. False where it was given up.
pub async fn run_one(
    config: NodeConfig,
    assignment: Assignment,
    stopping: watch::Receiver<bool>,
) -> Result<bool, NodeError> {
    let runner = Runner::open(&config).await?;
    let run = assignment.run;
    tracing::info!(run, builder = %assignment.builder, "began");
    let server = Server::new(&config.server, &assignment.token);
    let ended = runner.execute(&server, assignment, stopping).await;
    match &ended {
        Ok(outcome) => tracing::info!(run, ?outcome, "ended"),
        Err(error) => tracing::warn!(run, %error, "was given up"),
    }
    Ok(ended.is_ok())
}
