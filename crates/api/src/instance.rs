//! The whole server as administrators see it.

use crate::{
    Timestamp,
    work::{StorageStatus, Work},
};
use serde::{Deserialize, Serialize};

/// What a server is and does at this moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Instance {
    pub version: String,
    /// `SQLite` or `PostgreSQL`.
    pub database: String,
    pub public_url: String,
    pub storage: StorageStatus,
    pub work: Vec<Work>,
    /// The servers of this database, the one that answers first; none with SQLite, which is for one.
    pub replicas: Vec<Replica>,
    /// The settings in force, secrets hidden.
    pub configuration: Vec<Setting>,
}

/// One of several servers over a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replica {
    /// Of its machine or pod.
    pub name: String,
    pub version: String,
    pub started_at: Timestamp,
    /// Whether it does the background work that is done once.
    pub is_leader: bool,
    /// Whether it is the one that answers.
    pub is_this: bool,
}

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Setting {
    /// As settings files have it.
    pub name: String,
    /// What was set; `None` where the default holds.
    pub value: Option<String>,
    /// What holds where nothing is set, in words; `None` where that is nothing.
    pub default: Option<String>,
}

/// A change that somebody made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRow {
    pub id: i64,
    pub at: Timestamp,
    /// The label of a person, a token, or `operator` for the command line.
    pub actor: String,
    /// `noun.verb`
    pub action: String,
    pub object: String,
    /// The client's address, where it was known.
    pub address: String,
}

/// A part of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditQuery {
    /// A part of actor, action, object or address; empty for all.
    pub search: String,
    /// Rows older than this one.
    pub before: Option<i64>,
}

/// The newest rows first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    pub rows: Vec<AuditRow>,
    pub has_more: bool,
}

impl AuditPage {
    pub const ROWS: usize = 50;
}
