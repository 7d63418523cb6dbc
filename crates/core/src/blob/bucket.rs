//! A store in an S3 bucket. Requests are repeated for a while when the store is in trouble; every payload carries its SHA-256, so that
//! the store itself refuses what arrives damaged.

use super::{Listed, MARK, StoredPart, room::Room, source::Object};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::{HeaderName, HeaderValue, Method};
use iglu_api::Timestamp;
use nix_compat::nixhash::Sha256;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig, WriteMultipart,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path as Key,
    signer::{SignedUrlOptions, Signer},
};
use std::{collections::HashMap, io, ops::Range, path::Path, sync::Arc, time::Duration};

/// Bytes of a part of a multipart upload to the bucket: S3 wants 5 MiB at least.
pub(super) const PART: u64 = 8 << 20;
/// S3 takes 10 000 parts.
const MOST_PARTS: u64 = 9000;
/// Parts of one upload on their way at a time.
const PARTS_AT_ONCE: usize = 3;
/// How long a signed URL to read is good: longer than the longest download, which clients resume at the same URL.
const READ_URL_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// How long a signed URL to put a part is good: as long as its upload.
const PART_URL_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Who sends NARs to those who pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serving {
    /// This server, from the bucket.
    #[default]
    Stream,
    /// The bucket: clients are led there with a URL that is good for a while.
    Redirect,
}

/// Who takes the parts of multipart uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uploading {
    /// This server, for the bucket.
    #[default]
    Proxy,
    /// The bucket: clients get URLs to put parts there.
    Presigned,
}

/// A bucket and how to reach it.
#[derive(Clone)]
pub struct BucketSettings {
    pub bucket: String,
    /// In front of all names; empty for none.
    pub prefix: String,
    pub region: String,
    /// Of the S3 API; `None` for AWS.
    pub endpoint: Option<String>,
    /// Where clients find the same bucket, for the URLs that they get; `None` for the same endpoint.
    pub public_endpoint: Option<String>,
    /// `None`: as the environment of AWS programs says.
    pub credentials: Option<(String, String)>,
    /// Whether the bucket stands in the host name instead of the path.
    pub virtual_hosted: bool,
    pub serving: Serving,
    pub uploading: Uploading,
}

impl std::fmt::Debug for BucketSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    /// Signs URLs for clients.
    public: Arc<AmazonS3>,
    prefix: Key,
    place: String,
    serving: Serving,
    uploading: Uploading,
    room: Room,
}

impl Bucket {
    pub fn new(settings: &BucketSettings) -> Result<Bucket> {
        // Fails where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = Arc::new(client(settings, settings.endpoint.as_deref())?);
        let public = match &settings.public_endpoint {
            Some(endpoint) => Arc::new(client(settings, Some(endpoint))?),
            None => store.clone(),
        };
        let prefix = Key::parse(settings.prefix.trim_matches('/'))
            .map_err(|_| Error::invalid("storage", format!("\"{}\" is no prefix of object names", settings.prefix)))?;
        let place = format!("s3://{}/{prefix}", settings.bucket);
        let (serving, uploading) = (settings.serving, settings.uploading);
        Ok(Bucket { store, public, prefix, place, serving, uploading, room: Room::new() })
    }

