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
