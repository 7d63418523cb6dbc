//! What a server should know and hold, in plain maps. It says how a cache behaves, not how that is stored: one thing at a time, with
//! nobody else around. Times are in minutes since the beginning.

use super::{
    op::{Form, Harm},
    things::{Content, Index, Thing},
};
use iglu_api::{pin::Keep, retention::Retention};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

pub const HOUR: i64 = 60;
pub const DAY: i64 = 24 * HOUR;
/// How long a collected NAR can be read by its name; as the configuration of these tests says.
pub const GRACE: i64 = 31 * DAY;
const UNDO: i64 = DAY;
const DAMAGED_KEPT: i64 = 90 * DAY;
const PUT_UNVERIFIED: i64 = DAY;
const PUT_VERIFIED: i64 = 30 * DAY;
const UPLOAD: i64 = DAY;

pub type NarId = usize;
pub type CacheId = usize;
pub type FileKey = (Content, Form);

#[derive(Clone, Debug)]
pub struct Nar {
    pub content: Content,
    pub form: Form,
    pub damaged_at: Option<i64>,
}

/// A path in its cache.
#[derive(Clone, Debug)]
pub struct Row {
    pub nar: NarId,
    pub pushed: i64,
    pub pulled: Option<i64>,
    /// What it waits for; visible when that is nothing.
    pub awaits: BTreeSet<Index>,
}

impl Row {
    pub fn is_visible(&self) -> bool {
        self.awaits.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Damaged,
    Deleted(i64),
    Collected,
}

/// A path out of its cache.
#[derive(Clone, Debug)]
pub struct Aside {
    pub nar: NarId,
    pub pushed: i64,
    pub pulled: Option<i64>,
    pub reason: Reason,
    pub until: i64,
}

#[derive(Clone, Debug)]
pub struct Put {
    pub touched: i64,
    pub is_verified: bool,
}

#[derive(Clone, Debug)]
pub struct Pin {
    pub name: u8,
    pub revision: i64,
    pub thing: Index,
    pub keep: Keep,
    pub expires: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// False when it is removed and its paths are not forgotten yet.
    pub is_live: bool,
    pub is_lenient: bool,
    pub rows: BTreeMap<Index, Row>,
    pub aside: BTreeMap<Index, Aside>,
    pub puts: BTreeMap<FileKey, Put>,
    pub pins: Vec<Pin>,
    pub rules: Retention,
    pub asked: Option<(Retention, bool)>,
    /// Damaged since somebody could pull them, and not seen whole again: what refers to them stays visible.
    pub broken: BTreeSet<Index>,
    /// When each path was last lost by people, damage or forgetting, by the number of the step.
    pub lost: BTreeMap<Index, usize>,
    /// Files that were pulled, and that is not written down yet.
    pub pulls: BTreeMap<FileKey, i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    Open,
    Done,
    Aborted,
}

#[derive(Clone, Debug)]
pub struct Upload {
    pub cache: CacheId,
    pub thing: Index,
    pub form: Form,
    pub touched: i64,
    pub state: UploadState,
    pub parts: [bool; 2],
}

#[derive(Clone, Debug)]
pub struct Removal {
    pub cache: CacheId,
    pub ended: i64,
    pub is_undone: bool,
}

/// What a push comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    New { visible: bool },
    Existing,
    Refused,
}

#[derive(Clone)]
pub struct State {
    pub now: i64,
    pub step: usize,
    pub things: Rc<Vec<Thing>>,
    pub nars: BTreeMap<NarId, Nar>,
    next_nar: NarId,
    pub caches: Vec<Cache>,
    /// Files that are not what they were.
    pub harmed: BTreeMap<FileKey, Harm>,
    pub suspects: BTreeSet<FileKey>,
    pub uploads: Vec<Upload>,
    pub removals: BTreeMap<i64, Removal>,
    pub scrubbed: Option<i64>,
}

impl State {
    pub fn new(things: Rc<Vec<Thing>>) -> State {
        State {
            now: 0,
            step: 0,
            things,
            nars: BTreeMap::new(),
            next_nar: 0,
            caches: Vec::new(),
            harmed: BTreeMap::new(),
            suspects: BTreeSet::new(),
            uploads: Vec::new(),
            removals: BTreeMap::new(),
            scrubbed: None,
        }
    }

