//! Store paths as lists and pages show them.

use crate::{CacheName, Timestamp, cache::Permission};
pub use nix_compat::store_path::StorePathHash;
use serde::{Deserialize, Serialize};

/// A store path with the facts of a list row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PathRow {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PathSort {
    #[default]
    Newest,
    Name,
    Largest,
}

/// Which paths a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PathFilter {
    #[default]
    All,
    /// What a pin names.
    Pinned,
    /// What nobody downloaded yet.
    NeverPulled,
    /// What waits for references that have not arrived.
    Held,
}

impl PathFilter {
    pub const ALL: [PathFilter; 4] = [PathFilter::All, PathFilter::Pinned, PathFilter::NeverPulled, PathFilter::Held];

    pub fn as_str(self) -> &'static str {
        match self {
            PathFilter::All => "all",
            PathFilter::Pinned => "pinned",
            PathFilter::NeverPulled => "never_pulled",
            PathFilter::Held => "held",
        }
    }

    pub fn parse(text: &str) -> Option<PathFilter> {
        PathFilter::ALL.into_iter().find(|filter| filter.as_str() == text)
    }
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PathQuery {
    /// Words, each the beginning of a hash or of a part of a name between hyphens; empty for all.
    pub search: String,
    pub sort: PathSort,
    /// Only what this token or person pushed; empty for all.
    pub pushed_by: String,
    pub filter: PathFilter,
    /// Counted from 0.
    pub page: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// Paths to be taken out of a cache together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PathsRemove {
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub hashes: Vec<StorePathHash>,
    /// Whether all that refers to them goes along; otherwise nothing goes where something does.
    #[serde(default)]
    pub with_referrers: bool,
}

/// A path of any cache in the list of recent pushes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecentPush {
    pub cache: CacheName,
    pub path: PathRow,
}

/// A store path with all that its own page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PathDetail {
    pub cache: CacheName,
    pub row: PathRow,
    /// `sha256:` and 52 digits.
    pub nar_hash: String,
    pub file_hash: String,
    pub compression: String,
    /// Of the NAR file, below the cache's URL.
    pub nar_url: String,
    /// The base name of the derivation that made it.
    pub deriver: Option<String>,
    /// Whether the log of that derivation's build is here.
    pub has_log: bool,
    /// How its path follows from its content.
    pub content_address: Option<String>,
    pub signatures: Vec<PathSignature>,
    pub references: Vec<PathLink>,
    /// Paths of the cache that refer to it: some, and how many there are.
    pub referrers: Vec<PathLink>,
    pub referrer_count: u64,
    pub closure: Closure,
    /// Names of the pins whose newest revision it is.
    pub pins: Vec<String>,
    /// How often its file was downloaded since it came.
    pub pull_count: u64,
    /// The same by days, of the last 30 days that had any.
    pub pulls: Vec<(Timestamp, u64)>,
    /// What the caller may do in its cache.
    pub permission: Option<Permission>,
}

/// Who vouches for a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PathSignature {
    pub key: String,
    /// Whether the cache hands out the key.
    pub is_own: bool,
}

/// A path that another one names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PathLink {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub hash: StorePathHash,
    pub name: String,
    /// Bytes unpacked; `None` where the cache does not have it.
    pub nar_size: Option<u64>,
}

/// A path and all that it needs, as far as the cache has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Closure {
    pub paths: u64,
    /// Bytes unpacked.
    pub nar_bytes: u64,
    /// Bytes to download.
    pub file_bytes: u64,
    /// Paths that the cache does not have.
    pub missing: u64,
    /// Whether there is more than was looked at.
    pub is_cut: bool,
    /// The largest, with their bytes unpacked.
    pub largest: Vec<PathLink>,
}

/// One folder of a path's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FolderPage {
    /// Below the store path, without slashes at its ends; empty for the path itself.
    pub folder: String,
    pub entries: Vec<FileEntry>,
    /// How many there are.
    pub count: u64,
}

impl FolderPage {
    /// Entries that a page shows at most.
    pub const MOST: usize = 500;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileEntry {
    /// Empty where the store path is a single file.
    pub name: String,
    pub kind: FileKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    Folder { entries: u64 },
    File { size: u64, is_executable: bool },
    Link { target: String },
}
