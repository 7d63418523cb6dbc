//! The push: which paths are missing, and their upload in parts while the NAR is read and compressed.
//! Holds at most a handful of parts in memory, whatever the size of the NAR.

use std::sync::{Arc, Mutex};

use async_compression::Level;
use async_compression::tokio::bufread::{XzEncoder, ZstdEncoder};
use bytes::{Bytes, BytesMut};
use nix_compat::signing::SigningKey;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::wire::{Complete, CompletedPart, Compression, Created, NarInfoCreate};
use super::{Client, Error, Faults, NarReader, Object};
use crate::digest::{self, Counted, Random};

/// Signs with a key of the client's own. The key's name is not sent.
#[derive(Clone)]
pub struct Signer(Arc<SigningKey>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads `CACHIX_SIGNING_KEY`: base64 of seed and public key, with or without a name before it.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let named = if text.contains(':') { text.to_owned() } else { format!("client:{text}") };
        Ok(Self(Arc::new(SigningKey::parse(&named)?)))
    }

    /// Base64 of the signature over what Nix verifies. `references` are base names, sorted.
    pub fn sign(&self, path: &str, nar_hash: &str, nar_size: u64, references: &[String]) -> String {
        let references: Vec<String> = references.iter().map(|base| format!("/nix/store/{base}")).collect();
        let text = self.0.sign(&format!("1;{path};{nar_hash};{nar_size};{}", references.join(","))).to_string();
        text.split_once(':').map(|(_, signature)| signature.to_owned()).unwrap_or_default()
    }
}

/// What the user chose.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Overrides what the cache prefers.
    pub compression: Option<Compression>,
    /// 2 unless told.
    pub level: Option<i32>,
    /// A key of the client's own: then getCache is skipped.
    pub signer: Option<Signer>,
    /// Accidents.
    pub faults: Faults,
}

/// One uploaded store path.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pushed {
    /// `/nix/store/HASH-NAME`.
    pub path: String,
    /// `sha256:` and base 32.
    pub nar_hash: String,
    /// Bytes.
    pub nar_size: u64,
    /// 64 hex digits.
    pub file_hash: String,
    /// Bytes.
    pub file_size: u64,
    /// How many parts were sent, an empty last one included.
    pub parts: u32,
    /// How a PUT after complete was answered, if one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_put: Option<String>,
}

/// How a push went.
#[derive(Debug, Clone)]
pub struct PushReport {
    /// Hash parts that the cache asked for.
    pub missing: Vec<String>,
    /// What was uploaded.
    pub pushed: Vec<Pushed>,
}

impl Client {
    /// `cachix push`: the first path that finally fails ends it, and the other uploads are dropped without abort.
    pub async fn push(&self, cache: &str, objects: &[Object], options: &PushOptions) -> Result<PushReport, Error> {
        let compression = match (options.compression, &options.signer) {
            (chosen, Some(_)) => chosen.unwrap_or(Compression::Zstd),
            (chosen, None) => {
                let record = self.cache(cache).await?;
                chosen.unwrap_or(record.preferred_compression_method)
            }
        };
        let hashes: Vec<String> = objects.iter().map(|object| object.hash().to_owned()).collect();
        let missing = self.missing(cache, &hashes).await?;
        let permits = Arc::new(Semaphore::new(self.profile.paths_at_once));
        let mut running = JoinSet::new();
        for object in objects.iter().filter(|object| missing.iter().any(|hash| hash == object.hash())) {
            let (client, cache, object) = (self.clone(), cache.to_owned(), object.clone());
            let (options, permits) = (options.clone(), permits.clone());
            running.spawn(async move {
                let _permit = permits.acquire_owned().await;
                client.upload(&cache, &object, compression, &options).await
            });
        }
        let mut pushed = Vec::new();
        while let Some(ended) = running.join_next().await {
            pushed.push(ended.map_err(|cause| Error::Transport { call: "push", cause: cause.to_string() })??);
        }
        Ok(PushReport { missing, pushed })
    }

    /// [`Client::push`] of one path alone, without its closure.
    pub async fn push_one(&self, cache: &str, object: &Object, options: &PushOptions) -> Result<PushReport, Error> {
        self.push(cache, std::slice::from_ref(object), options).await
    }

