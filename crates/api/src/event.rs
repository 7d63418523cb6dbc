//! What live pages hear.

use crate::{CacheName, path::PathRow};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LiveEvent {
    /// A path became visible.
    PathPushed { cache: CacheName, path: PathRow },
}

impl LiveEvent {
    pub fn cache(&self) -> &CacheName {
        match self {
            LiveEvent::PathPushed { cache, .. } => cache,
        }
    }
}
