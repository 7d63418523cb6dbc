//! Nodes: the programs that execute runs. Administrators add and remove them; a node shows its secret with each call.

use crate::{
    Core,
    caller::Caller,
    db::{Greeting, NodeFound},
    error::{Error, Result},
    secret,
};
use iglu_api::{
    Timestamp,
    node::{Hello, NodeKind, NodeRow, Welcome},
};

const PREFIX: &str = "iglu_node_";
/// How old the note of when a node was seen may be, in milliseconds: asking writes nothing more often.
const SEEN: i64 = 10 * Timestamp::SECOND;
/// Longest text and list of what a node says of itself.
const LONGEST: usize = 100;

/// A node that showed its secret.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) found: NodeFound,
    pub(crate) systems: Vec<String>,
}

/// The methods of the noun.
pub struct Nodes<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn node(&self) -> Nodes<'_> {
        Nodes(self)
    }
}

impl Nodes<'_> {
    /// Adds a remote node; the secret in the answer is kept nowhere.
    pub async fn create(&self, caller: &Caller, name: &str) -> Result<String> {
        caller.require_instance_admin("adding a node")?;
        let core = self.0;
        check_name(name)?;
        let secret = secret::fresh(PREFIX);
        let audit = core.audit(caller, "node.create", name);
        if !core.db.node_insert(name, NodeKind::Remote.as_str(), &secret::hash(&secret), &audit).await? {
            return Err(Error::Conflict { field: "name", message: format!("there is a node \"{name}\" already") });
        }
        Ok(secret.to_string())
    }

    /// The secret of the server's own node: another one for each start.
    pub async fn embedded(&self, name: &str) -> Result<String> {
        let core = self.0;
        let (kind, secret) = (NodeKind::Embedded.as_str(), secret::fresh(PREFIX));
        let secret_hash = secret::hash(&secret);
        if !core.db.node_renew(name, kind, &secret_hash).await? {
            let audit = core.audit(&Caller::Operator, "node.create", name);
            if !core.db.node_insert(name, kind, &secret_hash, &audit).await? {
                return Err(Error::Conflict {
                    field: "name",
                    message: format!("a remote node is called \"{name}\", as the server's own is"),
                });
            }
        }
        Ok(secret.to_string())
    }

    /// All nodes by name.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<NodeRow>> {
        caller.require_instance_admin("seeing the nodes")?;
        self.0.db.node_list().await?.into_iter().map(row).collect()
    }

    /// Lets a node take nothing more, or take again.
    pub async fn drain(&self, caller: &Caller, name: &str, is_draining: bool) -> Result<()> {
        caller.require_instance_admin("draining a node")?;
        let core = self.0;
        let audit = core.audit(caller, if is_draining { "node.drain" } else { "node.resume" }, name);
        if !core.db.node_drain(name, is_draining, &audit).await? {
            return Err(absent(name));
        }
        core.queue_tell();
        Ok(())
    }

    /// Removes a node: its secret opens nothing any more, and what it has goes to others.
    pub async fn remove(&self, caller: &Caller, name: &str) -> Result<()> {
        caller.require_instance_admin("removing a node")?;
        let core = self.0;
        if !core.db.node_delete(name, &core.audit(caller, "node.remove", name)).await? {
            return Err(absent(name));
        }
        core.queue_tell();
        Ok(())
    }

    /// The node that shows this secret.
    pub async fn by_secret(&self, secret: &str) -> Result<Node> {
        let found = match secret.starts_with(PREFIX) {
            true => self.0.db.node_find(&secret::hash(secret)).await?,
            false => None,
        };
        let unknown = || Error::Unauthenticated("this is no secret of a node; it may have been removed".to_owned());
        let found = found.ok_or_else(unknown)?;
        let systems = texts(&found.systems)?;
        Ok(Node { found, systems })
    }

    /// The node that tells of a run. Whatever the node gave the run to shows the token that the run pushes with, and opens no other.
    pub async fn telling(&self, secret: &str, run: u64) -> Result<Node> {
        let Some(token_hash) = crate::lease::pushing_token_hash(secret) else { return self.by_secret(secret).await };
        let run = i64::try_from(run).unwrap_or(i64::MAX);
        let over = || Error::Unauthenticated("the run that this token was for is over".to_owned());
        let found = self.0.db.node_of_run(run, &token_hash).await?.ok_or_else(over)?;
        let systems = texts(&found.systems)?;
        Ok(Node { found, systems })
    }

    /// Takes what a node says of itself when it starts. What it had before is lost.
    pub async fn greet(&self, node: &Node, hello: &Hello) -> Result<Welcome> {
        let core = self.0;
        let short = |text: &String| !text.is_empty() && text.len() <= LONGEST;
        let lists = [&hello.systems, &hello.features];
        let good = short(&hello.epoch) && lists.iter().all(|list| list.len() <= LONGEST && list.iter().all(short));
        if !good || hello.systems.is_empty() || hello.version.len().max(hello.nix_version.len()) > LONGEST {
            return Err(Error::invalid("", "the node says too much, or too little, of itself"));
        }
        let json = |list: &Vec<String>| {
            serde_json::to_string(list).map_err(|_| Error::internal("a list cannot be written as JSON"))
        };
        let greeting = Greeting {
            epoch: &hello.epoch,
            systems: &json(&hello.systems)?,
            features: &json(&hello.features)?,
            capacity: i64::from(hello.capacity.clamp(1, 1000)),
            version: &hello.version,
            nix_version: &hello.nix_version,
        };
        core.db.node_greet(&node.found, &greeting, core.now().0).await?;
        core.runs_recover().await?;
        Ok(Welcome { name: node.found.name.clone() })
    }

    /// Notes that a node was heard of.
    pub(crate) async fn seen(&self, node: &Node) -> Result<()> {
        let now = self.0.now();
        if node.found.last_seen_at.is_none_or(|at| now.0 - at > SEEN) {
            self.0.db.node_seen(node.found.id, now.0).await?;
        }
        Ok(())
    }
}

fn row(found: NodeFound) -> Result<NodeRow> {
    let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(NodeRow {
        kind: NodeKind::parse(&found.kind).unwrap_or(NodeKind::Remote),
        systems: texts(&found.systems)?,
        features: texts(&found.features)?,
        capacity: small(found.capacity),
        running: small(found.running),
        is_draining: found.is_draining,
        last_seen_at: found.last_seen_at.map(Timestamp),
        name: found.name,
        version: found.version,
        nix_version: found.nix_version,
        created_by: found.created_by,
    })
}

/// A JSON array of text in the database.
pub(crate) fn texts(json: &str) -> Result<Vec<String>> {
    serde_json::from_str(json).map_err(|_| Error::internal("a list in the database cannot be read"))
}

fn absent(name: &str) -> Error {
    Error::NotFound(format!("there is no node \"{}\"", name.escape_default()))
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 60 || !name.chars().all(plain) {
        return Err(Error::invalid("name", "the name of a node is 1 to 60 letters, digits or - _ ."));
    }
    Ok(())
}
