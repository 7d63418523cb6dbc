//! Two at once, and the same every time: another process is stopped in the middle of a push or a collection, something else happens, and
//! it goes on. What comes of it is what comes of the one after the other, in the order in which they reach the database.

use super::{
    op::{Form, Harm, Moment, Way},
    state::{Pushed, Reason},
    things::{Index, THINGS},
    world::{NAMES, OPERATOR, Outcome, World, ensure, same_push},
};
use crate::{
    Core,
    check::CheckKind,
    failpoint,
    push::Published,
    reconcile::Reconciler,
    tests::{open, upload},
};
use iglu_api::retention::RemovalState;
use std::{collections::BTreeSet, sync::mpsc};
use tokio::sync::oneshot;

/// Work of another process that waits at a place until it is told to go on.
struct Stopped<T> {
    reached: oneshot::Receiver<()>,
    go_on: mpsc::Sender<()>,
    done: oneshot::Receiver<T>,
}

/// The other process: a server of its own on a thread of its own.
fn beside<T: Send + 'static>(
    world: &World,
    place: &'static str,
    work: impl AsyncFnOnce(&Core) -> T + Send + 'static,
) -> Stopped<T> {
    let (folder, location, clock) = (world.folder.path().to_owned(), world.location.clone(), world.clock.clone());
    let ((reaching, reached), (go_on, going_on), (ending, done)) =
        (oneshot::channel(), mpsc::channel(), oneshot::channel());
    let run = move || {
        let _ = ending.send(super::alone(async {
            let core = open(&folder, location, &clock).await;
            failpoint::test::at(place, move || {
                let _ = reaching.send(());
                let _ = going_on.recv();
            });
            let done = work(&core).await;
            core.db.close().await;
            done
        }));
    };
    std::thread::Builder::new().spawn(run).unwrap();
    Stopped { reached, go_on, done }
}

impl World {
    pub async fn meanwhile(&mut self, moment: Moment, name: usize, outer: Index, inner: u8, kind: u8) -> Outcome {
        if self.is_away || (0..NAMES.len()).any(|name| self.cache(name).asked.is_some()) {
            return Ok(());
        }
        match moment {
            Moment::Collecting => self.while_collecting(name, inner, kind).await?,
            Moment::Committing | Moment::Committed => self.while_pushing(moment, name, outer, inner, kind).await?,
        }
        // What the other process did is not in the memory of this one.
        self.restart(true).await
    }

    async fn while_collecting(&mut self, name: usize, inner: u8, kind: u8) -> Outcome {
        let rules = self.cache(name).rules;
        let plan = self.plan(name, &rules).await?;
        self.ask_collection(name, true).await?;
        let before = self.cache(name).clone();
        let other = beside(self, "collect.batch", async |core: &Core| Reconciler::Collect.tick(core).await);
        let mut needed = BTreeSet::new();
        if other.reached.await.is_ok() {
            // A second run does not begin meanwhile.
            self.cache_mut(name).asked = None;
            needed = self.inner(true, name, inner, kind).await?;
            let _ = other.go_on.send(());
        }
        let done = other.done.await.unwrap();
        ensure!(done.is_ok(), "collecting: {done:?}");
        self.cache_mut(name).asked = None;

        let rows = &self.cache(name).rows;
        let new: Vec<Index> = rows.keys().copied().filter(|thing| !before.rows.contains_key(thing)).collect();
        let noted = new.into_iter().flat_map(|thing| [&[thing], self.state.references(thing)].concat());
        let mut waiting: Vec<Index> = noted.chain(needed).collect();
        let mut kept = BTreeSet::new();
        while let Some(thing) = waiting.pop() {
            let is_damaged = before.aside.get(&thing).is_some_and(|aside| aside.reason == Reason::Damaged);
            if kept.insert(thing) && (before.rows.contains_key(&thing) || is_damaged) {
                waiting.extend(self.state.references(thing));
            }
        }
        let gone: BTreeSet<Index> =
            plan.going.iter().copied().filter(|thing| rows.contains_key(thing) && !kept.contains(thing)).collect();
        let removals = self.core.retention().removals(&OPERATOR, NAMES[name]).await;
        let removal = removals.unwrap().into_iter().find(|removal| removal.is_collection).unwrap();
        ensure!(
            (removal.state, removal.paths) == (RemovalState::Done, gone.len() as u64),
            "{removal:?}, expected to go: {gone:?} of {:?}",
            plan.going
        );
        self.state.collect(self.live[name], &gone);
        Ok(())
    }