    /// Uploads one path whether or not the cache has it, starting again after failures as the release does.
    pub async fn upload(
        &self,
        cache: &str,
        object: &Object,
        compression: Compression,
        options: &PushOptions,
    ) -> Result<Pushed, Error> {
        let mut repeats = self.profile.path_repeats.iter();
        loop {
            match self.upload_once(cache, object, compression, options).await {
                Err(error @ (Error::Nar { .. } | Error::Stopped { .. })) => return Err(error),
                Err(error) => match repeats.next() {
                    Some(delay) => tokio::time::sleep(*delay).await,
                    None => return Err(error),
                },
                done => return done,
            }
        }
    }

    async fn upload_once(
        &self,
        cache: &str,
        object: &Object,
        compression: Compression,
        options: &PushOptions,
    ) -> Result<Pushed, Error> {
        let faults = &options.faults;
        let broken = |cause: String| Error::Nar { path: object.path.clone(), cause };
        let upload = self.create(cache, compression).await?;
        let mut packed =
            Packed::open(object, compression, options.level.unwrap_or(2)).map_err(|e| broken(e.to_string()))?;
        let mut parts = Parts::new(self, cache, &upload, faults);
        loop {
            let chunk = packed.chunk(self.profile.chunk_size).await.map_err(|e| broken(e.to_string()))?;
            let last = chunk.len() < self.profile.chunk_size;
            parts.send(chunk).await?;
            if faults.stop_after == Some(parts.sent) {
                parts.finish().await?;
                return Err(Error::Stopped { parts: parts.sent });
            }
            if last {
                break;
            }
        }
        let sent = parts.finish().await?;
        let sums = packed.finish().await.map_err(|e| broken(e.to_string()))?;
        let nar_hash = format!("sha256:{}", digest::nix32(&sums.nar_hash));
        if let Some((hash, size)) = &object.known
            && (nar_hash != format!("sha256:{hash}") || sums.nar_size != *size)
        {
            return Err(broken(format!(
                "is {nar_hash} with {} bytes, the store knows {hash} with {size}",
                sums.nar_size
            )));
        }
        let pushed = Pushed {
            path: object.path.clone(),
            nar_hash,
            nar_size: sums.nar_size,
            file_hash: digest::hex(&sums.file_hash),
            file_size: sums.file_size,
            parts: sent.count,
            late_put: None,
        };
        let body = Complete { parts: sent.etags, nar_info_create: claims(object, &pushed, options) };
        self.complete(cache, &upload, &body).await?;
        if faults.repeat_complete {
            self.complete(cache, &upload, &body).await?;
        }
        let late_put = match (faults.late_put, sent.first) {
            (true, Some((url, md5, bytes))) => Some(match self.put_once(&url, &md5, bytes).await {
                Ok(_) => "accepted".to_owned(),
                Err(error) => error.to_string(),
            }),
            _ => None,
        };
        Ok(Pushed { late_put, ..pushed })
    }
}

/// What the client says in complete, spoilt as the switches say.
fn claims(object: &Object, pushed: &Pushed, options: &PushOptions) -> NarInfoCreate {
    let faults = &options.faults;
    let base = digest::base_name(&object.path);
    let swap = |text: &str, at: usize| {
        let other = if text.as_bytes().get(at) == Some(&b'1') { '2' } else { '1' };
        text.char_indices().map(|(i, c)| if i == at { other } else { c }).collect::<String>()
    };
    let nar_hash = if faults.wrong_nar_hash { swap(&pushed.nar_hash, 20) } else { pushed.nar_hash.clone() };
    let nar_size = if faults.wrong_nar_size { pushed.nar_size + 8 } else { pushed.nar_size };
    let sig = options.signer.as_ref().map(|key| key.sign(&object.path, &nar_hash, nar_size, &object.references));
    NarInfoCreate {
        store_hash: object.hash().to_owned(),
        store_suffix: base.get(33..).unwrap_or_default().to_owned(),
        nar_hash,
        nar_size,
        file_hash: if faults.wrong_file_hash { swap(&pushed.file_hash, 5) } else { pushed.file_hash.clone() },
        file_size: if faults.wrong_file_size { pushed.file_size + 1 } else { pushed.file_size },
        references: object.references.clone(),
        deriver: object.deriver.clone().unwrap_or_else(|| "unknown-deriver".to_owned()),
        sig,
    }
}

/// A NAR being read, digested, compressed and digested again.
enum Packed {
    Xz(Counted<XzEncoder<BufReader<Counted<NarReader>>>>),
    Zstd(Counted<ZstdEncoder<BufReader<Counted<NarReader>>>>),
}

struct Sums {
    nar_hash: [u8; 32],
    nar_size: u64,
    file_hash: [u8; 32],
    file_size: u64,
}

