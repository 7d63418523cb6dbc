//! Takes paths out of caches, a few at a time: referrers before what they refer to, so that a cache is whole whenever this is stopped;
//! with short holds of the database, so that pushes go on; and with an ear for what pushes and pins come to need meanwhile.

use super::{Asked, UNDO_TIME, with_all_referrers};
use crate::{
    Core,
    db::{Audit, RemovalRow, SetAside},
    directory::Cache,
    error::{Error, Result},
    retention::{
        graph::Index,
        plan::{Going, Plan},
    },
};
use iglu_api::{Timestamp, retention::Why};
use nix_compat::store_path::StorePathHash;
use std::{collections::HashSet, ops::Range, sync::Arc, time::Duration};

/// A removal or collection that nobody was seen working on for this long is taken over, in milliseconds.
const LEFT: i64 = 2 * Timestamp::MINUTE;
/// How long the database may be held at a time: half of what a push may notice.
const HOLD: Duration = Duration::from_millis(25);
const FEWEST: usize = 8;
const MOST: usize = 1024;

/// When those who work on a removal were seen last. What is later than this was written by a clock that went back since.
fn alive(core: &Core) -> Range<i64> {
    core.now().plus(-LEFT).0..core.now().plus(LEFT).0
}

/// Runs what was asked for, and what a server that is gone left.
pub(crate) async fn collect_open(core: &Core) -> Result<()> {
    for id in core.db.removal_list_undone().await? {
        core.removal_put_back(id).await?;
    }
    for (cache_id, since) in core.db.collections_left(&alive(core)).await? {
        core.db.collection_end(cache_id, since).await?;
    }
    for removal in core.db.removal_list_open(&alive(core)).await? {
        let Some(cache) = core.directory.get_by_id(removal.cache_id) else {
            core.db.removal_end(removal.id, "failed", "the cache is gone", core.now().0).await?;
            continue;
        };
        collect(core, &cache, &removal).await?;
    }
    Ok(())
}

/// Asks for a run for every cache whose rules have something to take out. What it did, in words.
pub(crate) async fn retain(core: &Core) -> Result<String> {
    let mut notes = Vec::new();
    for cache in core.directory.all() {
        // Incomplete paths go without any rule, but not everybody has them.
        if !cache.retention.collects() && !core.db.has_awaited(cache.id).await? {
            continue;
        }
        let plan = core.plan(cache.id, &cache.retention).await?;
        if plan.going.is_empty() {
            continue;
        }
        if plan.takes_everything() {
            notes.push(format!(
                "the rules of {} would remove everything; run them by hand if that is meant",
                cache.name
            ));
            continue;
        }
        let audit = core.audit_as("rules".to_owned(), "retention.run", cache.name.as_str(), "").of(cache.id);
        core.collection_ask(&cache, false, &audit).await?;
        core.work_wake(crate::reconcile::Reconciler::Collect);
        notes.push(format!("{} paths of {} are to go", plan.going.len(), cache.name));
    }
    Ok(notes.join("; "))
}

