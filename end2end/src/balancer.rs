//! nginx before several servers, each request to the next of them, as `docs/operations/replicas.md` has it. Owns its process and its
//! folder; both go when it is dropped.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// A running nginx.
#[derive(Debug)]
pub struct Balancer {
    port: u16,
    folder: TempDir,
    child: Child,
}

impl Balancer {
    /// Listens on `http://127.0.0.1:PORT` before `servers`, each `host:port`.
    pub async fn start(port: u16, servers: &[String]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("iglu-balancer-").tempdir()?;
        std::fs::write(folder.path().join("nginx.conf"), config(port, servers))?;
        let mut command = Command::new("nginx");
        // Debian keeps it where only root looks.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut balancer = Self { port, folder, child: child.context("cannot start nginx")? };
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = balancer.child.try_wait()? {
                bail!("nginx ended at once: {status}\n{}", balancer.errors());
            }
            if Instant::now() > deadline {
                bail!("nginx does not listen after 10 s\n{}", balancer.errors());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(balancer)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// For each request the status, the server that answered last, and how long it took in seconds.
    pub fn accesses(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // nginx's first process ends the others when it is asked to, which a kill would leave behind.
        let pid = rustix::process::Pid::from_child(&self.child);
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn config(port: u16, servers: &[String]) -> String {
    let servers: String = servers.iter().map(|server| format!("        server {server} fail_timeout=1s;\n")).collect();
    format!(
        r#"
# Whoever started nginx owns the folder: its workers have to be the same. Of no effect unless that is root.
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format seen '$status $upstream_addr $upstream_status $request_time $request_method $request_uri';
    access_log access.log seen;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream iglu {{
{servers}    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        client_max_body_size 0;
        client_body_buffer_size 1m;
        keepalive_requests 1000000;
        keepalive_time 1d;
        keepalive_timeout 300s;
        send_timeout 3600s;
        location / {{
            proxy_pass http://iglu;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_connect_timeout 2s;
            proxy_read_timeout 3600s;
            proxy_send_timeout 3600s;
        }}
    }}
}}
"#
    )
}
