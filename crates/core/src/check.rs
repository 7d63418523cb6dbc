//! Whether what the database promises is there: every NAR file by its size, or read again and hashed; numbers; closures. Finds, and
//! repairs where asked to: a damaged file's paths are set aside, a file that is whole again brings them back.

use crate::{
    Core,
    blob::{Kind, Source},
    caller::{Caller, Discretion},
    db::{DamagedRow, NarRow},
    error::{Error, Result},
};
use futures_util::{StreamExt, stream};
use iglu_api::{
    Timestamp,
    cache::Permission,
    check::{CheckReport, DamagedFile, DamagedPath},
};
use nix_compat::{nixhash::Sha256, store_path::StorePathHash};
use sha2::Digest;
use std::io::{self, Read};

/// Files looked at at the same time, where only their size is asked for.
const AT_ONCE: usize = 16;
/// Rows looked up at a time.
const PAGE: i64 = 500;
/// Damaged files that a report names.
const MOST_NAMED: usize = 1000;
const READ_SIZE: usize = 256 * 1024;

/// How thorough a check is, and whether it changes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckKind {
    /// Reads every file and hashes it; otherwise sizes are compared.
    pub is_full: bool,
    /// Sets damaged paths aside, brings back what is whole, corrects numbers.
    pub repairs: bool,
}

impl Core {
    /// Checks everything. `each` hears how many files of how many were looked at.
    pub async fn check_all(&self, kind: CheckKind, each: &(dyn Fn(u64, u64) + Sync)) -> Result<CheckReport> {
        self.storage_require().await?;
        let mut report = CheckReport { is_full: kind.is_full, ..CheckReport::default() };
        let all = self.db.nar_count().await?;
        let mut last = 0;
        loop {
            let nars = self.db.nar_page(last, PAGE).await?;
            let Some(end) = nars.last() else { break };
            last = end.id;
            let looks = stream::iter(nars).map(|nar| async move {
                let look = self.nar_look(&nar, kind.is_full).await;
                look.map(|why| (nar, why))
            });
            let mut looks = looks.buffer_unordered(if kind.is_full { 2 } else { AT_ONCE });
            while let Some(look) = looks.next().await {
                let (nar, why) = look?;
                report.files += 1;
                report.bytes += nar.file_size.unsigned_abs();
                self.judge(&nar, why, kind, &mut report).await?;
                each(report.files, all);
            }
        }
        // A storage that went away in the middle would have made everything absent.
        self.storage_require().await?;
        self.check_rows(kind, &mut report).await?;
        Ok(report)
    }

    async fn judge(&self, nar: &NarRow, why: Option<String>, kind: CheckKind, report: &mut CheckReport) -> Result<()> {
        let file_hash = nar.hash()?;
        match (why, nar.damaged_at) {
            (None, None) => {}
            (None, Some(_)) => {
                report.whole_again += 1;
                // A size is no proof of wholeness.
                if kind.repairs && self.nar_look(nar, true).await?.is_none() {
                    report.restored_paths += self.nar_whole(nar).await?;
                }
            }
            (Some(_), Some(_)) => report.known_damaged += 1,
            (Some(why), None) => {
                self.storage_require().await?;
                let mut paths = self.db.nar_path_names(nar.id, 10).await?;
                if kind.repairs {
                    self.nar_damaged(&file_hash, &why).await?;
                }
                report.damaged_count += 1;
                if report.damaged.len() < MOST_NAMED {
                    paths.sort();
                    report.damaged.push(DamagedFile { file: file_hash.to_nix32(), why, paths });
                }
            }
        }
        Ok(())
    }

    /// Puts back every path of a NAR whose file was read and is whole again. How many.
    pub(crate) async fn nar_whole(&self, nar: &NarRow) -> Result<u64> {
        crate::failpoint::reach("whole.before");
        let back = self.db.nar_set_whole(&nar.file_hash).await?;
        crate::failpoint::reach("whole.after");
        self.forget(&back.visible);
        self.directory.reload(&self.db, &self.master).await?;
        Ok(back.paths)
    }

