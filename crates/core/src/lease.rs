//! Who has a run: nodes that claim the next one, what they tell of it, the token that it pushes with, and runs whose node is lost. A
//! lease is all that a node has; every state is in the database, so that any server may hear any node.

use crate::{
    Core,
    builder::name_of,
    caller::{Caller, Token},
    db::{Claim, RunDerivationRow, Taken, Told},
    error::{Error, Result},
    failpoint,
    node::{Node, texts},
    run::{Runs, can_build, reference_of},
    secret,
};
use iglu_api::{
    Reference,
    builder::BuilderSpec,
    cache::Permission,
    event::LiveEvent,
    node::{Assignment, FailedBefore, Heard, Outcome, Report, RunEvent},
    run::{DerivationState, RunState, Trigger},
};
use std::{sync::Arc, time::Duration};

const TOKEN_PREFIX: &str = "iglu_run_";
const PULL_PREFIX: &str = "iglu_runpull_";
/// How often a run is given to a node before it is given up.
const ATTEMPTS: i64 = 3;
/// How long a node that asks for work is kept waiting; then it asks again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a waiting node's queue is looked at where nothing told of a change: another server may have queued a run.
const LOOK: Duration = Duration::from_secs(2);
/// Events of one report, and bytes of one line. A node keeps to them.
const MOST_EVENTS: usize = 5000;
const LONGEST_LINE: usize = 16 << 10;
/// Derivations of one question.
const MOST_DRVS: usize = 20_000;

impl Core {
    /// Takes runs back from nodes that were not heard of in time. How many.
    pub(crate) async fn runs_recover(&self) -> Result<usize> {
        let now = self.now();
        let mut recovered = 0;
        for lost in self.db.run_list_lost(now.0).await? {
            let node = lost.node_name.as_deref().unwrap_or("its node");
            let (finish, words) = match &lost.cancelled_by {
                Some(who) => (Some(RunState::Cancelled), format!("cancelled by {who}; node {node} was lost meanwhile")),
                None if lost.attempt >= ATTEMPTS => (
                    Some(RunState::Failed),
                    format!("node {node} was lost; that was attempt {} of {ATTEMPTS}", lost.attempt),
                ),
                None => (None, format!("node {node} was lost; queued again")),
            };
            if self.db.run_lost(&lost, finish.map(RunState::as_str), &words, now.0).await? {
                recovered += 1;
                self.known_tokens.clear();
                if finish.is_some() {
                    self.run_ended(lost.id).await?;
                }
                self.run_changed(lost.id);
            }
        }
        if recovered > 0 {
            self.queue_tell();
        }
        Ok(recovered)
    }
}

