//! Who executes the runs of a node: this machine, or a Kubernetes cluster.

use crate::{
    NodeConfig, NodeError,
    kubernetes::Jobs,
    probe,
    run::{self, Failure},
    sandbox::Sandbox,
    server::Server,
};
use iglu_api::node::{Assignment, Hello, Outcome};
use tokio::sync::watch;

pub enum Runner {
    Local(Box<Sandbox>),
    Kubernetes(Box<Jobs>),
}

impl Runner {
    /// Looks whether runs can be executed at all.
    pub async fn open(config: &NodeConfig) -> Result<Runner, NodeError> {
        if let Some(cluster) = &config.kubernetes {
            return Ok(Runner::Kubernetes(Box::new(Jobs::connect(cluster).await?)));
        }
        Ok(Runner::Local(Box::new(Sandbox::open(config).await?)))
    }

    /// What the node says of itself.
    pub fn hello(&self, config: &NodeConfig) -> Hello {
        let (capacity, version) = (config.capacity, config.version.clone());
        match self {
            Runner::Local(sandbox) => Hello {
                epoch: config.epoch.clone(),
                systems: sandbox.systems().to_vec(),
                features: sandbox.features().to_vec(),
                capacity,
                version,
                nix_version: sandbox.nix_version().to_owned(),
            },
            Runner::Kubernetes(_) => Hello {
                // The same in every life: Jobs go on while the node that made them is away.
                epoch: "kubernetes".to_owned(),
                systems: config.kubernetes.iter().map(|cluster| cluster.system.clone()).collect(),
                features: vec!["kubernetes".to_owned()],
                capacity,
                version,
                nix_version: String::new(),
            },
        }
    }

    /// Runs that an earlier life of this node began and that go on.
    pub async fn adopt(&self, config: &NodeConfig, name: &str) -> Vec<Assignment> {
        match self {
            Runner::Local(_) => Vec::new(),
            Runner::Kubernetes(jobs) => match jobs.adopt(&config.server, name).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "Jobs of an earlier life cannot be listed; they end by themselves");
                    Vec::new()
                }
            },
        }
    }

    /// Looks at repositories for whoever asks, beside the runs. A cluster does not: a pod takes longer to begin than people wait.
    pub async fn look(&self, server: &Server) {
        match self {
            Runner::Local(sandbox) => probe::serve(server, sandbox).await,
            Runner::Kubernetes(_) => std::future::pending().await,
        }
    }

    /// Executes a run. `None` where somebody else told the server how it ended.
    pub async fn execute(
        &self,
        server: &Server,
        assignment: Assignment,
        ended: watch::Receiver<bool>,
    ) -> Result<Option<Outcome>, Failure> {
        match self {
            Runner::Local(sandbox) => run::execute(server.clone(), sandbox, assignment, ended).await.map(Some),
            Runner::Kubernetes(jobs) => jobs.execute(server, &assignment, ended).await,
        }
    }
}
