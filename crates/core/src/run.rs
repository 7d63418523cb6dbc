//! Runs: asking for them, the queue, lists of them, all about one, and ending one.

use crate::{
    Core,
    builder::{hidden, name_of, spec_of},
    caller::{Caller, Discretion},
    db::{NewRun, NodeFound, RunDerivationRow, RunFound},
    directory::Cache,
    error::{Error, Result},
    failpoint,
    node::texts,
};
use iglu_api::{
    CacheName, Reference, Timestamp,
    builder::BuilderSpec,
    cache::Permission,
    event::LiveEvent,
    run::{Derivation, DerivationState, PushedPath, RunDetail, RunRow, RunStart, RunState, Trigger},
};
use std::sync::Arc;

/// A node that was not heard of for so long takes no work, in milliseconds.
pub(crate) const SILENT: i64 = 2 * Timestamp::MINUTE;
/// Runs on the page of the queue.
const QUEUE_SHOWN: i64 = 500;

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

    pub(crate) fn run_changed(&self, id: i64) {
        self.tell_run(id.unsigned_abs());
        self.tell(LiveEvent::RunsChanged);
    }

    /// Counts a run that is over, for whoever watches this server.
    pub(crate) async fn run_ended(&self, id: i64) -> Result<()> {
        // One that found nothing new is gone.
        let Some(run) = self.db.run_get(id).await? else { return Ok(()) };
        let Some(ended_at) = run.ended_at else { return Ok(()) };
        metrics::counter!("iglu_runs_total", "state" => run.state).increment(1);
        let seconds = |from: i64, to: i64| (to - from).max(0) as f64 / 1000.0;
        if let Some(started_at) = run.started_at {
            metrics::histogram!("iglu_run_seconds").record(seconds(started_at, ended_at));
            metrics::histogram!("iglu_run_wait_seconds").record(seconds(run.queued_at, started_at));
        }
        Ok(())
    }

    /// How many runs are in each state that is not an end, and when the first of them was queued.
    pub async fn runs_open(&self) -> Result<Vec<(RunState, i64, Timestamp)>> {
        let counts = self.db.run_count_open().await?.into_iter();
        let known =
            counts.filter_map(|(state, count, since)| Some((RunState::parse(&state)?, count, Timestamp(since))));
        Ok(known.collect())
    }

    /// How many nodes take work, and how many runs at a time that makes.
    pub async fn nodes_at_hand(&self) -> Result<(usize, i64)> {
        let now = self.now();
        let is_there = |node: &NodeFound| !node.is_draining && node.last_seen_at.is_some_and(|at| now.0 - at < SILENT);
        let there: Vec<NodeFound> = self.db.node_list().await?.into_iter().filter(is_there).collect();
        Ok((there.len(), there.iter().map(|node| node.capacity).sum()))
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
        core.queue_tell();
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
        if found.state == RunState::Queued.as_str() {
            core.run_ended(found.id).await?;
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
}

pub(crate) fn can_build(systems: &[String], needed: &[String]) -> bool {
    needed.iter().all(|system| systems.contains(system))
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

pub(crate) fn reference_of(text: &str) -> Result<Reference> {
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
