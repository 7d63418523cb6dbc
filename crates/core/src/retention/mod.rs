//! What caches keep: their rules, the preview of what would go, and the removal of paths, by rules or by people. Collecting is
//! planned in memory and applied in small steps, each of which leaves the cache whole; `store_path` rows move to `set_aside`, and their
//! bytes go later.

mod apply;
mod graph;
mod plan;

pub(crate) use apply::{collect_open, retain};

use crate::{
    Core,
    caller::{Caller, Discretion},
    db::{Audit, RemovalRow},
    directory::Cache,
    error::{Error, Result},
};
use graph::{Graph, Index};
use iglu_api::{
    Timestamp,
    cache::Permission,
    format,
    pin::Keep,
    retention::{PlannedPath, Preview, PushLimits, Removal, RemovalState, Retention, Why},
};
use nix_compat::store_path::{StorePath, StorePathHash};
use plan::{Going, Plan};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// How long what people removed can be put back, in milliseconds.
pub const UNDO_TIME: i64 = Timestamp::DAY;
/// Rows of a preview and of a history.
const MOST_ROWS: usize = 100_000;
const HISTORY: i64 = 100;
/// Paths that people remove at a time.
const MOST_CHOSEN: usize = 10_000;

/// The methods of the noun.
pub struct Retentions<'a>(pub(crate) &'a Core);

/// What a run of the collector was asked to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Asked {
    rules: Retention,
    /// Somebody knows that it may take everything.
    is_confirmed: bool,
}

impl Core {
    /// The methods of the noun.
    pub fn retention(&self) -> Retentions<'_> {
        Retentions(self)
    }

    async fn graph_load(&self, cache_id: i64) -> Result<Graph> {
        let mut graph = Graph::default();
        let mut last = (i64::MIN, 0);
        loop {
            let rows = self.db.graph_page(cache_id, last).await?;
            let Some(row) = rows.last() else { break };
            last = (row.pushed_at, row.id);
            for row in &rows {
                graph.add(row);
            }
        }
        self.graph_add_damaged(cache_id, &mut graph).await?;
        Ok(graph)
    }

    /// The part of a cache's graph from which these paths can be reached, themselves included: whether anything needs them shows in it.
    /// Of a large cache it is small, except above what everything refers to.
    async fn graph_load_above(&self, cache_id: i64, hashes: &[StorePathHash]) -> Result<Graph> {
        let mut graph = Graph::default();
        let damaged = self.graph_add_damaged(cache_id, &mut graph).await?;
        let chosen: Vec<String> = hashes.iter().map(ToString::to_string).collect();
        let mut seen: HashSet<String> = HashSet::new();
        let mut next = Vec::new();
        for row in self.db.graph_near(cache_id, &chosen, false).await? {
            graph.add(&row);
            next.push(row.hash);
        }
        // What refers to a damaged path still needs what that one refers to.
        next.extend(damaged);
        seen.extend(next.iter().cloned());
        while !next.is_empty() {
            let rows = self.db.graph_near(cache_id, &next, true).await?;
            next.clear();
            for row in rows {
                if seen.insert(row.hash.clone()) {
                    graph.add(&row);
                    next.push(row.hash);
                }
            }
        }
        Ok(graph)
    }

    /// Adds what is damaged: it comes back when somebody pushes it, and then needs what it refers to. The hash parts.
    async fn graph_add_damaged(&self, cache_id: i64, graph: &mut Graph) -> Result<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let last = all.last().cloned().unwrap_or_default();
            let rows = self.db.graph_damaged_page(cache_id, &last).await?;
            if rows.is_empty() {
                return Ok(all);
            }
            for row in rows {
                graph.add(&row);
                all.push(row.hash);
            }
        }
    }

    /// Protects what pins are for: of each name the newest so many revisions, where neither the pin nor its age says otherwise.
    async fn protect_pinned(&self, cache_id: i64, graph: &mut Graph, revisions: Option<u32>) -> Result<()> {
        let mut seen: HashMap<String, u32> = HashMap::new();
        for pin in self.db.pinned_list(cache_id, self.now().0).await? {
            let seen = seen.entry(pin.name).or_default();
            *seen += 1;
            let own_rule = !matches!(serde_json::from_str(&pin.keep), Ok(Keep::Forever));
            if own_rule || revisions.is_none_or(|most| *seen <= most) {
                let path = StorePath::parse_absolute(&pin.store_path);
                let index = path.ok().and_then(|path| graph.find(&path.hash().to_string()));
                index.into_iter().for_each(|index| graph.protect(index));
            }
        }
        Ok(())
    }

    /// Visible paths of a cache that refer to what is not visible.
    pub(crate) async fn incomplete_closures(&self, cache_id: i64) -> Result<u64> {
        let graph = self.graph_load(cache_id).await?;
        let is_visible = |index: Index| graph.nodes[index as usize].is_visible;
        let visible = (0..).take(graph.nodes.len()).filter(|index| is_visible(*index));
        Ok(visible.filter(|index| !graph.references(*index).iter().all(|r| is_visible(*r))).count() as u64)
    }

    async fn plan(&self, cache_id: i64, rules: &Retention) -> Result<Plan> {
        let mut graph = self.graph_load(cache_id).await?;
        self.protect_pinned(cache_id, &mut graph, rules.revisions).await?;
        let (rules, now) = (*rules, self.now());
        Ok(tokio::task::spawn_blocking(move || Plan::by_rules(graph, &rules, now)).await?)
    }
}

