//! The rules that hold after every step, those that are looked at now and then, and those of a preview. What they are is written in
//! the module above.

use super::{
    state::{CacheId, DAY, NarId, Reason, Row},
    things::{Index, THINGS},
    world::{NAMES, OPERATOR, Outcome, World, ensure},
};
use crate::{check::CheckKind, reconcile::Reconciler};
use iglu_api::retention::{Retention, Why};
use std::collections::{BTreeMap, BTreeSet};

/// Paths stay that long whatever the rules say, and wait that long for their references.
const FLOOR: i64 = DAY;
const INCOMPLETE: i64 = 30 * DAY;

/// What a collection would take.
#[derive(Clone, Debug)]
pub struct Plan {
    pub going: BTreeSet<Index>,
    pub bytes: u64,
    pub takes_everything: bool,
}

impl World {
    /// After every step.
    pub async fn check_step(&self) -> Outcome {
        let things = self.things();
        for name in 0..NAMES.len() {
            let (cache, id) = (self.opened(name), self.live[name]);
            let state = self.cache(name);
            let names = self.core.path().names_after(&cache, None).await;
            let names: BTreeSet<_> = names.map_err(|error| format!("names: {error}"))?.into_iter().collect();
            let visible: BTreeSet<Index> = (0..THINGS).filter(|thing| names.contains(&things[*thing].path)).collect();
            let expected = self.state.visible(id);
            ensure!(
                visible == expected && names.len() == visible.len(),
                "visible in {}: {visible:?}, expected: {expected:?}",
                NAMES[name]
            );

            let hashes = things.iter().map(|thing| thing.hash()).collect();
            let missing = self.core.path().missing(&cache, hashes).await;
            let missing: BTreeSet<_> = missing.map_err(|error| format!("missing: {error}"))?.into_iter().collect();
            let here: BTreeSet<Index> = (0..THINGS).filter(|thing| !missing.contains(&things[*thing].hash())).collect();
            let expected: BTreeSet<Index> = state.rows.keys().copied().collect();
            ensure!(here == expected, "visible or held in {}: {here:?}, expected: {expected:?}", NAMES[name]);

            // What memory says is what the database says.
            for thing in 0..THINGS {
                let found = self.core.path().narinfo(&cache, things[thing].hash()).await;
                let found = found.map_err(|error| format!("narinfo: {error}"))?.is_some();
                ensure!(
                    found == visible.contains(&thing),
                    "memory has the narinfo of {thing} in {}: {found}",
                    NAMES[name]
                );
            }

            let bytes: u64 = state.rows.values().map(|row| self.state.file_size(row.nar)).sum();
            let (found, expected) = ((cache.path_count(), cache.stored_bytes()), (state.rows.len() as u64, bytes));
            ensure!(found == expected, "numbers of {}: {found:?}, expected: {expected:?}", NAMES[name]);
            self.check_closures(id, &visible, &here)?;
        }
        Ok(())
    }

    /// The promise of a strict cache, whatever the model thinks of how it came about.
    fn check_closures(&self, cache: CacheId, visible: &BTreeSet<Index>, here: &BTreeSet<Index>) -> Outcome {
        let state = &self.state.caches[cache];
        if state.is_lenient {
            ensure!(visible == here, "a lenient cache holds paths back: {here:?}, visible: {visible:?}");
            return Ok(());
        }
        for thing in here {
            let mut absent = self.state.references(*thing).iter().filter(|reference| !visible.contains(reference));
            if visible.contains(thing) {
                let unexplained = absent.find(|reference| !state.broken.contains(reference));
                ensure!(unexplained.is_none(), "{thing} is visible, its reference {unexplained:?} is not");
            } else {
                let waits_for_nothing = absent.next().is_none();
                ensure!(!waits_for_nothing, "{thing} is held, and all that it refers to is visible");
            }
        }
        Ok(())
    }

