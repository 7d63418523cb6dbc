//! The scratch folder: files that a single request writes, hashed on the way. What fails or is dropped before its end is gone.

use super::{folder::modified, timed};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use iglu_api::Timestamp;
use nix_compat::nixhash::Sha256;
use sha2::Digest;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Bytes gathered before they are hashed and written off the async threads.
const WRITE_SIZE: usize = 256 * 1024;

/// A file that was received whole.
pub(crate) struct Received<H> {
    pub scratch: Scratch,
    pub size: u64,
    pub digest: H,
}

/// A scratch file; gone when this is dropped, unless it became an object by then.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub fn new(path: PathBuf) -> Scratch {
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A scratch file that is written and hashed piece by piece.
pub(crate) struct Writing {
    file: File,
    scratch: Scratch,
    digest: sha2::Sha256,
    size: u64,
    /// Bytes that it may have.
    limit: u64,
}

/// A scratch file that was written whole.
pub(crate) struct Written {
    pub scratch: Scratch,
    pub file_hash: Sha256,
    pub size: u64,
}

impl Writing {
    /// Writing more than `limit` bytes fails with [`io::ErrorKind::FileTooLarge`].
    pub(super) fn begin(path: PathBuf, limit: u64) -> Result<Writing> {
        let file = File::create_new(&path).map_err(Error::storage)?;
        let scratch = Scratch::new(path);
        Ok(Writing { file, scratch, digest: sha2::Sha256::new(), size: 0, limit })
    }

    pub fn finish(self) -> Written {
        let file_hash = Sha256::from_bytes(self.digest.finalize().into());
        Written { scratch: self.scratch, file_hash, size: self.size }
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size.saturating_add(bytes.len() as u64) > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = timed("write", || self.file.write(bytes))?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Feeds a body to `each` off the async threads, gathered into blocks; memory is two of them. A body above `limit` bytes is
/// refused.
pub(crate) async fn in_blocks<S, T>(
    mut body: S,
    limit: u64,
    mut state: T,
    each: impl Fn(&mut T, &[u8]) -> Result<()> + Copy + Send + 'static,
) -> Result<T>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
    T: Send + 'static,
{
    let mut size = 0_u64;
    let mut gathered = Vec::new();
    loop {
        let chunk = body.next().await.transpose()?;
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            size += chunk.len() as u64;
            if size > limit {
                return Err(Error::TooLarge(format!("the body is larger than the {limit} bytes allowed here")));
            }
            gathered.extend_from_slice(&chunk);
        }
        if gathered.len() >= WRITE_SIZE || (ended && !gathered.is_empty()) {
            (state, gathered) = tokio::task::spawn_blocking(move || {
                let taken = each(&mut state, &gathered);
                gathered.clear();
                taken.map(|()| (state, gathered))
            })
            .await??;
        }
        if ended {
            return Ok(state);
        }
    }
}

/// Writes a body to `path`, hashing it on the way. Whatever fails leaves no file.
pub(super) async fn receive<S, H>(path: PathBuf, body: S, limit: u64) -> Result<Received<H>>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
    H: Digest + Send + 'static,
{
    let file = File::create_new(&path).map_err(Error::storage)?;
    let scratch = Scratch::new(path);
    let (_, digest, size) = in_blocks(body, limit, (file, H::new(), 0_u64), |(file, digest, size), block| {
        digest.update(block);
        *size += block.len() as u64;
        timed("write", || file.write_all(block)).map_err(Error::storage)
    })
    .await?;
    Ok(Received { scratch, size, digest })
}

/// Removes the files of a folder that nothing wrote to since `before`.
pub(super) fn sweep(folder: &Path, before: Timestamp) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::storage)?.flatten() {
        if entry.metadata().is_ok_and(|metadata| modified(&metadata) < before) {
            fs::remove_file(entry.path()).map_err(Error::storage)?;
        }
    }
    Ok(())
}
