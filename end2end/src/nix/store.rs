//! Stores below folders: temporary ones to fetch into, and this machine's own where `/nix` is not ours to write.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use tempfile::TempDir;

use super::{NixRelease, PathInfo};

/// A store below a temporary folder; removed when dropped.
#[derive(Debug)]
pub struct FreshStore {
    folder: Option<TempDir>,
}

impl FreshStore {
    /// An empty folder for this machine's Nix, which makes the rest.
    pub fn new() -> anyhow::Result<Self> {
        Self::of(&NixRelease::Host)
    }

    /// An empty folder where this release can see it.
    pub fn of(release: &NixRelease) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("iglu-nix-store-").tempdir_in(release.temporary())?;
        Ok(Self { folder: Some(folder) })
    }

    /// What `--store` takes, as this machine names it.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/nonexistent"), TempDir::path)
    }

    /// Where the files of a store path lie.
    pub fn locate(&self, store_path: &str) -> PathBuf {
        self.path().join(store_path.trim_start_matches('/'))
    }

    /// Fails unless these paths are here with the same files as where they were built.
    pub fn holds(&self, closure: &[PathInfo]) -> anyhow::Result<()> {
        for info in closure {
            let copy = self.locate(&info.path);
            ensure!(copy.symlink_metadata().is_ok(), "{} is not there", info.path);
            let (copy, original) = (tree(&copy)?, tree(&info.location)?);
            ensure!(copy == original, "{} came back as {copy:?}, not {original:?}", info.path);
        }
        Ok(())
    }
}

impl Drop for FreshStore {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            // Nix takes the write permission away, without which nobody but root could remove the files.
            make_writable(folder.path());
            drop(folder);
        }
    }
}

fn make_writable(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

/// The files below a folder with what matters of them: content, executable bit, link target.
pub fn tree(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = std::fs::symlink_metadata(&path)?;
        let what = if meta.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
            "directory".to_owned()
        } else if meta.is_symlink() {
            format!("-> {}", std::fs::read_link(&path)?.display())
        } else {
            let executable = meta.permissions().mode() & 0o111 != 0;
            format!("{} executable={executable}", crate::digest::sha256_hex(&std::fs::read(&path)?))
        };
        found.insert(path.strip_prefix(folder)?.to_owned(), what);
    }
    Ok(found)
}

/// Below which folder this machine's store lies, if `/nix` is not ours to write: then it is one per user.
pub fn store_root() -> Option<PathBuf> {
    // Nix makes /nix itself where it may, so either it can be written or its parent can.
    let writable = |path: &str| tempfile::Builder::new().prefix(".iglu-").tempfile_in(path).is_ok();
    let usable = if Path::new("/nix/var/nix/db").exists() {
        writable("/nix/var/nix/db") || Path::new("/nix/var/nix/daemon-socket/socket").exists()
    } else {
        writable("/")
    };
    let user = std::env::var("USER").unwrap_or_else(|_| "user".to_owned());
    (!usable).then(|| std::env::temp_dir().join(format!("iglu-nix-{user}")))
}
