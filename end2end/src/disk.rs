//! Small file systems of a test's own, to be full or away. Owns the mount point, what is mounted there, and where its contents
//! are kept; needs root. All go when the value is dropped.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Why there is no such disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A program that mounts or makes file systems failed.
    #[error(
        "{program} refused: {why}; run as root where mounting is allowed, or set IGLU_NO_MOUNT=1 to go without these tests"
    )]
    Refused {
        /// Its name.
        program: &'static str,
        /// What it said.
        why: String,
    },
    /// The temporary folder has no room, or the disk is away.
    #[error("cannot use the test's disk: {0}")]
    Io(#[from] std::io::Error),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Tmpfs { mib: u64 },
    Ext4 { mib: u64 },
    Folder,
}

/// A file system with a mount point of its own.
#[derive(Debug)]
pub struct Disk {
    kind: Kind,
    folder: TempDir,
}

impl Disk {
    /// `mib` MiB in memory. What is on it is gone once it is unmounted.
    pub fn tmpfs(mib: u64) -> Result<Self, DiskError> {
        Self::new(Kind::Tmpfs { mib })
    }

    /// ext4 in a file of `mib` MiB, some of which ext4 needs for itself. Keeps what is on it while it is unmounted.
    pub fn ext4(mib: u64) -> Result<Self, DiskError> {
        Self::new(Kind::Ext4 { mib })
    }

    /// A folder, with all the room that there is. Keeps what is on it while it is unmounted. Needs no loop device.
    pub fn folder() -> Result<Self, DiskError> {
        Self::new(Kind::Folder)
    }

