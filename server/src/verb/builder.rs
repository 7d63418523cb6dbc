//! `builder` and `nodes`: what is built from which repository, and who builds it.

use super::{
    Said,
    api::{Api, segment},
};
use anyhow::{Context, bail};
use clap::Subcommand;
use iglu_api::{
    BuilderName, CacheName, Timestamp,
    builder::{BuilderChange, BuilderCreate, BuilderDetail, BuilderRow, BuilderSpec, Credential},
    node::{NodeChange, NodeCreate, NodeCreated, NodeRow},
};
use serde_json::{Value, json};
use std::{fs, io::Read, path::PathBuf};

/// Longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

#[derive(Subcommand)]
pub enum BuilderCommand {
    /// Print the builders, each with its last run
    List,
    /// Print a builder; with --json its specification is what `set` takes
    Show {
        /// Name of the builder
        builder: String,
    },
    /// Make a builder of a cache
    Create {
        /// Name of the builder
        builder: String,
        /// The cache that what it builds goes to
        cache: String,
        /// File with its specification as JSON; - for standard input
        #[arg(long, value_name = "FILE")]
        spec: PathBuf,
        #[command(flatten)]
        credential: CredentialFlags,
        /// File with a token of the forge that the specification names, to tell it of runs
        #[arg(long, value_name = "FILE")]
        status_token_file: Option<PathBuf>,
    },
    /// Change what is named of a builder, and nothing else
    Set {
        /// Name of the builder
        builder: String,
        /// File with its specification as JSON; - for standard input
        #[arg(long, value_name = "FILE")]
        spec: Option<PathBuf>,
        #[command(flatten)]
        credential: CredentialFlags,
        /// File with a token of the forge that the specification names, to tell it of runs
        #[arg(long, value_name = "FILE")]
        status_token_file: Option<PathBuf>,
        /// Forget the credential
        #[arg(long, conflicts_with_all = ["password_file", "key_file"])]
        without_credential: bool,
        /// Whether triggers start runs
        #[arg(long, value_name = "BOOL")]
        enabled: Option<bool>,
    },
    /// Remove a builder with its runs and their logs; what it built stays
    Remove {
        /// Name of the builder
        builder: String,
    },
}

/// How a private repository is opened.
#[derive(clap::Args)]
pub struct CredentialFlags {
    /// For https: the user name that goes with the password or token
    #[arg(long, value_name = "NAME", requires = "password_file")]
    password_user: Option<String>,
    /// For https: file with the password or token
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// For ssh: file with the private key
    #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
    key_file: Option<PathBuf>,
}

impl CredentialFlags {
    fn credential(self) -> anyhow::Result<Option<Credential>> {
        Ok(match (self.password_file, self.key_file) {
            (Some(file), _) => Some(Credential::Password {
                user: self.password_user.unwrap_or_else(|| "token".to_owned()),
                password: read(&file)?.trim().to_owned(),
            }),
            (None, Some(file)) => Some(Credential::Key { key: read(&file)? }),
            (None, None) => None,
        })
    }
}

#[derive(Subcommand)]
pub enum NodesCommand {
    /// Print the nodes
    List,
    /// Add a node, and print the secret that `iglu node` shows to the server
    Add {
        /// Name of the node
        node: String,
    },
    /// Let a node take no more runs
    Drain {
        /// Name of the node
        node: String,
    },
    /// Let a drained node take runs again
    Resume {
        /// Name of the node
        node: String,
    },
    /// Remove a node; what it has goes to others
    Remove {
        /// Name of the node
        node: String,
    },
}

fn read(file: &PathBuf) -> anyhow::Result<String> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text).context("reading standard input")?;
    } else {
        let opened = fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
        opened.take(LONGEST).read_to_string(&mut text).with_context(|| format!("reading {}", file.display()))?;
    }
    Ok(text)
}

/// A specification as `builder show --json` prints it, alone or within the whole.
fn spec(file: &PathBuf) -> anyhow::Result<BuilderSpec> {
    let text = read(file)?;
    let json: Value = serde_json::from_str(&text).context("the specification is no JSON")?;
    let inner = json.get("builder").unwrap_or(&json);
    let inner = inner.get("spec").unwrap_or(inner);
    serde_json::from_value(inner.clone()).context("in the specification")
}