    pub fn references(&self, thing: Index) -> &[Index] {
        &self.things[thing].references
    }

    /// A thing and all that it refers to, references first.
    pub fn closure(&self, thing: Index) -> Vec<Index> {
        let mut closure = BTreeSet::from([thing]);
        let mut waiting = vec![thing];
        while let Some(thing) = waiting.pop() {
            waiting.extend(self.references(thing).iter().filter(|reference| closure.insert(**reference)));
        }
        closure.into_iter().collect()
    }

    pub fn key(&self, nar: NarId) -> FileKey {
        (self.nars[&nar].content, self.nars[&nar].form)
    }

    pub fn file_size(&self, nar: NarId) -> u64 {
        let (content, form) = self.key(nar);
        self.things[content].file(form).len() as u64
    }

    pub fn is_visible(&self, cache: CacheId, thing: Index) -> bool {
        self.caches[cache].rows.get(&thing).is_some_and(Row::is_visible)
    }

    pub fn visible(&self, cache: CacheId) -> BTreeSet<Index> {
        self.caches[cache].rows.iter().filter(|(_, row)| row.is_visible()).map(|(index, _)| *index).collect()
    }

    /// The NAR that new paths with this content share.
    pub fn whole_nar(&self, content: Content) -> Option<NarId> {
        let mut whole = self.nars.iter().filter(|(_, nar)| nar.content == content && nar.damaged_at.is_none());
        whole.next().map(|(id, _)| *id)
    }

    /// Whether a push finds that its bytes are here. A file that is not what its row says is found to be damaged.
    pub fn is_stored(&mut self, content: Content) -> bool {
        while let Some(nar) = self.whole_nar(content) {
            if !self.is_harmed(self.key(nar), false) {
                return true;
            }
            self.nar_damaged(nar);
        }
        false
    }

    pub fn uses(&self, nar: NarId) -> usize {
        let of = |cache: &Cache| {
            cache.rows.values().filter(|row| row.nar == nar).count()
                + cache.aside.values().filter(|aside| aside.nar == nar).count()
        };
        self.caches.iter().map(of).sum()
    }

    fn nar_new(&mut self, content: Content, form: Form) -> NarId {
        let same = self.nars.iter().find(|(_, nar)| nar.content == content && nar.form == form);
        if let Some((id, _)) = same {
            return *id;
        }
        self.next_nar += 1;
        self.nars.insert(self.next_nar, Nar { content, form, damaged_at: None });
        self.next_nar
    }

    /// Forgets NARs that nothing has.
    fn release_nars(&mut self) {
        let unused: Vec<NarId> = self.nars.keys().copied().filter(|nar| self.uses(*nar) == 0).collect();
        for nar in unused {
            self.nars.remove(&nar);
        }
    }

    /// The file is what it should be: a push wrote it.
    pub fn file_written(&mut self, key: FileKey) {
        self.harmed.remove(&key);
    }

    /// A path that is here is pushed again.
    pub fn renew(&mut self, cache: CacheId, thing: Index) -> bool {
        let row = self.caches[cache].rows.get_mut(&thing);
        row.map(|row| row.pushed = row.pushed.max(self.now)).is_some()
    }

    /// The step that publishes. `file` is what came, `None` where the NAR was here already; `hold` whether missing references keep the
    /// path back.
    pub fn commit(&mut self, cache: CacheId, thing: Index, file: Option<Form>, hold: bool) -> Pushed {
        let before = self.clone();
        let content = self.things[thing].content;
        if let Some(form) = file {
            self.heal(content, form);
        }
        if self.renew(cache, thing) {
            return Pushed::Existing;
        }
        // Its pusher may have been told that they are here.
        self.put_back_collected(cache, self.references(thing).iter().copied().collect());
        let mut awaits = BTreeSet::new();
        if !self.caches[cache].is_lenient {
            let references = self.references(thing).iter().copied();
            awaits.extend(references.filter(|reference| !self.is_visible(cache, *reference)));
        }
        if !awaits.is_empty() && !hold {
            *self = before;
            return Pushed::Refused;
        }
        let nar = match (self.whole_nar(content), file) {
            (Some(nar), _) => nar,
            (None, Some(form)) => self.nar_new(content, form),
            (None, None) => {
                *self = before;
                return Pushed::Refused;
            }
        };
        self.caches[cache].aside.remove(&thing);
        let visible = awaits.is_empty();
        self.caches[cache].rows.insert(thing, Row { nar, pushed: self.now, pulled: None, awaits });
        self.release_nars();
        if visible {
            self.arrived(cache, thing);
        }
        Pushed::New { visible }
    }

