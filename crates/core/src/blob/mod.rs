//! The only door to stored objects: files named by the SHA-256 of their bytes, the parts of uploads, and a scratch folder for what a
//! single request carries. They live in a folder or in an S3 bucket, under the same names:
//!
//! ```text
//! iglu-store              says which database the store belongs to
//! nar/1b/1b8m03r63z…      a NAR file
//! log/1b/1b8m03r63z…      a build log, packed
//! staging/<upload>/7      part 7 of an upload, whole
//! ```
//!
//! No name is made from what a client wrote. Files are written to the scratch folder first, whichever the store, and become objects
//! when they are what they should be.

mod bucket;
mod folder;
mod room;
mod scratch;
mod source;

pub use bucket::{BucketSettings, Serving, Uploading};
pub(crate) use scratch::{Received, Scratch, Writing, Written, in_blocks};
pub(crate) use source::Source;
pub use source::{Object, Stored};

use crate::{
    clock,
    error::{Error, Result},
};
use bucket::Bucket;
use bytes::Bytes;
use folder::Folder;
use futures_util::Stream;
use iglu_api::Timestamp;
use nix_compat::{nixbase32, nixhash::Sha256};
use sha2::Digest;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};
use tracing::Instrument;

/// Where objects are kept.
#[derive(Clone, Debug)]
pub enum StorageSettings {
    /// In a folder, with the scratch folder in it: publishing is a rename.
    Folder(PathBuf),
    /// In a bucket, with a scratch folder on this machine.
    Bucket { bucket: BucketSettings, scratch: PathBuf },
}

#[derive(Clone, Debug)]
pub(crate) struct Blob {
    store: Store,
    scratch: PathBuf,
}

#[derive(Clone, Debug)]
enum Store {
    Folder(Folder),
    Bucket(Bucket),
}

/// Free and total bytes of the file system.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

/// The kinds of stored files; each has a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Nar,
    Log,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Nar, Kind::Log];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Nar => "nar",
            Kind::Log => "log",
        }
    }

    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An object as a listing shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub file_hash: Sha256,
    pub size: u64,
    pub modified: Timestamp,
}

/// A part of an upload as the store has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredPart {
    pub number: u32,
    pub size: u64,
}

/// Where an object is, below the root of the store.
fn object_name(kind: Kind, file_hash: &Sha256) -> String {
    let name = file_hash.to_nix32();
    format!("{}/{}/{name}", kind.name(), &name[..2])
}

fn part_name(upload: &str, number: u32) -> String {
    format!("staging/{upload}/{number}")
}

/// The same error, which says where.
fn error_at(place: &std::path::Path, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", place.display()))
}

/// The file that says which database a store belongs to.
const MARK: &str = "iglu-store";

impl Blob {
    pub fn open(settings: &StorageSettings) -> Result<Blob> {
        let (store, scratch) = match settings {
            StorageSettings::Folder(root) => (Store::Folder(Folder::new(root)), root.join("scratch")),
            StorageSettings::Bucket { bucket, scratch } => (Store::Bucket(Bucket::new(bucket)?), scratch.clone()),
        };
        let blob = Blob { store, scratch };
        if let Store::Bucket(_) = blob.store {
            blob.scratch_make()?;
        }
        Ok(blob)
    }

    /// What people call the store.
    pub fn place(&self) -> String {
        match &self.store {
            Store::Folder(folder) => folder.place(),
            Store::Bucket(bucket) => bucket.place(),
        }
    }

    pub fn is_folder(&self) -> bool {
        matches!(self.store, Store::Folder(_))
    }

    /// The name that the store carries; `None` where it has none.
    pub async fn mark(&self) -> Result<Option<String>> {
        timed_async("mark", async {
            match &self.store {
                Store::Folder(folder) => folder.mark(),
                Store::Bucket(bucket) => bucket.mark().await,
            }
        })
        .await
    }

    /// Makes the folders of a new store and gives it a name.
    pub async fn mark_put(&self, mark: &str) -> Result<()> {
        match &self.store {
            Store::Folder(folder) => folder.begin(mark)?,
            Store::Bucket(bucket) => bucket.mark_put(mark).await?,
        }
        self.scratch_make()
    }

    /// Whether the store holds any NAR file.
    pub async fn has_nars(&self) -> Result<bool> {
        match &self.store {
            Store::Folder(folder) => folder.has_nars(),
            Store::Bucket(bucket) => bucket.has_nars().await,
        }
    }

