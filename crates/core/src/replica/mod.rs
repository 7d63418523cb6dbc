//! Several servers over one PostgreSQL: what each tells the others, what it makes of what it hears, and which one does the work
//! that is done once. Nothing here is needed for what is stored to be right, and no word has to arrive: absence is not remembered, presence
//! for minutes only.

mod lead;
mod news;

use crate::{
    Core,
    db::{Ear, Voice},
    error::Result,
    reconcile::Reconciler,
};
use iglu_api::{event::LiveEvent, instance::Replica, work::Work};
use news::{Greeting, News, pack, unpack};
use nix_compat::{nixbase32, store_path::StorePathHash};
use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// How often a server says that it is there.
const GREETING: Duration = Duration::from_secs(1);
/// Who hears nothing for so long, not even itself, is deaf; who is not heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// How long what another server may have changed is believed at most, should a word of it be lost with its speaker.
pub(crate) const BELIEVED: Duration = Duration::from_secs(300);
/// News that wait to be said. What does not fit is not said, and the others are told to believe nothing.
const WAITING: usize = 4096;
/// Paths that one word is about: as many as fit into a notification.
const PATHS: usize = 150;
/// The setting with the leader's work as it is.
const WORK: &str = "work";

/// What this server knows of the others.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// Names this process to the others.
    id: String,
    hears: AtomicBool,
    leads: watch::Sender<bool>,
    /// Of this server as the leader.
    term: Mutex<Option<lead::Term>>,
    mouth: OnceLock<mpsc::Sender<News>>,
    was_cut_short: AtomicBool,
    others: Mutex<HashMap<String, (Greeting, Instant)>>,
}

impl Default for Replicas {
    fn default() -> Replicas {
        Replicas {
            id: nixbase32::encode(&crate::clock::random::<10>()),
            hears: AtomicBool::new(false),
            leads: watch::Sender::new(false),
            term: Mutex::default(),
            mouth: OnceLock::new(),
            was_cut_short: AtomicBool::new(false),
            others: Mutex::default(),
        }
    }
}

/// A server among others; ends with [`Membership::leave`].
#[derive(Debug)]
pub struct Membership {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Membership {
    /// Tells the others, and lets another one lead.
    pub async fn leave(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = tokio::time::timeout(SILENCE, task).await;
        }
    }
}

impl Core {
    /// Whether other servers may be using the same database.
    pub fn is_shared(&self) -> bool {
        self.db.is_shared()
    }

    /// Whether what other servers change is heard here.
    #[cfg(test)]
    pub(crate) fn hears(&self) -> bool {
        self.replicas.hears.load(Ordering::Acquire)
    }

    /// Whether this server does the work that is done once.
    pub fn is_leader(&self) -> bool {
        !self.is_shared() || *self.replicas.leads.borrow()
    }

    /// Waits until another server may lead.
    pub(crate) async fn leadership_lost(&self) {
        if !self.is_shared() {
            std::future::pending::<()>().await;
        }
        let _ = self.replicas.leads.subscribe().wait_for(|leads| !*leads).await;
    }

    /// Joins the servers of this database under a name for people. Nothing happens with SQLite, which is for one server.
    pub fn join(&self, name: &str) -> Membership {
        let (stop, stopping) = watch::channel(false);
        if !self.is_shared() {
            return Membership { stop, tasks: Vec::new() };
        }
        let greeting = Greeting {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.now(),
            is_leader: false,
            listeners: 0,
        };
        let (mouth, waiting) = mpsc::channel(WAITING);
        // The first word stands: a process joins once.
        let _ = self.replicas.mouth.set(mouth);
        let tasks = vec![
            tokio::spawn(speak(self.clone(), greeting, waiting, stopping.clone())),
            tokio::spawn(until(stopping.clone(), listen(self.clone()))),
            tokio::spawn(lead::lead(self.clone(), stopping)),
        ];
        Membership { stop, tasks }
    }

    fn say(&self, news: News) {
        if let Some(mouth) = self.replicas.mouth.get()
            && mouth.try_send(news).is_err()
        {
            self.replicas.was_cut_short.store(true, Ordering::Release);
        }
    }