impl Retentions<'_> {
    /// The rules of a cache, and what may be pushed to it.
    pub async fn get(&self, caller: &Caller, cache: &str) -> Result<(Retention, PushLimits)> {
        let cache = self.0.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        Ok((cache.retention, cache.limits))
    }

    /// Changes the rules of a cache. Rules that would take everything at once need `is_confirmed`.
    pub async fn set(&self, caller: &Caller, cache: &str, rules: &Retention, is_confirmed: bool) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        self.check(caller, cache.name.as_str(), rules, is_confirmed).await?;
        let audit = core.audit(caller, "retention.set", cache.name.as_str()).of(cache.id);
        core.db.retention_set(cache.id, rules, &audit).await?;
        core.directory.reload(&core.db, &core.master).await
    }

    /// Whether [`Retentions::set`] would take these rules.
    pub async fn check(&self, caller: &Caller, cache: &str, rules: &Retention, is_confirmed: bool) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        check(rules)?;
        if rules.collects() && !is_confirmed {
            confirm_needed(&cache, &core.plan(cache.id, rules).await?)?;
        }
        Ok(())
    }

    /// Changes what may be pushed to a cache.
    pub async fn limits_set(&self, caller: &Caller, cache: &str, limits: &PushLimits) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        check_size("cache_bytes", limits.cache_bytes)?;
        check_size("upload_bytes", limits.upload_bytes)?;
        let audit = core.audit(caller, "limits.set", cache.name.as_str()).of(cache.id);
        core.db.limits_set(cache.id, limits, &audit).await?;
        core.directory.reload(&core.db, &core.master).await
    }

    /// What a run would take out now, by `rules` or those of the cache, with up to `rows` of the paths.
    pub async fn preview(
        &self,
        caller: &Caller,
        cache: &str,
        rules: Option<&Retention>,
        rows: usize,
    ) -> Result<Preview> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let rules = rules.copied().unwrap_or(cache.retention);
        check(&rules)?;
        let plan = core.plan(cache.id, &rules).await?;
        core.preview_of(&plan, rows).await
    }

    /// Asks for a run of the collector, and gives the number of its removal. Whoever runs background work does it.
    pub async fn ask(&self, caller: &Caller, cache: &str, is_confirmed: bool) -> Result<i64> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        if !is_confirmed {
            confirm_needed(&cache, &core.plan(cache.id, &cache.retention).await?)?;
        }
        let audit = core.audit(caller, "retention.run", cache.name.as_str()).of(cache.id);
        let id = core.collection_ask(&cache, is_confirmed, &audit).await?;
        core.work_wake(crate::reconcile::Reconciler::Collect);
        Ok(id)
    }

    /// Removals of a cache, the newest first.
    pub async fn removals(&self, caller: &Caller, cache: &str) -> Result<Vec<Removal>> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let rows = core.db.removal_list(cache.id, HISTORY).await?;
        Ok(rows.into_iter().filter_map(|row| core.removal_of(&cache, row)).collect())
    }

    /// One removal of a cache.
    pub async fn removal(&self, caller: &Caller, cache: &str, id: i64) -> Result<Removal> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let row = core.db.removal_get(id).await?.filter(|row| row.cache_id == cache.id);
        let removal = row.and_then(|row| core.removal_of(&cache, row));
        removal.ok_or_else(|| Error::NotFound(format!("cache \"{}\" has no removal {id}", cache.name)))
    }

    /// Takes paths out of a cache. What refers to them goes along where `with_referrers` says so; otherwise it is named and nothing
    /// goes. What a pin needs is refused. It can be undone for a day; nobody pulls the paths meanwhile.
    pub async fn remove(
        &self,
        caller: &Caller,
        cache: &str,
        hashes: &[StorePathHash],
        with_referrers: bool,
    ) -> Result<Removal> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        if hashes.is_empty() || hashes.len() > MOST_CHOSEN {
            return Err(Error::invalid("paths", format!("choose 1 to {MOST_CHOSEN} paths")));
        }
        let object = format!("{} of {}", hashes.len(), cache.name);
        let audit = core.audit(caller, "path.remove", &object).of(cache.id);
        // It goes on when the client hangs up: what is begun is ended.
        let (task, chosen, of) = (core.clone(), hashes.to_vec(), cache.clone());
        let work = async move { apply::remove_chosen(&task, &of, &chosen, with_referrers, &audit).await };
        let id = tokio::spawn(work).await??;
        self.removal(caller, cache.name.as_str(), id).await
    }

    /// Puts back what people removed together.
    pub async fn undo(&self, caller: &Caller, cache: &str, id: i64) -> Result<Removal> {
        let core = self.0;
        let removal = self.removal(caller, cache, id).await?;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let in_time = removal.undo_until.is_some_and(|until| until > core.now());
        let audit = core.audit(caller, "path.undo", &format!("removal {id} of {}", cache.name)).of(cache.id);
        // Once it is marked, it comes back whole, if not now then by the timer.
        let is_undone = removal.state == RemovalState::Undone;
        if !is_undone && (!in_time || !core.db.removal_undo(id, &audit).await?) {
            return Err(Error::Conflict {
                field: "",
                message: format!("removal {id} of cache \"{}\" cannot be undone any more", cache.name),
            });
        }
        let task = core.clone();
        tokio::spawn(async move { task.removal_put_back(id).await }).await??;
        self.removal(caller, cache.name.as_str(), id).await
    }
}

