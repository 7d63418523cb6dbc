//! Runs: one execution of a builder each, and what became of it.

use crate::{BuilderName, CacheName, Reference, Timestamp, cache::Permission};
use serde::{Deserialize, Serialize};

/// Where a run is. From `Succeeded` on it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Queued,
    /// A node has it.
    Starting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
}

impl RunState {
    pub const ALL: [RunState; 7] = [
        RunState::Queued,
        RunState::Starting,
        RunState::Running,
        RunState::Succeeded,
        RunState::Failed,
        RunState::Cancelled,
        RunState::TimedOut,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Starting => "starting",
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
            RunState::TimedOut => "timed_out",
        }
    }

    pub fn parse(text: &str) -> Option<RunState> {
        RunState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            RunState::TimedOut => "timed out",
            other => other.as_str(),
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::TimedOut)
    }
}

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Manual,
    Schedule,
    Poll,
    Webhook,
}

impl Trigger {
    pub const ALL: [Trigger; 4] = [Trigger::Manual, Trigger::Schedule, Trigger::Poll, Trigger::Webhook];

    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Manual => "manual",
            Trigger::Schedule => "schedule",
            Trigger::Poll => "poll",
            Trigger::Webhook => "webhook",
        }
    }

    pub fn parse(text: &str) -> Option<Trigger> {
        Trigger::ALL.into_iter().find(|trigger| trigger.as_str() == text)
    }
}

/// A run that is asked for by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RunStart {
    /// The builder's own where absent.
    pub reference: Option<Reference>,
    /// Runs with a higher one go first; 0 is the usual.
    pub priority: i32,
}

/// A run that was put into the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunStarted {
    pub id: u64,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunRow {
    pub id: u64,
    pub builder: BuilderName,
    pub cache: CacheName,
    pub state: RunState,
    pub trigger: Trigger,
    /// Who or what triggered it, in words.
    pub triggered_by: String,
    pub reference: Reference,
    /// The commit; unknown until it is checked out.
    pub commit: Option<String>,
    /// The first line of the commit's message.
    pub subject: String,
    pub priority: i32,
    /// Counted from 1; more where nodes were lost.
    pub attempt: u32,
    pub node: Option<String>,
    pub queued_at: Timestamp,
    /// When a node took it.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Why it failed, or why it still waits.
    pub reason: String,
}

impl RunRow {
    /// How long it took, in milliseconds, or takes until now.
    pub fn duration(&self, now: Timestamp) -> Option<i64> {
        self.started_at.map(|started| self.ended_at.unwrap_or(now).0 - started.0)
    }
}

/// All about a run but its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunDetail {
    pub run: RunRow,
    /// What the caller may do in the cache: push to start and cancel.
    pub permission: Option<Permission>,
    pub derivations: Vec<Derivation>,
    pub pushed: Vec<PushedPath>,
    /// Lines of the log so far.
    pub line_count: u64,
    /// How long the runs before it took that succeeded, in milliseconds, the newest first.
    pub earlier: Vec<i64>,
    /// Somebody asked that it ends.
    pub is_ending: bool,
}

/// Where a derivation of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DerivationState {
    Queued,
    Building,
    Built,
    /// Fetched from a binary cache, or there already.
    Substituted,
    Failed,
    /// It failed in an earlier run, and was not built again.
    FailedBefore,
    /// What it needs failed, or the run ended first.
    Skipped,
}

impl DerivationState {
    pub const ALL: [DerivationState; 7] = [
        DerivationState::Queued,
        DerivationState::Building,
        DerivationState::Built,
        DerivationState::Substituted,
        DerivationState::Failed,
        DerivationState::FailedBefore,
        DerivationState::Skipped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DerivationState::Queued => "queued",
            DerivationState::Building => "building",
            DerivationState::Built => "built",
            DerivationState::Substituted => "substituted",
            DerivationState::Failed => "failed",
            DerivationState::FailedBefore => "failed_before",
            DerivationState::Skipped => "skipped",
        }
    }

    pub fn parse(text: &str) -> Option<DerivationState> {
        DerivationState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub fn is_failure(self) -> bool {
        matches!(self, DerivationState::Failed | DerivationState::FailedBefore)
    }
}

/// A derivation of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Derivation {
    /// Counted from 0 in each run.
    pub number: u32,
    /// `…-name.drv`, without the store's folder.
    pub drv: String,
    pub name: String,
    pub state: DerivationState,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: String,
}

/// A path that a run pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PushedPath {
    /// `hash-name`, without the store's folder.
    pub path: String,
    /// In bytes.
    pub nar_size: u64,
}

/// A part of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogPart {
    /// The number of the first of these lines, counted from 0.
    pub first: u64,
    pub lines: Vec<LogLine>,
    /// Lines of the whole log so far.
    pub line_count: u64,
}

/// Where something stands in a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogFound {
    /// The numbers of the lines, counted from 0.
    pub lines: Vec<u64>,
    /// There are more of them.
    pub is_more: bool,
}

/// News of a run, for its page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNews {
    /// Lines of the log, behind those that the page has; where many came at once only the newest.
    pub log: LogPart,
    pub is_over: bool,
}

/// A line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// The number of the derivation that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derivation: Option<u32>,
    /// As it was written, colours included; without the line's end.
    pub text: String,
}