impl Runs<'_> {
    /// The next run for a node, waiting a while for one. `None` when there was none: the node asks again.
    pub async fn claim(&self, node: &Node) -> Result<Option<Assignment>> {
        let core = self.0;
        core.node().seen(node).await?;
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            // Made before the look, so that what comes between the two is heard.
            let changed = core.queue_changed.notified();
            if !node.found.is_draining
                && let Some(assignment) = self.claim_now(node).await?
            {
                return Ok(Some(assignment));
            }
            let look = tokio::time::Instant::now() + LOOK;
            if look >= until {
                return Ok(None);
            }
            let _ = tokio::time::timeout_at(look, changed).await;
        }
    }

    async fn claim_now(&self, node: &Node) -> Result<Option<Assignment>> {
        let core = self.0;
        for candidate in core.db.run_candidates().await? {
            let Ok(spec) = serde_json::from_str::<BuilderSpec>(&candidate.spec) else {
                // A newer server may have written it, which serves nodes too.
                tracing::warn!(run = candidate.id, "the builder of a run in the queue cannot be read by this version");
                continue;
            };
            let most = i64::from(spec.limits.runs);
            if candidate.running >= most || !can_build(&node.systems, &texts(&candidate.systems)?) {
                continue;
            }
            let (lease, token) = (secret::fresh(""), secret::fresh(TOKEN_PREFIX));
            let now = core.now();
            let claim = Claim {
                node_id: node.found.id,
                node_name: &node.found.name,
                lease: &lease,
                lease_until: now.plus(core.limits.run_lease).0,
                token_hash: &secret::hash(&pull_token(&token)),
                now: now.0,
                most,
            };
            let Some(row) = core.db.run_claim(&candidate, &claim).await? else { continue };
            failpoint::reach("run.claimed");
            core.run_changed(row.id);
            let Some(cache) = core.directory.get_by_id(row.cache_id) else { continue };
            let reference = row.commit_hash.as_deref().unwrap_or(&row.reference);
            return Ok(Some(Assignment {
                run: row.id.unsigned_abs(),
                attempt: u32::try_from(row.attempt).unwrap_or(1),
                lease: lease.to_string(),
                lease_millis: core.limits.run_lease,
                builder: name_of(&row.builder)?,
                reference: reference_of(reference)?,
                credential: core.builder().credential(&row.builder, row.credential.as_deref())?,
                spec,
                cache: cache.name.clone(),
                cache_keys: core.cache().get(&Caller::Operator, cache.name.as_str()).await?.public_keys,
                pull_token: pull_token(&token),
                token: token.to_string(),
                tries_again: row.tries_again,
                unless_commit: match row.trigger == Trigger::Poll.as_str() {
                    true => core.db.run_last_commit(candidate.builder_id, row.id).await?,
                    false => None,
                },
            }));
        }
        Ok(None)
    }

    /// Takes what a node tells of a run. A node that has lost it hears a conflict, and ends what it does.
    pub async fn tell(&self, node: &Node, id: u64, report: &Report) -> Result<Heard> {
        let core = self.0;
        core.node().seen(node).await?;
        let told = told(report)?;
        let (now, number) = (core.now(), i64::try_from(id).unwrap_or(i64::MAX));
        let first = i64::try_from(report.first).unwrap_or(i64::MAX);
        let lease_until = now.plus(core.limits.run_lease).0;
        let held = (number, node.found.id, report.lease.as_str());
        let taken = core.db.run_tell(held, first, &told, lease_until, now.0).await?;
        failpoint::reach("run.told");
        match taken {
            Taken::Lost => {
                Err(Error::Conflict { field: "lease", message: format!("run {id} is over, or another node has it") })
            }
            Taken::Busy => Err(Error::Interrupted("this run is told of twice at this moment".to_owned())),
            Taken::At { next_event, cancel, is_news } => {
                if told.finished.is_some() && is_news {
                    core.run_ended(number).await?;
                    core.known_tokens.clear();
                    core.queue_tell();
                }
                if is_news {
                    core.tell_run(id);
                    if told.finished.is_some() || told.commit.is_some() || first == 0 {
                        core.tell(LiveEvent::RunsChanged);
                    }
                }
                Ok(Heard { next: next_event.unsigned_abs(), cancel })
            }
        }
    }

    /// Of these derivations, those that failed when they were built last, by themselves and not for want of time or memory.
    pub async fn failed_before(&self, node: &Node, id: u64, asked: &FailedBefore) -> Result<Vec<String>> {
        let number = i64::try_from(id).unwrap_or(i64::MAX);
        if asked.drvs.len() > MOST_DRVS {
            return Err(Error::TooLarge(format!("at most {MOST_DRVS} derivations are looked up at a time")));
        }
        if !self.0.db.run_is_held(number, node.found.id, &asked.lease).await? {
            return Err(Error::Conflict {
                field: "lease",
                message: format!("run {id} is over, or another node has it"),
            });
        }
        self.0.db.run_failed_before(&asked.drvs).await
    }

    /// Who shows the token of a run, or `None` where the text is none.
    pub(crate) async fn caller(&self, secret: &str, address: &str) -> Result<Option<Caller>> {
        let (pull_token, scope) = if secret.starts_with(TOKEN_PREFIX) {
            (pull_token(secret), Permission::Push)
        } else if secret.starts_with(PULL_PREFIX) {
            (secret.to_owned(), Permission::Pull)
        } else {
            return Ok(None);
        };
        let Some(token) = self.0.db.run_token(&secret::hash(&pull_token)).await? else {
            let problem = "the run that this token was for is over".to_owned();
            return Ok(Some(Caller::Anonymous { problem: Some(problem), address: address.to_owned() }));
        };
        Ok(Some(Caller::Token(Arc::new(Token {
            id: -token.id,
            name: format!("run {} of {}", token.id, token.builder),
            cache_id: Some(token.cache_id),
            scope,
            owner: None,
            address: address.to_owned(),
        }))))
    }
}

