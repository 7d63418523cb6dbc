//! Real S3 servers on free loopback ports, for tests to store in, to look into behind the client's back, and to break. Owns
//! their threads or process, and what they store; all go when the value is dropped.

mod digests;
mod in_process;
mod moto;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use crate::server::free_port;
use in_process::InProcess;
use moto::Moto;

const REGION: &str = "us-east-1";
const BUCKET: &str = "iglu-test";
const ACCESS_KEY: &str = "IGLUTESTACCESSKEY";
const SECRET_KEY: &str = "iglu-test-secret-key";

/// A server with one bucket, and access keys to it. Its methods look at the bucket past any proxy.
#[derive(Debug)]
pub struct S3Server {
    port: u16,
    backend: Backend,
    store: AmazonS3,
}

#[derive(Debug)]
enum Backend {
    InProcess(InProcess),
    Moto(Moto),
}

impl S3Server {
    /// `s3s` over a folder, on threads of this process. Checks signatures, also of presigned URLs, and digests; keeps to S3
    /// except that no ETag is compared when an upload is completed, a bucket that is not there is made by a PUT, and a key
    /// cannot be the beginning of another.
    pub async fn s3s_fs() -> anyhow::Result<Self> {
        let port = free_port()?;
        Self::over(port, Backend::InProcess(InProcess::start(port)?)).await
    }

    /// moto, a Python process with everything in memory. Takes any access key, any signature and any digest; is exact about
    /// uploads, ETags and buckets.
    pub async fn moto() -> anyhow::Result<Self> {
        let port = free_port()?;
        Self::over(port, Backend::Moto(Moto::start(port, BUCKET).await?)).await
    }

    async fn over(port: u16, backend: Backend) -> anyhow::Result<Self> {
        // Fails where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = builder(&format!("http://127.0.0.1:{port}")).build()?;
        Ok(Self { port, backend, store })
    }

    /// `http://127.0.0.1:PORT`; the bucket is the first segment of the path.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `127.0.0.1:PORT`, for a [`FaultProxy`](crate::fault_proxy::FaultProxy) in front.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The region that signatures must name.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The bucket, which is there from the beginning.
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// The access key's id.
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// The access key's secret.
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// A client's settings for the bucket, with object_store's own of all else; a test changes what it is about.
    pub fn builder(&self) -> AmazonS3Builder {
        builder(&self.endpoint())
    }

    /// A client of the bucket, without anything between.
    pub fn store(&self) -> &AmazonS3 {
        &self.store
    }

    /// All keys, sorted.
    pub async fn keys(&self) -> anyhow::Result<Vec<String>> {
        let mut keys: Vec<String> = self.store.list(None).map_ok(|meta| meta.location.into()).try_collect().await?;
        keys.sort();
        Ok(keys)
    }

    /// An object's bytes; an error where there is none.
    pub async fn read(&self, key: &str) -> anyhow::Result<Bytes> {
        Ok(self.store.get(&Path::parse(key)?).await?.bytes().await?)
    }

    /// Stores an object, or other bytes in its place.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> anyhow::Result<()> {
        self.store.put(&Path::parse(key)?, bytes.into().into()).await?;
        Ok(())
    }

    /// Removes one object; an error where there is none.
    pub async fn remove(&self, key: &str) -> anyhow::Result<()> {
        let path = Path::parse(key)?;
        self.store.head(&path).await?;
        self.store.delete(&path).await?;
        Ok(())
    }

    /// Removes every object; the bucket stays.
    pub async fn empty(&self) -> anyhow::Result<()> {
        let all = self.store.list(None).map_ok(|meta| meta.location).boxed();
        self.store.delete_stream(all).try_collect::<Vec<_>>().await?;
        Ok(())
    }

    /// Turns the lowest bit of one byte. As on a failing disk, s3s keeps ETag and checksums as they were; moto makes new ones.
    pub async fn flip_bit(&self, key: &str, at: usize) -> anyhow::Result<()> {
        self.damage(key, |bytes| {
            let byte = bytes.get_mut(at).with_context(|| format!("{key} has no byte {at}"))?;
            *byte ^= 1;
            Ok(())
        })
        .await
    }

    /// Leaves the first `size` bytes. ETags are as with [`S3Server::flip_bit`].
    pub async fn truncate(&self, key: &str, size: usize) -> anyhow::Result<()> {
        self.damage(key, |bytes| {
            bytes.truncate(size);
            Ok(())
        })
        .await
    }

    async fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut bytes = self.read(key).await?.to_vec();
        change(&mut bytes)?;
        match &self.backend {
            Backend::InProcess(server) => Ok(std::fs::write(server.file(BUCKET, key), bytes)?),
            Backend::Moto(_) => self.put(key, bytes).await,
        }
    }

    /// How many multipart uploads have begun and are neither complete nor aborted.
    pub async fn uploads(&self) -> anyhow::Result<usize> {
        match &self.backend {
            Backend::InProcess(server) => server.uploads(),
            Backend::Moto(_) => Moto::uploads(self.port, BUCKET).await,
        }
    }

    /// Ends the server: connections break, new ones are refused.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match &mut self.backend {
            Backend::InProcess(server) => server.stop(),
            Backend::Moto(server) => server.stop()?,
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(self.address()).await.is_ok() {
            if Instant::now() > deadline {
                bail!("the stopped S3 server still listens on {}", self.address());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts it again after [`S3Server::stop`], on the same port. s3s has its objects still; moto has forgotten them.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        match &mut self.backend {
            Backend::InProcess(server) => server.restart(self.port),
            Backend::Moto(server) => {
                *server = Moto::start(self.port, BUCKET).await?;
                Ok(())
            }
        }
    }
}

fn builder(endpoint: &str) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_region(REGION)
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
}