    /// Now and then.
    pub async fn check_now_and_then(&mut self) -> Outcome {
        if self.is_away {
            return Ok(());
        }
        self.check(CheckKind { is_full: true, repairs: false }).await?;

        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for aside in self.state.caches.iter().flat_map(|cache| cache.aside.values()) {
            let reason = match aside.reason {
                Reason::Damaged => "damaged",
                Reason::Deleted(_) => "deleted",
                Reason::Collected => "collected",
            };
            *expected.entry(reason.to_owned()).or_default() += 1;
        }
        let counts = self.core.db.aside_counts().await.map_err(|error| format!("set aside: {error}"))?;
        let found: BTreeMap<String, i64> = counts.into_iter().map(|(reason, count, _)| (reason, count)).collect();
        ensure!(found == expected, "set aside: {found:?}, expected: {expected:?}");

        let files = self.files();
        for key in self.state.needed_files() {
            let there = files.contains(&key);
            let lost = self.state.harmed.get(&key) == Some(&super::op::Harm::Absent);
            ensure!(there != lost, "file {key:?} is needed, and is there: {there}, taken away by the test: {lost}");
        }
        Ok(())
    }

    /// At the end: with time, everything that nothing needs is gone, and all else is there and right.
    pub async fn check_end(&mut self) -> Outcome {
        self.back().await?;
        self.check_now_and_then().await?;
        self.check(CheckKind { is_full: true, repairs: true }).await?;
        self.bring_back()?;
        self.check(CheckKind { is_full: true, repairs: true }).await?;
        self.check_step().await?;
        ensure!(self.state.harmed.keys().all(|key| !self.state.needed_files().contains(key)), "the test repairs all");
        self.advance(200 * 24);
        for work in [Reconciler::Purge, Reconciler::Sweep] {
            self.work(work).await?;
        }
        self.advance(2);
        self.work(Reconciler::Files).await?;
        self.check_step().await?;
        self.check_now_and_then().await?;
        let (files, needed) = (self.files(), self.state.needed_files());
        ensure!(files == needed, "files: {files:?}, needed: {needed:?}");
        let nars: BTreeSet<NarId> =
            self.state.caches.iter().flat_map(|cache| cache.rows.values()).map(|row| row.nar).collect();
        ensure!(nars.len() == self.state.nars.len(), "only what caches have is left");
        let left = crate::tests::files_below(&self.storage().join("staging"));
        ensure!(left == 0, "{left} parts of uploads are left");
        Ok(())
    }

