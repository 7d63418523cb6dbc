//! The server moto as a child process: owns it and its log. `scripts/python-env.sh` makes the Python environment that it runs in.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Method;
use tempfile::NamedTempFile;

use crate::http::{Credentials, Http};

#[derive(Debug)]
pub(super) struct Moto {
    child: Child,
    log: NamedTempFile,
}

impl Moto {
    /// Starts it and makes the bucket, which is all that it then has.
    pub(super) async fn start(port: u16, bucket: &str) -> anyhow::Result<Self> {
        let log = tempfile::Builder::new().prefix("iglu-moto-").suffix(".log").tempfile()?;
        let output = log.reopen()?;
        // It ends with the thread that starts it even where the test has no time to say so.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program()?)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command.spawn().context("cannot start setpriv")?;
        let mut moto = Self { child, log };
        let http = Http::new();
        let url = format!("http://127.0.0.1:{port}/{bucket}");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(reply) = http.call(Method::PUT, &url, &Credentials::None, &[], Bytes::new()).await {
                if reply.status == 200 {
                    return Ok(moto);
                }
                bail!("moto makes no bucket: {} {}", reply.status, reply.text());
            }
            if let Some(status) = moto.child.try_wait()? {
                bail!("moto ended at once: {status}\n{}", moto.log_text());
            }
            if Instant::now() > deadline {
                bail!("moto does not answer after 60 s\n{}", moto.log_text());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) async fn uploads(port: u16, bucket: &str) -> anyhow::Result<usize> {
        let reply = Http::new().get(&format!("http://127.0.0.1:{port}/{bucket}?uploads")).await?;
        anyhow::ensure!(reply.status == 200, "moto lists no uploads: {} {}", reply.status, reply.text());
        Ok(reply.text().matches("<Upload>").count())
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.stop();
        if std::thread::panicking() {
            let log = self.log_text();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- moto's log ends with:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Where the environment is there already, this fetches nothing.
fn program() -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let script = workspace.join("scripts/python-env.sh");
    let output = Command::new(&script).arg("moto").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    if !output.status.success() {
        bail!("no moto to test with: {}: {}", script.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(Path::new(String::from_utf8(output.stdout)?.trim()).join("moto_server"))
}
