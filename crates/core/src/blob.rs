//! The only door to stored objects: NAR files by content in a folder, and the staging area of uploads beside them, on
//! the same file system so that publishing is a rename.
//!
//! ```text
//! nar/1b/1b8m03r63z…      a NAR file, named by the SHA-256 of its bytes
//! staging/<upload>/7      part 7 of an upload, whole
//! staging/put/<random>    a NAR file or log on its way in
//! log/1b/1b8m03r63z…      a build log, packed, named like a NAR file
//! ```

use crate::{
    clock,
    error::{Error, Result},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use iglu_api::Timestamp;
use nix_compat::{nixbase32, nixhash::Sha256};
use sha2::Digest;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

/// Bytes gathered before they are hashed and written off the async threads.
const WRITE_SIZE: usize = 256 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Blob {
    root: PathBuf,
}

/// A file that was received whole.
pub(crate) struct Received<H> {
    pub path: PathBuf,
    pub size: u64,
    pub digest: H,
}

/// Free and total bytes of the file system.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

/// The kinds of stored files; each has a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nar,
    Log,
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Kind::Nar => "nar",
            Kind::Log => "log",
        }
    }
}

impl Blob {
    pub fn open(root: &Path) -> Result<Blob> {
        for folder in ["nar", "log", "staging/put"] {
            fs::create_dir_all(root.join(folder)).map_err(Error::storage)?;
        }
        Ok(Blob { root: root.to_owned() })
    }

    fn path(&self, kind: Kind, file_hash: &Sha256) -> PathBuf {
        let name = file_hash.to_nix32();
        self.root.join(kind.folder()).join(&name[..2]).join(name)
    }

    fn upload_folder(&self, upload: &str) -> PathBuf {
        self.root.join("staging").join(upload)
    }

    pub fn part_path(&self, upload: &str, number: u32) -> PathBuf {
        self.upload_folder(upload).join(number.to_string())
    }

    /// A new name beside the parts of `upload`, for a file in the making.
    pub fn scratch_path(&self, upload: &str) -> Result<PathBuf> {
        let folder = self.upload_folder(upload);
        fs::create_dir_all(&folder).map_err(Error::storage)?;
        Ok(folder.join(format!("{}.tmp", nixbase32::encode(&clock::random::<10>()))))
    }

    /// Opens a NAR file of the size that the database says; `None` where it is absent or of another size.
    pub fn nar_open(&self, file_hash: &Sha256, size: u64) -> Result<Option<File>> {
        self.open_file(Kind::Nar, file_hash, size)
    }

    pub fn open_file(&self, kind: Kind, file_hash: &Sha256, size: u64) -> Result<Option<File>> {
        match timed("open", || File::open(self.path(kind, file_hash))) {
            Ok(file) => {
                let found = file.metadata().map_err(Error::storage)?.len();
                if found == size {
                    return Ok(Some(file));
                }
                tracing::error!(
                    file = file_hash.to_nix32(),
                    expected = size,
                    found,
                    "a stored file has the wrong size"
                );
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::storage(error)),
        }
    }

