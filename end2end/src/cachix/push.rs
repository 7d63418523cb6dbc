//! The push: which paths are missing, and who uploads them how often.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::packed::Sums;
use super::wire::{Compression, NarInfoCreate};
use super::{Client, Error, Faults, Signer, Upload};
use crate::digest;
use crate::object::Object;

/// What the user chose.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Overrides what the cache prefers.
    pub compression: Option<Compression>,
    /// Of the compressor: 2 unless told.
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
    /// How many parts were sent, an empty last one included; 0 where the release sends all in one request.
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
        let compression = if options.signer.is_none() && self.profile.asks_cache_first {
            let record = self.cache(cache).await?;
            options.compression.unwrap_or(record.preferred_compression_method)
        } else {
            options.compression.unwrap_or(Compression::Zstd)
        };
        let hashes: Vec<String> = objects.iter().map(|object| object.hash().to_owned()).collect();
        let missing = self.missing(cache, &hashes).await?;
        let asked: HashSet<&str> = missing.iter().map(String::as_str).collect();
        let permits = Arc::new(Semaphore::new(self.profile.paths_at_once));
        let mut running = JoinSet::new();
        for object in objects.iter().filter(|object| asked.contains(object.hash())) {
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

    /// Uploads one path whether or not the cache has it, starting again after failures as the release does (but never
    /// after one of the NAR itself). A release that cannot name a compression sends xz.
    pub async fn upload(
        &self,
        cache: &str,
        object: &Object,
        compression: Compression,
        options: &PushOptions,
    ) -> Result<Pushed, Error> {
        let mut repeats = self.profile.path_repeats.iter();
        loop {
            let done = match self.profile.upload {
                Upload::Whole { names_compression: true } => {
                    self.upload_whole(cache, object, compression, options).await
                }
                Upload::Whole { names_compression: false } => {
                    self.upload_whole(cache, object, Compression::Xz, options).await
                }
                Upload::Parts => self.upload_in_parts(cache, object, compression, options).await,
            };
            match done {
                Err(error @ (Error::Nar { .. } | Error::Stopped { .. })) => return Err(error),
                Err(error) => match repeats.next() {
                    Some(delay) => tokio::time::sleep(*delay).await,
                    None => return Err(error),
                },
                done => return done,
            }
        }
    }
}

/// What has passed, unless the store knows other numbers: then the client refuses to publish it.
pub(super) fn counted(object: &Object, sums: &Sums, parts: u32) -> Result<Pushed, Error> {
    let nar_hash = format!("sha256:{}", digest::nix32(&sums.nar_hash));
    if let Some((hash, size)) = &object.known
        && (nar_hash != format!("sha256:{hash}") || sums.nar_size != *size)
    {
        let cause = format!("is {nar_hash} with {} bytes, the store knows {hash} with {size}", sums.nar_size);
        return Err(Error::Nar { path: object.path.clone(), cause });
    }
    Ok(Pushed {
        path: object.path.clone(),
        nar_hash,
        nar_size: sums.nar_size,
        file_hash: digest::hex(&sums.file_hash),
        file_size: sums.file_size,
        parts,
        late_put: None,
    })
}

/// What the client says about a path, spoilt as the switches say.
pub(super) fn claims(object: &Object, pushed: &Pushed, options: &PushOptions) -> NarInfoCreate {
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
