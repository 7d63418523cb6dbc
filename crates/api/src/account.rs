//! People and their logins.

use crate::{Timestamp, UserName};
use serde::{Deserialize, Serialize};

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Me {
    pub name: UserName,
    pub is_admin: bool,
}

/// A login of a person in one browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionRow {
    pub id: i64,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub address: String,
    /// The browser's User-Agent.
    pub agent: String,
    /// The session that asks.
    pub current: bool,
}
