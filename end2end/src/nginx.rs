//! nginx before one server or several, as operators have it. Owns its process and its folder; both go when it is dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// What every nginx is told, in the block `http` with what `docs/operations/reverse-proxy.md` explains. `{before}` goes before the
/// server, `{server}` is what else it says, `{proxy}` what else is said of whom it asks.
const CONFIG: &str = r#"
# Whoever started nginx owns the folder: its workers have to be the same. Of no effect unless that is root.
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
events { worker_connections 4096; }
http {
    {before}
    access_log access.log seen;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        {server}
        client_max_body_size 0;
        client_body_buffer_size 1m;
        keepalive_requests 1000000;
        keepalive_time 1d;
        keepalive_timeout 300s;
        send_timeout 3600s;
        location / {
            {proxy}
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_read_timeout 3600s;
            proxy_send_timeout 3600s;
        }
    }
}
"#;

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    folder: TempDir,
    child: Child,
}

/// What one nginx is told besides.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// In the block `http`; has to define the log format `seen`.
    pub before: &'a str,
    /// In the block `server`.
    pub server: &'a str,
    /// In the block `location`.
    pub proxy: &'a str,
}

impl Nginx {
    /// Starts it in a folder with what the configuration names, and waits until it listens on the port.
    pub(crate) async fn start(port: u16, folder: TempDir, part: Part<'_>) -> anyhow::Result<Self> {
        let config =
            CONFIG.replace("{before}", part.before).replace("{server}", part.server).replace("{proxy}", part.proxy);
        std::fs::write(folder.path().join("nginx.conf"), config)?;
        let mut command = Command::new("nginx");
        // Debian keeps it where only root looks.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut nginx = Self { port, folder, child: child.context("cannot start nginx")? };
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = nginx.child.try_wait()? {
                bail!("nginx ended at once: {status}\n{}", nginx.errors());
            }
            if Instant::now() > deadline {
                bail!("nginx does not listen after 10 s\n{}", nginx.errors());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(nginx)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its files lie in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The access log so far, in the format `seen`. nginx writes a line when the answer is sent.
    pub fn accesses(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }

    /// What nginx had to say; also warns of each body that it put into a file.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // nginx's first process ends the others when it is asked to, which a kill would leave behind.
        let pid = rustix::process::Pid::from_child(&self.child);
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- nginx's log:\n{}", self.errors());
        }
    }
}