    /// What only the database says: numbers kept beside rows, and closures.
    async fn check_rows(&self, kind: CheckKind, report: &mut CheckReport) -> Result<()> {
        report.unused_nars = if kind.repairs {
            self.db.unused_nars_release(self.now().0).await?
        } else {
            self.db.unused_nar_count().await?
        };
        for cache in self.directory.all() {
            let (paths, bytes) = self.db.cache_numbers(cache.id).await?;
            let kept = self.db.cache_list().await?.into_iter().find(|row| row.id == cache.id);
            // Pushes go on: a number is wrong when it is twice.
            if let Some(kept) = kept
                && (kept.path_count, kept.stored_bytes) != (paths, bytes)
                && !self.db.cache_numbers_match(cache.id).await?
            {
                report.wrong_numbers.push(cache.name.to_string());
                if kind.repairs {
                    self.db.cache_numbers_set(cache.id).await?;
                }
            }
            if !cache.is_lenient && cache.client_filter_keys.is_empty() && cache.upstreams.is_empty() {
                let incomplete = self.incomplete_closures(cache.id).await?;
                if incomplete > 0 {
                    report.incomplete.push((cache.name.to_string(), incomplete));
                }
            }
        }
        if kind.repairs && !report.wrong_numbers.is_empty() {
            self.directory.reload(&self.db, &self.master).await?;
        }
        Ok(())
    }

    /// What is wrong with a NAR's file; `None` when nothing is. Fails where the storage does: that is not the file's fault.
    pub(crate) async fn nar_look(&self, nar: &NarRow, is_full: bool) -> Result<Option<String>> {
        let file_hash = nar.hash()?;
        let size = nar.file_size.unsigned_abs();
        let found = self.blob.size(Kind::Nar, &file_hash).await?;
        match found {
            None => return Ok(Some("the file is not there".to_owned())),
            Some(found) if found != size => return Ok(Some(format!("the file has {found} bytes instead of {size}"))),
            Some(_) if !is_full => return Ok(None),
            Some(_) => {}
        }
        let source = self.blob.source(Kind::Nar, &file_hash, size);
        let read = tokio::task::spawn_blocking(move || hash_of(&source)).await?;
        match read {
            Ok(found) if found == file_hash => Ok(None),
            Ok(_) => Ok(Some("the file's bytes are not what they were".to_owned())),
            // Gone since its size was asked for.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some("the file is not there".to_owned())),
            Err(error) if is_medium(&error) => Ok(Some(format!("the file cannot be read: {error}"))),
            Err(error) => Err(Error::storage(error)),
        }
    }
}

impl crate::path::Paths<'_> {
    /// The paths of a cache that are out of sight because their file is damaged, the newest first. Pushing one again heals it.
    pub async fn damaged(&self, caller: &Caller, cache: &str) -> Result<Vec<DamagedPath>> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        let rows = core.db.damaged_list(cache.id, MOST_NAMED as i64).await?;
        Ok(rows.into_iter().filter_map(damaged_path).collect())
    }
}

fn damaged_path(row: DamagedRow) -> Option<DamagedPath> {
    Some(DamagedPath {
        hash: StorePathHash::parse(&row.hash).ok()?,
        name: row.name,
        why: row.why,
        since: Timestamp(row.since),
        file_size: row.file_size.unsigned_abs(),
    })
}

/// Whether the disk itself has lost the bytes, so that asking again will not help.
fn is_medium(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

fn hash_of(source: &Source) -> io::Result<Sha256> {
    let mut reader = source.open()?;
    let mut digest = sha2::Sha256::new();
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Sha256::from_bytes(digest.finalize().into())),
            read => digest.update(&buffer[..read]),
        }
    }
}
