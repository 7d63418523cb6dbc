//! What happens on read paths, counted in memory and written by a timer: a read never writes to the database.

use crate::{
    db::{ActivityDelta, Db},
    directory::{Cache, Directory},
    error::Result,
    readers::{Readers, Reading, Salt},
    secret::MasterKey,
};
use arc_swap::ArcSwap;
use iglu_api::{Timestamp, cache::Traffic};
use nix_compat::nixhash::Sha256;
use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Files and callers remembered between two flushes; beyond that the moment of use is lost, never memory.
const MOST_REMEMBERED: usize = 100_000;
/// Rows that are written in one transaction.
const AT_A_TIME: usize = 500;

/// Totals of one cache since this process began. Monotonic.
#[derive(Debug, Default)]
pub struct Counters {
    pub narinfo_hits: Counter,
    pub narinfo_misses: Counter,
    pub nar_requests: Counter,
    pub nar_bytes: Counter,
    pub pushed_paths: Counter,
    pub(crate) readers: Readers,
    flushed: Mutex<Flushed>,
}

/// What is in the database of one cache.
#[derive(Clone, Copy, Debug, Default)]
struct Flushed {
    totals: ActivityDelta,
    /// Paths and bytes; `None` before the first flush of this process.
    size: Option<(u64, u64)>,
}

/// A number on a cache line of its own, so that two cores counting different things do not wait for each other.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// What is counted and not yet written.
    pub(crate) fn pending(&self) -> Traffic {
        let total = self.totals();
        let flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner).totals;
        let since = |total: i64, flushed: i64| (total - flushed).unsigned_abs();
        Traffic {
            narinfo_hits: since(total.narinfo_hits, flushed.narinfo_hits),
            narinfo_misses: since(total.narinfo_misses, flushed.narinfo_misses),
            nar_bytes: since(total.nar_bytes, flushed.nar_bytes),
            pushed_paths: since(total.pushed_paths, flushed.pushed_paths),
        }
    }

    /// Downloads that are counted and not yet written.
    pub(crate) fn pending_nar_requests(&self) -> u64 {
        let flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner).totals;
        (self.totals().nar_requests - flushed.nar_requests).unsigned_abs()
    }

    fn totals(&self) -> ActivityDelta {
        let signed = |counter: &Counter| i64::try_from(counter.get()).unwrap_or(i64::MAX);
        ActivityDelta {
            narinfo_hits: signed(&self.narinfo_hits),
            narinfo_misses: signed(&self.narinfo_misses),
            nar_bytes: signed(&self.nar_bytes),
            pushed_paths: signed(&self.pushed_paths),
            nar_requests: signed(&self.nar_requests),
        }
    }
}

/// A cache, and the file that was pulled from it. All paths that have the file were: its name says not which one was meant, and rows
/// of paths go and come back.
pub(crate) type PulledFile = (i64, Sha256);

/// Moments of use that lists show.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    salt: ArcSwap<Salt>,
    /// When a file was downloaded last, and how often.
    files: Mutex<HashMap<PulledFile, (i64, u32)>>,
    tokens: Mutex<HashMap<i64, i64>>,
    sessions: Mutex<HashMap<i64, i64>>,
}

