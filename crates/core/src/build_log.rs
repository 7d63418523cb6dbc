//! Build logs: packed as they come in, read back packed or plain.

use crate::{
    Core,
    blob::{Kind, Stored, Writing, in_blocks},
    caller::Caller,
    codec::{self, Encoder},
    db::NewLog,
    directory::Cache,
    error::{Error, Result},
};
use bytes::Bytes;
use futures_util::Stream;
use nix_compat::{compression::Compression, nixhash::Sha256, store_path::StorePath};
use std::io;

/// Longest log kept, in bytes.
pub const LONGEST: u64 = 1 << 30;

/// A log that is there.
#[derive(Debug)]
pub struct BuildLog {
    /// One zstd stream.
    pub stored: Stored,
    /// Bytes of the file.
    pub file_size: u64,
    /// Bytes of the log itself.
    pub size: u64,
}

impl BuildLog {
    /// The log itself.
    pub async fn plain(self) -> Result<impl Stream<Item = io::Result<Bytes>> + Unpin + Send + 'static> {
        codec::unpacked(self.stored, Compression::Zstd, 0, self.size).await
    }
}

/// The methods of the noun.
pub struct BuildLogs<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn build_log(&self) -> BuildLogs<'_> {
        BuildLogs(self)
    }
}

impl BuildLogs<'_> {
    /// Keeps the log of a derivation's build; a later one takes its place. The caller's right was checked when it opened the
    /// cache. An empty log is one, and a log may come before its path or without it.
    pub async fn put<S>(&self, caller: &Caller, cache: &Cache, drv: &StorePath, body: S) -> Result<()>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let core = self.0;
        if !drv.is_derivation() {
            return Err(Error::invalid("", format!("logs are those of derivations; {drv} is none")));
        }
        core.storage_remembered()?;
        let state = (Encoder::zstd(core.blob.begin(u64::MAX)?), 0_u64);
        let (encoder, size) =
            in_blocks(body, LONGEST, state, |(encoder, size): &mut (Encoder<Writing>, u64), block| {
                *size += block.len() as u64;
                encoder.feed(block).map_err(Error::storage)
            })
            .await?;
        let finish = move || encoder.finish().map(Writing::finish).map_err(Error::storage);
        let written = tokio::task::spawn_blocking(finish).await??;
        core.file_publish(Kind::Log, written.scratch.path(), &written.file_hash, written.size).await?;
        crate::failpoint::reach("log.published");
        let log = NewLog {
            cache_id: cache.id,
            drv: &drv.to_string(),
            file_hash: written.file_hash.as_bytes(),
            file_size: i64::try_from(written.size).unwrap_or(i64::MAX),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            by: &caller.label(),
            now: core.now().0,
        };
        core.db.log_put(&log).await?;
        crate::failpoint::reach("log.committed");
        Ok(())
    }

    /// The log of a derivation's build. The caller's right was checked when it opened the cache.
    pub async fn get(&self, cache: &Cache, drv: &StorePath) -> Result<Option<BuildLog>> {
        let core = self.0;
        let Some(row) = core.db.log_get(cache.id, &drv.to_string()).await? else { return Ok(None) };
        let file_hash = <[u8; 32]>::try_from(row.file_hash.as_slice())
            .map(Sha256::from_bytes)
            .map_err(|_| Error::internal(format!("log of {drv} in the database: its file")))?;
        let (file_size, size) = (row.file_size.unsigned_abs(), row.size.unsigned_abs());
        let stored = core.blob.open_stored(Kind::Log, &file_hash, file_size).await?;
        if stored.is_none() {
            core.storage_require().await?;
        }
        Ok(stored.map(|stored| BuildLog { stored, file_size, size }))
    }
}
