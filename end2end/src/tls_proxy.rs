//! nginx before the server, as operators have it: ends TLS, speaks HTTP/2. Owns its process, its certificates and
//! its folder; all go when it is dropped. `docs/operations/reverse-proxy.md` explains the settings.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// A running nginx.
#[derive(Debug)]
pub struct TlsProxy {
    port: u16,
    folder: TempDir,
    child: Child,
}

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
        make_certificates(folder.path())?;
        std::fs::write(folder.path().join("nginx.conf"), config(port, upstream))?;
        let mut command = nginx(folder.path());
        command.args(["-g", "daemon off;"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start nginx")?;
        let mut proxy = Self { port, folder, child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = proxy.child.try_wait()? {
                bail!("nginx ended at once: {status}\n{}", proxy.errors());
            }
            if Instant::now() > deadline {
                bail!("nginx does not listen after 10 s\n{}", proxy.errors());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(proxy)
    }

    /// `https://localhost:PORT`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The certificate of the authority that signed nginx's, as PEM.
    pub fn authority(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("ca.pem"))?)
    }

    /// The requests so far. nginx writes a line when the answer is sent.
    pub fn accesses(&self) -> anyhow::Result<Vec<Access>> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log"))?;
        let one = |line: &str| {
            let mut fields = line.splitn(4, ' ');
            Some(Access {
                protocol: fields.next()?.to_owned(),
                connection: fields.next()?.parse().ok()?,
                status: fields.next()?.parse().ok()?,
                request: fields.next()?.to_owned(),
            })
        };
        text.lines().map(|line| one(line).with_context(|| format!("nginx logged {line:?}"))).collect()
    }

    /// What nginx had to say; also warns of each body that it put into a file.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        // nginx's first process ends the others, which a kill would leave behind.
        let stopped = nginx(self.folder.path()).args(["-s", "stop"]).stderr(Stdio::null()).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- nginx's log:\n{}", self.errors());
        }
    }
}

fn nginx(folder: &Path) -> Command {
    let mut command = Command::new("nginx");
    // Debian keeps it where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "error.log"]);
    command
}

fn config(port: u16, upstream: &str) -> String {
    format!(
        r#"
# Whoever started nginx owns the folder: its workers have to be the same. Of no effect unless that is root.
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 1024; }}
http {{
    log_format seen '$server_protocol $connection $status $request_method $request_uri';
    access_log access.log seen;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        server_name localhost;
        ssl_certificate server.pem;
        ssl_certificate_key server.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        client_max_body_size 0;
        client_body_buffer_size 1m;
        keepalive_requests 1000000;
        keepalive_time 1d;
        keepalive_timeout 300s;
        send_timeout 3600s;
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_read_timeout 3600s;
            proxy_send_timeout 3600s;
        }}
    }}
}}
"#
    )
}

/// An authority and a certificate for localhost by it.
fn make_certificates(folder: &Path) -> anyhow::Result<()> {
    let key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let authority = ["-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(folder, &[&key[..], &authority].concat())?;
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let server = ["-subj", "/CN=localhost", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"];
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem"];
    openssl(folder, &[&key[..], &server, &signed].concat())
}

fn openssl(folder: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl").args(args).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.context("cannot start openssl")?;
    if !output.status.success() {
        bail!("openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
