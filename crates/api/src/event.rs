//! What live pages hear.

use crate::{CacheName, path::PathRow};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LiveEvent {
    /// The first event of each connection: where the files of the server's pages are. A page with others is an old one.
    Hello { assets: String },
    /// A path became visible.
    PathPushed { cache: CacheName, path: PathRow },
    /// Numbers of a cache that the listener sees changed.
    CountersChanged,
    /// Background work began or ended. For administrators.
    WorkChanged,
    /// A run was queued, began, or ended, of any cache.
    RunsChanged,
}
