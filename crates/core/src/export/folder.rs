//! The folder that an export writes: files appear in it whole or not at all, under names that the cache made. Calls block for as long as
//! the disks take.

use super::Fault;
use crate::error::{Error, Result};
use nix_compat::nixhash::Sha256;
use sha2::Digest;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

const BLOCK: usize = 256 * 1024;
/// The file that makes a folder a binary cache.
pub(super) const CACHE_INFO: &str = "nix-cache-info";

/// The folder, locked against a second export.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    handle: File,
}

impl Folder {
    /// Opens a folder that is new, empty, or a binary cache.
    pub fn open(root: &Path) -> Result<Folder> {
        let failed = |error| unwritten(root, error);
        fs::create_dir_all(root).map_err(failed)?;
        let handle = File::open(root).map_err(failed)?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another export writes to {}; wait for its end", root.display());
                return Err(Error::Conflict { field: "", message });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let is_empty = fs::read_dir(root).map_err(failed)?.next().is_none();
        if !is_empty && !root.join(CACHE_INFO).exists() {
            let message = format!("{} holds something else than a binary cache; name a new folder", root.display());
            return Err(Error::invalid("", message));
        }
        Ok(Folder { root: root.to_owned(), handle })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether there is a file of this name and size, and with `hash` of these bytes.
    pub fn has(&self, name: &str, size: u64, hash: Option<&Sha256>) -> Result<bool> {
        let path = self.path(name);
        let is_whole = match fs::metadata(&path) {
            Ok(metadata) => metadata.is_file() && metadata.len() == size,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(unwritten(&path, error)),
        };
        match hash {
            Some(hash) if is_whole => {
                let mut file = Hashing::new(File::open(&path).map_err(|error| unwritten(&path, error))?);
                // What cannot be read any more is written again.
                Ok(io::copy(&mut file, &mut io::sink()).is_ok() && file.finish() == *hash)
            }
            _ => Ok(is_whole),
        }
    }

    /// Writes a small file, unless it has these bytes already. Whether it did.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let path = self.path(name);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64)
            && fs::read(&path).is_ok_and(|found| found == bytes)
        {
            return Ok(false);
        }
        let mut partial = self.begin(name)?;
        partial.file.write_all(bytes).map_err(|error| unwritten(&path, error))?;
        partial.finish()?;
        Ok(true)
    }

    /// Begins a file that appears when it is finished.
    pub fn begin(&self, name: &str) -> Result<Partial> {
        let (path, partial) = self.partial(name)?;
        let file = File::create(&partial).map_err(|error| unwritten(&partial, error))?;
        Ok(Partial { file, partial, path })
    }

    /// Gives the file at `place` a second name here. False where the file system cannot.
    pub fn link(&self, place: &Path, name: &str) -> Result<bool> {
        let (path, partial) = self.partial(name)?;
        let _ = fs::remove_file(&partial);
        if fs::hard_link(place, &partial).is_err() {
            return Ok(false);
        }
        fs::rename(&partial, &path).map_err(|error| unwritten(&path, error))?;
        // Two names of one file stay where they are.
        let _ = fs::remove_file(&partial);
        Ok(true)
    }

    /// A name, and the one that its file has while it is written: always the same, so that a run that was killed leaves nothing that the
    /// next one does not take over.
    fn partial(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let path = self.path(name);
        let (folder, file) =
            path.parent().zip(path.file_name()).ok_or_else(|| Error::internal("a file without name"))?;
        fs::create_dir_all(folder).map_err(|error| unwritten(folder, error))?;
        let partial = folder.join(format!(".{}.partial", file.to_string_lossy()));
        Ok((path, partial))
    }

    /// Removes the files right below `folder` (empty: the root) that `keeps` does not want. Their number.
    pub fn prune(&self, folder: &str, keeps: impl Fn(&str) -> bool) -> Result<u64> {
        let path = self.path(folder);
        let failed = |error| unwritten(&path, error);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && entry.file_name().to_str().is_some_and(|name| !keeps(name)) {
                fs::remove_file(entry.path()).map_err(|error| unwritten(&entry.path(), error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Names of the folders right below `folder`.
    pub fn folders(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Waits until all that was written outlasts a power cut.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.handle).map_err(|error| unwritten(&self.root, error.into()))
    }
}

/// A file that is being written.
pub(super) struct Partial {
    pub file: File,
    partial: PathBuf,
    path: PathBuf,
}

impl Partial {
    pub fn finish(self) -> Result<()> {
        fs::rename(&self.partial, &self.path).map_err(|error| unwritten(&self.path, error))
    }

    pub fn discard(self) {
        let _ = fs::remove_file(&self.partial);
    }

    /// An error of writing to it.
    fn failed(&self, error: io::Error) -> Fault {
        Fault::Export(unwritten(&self.path, error))
    }
}

pub(super) fn unwritten(path: &Path, source: io::Error) -> Error {
    Error::Internal { what: format!("{} could not be written", path.display()), source: Some(source.into()) }
}

/// Writes all there is to `partial`; to nowhere without one. Its bytes.
pub(super) fn pour(source: &mut impl Read, mut partial: Option<&mut Partial>) -> Result<u64, Fault> {
    let (mut size, mut block) = (0, vec![0; BLOCK]);
    loop {
        let read = source.read(&mut block).map_err(unreadable)?;
        if read == 0 {
            return Ok(size);
        }
        if let Some(partial) = &mut partial {
            partial.file.write_all(&block[..read]).map_err(|error| partial.failed(error))?;
        }
        size += read as u64;
    }
}

/// A stored file that does not give its bytes.
pub(super) fn unreadable(error: io::Error) -> Fault {
    Fault::Damaged(match error.kind() {
        io::ErrorKind::NotFound => "the file is not there".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    })
}

/// A reader that hashes what passes.
pub(super) struct Hashing<R> {
    inner: R,
    digest: sha2::Sha256,
}

impl<R: Read> Hashing<R> {
    pub fn new(inner: R) -> Hashing<R> {
        Hashing { inner, digest: sha2::Sha256::new() }
    }

    pub fn finish(self) -> Sha256 {
        Sha256::from_bytes(self.digest.finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}
