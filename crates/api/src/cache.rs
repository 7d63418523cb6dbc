//! Caches as people see them.

use crate::{CacheName, Timestamp};
use serde::{Deserialize, Serialize};

/// Who may pull from a cache without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    Public,
    Private,
}

impl Visibility {
    pub fn is_public(self) -> bool {
        self == Visibility::Public
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Visibility::Public => "public",
            Visibility::Private => "private",
        }
    }
}

/// What pushing clients are asked to compress with. Anything that Nix reads is accepted all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PreferredCompression {
    #[default]
    Zstd,
    Xz,
}

impl PreferredCompression {
    pub fn as_str(self) -> &'static str {
        match self {
            PreferredCompression::Zstd => "zstd",
            PreferredCompression::Xz => "xz",
        }
    }
}

/// Who signs the paths of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Signing {
    /// The server, with the cache's own keys. Signatures that come along are kept beside.
    #[default]
    Server,
    /// Those who push, with keys that are registered. What no such key signed is refused.
    Client,
}

/// What a new cache is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CacheCreate {
    pub name: CacheName,
    pub visibility: Visibility,
    /// Nix asks caches with a lower number first; cache.nixos.org has 40.
    pub priority: i32,
    pub compression: PreferredCompression,
    pub signing: Signing,
    /// Names of keys: attic clients leave out what these signed, so that references may be missing.
    pub client_filter_keys: Vec<String>,
}

/// What is to change of a cache; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CacheChange {
    pub visibility: Option<Visibility>,
    pub priority: Option<i32>,
    /// Whether paths are shown although references are missing.
    pub is_lenient: Option<bool>,
    pub client_filter_keys: Option<Vec<String>>,
    /// URLs of caches that this one sits on top of: what they have need not be pushed here.
    pub upstreams: Option<Vec<String>>,
    /// Networks from which it may be used, such as `10.0.0.0/8`; none for everywhere.
    pub networks: Option<Vec<String>>,
}

impl CacheCreate {
    /// Just behind cache.nixos.org, so that what everybody has comes from there.
    pub const DEFAULT_PRIORITY: i32 = 41;

    /// As most caches are.
    pub fn new(name: CacheName, visibility: Visibility) -> CacheCreate {
        CacheCreate {
            name,
            visibility,
            priority: CacheCreate::DEFAULT_PRIORITY,
            compression: PreferredCompression::default(),
            signing: Signing::default(),
            client_filter_keys: Vec::new(),
        }
    }
}

/// What the caller may do with one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    Pull,
    Push,
    Admin,
    /// Admin, and who else may do what. No token's scope; a token with admin for every cache has it.
    Own,
}

impl Permission {
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Pull => "pull",
            Permission::Push => "push",
            Permission::Admin => "admin",
            Permission::Own => "own",
        }
    }
}

/// A step of trying a cache out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TryStep {
    /// What was asked for.
    pub what: String,
    pub is_good: bool,
    /// What came of it, a sentence without its end.
    pub words: String,
}

/// A cache with the numbers of a list row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheSummary {
    pub name: CacheName,
    pub visibility: Visibility,
    pub priority: i32,
    pub created_at: Timestamp,
    pub path_count: u64,
    /// Bytes of the compressed NARs of its paths. A NAR that two caches share counts in both.
    pub stored_bytes: u64,
    pub last_push_at: Option<Timestamp>,
    pub traffic: Traffic,
}

/// What was asked of a cache in the last 30 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Traffic {
    pub narinfo_hits: u64,
    pub narinfo_misses: u64,
    pub nar_bytes: u64,
    pub pushed_paths: u64,
}

impl Traffic {
    pub fn lookups(&self) -> u64 {
        self.narinfo_hits + self.narinfo_misses
    }

    pub fn add(&mut self, other: &Traffic) {
        self.narinfo_hits += other.narinfo_hits;
        self.narinfo_misses += other.narinfo_misses;
        self.nar_bytes += other.nar_bytes;
        self.pushed_paths += other.pushed_paths;
    }
}

/// A cache with what its own page shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheDetail {
    pub summary: CacheSummary,
    /// The substituter URL, without a trailing slash.
    pub uri: String,
    /// Where the cachix client's `hostname` setting and the web pages are, without a trailing slash.
    pub public_url: String,
    /// Each as `name:base64`, ready for `trusted-public-keys`.
    pub public_keys: Vec<String>,
    pub compression: PreferredCompression,
    pub signing: Signing,
    pub is_lenient: bool,
    pub client_filter_keys: Vec<String>,
    pub upstreams: Vec<String>,
    /// Networks from which it may be used; none for everywhere.
    pub networks: Vec<String>,
    /// What the caller may do here; `None` for a caller that may not even pull.
    pub permission: Option<Permission>,
}
