//! Tokens: what machines and scripts show instead of a password.

use crate::{CacheName, Timestamp, cache::Permission};
use serde::{Deserialize, Serialize};

/// What a token is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// A label for people: `ci-push`.
    pub name: String,
    /// The one cache that it opens; `None` for every cache.
    pub cache: Option<CacheName>,
    /// The highest right; push includes pull, admin includes both.
    pub scope: Permission,
    pub expires_at: Option<Timestamp>,
    /// Whether it belongs to the cache, and stays when the person who made it goes. Else it may do what that person may, up to its
    /// scope.
    #[serde(default)]
    pub is_of_cache: bool,
}

/// A token in a list. The secret itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRow {
    pub id: i64,
    pub name: String,
    /// The first characters of the secret, enough to recognise it.
    pub prefix: String,
    pub cache: Option<CacheName>,
    pub scope: Permission,
    /// The person whom it stands for; `None` for one of a cache or of the server.
    pub owner: Option<String>,
    pub made_by: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// A new token with its secret, which is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    pub name: String,
    pub token: String,
}
