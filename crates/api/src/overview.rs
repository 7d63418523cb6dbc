//! The first page after logging in.

use crate::{
    cache::{CacheSummary, Traffic},
    path::RecentPush,
    run::RunRow,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Overview {
    /// The caches that the caller may see, by name.
    pub caches: Vec<CacheSummary>,
    /// Paths of all these caches.
    pub path_count: u64,
    /// Bytes of NAR files. For those who see all caches a NAR shared by several counts once, and what was taken out and can still be
    /// read counts too.
    pub stored_bytes: u64,
    /// Whether these bytes are all that there are on disk, instead of a sum over the caches.
    pub is_on_disk: bool,
    /// The last 30 days over all these caches.
    pub traffic: Traffic,
    /// Newest first.
    pub recent_pushes: Vec<RecentPush>,
    /// Runs under way, and those that ended last, the newest first.
    pub runs: Vec<RunRow>,
    /// Whether there is a builder at all that the caller may see.
    pub has_builders: bool,
    pub attention: Vec<Attention>,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Attention {
    /// The storage folder's file system is nearly full.
    DiskFull { free_bytes: u64, total_bytes: u64 },
    /// A token ends within a week.
    TokenExpires { name: String, at: crate::Timestamp },
    /// The storage is not there or not this server's; `why` is a sentence without its end.
    StorageTrouble { why: String },
    /// Paths whose file is damaged, until somebody pushes them again.
    DamagedPaths { cache: crate::CacheName, count: u64 },
    /// The newest run of a builder failed.
    RunFailed { builder: crate::BuilderName, run: u64, reason: String },
    /// A node that was there is silent.
    NodeAway { name: String, seen_at: crate::Timestamp },
    /// Paths that wait for references that have not arrived.
    HeldPaths { cache: crate::CacheName, count: u64 },
}
