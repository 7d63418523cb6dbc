//! The first page: what there is, what came lately, what needs attention.

use crate::{Core, NarBytes, caller::Caller, error::Result};
use iglu_api::{
    Timestamp,
    cache::Traffic,
    node::AWAY,
    overview::{Attention, Overview},
    run::RunState,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::PoisonError,
};

/// Below this share of free space the disk needs attention, in percent.
const DISK_FREE_PERCENT: u64 = 10;
/// Tokens that end within this time need attention, in milliseconds.
const TOKEN_NOTICE: i64 = 7 * Timestamp::DAY;
const RECENT: usize = 8;
/// Paths from which on adding up is too slow for a page.
const LARGE: u64 = 50_000;
/// How old a sum may be, in milliseconds.
const OLD: i64 = 30 * Timestamp::SECOND;

/// What live pages show, as numbers that differ when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveState {
    pub counters: u64,
    /// 0 for those who may not see it.
    pub work: u64,
}

impl Core {
    /// From memory.
    pub fn live_state(&self, caller: &Caller) -> LiveState {
        let mut counters = DefaultHasher::new();
        for cache in self.directory.all().into_iter().filter(|cache| caller.permission(cache).is_some()) {
            let now = cache.counters();
            let reads = (now.narinfo_hits.get(), now.narinfo_misses.get(), now.nar_bytes.get());
            (cache.id, cache.path_count(), cache.stored_bytes(), reads).hash(&mut counters);
        }
        let mut work = DefaultHasher::new();
        if caller.require_instance_admin("looking at work").is_ok() {
            for one in self.work_list() {
                (one.name, one.is_running, one.last_started_at.map(|at| at.0), one.last_error).hash(&mut work);
            }
        }
        LiveState { counters: counters.finish(), work: work.finish() }
    }

    /// The overview of what the caller may see.
    pub async fn overview(&self, caller: &Caller) -> Result<Overview> {
        let caches = self.cache().list(caller).await?;
        let mut traffic = Traffic::default();
        let mut recent_pushes = Vec::new();
        for cache in &caches {
            traffic.add(&cache.traffic);
            if let Some(entry) = self.directory.get(cache.name.as_str()) {
                recent_pushes.extend(self.db.recent_pushes(&cache.name, entry.id, RECENT as i64).await?);
            }
        }
        recent_pushes.sort_by_key(|push| std::cmp::Reverse(push.path.pushed_at));
        recent_pushes.truncate(RECENT);
        let builders = self.builder().list(caller).await?;
        let mut runs = self.run().queue(caller).await?;
        runs.retain(|run| run.state != RunState::Queued);
        runs.truncate(RECENT);
        runs.extend(self.run().recent(caller, RECENT.saturating_sub(runs.len())).await?);
        let mut attention = self.attention(caller).await?;
        for builder in builders.iter().filter(|builder| builder.is_enabled) {
            let last = builder.runs.iter().find(|run| run.state.is_over());
            if let Some(run) = last.filter(|run| matches!(run.state, RunState::Failed | RunState::TimedOut)) {
                let (run, reason) = (run.id, run.reason.clone());
                attention.push(Attention::RunFailed { builder: builder.name.clone(), run, reason });
            }
        }
        Ok(Overview {
            has_builders: !builders.is_empty(),
            runs,
            path_count: caches.iter().map(|cache| cache.path_count).sum(),
            // What is shared with caches that somebody does not see is not told apart.
            stored_bytes: match caller.sees_all_caches() {
                true => self.disk_bytes().await?,
                false => caches.iter().map(|cache| cache.stored_bytes).sum(),
            },
            attention,
            is_on_disk: caller.sees_all_caches(),
            caches,
            traffic,
            recent_pushes,
        })
    }

    /// Bytes of files on disk, each NAR once.
    pub(crate) async fn disk_bytes(&self) -> Result<u64> {
        Ok(self.nar_bytes().await?.files)
    }

    /// Bytes of NARs, each once. Adding up a million files takes a while: on a large server the sum of half a minute ago is told, and
    /// made anew behind the answer.
    pub async fn nar_bytes(&self) -> Result<NarBytes> {
        let paths: u64 = self.directory.all().iter().map(|cache| cache.path_count()).sum();
        if paths < LARGE {
            return self.db.nar_bytes().await;
        }
        let (now, known) = (self.now(), *self.disk_bytes.lock().unwrap_or_else(PoisonError::into_inner));
        let Some((bytes, at)) = known else { return self.nar_bytes_add_up().await };
        if now.since(at) > OLD {
            let core = self.clone();
            tokio::spawn(async move {
                if let Err(error) = core.nar_bytes_add_up().await {
                    tracing::warn!(%error, "adding up what the disk holds failed");
                }
            });
        }
        Ok(bytes)
    }

    async fn nar_bytes_add_up(&self) -> Result<NarBytes> {
        let bytes = self.db.nar_bytes().await?;
        *self.disk_bytes.lock().unwrap_or_else(PoisonError::into_inner) = Some((bytes, self.now()));
        Ok(bytes)
    }

    async fn attention(&self, caller: &Caller) -> Result<Vec<Attention>> {
        let mut attention = Vec::new();
        if let Some(why) = self.storage_trouble() {
            attention.push(Attention::StorageTrouble { why });
        }
        if let Ok(Some(space)) = self.blob.space()
            && space.free.saturating_mul(100) < space.total.saturating_mul(DISK_FREE_PERCENT)
        {
            attention.push(Attention::DiskFull { free_bytes: space.free, total_bytes: space.total });
        }
        let now = self.now();
        if caller.me().is_some() {
            for token in self.token().list(caller).await? {
                if let Some(at) = token.expires_at
                    && token.revoked_at.is_none()
                    && at > now
                    && at < now.plus(TOKEN_NOTICE)
                {
                    attention.push(Attention::TokenExpires { name: token.name, at });
                }
            }
        }
        // Those who look after nodes see them.
        for node in self.node().list(caller).await.unwrap_or_default() {
            if let Some(seen_at) = node.last_seen_at.filter(|at| !node.is_draining && now.since(*at) > AWAY) {
                attention.push(Attention::NodeAway { name: node.name, seen_at });
            }
        }
        for (cache_id, count) in self.db.damaged_counts().await? {
            if let Some(cache) = self.directory.get_by_id(cache_id).filter(|cache| caller.permission(cache).is_some()) {
                attention.push(Attention::DamagedPaths { cache: cache.name.clone(), count: count.unsigned_abs() });
            }
        }
        for (cache_id, count) in self.db.held_counts().await? {
            if let Some(cache) = self.directory.get_by_id(cache_id).filter(|cache| caller.permission(cache).is_some()) {
                attention.push(Attention::HeldPaths { cache: cache.name.clone(), count: count.unsigned_abs() });
            }
        }
        Ok(attention)
    }
}
