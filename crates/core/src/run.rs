//! Runs: asking for them, the queue, who has one, what its node tells, its log, and its end. Every state is in the database: any
//! server may hear any node, and a server that starts again goes on where it was.

use crate::{
    Core,
    builder::{hidden, name_of, spec_of},
    caller::{Caller, Discretion, Token},
    db::{Claim, NewRun, RunDerivationRow, RunFound, Taken, Told},
    directory::Cache,
    error::{Error, Result},
    failpoint,
    node::{Node, texts},
    secret,
};
use iglu_api::{
    CacheName, Reference, Timestamp,
    builder::BuilderSpec,
    cache::Permission,
    event::LiveEvent,
    node::{Assignment, FailedBefore, Heard, Outcome, Report, RunEvent},
    run::{Derivation, DerivationState, PushedPath, RunDetail, RunRow, RunStart, RunState, Trigger},
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
/// A node that was not heard of for so long takes no work, in milliseconds.
const SILENT: i64 = 2 * Timestamp::MINUTE;
/// Runs on the page of the queue.
const QUEUE_SHOWN: i64 = 500;
/// Events of one report, and bytes of one line. A node keeps to them.
const MOST_EVENTS: usize = 5000;
const LONGEST_LINE: usize = 16 << 10;
/// Derivations of one question.
const MOST_DRVS: usize = 20_000;

/// Who or what asks for a run.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub trigger: Trigger,
    pub by: String,
    pub reference: &'a Reference,
    pub commit: Option<&'a str>,
    pub priority: i32,
    /// A second one with the same key is the first.
    pub dedupe: Option<String>,
}

/// The methods of the noun.
pub struct Runs<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn run(&self) -> Runs<'_> {
        Runs(self)
    }

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
                self.run_changed(lost.id);
            }
        }
        if recovered > 0 {
            self.queue_changed.notify_waiters();
        }
        Ok(recovered)
    }

    fn run_changed(&self, id: i64) {
        self.events.run(id.unsigned_abs());
        self.events.send(LiveEvent::RunsChanged);
    }
}