impl Activity {
    pub fn file_pulled(&self, file: PulledFile, at: Timestamp) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() < MOST_REMEMBERED || files.contains_key(&file) {
            let known = files.entry(file).or_default();
            *known = (at.0, known.1.saturating_add(1));
        }
    }

    /// Notes somebody who asked for a narinfo, and how long the answer took.
    pub fn read(&self, cache: &Cache, address: Option<IpAddr>, waited: Duration) {
        cache.state.counters.readers.note(**self.salt.load(), address, waited);
    }

    /// Begins the day of `now`, where it has not begun.
    pub fn salt(&self, master: &MasterKey, now: Timestamp) {
        let day = Salt::day_of(now);
        if self.salt.load().day != day {
            self.salt.store(Arc::new(Salt::new(day, &master.capability(&format!("readers of {day}")))));
        }
    }

    pub fn token_used(&self, token_id: i64, at: Timestamp) {
        note(&self.tokens, token_id, at);
    }

    pub fn session_seen(&self, session_id: i64, at: Timestamp) {
        note(&self.sessions, session_id, at);
    }

    /// Writes what came since the last flush. What could not be written is kept for the next one.
    pub async fn flush(&self, db: &Db, directory: &Directory, master: &MasterKey, now: Timestamp) -> Result<()> {
        directory.recount(db).await?;
        let day = self.salt.load().day;
        let readings: Vec<(Arc<Cache>, Reading)> = directory
            .all()
            .into_iter()
            .filter_map(|cache| cache.state.counters.readers.take().map(|reading| (cache, reading)))
            .collect();
        if let Err(error) = db.readings_add(day, &readings).await {
            for (cache, reading) in &readings {
                cache.state.counters.readers.give_back(reading);
            }
            return Err(error);
        }
        // What was counted before midnight was written as such.
        self.salt(master, now);
        let hour = now.0 - now.0.rem_euclid(Timestamp::HOUR);
        let mut deltas = Vec::new();
        let mut totals = Vec::new();
        for cache in directory.all() {
            let counters = &cache.state.counters;
            let total = counters.totals();
            let flushed = *counters.flushed.lock().unwrap_or_else(PoisonError::into_inner);
            let delta = ActivityDelta {
                narinfo_hits: total.narinfo_hits - flushed.totals.narinfo_hits,
                narinfo_misses: total.narinfo_misses - flushed.totals.narinfo_misses,
                nar_bytes: total.nar_bytes - flushed.totals.nar_bytes,
                pushed_paths: total.pushed_paths - flushed.totals.pushed_paths,
                nar_requests: total.nar_requests - flushed.totals.nar_requests,
            };
            let size = Some((cache.path_count(), cache.stored_bytes()));
            if delta != ActivityDelta::default() || size != flushed.size {
                deltas.push((cache.id, delta));
                totals.push((cache.clone(), Flushed { totals: total, size }));
            }
        }
        if !deltas.is_empty() {
            db.activity_add(hour, &deltas).await?;
            for (cache, total) in totals {
                *cache.state.counters.flushed.lock().unwrap_or_else(PoisonError::into_inner) = total;
            }
        }
        let mut files = &take(&self.files)[..];
        while !files.is_empty() {
            // Each of these is one transaction: what is given back was not written.
            let (some, rest) = files.split_at(files.len().min(AT_A_TIME));
            if let Err(error) = db.files_pulled(some, Salt::day_of(now)).await {
                let mut kept = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                for (file, (at, pulls)) in files {
                    let (last, count) = kept.entry(*file).or_default();
                    *last = (*last).max(*at);
                    *count = count.saturating_add(*pulls);
                }
                return Err(error);
            }
            files = rest;
        }
        let tokens = take(&self.tokens);
        if !tokens.is_empty() {
            db.token_used(&tokens).await.inspect_err(|_| give_back(&self.tokens, &tokens))?;
        }
        let sessions = take(&self.sessions);
        if !sessions.is_empty() {
            db.session_seen(&sessions).await.inspect_err(|_| give_back(&self.sessions, &sessions))?;
        }
        Ok(())
    }
}

fn note<K: Hash + Eq>(moments: &Mutex<HashMap<K, i64>>, id: K, at: Timestamp) {
    let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    if moments.len() < MOST_REMEMBERED || moments.contains_key(&id) {
        moments.insert(id, at.0);
    }
}

fn give_back<K: Hash + Eq + Copy>(moments: &Mutex<HashMap<K, i64>>, taken: &[(K, i64)]) {
    let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    for (id, at) in taken {
        let kept = moments.entry(*id).or_insert(*at);
        *kept = (*kept).max(*at);
    }
}

fn take<K: Ord, V: Ord>(moments: &Mutex<HashMap<K, V>>) -> Vec<(K, V)> {
    let mut taken: Vec<_> =
        std::mem::take(&mut *moments.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect();
    // In key order, so that two flushing processes lock rows in the same order.
    taken.sort_unstable();
    taken
}
