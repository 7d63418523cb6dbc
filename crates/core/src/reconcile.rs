//! Work that nobody waits for: each reconciler looks at what is and makes it what it should be. It takes no input, may run at
//! any time and again, and is woken by a timer.

use crate::{Core, blob::Kind, error::Result};
use iglu_api::Timestamp;
use std::time::Duration;

/// An upload that nothing came to for this long is given up, in milliseconds. Upload URLs are good as long.
const UPLOAD_LIFETIME: i64 = Timestamp::DAY;
/// How long a NAR file that a client put, and that its path does not use, can be read by its name, in milliseconds:
/// clients remember narinfos for 30 days.
const PUT_NAR_LIFETIME: i64 = 30 * Timestamp::DAY;
/// A stored file that nothing names is removed when it is this old, in milliseconds: longer than any push between storing and committing.
const ORPHAN_AGE: i64 = Timestamp::DAY;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciler {
    /// Writes what was counted on read paths.
    ActivityFlush,
    /// Takes over what other processes changed.
    DirectoryRefresh,
    /// Signs what is older than a key.
    Resign,
    /// Shows paths whose missing references an upstream has.
    Held,
    /// Removes the rows of caches that are gone, and NARs that no path needs.
    Removal,
    /// Ends sessions, uploads and pins that are over, and removes files that nothing names.
    Sweep,
}

impl Reconciler {
    pub const ALL: [Reconciler; 6] = [
        Reconciler::ActivityFlush,
        Reconciler::DirectoryRefresh,
        Reconciler::Resign,
        Reconciler::Held,
        Reconciler::Removal,
        Reconciler::Sweep,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reconciler::ActivityFlush => "activity_flush",
            Reconciler::DirectoryRefresh => "directory_refresh",
            Reconciler::Resign => "resign",
            Reconciler::Held => "held",
            Reconciler::Removal => "removal",
            Reconciler::Sweep => "sweep",
        }
    }

    /// Time between two runs.
    pub fn period(self) -> Duration {
        match self {
            Reconciler::ActivityFlush => Duration::from_secs(30),
            Reconciler::DirectoryRefresh => Duration::from_secs(1),
            Reconciler::Resign => Duration::from_secs(2),
            Reconciler::Held => Duration::from_secs(10),
            Reconciler::Removal => Duration::from_secs(60),
            Reconciler::Sweep => Duration::from_secs(3600),
        }
    }

    /// One run.
    pub async fn tick(self, core: &Core) -> Result<()> {
        match self {
            Reconciler::ActivityFlush => core.activity.flush(&core.db, &core.directory, core.now()).await,
            Reconciler::DirectoryRefresh => core.refresh().await,
            Reconciler::Resign => {
                while crate::key::resign_some(core).await? {}
                Ok(())
            }
            Reconciler::Held => core.push().release_held().await,
            Reconciler::Removal => removal(core).await,
            Reconciler::Sweep => sweep(core).await,
        }
    }
}

async fn removal(core: &Core) -> Result<()> {
    while core.db.cache_remove_some().await? {}
    while core.db.nar_delete_unused(core.now().plus(-ORPHAN_AGE).0).await? {}
    Ok(())
}

async fn sweep(core: &Core) -> Result<()> {
    let now = core.now();
    core.login_limit.forget_idle();
    core.db.session_delete_old(now.0).await?;
    core.db.pin_delete_expired(now.0).await?;
    loop {
        let stale = core.db.upload_list_stale(now.plus(-UPLOAD_LIFETIME).0).await?;
        if stale.is_empty() {
            break;
        }
        for upload in stale {
            core.blob.upload_remove(&upload.public_id)?;
            core.db.upload_delete(upload.id).await?;
        }
    }
    // Folders without an open upload: left by a crash between two steps.
    for name in core.blob.uploads_before(now.plus(-ORPHAN_AGE))? {
        let upload = core.db.upload_find(&name).await?;
        if upload.is_none_or(|upload| upload.state != "open") {
            core.blob.upload_remove(&name)?;
        }
    }
    core.blob.puts_remove_before(now.plus(-ORPHAN_AGE))?;
    core.db.put_nar_delete_old(now.plus(-UPLOAD_LIFETIME).0, now.plus(-PUT_NAR_LIFETIME).0).await?;
    for folder in 0..1024 {
        for file_hash in core.blob.stored_before(Kind::Nar, folder, now.plus(-ORPHAN_AGE))? {
            if !core.db.file_is_needed(file_hash.as_bytes()).await? {
                core.blob.remove(Kind::Nar, &file_hash)?;
            }
        }
        for file_hash in core.blob.stored_before(Kind::Log, folder, now.plus(-ORPHAN_AGE))? {
            if !core.db.log_is_needed(file_hash.as_bytes()).await? {
                core.blob.remove(Kind::Log, &file_hash)?;
            }
        }
    }
    Ok(())
}