    /// What a test begins with: panics where disks are refused, unless `IGLU_NO_MOUNT=1` says that they are; then there is
    /// none, and the test has nothing to do.
    pub fn required(disk: Result<Self, DiskError>) -> Option<Self> {
        match disk {
            Ok(disk) => Some(disk),
            Err(error) if std::env::var("IGLU_NO_MOUNT").is_ok_and(|value| value == "1") => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn new(kind: Kind) -> Result<Self, DiskError> {
        clear_up(&std::env::temp_dir());
        let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir()?;
        let disk = Self { kind, folder };
        std::fs::create_dir(disk.path())?;
        std::fs::create_dir(disk.kept())?;
        if let Kind::Ext4 { mib } = kind {
            File::create(disk.image())?.set_len(mib * 1024 * 1024)?;
            // No blocks are kept for root, who runs the tests.
            run("mkfs.ext4", |command| command.args(["-q", "-F", "-m", "0"]).arg(disk.image()))?;
        }
        disk.mount()?;
        Ok(disk)
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    fn image(&self) -> PathBuf {
        self.kept().join("image")
    }

    /// Mounts it again after [`Disk::unmount`]: a tmpfs is empty then, the others are as they were.
    pub fn mount(&self) -> Result<(), DiskError> {
        run("mount", |command| {
            match self.kind {
                Kind::Tmpfs { mib } => command.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]),
                Kind::Ext4 { .. } => command.args(["-o", "loop"]).arg(self.image()),
                Kind::Folder => command.arg("--bind").arg(self.kept()),
            }
            .arg(self.path())
        })
    }

    /// Leaves an empty mount point, as of a volume that is not there. Where files on it are open, whoever has them keeps them.
    pub fn unmount(&self) -> Result<(), DiskError> {
        let at = self.path();
        run("umount", |command| command.arg(&at)).or_else(|_| run("umount", |command| command.arg("--lazy").arg(&at)))
    }

    /// Bytes that an ordinary user may still write.
    pub fn free(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::statvfs(self.path()).map_err(std::io::Error::from)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Writes a file of nothing beside the test's until at most `leave` bytes are free. 0 leaves room for not one more.
    pub fn fill(&self, leave: u64) -> Result<(), DiskError> {
        let mut file = File::options().create(true).append(true).open(self.filler())?;
        loop {
            let excess = self.free()?.saturating_sub(leave);
            if excess == 0 {
                return Ok(());
            }
            let block = [0; 64 * 1024];
            let size = usize::try_from(excess).unwrap_or(usize::MAX).min(block.len());
            match file.write_all(&block[..size]).and_then(|()| file.sync_data()) {
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                written => written?,
            }
        }
    }

    /// Removes what [`Disk::fill`] wrote.
    pub fn relieve(&self) -> Result<(), DiskError> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.path().join(".filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not mounted is as good.
        let _ = self.unmount();
    }
}

const PREFIX: &str = "iglu-disk-";

/// Unmounts and removes what tests left that were killed.
fn clear_up(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = run("umount", |command| command.arg("--lazy").arg(entry.path().join("disk")));
            // Not below a mount point: what is on it may be somebody's.
            let _ = std::fs::remove_dir(entry.path().join("disk"));
            let _ = std::fs::remove_dir_all(entry.path().join("kept"));
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

fn run<'a>(program: &'static str, with: impl FnOnce(&mut Command) -> &mut Command + 'a) -> Result<(), DiskError> {
    let mut command = Command::new(program);
    // Debian keeps mkfs where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
    let output = with(&mut command).output().map_err(|error| DiskError::Refused { program, why: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(DiskError::Refused { program, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room_comes_and_goes(disk: &Disk) {
        disk.fill(100 * 1024).unwrap();
        assert!(disk.free().unwrap() <= 100 * 1024);
        std::fs::write(disk.path().join("small"), [1; 50 * 1024]).unwrap();
        disk.fill(0).unwrap();
        let error = std::fs::write(disk.path().join("more"), [1; 50 * 1024]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        disk.relieve().unwrap();
        std::fs::write(disk.path().join("more"), [1; 50 * 1024]).unwrap();
        assert_eq!(std::fs::read(disk.path().join("small")).unwrap(), [1; 50 * 1024]);
    }

    fn away_and_back(disk: &Disk, kept: bool) {
        std::fs::write(disk.path().join("file"), "text").unwrap();
        let open = File::open(disk.path().join("file")).unwrap();
        disk.unmount().unwrap();
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
        assert!(disk.unmount().is_err());
        // While somebody still holds a file of it.
        disk.mount().unwrap();
        let read = std::fs::read_to_string(disk.path().join("file"));
        assert_eq!(read.ok().as_deref(), kept.then_some("text"));
        drop(open);
        disk.unmount().unwrap();
        disk.mount().unwrap();
        assert_eq!(disk.path().join("file").exists(), kept);
    }

    #[test]
    fn tmpfs_is_full_and_forgets() {
        let Some(disk) = Disk::required(Disk::tmpfs(4)) else { return };
        assert_eq!(disk.free().unwrap(), 4 << 20);
        room_comes_and_goes(&disk);
        away_and_back(&disk, false);
    }

    #[test]
    fn ext4_is_full_and_remembers() {
        let Some(disk) = Disk::required(Disk::ext4(16)) else { return };
        room_comes_and_goes(&disk);
        away_and_back(&disk, true);
    }

    #[test]
    fn folder_remembers() {
        let Some(disk) = Disk::required(Disk::folder()) else { return };
        away_and_back(&disk, true);
    }

    fn mounted(path: &Path) -> bool {
        std::fs::read_to_string("/proc/mounts").unwrap().contains(&*path.to_string_lossy())
    }

    #[test]
    fn nothing_is_left_mounted() {
        let Some(disk) = Disk::required(Disk::tmpfs(1)) else { return };
        let folder = disk.folder.path().to_owned();
        let _busy = File::create(disk.path().join("file")).unwrap();
        assert!(mounted(&folder));
        drop(disk);
        assert!(!mounted(&folder) && !folder.exists());
    }

    #[test]
    fn what_a_killed_test_left_is_cleared_up() {
        if Disk::required(Disk::tmpfs(1)).is_none() {
            return;
        }
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        // Nobody has this number now. In a folder of its own, since other tests clear up at any time.
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(format!("{PREFIX}{}-left", child.id()));
        std::fs::create_dir_all(left.join("disk")).unwrap();
        run("mount", |command| command.args(["-t", "tmpfs", "tmpfs"]).arg(left.join("disk"))).unwrap();
        assert!(mounted(&left));
        clear_up(folder.path());
        assert!(!mounted(&left) && !left.exists());
    }
}
