//! Pins: names for store paths that must stay.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// How long the revisions of a pin are kept. The form on the wire is that of the cachix protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "tag", content = "contents")]
pub enum Keep {
    /// This revision for so many days.
    Days(u32),
    /// The newest so many revisions.
    Revisions(u32),
    /// Every revision.
    #[default]
    Forever,
}

/// What is to be pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PinCreate {
    pub name: String,
    /// `/nix/store/…`; it must be in the cache.
    pub store_path: String,
    /// Files inside the path that people come for.
    pub artifacts: Vec<String>,
    pub keep: Keep,
}

/// A pin with its newest revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PinRow {
    pub name: String,
    /// When the first revision that is still kept was made.
    pub created_at: Timestamp,
    pub revisions: Vec<PinRevision>,
}

/// One revision of a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PinRevision {
    /// Counted from 1 for each name.
    pub number: u64,
    pub store_path: String,
    pub artifacts: Vec<String>,
    pub keep: Keep,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
}