    /// A path is visible: so is what waited for nothing else.
    fn arrived(&mut self, cache: CacheId, thing: Index) {
        self.caches[cache].broken.remove(&thing);
        let mut released = Vec::new();
        for (index, row) in &mut self.caches[cache].rows {
            if row.awaits.remove(&thing) && row.is_visible() {
                released.push(*index);
            }
        }
        for thing in released {
            self.arrived(cache, thing);
        }
    }

    fn heal(&mut self, content: Content, form: Form) {
        let damaged = self.nars.iter().filter(|(_, nar)| nar.content == content && nar.damaged_at.is_some());
        let damaged: Vec<NarId> = damaged.map(|(id, _)| *id).collect();
        if damaged.is_empty() {
            return;
        }
        let whole = self.nar_new(content, form);
        for cache in &mut self.caches {
            for aside in cache.aside.values_mut().filter(|aside| damaged.contains(&aside.nar)) {
                aside.nar = whole;
            }
        }
        self.nar_whole(whole);
        self.release_nars();
    }

    /// A damaged file is what it was again: its paths come back everywhere.
    pub fn nar_whole(&mut self, nar: NarId) {
        if let Some(nar) = self.nars.get_mut(&nar) {
            nar.damaged_at = None;
        }
        for cache in 0..self.caches.len() {
            let aside = self.caches[cache].aside.iter();
            let back = aside.filter(|(_, aside)| aside.nar == nar && aside.reason == Reason::Damaged);
            let back = back.map(|(index, _)| *index).collect();
            self.put_back(cache, back);
        }
    }

    /// Puts paths back, with what was collected of what they refer to. One whose file is damaged meanwhile is out of sight for that
    /// reason from then on. One whose references are not all visible or damaged waits for them.
    fn put_back(&mut self, cache: CacheId, things: BTreeSet<Index>) {
        let mut waiting: Vec<Index> = things.into_iter().collect();
        let mut back = Vec::new();
        while let Some(thing) = waiting.pop() {
            let Some(mut aside) = self.caches[cache].aside.remove(&thing) else { continue };
            if let Some(since) = self.nars[&aside.nar].damaged_at {
                (aside.reason, aside.until) = (Reason::Damaged, since + DAMAGED_KEPT);
                self.caches[cache].aside.insert(thing, aside);
                self.caches[cache].broken.insert(thing);
                continue;
            }
            // Nobody sees it until all are here.
            let hidden = BTreeSet::from([thing]);
            let Aside { nar, pushed, pulled, .. } = aside;
            self.caches[cache].rows.insert(thing, Row { nar, pushed, pulled, awaits: hidden });
            let references = self.references(thing).iter().copied();
            waiting.extend(references.filter(|reference| self.is_collected(cache, *reference)));
            back.push(thing);
        }
        for thing in &back {
            let mut awaits: BTreeSet<Index> = BTreeSet::new();
            if !self.caches[cache].is_lenient {
                let here = |index: &Index| {
                    let aside = self.caches[cache].aside.get(index);
                    self.is_visible(cache, *index) || aside.is_some_and(|aside| aside.reason == Reason::Damaged)
                };
                awaits = self.references(*thing).iter().copied().filter(|index| !here(index)).collect();
            }
            awaits.insert(*thing);
            self.caches[cache].rows.get_mut(thing).unwrap().awaits = awaits;
        }
        for thing in back {
            let row = self.caches[cache].rows.get_mut(&thing).unwrap();
            row.awaits.remove(&thing);
            if row.is_visible() {
                self.arrived(cache, thing);
            }
        }
    }

    fn is_collected(&self, cache: CacheId, thing: Index) -> bool {
        self.caches[cache].aside.get(&thing).is_some_and(|aside| aside.reason == Reason::Collected)
    }

    pub fn put_back_collected(&mut self, cache: CacheId, things: BTreeSet<Index>) {
        let collected = things.into_iter().filter(|thing| self.is_collected(cache, *thing)).collect();
        self.put_back(cache, collected);
    }

