//! Stored bytes on their way out: an open file, or an object of a bucket that is fetched piece by piece.

use super::bucket::{self, Bucket};
use crate::error::Result;
use bytes::Bytes;
use futures_util::Stream;
use object_store::path::Path as Key;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::PathBuf,
};
use tokio::runtime::Handle;

/// Bytes fetched from a bucket at a time by readers that block: fewer would wait more often, more would only cost memory.
const FETCH: u64 = 4 << 20;

/// An object that is there, whole.
#[derive(Debug)]
pub enum Stored {
    File(File),
    Object(Object),
}

/// An object of a bucket.
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) bucket: Bucket,
    pub(super) key: Key,
    /// Bytes of it.
    pub size: u64,
}

impl Object {
    /// Some of its bytes. When this returns, the store has begun to send them.
    pub async fn stream(
        &self,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static> {
        self.bucket.stream(&self.key, range).await
    }

    /// A URL under which whoever has it reads the object from the store for a while; `None` where this server is to send it.
    pub async fn url(&self) -> Result<Option<String>> {
        self.bucket.read_url(&self.key).await
    }
}

impl Stored {
    /// The bytes from `offset` on, for threads that may block.
    pub(crate) fn reader(self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Stored::File(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                Box::new(file)
            }
            Stored::Object(object) => Box::new(Fetching::new(object, offset)),
        })
    }
}

/// Bytes to be read when their turn comes.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    Object(Object),
}

impl Source {
    /// For threads that may block; called inside the runtime.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Source::File(path) => Box::new(File::open(path)?),
            Source::Object(object) => Box::new(Fetching::new(object.clone(), 0)),
        })
    }

    /// Bytes of it.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Source::File(path) => Ok(path.metadata()?.len()),
            Source::Object(object) => Ok(object.size),
        }
    }
}

/// Reads an object a piece at a time.
struct Fetching {
    object: Object,
    runtime: Handle,
    position: u64,
    piece: Bytes,
}

impl Fetching {
    fn new(object: Object, position: u64) -> Fetching {
        Fetching { object, runtime: Handle::current(), position, piece: Bytes::new() }
    }
}

impl Read for Fetching {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let end = self.object.size.min(self.position + FETCH);
            if self.position >= end {
                return Ok(0);
            }
            let Object { bucket, key, .. } = &self.object;
            self.piece = self.runtime.block_on(bucket.fetch(key, self.position..end)).map_err(bucket::as_io)?;
            self.position = end;
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
