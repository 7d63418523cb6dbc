//! Background work as it is seen: when each kind ran, how it went, how far it is. Wakes it before its time.

use crate::{Core, reconcile::Reconciler};
use iglu_api::{Timestamp, work::Work};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct State {
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    is_running: bool,
    error: Option<String>,
    progress: Option<(u64, u64)>,
    note: String,
}

/// What is known of all kinds of work of this process.
#[derive(Debug, Default)]
pub(crate) struct Works {
    states: [Mutex<State>; Reconciler::ALL.len()],
    wakes: [Notify; Reconciler::ALL.len()],
}

impl Works {
    fn change(&self, work: Reconciler, change: impl FnOnce(&mut State)) {
        change(&mut self.states[work as usize].lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets a kind of work run now, or again when it is running.
    pub fn wake(&self, work: Reconciler) {
        self.wakes[work as usize].notify_one();
    }

    pub fn progress(&self, work: Reconciler, done: u64, all: u64) {
        self.change(work, |state| state.progress = Some((done, all)));
    }
}

/// How long work may take that is about what one server has in memory.
const LONGEST: Duration = Duration::from_secs(120);

impl Core {
    /// Whether a kind of work is this server's to do.
    pub fn work_is_ours(&self, work: Reconciler) -> bool {
        !work.is_common() || self.is_leader()
    }

    /// One run of a kind of work, seen by those who ask. Its outcome.
    pub async fn work_run(&self, work: Reconciler) -> crate::Result<()> {
        self.work.change(work, |state| {
            state.started_at = Some(self.now());
            state.is_running = true;
        });
        let leads = work.is_common() && self.is_leader() && self.is_shared();
        let done = tokio::select! {
            done = work.tick(self) => done,
            // A database whose machine is gone may never say so, and what this server has in memory would grow old unseen.
            () = tokio::time::sleep(LONGEST), if !work.is_common() && work != Reconciler::Suspects => {
                Err(crate::Error::Unavailable { what: "database", source: "it does not answer in time".into() })
            }
            // It may be stopped anywhere; the server that leads now goes on.
            () = self.leadership_lost(), if leads => Ok(String::new()),
        };
        self.work.change(work, |state| {
            state.is_running = false;
            state.ended_at = Some(self.now());
            state.progress = None;
            match &done {
                Ok(note) => {
                    state.error = None;
                    if !note.is_empty() {
                        state.note.clone_from(note);
                    }
                }
                Err(error) => state.error = Some(error.to_string()),
            }
        });
        done.map(drop)
    }

    /// Waits until a kind of work is to run again.
    pub async fn work_due(&self, work: Reconciler) {
        let _ = tokio::time::timeout(work.period(), self.work.wakes[work as usize].notified()).await;
    }

    /// All kinds of work, as they are at this server.
    pub fn work_list(&self) -> Vec<Work> {
        let list = Reconciler::ALL.into_iter().map(|work| {
            let state = self.work.states[work as usize].lock().unwrap_or_else(PoisonError::into_inner);
            let period = i64::try_from(work.period().max(Duration::from_secs(1)).as_millis()).unwrap_or(i64::MAX);
            Work {
                name: work.name().to_owned(),
                about: work.about().to_owned(),
                is_running: state.is_running,
                last_started_at: state.started_at,
                last_ended_at: state.ended_at,
                last_error: state.error.clone(),
                next_at: state.ended_at.filter(|_| !state.is_running).map(|ended| ended.plus(period)),
                progress: state.progress,
                note: state.note.clone(),
                is_common: work.is_common(),
            }
        });
        list.collect()
    }
}
