//! The server's own node: the same program as any other node, started beside the server and ended with it. It gets nothing of the
//! server but an address and its secret, on standard input.

use crate::settings::{NodeSettings, StoreSettings};
use anyhow::Context;
use iglu_builder::HOPELESS;
use iglu_core::Core;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, sync::watch};

/// How long to wait before a node that ended is started again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a node may take to end the runs that it has.
const ENDING: Duration = Duration::from_secs(12);
/// What the node needs of the server's environment; the rest may hold secrets.
const ENVIRONMENT: [&str; 13] = [
    "HOME",
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "PATH",
    "IGLU_LOG",
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "TZ",
];

/// Keeps a node running until the server ends. Where this machine cannot build, that is said once.
pub async fn keep(
    core: Core,
    store: StoreSettings,
    settings: NodeSettings,
    server: String,
    mut stopping: watch::Receiver<bool>,
) {
    let state = settings.node_state.clone().unwrap_or_else(|| store.data().join("node"));
    loop {
        match run(&core, &settings, &state, &server, stopping.clone()).await {
            Ok(Some(HOPELESS)) => {
                tracing::warn!(
                    "this server executes no runs itself; other nodes may, and --embedded-node false ends this warning"
                );
                return;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the server's own node"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            stopped = stopping.wait_for(|stop| *stop) => {
                drop(stopped);
                return;
            }
        }
    }
}

/// One life of the node. Its exit code.
async fn run(
    core: &Core,
    settings: &NodeSettings,
    state: &PathBuf,
    server: &str,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Result<Option<u8>> {
    let secret = core.node().embedded(&name()).await.context("making its secret")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["node", "--token-file", "-", "--server"]).arg(server);
    command.arg("--node-state").arg(state);
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    };
    flag("--node-capacity", settings.node_capacity.map(|count| count.to_string()));
    flag("--node-daemon", settings.node_daemon.map(|on| on.to_string()));
    flag("--node-user", settings.node_user.map(|user| user.to_string()));
    flag("--node-nix-options", settings.node_nix_options.as_ref().map(|lines| lines.join("\n")));
    flag("--node-kubernetes-image", settings.node_kubernetes_image.clone());
    flag("--node-kubernetes-namespace", settings.node_kubernetes_namespace.clone());
    flag("--node-kubernetes-system", settings.node_kubernetes_system.clone());
    let template = settings.node_kubernetes_template.as_ref();
    flag("--node-kubernetes-template", template.map(|file| file.display().to_string()));
    // Pods are not on this machine.
    let pages = settings.node_kubernetes_image.is_some().then(|| core.public_url());
    flag("--node-kubernetes-server", settings.node_kubernetes_server.clone().or(pages));
    command.env_clear().stdin(Stdio::piped()).kill_on_drop(true);
    command.envs(ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    let mut child = command.spawn().context("starting it")?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    stdin.write_all(format!("{secret}\n").as_bytes()).await.context("telling it its secret")?;
    let stopped = async {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let status = tokio::select! {
        status = child.wait() => status?,
        () = stopped => {
            drop(stdin);
            tokio::time::timeout(ENDING, child.wait()).await.context("it did not end in time")??
        }
    };
    Ok(status.code().and_then(|code| u8::try_from(code).ok()))
}

/// The name of the node: this machine's, since each server of a database has one.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(60).collect();
    if name.is_empty() { "server".to_owned() } else { name }
}