/// One run of the collector.
async fn collect(core: &Core, cache: &Arc<Cache>, removal: &RemovalRow) -> Result<()> {
    // What is not proven to be our storage is not collected: after a remount everything would be missed.
    core.storage_require().await?;
    let Some(mut turn) = Turn::take(core, cache.id).await? else { return Ok(()) };
    if removal.kind != "collected" {
        // The person who chose is gone with the server; what went can be undone, what did not go stays. What pushes noted for this
        // removal does not concern the next.
        turn.end(core).await?;
        core.db.removal_end(removal.id, "done", "stopped half-way", core.now().0).await?;
        return Ok(());
    }
    if !core.db.removal_claim(removal.id, core.now().0, &alive(core)).await? {
        return turn.end(core).await;
    }
    let Ok(asked) = serde_json::from_str::<Asked>(&removal.rules) else {
        // A newer server may have written them, and will lead before long.
        tracing::warn!(removal = removal.id, "the rules of a removal cannot be read by this version");
        return turn.end(core).await;
    };
    core.refresh().await?;
    let now_ruled = core.directory.get_by_id(cache.id).map(|cache| cache.retention);
    if now_ruled != Some(asked.rules) {
        turn.end(core).await?;
        let note = "the rules were changed since it was asked for";
        return core.db.removal_end(removal.id, "failed", note, core.now().0).await;
    }
    let done = async {
        let plan = core.plan(cache.id, &asked.rules).await?;
        if plan.takes_everything() && !asked.is_confirmed {
            return Err(Error::Conflict {
                field: "confirm",
                message: format!("the rules would remove everything of cache \"{}\"", cache.name),
            });
        }
        core.db.removal_plan(removal.id, plan.going.len() as u64, plan.bytes, core.now().0).await?;
        crate::failpoint::reach("collect.planned");
        let until = core.now().plus(core.nar_grace).0;
        take_out(core, cache, plan, &mut turn, removal.id, "collected", until).await
    }
    .await;
    crate::failpoint::reach("collect.done");
    turn.end(core).await?;
    crate::failpoint::reach("collect.ended");
    let now = core.now().0;
    match done {
        Ok(kept) => core.db.removal_end(removal.id, "done", &note(kept), now).await,
        // Trouble of database and storage passes: the run is taken up again.
        Err(error @ (Error::Unavailable { .. } | Error::Interrupted(_))) => Err(error),
        Err(error) => core.db.removal_end(removal.id, "failed", &error.to_string(), now).await,
    }
}

/// Takes out what people chose. The number of the removal.
pub(super) async fn remove_chosen(
    core: &Core,
    cache: &Arc<Cache>,
    hashes: &[StorePathHash],
    with_referrers: bool,
    audit: &Audit,
) -> Result<i64> {
    core.storage_require().await?;
    let Some(mut turn) = Turn::take(core, cache.id).await? else {
        let message = format!("paths of cache \"{}\" are being removed at this moment; try again soon", cache.name);
        return Err(Error::Conflict { field: "", message });
    };
    let done = async {
        let plan = plan_chosen(core, cache, hashes, with_referrers).await?;
        let id = core.db.removal_insert(cache.id, "deleted", "running", "{}", audit).await?;
        core.db.removal_plan(id, plan.going.len() as u64, plan.bytes, core.now().0).await?;
        crate::failpoint::reach("chosen.planned");
        let until = core.now().plus(UNDO_TIME).0;
        let kept = take_out(core, cache, plan, &mut turn, id, "deleted", until).await?;
        crate::failpoint::reach("chosen.done");
        core.db.removal_end(id, "done", &note(kept), core.now().0).await?;
        Ok(id)
    }
    .await;
    turn.end(core).await?;
    done
}

/// What people chose, and what refers to it where they say so. Whatever speaks against it is named.
async fn plan_chosen(core: &Core, cache: &Cache, hashes: &[StorePathHash], with_referrers: bool) -> Result<Plan> {
    let mut graph = core.graph_load_above(cache.id, hashes).await?;
    core.protect_pinned(cache.id, &mut graph, None).await?;
    let mut chosen: HashSet<Index> = HashSet::new();
    for hash in hashes {
        let index = graph.find(&hash.to_string()).filter(|index| graph.nodes[*index as usize].id != 0);
        chosen.insert(
            index.ok_or_else(|| Error::NotFound(format!("the path {hash} is not in cache \"{}\"", cache.name)))?,
        );
    }
    if with_referrers {
        with_all_referrers(&graph, &mut chosen);
    } else if let Some((referrer, reference)) = graph.referrers_outside(&chosen).first() {
        let message = format!("{} is referred to by {}", graph.hash(*reference), graph.hash(*referrer));
        let others = graph.referrers_outside(&chosen).len() - 1;
        let others = if others > 0 { format!(" and {others} others") } else { String::new() };
        return Err(Error::Conflict {
            field: "paths",
            message: format!("{message}{others}; remove what refers to it too"),
        });
    }
    if let Some(index) = chosen.iter().find(|index| graph.nodes[**index as usize].is_protected) {
        let message =
            format!("{} is needed by a pin of cache \"{}\"; end the pin first", graph.hash(*index), cache.name);
        return Err(Error::Conflict { field: "paths", message });
    }
    let order = graph.age();
    let going = order.into_iter().filter(|index| chosen.contains(index));
    let going = going.map(|index| Going { index, why: Why::Chosen }).collect();
    Ok(Plan::of(graph, going))
}

