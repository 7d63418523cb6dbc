//! What a check of database and storage found.

use crate::Timestamp;
use nix_compat::store_path::StorePathHash;
use serde::{Deserialize, Serialize};

/// A stored file that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DamagedFile {
    /// Its SHA-256 in nix32, which is its name.
    pub file: String,
    pub why: String,
    /// Some of the paths that have it, each as `cache: hash-name`.
    pub paths: Vec<String>,
}

/// A path that nobody can pull until it is pushed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DamagedPath {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub hash: StorePathHash,
    pub name: String,
    pub why: String,
    /// When the damage was found.
    pub since: Timestamp,
    pub file_size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckReport {
    /// Whether files were read and hashed.
    pub is_full: bool,
    /// NAR files looked at, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Files found damaged now; the first of them by name.
    pub damaged_count: u64,
    pub damaged: Vec<DamagedFile>,
    /// Files that were found damaged before and still are.
    pub known_damaged: u64,
    /// Files that were damaged and are whole again, and the paths that came back with them.
    pub whole_again: u64,
    pub restored_paths: u64,
    /// NARs that no path has.
    pub unused_nars: u64,
    /// Caches whose numbers of paths or bytes were wrong.
    pub wrong_numbers: Vec<String>,
    /// Caches with visible paths that refer to what is not there, and how many.
    pub incomplete: Vec<(String, u64)>,
}

impl CheckReport {
    /// Whether all is as it should be. NARs that no path has are only waste, on their way out.
    pub fn is_clean(&self) -> bool {
        self.damaged_count == 0 && self.whole_again == 0 && self.wrong_numbers.is_empty() && self.incomplete.is_empty()
    }
}
