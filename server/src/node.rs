//! `iglu node`: executes runs for a server that it asks, until it is told to end.

use crate::config::NodeSettings;
use anyhow::{Context, bail};
use clap::Args;
use iglu_builder::{NodeConfig, NodeError};
use std::{
    fs,
    io::{self, BufRead, IsTerminal, Read},
    path::PathBuf,
    process::ExitCode,
};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// Longest secret that is read, in bytes.
const LONGEST: u64 = 4096;
/// Ends so where trying again cannot help: something is missing here, or the server does not know the node.
pub const HOPELESS: u8 = 3;

/// `iglu node …`
#[derive(Args)]
pub struct NodeCommand {
    /// The URL of the server's pages
    #[arg(long, env = "IGLU_SERVER", value_name = "URL")]
    server: String,
    /// File with the node's secret, as `iglu nodes add` printed it; - for standard input, whose end then ends the node. `IGLU_NODE_TOKEN` has one too
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
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

    fn config(&self) -> anyhow::Result<NodeConfig> {
        if !self.server.starts_with("http://") && !self.server.starts_with("https://") {
            bail!("\"{}\" is no URL of a server: it begins with https:// or http://", self.server);
        }
        let settings = &self.settings;
        Ok(NodeConfig {
            server: self.server.trim_end_matches('/').to_owned(),
            token: self.token()?.to_string(),
            epoch: iglu_core::secret::fresh("").to_string(),
            state: settings.node_state.clone().unwrap_or_else(|| PathBuf::from("node")),
            capacity: settings.node_capacity.unwrap_or(1).max(1),
            with_daemon: settings.node_daemon.unwrap_or_default(),
            user_id: settings.node_user.unwrap_or(65534),
            nix_options: settings.node_nix_options.clone().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
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
    tokio::spawn(async move {
        let asked = crate::boot::asked_to_stop().await;
        if asked.is_ok() {
            stop.send_replace(true);
        }
    });
    match iglu_builder::run_node(config, stopping).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ (NodeError::Program { .. } | NodeError::State { .. } | NodeError::Refused { .. })) => {
            eprintln!("iglu: {:#}", anyhow::Error::from(error));
            Ok(ExitCode::from(HOPELESS))
        }
    }
}