/// Takes out what the plan names. How many stay because something came to need them.
async fn take_out(
    core: &Core,
    cache: &Arc<Cache>,
    plan: Plan,
    turn: &mut Turn,
    removal_id: i64,
    reason: &str,
    until: i64,
) -> Result<u64> {
    let Plan { mut graph, going, .. } = plan;
    let held = graph.held_by_reference();
    let mut batch = 64;
    let mut position = 0;
    let mut kept = 0;
    while position < going.len() {
        let some = &going[position..going.len().min(position + batch)];
        let now = core.now().0;
        let how = SetAside { turn: turn.since, cache_id: cache.id, removal_id, reason, now, until, held: &held };
        let mut choose = |needed: Vec<String>| {
            for hash in needed {
                if let Some(index) = graph.find(&hash) {
                    graph.protect(index);
                }
            }
            let wanted = some.iter().filter(|going| !graph.nodes[going.index as usize].is_protected);
            let wanted: Vec<_> =
                wanted.map(|going| (graph.nodes[going.index as usize].id, going.why.as_str())).collect();
            kept += (some.len() - wanted.len()) as u64;
            wanted
        };
        crate::failpoint::reach("collect.batch");
        let (departed, held) = core.db.paths_set_aside(&how, &mut choose).await?;
        turn.since = now;
        crate::failpoint::reach("collect.applied");
        let hashes: Vec<_> = departed.iter().filter_map(|path| StorePathHash::parse(&path.hash).ok()).collect();
        core.forget_paths(cache, &hashes);
        if reason == "deleted" {
            core.nars_forget();
        }
        let bytes: i64 = departed.iter().map(|path| path.file_size).sum();
        cache.state.path_count.fetch_sub(departed.len() as i64, std::sync::atomic::Ordering::Relaxed);
        cache.state.stored_bytes.fetch_sub(bytes, std::sync::atomic::Ordering::Relaxed);
        position += some.len();
        core.work.progress(crate::reconcile::Reconciler::Collect, position as u64, going.len() as u64);
        batch = match held {
            held if held > HOLD => (batch / 2).max(FEWEST),
            held if held < HOLD / 2 => (batch * 3 / 2).min(MOST),
            _ => batch,
        };
        // Others' turn, for as long as this one was.
        tokio::time::sleep(held).await;
    }
    Ok(kept)
}

fn note(kept: u64) -> String {
    match kept {
        0 => String::new(),
        kept => format!("{kept} paths stay: pushes or pins came to need them"),
    }
}

/// The right to take paths out of a cache; one has it at a time. A server that dies with it loses it after a while, and one that slept
/// notices that it was taken over.
struct Turn {
    cache_id: i64,
    /// When whoever has it was last seen, as the database knows it.
    since: i64,
}

impl Turn {
    async fn take(core: &Core, cache_id: i64) -> Result<Option<Turn>> {
        let since = core.now().0;
        let begun = core.db.collection_begin(cache_id, since, &alive(core)).await?;
        Ok(begun.then_some(Turn { cache_id, since }))
    }

    async fn end(self, core: &Core) -> Result<()> {
        core.db.collection_end(self.cache_id, self.since).await
    }
}
