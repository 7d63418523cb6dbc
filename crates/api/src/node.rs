//! What nodes and the server tell each other. Nodes ask; the server never calls one.

use crate::{
    BuilderName, CacheName, Reference, Timestamp,
    builder::{BuilderSpec, Credential},
    run::DerivationState,
};
use serde::{Deserialize, Serialize};

/// A node asks at least every 20 s; one that was silent for longer than this, in milliseconds, is away.
pub const AWAY: i64 = 2 * Timestamp::MINUTE;

/// What runs a node's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// The server's own.
    Embedded,
    /// A machine that somebody added.
    Remote,
}

impl NodeKind {
    pub const ALL: [NodeKind; 2] = [NodeKind::Embedded, NodeKind::Remote];

    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::Embedded => "embedded",
            NodeKind::Remote => "remote",
        }
    }

    pub fn parse(text: &str) -> Option<NodeKind> {
        NodeKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A node in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeRow {
    pub name: String,
    pub kind: NodeKind,
    pub systems: Vec<String>,
    pub features: Vec<String>,
    /// Runs that it takes at a time.
    pub capacity: u32,
    /// Runs that it has.
    pub running: u32,
    /// Takes nothing more.
    pub is_draining: bool,
    /// Of Iglu and of Nix.
    pub version: String,
    pub nix_version: String,
    pub last_seen_at: Option<Timestamp>,
    pub created_by: String,
}

/// What a node says when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Another one each time the node starts: whatever an earlier one had is lost.
    pub epoch: String,
    pub systems: Vec<String>,
    pub features: Vec<String>,
    pub capacity: u32,
    pub version: String,
    pub nix_version: String,
}

/// What the server answers to a node that starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Under which it is known.
    pub name: String,
}

/// What a node has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub run: u64,
    pub attempt: u32,
    /// Shown with every report: whoever has another one has lost the run.
    pub lease: String,
    /// How long the server waits for a report before it gives the run to another node, in milliseconds.
    pub lease_millis: i64,
    pub builder: BuilderName,
    pub reference: Reference,
    pub spec: BuilderSpec,
    pub credential: Option<Credential>,
    pub cache: CacheName,
    /// Keys that the cache's paths are signed with.
    pub cache_keys: Vec<String>,
    /// Opens that one cache for pushing, as long as the run lasts.
    pub token: String,
    /// Opens it for pulling: what the run itself may see.
    pub pull_token: String,
    /// Whether derivations that failed before are built again.
    pub tries_again: bool,
    /// There is nothing to do where this is the commit.
    #[serde(default)]
    pub unless_commit: Option<String>,
}

/// What happened in a run, in its order. The order is the numbering: the server takes each once, however often it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunEvent {
    /// The commit was checked out.
    Commit {
        commit: String,
        subject: String,
    },
    /// A line of the log.
    Line {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        derivation: Option<u32>,
        text: String,
    },
    /// A derivation is known, or is in another state.
    Derivation {
        number: u32,
        drv: String,
        state: DerivationState,
        at: Timestamp,
        #[serde(default)]
        reason: String,
    },
    Pushed {
        path: String,
        nar_size: u64,
    },
    /// The last one.
    Finished {
        outcome: Outcome,
        reason: String,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
    /// There is no new commit: the run is as if it had never been.
    Unchanged,
}

/// What a node tells of a run; empty to say that it is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub lease: String,
    /// The number of the first of these events, counted from 0 in each attempt.
    pub first: u64,
    pub events: Vec<RunEvent>,
    /// Why nothing is executed yet, where the node waits for something; the run is not running then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting: String,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Events that it has: the node goes on behind them.
    pub next: u64,
    /// Somebody asked that the run ends.
    pub cancel: bool,
}

/// Derivations that a run is about to build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBefore {
    pub lease: String,
    pub drvs: Vec<String>,
}

/// A remote node to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeCreate {
    /// 1 to 60 letters, digits or `-`, `_`, `.`.
    pub name: String,
}

/// A node that was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeCreated {
    pub name: String,
    /// What the node shows to the server; shown this once.
    pub secret: String,
}

/// What is to be other about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeChange {
    /// Takes nothing more; what it has goes on to its end.
    pub is_draining: bool,
}