    /// Opens an object of the size that the database says; `None` where it is absent or of another size.
    pub async fn open_stored(&self, kind: Kind, file_hash: &Sha256, size: u64) -> Result<Option<Stored>> {
        let opened = match &self.store {
            // Without waiting: it is a few microseconds, and the way of every pull.
            Store::Folder(folder) => timed("open", || folder.open(&object_name(kind, file_hash)))?
                .map(|(file, found)| (Stored::File(file), found)),
            Store::Bucket(bucket) => timed_async("open", bucket.open(&object_name(kind, file_hash)))
                .await?
                .map(|object| (object.size, object))
                .map(|(found, object)| (Stored::Object(object), found)),
        };
        match opened {
            Some((stored, found)) if found == size => Ok(Some(stored)),
            Some((_, found)) => {
                let file = file_hash.to_nix32();
                tracing::error!(file, expected = size, found, "a stored file has the wrong size");
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Bytes of an object; `None` where there is none.
    pub async fn size(&self, kind: Kind, file_hash: &Sha256) -> Result<Option<u64>> {
        match &self.store {
            Store::Folder(folder) => folder.size(&object_name(kind, file_hash)),
            Store::Bucket(bucket) => Ok(bucket.open(&object_name(kind, file_hash)).await?.map(|object| object.size)),
        }
    }

    /// An object to be read off the async threads.
    pub fn source(&self, kind: Kind, file_hash: &Sha256, size: u64) -> Source {
        self.source_named(&object_name(kind, file_hash), size)
    }

    fn source_named(&self, name: &str, size: u64) -> Source {
        match &self.store {
            Store::Folder(folder) => Source::File(folder.path(name)),
            Store::Bucket(bucket) => Source::Object(bucket.object(name, size)),
        }
    }

    /// Makes a scratch file the object of its hash; its bytes are `size` and were hashed. When this returns, bytes and name outlast a
    /// power cut, and the scratch file is gone or may go. A folder's file counts as made `now`, however long ago its bytes came.
    pub async fn publish(
        &self,
        kind: Kind,
        staged: &Path,
        file_hash: &Sha256,
        size: u64,
        now: Timestamp,
    ) -> Result<()> {
        let name = object_name(kind, file_hash);
        match &self.store {
            Store::Folder(folder) => {
                let (folder, staged) = (folder.clone(), staged.to_owned());
                let publish = move || timed("publish", || folder.publish(&staged, &name, now));
                tokio::task::spawn_blocking(publish).await?
            }
            Store::Bucket(bucket) => timed_async("publish", bucket.put_file(&name, staged, size)).await,
        }
    }

    /// Removes an object; it is fine when there is none. Where it was not begun until `end`, it is not begun.
    pub async fn remove(&self, kind: Kind, file_hash: &Sha256, end: Instant) -> Result<()> {
        let too_late = || {
            let source = "it removes files too slowly; what is left is removed later".into();
            Error::Unavailable { what: "storage", source }
        };
        match &self.store {
            Store::Folder(folder) => {
                let (folder, name) = (folder.clone(), object_name(kind, file_hash));
                // What waits for a thread is not called back by whoever stops waiting for it.
                let remove = move || if Instant::now() < end { folder.remove(&name) } else { Err(too_late()) };
                tokio::task::spawn_blocking(remove).await?
            }
            Store::Bucket(bucket) => {
                let name = object_name(kind, file_hash);
                let removal = bucket.remove(&name);
                tokio::time::timeout_at(end.into(), removal).await.unwrap_or_else(|_| Err(too_late()))
            }
        }
    }

    /// The folders that the objects of a kind are spread over: at most 1024, by the first two digits of their names.
    pub async fn shards(&self, kind: Kind) -> Result<Vec<String>> {
        match &self.store {
            Store::Folder(folder) => folder.shards(kind.name()),
            Store::Bucket(bucket) => bucket.shards(kind.name()).await,
        }
    }

    /// The objects of one shard of a kind.
    pub async fn list(&self, kind: Kind, shard: &str) -> Result<Vec<Listed>> {
        let name = format!("{}/{shard}", kind.name());
        match &self.store {
            Store::Folder(folder) => {
                let folder = folder.clone();
                tokio::task::spawn_blocking(move || folder.list(&name)).await?
            }
            Store::Bucket(bucket) => bucket.list(&name).await,
        }
    }

    /// Free and total bytes, where there is a bound.
    pub fn space(&self) -> Result<Option<Space>> {
        match &self.store {
            Store::Folder(folder) => folder.space().map(Some),
            Store::Bucket(_) => Ok(None),
        }
    }

    /// Receives one part of an upload into the scratch folder.
    pub async fn receive<S, H>(&self, body: S, limit: u64) -> Result<Received<H>>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
        H: Digest + Send + 'static,
    {
        scratch::receive(self.scratch_path(), body, limit).await
    }

    /// Begins a scratch file that is packed as it comes in.
    pub fn begin(&self, limit: u64) -> Result<Writing> {
        Writing::begin(self.scratch_path(), limit)
    }

    /// A new name in the scratch folder.
    pub fn scratch_path(&self) -> PathBuf {
        self.scratch.join(nixbase32::encode(&clock::random::<20>()))
    }

    fn scratch_make(&self) -> Result<()> {
        std::fs::create_dir_all(&self.scratch).map_err(|error| Error::storage(error_at(&self.scratch, &error)))
    }

    /// Removes scratch files that nothing wrote to since `before`: a crash left them.
    pub fn scratch_sweep(&self, before: Timestamp) -> Result<()> {
        scratch::sweep(&self.scratch, before)
    }

    /// Makes a scratch file a part of an upload.
    pub async fn part_keep(&self, upload: &str, number: u32, staged: &Path, size: u64) -> Result<()> {
        let name = part_name(upload, number);
        match &self.store {
            Store::Folder(folder) => folder.keep(staged, &name),
            Store::Bucket(bucket) => bucket.put_file(&name, staged, size).await,
        }
    }

    /// A part to be read off the async threads.
    pub fn part_source(&self, upload: &str, number: u32, size: u64) -> Source {
        self.source_named(&part_name(upload, number), size)
    }

    /// Gives a part a second name in the scratch folder, where that costs nothing. False where it must be copied.
    pub fn part_link(&self, upload: &str, number: u32, staged: &Path) -> Result<bool> {
        match &self.store {
            Store::Folder(folder) => folder.link(&part_name(upload, number), staged).map(|()| true),
            Store::Bucket(_) => Ok(false),
        }
    }

    /// A URL under which whoever has it may put a part straight into the store; `None` where parts come through this server.
    pub async fn part_url(&self, upload: &str, number: u32, md5: &str) -> Result<Option<String>> {
        match &self.store {
            Store::Bucket(bucket) => bucket.part_url(&part_name(upload, number), md5).await,
            Store::Folder(_) => Ok(None),
        }
    }

    /// The parts that came without passing this server; `None` where they pass it.
    pub async fn parts_beside(&self, upload: &str) -> Result<Option<Vec<StoredPart>>> {
        match &self.store {
            Store::Bucket(bucket) => bucket.parts_beside(&format!("staging/{upload}")).await,
            Store::Folder(_) => Ok(None),
        }
    }

    /// Removes the parts of an upload; it is fine when there are none.
    pub async fn upload_remove(&self, upload: &str) -> Result<()> {
        let name = format!("staging/{upload}");
        match &self.store {
            Store::Folder(folder) => folder.remove_folder(&name),
            Store::Bucket(bucket) => bucket.remove_below(&name).await,
        }
    }

    /// Names of uploads with parts that nothing was added to since `before`.
    pub async fn uploads_before(&self, before: Timestamp) -> Result<Vec<String>> {
        match &self.store {
            Store::Folder(folder) => folder.folders_before("staging", before),
            Store::Bucket(bucket) => bucket.folders_before("staging", before).await,
        }
    }
}

/// Records how long the storage took.
fn timed<T>(operation: &'static str, run: impl FnOnce() -> T) -> T {
    let _span = tracing::debug_span!("storage", otel.name = format_args!("storage {operation}")).entered();
    let started = Instant::now();
    let done = run();
    metrics::histogram!("iglu_storage_seconds", "operation" => operation).record(started.elapsed());
    done
}

async fn timed_async<T>(operation: &'static str, run: impl Future<Output = T>) -> T {
    let span = tracing::debug_span!("storage", otel.name = format_args!("storage {operation}"), otel.kind = "client");
    let started = Instant::now();
    let done = run.instrument(span).await;
    metrics::histogram!("iglu_storage_seconds", "operation" => operation).record(started.elapsed());
    done
}