impl Core {
    async fn preview_of(&self, plan: &Plan, rows: usize) -> Result<Preview> {
        let mut reasons: BTreeMap<&'static str, (Why, u64)> = BTreeMap::new();
        let mut going_by_nar: HashMap<i64, (i64, i64)> = HashMap::new();
        for going in &plan.going {
            reasons.entry(going.why.as_str()).or_insert((going.why, 0)).1 += 1;
            let node = plan.graph.nodes[going.index as usize];
            let (paths, bytes) = going_by_nar.entry(node.nar_id).or_default();
            *paths += 1;
            *bytes = node.file_size;
        }
        let nar_ids: Vec<i64> = going_by_nar.keys().copied().collect();
        let uses = self.db.nar_uses(&nar_ids).await?;
        let freed = uses.into_iter().filter_map(|(nar_id, uses)| {
            let (going, bytes) = going_by_nar.get(&nar_id)?;
            (uses == *going).then_some(bytes.unsigned_abs())
        });
        let shown: Vec<&Going> = plan.going.iter().take(rows.min(MOST_ROWS)).collect();
        let ids: Vec<i64> = shown.iter().map(|going| plan.graph.nodes[going.index as usize].id).collect();
        let names: HashMap<i64, String> = self.db.path_names(&ids).await?.into_iter().collect();
        let rows = shown.into_iter().filter_map(|going| {
            let node = plan.graph.nodes[going.index as usize];
            Some(PlannedPath {
                hash: StorePathHash::parse(plan.graph.hash(going.index)).ok()?,
                name: names.get(&node.id)?.clone(),
                why: going.why,
                file_size: node.file_size.unsigned_abs(),
                pushed_at: Timestamp(node.pushed_at),
                used_at: Timestamp(node.used_at),
            })
        });
        Ok(Preview {
            all_paths: plan.all_paths,
            all_bytes: plan.all_bytes,
            pinned_paths: plan.pinned_paths,
            paths: plan.going.len() as u64,
            bytes: plan.bytes,
            freed_bytes: freed.sum(),
            reasons: reasons.into_values().collect(),
            rows: rows.collect(),
        })
    }

