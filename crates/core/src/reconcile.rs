//! Work that nobody waits for: each reconciler looks at what is and makes it what it should be. It takes no input, may run at
//! any time and again, and is woken by a timer or a signal.

use crate::{Core, error::Result, failpoint, retention, scrub};
use iglu_api::{Timestamp, format};
use std::time::Duration;

/// An upload that nothing came to for this long is given up, in milliseconds. Upload URLs are good as long.
const UPLOAD_LIFETIME: i64 = Timestamp::DAY;
/// How long a NAR file that a client put, and that its path does not use, can be read by its name, in milliseconds:
/// clients remember narinfos for 30 days.
const PUT_NAR_LIFETIME: i64 = 30 * Timestamp::DAY;
/// A stored file that nothing names is an orphan when it is this old, in milliseconds: longer than any push between storing and committing.
const ORPHAN_AGE: i64 = Timestamp::DAY;
/// A build log whose derivation made no path that is still there goes when it is this old, in milliseconds.
const LOG_AGE: i64 = 30 * Timestamp::DAY;
/// The setting that says when the store was listed last.
const LOOKED_AT: &str = "orphans_looked_at";
/// How long the history of removals is kept, in milliseconds.
const HISTORY: i64 = 400 * Timestamp::DAY;
/// How long statistics are kept by the hour, and then by the day, in milliseconds.
const HOURS_KEPT: i64 = 60 * Timestamp::DAY;
const DAYS_KEPT: i64 = 800 * Timestamp::DAY;
/// How long downloads of single paths are kept by days, in milliseconds.
const PULLS_KEPT: i64 = 30 * Timestamp::DAY;
/// How long runs and their logs are kept, in milliseconds, and how many of each builder stay however old they are.
const RUNS_KEPT: i64 = 90 * Timestamp::DAY;
const NEWEST_RUNS: i64 = 20;
/// Rows that are removed in one transaction.
const SOME: i64 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciler {
    /// Writes what was counted on read paths.
    ActivityFlush,
    /// Takes over what other processes changed.
    DirectoryRefresh,
    /// Looks whether the storage is ours.
    StorageWatch,
    /// Signs what is older than a key.
    Resign,
    /// Takes runs back from nodes that are lost, and packs the logs of those that are over.
    Runs,
    /// Starts runs that are due.
    Triggers,
    /// Tells forges what became of commits.
    Statuses,
    /// Shows paths whose missing references an upstream has.
    Held,
    /// Looks at files that could not be read.
    Suspects,
    /// Reads every stored file again, by and by.
    Scrub,
    /// Asks for what the rules of caches take out.
    Retain,
    /// Takes paths out of caches.
    Collect,
    /// Forgets what was taken out long enough ago, and what caches that are gone left.
    Purge,
    /// Removes files that nothing names.
    Files,
    /// Ends sessions, uploads and pins that are over, and looks for files that nothing names.
    Sweep,
}

impl Reconciler {
    pub const ALL: [Reconciler; 15] = [
        Reconciler::ActivityFlush,
        Reconciler::DirectoryRefresh,
        Reconciler::StorageWatch,
        Reconciler::Resign,
        Reconciler::Runs,
        Reconciler::Triggers,
        Reconciler::Statuses,
        Reconciler::Held,
        Reconciler::Suspects,
        Reconciler::Scrub,
        Reconciler::Retain,
        Reconciler::Collect,
        Reconciler::Purge,
        Reconciler::Files,
        Reconciler::Sweep,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reconciler::ActivityFlush => "activity_flush",
            Reconciler::DirectoryRefresh => "directory_refresh",
            Reconciler::StorageWatch => "storage_watch",
            Reconciler::Resign => "resign",
            Reconciler::Runs => "runs",
            Reconciler::Triggers => "triggers",
            Reconciler::Statuses => "statuses",
            Reconciler::Held => "held",
            Reconciler::Suspects => "suspects",
            Reconciler::Scrub => "scrub",
            Reconciler::Retain => "retain",
            Reconciler::Collect => "collect",
            Reconciler::Purge => "purge",
            Reconciler::Files => "files",
            Reconciler::Sweep => "sweep",
        }
    }

    /// What it does, for people.
    pub fn about(self) -> &'static str {
        match self {
            Reconciler::ActivityFlush => "writes down what was counted",
            Reconciler::DirectoryRefresh => "takes over what other processes changed",
            Reconciler::StorageWatch => "looks whether the storage is there and ours",
            Reconciler::Resign => "signs older paths with new keys",
            Reconciler::Runs => "queues runs again whose node is lost",
            Reconciler::Triggers => "starts runs that are due, by schedule or for a look at a repository",
            Reconciler::Statuses => "tells forges what became of commits",
            Reconciler::Held => "shows paths that an upstream completes",
            Reconciler::Suspects => "reads files again that could not be read",
            Reconciler::Scrub => "reads every stored file again, by and by",
            Reconciler::Retain => "plans what the rules of caches take out",
            Reconciler::Collect => "takes paths out of caches",
            Reconciler::Purge => "forgets what was taken out long enough ago",
            Reconciler::Files => "removes files that nothing needs",
            Reconciler::Sweep => "ends what is over, finds files that nothing needs",
        }
    }

    /// Whether it is done once for all servers of a database; the others are about what one server has in memory.
    pub fn is_common(self) -> bool {
        !matches!(
            self,
            Reconciler::ActivityFlush | Reconciler::DirectoryRefresh | Reconciler::StorageWatch | Reconciler::Suspects
        )
    }

    /// Time between two runs.
    pub fn period(self) -> Duration {
        Duration::from_secs(match self {
            Reconciler::DirectoryRefresh => 1,
            Reconciler::Resign | Reconciler::Statuses => 2,
            Reconciler::StorageWatch | Reconciler::Collect | Reconciler::Runs | Reconciler::Triggers => 5,
            Reconciler::Held => 10,
            Reconciler::Suspects => 15,
            Reconciler::ActivityFlush => 30,
            Reconciler::Scrub | Reconciler::Purge | Reconciler::Files => 60,
            Reconciler::Retain | Reconciler::Sweep => 3600,
        })
    }

    /// One run. What it did, in words; empty for nothing.
    pub(crate) async fn tick(self, core: &Core) -> Result<String> {
        match self {
            Reconciler::ActivityFlush => {
                core.login_limit.forget_idle();
                core.rate_limits.forget_idle();
                core.activity.flush(&core.db, &core.directory, &core.master, core.now()).await?;
            }
            Reconciler::DirectoryRefresh => core.refresh().await?,
            Reconciler::StorageWatch => core.storage_check().await?,
            Reconciler::Resign => while crate::key::resign_some(core).await? {},
            Reconciler::Runs => {
                let recovered = core.runs_recover().await?;
                core.logs_pack_some().await?;
                return Ok(if recovered > 0 {
                    format!("took {recovered} runs back from lost nodes")
                } else {
                    String::new()
                });
            }
            Reconciler::Triggers => {
                let started = core.triggers_fire().await?;
                return Ok(if started > 0 { format!("started {started} runs") } else { String::new() });
            }
            Reconciler::Statuses => {
                let told = core.statuses_tell().await?;
                return Ok(if told > 0 { format!("told {told} states of runs") } else { String::new() });
            }
            Reconciler::Held => core.push().release_held().await?,
            Reconciler::Suspects => {
                let damaged = core.suspects_check().await?;
                return Ok(if damaged > 0 { format!("{damaged} files are damaged") } else { String::new() });
            }
            Reconciler::Scrub => return scrub::some(core).await,
            Reconciler::Retain => return retention::retain(core).await,
            Reconciler::Collect => retention::collect_open(core).await?,
            Reconciler::Purge => return purge(core).await,
            Reconciler::Files => {
                let (files, bytes) = core.files_remove().await?;
                return Ok(if files > 0 {
                    format!("removed {files} files, {}", format::bytes(bytes))
                } else {
                    String::new()
                });
            }
            Reconciler::Sweep => return sweep(core).await,
        }
        Ok(String::new())
    }
}

