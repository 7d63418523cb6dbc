//! Builders: what of which repository is built, how, and into which cache.

use crate::{BuilderName, CacheName, Reference, Repository, Timestamp, cache::Permission, run::RunRow};
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
    #[serde(default)]
    pub triggers: Triggers,
    /// Where what became of a commit is told.
    #[serde(default)]
    pub status: Option<Status>,
}

/// A forge that shows what became of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub forge: ForgeKind,
    /// The address of its API; empty for where it usually is.
    #[serde(default)]
    pub api: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ForgeKind {
    Github,
    Gitlab,
    /// And Forgejo.
    Gitea,
}

/// What starts runs by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Triggers {
    pub schedule: Option<Schedule>,
    /// Looks for a new commit every so many minutes.
    pub poll_minutes: Option<u32>,
    pub webhook: Option<Webhook>,
}

/// Moments at which runs start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// As the time zone database names it, such as `Europe/Berlin`; empty for UTC.
    #[serde(default)]
    pub time_zone: String,
}

/// Which calls of a forge start runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// Patterns of branches and tags, where `*` stands for anything; empty for the builder's own reference.
    pub branches: Vec<String>,
    /// Patterns of files: a push that changes none of them starts nothing. Empty for every push.
    pub paths: Vec<String>,
    /// Pull and merge requests start runs too.
    pub pull_requests: bool,
    /// Those that come from forks as well: anybody's code is then built and pushed.
    pub forks: bool,
}

/// Where a forge calls a builder, and with what secret it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookDetail {
    pub url: String,
    pub secret: String,
    /// The newest first.
    pub deliveries: Vec<DeliveryRow>,
}

/// A call of a forge, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryRow {
    pub id: u64,
    pub at: Timestamp,
    /// `github`, `gitlab`, `gitea` or `generic`.
    pub forge: String,
    /// As the forge names it: `push`, `Merge Request Hook`.
    pub event: String,
    pub reference: String,
    pub commit: Option<String>,
    /// The HTTP status that the forge heard.
    pub status: u16,
    /// What came of it, in words.
    pub message: String,
    pub run: Option<u64>,
    /// It can be taken again: it was signed, and named a commit.
    pub can_repeat: bool,
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
    /// A token of the forge that may set statuses.
    #[serde(default)]
    pub status_token: Option<String>,
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
    pub status_token: Option<String>,
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
    /// The newest dozen, the newest first.
    pub runs: Vec<RunRow>,
}

/// All about a builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuilderDetail {
    /// What the caller may do in the cache: push to start and cancel, admin to change.
    pub permission: Option<Permission>,
    pub name: BuilderName,
    pub cache: CacheName,
    pub spec: BuilderSpec,
    /// When its schedule is due next.
    pub next_at: Option<Timestamp>,
    pub has_credential: bool,
    pub has_status_token: bool,
    pub is_enabled: bool,
    /// Counts its changes.
    pub revision: u64,
    pub created_at: Timestamp,
    pub created_by: String,
    /// The newest first.
    pub runs: Vec<RunRow>,
}