impl Packed {
    fn open(object: &Object, compression: Compression, level: i32) -> std::io::Result<Self> {
        let nar = BufReader::with_capacity(256 * 1024, Counted::new(object.nar.open()?));
        let level = Level::Precise(level);
        Ok(match compression {
            Compression::Xz => Self::Xz(Counted::new(XzEncoder::with_quality(nar, level))),
            Compression::Zstd => Self::Zstd(Counted::new(ZstdEncoder::with_quality(nar, level))),
        })
    }

    /// The next `size` compressed bytes; fewer, perhaps none, only at the end.
    async fn chunk(&mut self, size: usize) -> std::io::Result<Bytes> {
        match self {
            Self::Xz(reader) => fill(reader, size).await,
            Self::Zstd(reader) => fill(reader, size).await,
        }
    }

    async fn finish(self) -> std::io::Result<Sums> {
        let (nar, file_hash, file_size) = match self {
            Self::Xz(reader) => {
                let (encoder, hash, size) = reader.finish();
                (encoder.into_inner(), hash, size)
            }
            Self::Zstd(reader) => {
                let (encoder, hash, size) = reader.finish();
                (encoder.into_inner(), hash, size)
            }
        };
        let (reader, nar_hash, nar_size) = nar.into_inner().finish();
        reader.finish().await?;
        Ok(Sums { nar_hash, nar_size, file_hash, file_size })
    }
}

async fn fill(reader: &mut (impl AsyncRead + Unpin), size: usize) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(size.min(64 * 1024));
    while chunk.len() < size {
        let mut rest = (&mut *reader).take((size - chunk.len()) as u64);
        if rest.read_buf(&mut chunk).await? == 0 {
            break;
        }
        // Compressors hand out a few KiB at a time; growing in steps keeps small NARs small.
        if chunk.capacity() == chunk.len() {
            chunk.reserve((size - chunk.len()).min(chunk.len().max(64 * 1024)));
        }
    }
    Ok(chunk.freeze())
}

/// The parts of one upload: a few in flight, the rest not yet read.
struct Parts<'a> {
    client: &'a Client,
    cache: &'a str,
    upload: &'a Created,
    faults: &'a Faults,
    permits: Arc<Semaphore>,
    running: JoinSet<Result<(u32, Option<String>), Error>>,
    waiting: Vec<(u32, Bytes)>,
    etags: Vec<(u32, Option<String>)>,
    first: Arc<Mutex<Option<(String, String, Bytes)>>>,
    sent: u32,
}

struct Sent {
    count: u32,
    etags: Option<Vec<CompletedPart>>,
    first: Option<(String, String, Bytes)>,
}

impl<'a> Parts<'a> {
    fn new(client: &'a Client, cache: &'a str, upload: &'a Created, faults: &'a Faults) -> Self {
        Self {
            client,
            cache,
            upload,
            faults,
            permits: Arc::new(Semaphore::new(client.profile.parts_at_once)),
            running: JoinSet::new(),
            waiting: Vec::new(),
            etags: Vec::new(),
            first: Arc::default(),
            sent: 0,
        }
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.sent += 1;
        if self.faults.shuffle_parts.is_none() {
            return self.start(self.sent, bytes).await;
        }
        self.waiting.push((self.sent, bytes));
        // Twice the parts in flight are enough to send the last first, and still few enough to hold.
        if self.waiting.len() >= 2 * self.client.profile.parts_at_once { self.release().await } else { Ok(()) }
    }

    async fn release(&mut self) -> Result<(), Error> {
        let mut waiting = std::mem::take(&mut self.waiting);
        Random::new(self.faults.shuffle_parts.unwrap_or_default()).shuffle(&mut waiting);
        for (number, bytes) in waiting {
            self.start(number, bytes).await?;
        }
        Ok(())
    }

    async fn start(&mut self, number: u32, bytes: Bytes) -> Result<(), Error> {
        let permit = self.permits.clone().acquire_owned().await;
        while let Some(ended) = self.running.try_join_next() {
            self.ended(ended).await?;
        }
        let (client, cache, upload) = (self.client.clone(), self.cache.to_owned(), self.upload.clone());
        let (faults, first) = (self.faults.clone(), self.first.clone());
        self.running.spawn(async move {
            let _permit = permit;
            send_part(&client, &cache, &upload, &faults, number, bytes, &first).await
        });
        Ok(())
    }

