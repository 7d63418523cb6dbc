//! Builders: what of which repository is built, how, and into which cache.

use crate::{BuilderName, CacheName, Reference, Repository, Timestamp, run::RunRow};
use serde::{Deserialize, Serialize};

/// What a builder does, as its maintainers write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BuilderSpec {
    pub repository: Repository,
    /// The branch, tag or commit that is built where a trigger names none.
    pub reference: Reference,
    pub what: What,
    /// Nix's names of the systems to build for, such as `x86_64-linux`; empty for that of the node.
    #[serde(default)]
    pub systems: Vec<String>,
    /// Binary caches that runs fetch from, besides the target cache, and the keys that they trust.
    #[serde(default)]
    pub substituters: Vec<String>,
    #[serde(default)]
    pub trusted_keys: Vec<String>,
    /// Goes on with what does not depend on what failed.
    #[serde(default)]
    pub keep_going: bool,
    /// Fetches all commits instead of the newest: for flakes that count them.
    #[serde(default)]
    pub full_history: bool,
    #[serde(default)]
    pub limits: RunLimits,
    /// What the last so many successful runs made stays pinned; 0 pins nothing.
    #[serde(default)]
    pub keep_runs: u32,
}

/// What is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// Outputs of the flake in a folder of the repository: whole kinds (`packages`, `checks`, `devShells`, `nixosConfigurations`) or
    /// single attributes (`hello`, `packages.x86_64-linux.hello`).
    Flake {
        #[serde(default)]
        folder: String,
        outputs: Vec<String>,
    },
    /// Attributes of a Nix file; none for the file's own value.
    File {
        file: String,
        #[serde(default)]
        attributes: Vec<String>,
    },
    /// A command in the repository's folder. Store paths that it prints, a line each, and the links `result*` that it leaves are what
    /// it made.
    Command { command: String },
}

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RunLimits {
    /// Cores of one build; 0 for all of the node.
    pub cores: u32,
    /// Derivations that are built at a time.
    pub jobs: u32,
    /// Memory of everything that a run starts, in MiB; 0 for no limit.
    pub memory_mib: u32,
    /// How long a run may take, in minutes.
    pub timeout_minutes: u32,
    /// How much a run may write into its log, in MiB.
    pub log_mib: u32,
    /// Runs of the builder at a time.
    pub runs: u32,
}

impl Default for RunLimits {
    fn default() -> RunLimits {
        RunLimits { cores: 0, jobs: 1, memory_mib: 8192, timeout_minutes: 120, log_mib: 64, runs: 1 }
    }
}

/// How a private repository is opened. Written and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Credential {
    /// For https.
    Password { user: String, password: String },
    /// For ssh: a private key in OpenSSH's form, without a passphrase.
    Key { key: String },
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

/// A builder to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BuilderCreate {
    pub name: BuilderName,
    /// Where what it builds goes.
    pub cache: CacheName,
    pub spec: BuilderSpec,
    #[serde(default)]
    pub credential: Option<Credential>,
}

/// What is to be other about a builder; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BuilderChange {
    pub spec: Option<BuilderSpec>,
    pub credential: Option<Credential>,
    /// Forgets the credential.
    pub without_credential: bool,
    pub is_enabled: Option<bool>,
    /// The revision of the builder that the change was made from; another one meanwhile is told.
    pub revision: Option<u64>,
}

/// A builder in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuilderRow {
    pub name: BuilderName,
    pub cache: CacheName,
    pub repository: Repository,
    pub reference: Reference,
    pub is_enabled: bool,
    pub last_run: Option<RunRow>,
}

/// All about a builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuilderDetail {
    pub name: BuilderName,
    pub cache: CacheName,
    pub spec: BuilderSpec,
    pub has_credential: bool,
    pub is_enabled: bool,
    /// Counts its changes.
    pub revision: u64,
    pub created_at: Timestamp,
    pub created_by: String,
    /// The newest first.
    pub runs: Vec<RunRow>,
}