impl Runs<'_> {
    /// Puts a run of a builder into the queue. Whoever may push to its cache may.
    pub async fn start(&self, caller: &Caller, builder: &str, start: &RunStart) -> Result<u64> {
        let core = self.0;
        let (found, cache) = core.builder().open(caller, builder, Permission::Push).await?;
        if !found.is_enabled {
            let message = format!("builder \"{builder}\" is switched off");
            return Err(Error::Conflict { field: "", message });
        }
        if start.priority != 0 && caller.permission(&cache) < Some(Permission::Admin) {
            return Err(Error::Forbidden("only who maintains the cache may give a run another priority".to_owned()));
        }
        let spec = spec_of(&found)?;
        let asked = Asked {
            trigger: Trigger::Manual,
            by: caller.label(),
            reference: start.reference.as_ref().unwrap_or(&spec.reference),
            commit: None,
            priority: start.priority.clamp(-100, 100),
            dedupe: None,
        };
        let audit = core.audit(caller, "run.start", builder).of(cache.id);
        let new = self.insert(found.id, &spec, &asked, Some(&audit)).await?;
        Ok(new.0.unsigned_abs())
    }

    /// Queues a run; false where the same one is in the queue already.
    pub(crate) async fn insert(
        &self,
        builder_id: i64,
        spec: &BuilderSpec,
        asked: &Asked<'_>,
        audit: Option<&crate::db::Audit>,
    ) -> Result<(i64, bool)> {
        let core = self.0;
        let systems =
            serde_json::to_string(&spec.systems).map_err(|_| Error::internal("a list cannot be written as JSON"))?;
        let new = NewRun {
            builder_id,
            trigger: asked.trigger.as_str(),
            triggered_by: &asked.by,
            reference: asked.reference.as_str(),
            commit: asked.commit,
            priority: asked.priority.into(),
            systems: &systems,
            // Who asks by hand means it; a trigger that fires again learns nothing from the same failure.
            tries_again: asked.trigger == Trigger::Manual,
            dedupe: asked.dedupe.as_deref(),
            queued_at: core.now().0,
        };
        let (id, is_new) = core.db.run_insert(&new, audit).await?;
        failpoint::reach("run.queued");
        core.queue_changed.notify_waiters();
        core.run_changed(id);
        Ok((id, is_new))
    }

    /// The runs that are not over and that the caller may see, in the order of the queue.
    pub async fn queue(&self, caller: &Caller) -> Result<Vec<RunRow>> {
        let core = self.0;
        let nodes = self.systems_at_hand().await?;
        let mut rows = Vec::new();
        for found in core.db.run_list_open(QUEUE_SHOWN).await? {
            let Some(cache) = core.directory.get_by_id(found.cache_id) else { continue };
            if caller.permission(&cache) >= Some(Permission::Pull) {
                rows.push(with_hint(found, &cache, &nodes)?);
            }
        }
        Ok(rows)
    }

    /// Runs of a builder, the newest first, from before this one on.
    pub async fn list(&self, caller: &Caller, builder: &str, before: Option<u64>, most: u32) -> Result<Vec<RunRow>> {
        let core = self.0;
        let (found, cache) = core.builder().open(caller, builder, Permission::Pull).await?;
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let runs = core.db.run_list(found.id, before, i64::from(most.clamp(1, 500))).await?;
        runs.into_iter().map(|run| run_row(run, &cache)).collect()
    }

    /// The runs that ended last, of those that the caller may see.
    pub(crate) async fn recent(&self, caller: &Caller, most: usize) -> Result<Vec<RunRow>> {
        let mut rows = Vec::new();
        for found in self.0.db.run_list_recent(10 * i64::try_from(most).unwrap_or(0)).await? {
            let Some(cache) = self.0.directory.get_by_id(found.cache_id) else { continue };
            if caller.permission(&cache) >= Some(Permission::Pull) && rows.len() < most {
                rows.push(run_row(found, &cache)?);
            }
        }
        Ok(rows)
    }

    /// All about a run but its log, for whoever may pull from its cache.
    pub async fn get(&self, caller: &Caller, id: u64) -> Result<RunDetail> {
        let core = self.0;
        let (found, cache) = self.open(caller, id, Permission::Pull).await?;
        let (id, builder_id, line_count) = (found.id, found.builder_id, found.line_count);
        let is_ending = found.cancelled_by.is_some() && found.ended_at.is_none();
        let nodes = if found.state == RunState::Queued.as_str() { self.systems_at_hand().await? } else { Vec::new() };
        let paths = core.db.run_paths(id).await?.into_iter();
        Ok(RunDetail {
            permission: caller.permission(&cache),
            run: with_hint(found, &cache, &nodes)?,
            derivations: core.db.run_derivations(id).await?.into_iter().map(derivation).collect(),
            pushed: paths.map(|(path, size)| PushedPath { path, nar_size: size.unsigned_abs() }).collect(),
            line_count: line_count.unsigned_abs(),
            earlier: core.db.run_earlier(builder_id, id).await?,
            is_ending,
        })
    }

    /// Ends a run: at once in the queue, else as soon as its node hears of it.
    pub async fn cancel(&self, caller: &Caller, id: u64) -> Result<()> {
        let core = self.0;
        let (found, cache) = self.open(caller, id, Permission::Push).await?;
        let audit = core.audit(caller, "run.cancel", &format!("{} of {}", found.id, found.builder)).of(cache.id);
        let reason = format!("cancelled by {}", caller.label());
        if !core.db.run_cancel(found.id, &reason, &audit).await? {
            let word = RunState::parse(&found.state).map_or("over", RunState::word);
            let message = format!("run {id} is {word}, or ending already");
            return Err(Error::Conflict { field: "", message });
        }
        core.run_changed(found.id);
        Ok(())
    }

    pub(crate) async fn open(&self, caller: &Caller, id: u64, needed: Permission) -> Result<(RunFound, Arc<Cache>)> {
        let core = self.0;
        let hidden = || hidden(caller, &format!("run {id}"));
        let number = i64::try_from(id).map_err(|_| hidden())?;
        let found = core.db.run_get(number).await?.ok_or_else(hidden)?;
        let cache = core.directory.get_by_id(found.cache_id).ok_or_else(hidden)?;
        if caller.permission(&cache).is_none() {
            return Err(hidden());
        }
        caller.require(&cache, needed, Discretion::Hide)?;
        Ok((found, cache))
    }

    /// What each node that takes work can build.
    async fn systems_at_hand(&self) -> Result<Vec<Vec<String>>> {
        let now = self.0.now();
        let nodes = self.0.db.node_list().await?.into_iter();
        let there = nodes.filter(|node| !node.is_draining && node.last_seen_at.is_some_and(|at| now.0 - at < SILENT));
        there.map(|node| texts(&node.systems)).collect()
    }

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
            let spec: BuilderSpec = serde_json::from_str(&candidate.spec)
                .map_err(|_| Error::internal("a builder in the database cannot be read"))?;
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
                if told.finished.is_some() {
                    core.known_tokens.clear();
                    core.queue_changed.notify_waiters();
                }
                if is_news {
                    core.events.run(id);
                    if told.finished.is_some() || told.commit.is_some() || first == 0 {
                        core.events.send(LiveEvent::RunsChanged);
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
            return Ok(Some(Caller::Anonymous { problem: Some(problem) }));
        };
        Ok(Some(Caller::Token(Arc::new(Token {
            // Runs and tokens are counted apart.
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

fn can_build(systems: &[String], needed: &[String]) -> bool {
    needed.iter().all(|system| systems.contains(system))
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

fn derivation(row: RunDerivationRow) -> Derivation {
    let name = row.drv.split_once('-').map_or(row.drv.as_str(), |(_, name)| name);
    Derivation {
        number: u32::try_from(row.number).unwrap_or(u32::MAX),
        name: name.strip_suffix(".drv").unwrap_or(name).to_owned(),
        state: DerivationState::parse(&row.state).unwrap_or(DerivationState::Skipped),
        started_at: row.started_at.map(Timestamp),
        ended_at: row.ended_at.map(Timestamp),
        reason: row.reason,
        drv: row.drv,
    }
}

fn reference_of(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|error| Error::internal(format!("a run in the database: {error}")))
}

/// A run with the reason why it still waits.
fn with_hint(found: RunFound, cache: &Cache, nodes: &[Vec<String>]) -> Result<RunRow> {
    let needed = texts(&found.systems)?;
    let mut row = run_row(found, cache)?;
    if row.state == RunState::Queued && !nodes.iter().any(|systems| can_build(systems, &needed)) {
        row.reason = match (nodes.is_empty(), needed.as_slice()) {
            (true, _) | (_, []) => "no node takes work: start one, or look at the nodes".to_owned(),
            (false, [one]) => {
                format!("no node can build {one}: add one that does, or take it out of the builder's systems")
            }
            (false, all) => format!("no node can build all of {}", all.join(", ")),
        };
    }
    Ok(row)
}

pub(crate) fn run_row(found: RunFound, cache: &Cache) -> Result<RunRow> {
    let state = RunState::parse(&found.state).ok_or_else(|| Error::internal("a run in the database has no state"))?;
    let name: &CacheName = &cache.name;
    Ok(RunRow {
        id: found.id.unsigned_abs(),
        builder: name_of(&found.builder)?,
        cache: name.clone(),
        state,
        trigger: Trigger::parse(&found.trigger).unwrap_or(Trigger::Manual),
        triggered_by: found.triggered_by,
        reference: reference_of(&found.reference)?,
        commit: found.commit_hash,
        subject: found.subject,
        priority: i32::try_from(found.priority).unwrap_or(0),
        attempt: u32::try_from(found.attempt).unwrap_or(u32::MAX),
        node: found.node_name,
        queued_at: Timestamp(found.queued_at),
        started_at: found.started_at.map(Timestamp),
        ended_at: found.ended_at.map(Timestamp),
        reason: found.reason,
    })
}
