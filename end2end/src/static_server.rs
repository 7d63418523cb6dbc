//! A web server for the files of one folder and nothing else. Owns a listener on loopback and its threads, which end with the value.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::own_runtime::OwnRuntime;

/// A server of files.
#[derive(Debug)]
pub struct StaticServer {
    address: SocketAddr,
    _runtime: OwnRuntime,
}

impl StaticServer {
    /// Serves what is below `folder` at every moment.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let runtime = OwnRuntime::new("static")?;
        let folder: Arc<Path> = folder.into();
        runtime.listen(listener, |listener| accept(listener, folder))?;
        Ok(Self { address, _runtime: runtime })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`, for a [`FaultProxy`](crate::fault_proxy::FaultProxy) in front.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

async fn accept(listener: tokio::net::TcpListener, folder: Arc<Path>) {
    loop {
        // Out of file descriptors, say: the next client gets another chance.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let folder = Arc::clone(&folder);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let answer = service_fn(|request| answer(&folder, request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(folder: &Path, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, http::Error> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let content = match file(folder, request.uri().path()).filter(|_| reads) {
        Some(file) => tokio::fs::read(file).await.ok(),
        None => None,
    };
    match content {
        Some(content) => Response::builder().status(StatusCode::OK).body(Full::from(content)),
        None => Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()),
    }
}

fn file(folder: &Path, path: &str) -> Option<PathBuf> {
    let name = path.trim_start_matches('/');
    (!name.split('/').any(|part| part == "..")).then(|| folder.join(name)).filter(|file| file.is_file())
}
