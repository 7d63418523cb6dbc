//! The server `s3s` over a temporary folder: owns the folder and the threads that serve it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;

use super::{ACCESS_KEY, BUCKET, SECRET_KEY, digests};
use crate::own_runtime::OwnRuntime;

#[derive(Debug)]
pub(super) struct InProcess {
    folder: TempDir,
    runtime: Option<OwnRuntime>,
}

impl InProcess {
    pub(super) fn start(port: u16) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("iglu-s3-").tempdir()?;
        std::fs::create_dir(folder.path().join(BUCKET))?;
        let mut server = Self { folder, runtime: None };
        server.restart(port)?;
        Ok(server)
    }

    pub(super) fn restart(&mut self, port: u16) -> anyhow::Result<()> {
        let service = service(self.folder.path())?;
        let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("cannot listen on {port}"))?;
        let runtime = OwnRuntime::new("s3s")?;
        runtime.listen(listener, |listener| accept(listener, service))?;
        self.runtime = Some(runtime);
        Ok(())
    }

    pub(super) fn stop(&mut self) {
        self.runtime = None;
    }

    /// Where an object's bytes are. Beside the bucket's folder s3s keeps what belongs to them: ETags, checksums, headers.
    pub(super) fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.folder.path().join(bucket).join(key)
    }

    /// s3s cannot list uploads, but has a file for each.
    pub(super) fn uploads(&self) -> anyhow::Result<usize> {
        let mut count = 0;
        for entry in std::fs::read_dir(self.folder.path())? {
            let name = entry?.file_name();
            count += usize::from(name.to_string_lossy().starts_with(".upload-"));
        }
        Ok(count)
    }
}

fn service(folder: &Path) -> anyhow::Result<S3Service> {
    let files = FileSystem::new(folder).map_err(|error| anyhow::anyhow!("s3s over {}: {error:?}", folder.display()))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    Ok(builder.build())
}

async fn accept(listener: tokio::net::TcpListener, service: S3Service) {
    loop {
        // Out of file descriptors, say: the next client gets another chance.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = service.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // A client that breaks off is part of the tests.
            let answer = service_fn(|request| digests::answer(service.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}