/// What is kept of the token that a run pushes with, where the text is one.
pub(crate) fn pushing_token_hash(secret: &str) -> Option<Vec<u8>> {
    secret.starts_with(TOKEN_PREFIX).then(|| secret::hash(&pull_token(secret)).to_vec())
}

/// The token that a run pulls with. It follows from the one that it pushes with, and not the other way round.
fn pull_token(token: &str) -> String {
    format!("{PULL_PREFIX}{}", data_encoding::HEXLOWER.encode(&secret::hash(token)))
}

/// The events of a report, put together for the database.
fn told(report: &Report) -> Result<Told> {
    let refuse = |why: &str| Err(Error::invalid("events", why));
    if report.events.len() > MOST_EVENTS {
        return refuse("a report has too many events");
    }
    let mut told = Told {
        events: i64::try_from(report.events.len()).unwrap_or(i64::MAX),
        waiting: report.waiting.chars().take(500).collect(),
        ..Told::default()
    };
    for event in &report.events {
        if told.finished.is_some() {
            return refuse("something was told behind the end of a run");
        }
        match event {
            RunEvent::Commit { commit, subject } => {
                let commit = reference_of(commit).ok().filter(Reference::is_commit);
                let Some(commit) = commit else { return refuse("this is no hash of a commit") };
                told.commit = Some((commit.as_str().to_owned(), subject.chars().take(500).collect()));
            }
            RunEvent::Line { derivation, text } => {
                if let Some(number) = derivation {
                    told.lines.extend_from_slice(number.to_string().as_bytes());
                }
                told.lines.push(b'\t');
                let end = (0..=text.len().min(LONGEST_LINE)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
                told.lines.extend(text[..end].bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
                told.lines.push(b'\n');
                told.line_count += 1;
            }
            RunEvent::Derivation { number, drv, state, at, reason } => {
                if drv.len() > 300 || drv.contains('/') {
                    return refuse("this is no derivation");
                }
                let is_over = !matches!(state, DerivationState::Queued | DerivationState::Building);
                told.derivations.push(RunDerivationRow {
                    number: (*number).into(),
                    drv: drv.clone(),
                    state: state.as_str().to_owned(),
                    started_at: (*state == DerivationState::Building).then_some(at.0),
                    ended_at: is_over.then_some(at.0),
                    reason: reason.chars().take(500).collect(),
                });
            }
            RunEvent::Pushed { path, nar_size } => {
                if path.len() > 300 || path.contains('/') {
                    return refuse("this is no store path");
                }
                told.paths.push((path.clone(), i64::try_from(*nar_size).unwrap_or(i64::MAX)));
            }
            RunEvent::Finished { outcome, reason } => {
                let state = match outcome {
                    Outcome::Succeeded => RunState::Succeeded,
                    Outcome::Failed => RunState::Failed,
                    Outcome::Cancelled => RunState::Cancelled,
                    Outcome::TimedOut => RunState::TimedOut,
                    Outcome::Unchanged => {
                        told.is_void = true;
                        RunState::Succeeded
                    }
                };
                told.finished = Some((state.as_str(), reason.chars().take(2000).collect()));
            }
        }
    }
    Ok(told)
}
