//! Looks at repositories before a builder is made of them: whether they can be fetched, and what their flakes offer.

use crate::{BuilderName, CacheName, Reference, Repository, builder::Credential};
use serde::{Deserialize, Serialize};

/// What is to be looked at, for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProbeStart {
    /// The cache that a builder would fill: whoever maintains it may look.
    pub cache: CacheName,
    pub repository: Repository,
    pub reference: Reference,
    /// Of `flake.nix`; empty for the top.
    #[serde(default)]
    pub folder: String,
    #[serde(default)]
    pub credential: Option<Credential>,
    /// The builder whose credential is used where none is given, as long as it is for this repository.
    #[serde(default)]
    pub builder: Option<BuilderName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProbeStarted {
    pub id: u64,
}

/// What a node is to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTask {
    pub id: u64,
    pub repository: Repository,
    pub reference: Reference,
    pub folder: String,
    pub credential: Option<Credential>,
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProbeAnswer {
    /// It can be fetched.
    Found {
        commit: String,
        /// The first line of the commit's message.
        subject: String,
        /// What can be built of its flake, as builders name it: `packages.x86_64-linux.hello`, `nixosConfigurations.web`.
        outputs: Vec<String>,
        /// Why there are no outputs; empty where there are.
        trouble: String,
    },
    Failed {
        reason: String,
    },
}
