//! nginx before the server, as operators have it: ends TLS, speaks HTTP/2. `docs/operations/reverse-proxy.md` explains the settings.

use anyhow::Context as _;

use crate::certificate;
use crate::nginx::{Nginx, Part};

/// A running nginx.
#[derive(Debug)]
pub struct TlsProxy(Nginx);

/// One line of nginx's access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `HTTP/2.0` or `HTTP/1.1`.
    pub protocol: String,
    /// Counts nginx's connections.
    pub connection: u64,
    /// The answer's status.
    pub status: u16,
    /// `METHOD TARGET` as the client sent it.
    pub request: String,
}

impl TlsProxy {
    /// Listens on `https://localhost:PORT` before `upstream`, which is `host:port`.
    pub async fn start(port: u16, upstream: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("iglu-tls-proxy-").tempdir()?;
        certificate::authority(folder.path())?;
        certificate::for_localhost(folder.path(), 2)?;
        let part = Part {
            before: "log_format seen '$server_protocol $connection $status $request_method $request_uri';",
            server: &format!(
                "listen 127.0.0.1:{port} ssl http2; server_name localhost; ssl_certificate server.pem; \
                 ssl_certificate_key server.key; ssl_protocols TLSv1.2 TLSv1.3;"
            ),
            proxy: &format!("proxy_pass http://{upstream};"),
        };
        Ok(Self(Nginx::start(port, folder, part).await?))
    }

    /// `https://localhost:PORT`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.0.port())
    }

    /// The certificate of the authority that signed nginx's, as PEM.
    pub fn authority(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.0.folder().join("ca.pem"))?)
    }

    /// The requests so far.
    pub fn accesses(&self) -> anyhow::Result<Vec<Access>> {
        let one = |line: &str| {
            let mut fields = line.splitn(4, ' ');
            Some(Access {
                protocol: fields.next()?.to_owned(),
                connection: fields.next()?.parse().ok()?,
                status: fields.next()?.parse().ok()?,
                request: fields.next()?.to_owned(),
            })
        };
        self.0.accesses().lines().map(|line| one(line).with_context(|| format!("nginx logged {line:?}"))).collect()
    }

    /// What nginx had to say; also warns of each body that it put into a file.
    pub fn errors(&self) -> String {
        self.0.errors()
    }
}
