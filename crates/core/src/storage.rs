//! Whether the storage is the one that the database belongs to, and the two steps that must agree about it: a file is published before
//! its row is written, and removed after nothing names it. While the storage is not proven to be ours, nothing is written to it and
//! nothing is taken away; what is known is served.

use crate::{
    Core,
    blob::Kind,
    clock,
    db::{DeadFile, Departure},
    error::{Error, Result},
    failpoint,
    storage_move::UNFINISHED,
};
use iglu_api::{Timestamp, work::StorageStatus};
use nix_compat::{nixbase32, nixhash::Sha256};
use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A file that nothing names stays so long before it is removed, in milliseconds: longer than any push between publishing a file and
/// committing its row.
const DEAD_AGE: i64 = Timestamp::HOUR;
/// A publication that took longer asks again whether its file may stay.
const SURE: Duration = Duration::from_secs(600);
/// How long a push waits for a file that is being removed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server that takes files to remove them lets go of them after so long; the clocks of servers may differ by less than the
/// difference to [`LEASE`].
const HASTE_MILLIS: i64 = 30_000;
const HASTE: Duration = Duration::from_millis(HASTE_MILLIS.unsigned_abs());
/// How long a leader waits before it removes files: by then whoever led before has let go of what it took, whatever its clock says. It
/// notices within seconds that it leads no more, and removes nothing [`HASTE`] after it took it.
pub(crate) const SETTLED: Duration = Duration::from_secs(45);
/// What a server took and did not remove within this time, in milliseconds, another may take.
const LEASE: i64 = 5 * 60 * 1000;
/// Files that failed to be read, remembered until they are looked at; a scrub finds the others.
const MOST_SUSPECTS: usize = 10_000;
/// How long the record of a damaged path is kept for somebody to push it again, in milliseconds.
pub(crate) const DAMAGED_KEPT: i64 = 90 * Timestamp::DAY;
/// The setting with the name of the storage that belongs to this database.
pub(crate) const STORE_ID: &str = "store_id";
/// The setting with the name that it gets.
pub(crate) const STORE_ID_TO_BE: &str = "store_id_to_be";
/// Files that prove a storage to be the one that a database without a name for it is about.
const SAMPLE: i64 = 20;

/// What is known of the storage.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// Why it is not proven to be ours.
    trouble: Mutex<Option<Arc<str>>>,
    suspects: Mutex<HashSet<(Kind, Sha256)>>,
}

