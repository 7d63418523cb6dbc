//! What a cache keeps and for how long, what would go, and what went.

use crate::{CacheName, Timestamp};
use nix_compat::store_path::StorePathHash;
use serde::{Deserialize, Serialize};

/// The rules of a cache; `None` is no such rule. Each rule alone takes paths out. What a pin's closure needs stays whatever they say,
/// and so does what is younger than a day. A path counts as pushed and used when one that refers to it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days since the last push.
    pub pushed_days: Option<u32>,
    /// Days since the last use: a pull, or a push.
    pub used_days: Option<u32>,
    /// Bytes of NAR files, down to which the least recently used closures go.
    pub bytes: Option<u64>,
    /// How many revisions of each pin protect what they pin, unless the pin has a rule of its own.
    pub revisions: Option<u32>,
}

impl Retention {
    /// Whether any rule takes paths out.
    pub fn collects(&self) -> bool {
        self.pushed_days.is_some() || self.used_days.is_some() || self.bytes.is_some()
    }
}

/// What may be pushed to a cache; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PushLimits {
    /// Bytes of NAR files of all paths.
    pub cache_bytes: Option<u64>,
    /// Bytes of one NAR file.
    pub upload_bytes: Option<u64>,
}

/// The rule that a path goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Not pushed for longer than the rule says.
    Pushed,
    /// Not used for longer than the rule says.
    Unused,
    /// Among the least recently used beyond the cache's size.
    Size,
    /// Its references never came.
    Incomplete,
    /// People chose it.
    Chosen,
}

impl Why {
    /// As lists say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Pushed => "pushed long ago",
            Why::Unused => "unused",
            Why::Size => "least recently used",
            Why::Incomplete => "never complete",
            Why::Chosen => "chosen",
        }
    }
}

/// A path that would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedPath {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub hash: StorePathHash,
    pub name: String,
    pub why: Why,
    /// Bytes of its NAR file.
    pub file_size: u64,
    /// The last push of it or of what refers to it.
    pub pushed_at: Timestamp,
    /// The last use of it or of what refers to it.
    pub used_at: Timestamp,
}

/// What a run of the collector would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preview {
    /// Paths of the cache.
    pub all_paths: u64,
    /// Bytes of the NAR files of all its paths.
    pub all_bytes: u64,
    /// Paths that a pin protects.
    pub pinned_paths: u64,
    pub paths: u64,
    /// Bytes of the NAR files of the paths that go.
    pub bytes: u64,
    /// Bytes of the storage that become free: what other paths share stays.
    pub freed_bytes: u64,
    /// How many go by which rule.
    pub reasons: Vec<(Why, u64)>,
    /// Some of them, those that go first first: referrers before what they refer to.
    pub rows: Vec<PlannedPath>,
}

/// How far a removal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RemovalState {
    Asked,
    Running,
    Done,
    Failed,
    Undone,
}

impl RemovalState {
    pub fn as_str(self) -> &'static str {
        match self {
            RemovalState::Asked => "asked",
            RemovalState::Running => "running",
            RemovalState::Done => "done",
            RemovalState::Failed => "failed",
            RemovalState::Undone => "undone",
        }
    }

    pub fn parse(text: &str) -> Option<RemovalState> {
        use RemovalState::{Asked, Done, Failed, Running, Undone};
        [Asked, Running, Done, Failed, Undone].into_iter().find(|state| state.as_str() == text)
    }
}

/// Paths that were taken out together, by people or by rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Removal {
    pub id: i64,
    pub cache: CacheName,
    /// Whether rules took them; otherwise people did.
    pub is_collection: bool,
    pub state: RemovalState,
    pub asked_at: Timestamp,
    pub asked_by: String,
    pub ended_at: Option<Timestamp>,
    /// What the plan was.
    pub planned_paths: u64,
    pub planned_bytes: u64,
    /// What went.
    pub paths: u64,
    pub bytes: u64,
    /// What else is to be said about it.
    pub note: String,
    /// Until when it can be undone.
    pub undo_until: Option<Timestamp>,
}

impl Removal {
    /// Whether what went can be put back.
    pub fn can_undo(&self, now: Timestamp) -> bool {
        self.state == RemovalState::Done && self.undo_until.is_some_and(|until| until > now)
    }
}