    /// Bytes of a stored file, `None` where there is none.
    pub fn size(&self, kind: Kind, file_hash: &Sha256) -> Result<Option<u64>> {
        match timed("size", || fs::metadata(self.path(kind, file_hash))) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::storage(error)),
        }
    }

    /// The path of a stored NAR file, for reading it off the async threads.
    pub fn nar_file(&self, file_hash: &Sha256) -> PathBuf {
        self.path(Kind::Nar, file_hash)
    }

    /// Makes a staged file the NAR file of its hash. When this returns, file and name outlast a power cut. The file counts
    /// as made `now`, however long ago its bytes came: the sweep judges by age.
    pub fn nar_publish(&self, staged: &Path, file_hash: &Sha256, now: Timestamp) -> Result<()> {
        self.publish(Kind::Nar, staged, file_hash, now)
    }

    pub fn publish(&self, kind: Kind, staged: &Path, file_hash: &Sha256, now: Timestamp) -> Result<()> {
        let publish = || {
            let file = File::open(staged)?;
            file.set_modified(UNIX_EPOCH + Duration::from_millis(now.0.unsigned_abs()))?;
            file.sync_all()?;
            let target = self.path(kind, file_hash);
            let folder = target.parent().unwrap_or(&self.root);
            if !folder.is_dir() {
                fs::create_dir_all(folder)?;
                File::open(self.root.join(kind.folder()))?.sync_all()?;
            }
            fs::rename(staged, &target)?;
            File::open(folder)?.sync_all()
        };
        timed("publish", publish).map_err(Error::storage)
    }

    /// Removes the staged parts of an upload; it is fine when there are none.
    pub fn upload_remove(&self, upload: &str) -> Result<()> {
        match fs::remove_dir_all(self.upload_folder(upload)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::storage(error)),
            _ => Ok(()),
        }
    }

    /// Names of the staging folders that nothing touched since `before`.
    pub fn uploads_before(&self, before: Timestamp) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.root.join("staging")).map_err(Error::storage)?;
        let mut names = Vec::new();
        for entry in entries.flatten() {
            if entry.file_name() != "put" && is_before(&entry, before) {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    /// Removes what clients began to put by name and never ended.
    pub fn puts_remove_before(&self, before: Timestamp) -> Result<()> {
        for entry in fs::read_dir(self.root.join("staging/put")).map_err(Error::storage)?.flatten() {
            if is_before(&entry, before) {
                fs::remove_file(entry.path()).map_err(Error::storage)?;
            }
        }
        Ok(())
    }

    /// Files of one of the kind's 1024 folders that were stored before `before`.
    pub fn stored_before(&self, kind: Kind, folder: usize, before: Timestamp) -> Result<Vec<Sha256>> {
        const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
        let name = [DIGITS[folder / 32 % 32], DIGITS[folder % 32]];
        let name = String::from_utf8_lossy(&name).into_owned();
        let entries = match fs::read_dir(self.root.join(kind.folder()).join(name)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::storage(error)),
        };
        let old = entries.flatten().filter(|entry| is_before(entry, before));
        Ok(old.filter_map(|entry| Sha256::parse_nix32(entry.file_name().to_str()?).ok()).collect())
    }

    pub fn remove(&self, kind: Kind, file_hash: &Sha256) -> Result<()> {
        fs::remove_file(self.path(kind, file_hash)).map_err(Error::storage)
    }

    pub fn space(&self) -> Result<Space> {
        let stat = rustix::fs::statvfs(&self.root).map_err(|error| Error::storage(error.into()))?;
        Ok(Space { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
    }

    /// Receives one part of an upload; it stands under its number only when it is whole.
    pub async fn part_receive<S, H>(&self, upload: &str, body: S, limit: u64) -> Result<Received<H>>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
        H: Digest + Send + 'static,
    {
        receive(self.scratch_path(upload)?, body, limit).await
    }

    /// Receives a NAR file that a client puts by name.
    pub async fn put_receive<S, H>(&self, body: S, limit: u64) -> Result<Received<H>>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
        H: Digest + Send + 'static,
    {
        receive(self.put_path(), body, limit).await
    }

    /// Begins a file that is packed as it comes in.
    pub fn put_begin(&self) -> Result<Writing> {
        Writing::begin(self.put_path())
    }

    fn put_path(&self) -> PathBuf {
        self.root.join("staging/put").join(nixbase32::encode(&clock::random::<20>()))
    }
}

/// Records how long the storage took.
fn timed<T>(operation: &'static str, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = run();
    metrics::histogram!("iglu_storage_seconds", "operation" => operation).record(started.elapsed());
    done
}

fn is_before(entry: &fs::DirEntry, before: Timestamp) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    let since_epoch = modified.ok().and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    since_epoch.is_some_and(|age| i64::try_from(age.as_millis()).is_ok_and(|millis| millis < before.0))
}

/// Removes its file unless told that the file was taken over.
pub(crate) struct Scratch(Option<PathBuf>);

impl Scratch {
    pub fn new(path: PathBuf) -> Scratch {
        Scratch(Some(path))
    }

    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// A staged file that is written and hashed piece by piece. Dropped before its end, it is gone.
pub(crate) struct Writing {
    file: File,
    path: PathBuf,
    scratch: Scratch,
    digest: sha2::Sha256,
    size: u64,
}

/// A staged file that was written whole.
pub(crate) struct Written {
    pub path: PathBuf,
    /// Removes the file unless it is kept.
    pub scratch: Scratch,
    pub file_hash: Sha256,
    pub size: u64,
}

impl Writing {
    fn begin(path: PathBuf) -> Result<Writing> {
        let file = File::create_new(&path).map_err(Error::storage)?;
        let scratch = Scratch::new(path.clone());
        Ok(Writing { file, path, scratch, digest: sha2::Sha256::new(), size: 0 })
    }

    pub fn finish(self) -> Written {
        let file_hash = Sha256::from_bytes(self.digest.finalize().into());
        Written { path: self.path, scratch: self.scratch, file_hash, size: self.size }
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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
async fn receive<S, H>(path: PathBuf, body: S, limit: u64) -> Result<Received<H>>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
    H: Digest + Send + 'static,
{
    let file = File::create_new(&path).map_err(Error::storage)?;
    let scratch = Scratch::new(path.clone());
    let (_, digest, size) = in_blocks(body, limit, (file, H::new(), 0_u64), |(file, digest, size), block| {
        digest.update(block);
        *size += block.len() as u64;
        timed("write", || file.write_all(block)).map_err(Error::storage)
    })
    .await?;
    scratch.keep();
    Ok(Received { path, size, digest })
}
