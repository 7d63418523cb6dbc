//! nginx before several servers, each request to the next of them, as `docs/operations/replicas.md` has it.

use crate::nginx::{Nginx, Part};

/// A running nginx.
#[derive(Debug)]
pub struct Balancer(Nginx);

impl Balancer {
    /// Listens on `http://127.0.0.1:PORT` before `servers`, each `host:port`.
    pub async fn start(port: u16, servers: &[String]) -> anyhow::Result<Self> {
        Self::told(port, servers, "").await
    }

    /// One that takes no larger bodies than nginx does where nobody told it to: 1 MiB.
    pub async fn with_small_bodies(port: u16, server: &str) -> anyhow::Result<Self> {
        Self::told(port, &[server.to_owned()], "client_max_body_size 1m;").await
    }

    async fn told(port: u16, servers: &[String], more: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("iglu-balancer-").tempdir()?;
        let servers: String = servers.iter().map(|server| format!("server {server} fail_timeout=1s; ")).collect();
        let part = Part {
            before: &format!(
                "log_format seen '$status $upstream_addr $upstream_status $request_time $request_method $request_uri';\n    \
                 upstream iglu {{ {servers}}}"
            ),
            server: &format!("listen 127.0.0.1:{port} backlog=4096;"),
            proxy: &format!("proxy_pass http://iglu; proxy_connect_timeout 2s; {more}"),
        };
        Ok(Self(Nginx::start(port, folder, part).await?))
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.0.port())
    }

    /// For each request the status, the server that answered last, and how long it took in seconds.
    pub fn accesses(&self) -> Vec<String> {
        self.0.accesses().lines().map(str::to_owned).collect()
    }
}
