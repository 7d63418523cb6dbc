//! A store in a folder: objects are files, publishing is a rename on one file system. Calls block for as long as the disk takes.

use super::{Listed, MARK, Space, error_at};
use crate::error::{Error, Result};
use iglu_api::Timestamp;
use nix_compat::nixhash::Sha256;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub fn new(root: &Path) -> Folder {
        Folder { root: root.to_owned() }
    }

    pub fn place(&self) -> String {
        format!("folder {}", self.root.display())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn mark(&self) -> Result<Option<String>> {
        let text = found(fs::read_to_string(self.path(MARK)))?;
        Ok(text.map(|text| text.trim().to_owned()))
    }

    /// Makes the folders of the store, and its mark last.
    pub fn begin(&self, mark: &str) -> Result<()> {
        let begin = || {
            for folder in ["nar", "log", "staging", "scratch"] {
                fs::create_dir_all(self.path(folder))?;
            }
            let staged = self.path("iglu-store.new");
            let mut file = File::create(&staged)?;
            writeln!(file, "{mark}")?;
            file.sync_all()?;
            fs::rename(staged, self.path(MARK))?;
            File::open(&self.root)?.sync_all()
        };
        begin().map_err(|error| Error::storage(error_at(&self.root, &error)))
    }

    /// Makes a folder in one that is there. Where the volume went away, nothing is made in its empty mount point.
    fn make(&self, folder: &Path) -> io::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Somebody copied the store without its empty folders.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path(MARK).is_file() => {
                fs::create_dir_all(folder)
            }
            made => made,
        }
    }

    pub fn has_nars(&self) -> Result<bool> {
        let Some(shards) = found(fs::read_dir(self.path("nar")))? else { return Ok(false) };
        for shard in shards.flatten() {
            if fs::read_dir(shard.path()).is_ok_and(|mut files| files.next().is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The file and its size.
    pub fn open(&self, name: &str) -> Result<Option<(File, u64)>> {
        let Some(file) = found(File::open(self.path(name)))? else { return Ok(None) };
        let size = file.metadata().map_err(Error::storage)?.len();
        Ok(Some((file, size)))
    }

    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(found(fs::metadata(self.path(name)))?.map(|metadata| metadata.len()))
    }

    pub fn publish(&self, staged: &Path, name: &str, now: Timestamp) -> Result<()> {
        let publish = || {
            let file = File::open(staged)?;
            file.set_modified(UNIX_EPOCH + Duration::from_millis(now.0.unsigned_abs()))?;
            file.sync_all()?;
            let target = self.path(name);
            let folder = target.parent().unwrap_or(&self.root);
            if !folder.is_dir() {
                self.make(folder)?;
                if let Some(above) = folder.parent() {
                    File::open(above)?.sync_all()?;
                }
            }
            fs::rename(staged, &target)?;
            File::open(folder)?.sync_all()
        };
        publish().map_err(Error::storage)
    }

    /// Moves a file to its name without waiting for the disk.
    pub fn keep(&self, staged: &Path, name: &str) -> Result<()> {
        let target = self.path(name);
        if let Some(folder) = target.parent() {
            self.make(folder).map_err(Error::storage)?;
        }
        fs::rename(staged, target).map_err(Error::storage)
    }

    pub fn link(&self, name: &str, staged: &Path) -> Result<()> {
        fs::hard_link(self.path(name), staged).map_err(Error::storage)
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        found(fs::remove_file(self.path(name))).map(drop)
    }

    pub fn remove_folder(&self, name: &str) -> Result<()> {
        found(fs::remove_dir_all(self.path(name))).map(drop)
    }

    /// Names of the folders below `name`.
    pub fn shards(&self, name: &str) -> Result<Vec<String>> {
        let Some(entries) = found(fs::read_dir(self.path(name)))? else { return Ok(Vec::new()) };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// The files of a folder that are named by a hash.
    pub fn list(&self, name: &str) -> Result<Vec<Listed>> {
        let Some(entries) = found(fs::read_dir(self.path(name)))? else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(file_hash) = name.to_str().and_then(|name| Sha256::parse_nix32(name).ok()) else { continue };
            // Removed since the folder was read.
            let Some(metadata) = found(entry.metadata())? else { continue };
            listed.push(Listed { file_hash, size: metadata.len(), modified: modified(&metadata) });
        }
        Ok(listed)
    }

    /// Names of the folders below `name` that nothing was added to since `before`.
    pub fn folders_before(&self, name: &str, before: Timestamp) -> Result<Vec<String>> {
        let Some(entries) = found(fs::read_dir(self.path(name)))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries.flatten() {
            if entry.metadata().is_ok_and(|metadata| modified(&metadata) < before) {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    pub fn space(&self) -> Result<Space> {
        let stat = rustix::fs::statvfs(&self.root).map_err(|error| Error::storage(error.into()))?;
        Ok(Space { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
    }
}

/// When a file was written last; now where the file system does not say, so that nothing is removed as old.
pub(super) fn modified(metadata: &fs::Metadata) -> Timestamp {
    let since_epoch = metadata.modified().ok().and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    let millis = since_epoch.and_then(|age| i64::try_from(age.as_millis()).ok());
    Timestamp(millis.unwrap_or(i64::MAX))
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::storage(error)),
    }
}