    pub fn place(&self) -> String {
        self.place.clone()
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    pub fn object(&self, name: &str, size: u64) -> Object {
        Object { bucket: self.clone(), key: self.key(name), size }
    }

    pub async fn mark(&self) -> Result<Option<String>> {
        let Some(got) = found(self.store.get(&self.key(MARK)).await)? else { return Ok(None) };
        if got.meta.size > 1000 {
            return Err(Error::internal(format!("the marker of {} is no marker", self.place)));
        }
        let bytes = got.bytes().await.map_err(failed)?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    pub async fn mark_put(&self, mark: &str) -> Result<()> {
        let payload = PutPayload::from(format!("{mark}\n").into_bytes());
        self.store.put(&self.key(MARK), payload).await.map(drop).map_err(failed)
    }

    pub async fn has_nars(&self) -> Result<bool> {
        let first = self.store.list(Some(&self.key("nar"))).next().await;
        Ok(first.transpose().map_err(failed)?.is_some())
    }

    pub async fn open(&self, name: &str) -> Result<Option<Object>> {
        let meta = found(self.store.head(&self.key(name)).await)?;
        Ok(meta.map(|meta| self.object(name, meta.size)))
    }

    pub async fn fetch(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end - range.start;
        let bytes = self.store.get_range(key, range).await.map_err(failed)?;
        if bytes.len() as u64 != wanted {
            return Err(Error::storage(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    pub async fn stream(
        &self,
        key: &Key,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<>> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let got = self.store.get_opts(key, options).await.map_err(failed)?;
        Ok(got.into_stream().map_err(io::Error::other))
    }

    pub async fn read_url(&self, key: &Key) -> Result<Option<String>> {
        match self.serving {
            Serving::Stream => Ok(None),
            Serving::Redirect => {
                let url = self.public.signed_url(Method::GET, key, READ_URL_LIFETIME).await.map_err(failed)?;
                Ok(Some(url.into()))
            }
        }
    }

    /// `md5` is base64. The store refuses a body of another one.
    pub async fn part_url(&self, name: &str, md5: &str) -> Result<Option<String>> {
        if self.uploading == Uploading::Proxy {
            return Ok(None);
        }
        let md5 = HeaderValue::from_str(md5).map_err(|_| Error::internal("an MD5 that is no header"))?;
        let options = SignedUrlOptions::new().with_signed_header(HeaderName::from_static("content-md5"), md5);
        let url = self.public.signed_url_opts(Method::PUT, &self.key(name), PART_URL_LIFETIME, &options).await;
        Ok(Some(url.map_err(failed)?.into()))
    }

    pub async fn parts_beside(&self, folder: &str) -> Result<Option<Vec<StoredPart>>> {
        if self.uploading == Uploading::Proxy {
            return Ok(None);
        }
        let mut parts: Vec<StoredPart> = self
            .list_below(folder)
            .await?
            .iter()
            .filter_map(|meta| {
                let number = meta.location.filename()?.parse().ok()?;
                Some(StoredPart { number, size: meta.size })
            })
            .collect();
        parts.sort_unstable_by_key(|part| part.number);
        Ok(Some(parts))
    }

    /// Puts a file of `size` bytes under a name, and asks the store whether it has them.
    pub async fn put_file(&self, name: &str, path: &Path, size: u64) -> Result<()> {
        let key = self.key(name);
        let mut file = tokio::fs::File::open(path).await.map_err(Error::storage)?;
        if size <= PART {
            let bytes = self.room.read(&mut file, size).await?;
            self.store.put(&key, PutPayload::from(bytes)).await.map_err(failed)?;
        } else {
            self.put_in_parts(&key, file, size).await?;
        }
        match found(self.store.head(&key).await)? {
            Some(meta) if meta.size == size => Ok(()),
            _ => Err(Error::storage(io::Error::other("the store confirmed an object and does not have it whole"))),
        }
    }

    async fn put_in_parts(&self, key: &Key, mut file: tokio::fs::File, size: u64) -> Result<()> {
        let part = PART.max(size.div_ceil(MOST_PARTS));
        let upload = self.store.put_multipart(key).await.map_err(failed)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, usize::try_from(part).unwrap_or(usize::MAX));
        let mut put = async || {
            loop {
                writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(failed)?;
                let bytes = self.room.read(&mut file, part).await?;
                if bytes.is_empty() {
                    return Ok(());
                }
                // A whole part goes at once and is not copied.
                writer.put(bytes);
            }
        };
        match put().await {
            // When the answer is lost, the second try may hear that the upload is over; the object itself is asked for next.
            Ok(()) => match writer.finish().await {
                Ok(_) => Ok(()),
                Err(_) if matches!(found(self.store.head(key).await), Ok(Some(meta)) if meta.size == size) => Ok(()),
                Err(error) => Err(failed(error)),
            },
            Err(error) => {
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    /// It is fine when there is none.
    pub async fn remove(&self, name: &str) -> Result<()> {
        found(self.store.delete(&self.key(name)).await).map(drop)
    }

    pub async fn remove_below(&self, folder: &str) -> Result<()> {
        for meta in self.list_below(folder).await? {
            found(self.store.delete(&meta.location).await)?;
        }
        Ok(())
    }

    /// Names of the folders below `name`.
    pub async fn shards(&self, name: &str) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(Some(&self.key(name))).await.map_err(failed)?;
        Ok(listed.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned)).collect())
    }

    /// The objects of a folder that are named by a hash.
    pub async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let named = self.list_below(folder).await?.into_iter().filter_map(|meta| {
            let file_hash = Sha256::parse_nix32(meta.location.filename()?).ok()?;
            Some(Listed { file_hash, size: meta.size, modified: modified(&meta) })
        });
        Ok(named.collect())
    }

    /// Names of folders below `folder` that nothing was added to since `before`.
    pub async fn folders_before(&self, folder: &str, before: Timestamp) -> Result<Vec<String>> {
        let below = self.key(folder);
        let mut newest: HashMap<String, Timestamp> = HashMap::new();
        for meta in self.list_below(folder).await? {
            let Some(name) = meta.location.prefix_match(&below).and_then(|mut parts| parts.next()) else { continue };
            let moment = newest.entry(name.as_ref().to_owned()).or_insert(Timestamp(i64::MIN));
            *moment = (*moment).max(modified(&meta));
        }
        Ok(newest.into_iter().filter(|(_, moment)| *moment < before).map(|(name, _)| name).collect())
    }

    async fn list_below(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        self.store.list(Some(&self.key(folder))).try_collect().await.map_err(failed)
    }
}

fn client(settings: &BucketSettings, endpoint: Option<&str>) -> Result<AmazonS3> {
    // A request that fails is repeated for half a minute: longer than stores take to come back, shorter than clients wait.
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 8,
        retry_timeout: Duration::from_secs(30),
    };
    let options = ClientOptions::new()
        .with_allow_http(true)
        .with_connect_timeout(Duration::from_secs(5))
        // No bound for a whole body: only for silence.
        .with_timeout_disabled()
        .with_read_timeout(Duration::from_secs(30));
    let mut builder = match &settings.credentials {
        Some((access_key, secret)) => {
            AmazonS3Builder::new().with_access_key_id(access_key).with_secret_access_key(secret)
        }
        None => AmazonS3Builder::from_env(),
    }
    .with_bucket_name(&settings.bucket)
    .with_region(&settings.region)
    .with_virtual_hosted_style_request(settings.virtual_hosted)
    .with_client_options(options)
    .with_retry(retry);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    builder.build().map_err(failed)
}

fn modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp(meta.last_modified.timestamp_millis())
}

/// `None` for what is not there.
fn found<T>(result: object_store::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: object_store::Error) -> Error {
    Error::Unavailable { what: "storage", source: error.into() }
}

/// For readers that know no other error.
pub(super) fn as_io(error: Error) -> io::Error {
    io::Error::other(error)
}