    /// What a collection by these rules would take now, which is as it should be.
    pub async fn plan(&self, name: usize, rules: &Retention) -> Outcome<Plan> {
        let preview = self.core.retention().preview(&OPERATOR, NAMES[name], Some(rules), 1000).await;
        let preview = preview.map_err(|error| format!("preview: {error}"))?;
        let (cache, id, now) = (self.cache(name), self.live[name], self.state.now);
        let things = self.things();
        let index = |hash| (0..THINGS).find(|thing| things[*thing].hash() == hash).unwrap();
        let order: Vec<Index> = preview.rows.iter().map(|row| index(row.hash)).collect();
        let going: BTreeSet<Index> = order.iter().copied().collect();
        let why: BTreeMap<Index, Why> = preview.rows.iter().map(|row| (index(row.hash), row.why)).collect();

        // Referrers have larger numbers than what they refer to, also through paths that are damaged and will come back.
        let damaged = cache.aside.iter().filter(|(_, aside)| aside.reason == Reason::Damaged);
        let mut ages: BTreeMap<Index, (i64, i64)> =
            damaged.map(|(thing, aside)| (*thing, (aside.pushed, aside.pulled.unwrap_or(aside.pushed)))).collect();
        let used = |row: &Row| row.pulled.unwrap_or(row.pushed).max(row.pushed);
        ages.extend(cache.rows.iter().map(|(thing, row)| (*thing, (row.pushed, used(row)))));
        for thing in (0..THINGS).rev() {
            let Some((pushed, used)) = ages.get(&thing).copied() else { continue };
            for reference in self.state.references(thing) {
                if let Some(age) = ages.get_mut(reference) {
                    *age = (age.0.max(pushed), age.1.max(used));
                }
            }
        }

        let protected = self.state.protected(id, rules.revisions);
        ensure!(
            preview.pinned_paths == protected.len() as u64,
            "pins protect {} paths, expected: {protected:?}",
            preview.pinned_paths
        );
        let before = |days: Option<u32>| days.map(|days| now - i64::from(days) * DAY);
        let (pushed_before, used_before) = (before(rules.pushed_days), before(rules.used_days));
        let mut candidates = BTreeSet::new();
        let size = |thing: &Index| self.state.file_size(cache.rows[thing].nar);
        for (thing, row) in &cache.rows {
            let (pushed, used) = ages[thing];
            let stays = protected.contains(thing) || pushed > now - FLOOR;
            let expected = if stays {
                None
            } else if !row.is_visible() && pushed < now - INCOMPLETE {
                Some(Why::Incomplete)
            } else if pushed_before.is_some_and(|before| pushed < before) {
                Some(Why::Pushed)
            } else if used_before.is_some_and(|before| used < before) {
                Some(Why::Unused)
            } else {
                candidates.insert(*thing);
                None
            };
            let found = why.get(thing).copied().filter(|why| *why != Why::Size);
            ensure!(
                found == expected,
                "{thing} of {} would go by {found:?}, expected: {expected:?}; {ages:?} at {now}, rules {rules:?}",
                NAMES[name]
            );
        }
        let by_size: BTreeSet<Index> =
            why.iter().filter(|(_, why)| **why == Why::Size).map(|(thing, _)| *thing).collect();
        ensure!(by_size.is_subset(&candidates), "{by_size:?} would go by size, may go: {candidates:?}");
        let kept: u64 = cache.rows.keys().filter(|thing| !going.contains(thing)).map(size).sum();
        match rules.bytes {
            None => ensure!(by_size.is_empty(), "there is no rule of size: {by_size:?}"),
            Some(most) => {
                let smallest = by_size.iter().map(size).max().unwrap_or(0);
                ensure!(kept <= most || by_size == candidates, "{kept} bytes would stay of {most}");
                ensure!(by_size.is_empty() || kept + smallest > most, "{by_size:?} is more than must go");
                let last = by_size.iter().map(|thing| ages[thing].1).max();
                let first = candidates.difference(&by_size).map(|thing| ages[thing].1).min();
                ensure!(last <= first || first.is_none(), "of {by_size:?} one was used later than one that stays");
            }
        }
        for (place, thing) in order.iter().enumerate() {
            let earlier = &order[..place];
            let refers = self.state.references(*thing).iter().find(|reference| earlier.contains(reference));
            ensure!(refers.is_none(), "{refers:?} would go before {thing}, which refers to it");
        }
        for thing in cache.rows.keys().filter(|thing| !going.contains(thing)) {
            let leaves = self.state.references(*thing).iter().find(|reference| going.contains(reference));
            ensure!(leaves.is_none(), "{leaves:?} would go, and {thing} stays, which refers to it");
        }

        let bytes: u64 = going.iter().map(size).sum();
        let mut by_nar: BTreeMap<NarId, usize> = BTreeMap::new();
        for thing in &going {
            *by_nar.entry(cache.rows[thing].nar).or_default() += 1;
        }
        let freed = by_nar.iter().filter(|(nar, count)| self.state.uses(**nar) == **count);
        let freed: u64 = freed.map(|(nar, _)| self.state.file_size(*nar)).sum();
        let all: u64 = cache.rows.keys().map(size).sum();
        let found = (preview.paths, preview.bytes, preview.freed_bytes, preview.all_paths, preview.all_bytes);
        let expected = (going.len() as u64, bytes, freed, cache.rows.len() as u64, all);
        ensure!(found == expected, "paths, bytes, freed, all, all bytes: {found:?}, expected: {expected:?}");
        let takes_everything = !cache.rows.is_empty() && going.len() == cache.rows.len();
        Ok(Plan { going, bytes, takes_everything })
    }
}