    /// A file was found to be damaged: all visible paths that have it are out of sight, held ones are gone.
    pub fn nar_damaged(&mut self, nar: NarId) {
        let key = self.key(nar);
        let now = self.now;
        if self.nars[&nar].damaged_at.is_some() {
            return;
        }
        for cache in &mut self.caches {
            cache.puts.remove(&key);
        }
        if let Some(nar) = self.nars.get_mut(&nar) {
            nar.damaged_at = Some(now);
        }
        for cache in 0..self.caches.len() {
            let rows = self.caches[cache].rows.iter();
            let affected: Vec<Index> = rows.filter(|(_, row)| row.nar == nar).map(|(index, _)| *index).collect();
            for thing in affected {
                if self.is_visible(cache, thing) {
                    self.caches[cache].broken.insert(thing);
                }
                self.depart(cache, thing, Reason::Damaged, now + DAMAGED_KEPT);
                self.caches[cache].lost.insert(thing, self.step);
            }
        }
        self.release_nars();
    }

    /// Takes a path out of its cache. Whether it was visible, and so can come back.
    fn depart(&mut self, cache: CacheId, thing: Index, reason: Reason, until: i64) -> bool {
        let Some(row) = self.caches[cache].rows.remove(&thing) else { return false };
        let visible = row.is_visible();
        if visible {
            let Row { nar, pushed, pulled, .. } = row;
            self.caches[cache].aside.insert(thing, Aside { nar, pushed, pulled, reason, until });
        }
        visible
    }

    /// Rules take paths out.
    pub fn collect(&mut self, cache: CacheId, things: &BTreeSet<Index>) {
        for thing in things {
            if !self.depart(cache, *thing, Reason::Collected, self.now + GRACE) {
                // A held path is not kept anywhere.
                self.caches[cache].lost.insert(*thing, self.step);
            }
        }
        self.release_nars();
    }

    /// What people choose, and what refers to it where they say so; `None` where that is refused.
    pub fn chosen(&self, cache: CacheId, thing: Index, with_referrers: bool) -> Option<BTreeSet<Index>> {
        let rows = &self.caches[cache].rows;
        let mut chosen = rows.contains_key(&thing).then(|| BTreeSet::from([thing]))?;
        for (index, row) in rows {
            // In the order of their numbers referrers come behind what they refer to.
            let refers = self.references(*index).iter().any(|reference| chosen.contains(reference));
            if row.is_visible() && refers && !chosen.contains(index) {
                if !with_referrers {
                    return None;
                }
                chosen.insert(*index);
            }
        }
        chosen.is_disjoint(&self.protected(cache, None)).then_some(chosen)
    }

    /// People take paths out. What refers to them and is held waits for them, too.
    pub fn remove(&mut self, cache: CacheId, chosen: &BTreeSet<Index>, removal: i64) {
        let mut visible = Vec::new();
        for thing in chosen {
            let nar = self.caches[cache].rows[thing].nar;
            let key = self.key(nar);
            self.caches[cache].puts.remove(&key);
            self.caches[cache].lost.insert(*thing, self.step);
            if self.depart(cache, *thing, Reason::Deleted(removal), self.now + UNDO) {
                visible.push(*thing);
            }
        }
        if !self.caches[cache].is_lenient {
            let things = self.things.clone();
            for (index, row) in &mut self.caches[cache].rows {
                if !row.is_visible() {
                    let references = things[*index].references.iter();
                    row.awaits.extend(references.filter(|reference| visible.contains(reference)));
                }
            }
        }
        self.release_nars();
        self.removals.insert(removal, Removal { cache, ended: self.now, is_undone: false });
    }

    /// Puts back what people took out; false where that is too late.
    pub fn undo(&mut self, removal: i64) -> bool {
        let Removal { cache, ended, is_undone, .. } = self.removals[&removal];
        if is_undone {
            return true;
        }
        if ended + UNDO <= self.now {
            return false;
        }
        if let Some(removal) = self.removals.get_mut(&removal) {
            removal.is_undone = true;
        }
        let aside = self.caches[cache].aside.iter();
        let back =
            aside.filter(|(_, aside)| aside.reason == Reason::Deleted(removal)).map(|(index, _)| *index).collect();
        self.put_back(cache, back);
        true
    }

