//! The keys that vouch for the paths of a cache.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// One key of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyRow {
    pub name: String,
    /// `name:base64`, ready for `trusted-public-keys`.
    pub public_key: String,
    pub state: KeyState,
    pub created_at: Timestamp,
}

/// What a key is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// The server signs with it, and has signed everything.
    Active,
    /// The server signs with it, and goes on signing what is older than the key.
    Signing { paths_left: u64 },
    /// The server signed with it once.
    Retired { at: Timestamp },
    /// Somebody signs with it before pushing.
    Client { registered_by: String },
}

/// Where a key comes from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyAdd {
    /// A fresh one, that the server signs with.
    Fresh {},
    /// One that signed elsewhere, as `name:base64`.
    Secret(String),
    /// The public half (base64) of one that somebody signs with before pushing.
    Public(String),
}
