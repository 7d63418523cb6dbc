//! Looks at repositories: asked for by whoever is about to make a builder, done by a node at once and beside its runs, forgotten after
//! minutes.

use crate::{
    builder::Builders,
    caller::{Caller, Discretion},
    error::{Error, Result},
    node::{Node, Nodes, texts},
    run::SILENT,
};
use iglu_api::{
    Timestamp,
    cache::Permission,
    probe::{ProbeAnswer, ProbeStart, ProbeTask},
};
use std::time::Duration;

/// How long a question for an answer, and a node's for work, is kept waiting.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked where nothing told of a change: another server may have heard it.
const LOOK: Duration = Duration::from_secs(1);
/// How long they are kept.
pub(crate) const KEPT: i64 = 10 * Timestamp::MINUTE;
/// Of a cache, that nobody answered.
const MOST: i64 = 20;
/// Outputs of an answer, and letters of each and of a reason.
const MOST_OUTPUTS: usize = 2000;
const LONGEST: usize = 300;
const LONGEST_REASON: usize = 2000;
/// Of a folder, in bytes.
const LONGEST_FOLDER: usize = 500;
const PURPOSE: &str = "a look at a repository";

impl Builders<'_> {
    /// Asks for a look. Its number.
    pub async fn probe(&self, caller: &Caller, start: &ProbeStart) -> Result<u64> {
        let core = self.0;
        let cache = core.cache().open(caller, start.cache.as_str(), Permission::Admin, Discretion::Hide).await?;
        if start.folder.len() > LONGEST_FOLDER {
            return Err(Error::invalid("folder", "a folder's path has at most 500 characters"));
        }
        let now = core.now();
        let looks = |features: &str| Ok::<_, Error>(!texts(features)?.iter().any(|one| one == "kubernetes"));
        let mut is_there = false;
        for node in core.db.node_list().await? {
            let is_awake = !node.is_draining && node.last_seen_at.is_some_and(|at| now.0 - at < SILENT);
            is_there |= is_awake && looks(&node.features)?;
        }
        if !is_there {
            let message = "no node is there that could look: start one that executes runs on its own machine";
            return Err(Error::Conflict { field: "", message: message.to_owned() });
        }
        let mut credential = start.credential.clone();
        if let (None, Some(builder)) = (&credential, &start.builder) {
            let (found, _) = self.open(caller, builder.as_str(), Permission::Admin).await?;
            // It was given for one place; another one must not be sent it.
            if crate::builder::spec_of(&found)?.repository == start.repository {
                credential = self.credential(builder.as_str(), found.credential.as_deref())?;
            }
        }
        let task = ProbeTask {
            id: 0,
            repository: start.repository.clone(),
            reference: start.reference.clone(),
            folder: start.folder.clone(),
            credential,
        };
        let json = serde_json::to_vec(&task).map_err(|_| Error::internal("a look cannot be written as JSON"))?;
        core.db.probe_forget(now.0 - KEPT).await?;
        let id = core.db.probe_insert(cache.id, &core.master.seal(PURPOSE, &json), now.0, MOST).await?;
        let message = "so many looks are waiting that another one has to wait too".to_owned();
        let id = id.ok_or(Error::TooMany { message, retry_after_seconds: 30 })?;
        core.queue_tell();
        Ok(id.unsigned_abs())
    }

    /// What came of a look, waiting a while for it. `None` where nothing came yet: ask again.
    pub async fn probe_answer(&self, caller: &Caller, id: u64) -> Result<Option<ProbeAnswer>> {
        let core = self.0;
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answered = core.probe_answered.notified();
            let gone = || Error::NotFound(format!("there is no look {id} any more"));
            let found = core.db.probe_get(i64::try_from(id).unwrap_or(i64::MAX)).await?.ok_or_else(gone)?;
            let cache = core.directory.get_by_id(found.cache_id).ok_or_else(gone)?;
            caller.require(&cache, Permission::Admin, Discretion::Hide)?;
            if let Some(answer) = found.answer {
                let broken = |_| Error::internal("an answer in the database cannot be read");
                return serde_json::from_str(&answer).map(Some).map_err(broken);
            }
            if tokio::time::Instant::now() + LOOK > until {
                return Ok(None);
            }
            let _ = tokio::time::timeout(LOOK, answered).await;
        }
    }
}

impl Nodes<'_> {
    /// The next look for a node, waiting a while for one.
    pub async fn probe_claim(&self, node: &Node) -> Result<Option<ProbeTask>> {
        let core = self.0;
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let changed = core.queue_changed.notified();
            if !node.found.is_draining
                && let Some((id, sealed)) = core.db.probe_claim(node.found.id).await?
            {
                let broken = || Error::internal("a look cannot be opened with this master key");
                let json = core.master.open(PURPOSE, &sealed).ok_or_else(broken)?;
                let task: ProbeTask = serde_json::from_slice(&json).map_err(|_| broken())?;
                return Ok(Some(ProbeTask { id: id.unsigned_abs(), ..task }));
            }
            if tokio::time::Instant::now() + LOOK > until {
                return Ok(None);
            }
            let _ = tokio::time::timeout(LOOK, changed).await;
        }
    }

    /// Takes what a node saw.
    pub async fn probe_tell(&self, node: &Node, id: u64, answer: ProbeAnswer) -> Result<()> {
        let core = self.0;
        let short = |text: String, most: usize| text.chars().take(most).collect::<String>();
        let answer = match answer {
            ProbeAnswer::Found { commit, subject, outputs, trouble } => ProbeAnswer::Found {
                commit: short(commit, LONGEST),
                subject: short(subject, LONGEST),
                outputs: outputs.into_iter().take(MOST_OUTPUTS).map(|output| short(output, LONGEST)).collect(),
                trouble: short(trouble, LONGEST_REASON),
            },
            ProbeAnswer::Failed { reason } => ProbeAnswer::Failed { reason: short(reason, LONGEST_REASON) },
        };
        let json =
            serde_json::to_string(&answer).map_err(|_| Error::internal("an answer cannot be written as JSON"))?;
        let number = i64::try_from(id).unwrap_or(i64::MAX);
        if !core.db.probe_answer(number, node.found.id, &json).await? {
            let message = format!("look {id} is over, or another node has it");
            return Err(Error::Conflict { field: "", message });
        }
        core.probe_told();
        Ok(())
    }
}
