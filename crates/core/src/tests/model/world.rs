//! A server and what it should be: does to both what an operation says, and compares what they answer.

use super::{
    op::{Form, Harm, Op, Order, Way},
    state::{Cache, CacheId, FileKey, NarId, Pushed, Put, State, Upload, UploadState},
    things::{Index, THINGS, Thing, things},
};
use crate::{
    Core, Location,
    check::CheckKind,
    clock::Clock,
    push::{Published, UploadId},
    reconcile::Reconciler,
    tests::{body, capability, open},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use iglu_api::{
    CacheName, Timestamp,
    cache::{CacheChange, CacheCreate, Visibility},
    pin::{Keep, PinCreate},
    retention::{RemovalState, Retention},
};
use md5::{Digest, Md5};
use nix_compat::{narinfo::NarInfo, nixhash::Sha256};
use std::{collections::BTreeSet, fs, path::PathBuf, rc::Rc};

pub type Outcome<T = ()> = Result<T, String>;

/// Fails the sequence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(super) use ensure;

pub const OPERATOR: crate::Caller = crate::Caller::Operator;
/// The first cache is strict, the second lenient.
pub const NAMES: [&str; 2] = ["strict", "lenient"];
const RULES: [Retention; 7] = {
    let none = Retention { pushed_days: None, used_days: None, bytes: None, revisions: None };
    [
        none,
        Retention { pushed_days: Some(5), ..none },
        Retention { used_days: Some(10), ..none },
        Retention { bytes: Some(2000), ..none },
        Retention { bytes: Some(600), revisions: Some(1), ..none },
        Retention { pushed_days: Some(2), revisions: Some(1), ..none },
        Retention { pushed_days: Some(40), used_days: Some(3), bytes: Some(3000), ..none },
    ]
};
const KEEPS: [Keep; 4] = [Keep::Days(3), Keep::Revisions(1), Keep::Revisions(2), Keep::Forever];

/// What a pusher was told.
#[derive(Clone, Debug)]
pub struct Asked {
    cache: CacheId,
    step: usize,
    missing: Vec<Index>,
}

pub struct World {
    pub core: Core,
    pub clock: Clock,
    pub folder: tempfile::TempDir,
    pub location: Location,
    pub state: State,
    /// Which caches have the names.
    pub live: [CacheId; 2],
    upload_ids: Vec<UploadId>,
    asked: Vec<Asked>,
    pub is_away: bool,
}

impl World {
    pub async fn new(folder: tempfile::TempDir, location: Location, seed: u64) -> World {
        let clock = Clock::default();
        let core = open(folder.path(), location.clone(), &clock).await;
        let state = State::new(Rc::new(things(seed)));
        let mut world = World {
            core,
            clock,
            folder,
            location,
            state,
            live: [0, 0],
            upload_ids: Vec::new(),
            asked: Vec::new(),
            is_away: false,
        };
        for name in 0..NAMES.len() {
            world.cache_create(name).await;
        }
        world
    }

    pub fn things(&self) -> Rc<Vec<Thing>> {
        self.state.things.clone()
    }

    pub fn cache(&self, name: usize) -> &Cache {
        &self.state.caches[self.live[name]]
    }

    pub fn cache_mut(&mut self, name: usize) -> &mut Cache {
        &mut self.state.caches[self.live[name]]
    }

    pub fn opened(&self, name: usize) -> std::sync::Arc<crate::Cache> {
        self.core.cache_remembered(NAMES[name]).unwrap()
    }

    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    pub fn file_path(&self, (content, form): FileKey) -> PathBuf {
        let name = self.state.things[content].file_hash(form).to_nix32();
        self.storage().join("nar").join(&name[..2]).join(name)
    }

    /// The NAR files on the disk.
    pub fn files(&self) -> BTreeSet<FileKey> {
        let all = (0..THINGS).filter(|thing| self.state.things[*thing].content == *thing);
        all.flat_map(|content| Form::ALL.map(|form| (content, form)))
            .filter(|key| self.file_path(*key).exists())
            .collect()
    }

    async fn cache_create(&mut self, name: usize) {
        let create = CacheCreate::new(CacheName::parse(NAMES[name]).unwrap(), Visibility::Public);
        self.core.cache().create(&OPERATOR, &create).await.unwrap();
        let is_lenient = name == 1;
        if is_lenient {
            let change = CacheChange { is_lenient: Some(true), ..CacheChange::default() };
            self.core.cache().change(&OPERATOR, NAMES[name], &change).await.unwrap();
        }
        self.live[name] = self.state.caches.len();
        self.state.caches.push(Cache { is_live: true, is_lenient, ..Cache::default() });
    }

    pub async fn apply(&mut self, op: Op) -> Outcome {
        self.state.step += 1;
        let name = |cache: u8| usize::from(cache) % NAMES.len();
        let index = |thing: u8| Index::from(thing) % THINGS;
        match op {
            Op::Push { cache, thing, way } => self.push(name(cache), index(thing), way).await,
            Op::PushClosure { cache, thing, way, order } => {
                let mut closure = self.state.closure(index(thing));
                match order {
                    Order::ReferencesFirst => {}
                    Order::ReferrersFirst => closure.reverse(),
                    Order::Turned(by) => {
                        let by = usize::from(by) % closure.len();
                        closure.rotate_left(by);
                    }
                }
                for thing in closure {
                    self.push(name(cache), thing, way).await?;
                }
                Ok(())
            }
            Op::Begin { cache, thing, form } => self.begin(name(cache), index(thing), form).await.map(drop),
            Op::Part { upload, part } => match self.upload(upload) {
                Some(upload) => self.part(upload, usize::from(part) % 2).await,
                None => Ok(()),
            },
            Op::Complete { upload } => match self.upload(upload) {
                Some(upload) => self.complete(upload).await,
                None => Ok(()),
            },
            Op::Abort { upload } => match self.upload(upload) {
                Some(upload) => self.abort(upload).await,
                None => Ok(()),
            },
            Op::PutFile { cache, thing, form } => self.put_file(name(cache), index(thing), form).await,
            Op::PutNarinfo { cache, thing, form } => self.put_narinfo(name(cache), index(thing), form).await,
            Op::AskMissing { cache, thing } => self.ask_missing(name(cache), index(thing)).await,
            Op::PushMissing { asked } => self.push_missing(asked).await,
            Op::Pull { cache, thing } => self.pull(name(cache), index(thing)).await,
            Op::Pin { cache, thing, name: pin, keep } => self.pin(name(cache), index(thing), pin % 2, keep).await,
            Op::Remove { cache, thing, with_referrers } => self.remove(name(cache), index(thing), with_referrers).await,
            Op::Undo { removal } => self.undo(removal).await,
            Op::Rules { cache, rules } => {
                let rules = RULES[usize::from(rules) % RULES.len()];
                let name = name(cache);
                let set = self.core.retention().set(&OPERATOR, NAMES[name], &rules, true).await;
                ensure!(set.is_ok(), "rules are set: {set:?}");
                self.cache_mut(name).rules = rules;
                Ok(())
            }
            Op::AskCollection { cache, is_confirmed } => self.ask_collection(name(cache), is_confirmed).await,
            Op::Collect { cache } => {
                self.ask_collection(name(cache), true).await?;
                self.collect().await
            }
            Op::Harm { file, harm } => self.harm(file, harm),
            Op::BringBack => self.bring_back(),
            Op::Check { is_full, repairs } => self.check(CheckKind { is_full, repairs }).await,
            Op::Work(work) => self.work(work).await,
            Op::Recreate { cache } => {
                let removed = self.core.cache().remove(&OPERATOR, NAMES[name(cache)]).await;
                ensure!(removed.is_ok(), "a cache is removed: {removed:?}");
                let gone = self.cache_mut(name(cache));
                (gone.is_live, gone.asked) = (false, None);
                self.cache_create(name(cache)).await;
                Ok(())
            }
            Op::Advance { hours } => {
                self.advance(i64::from(hours));
                Ok(())
            }
            Op::Restart { is_crash } => self.restart(is_crash).await,
            Op::Away { is_empty } => {
                if !self.is_away {
                    fs::rename(self.storage(), self.folder.path().join("away")).unwrap();
                    self.is_away = true;
                    if is_empty {
                        fs::create_dir(self.storage()).unwrap();
                        self.work(Reconciler::StorageWatch).await?;
                    }
                }
                Ok(())
            }
            Op::Back => self.back().await,
            Op::Meanwhile { moment, cache, outer, inner, kind } => {
                self.meanwhile(moment, name(cache), index(outer), inner, kind).await
            }
        }
    }

    /// Each step of the clock has a minute of its own, so that no two moments are a whole number of hours apart.
    pub fn advance(&mut self, hours: i64) {
        let minutes = hours * 60 + 1;
        self.clock.advance(minutes * Timestamp::MINUTE);
        self.state.now += minutes;
    }

    pub async fn back(&mut self) -> Outcome {
        if self.is_away {
            if self.storage().exists() {
                fs::remove_dir_all(self.storage()).unwrap();
            }
            fs::rename(self.folder.path().join("away"), self.storage()).unwrap();
            self.is_away = false;
            self.work(Reconciler::StorageWatch).await?;
        }
        Ok(())
    }

    pub async fn restart(&mut self, is_crash: bool) -> Outcome {
        if !is_crash {
            let closed = self.core.close().await;
            ensure!(closed.is_ok(), "the server ends: {closed:?}");
            self.state.flush();
        }
        self.core = open(self.folder.path(), self.location.clone(), &self.clock).await;
        for cache in &mut self.state.caches {
            cache.pulls.clear();
        }
        self.state.suspects.clear();
        Ok(())
    }

    // Pushing.

    fn upload(&self, upload: u8) -> Option<usize> {
        let all = self.state.uploads.len();
        (all > 0).then(|| usize::from(upload) % all)
    }

    pub async fn push(&mut self, name: usize, thing: Index, way: Way) -> Outcome {
        match way {
            Way::Parts(form) => {
                if let Some(upload) = self.begin(name, thing, form).await? {
                    self.part(upload, 0).await?;
                    self.part(upload, 1).await?;
                    self.complete(upload).await?;
                }
                Ok(())
            }
            Way::Put(form) => {
                self.put_file(name, thing, form).await?;
                self.put_narinfo(name, thing, form).await
            }
            Way::Stream => self.stream(name, thing).await,
        }
    }

    async fn begin(&mut self, name: usize, thing: Index, form: Form) -> Outcome<Option<usize>> {
        let compression = self.state.things[thing].claim(form).compression;
        let id = match self.core.push().multipart_create(&OPERATOR, NAMES[name], compression).await {
            Ok(id) => id,
            Err(_) if self.is_away => return Ok(None),
            Err(error) => return Err(format!("an upload begins: {error}")),
        };
        self.upload_ids.push(id);
        let (cache, touched) = (self.live[name], self.state.now);
        self.state.uploads.push(Upload { cache, thing, form, touched, state: UploadState::Open, parts: [false; 2] });
        Ok(Some(self.state.uploads.len() - 1))
    }

    fn name_of(&self, cache: CacheId) -> usize {
        // A cache that is gone had the name that the one with the same leniency has.
        usize::from(self.state.caches[cache].is_lenient)
    }

    async fn part(&mut self, upload: usize, part: usize) -> Outcome {
        let Upload { cache, thing, form, state, .. } = self.state.uploads[upload].clone();
        let (id, things) = (self.upload_ids[upload], self.things());
        let file = things[thing].file(form);
        let (first, second) = file.split_at(file.len() / 2);
        let bytes = [first, second][part];
        let md5 = STANDARD.encode(Md5::digest(bytes));
        let push = self.core.push();
        let put = async {
            let url = push.part_url(&OPERATOR, NAMES[self.name_of(cache)], id, part as u32 + 1, &md5).await?.0;
            let (md5, proof) = capability(&url);
            push.part_put(id, part as u32 + 1, &md5, &proof, body(bytes)).await
        };
        let put = put.await;
        let is_open = state == UploadState::Open && self.state.caches[cache].is_live;
        ensure!(put.is_ok() == (is_open && !self.is_away), "part {part} of upload {upload}: {put:?}");
        if put.is_ok() {
            let upload = &mut self.state.uploads[upload];
            (upload.touched, upload.parts[part]) = (self.state.now, true);
        }
        Ok(())
    }

    async fn complete(&mut self, upload: usize) -> Outcome {
        let Upload { cache, thing, form, .. } = self.state.uploads[upload].clone();
        let (claim, id) = (self.state.things[thing].claim(form).clone(), self.upload_ids[upload]);
        let name = NAMES[self.name_of(cache)];
        let done = self.core.push().complete(&OPERATOR, name, id, None, claim).await;
        if self.is_away && done.is_err() {
            return Ok(());
        }
        let expected = self.complete_expected(upload);
        same_push(&format!("upload {upload} is complete"), done, expected)
    }

    fn complete_expected(&mut self, upload: usize) -> Pushed {
        let Upload { cache, thing, form, state, parts, .. } = self.state.uploads[upload].clone();
        if !self.state.caches[cache].is_live {
            return Pushed::Refused;
        }
        match state {
            UploadState::Done => return Pushed::Existing,
            UploadState::Aborted => return Pushed::Refused,
            // What arrived is what counts, where the client does not say what it sent.
            UploadState::Open if !parts[0] => return Pushed::Refused,
            UploadState::Open => {}
        }
        let mut pushed = Pushed::Existing;
        if !self.state.renew(cache, thing) {
            if !parts[1] {
                return Pushed::Refused;
            }
            let content = self.state.things[thing].content;
            let file = (!self.state.is_stored(content)).then_some(form);
            if file.is_some() {
                self.state.file_written((content, form));
            }
            pushed = self.state.commit(cache, thing, file, true);
        }
        let upload = &mut self.state.uploads[upload];
        (upload.state, upload.touched) = (UploadState::Done, self.state.now);
        pushed
    }

    async fn abort(&mut self, upload: usize) -> Outcome {
        let cache = self.state.uploads[upload].cache;
        let aborted = self.core.push().abort(&OPERATOR, NAMES[self.name_of(cache)], self.upload_ids[upload]).await;
        ensure!(aborted.is_ok(), "upload {upload} is aborted: {aborted:?}");
        let now = self.state.now;
        let upload = &mut self.state.uploads[upload];
        if upload.state == UploadState::Open && self.state.caches[cache].is_live {
            (upload.state, upload.touched) = (UploadState::Aborted, now);
        }
        Ok(())
    }

    async fn put_file(&mut self, name: usize, thing: Index, form: Form) -> Outcome {
        let (cache, things) = (self.opened(name), self.things());
        let thing = &things[thing];
        let put = self.core.push().nar_put(&cache, thing.file_name(form), body(thing.file(form))).await;
        ensure!(put.is_ok() != self.is_away, "a file is put: {put:?}");
        if put.is_ok() {
            let (key, now) = ((thing.content, form), self.state.now);
            self.state.file_written(key);
            let puts = &mut self.cache_mut(name).puts;
            puts.entry(key).or_insert(Put { touched: now, is_verified: false }).touched = now;
        }
        Ok(())
    }

    async fn put_narinfo(&mut self, name: usize, thing: Index, form: Form) -> Outcome {
        let (cache, things) = (self.opened(name), self.things());
        let text = Bytes::from(things[thing].narinfo(form));
        let put = self.core.push().narinfo_put(&OPERATOR, &cache, things[thing].hash(), text).await;
        if self.is_away && put.is_err() {
            return Ok(());
        }
        let is_stored = put.is_ok() && self.file_path((things[thing].content, form)).exists();
        let expected = self.put_narinfo_expected(name, thing, form, is_stored);
        same_push(&format!("the narinfo of {thing} is put"), put, expected)
    }

    fn put_narinfo_expected(&mut self, name: usize, thing: Index, form: Form, is_stored: bool) -> Pushed {
        let (key, cache, now) = ((self.state.things[thing].content, form), self.live[name], self.state.now);
        let harm = self.state.harmed.get(&key).copied();
        let is_put = self.state.caches[cache].puts.contains_key(&key);
        if self.state.caches[cache].rows.contains_key(&thing) {
            if let Some(put) = self.state.caches[cache].puts.get_mut(&key).filter(|put| !put.is_verified) {
                if harm.is_some() {
                    return Pushed::Refused;
                }
                put.is_verified = true;
            }
            return self.state.commit(cache, thing, None, false);
        }
        let has_another_size = matches!(harm, Some(Harm::Absent | Harm::Short));
        if is_put {
            if has_another_size {
                return Pushed::Refused;
            }
            self.state.caches[cache].puts.entry(key).and_modify(|put| put.touched = now);
        } else {
            // Memory may know it a little longer than the database, until the file is gone.
            if !self.can_read(cache, key) && !is_stored {
                return Pushed::Refused;
            }
            if has_another_size {
                self.state.suspects.insert(key);
                return Pushed::Refused;
            }
            // Looking whether it is there is a use of it.
            self.state.caches[cache].pulls.insert(key, now);
        }
        if harm.is_some() {
            return Pushed::Refused;
        }
        if let Some(put) = self.state.caches[cache].puts.get_mut(&key) {
            put.is_verified = true;
        }
        self.state.commit(cache, thing, Some(form), false)
    }

    /// Whether a file is read by its name in a cache.
    fn can_read(&self, cache: CacheId, key: FileKey) -> bool {
        let Cache { rows, aside, puts, .. } = &self.state.caches[cache];
        let has = |nar: &NarId| self.state.key(*nar) == key;
        let is_whole = |nar: &NarId| self.state.nars[nar].damaged_at.is_none();
        rows.values().any(|row| row.is_visible() && has(&row.nar))
            || puts.get(&key).is_some_and(|put| put.is_verified)
            || aside
                .values()
                .any(|aside| aside.reason == super::state::Reason::Collected && has(&aside.nar) && is_whole(&aside.nar))
    }

    async fn stream(&mut self, name: usize, thing: Index) -> Outcome {
        let (cache, things) = (self.opened(name), self.things());
        let (claim, content) = (things[thing].claim(Form::Raw).clone(), things[thing].content);
        let done = self.core.push().nar_stream(&OPERATOR, &cache, claim, body(&things[thing].nar)).await;
        if self.is_away && done.is_err() {
            return Ok(());
        }
        let file = (!self.state.is_stored(content)).then_some(Form::Zstd);
        if file.is_some() {
            self.state.file_written((content, Form::Zstd));
        }
        let expected = self.state.commit(self.live[name], thing, file, true);
        same_push(&format!("{thing} is streamed"), done.map(|streamed| streamed.published), expected)
    }

    async fn ask_missing(&mut self, name: usize, thing: Index) -> Outcome {
        let closure = self.state.closure(thing);
        let hashes = closure.iter().map(|thing| self.state.things[*thing].hash()).collect();
        let missing = self.core.path().missing(&self.opened(name), hashes).await;
        let missing = missing.map_err(|error| format!("what is missing: {error}"))?;
        let is_missing = |thing: &Index| missing.contains(&self.state.things[*thing].hash());
        let missing = closure.iter().copied().filter(is_missing).collect();
        self.asked.push(Asked { cache: self.live[name], step: self.state.step, missing });
        Ok(())
    }

    /// What the pusher was told is here is here when it is done, unless people took it out, its file was damaged, or it was forgotten.
    async fn push_missing(&mut self, asked: u8) -> Outcome {
        if self.asked.is_empty() || self.is_away {
            return Ok(());
        }
        let Asked { cache, step, missing } = self.asked.remove(usize::from(asked) % self.asked.len());
        if !self.state.caches[cache].is_live {
            return Ok(());
        }
        let name = self.name_of(cache);
        for thing in &missing {
            self.push(name, *thing, Way::Parts(Form::Raw)).await?;
        }
        let closure: BTreeSet<Index> = missing.iter().flat_map(|thing| self.state.closure(*thing)).collect();
        let lost = |thing: &Index| self.state.caches[cache].lost.get(thing).is_some_and(|at| *at >= step);
        if closure.iter().any(lost) {
            return Ok(());
        }
        for thing in closure {
            let there = self.core.path().exists(&self.opened(name), self.state.things[thing].hash()).await;
            ensure!(
                matches!(there, Ok(true)),
                "{thing} was not missing or was pushed since, and is not here: {there:?}"
            );
        }
        Ok(())
    }

    // Reading.

    pub async fn pull(&mut self, name: usize, thing: Index) -> Outcome {
        let (cache, things, live) = (self.opened(name), self.things(), self.live[name]);
        let (content, now) = (things[thing].content, self.state.now);
        let found = self.core.path().narinfo(&cache, things[thing].hash()).await;
        let found = found.map_err(|error| format!("narinfo of {thing}: {error}"))?;
        let visible = self.state.is_visible(live, thing);
        ensure!(found.is_some() == visible, "narinfo of {thing} is there: {}, expected: {visible}", found.is_some());
        let Some(found) = found else {
            for form in Form::ALL {
                let key = (content, form);
                let nar = self.core.fetch().nar(&cache, &things[thing].file_hash(form)).await;
                let expected = self.can_read(live, key);
                if self.is_away {
                    ensure!(!matches!(nar, Ok(Some(_))), "nobody reads a storage that is away");
                    continue;
                }
                let nar = nar.map_err(|error| format!("file of {thing}: {error}"))?;
                let harmed = self.state.is_harmed(key, false);
                ensure!(nar.is_some() <= !harmed, "the file of {thing} is harmed and served");
                ensure!(
                    nar.is_some() || !expected || harmed,
                    "the file of {thing} can be read by its name in {} for a while, and is not",
                    NAMES[name]
                );
                let deleted = self.state.caches[live].aside.values().any(|aside| {
                    matches!(aside.reason, super::state::Reason::Deleted(_)) && self.state.key(aside.nar) == key
                });
                ensure!(expected || !deleted || nar.is_none(), "people took {thing} out, and its file is read");
                if expected && harmed {
                    self.state.suspects.insert(key);
                }
                if nar.is_some() {
                    self.cache_mut(name).pulls.insert(key, now);
                }
            }
            return Ok(());
        };
        let narinfo = NarInfo::parse(&found.text).map_err(|error| format!("narinfo of {thing}: {error}"))?;
        let nar = self.state.caches[live].rows[&thing].nar;
        let (key, form) = (self.state.key(nar), self.state.nars[&nar].form);
        let claim = things[thing].claim(form);
        ensure!(
            narinfo.file_hash == claim.file_hash
                && narinfo.nar_hash == claim.nar_hash
                && narinfo.references == claim.references
                && narinfo.store_path == claim.store_path,
            "narinfo of {thing} says something else than its push"
        );
        let file_hash = claim.file_hash.unwrap();
        let opened = self.core.fetch().nar(&cache, &file_hash).await;
        if self.is_away {
            ensure!(matches!(opened, Err(crate::Error::Unavailable { .. })), "the storage is away: {opened:?}");
            return Ok(());
        }
        let opened = opened.map_err(|error| format!("file of {thing}: {error}"))?;
        match self.state.harmed.get(&key).copied() {
            Some(Harm::Absent | Harm::Short) => {
                ensure!(opened.is_none(), "a file with another size is served");
                self.state.suspects.insert(key);
            }
            harm => {
                let Some(opened) = opened else { return Err(format!("the file of {thing} is not there")) };
                let mut bytes = Vec::new();
                std::io::copy(&mut opened.stored.reader(0).unwrap(), &mut bytes).unwrap();
                let is_whole = Sha256::digest(&bytes) == file_hash;
                ensure!(is_whole == harm.is_none(), "the bytes of {thing} are whole: {is_whole}");
                self.cache_mut(name).pulls.insert(key, now);
            }
        }
        Ok(())
    }

    // Keeping.

    pub async fn pin(&mut self, name: usize, thing: Index, pin: u8, keep: u8) -> Outcome {
        let keep = KEEPS[usize::from(keep) % KEEPS.len()];
        let store_path = self.state.things[thing].path.to_absolute();
        let create = PinCreate { name: format!("pin-{pin}"), store_path, artifacts: Vec::new(), keep };
        let pinned = self.core.pin().create(&OPERATOR, NAMES[name], &create).await;
        let expected = self.state.pin(self.live[name], thing, pin, keep);
        ensure!(pinned.is_ok() == expected, "pin of {thing}: {pinned:?}, expected: {expected}");
        Ok(())
    }

    pub async fn remove(&mut self, name: usize, thing: Index, with_referrers: bool) -> Outcome {
        let hashes = [self.state.things[thing].hash()];
        let removed = self.core.retention().remove(&OPERATOR, NAMES[name], &hashes, with_referrers).await;
        let chosen = self.state.chosen(self.live[name], thing, with_referrers);
        ensure!(
            removed.is_ok() == (chosen.is_some() && !self.is_away),
            "{thing} is removed: {removed:?}, expected: {chosen:?}"
        );
        if let (Ok(removal), Some(chosen)) = (removed, chosen) {
            ensure!(
                (removal.state, removal.paths) == (RemovalState::Done, chosen.len() as u64),
                "the removal of {chosen:?}: {removal:?}"
            );
            self.state.remove(self.live[name], &chosen, removal.id);
        }
        Ok(())
    }

    pub async fn undo(&mut self, removal: u8) -> Outcome {
        let all: Vec<i64> = self.state.removals.keys().copied().collect();
        if all.is_empty() {
            return Ok(());
        }
        let id = all[usize::from(removal) % all.len()];
        let cache = self.state.removals[&id].cache;
        let name = self.name_of(cache);
        let undone = self.core.retention().undo(&OPERATOR, NAMES[name], id).await;
        let expected = self.state.caches[cache].is_live && self.state.undo(id);
        ensure!(undone.is_ok() == expected, "removal {id} is undone: {undone:?}, expected: {expected}");
        Ok(())
    }

    pub async fn ask_collection(&mut self, name: usize, is_confirmed: bool) -> Outcome {
        if self.cache(name).asked.is_some() {
            return Ok(());
        }
        let rules = self.cache(name).rules;
        let plan = self.plan(name, &rules).await?;
        let asked = self.core.retention().ask(&OPERATOR, NAMES[name], is_confirmed).await;
        let expected = is_confirmed || !plan.takes_everything;
        ensure!(asked.is_ok() == expected, "a collection is asked for: {asked:?}, expected: {expected}");
        if expected {
            self.cache_mut(name).asked = Some((rules, is_confirmed));
        }
        Ok(())
    }

    /// What was asked for is done as its preview said.
    pub async fn collect(&mut self) -> Outcome {
        let mut plans = Vec::new();
        for name in 0..NAMES.len() {
            if let Some((rules, is_confirmed)) = self.cache(name).asked {
                plans.push((name, rules, is_confirmed, self.plan(name, &rules).await?));
            }
        }
        let done = Reconciler::Collect.tick(&self.core).await;
        if self.is_away && !plans.is_empty() {
            ensure!(done.is_err(), "nothing is collected while the storage is away");
            return Ok(());
        }
        ensure!(done.is_ok(), "collecting: {done:?}");
        for (name, rules, is_confirmed, plan) in plans {
            let removals = self.core.retention().removals(&OPERATOR, NAMES[name]).await;
            let removals = removals.map_err(|error| format!("removals: {error}"))?;
            let removal = removals.into_iter().find(|removal| removal.is_collection).unwrap();
            self.cache_mut(name).asked = None;
            if rules != self.cache(name).rules {
                ensure!(removal.state == RemovalState::Failed, "the rules are others now: {removal:?}");
                continue;
            }
            if plan.takes_everything && !is_confirmed {
                ensure!(removal.state == RemovalState::Failed, "nobody confirmed: {removal:?}");
                continue;
            }
            ensure!(
                (removal.state, removal.paths, removal.bytes)
                    == (RemovalState::Done, plan.going.len() as u64, plan.bytes),
                "{removal:?} did not do what the preview said: {plan:?}"
            );
            self.state.collect(self.live[name], &plan.going);
        }
        Ok(())
    }

    async fn retain(&mut self) -> Outcome {
        let pending = (0..NAMES.len()).any(|name| self.cache(name).asked.is_some());
        if pending {
            return self.collect().await;
        }
        let mut expected = Vec::new();
        for name in 0..NAMES.len() {
            let rules = self.cache(name).rules;
            let plan = self.plan(name, &rules).await?;
            let has_held = self.cache(name).rows.values().any(|row| !row.is_visible());
            let has_reason = rules.collects() || has_held;
            if has_reason && !plan.going.is_empty() && !plan.takes_everything {
                expected.push((name, rules));
            }
        }
        let done = Reconciler::Retain.tick(&self.core).await;
        ensure!(done.is_ok(), "retaining: {done:?}");
        for (name, rules) in expected {
            self.cache_mut(name).asked = Some((rules, false));
        }
        Ok(())
    }

    // Damage.

    pub fn harm(&mut self, file: u8, harm: Harm) -> Outcome {
        if self.is_away {
            return Ok(());
        }
        let whole: Vec<FileKey> = self.files().into_iter().filter(|key| !self.state.harmed.contains_key(key)).collect();
        if whole.is_empty() {
            return Ok(());
        }
        let key = whole[usize::from(file) % whole.len()];
        let path = self.file_path(key);
        let mut bytes = fs::read(&path).unwrap();
        match harm {
            Harm::Absent => fs::remove_file(&path).unwrap(),
            Harm::Short => fs::write(&path, &bytes[1..]).unwrap(),
            Harm::Flipped => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        self.state.harmed.insert(key, harm);
        Ok(())
    }

    /// Somebody found the files that are needed in a backup.
    pub fn bring_back(&mut self) -> Outcome {
        if self.is_away {
            return Ok(());
        }
        let needed = self.state.needed_files();
        let harmed: Vec<FileKey> = self.state.harmed.keys().copied().filter(|key| needed.contains(key)).collect();
        for key in harmed {
            let path = self.file_path(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, self.state.things[key.0].file(key.1)).unwrap();
            self.state.harmed.remove(&key);
        }
        Ok(())
    }

    pub async fn check(&mut self, kind: CheckKind) -> Outcome {
        let report = self.core.check_all(kind, &|_, _| ()).await;
        if self.is_away {
            ensure!(report.is_err(), "a storage that is away is not checked: {report:?}");
            return Ok(());
        }
        let report = report.map_err(|error| format!("checking: {error}"))?;
        let nars: Vec<NarId> = self.state.nars.keys().copied().collect();
        let is_damaged = |nar: &NarId| self.state.nars[nar].damaged_at.is_some();
        let is_harmed = |nar: &NarId, is_full| self.state.is_harmed(self.state.key(*nar), is_full);
        let count = |damaged: bool, harmed: bool| {
            let same = |nar: &&NarId| is_damaged(nar) == damaged && is_harmed(nar, kind.is_full) == harmed;
            nars.iter().filter(same).count() as u64
        };
        let found = (report.files, report.damaged_count, report.whole_again, report.known_damaged, report.unused_nars);
        let expected = (nars.len() as u64, count(false, true), count(true, false), count(true, true), 0);
        ensure!(found == expected, "files, damaged, whole again, known, unused: {found:?}, expected: {expected:?}");
        ensure!(report.wrong_numbers.is_empty(), "numbers are wrong: {report:?}");
        if kind.repairs {
            let damaged: Vec<NarId> =
                nars.iter().copied().filter(|nar| !is_damaged(nar) && is_harmed(nar, kind.is_full)).collect();
            let whole: Vec<NarId> =
                nars.iter().copied().filter(|nar| is_damaged(nar) && !is_harmed(nar, true)).collect();
            for nar in damaged {
                self.state.nar_damaged(nar);
            }
            for nar in whole {
                self.state.nar_whole(nar);
            }
        }
        let incomplete = self.incomplete(self.live[0], &self.state.visible(self.live[0])) as u64;
        let found: u64 = report.incomplete.iter().map(|(_, count)| count).sum();
        ensure!(found == incomplete, "{found} closures are incomplete, expected: {incomplete}");
        Ok(())
    }

    /// Visible paths that refer to what is not visible.
    pub fn incomplete(&self, cache: CacheId, visible: &BTreeSet<Index>) -> usize {
        if self.state.caches[cache].is_lenient {
            return 0;
        }
        let whole = |thing: &Index| self.state.references(*thing).iter().all(|reference| visible.contains(reference));
        visible.iter().filter(|thing| !whole(thing)).count()
    }

    pub async fn work(&mut self, work: Reconciler) -> Outcome {
        match work {
            Reconciler::Retain => return self.retain().await,
            Reconciler::Collect => return self.collect().await,
            _ => {}
        }
        let done = work.tick(&self.core).await;
        let needs_storage = match work {
            Reconciler::Scrub | Reconciler::Purge | Reconciler::Files | Reconciler::Sweep => true,
            Reconciler::Suspects => !self.state.suspects.is_empty(),
            _ => false,
        };
        ensure!(done.is_ok() != (needs_storage && self.is_away), "{}: {done:?}", work.name());
        if done.is_err() {
            if work == Reconciler::Sweep {
                self.state.pins_expire();
            }
            return Ok(());
        }
        let now = self.state.now;
        match work {
            Reconciler::ActivityFlush => self.state.flush(),
            Reconciler::Suspects => {
                let suspects = std::mem::take(&mut self.state.suspects);
                self.damage_found(|key| suspects.contains(&key));
            }
            Reconciler::Scrub => {
                if self.state.scrubbed.is_none_or(|began| began <= now - 7 * super::state::DAY) {
                    self.state.scrubbed = Some(now);
                    self.damage_found(|_| true);
                    // What is whole again comes back.
                    let is_back = |nar: &NarId| {
                        self.state.nars[nar].damaged_at.is_some() && !self.state.is_harmed(self.state.key(*nar), true)
                    };
                    let whole: Vec<NarId> = self.state.nars.keys().copied().filter(is_back).collect();
                    whole.into_iter().for_each(|nar| self.state.nar_whole(nar));
                }
            }
            Reconciler::Purge => self.state.purge(),
            Reconciler::Sweep => self.state.sweep(),
            _ => {}
        }
        Ok(())
    }

    /// Files were read, and what is harmed of them is known.
    fn damage_found(&mut self, was_read: impl Fn(FileKey) -> bool) {
        let nars: Vec<NarId> = self.state.nars.keys().copied().collect();
        for nar in nars {
            let key = self.state.key(nar);
            if was_read(key) && self.state.harmed.contains_key(&key) && self.state.nars[&nar].damaged_at.is_none() {
                self.state.nar_damaged(nar);
            }
        }
    }
}

pub fn same_push(what: &str, got: crate::Result<Published>, expected: Pushed) -> Outcome {
    let found = match &got {
        Ok(Published::New { visible }) => Pushed::New { visible: *visible },
        Ok(Published::Existing) => Pushed::Existing,
        Err(_) => Pushed::Refused,
    };
    ensure!(found == expected, "{what}: {got:?}, expected: {expected:?}");
    Ok(())
}