    async fn while_pushing(&mut self, moment: Moment, name: usize, outer: Index, inner: u8, kind: u8) -> Outcome {
        let (things, cache) = (self.things(), self.live[name]);
        let (claim, nar) = (things[outer].claim(Form::Raw).clone(), things[outer].nar.clone());
        let place = if moment == Moment::Committing { "commit.before" } else { "commit.after" };
        let push = async move |core: &Core| {
            let id = upload(core, &OPERATOR, NAMES[name], &[&nar]).await?;
            core.push().complete(&OPERATOR, NAMES[name], id, None, claim).await
        };
        let content = things[outer].content;
        let is_present = self.state.caches[cache].rows.contains_key(&outer);
        let file = self.state.whole_nar(content).is_none().then_some(Form::Raw);
        let other = beside(self, place, push);
        let was_reached = other.reached.await.is_ok();
        ensure!(was_reached != is_present, "{outer} is there: {is_present}, its push is committed: {was_reached}");
        let mut expected = Pushed::Existing;
        if was_reached {
            if file.is_some() {
                self.state.file_written((content, Form::Raw));
            }
            if moment == Moment::Committed {
                expected = self.state.commit(cache, outer, file, true);
                // It was looked up while it was absent.
                self.core.narinfos.clear();
                self.core.directory.reload(&self.core.db, &self.core.master).await.unwrap();
            }
            self.inner(false, name, inner, kind).await?;
            let _ = other.go_on.send(());
            if moment == Moment::Committing {
                expected = self.state.commit(cache, outer, file, true);
            }
        } else {
            self.state.renew(cache, outer);
        }
        let done: crate::Result<Published> = other.done.await.unwrap();
        same_push(&format!("{outer} is pushed meanwhile"), done, expected)
    }

    /// Something happens. What a collection in the middle of which it happens hears of, beside what came.
    async fn inner(&mut self, is_collecting: bool, name: usize, inner: u8, kind: u8) -> Outcome<BTreeSet<Index>> {
        let thing = Index::from(inner) % THINGS;
        let mut needed = BTreeSet::new();
        match kind % 8 {
            0 => {
                needed.extend(self.cache(name).rows.contains_key(&thing).then_some(thing));
                self.push(name, thing, Way::Parts(Form::Zstd)).await?;
            }
            1 => {
                self.push(name, thing, Way::Stream).await?;
                needed.insert(thing);
                needed.extend(self.state.references(thing));
            }
            2 => {
                self.pin(name, thing, inner % 2, inner / 2).await?;
                needed.extend(self.cache(name).rows.contains_key(&thing).then_some(thing));
            }
            3 => self.undo(inner).await?,
            4 if is_collecting => {
                let hashes = [self.state.things[thing].hash()];
                let removed = self.core.retention().remove(&OPERATOR, NAMES[name], &hashes, true).await;
                ensure!(removed.is_err(), "one takes paths out at a time: {removed:?}");
            }
            4 => self.remove(name, thing, true).await?,
            5 if is_collecting => self.pull(name, thing).await?,
            5 => {
                self.ask_collection(name, true).await?;
                self.collect().await?;
            }
            6 => {
                self.harm(inner, Harm::Flipped)?;
                self.check(CheckKind { is_full: true, repairs: true }).await?;
            }
            _ => {
                self.work(Reconciler::Purge).await?;
                self.work(Reconciler::Files).await?;
            }
        }
        Ok(needed)
    }
}