pub async fn perform(api: &Api, command: BuilderCommand) -> Said {
    let of = |builder: &str| format!("builders/{}", segment(builder));
    match command {
        BuilderCommand::List => {
            let builders: Vec<BuilderRow> = api.get("builders").await?;
            let lines: Vec<String> = builders.iter().map(in_a_line).collect();
            Ok((json!({ "builders": builders }), lines.join("\n")))
        }
        BuilderCommand::Show { builder } => shown(api, &builder).await,
        BuilderCommand::Create { builder, cache, spec: file, credential, status_token_file } => {
            let create = BuilderCreate {
                name: BuilderName::parse(&builder)?,
                cache: CacheName::parse(&cache)?,
                spec: spec(&file)?,
                credential: credential.credential()?,
                status_token: status_token_file.as_ref().map(read).transpose()?,
            };
            let () = api.post("builders", create).await?;
            shown(api, &builder).await
        }
        BuilderCommand::Set { builder, spec: file, credential, status_token_file, without_credential, enabled } => {
            let change = BuilderChange {
                spec: file.as_ref().map(spec).transpose()?,
                credential: credential.credential()?,
                status_token: status_token_file.as_ref().map(read).transpose()?,
                without_credential,
                is_enabled: enabled,
                revision: None,
            };
            if change == BuilderChange::default() {
                bail!("nothing is named that should be other");
            }
            let () = api.patch(&of(&builder), change).await?;
            shown(api, &builder).await
        }
        BuilderCommand::Remove { builder } => {
            let () = api.delete(&of(&builder)).await?;
            Ok((json!({}), format!("builder {builder} is removed; what it built stays")))
        }
    }
}

fn in_a_line(row: &BuilderRow) -> String {
    let last =
        row.runs.first().map_or_else(|| "never run".to_owned(), |run| format!("run {} {}", run.id, run.state.word()));
    let off = if row.is_enabled { "" } else { ", switched off" };
    format!("{}: {} {} into {}, {last}{off}", row.name, row.repository, row.reference, row.cache)
}

async fn shown(api: &Api, builder: &str) -> Said {
    let found: BuilderDetail = api.get(&format!("builders/{}", segment(builder))).await?;
    let mut lines =
        vec![format!("{}: {} {} into {}", found.name, found.spec.repository, found.spec.reference, found.cache)];
    lines.push(serde_json::to_string_pretty(&found.spec)?);
    if found.has_credential {
        lines.push("it has a credential for the repository".to_owned());
    }
    if !found.is_enabled {
        lines.push("it is switched off".to_owned());
    }
    lines.extend(found.runs.iter().take(10).map(super::run::in_a_line));
    Ok((json!({ "builder": found }), lines.join("\n")))
}

pub async fn nodes(api: &Api, command: NodesCommand) -> Said {
    let of = |node: &str| format!("nodes/{}", segment(node));
    match command {
        NodesCommand::Add { node } => {
            let made: NodeCreated = api.post("nodes", NodeCreate { name: node }).await?;
            let text = made.secret.clone();
            return Ok((json!({ "node": made }), text));
        }
        NodesCommand::Drain { node } => api.patch(&of(&node), NodeChange { is_draining: true }).await?,
        NodesCommand::Resume { node } => api.patch(&of(&node), NodeChange { is_draining: false }).await?,
        NodesCommand::Remove { node } => api.delete(&of(&node)).await?,
        NodesCommand::List => {}
    }
    let nodes: Vec<NodeRow> = api.get("nodes").await?;
    let lines: Vec<String> = nodes.iter().map(node_in_a_line).collect();
    Ok((json!({ "nodes": nodes }), lines.join("\n")))
}

fn node_in_a_line(node: &NodeRow) -> String {
    let seen = node.last_seen_at.map_or_else(|| "never seen".to_owned(), |at: Timestamp| format!("seen {at}"));
    let draining = if node.is_draining { ", draining" } else { "" };
    format!(
        "{}: {} of {} runs, {}, {seen}{draining}",
        node.name,
        node.running,
        node.capacity,
        if node.systems.is_empty() { "no systems yet".to_owned() } else { node.systems.join(" ") }
    )
}
