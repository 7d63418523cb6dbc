//! `iglu node` as a child process with a folder of its own; owns both and takes them down when dropped.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::{NamedTempFile, TempDir};

use crate::server::{binary, status_bytes};

/// What of this machine builds see, besides the store: its shell and what that needs.
const NIX_OPTIONS: &str = "sandbox-paths = /bin /usr /lib /lib64";

/// A node.
#[derive(Debug)]
pub struct Node {
    /// As the server knows it.
    pub name: String,
    server: String,
    secret: String,
    flags: Vec<String>,
    kubeconfig: Option<PathBuf>,
    folder: TempDir,
    log: NamedTempFile,
    child: Option<Child>,
}

impl Node {
    /// Starts a node that asks the server at this URL.
    pub fn start(name: &str, server: &str, secret: &str, flags: &[&str]) -> anyhow::Result<Self> {
        Self::with(name, server, secret, flags, None)
    }

    /// The same with the cluster that this file tells of.
    pub fn with(
        name: &str,
        server: &str,
        secret: &str,
        flags: &[&str],
        kubeconfig: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("iglu-node-").tempdir()?;
        // Runs are another user, who passes through it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let mut node = Self {
            name: name.to_owned(),
            server: server.to_owned(),
            secret: secret.to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            kubeconfig,
            folder,
            log: tempfile::Builder::new().prefix("iglu-node-log-").tempfile()?,
            child: None,
        };
        node.restart()?;
        Ok(node)
    }

    /// Its folder.
    pub fn state(&self) -> &Path {
        self.folder.path()
    }

    /// Starts again after [`Node::kill`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new().append(true).open(self.log.path())?;
        let mut command = Command::new(binary()?);
        command
            .args(["node", "--server", &self.server, "--node-nix-options", NIX_OPTIONS, "--node-state"])
            .arg(self.folder.path())
            .args(&self.flags)
            .env("IGLU_NODE_TOKEN", &self.secret)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(file) = &self.kubeconfig {
            command.env("KUBECONFIG", file);
        }
        self.child = Some(command.spawn().with_context(|| format!("{command:?}"))?);
        Ok(())
    }

    /// Waits until it said that it takes runs, so many times since it was made.
    pub async fn ready(&self, times: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.log().matches("this node takes runs").count() < times {
            if Instant::now() > deadline {
                bail!("node {} does not begin:\n{}", self.name, self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until nothing of its runs is left in its folder: it tells how a run ended, and then removes it.
    pub async fn tidy(&self) -> anyhow::Result<()> {
        let runs = self.folder.path().join("runs");
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_dir(&runs)?.count() > 0 {
            if Instant::now() > deadline {
                bail!("something stays in {}", runs.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The most memory that the node itself ever had resident, in bytes.
    pub fn peak_rss(&self) -> anyhow::Result<u64> {
        status_bytes(self.child.as_ref().context("the node is not running")?.id(), "VmHWM")
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// The processes of its runs: those that see its folder, by their command lines. The node itself sees it not as a mount.
    pub fn processes(&self) -> Vec<String> {
        let Some(name) = self.folder.path().file_name().and_then(|name| name.to_str()) else { return Vec::new() };
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let mounts = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
            if mounts.contains(name) {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                found.push(line.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect());
            }
        }
        found
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- node {} said:\n{}", self.name, self.log());
        }
    }
}