    /// Whether a live page is open anywhere.
    pub(crate) fn somebody_watches(&self) -> bool {
        let others = self.replicas.others.lock().unwrap_or_else(PoisonError::into_inner);
        self.events.listeners() > 0 || others.values().any(|(greeting, _)| greeting.listeners > 0)
    }

    /// Tells live pages of all servers.
    pub(crate) fn tell(&self, event: LiveEvent) {
        self.say(News::Event(event.clone()));
        self.events.send(event);
    }

    /// Tells pages that follow a run, of all servers.
    pub(crate) fn tell_run(&self, id: u64) {
        self.say(News::Run(id));
        self.events.run(id);
    }

    /// Wakes nodes that wait for work, at all servers.
    pub(crate) fn queue_tell(&self) {
        self.say(News::Queue);
        self.queue_changed.notify_waiters();
    }

    /// Wakes who waits for the answer of a look.
    pub(crate) fn probe_told(&self) {
        self.say(News::Probe);
        self.probe_answered.notify_waiters();
    }

    /// Lets a kind of work run now, wherever it is done.
    pub(crate) fn work_wake(&self, work: Reconciler) {
        self.work.wake(work);
        if work.is_common() && !self.is_leader() {
            self.say(News::Wake(work.name().to_owned()));
        }
    }

    /// Tells the others that what they remember of paths of a cache may no longer be so.
    pub(crate) fn paths_tell(&self, cache: i64, hashes: &[StorePathHash]) {
        if self.replicas.mouth.get().is_some() {
            for some in hashes.chunks(PATHS) {
                self.say(News::Paths { cache, hashes: some.iter().map(ToString::to_string).collect() });
            }
        }
    }

    /// NAR files went, for all servers.
    pub(crate) fn nars_forget(&self) {
        self.known_nars.clear();
        self.say(News::Nars);
    }

    /// Forgets what memory knows of paths and files. A reader that asked the database before this does not put it back.
    pub(crate) fn forget_everything(&self) {
        for cache in self.directory.all() {
            cache.state.epoch.fetch_add(1, Ordering::SeqCst);
        }
        self.narinfos.clear();
        self.known_nars.clear();
        self.known_tokens.clear();
    }

    /// How many servers of this database are heard of, this one included. At least one.
    pub fn replica_count(&self) -> usize {
        let others = self.replicas.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.values().filter(|(_, heard)| heard.elapsed() < SILENCE).count().max(1)
    }

    /// The servers of this database that are heard of, this one first.
    pub fn replica_list(&self) -> Vec<Replica> {
        let others = self.replicas.others.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Replica> = others
            .iter()
            .filter(|(_, (_, heard))| heard.elapsed() < SILENCE)
            .map(|(id, (greeting, _))| Replica {
                name: greeting.name.clone(),
                version: greeting.version.clone(),
                started_at: greeting.started_at,
                is_leader: greeting.is_leader,
                is_this: *id == self.replicas.id,
            })
            .collect();
        list.sort_by(|a, b| (!a.is_this, &a.name, a.started_at.0).cmp(&(!b.is_this, &b.name, b.started_at.0)));
        list
    }

    /// Background work as it is, wherever it is done.
    pub(crate) async fn work_everywhere(&self) -> Result<Vec<Work>> {
        let mut list = self.work_list();
        if self.is_leader() {
            return Ok(list);
        }
        let told = self.db.setting(WORK).await?;
        let told: Vec<Work> = told.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        for work in &mut list {
            if let Some(of_leader) = told.iter().find(|of_leader| of_leader.name == work.name) {
                work.clone_from(of_leader);
            }
        }
        Ok(list)
    }

