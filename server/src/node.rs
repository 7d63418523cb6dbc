//! `iglu node`: executes runs for a server that it asks, until it is told to end.

use crate::{settings::NodeSettings, signals::Signals};
use anyhow::{Context, bail};
use clap::Args;
use iglu_api::node::Assignment;
use iglu_builder::{HOPELESS, KubernetesConfig, NodeConfig, NodeError};
use std::{
    fs,
    io::{self, BufRead, IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// Longest secret that is read, in bytes.
const LONGEST: u64 = 4096;
/// Longest file that says what to do, or how Jobs look, in bytes.
const LONGEST_FILE: u64 = 4 << 20;
/// Runs at a time where nobody said: this machine's are its own, a cluster has many.
const CAPACITY: (u32, u32) = (1, 10);

/// `iglu node …`
#[derive(Args)]
pub struct NodeCommand {
    /// The URL of the server's pages
    #[arg(long, env = "IGLU_SERVER", value_name = "URL")]
    server: String,
    /// File with the node's secret, as `iglu nodes add` printed it; - for standard input, whose end then ends the node. `IGLU_NODE_TOKEN` has one too
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with one run that another node took, to be executed here; then this ends. For the pods of Jobs
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    assignment: Option<PathBuf>,
    /// What to log: error, warn, info, debug [default: info]
    #[arg(long, env = "IGLU_LOG", value_name = "FILTER")]
    log: Option<String>,
    #[command(flatten)]
    settings: NodeSettings,
}

impl NodeCommand {
    fn token(&self) -> anyhow::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        match &self.token_file {
            Some(file) if file.as_os_str() == "-" => {
                io::stdin().lock().take(LONGEST).read_line(&mut text).context("reading the node's secret")?;
            }
            Some(file) => {
                let opened = fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
                opened
                    .take(LONGEST)
                    .read_to_string(&mut text)
                    .with_context(|| format!("reading {}", file.display()))?;
            }
            None => match std::env::var("IGLU_NODE_TOKEN") {
                Ok(token) => *text = token,
                Err(_) => {
                    bail!("which node is this? --token-file names a file with its secret, or IGLU_NODE_TOKEN has it")
                }
            },
        }
        Ok(Zeroizing::new(text.trim().to_owned()))
    }

    /// The run that is to be executed, where it is only one.
    fn assignment(&self) -> anyhow::Result<Option<Assignment>> {
        let Some(file) = &self.assignment else { return Ok(None) };
        let text = Zeroizing::new(read(file)?);
        let assignment = serde_json::from_str(&text);
        Ok(Some(assignment.with_context(|| format!("{} has no run that this version knows", file.display()))?))
    }

    fn kubernetes(&self) -> anyhow::Result<Option<KubernetesConfig>> {
        let settings = &self.settings;
        let Some(image) = settings.node_kubernetes_image.clone() else {
            let others = [
                settings.node_kubernetes_namespace.is_some(),
                settings.node_kubernetes_template.is_some(),
                settings.node_kubernetes_server.is_some(),
                settings.node_kubernetes_system.is_some(),
            ];
            if others.contains(&true) {
                bail!("runs become Jobs where --node-kubernetes-image names what their pods are made of");
            }
            return Ok(None);
        };
        let system = match &settings.node_kubernetes_system {
            Some(system) => system.clone(),
            None => format!("{}-linux", std::env::consts::ARCH),
        };
        if !KubernetesConfig::knows(&system) {
            bail!("--node-kubernetes-system {system} is no system that pods have: x86_64-linux or aarch64-linux is");
        }
        let template = match &settings.node_kubernetes_template {
            Some(file) => KubernetesConfig::template(&read(file)?)
                .map_err(|why| anyhow::anyhow!("--node-kubernetes-template {}: {why}", file.display()))?,
            None => Default::default(),
        };
        let server = settings.node_kubernetes_server.as_ref().unwrap_or(&self.server);
        Ok(Some(KubernetesConfig {
            image,
            namespace: settings.node_kubernetes_namespace.clone(),
            template,
            server: url(server)?,
            system,
            nix_options: settings.node_nix_options.clone().unwrap_or_default(),
        }))
    }

    fn config(&self) -> anyhow::Result<NodeConfig> {
        let (settings, kubernetes) = (&self.settings, self.kubernetes()?);
        let usual = if kubernetes.is_some() { CAPACITY.1 } else { CAPACITY.0 };
        Ok(NodeConfig {
            server: url(&self.server)?,
            // One run has its own.
            token: if self.assignment.is_some() { String::new() } else { self.token()?.to_string() },
            epoch: iglu_core::secret::fresh("").to_string(),
            state: settings.node_state.clone().unwrap_or_else(|| PathBuf::from("node")),
            capacity: settings.node_capacity.unwrap_or(usual).max(1),
            with_daemon: settings.node_daemon.unwrap_or_default(),
            user_id: settings.node_user.unwrap_or(65534),
            nix_options: settings.node_nix_options.clone().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes,
        })
    }
}

fn url(text: &str) -> anyhow::Result<String> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        bail!("\"{text}\" is no URL of a server: it begins with https:// or http://");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let opened = fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    opened.take(LONGEST_FILE).read_to_string(&mut text).with_context(|| format!("reading {}", file.display()))?;
    Ok(text)
}

/// Runs the node to its end.
pub async fn run(command: NodeCommand) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_new(command.log.as_deref().unwrap_or("info")).context("the log filter")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    log.with_ansi(io::stderr().is_terminal()).with_target(false).init();
    let config = command.config()?;
    let (stop, stopping) = watch::channel(false);
    let from_stdin = command.token_file.as_ref().is_some_and(|file| file.as_os_str() == "-");
    if from_stdin {
        let stop = stop.clone();
        #[allow(clippy::disallowed_methods, reason = "a read that blocks would keep the runtime from ending")]
        // Whoever started the node holds the other end; however that one ends, the node ends too.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop.send_replace(true);
        });
    }
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        signals.asked_to_stop().await;
        stop.send_replace(true);
    });
    let ended = match command.assignment()? {
        Some(assignment) => iglu_builder::run_one(config, assignment, stopping).await,
        None => iglu_builder::run_node(config, stopping).await.map(|()| true),
    };
    match ended {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error @ (NodeError::Program { .. } | NodeError::State { .. } | NodeError::Refused { .. })) => {
            eprintln!("iglu: {:#}", anyhow::Error::from(error));
            Ok(ExitCode::from(HOPELESS))
        }
    }
}
