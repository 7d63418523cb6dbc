//! Store paths as lists and pages show them.

use crate::{CacheName, Timestamp};
use nix_compat::store_path::StorePathHash;
use serde::{Deserialize, Serialize};

/// A store path with the facts of a list row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRow {
    pub hash: StorePathHash,
    /// The part behind the hash: `hello-2.12`.
    pub name: String,
    /// Bytes unpacked, as a NAR.
    pub nar_size: u64,
    /// Bytes as stored and downloaded.
    pub file_size: u64,
    pub pushed_at: Timestamp,
    /// The label of the token or user that pushed it.
    pub pushed_by: String,
    /// When its NAR was last downloaded.
    pub last_pulled_at: Option<Timestamp>,
    /// Waits for references that have not arrived, and is not served until then.
    pub held: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathSort {
    #[default]
    Newest,
    Name,
    Largest,
}

impl PathSort {
    pub const ALL: [PathSort; 3] = [PathSort::Newest, PathSort::Name, PathSort::Largest];

    pub fn as_str(self) -> &'static str {
        match self {
            PathSort::Newest => "newest",
            PathSort::Name => "name",
            PathSort::Largest => "largest",
        }
    }

    pub fn parse(text: &str) -> Option<PathSort> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == text)
    }
}

/// Which part of a cache's paths to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathQuery {
    /// The beginning of a hash or of a word of a name; empty for all.
    pub search: String,
    pub sort: PathSort,
    /// Counted from 0.
    pub page: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPage {
    pub rows: Vec<PathRow>,
    pub page: u32,
    pub has_next: bool,
    /// All paths of the cache, whatever the search.
    pub path_count: u64,
}

impl PathPage {
    pub const ROWS: u32 = 50;
}

/// A path of any cache in the list of recent pushes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentPush {
    pub cache: CacheName,
    pub path: PathRow,
}
