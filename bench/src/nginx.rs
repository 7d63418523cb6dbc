//! Debian's nginx over a folder of files, as fast as it goes: owns its configuration and its process.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use iglu_end2end::http::Http;

/// A running nginx; ended when dropped.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    child: Child,
}

/// Starts nginx over `root` with its own files in `folder`, as the user who runs this.
pub async fn start(folder: &Path, root: &Path) -> anyhow::Result<Nginx> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let folder = folder.join("nginx");
    std::fs::create_dir_all(&folder)?;
    let config = folder.join("nginx.conf");
    std::fs::write(&config, configuration(&folder, root, port, is_root()?))?;
    let log = std::fs::File::create(folder.join("stderr"))?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&config).arg("-e").arg(folder.join("error.log"));
    // Debian keeps it where only root's PATH leads.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = command.spawn().context("nginx cannot be started: is nginx-light installed?")?;
    let mut nginx = Nginx { port, child };
    let deadline = Instant::now() + Duration::from_secs(10);
    let http = Http::new();
    while http.get(&format!("{}/", nginx.url())).await.is_err() {
        if Instant::now() > deadline || nginx.child.try_wait()?.is_some() {
            bail!("nginx does not answer: {}", std::fs::read_to_string(folder.join("error.log")).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(nginx)
}

impl Nginx {
    /// Where the files are.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, workers too.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            // SIGTERM makes the master end its workers; SIGKILL would leave them behind.
            Command::new("kill").arg(self.child.id().to_string()).status()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn is_root() -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

fn configuration(folder: &Path, root: &Path, port: u16, as_root: bool) -> String {
    let (folder, root) = (folder.display(), root.display());
    // Started by root, the workers would become another user, who may not read the temporary folder.
    let user = if as_root { "user root;" } else { "" };
    format!(
        "{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 75;
  keepalive_requests 1000000000;
  open_file_cache max=2000 inactive=10m;
  open_file_cache_valid 10m;
  types {{ text/x-nix-narinfo narinfo; application/x-nix-nar zst; }}
  default_type application/octet-stream;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {root};
  }}
}}
"
    )
}
