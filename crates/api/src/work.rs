//! Background work as people see it.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// One kind of background work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Work {
    pub name: String,
    /// What it does, in a few words.
    pub about: String,
    pub is_running: bool,
    pub last_started_at: Option<Timestamp>,
    pub last_ended_at: Option<Timestamp>,
    /// Why the last run failed.
    pub last_error: Option<String>,
    pub next_at: Option<Timestamp>,
    /// What is done and how much there is, where that is known.
    pub progress: Option<(u64, u64)>,
    /// What the last run did.
    pub note: String,
    /// Whether one server does it for all that share the database, or each for itself.
    pub is_common: bool,
}

/// The storage as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageStatus {
    /// Folder or bucket.
    pub place: String,
    /// Why nothing is written to it and nothing removed from it; `None` while all is well.
    pub trouble: Option<String>,
    pub free_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    /// Paths whose file was found damaged.
    pub damaged_paths: u64,
    /// Paths that were taken out and can be read or put back for a while, and their bytes.
    pub departed_paths: u64,
    pub departed_bytes: u64,
    /// Files on their way out.
    pub dead_files: u64,
    pub dead_bytes: u64,
}