    /// What the pins of a cache are for, as far as it is here. `revisions` is the rule of how many of each name count.
    pub fn protected(&self, cache: CacheId, revisions: Option<u32>) -> BTreeSet<Index> {
        let Cache { pins, rows, aside, .. } = &self.caches[cache];
        let mut pins: Vec<&Pin> = pins.iter().filter(|pin| pin.expires.is_none_or(|at| at > self.now)).collect();
        pins.sort_by_key(|pin| (pin.name, -pin.revision));
        let mut seen: BTreeMap<u8, u32> = BTreeMap::new();
        let mut protected = BTreeSet::new();
        let mut waiting = Vec::new();
        for pin in pins {
            let seen = seen.entry(pin.name).or_default();
            *seen += 1;
            if pin.keep != Keep::Forever || revisions.is_none_or(|most| *seen <= most) {
                waiting.push(pin.thing);
            }
        }
        // Through what is damaged: it comes back when somebody pushes it.
        let damaged = |thing: &Index| aside.get(thing).is_some_and(|aside| aside.reason == Reason::Damaged);
        while let Some(thing) = waiting.pop() {
            if (rows.contains_key(&thing) || damaged(&thing)) && protected.insert(thing) {
                waiting.extend(self.references(thing));
            }
        }
        protected.retain(|thing| rows.contains_key(thing));
        protected
    }

    /// Pins a path; false where the cache does not have it.
    pub fn pin(&mut self, cache: CacheId, thing: Index, name: u8, keep: Keep) -> bool {
        self.put_back_collected(cache, BTreeSet::from([thing]));
        if !self.caches[cache].rows.contains_key(&thing) {
            return false;
        }
        let expires = if let Keep::Days(days) = keep { Some(self.now + i64::from(days) * DAY) } else { None };
        let pins = &mut self.caches[cache].pins;
        let revision = 1 + pins.iter().filter(|pin| pin.name == name).map(|pin| pin.revision).max().unwrap_or(0);
        pins.push(Pin { name, revision, thing, keep, expires });
        if let Keep::Revisions(kept) = keep {
            pins.retain(|pin| pin.name != name || pin.revision > revision - i64::from(kept));
        }
        true
    }

    pub fn purge(&mut self) {
        for cache in &mut self.caches {
            if !cache.is_live {
                *cache = Cache::default();
            }
            let past: Vec<Index> =
                cache.aside.iter().filter(|(_, aside)| aside.until < self.now).map(|(index, _)| *index).collect();
            for thing in past {
                cache.aside.remove(&thing);
                cache.lost.insert(thing, self.step);
            }
        }
        self.release_nars();
    }

    pub fn sweep(&mut self) {
        let now = self.now;
        self.pins_expire();
        for cache in &mut self.caches {
            let lifetime = |put: &Put| if put.is_verified { PUT_VERIFIED } else { PUT_UNVERIFIED };
            cache.puts.retain(|_, put| put.touched >= now - lifetime(put));
        }
        for upload in &mut self.uploads {
            if upload.touched < now - UPLOAD {
                upload.state = UploadState::Aborted;
            }
        }
    }

    pub fn pins_expire(&mut self) {
        for cache in &mut self.caches {
            cache.pins.retain(|pin| pin.expires.is_none_or(|at| at > self.now));
        }
    }

    /// Writes down what was pulled: the pull of a file is one of every path of the cache that has it.
    pub fn flush(&mut self) {
        let keys: BTreeMap<NarId, FileKey> = self.nars.keys().map(|nar| (*nar, self.key(*nar))).collect();
        for cache in &mut self.caches {
            for (key, at) in std::mem::take(&mut cache.pulls) {
                for row in cache.rows.values_mut().filter(|row| keys[&row.nar] == key) {
                    row.pulled = Some(at);
                }
            }
        }
    }

    /// Files that something names, so that they may not go.
    pub fn needed_files(&self) -> BTreeSet<FileKey> {
        let puts = self.caches.iter().flat_map(|cache| cache.puts.keys().copied());
        self.nars.keys().map(|nar| self.key(*nar)).chain(puts).collect()
    }

    pub fn is_harmed(&self, key: FileKey, is_full: bool) -> bool {
        match self.harmed.get(&key) {
            Some(Harm::Flipped) => is_full,
            harm => harm.is_some(),
        }
    }
}