    /// Does what a word of another server, or of the database, asks for.
    fn heed(&self, from: &str, news: News) {
        match news {
            News::Changed => self.work.wake(Reconciler::DirectoryRefresh),
            News::Here(greeting) => {
                let mut others = self.replicas.others.lock().unwrap_or_else(PoisonError::into_inner);
                others.retain(|_, (_, heard)| heard.elapsed() < SILENCE);
                others.insert(from.to_owned(), (greeting, Instant::now()));
            }
            News::Bye => {
                self.replicas.others.lock().unwrap_or_else(PoisonError::into_inner).remove(from);
            }
            // What follows was done here when it was said.
            _ if from == self.replicas.id => {}
            News::Paths { cache, hashes } => {
                if let Some(cache) = self.directory.get_by_id(cache) {
                    let hashes: Vec<_> = hashes.iter().filter_map(|hash| StorePathHash::parse(hash).ok()).collect();
                    self.narinfos.forget(&cache, &hashes);
                }
                self.directory.counts_changed();
            }
            News::Nars => self.known_nars.clear(),
            News::Everything => {
                self.forget_everything();
                self.work.wake(Reconciler::DirectoryRefresh);
                self.queue_changed.notify_waiters();
                self.probe_answered.notify_waiters();
            }
            News::Event(event) => {
                self.directory.counts_changed();
                self.events.send(event);
            }
            News::Run(id) => self.events.run(id),
            News::Queue => self.queue_changed.notify_waiters(),
            News::Probe => self.probe_answered.notify_waiters(),
            News::Wake(name) => {
                if let Some(work) = Reconciler::ALL.into_iter().find(|work| work.name() == name) {
                    self.work.wake(work);
                }
            }
        }
    }
}

/// Runs a task until the server leaves.
async fn until(mut stopping: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// Says what waits to be said, many things at a time, and every second that this server is there.
async fn speak(core: Core, greeting: Greeting, mut waiting: mpsc::Receiver<News>, mut stopping: watch::Receiver<bool>) {
    let replicas = &core.replicas;
    let mut voice: Option<Voice> = None;
    let mut greet = tokio::time::interval(GREETING);
    greet.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut some = Vec::new();
        let ends = tokio::select! {
            _ = waiting.recv_many(&mut some, 256) => false,
            _ = greet.tick() => {
                some.push(News::Here(Greeting {
                    is_leader: core.is_leader(),
                    listeners: core.events.listeners(),
                    ..greeting.clone()
                }));
                false
            }
            _ = stopping.wait_for(|stop| *stop) => {
                while let Ok(one) = waiting.try_recv() {
                    some.push(one);
                }
                some.push(News::Bye);
                true
            }
        };
        if replicas.was_cut_short.swap(false, Ordering::AcqRel) {
            some.insert(0, News::Everything);
        }
        let (texts, left_out) = pack(&replicas.id, &some);
        let mut is_said = true;
        for text in texts {
            if let Err(error) = say(&core, &mut voice, &text).await {
                tracing::debug!(%error, "other servers could not be told");
                voice = None;
                is_said = false;
                break;
            }
        }
        // That a server is there is said again in a second; everything else would be missed.
        let is_lost = left_out || (!is_said && some.iter().any(|news| !matches!(news, News::Here(_))));
        if is_lost {
            replicas.was_cut_short.store(true, Ordering::Release);
        }
        if ends {
            return;
        }
        if !is_said || is_lost {
            // What is not heard in time is made up for by the word that everything may have changed.
            tokio::time::sleep(GREETING).await;
        }
    }
}

/// Says one thing, on a connection that is made anew where there is none: one that requests wait for would be silent when the server is
/// busiest.
async fn say(core: &Core, voice: &mut Option<Voice>, text: &str) -> Result<()> {
    if voice.is_none() {
        *voice = core.db.voice().await?;
    }
    match voice {
        Some(voice) => voice.say(text).await,
        None => Ok(()),
    }
}

/// Hears the others for ever. While it cannot, what is remembered is believed for as long as ever, and no longer; where the database is
/// away altogether, that is what is still served. What was not heard is made up for when it hears again.
async fn listen(core: Core) {
    loop {
        match core.db.ear().await {
            Ok(Some(mut ear)) => {
                core.forget_everything();
                core.work.wake(Reconciler::DirectoryRefresh);
                core.replicas.hears.store(true, Ordering::Release);
                let error = hear(&core, &mut ear).await;
                core.replicas.hears.store(false, Ordering::Release);
                tracing::warn!(%error, "other servers are not heard");
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "other servers are not heard"),
        }
        tokio::time::sleep(GREETING).await;
    }
}

/// Heeds what is said until it cannot be heard.
async fn hear(core: &Core, ear: &mut Ear) -> crate::Error {
    loop {
        match ear.hear(SILENCE).await {
            Ok(text) => {
                let Some((from, news)) = unpack(&text) else { continue };
                news.into_iter().for_each(|one| core.heed(&from, one));
            }
            Err(error) => return error,
        }
    }
}