    async fn collection_ask(&self, cache: &Cache, is_confirmed: bool, audit: &Audit) -> Result<i64> {
        let asked = Asked { rules: cache.retention, is_confirmed };
        let rules = serde_json::to_string(&asked).map_err(|_| Error::internal("rules cannot be written as JSON"))?;
        self.db.removal_insert(cache.id, "collected", "asked", &rules, audit).await
    }

    /// Puts back what is left of a removal that was undone.
    async fn removal_put_back(&self, id: i64) -> Result<()> {
        let mut is_back = false;
        while let Some(back) = self.db.removal_put_back_some(id).await? {
            is_back = true;
            self.forget(&back.visible);
        }
        if is_back {
            // Other servers remember that the paths are absent.
            self.db.generation_raise().await?;
            self.directory.reload(&self.db, &self.master).await?;
        }
        Ok(())
    }

    fn removal_of(&self, cache: &Arc<Cache>, row: RemovalRow) -> Option<Removal> {
        let state = RemovalState::parse(&row.state)?;
        let is_collection = row.kind == "collected";
        // Paths are kept from when they went, which is not before it was asked for.
        let until = Some(Timestamp(row.asked_at).plus(UNDO_TIME)).filter(|until| *until > self.now());
        Some(Removal {
            id: row.id,
            cache: cache.name.clone(),
            is_collection,
            state,
            asked_at: Timestamp(row.asked_at),
            asked_by: row.asked_by,
            ended_at: row.ended_at.map(Timestamp),
            planned_paths: row.planned_paths.unsigned_abs(),
            planned_bytes: row.planned_bytes.unsigned_abs(),
            paths: row.paths.unsigned_abs(),
            bytes: row.bytes.unsigned_abs(),
            note: row.note,
            undo_until: until.filter(|_| !is_collection && state == RemovalState::Done),
        })
    }
}

fn check(rules: &Retention) -> Result<()> {
    let days = [("pushed_days", rules.pushed_days), ("used_days", rules.used_days)];
    if let Some((field, _)) = days.into_iter().find(|(_, days)| days.is_some_and(|days| !(1..=36_500).contains(&days)))
    {
        return Err(Error::invalid(field, "give 1 to 36500 days, or none"));
    }
    if rules.revisions == Some(0) {
        return Err(Error::invalid("revisions", "keep at least one revision of each pin"));
    }
    check_size("bytes", rules.bytes)
}

/// Databases count to 8 EiB.
fn check_size(field: &'static str, bytes: Option<u64>) -> Result<()> {
    match bytes {
        Some(bytes) if i64::try_from(bytes).is_err() => Err(Error::invalid(field, "give less than 8 EiB, or none")),
        _ => Ok(()),
    }
}

/// Refuses what would leave nothing, in words that say what is at stake.
fn confirm_needed(cache: &Cache, plan: &Plan) -> Result<()> {
    if !plan.takes_everything() {
        return Ok(());
    }
    let message = format!(
        "these rules would remove everything: all {} paths ({}) of cache \"{}\". Confirm it if that is meant (--yes)",
        plan.all_paths,
        format::bytes(plan.all_bytes),
        cache.name
    );
    Err(Error::Conflict { field: "confirm", message })
}

/// Adds all that refers to the chosen paths, and what refers to that.
fn with_all_referrers(graph: &Graph, chosen: &mut HashSet<Index>) {
    let referrers = graph.referrers();
    let mut waiting: Vec<Index> = chosen.iter().copied().collect();
    while let Some(index) = waiting.pop() {
        for referrer in referrers.get(&index).into_iter().flatten() {
            if chosen.insert(*referrer) {
                waiting.push(*referrer);
            }
        }
    }
}
