//! Why a path was not substituted, as far as a cache can tell.

use serde::{Deserialize, Serialize};

/// What was found out about a path, in the order in which Nix goes about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyAnswer {
    /// The store path as it was understood; only its hash part where nothing more was said.
    pub path: String,
    /// The hash part, where the cache has the path.
    pub hash: Option<String>,
    pub checks: Vec<WhyCheck>,
}

impl WhyAnswer {
    /// Whether a machine that trusts the cache gets the path from it.
    pub fn is_served(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Bad)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// What may be the reason on the machine that asked.
    Hint,
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyCheck {
    pub verdict: Verdict,
    pub finding: String,
    /// What to do about it; empty where nothing is to be done.
    pub cure: String,
    /// A command that does it, or lines for a file; empty where there is none.
    pub command: String,
}