    async fn ended(
        &mut self,
        ended: Result<Result<(u32, Option<String>), Error>, tokio::task::JoinError>,
    ) -> Result<(), Error> {
        match ended.map_err(|cause| Error::Transport { call: "part", cause: cause.to_string() })? {
            Ok(part) => {
                self.etags.push(part);
                Ok(())
            }
            Err(error) => {
                // Only a refused API call leads to abort; a failed PUT does not.
                if matches!(&error, Error::Status { call: "part", .. }) {
                    self.running.shutdown().await;
                    let _ = self.client.abort(self.cache, self.upload).await;
                }
                Err(error)
            }
        }
    }

    async fn finish(&mut self) -> Result<Sent, Error> {
        self.release().await?;
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended).await?;
        }
        let mut etags = std::mem::take(&mut self.etags);
        etags.sort_by_key(|(number, _)| *number);
        let named = |(part_number, etag): (u32, Option<String>)| etag.map(|e_tag| CompletedPart { part_number, e_tag });
        let etags = if self.faults.ignore_etags { None } else { etags.into_iter().map(named).collect() };
        let first = self.first.lock().ok().and_then(|mut first| first.take());
        Ok(Sent { count: self.sent, etags, first })
    }
}

async fn send_part(
    client: &Client,
    cache: &str,
    upload: &Created,
    faults: &Faults,
    number: u32,
    bytes: Bytes,
    first: &Mutex<Option<(String, String, Bytes)>>,
) -> Result<(u32, Option<String>), Error> {
    let md5 = if faults.wrong_part_md5 == Some(number) {
        digest::md5_base64(b"other bytes")
    } else {
        digest::md5_base64(&bytes)
    };
    let url = client.part(cache, upload, number, &md5).await?.upload_url;
    if faults.spoil_first_put == Some(number) {
        let mut spoilt = bytes.to_vec();
        spoilt.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        match client.put_once(&url, &md5, spoilt.into()).await {
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::Decode { call: "PUT", cause: "spoilt bytes were accepted".to_owned() }),
        }
    }
    let mut etag = client.put(&url, &md5, bytes.clone()).await?;
    if faults.repeat_put {
        etag = client.put(&url, &md5, bytes.clone()).await?;
    }
    if number == 1
        && faults.late_put
        && let Ok(mut first) = first.lock()
    {
        *first = Some((url, md5, bytes));
    }
    Ok((number, etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
    const PATH: &str = "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";
    const HASH: &str = "sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";

    #[test]
    fn signatures_equal_the_documented_ones() {
        for secret in [SECRET.to_owned(), format!("some-name:{SECRET}\n")] {
            let signer = Signer::parse(&secret).unwrap();
            assert_eq!(
                signer.sign(PATH, HASH, 120, &[]),
                "GEOKzKtcQQJDLaxdPZSYOX9BZhkCHZvHNMGx2KTS4/m5mZ8ROkYezx0mTXp01O+i7x0dWcBJBmLqSdnNjSGmCw=="
            );
            assert_eq!(
                signer.sign(PATH, HASH, 120, &[digest::base_name(PATH).to_owned()]),
                "7XPm1uUkLvbcdSk/S0tLh5iLxKQ3PCPjFNI6hGMj3L3ngRR95wgP+dC1VG86lpPxmRWj26Pi1dPBl/iopaJaDQ=="
            );
        }
    }

    #[tokio::test]
    async fn packing_counts_both_sides_and_cuts_chunks() {
        let nar = crate::nar::archive(&crate::nar::regular(b"hello\n"));
        let object = Object { path: PATH.to_owned(), ..Object::bytes("hello.txt", 0, nar) };
        for compression in [Compression::Xz, Compression::Zstd] {
            let mut packed = Packed::open(&object, compression, 2).unwrap();
            let mut whole = Vec::new();
            loop {
                let chunk = packed.chunk(16).await.unwrap();
                whole.extend_from_slice(&chunk);
                if chunk.len() < 16 {
                    break;
                }
            }
            let sums = packed.finish().await.unwrap();
            assert_eq!(format!("sha256:{}", digest::nix32(&sums.nar_hash)), HASH);
            assert_eq!((sums.nar_size, sums.file_size), (120, whole.len() as u64));
            assert_eq!(digest::hex(&sums.file_hash), digest::sha256_hex(&whole));
        }
    }

    #[tokio::test]
    async fn a_stream_of_whole_chunks_ends_with_an_empty_one() {
        let mut source: &[u8] = &[7; 64];
        let sizes = [fill(&mut source, 32).await.unwrap(), fill(&mut source, 32).await.unwrap()].map(|c| c.len());
        assert_eq!((sizes, fill(&mut source, 32).await.unwrap().len()), ([32, 32], 0));
        assert_eq!(digest::md5_base64(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }
}