/// Forgets rows, a few at a time: nothing is read or written in the storage.
async fn purge(core: &Core) -> Result<String> {
    // While the storage is not there, nothing is forgotten either.
    core.storage_require().await?;
    let mut purged = 0;
    while let Some(rows) = core.db.cache_remove_some(core.now().0, SOME).await? {
        purged += rows;
        tokio::task::yield_now().await;
    }
    loop {
        failpoint::reach("purge.batch");
        let rows = core.db.aside_purge_some(core.now().0, SOME).await?;
        purged += rows;
        failpoint::reach("purge.purged");
        if rows == 0 {
            break;
        }
        // Others' turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(if purged > 0 { format!("forgot {purged} paths") } else { String::new() })
}

async fn sweep(core: &Core) -> Result<String> {
    let now = core.now();
    core.db.login_tries_forget(now.0).await?;
    core.db.session_delete_old(now.0).await?;
    core.db.pin_delete_expired(now.0).await?;
    core.db.probe_forget(now.plus(-crate::probe::KEPT).0).await?;
    while core.db.run_forget_some(now.plus(-RUNS_KEPT).0, NEWEST_RUNS).await? > 0 {}
    core.db.removal_delete_old(now.plus(-HISTORY).0).await?;
    while core.db.activity_roll_up(now.plus(-HOURS_KEPT).0, now.plus(-DAYS_KEPT).0).await? > 0 {}
    core.db.readings_forget(now.plus(-PULLS_KEPT).0, now.plus(-DAYS_KEPT).0).await?;
    core.storage_require().await?;
    loop {
        let stale = core.db.upload_list_stale(now.plus(-UPLOAD_LIFETIME).0).await?;
        if stale.is_empty() {
            break;
        }
        for upload in stale {
            core.blob.upload_remove(&upload.public_id).await?;
            failpoint::reach("sweep.upload");
            core.db.upload_delete(upload.id).await?;
        }
    }
    // Folders without an open upload: left by a crash between two steps.
    for name in core.blob.uploads_before(now.plus(-ORPHAN_AGE)).await? {
        let upload = core.db.upload_find(&name).await?;
        if upload.is_none_or(|upload| upload.state != "open") {
            core.blob.upload_remove(&name).await?;
        }
    }
    // Where nothing goes by rules, logs stay too.
    for cache in core.directory.all().into_iter().filter(|cache| cache.retention.collects()) {
        while core.db.logs_forget_some(cache.id, now.plus(-LOG_AGE).0).await? > 0 {}
    }
    core.blob.scratch_sweep(now.plus(-ORPHAN_AGE))?;
    core.db.put_nar_delete_old(now.plus(-UPLOAD_LIFETIME).0, now.plus(-PUT_NAR_LIFETIME).0).await?;
    // Listing a whole store is work, and for a bucket costs money: once a day is enough for what only crashes leave.
    let looked_at = core.db.setting(LOOKED_AT).await?.and_then(|at| at.parse::<i64>().ok());
    if looked_at.is_some_and(|at| (now.0 - ORPHAN_AGE..=now.0).contains(&at)) {
        return Ok(String::new());
    }
    let (files, bytes) = core.orphans_find(now.plus(-ORPHAN_AGE)).await?;
    core.db.setting_put(LOOKED_AT, &now.0.to_string()).await?;
    Ok(if files > 0 {
        format!("found {files} files that nothing needs, {}", format::bytes(bytes))
    } else {
        String::new()
    })
}