impl Storage {
    fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &trouble) {
            (None, Some(trouble)) => {
                tracing::error!(trouble, "the storage is not proven to be ours: nothing is written, nothing is removed")
            }
            (Some(_), None) => tracing::info!("the storage is proven to be ours again"),
            _ => {}
        }
        *known = trouble.map(Into::into);
    }

    /// Notes a file that could not be read as it should; it is looked at by and by.
    pub fn suspect(&self, kind: Kind, file_hash: Sha256) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.len() < MOST_SUSPECTS {
            suspects.insert((kind, file_hash));
        }
    }

    fn take_suspects(&self) -> HashSet<(Kind, Sha256)> {
        std::mem::take(&mut *self.suspects.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Core {
    /// Gives a storage to a database that has none yet: one that is empty, or that has the files which the database names. Any other is
    /// left alone: its files may be another database's.
    pub(crate) async fn storage_begin(&self) -> Result<()> {
        if self.db.setting(STORE_ID).await?.is_some() {
            return Ok(());
        }
        let named = self.db.nar_page(0, SAMPLE).await?;
        if named.is_empty() {
            // A storage that does not answer is looked at again when the server runs.
            if matches!(self.blob.has_nars().await, Ok(false)) {
                self.storage_name_fresh().await?;
            }
            return Ok(());
        }
        // Files that came without a mark were copied for this database. What carries one is somebody's.
        if !matches!(self.blob.mark().await, Ok(None)) {
            return Ok(());
        }
        for nar in &named {
            if matches!(self.nar_look(nar, false).await, Ok(None)) {
                return self.storage_name_fresh().await;
            }
        }
        Ok(())
    }

    /// Gives the storage a new name, even where it has one: whoever marked it before must notice. Servers that begin together agree on one.
    async fn storage_name_fresh(&self) -> Result<()> {
        let id = nixbase32::encode(&clock::random::<20>());
        let id = self.db.setting_keep(STORE_ID_TO_BE, &id).await?;
        self.storage_name(&id).await
    }

    async fn storage_name(&self, id: &str) -> Result<()> {
        self.blob.mark_put(id).await?;
        failpoint::reach("storage.marked");
        self.db.setting_put(STORE_ID, id).await
    }

    /// Makes the storage this database's, whatever it was before. Another database that had it notices, and leaves it alone.
    pub async fn storage_adopt(&self) -> Result<()> {
        let known = self.db.setting(STORE_ID).await?;
        if known.is_none() || self.blob.mark().await? != known {
            self.storage_name(&nixbase32::encode(&clock::random::<20>())).await?;
        }
        self.storage_check().await
    }

    /// Looks whether the storage is ours, and remembers the answer.
    pub async fn storage_check(&self) -> Result<()> {
        let place = self.blob.place();
        let trouble = match (self.db.setting(STORE_ID).await?, self.blob.mark().await) {
            (_, Err(error)) => Some(format!("{place} does not answer: {}", cause(&error))),
            (Some(known), Ok(Some(found))) if known == found => None,
            (Some(_), Ok(None)) => Some(format!(
                "{place} has no file iglu-store: the volume may not be mounted, or the bucket was emptied"
            )),
            (_, Ok(Some(found))) if found.starts_with(UNFINISHED) => {
                Some(format!("{place} is not complete: let `iglu storage move --final` come to its end"))
            }
            (Some(_), Ok(Some(_))) => Some(format!("{place} belongs to another database")),
            (None, Ok(_)) => Some(format!("{place} holds files of another database")),
        };
        self.storage.set_trouble(trouble);
        Ok(())
    }

    /// Fails unless the storage is ours.
    pub(crate) async fn storage_require(&self) -> Result<()> {
        self.storage_check().await?;
        match self.storage.trouble() {
            None => Ok(()),
            Some(trouble) => Err(Error::Unavailable { what: "storage", source: trouble.to_string().into() }),
        }
    }

    /// As [`Core::storage_require`], by the last look, which is seconds old.
    pub(crate) fn storage_remembered(&self) -> Result<()> {
        match self.storage.trouble() {
            None => Ok(()),
            Some(trouble) => Err(Error::Unavailable { what: "storage", source: trouble.to_string().into() }),
        }
    }

    /// Why the storage is not proven to be ours, by the last look.
    pub(crate) fn storage_trouble(&self) -> Option<String> {
        self.storage.trouble().map(|trouble| trouble.to_string())
    }

    /// The storage for people and probes.
    pub async fn storage_status(&self) -> Result<StorageStatus> {
        // Unknown while it is away.
        let space = self.blob.space().unwrap_or(None);
        let (mut damaged, mut departed, mut departed_bytes) = (0, 0, 0);
        for (reason, paths, bytes) in self.db.aside_counts().await? {
            if reason == "damaged" {
                damaged += paths.unsigned_abs();
            } else {
                departed += paths.unsigned_abs();
                departed_bytes += bytes.unsigned_abs();
            }
        }
        let (dead_files, dead_bytes) = self.db.dead_file_count().await?;
        Ok(StorageStatus {
            place: self.blob.place(),
            trouble: self.storage_trouble(),
            free_bytes: space.map(|space| space.free),
            total_bytes: space.map(|space| space.total),
            damaged_paths: damaged,
            departed_paths: departed,
            departed_bytes,
            dead_files: dead_files.unsigned_abs(),
            dead_bytes: dead_bytes.unsigned_abs(),
        })
    }

    /// Makes a verified scratch file the stored file of its hash. When this returns, a row may name it.
    pub(crate) async fn file_publish(&self, kind: Kind, staged: &Path, file_hash: &Sha256, size: u64) -> Result<()> {
        // A folder may lose its volume between two looks; what a bucket confirms, it has.
        if self.blob.is_folder() {
            self.storage_require().await?
        } else {
            self.storage_remembered()?
        }
        loop {
            self.file_revive(kind, file_hash).await?;
            let started = Instant::now();
            failpoint::reach("publish.before");
            self.blob.publish(kind, staged, file_hash, size, self.now()).await?;
            failpoint::reach("publish.after");
            // A file that died meanwhile is not removed for an hour; after a long time it is worth a question.
            if started.elapsed() < SURE {
                return Ok(());
            }
            self.file_revive(kind, file_hash).await?;
            if self.blob.size(kind, file_hash).await? == Some(size) {
                return Ok(());
            }
        }
    }

    /// Waits until nobody is about to remove a file.
    async fn file_revive(&self, kind: Kind, file_hash: &Sha256) -> Result<()> {
        let started = Instant::now();
        while !self.db.file_revive(kind.name(), file_hash.as_bytes()).await? {
            if started.elapsed() > PATIENCE {
                return Err(Error::Interrupted("the file is being removed at this moment; push it again".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Removes files that nothing names for a while. How many, and their bytes.
    pub(crate) async fn files_remove(&self) -> Result<(u64, u64)> {
        self.storage_require().await?;
        let leads = self.leads_for();
        match leads {
            Some(led) if led < SETTLED => return Ok((0, 0)),
            // Whoever led before and died, or was stopped, holds nothing any more.
            Some(_) if self.leads_anew() => self.db.dead_files_release(self.now().plus(-HASTE_MILLIS).0).await?,
            _ => {}
        }
        let (mut files, mut bytes, mut left) = (0, 0, None);
        // Whoever stops leading takes no more.
        while leads.is_none() || self.leads_for().is_some() {
            let taken_at = self.now();
            let taken = self.db.dead_files_take(taken_at.plus(-DEAD_AGE).0, LEASE, taken_at.0).await?;
            let Some(taken) = taken else { break };
            let turn = Turn { end: Instant::now() + HASTE, taken_at, core: self };
            failpoint::reach("remove.taken");
            let mut removed = Vec::new();
            for file in taken {
                let (kind, file_hash) = dead(&file)?;
                // Long before another server may take the file and a push may bring it back, this one lets go of it. A program may
                // have stood still since, or a whole machine with both its clocks: the row says whose the file is.
                let done = if !turn.lasts() {
                    let source = "files are removed too slowly; what is left is removed later".into();
                    Err(Error::Unavailable { what: "storage", source })
                } else if !self.db.dead_file_is_taken(&file, taken_at.0).await? {
                    continue;
                } else {
                    self.blob.remove(kind, &file_hash, turn.end).await
                };
                // One that does not go keeps no other.
                if let Err(error) = done {
                    tracing::warn!(file = file_hash.to_nix32(), %error, "a file was not removed");
                    left = Some(error);
                    continue;
                }
                failpoint::reach("remove.one");
                files += 1;
                bytes += file.file_size.unsigned_abs();
                removed.push(file);
            }
            failpoint::reach("remove.removed");
            self.db.dead_files_forget(&removed, taken_at.0).await?;
        }
        left.map_or(Ok((files, bytes)), Err)
    }

    /// Frees what a server before this one held when it died. For the only server of a database.
    pub async fn take_over(&self) -> Result<()> {
        self.db.dead_files_release(i64::MAX).await
    }

    /// Finds files of the store that nothing names and that are older than `before`. How many, and their bytes.
    pub(crate) async fn orphans_find(&self, before: Timestamp) -> Result<(u64, u64)> {
        let (mut files, mut bytes) = (0, 0);
        for kind in Kind::ALL {
            for shard in self.blob.shards(kind).await? {
                let mut old = self.blob.list(kind, &shard).await?;
                old.retain(|listed| listed.modified < before);
                for some in old.chunks(256) {
                    let hashes: Vec<&[u8]> = some.iter().map(|listed| &listed.file_hash.as_bytes()[..]).collect();
                    let needed = self.db.files_needed(kind.name(), &hashes).await?;
                    for listed in some.iter().filter(|listed| !needed.contains(&listed.file_hash.as_bytes()[..])) {
                        let size = i64::try_from(listed.size).unwrap_or(i64::MAX);
                        let hash = listed.file_hash.as_bytes();
                        self.db.file_set_dead(kind.name(), hash, size, self.now().0).await?;
                        files += 1;
                        bytes += listed.size;
                    }
                }
            }
        }
        Ok((files, bytes))
    }

    /// Whether a NAR with this SHA-256 is stored, so that the bytes of a push are not needed. A file that went away shows itself here,
    /// and the push brings it back.
    pub(crate) async fn nar_is_stored(&self, nar_hash: &Sha256) -> Result<bool> {
        while let Some(nar) = self.db.nar_of_contents(nar_hash.as_bytes()).await? {
            let Some(why) = self.nar_look(&nar, false).await? else { return Ok(true) };
            self.storage_require().await?;
            self.nar_damaged(&nar.hash()?, &why).await?;
        }
        Ok(false)
    }

    /// Takes every path of a damaged NAR file out of sight, until a push brings the bytes again. How many paths.
    pub(crate) async fn nar_damaged(&self, file_hash: &Sha256, why: &str) -> Result<u64> {
        let now = self.now();
        let departure =
            Departure { reason: "damaged", removal_id: None, since: now.0, until: now.plus(DAMAGED_KEPT).0 };
        failpoint::reach("damage.before");
        let departed = self.db.nar_set_damaged(file_hash.as_bytes(), why, &departure).await?;
        failpoint::reach("damage.after");
        tracing::error!(
            file = file_hash.to_nix32(),
            why,
            paths = departed.len(),
            "a stored file is damaged: its paths are set aside"
        );
        metrics::counter!("iglu_damaged_files_total").increment(1);
        let paths: Vec<_> = departed.into_iter().map(|path| (path.cache_id, path.hash)).collect();
        self.forget(&paths);
        self.nars_forget();
        self.directory.reload(&self.db, &self.master).await?;
        // Between the look and the verdict a push may have brought the file.
        if let Some(nar) = self.db.nar_of_file(file_hash.as_bytes()).await?
            && matches!(self.nar_look(&nar, true).await, Ok(None))
        {
            self.nar_whole(&nar).await?;
        }
        Ok(paths.len() as u64)
    }

    /// Looks at the files that could not be read. How many were damaged. Where that fails, those that are left are looked at again.
    pub(crate) async fn suspects_check(&self) -> Result<u64> {
        let mut damaged = 0;
        let mut suspects: Vec<_> = self.storage.take_suspects().into_iter().collect();
        while let Some((kind, file_hash)) = suspects.last().copied() {
            match self.suspect_check(kind, &file_hash).await {
                Ok(is_damaged) => damaged += u64::from(is_damaged),
                Err(error) => {
                    suspects.into_iter().for_each(|(kind, file_hash)| self.storage.suspect(kind, file_hash));
                    return Err(error);
                }
            }
            suspects.pop();
        }
        Ok(damaged)
    }

    async fn suspect_check(&self, kind: Kind, file_hash: &Sha256) -> Result<bool> {
        // Reading is the proof; a suspicion is not.
        if kind == Kind::Nar
            && let Some(nar) = self.db.nar_of_file(file_hash.as_bytes()).await?
            && let Some(why) = self.nar_look(&nar, true).await?
        {
            // A storage that went away would have made it absent.
            self.storage_require().await?;
            self.nar_damaged(file_hash, &why).await?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// The time that a server has for the files that it took.
struct Turn<'a> {
    end: Instant,
    taken_at: Timestamp,
    core: &'a Core,
}

impl Turn<'_> {
    /// By both clocks: one of them stands still while a machine sleeps, the other one may be set.
    fn lasts(&self) -> bool {
        Instant::now() < self.end && self.core.now().since(self.taken_at) < HASTE_MILLIS
    }
}

/// What a row of a dead file names.
fn dead(file: &DeadFile) -> Result<(Kind, Sha256)> {
    let hash = <[u8; 32]>::try_from(file.file_hash.as_slice()).ok();
    let named = Kind::parse(&file.kind).zip(hash.map(Sha256::from_bytes));
    named.ok_or_else(|| Error::internal("a dead file in the database: its name"))
}

/// The innermost cause of an error, which is what the store said.
fn cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string().lines().next().unwrap_or_default().to_owned()
}
