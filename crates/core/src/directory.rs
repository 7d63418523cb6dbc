//! All caches with their keys and counters in memory, so that the read path asks no database who may read what.

use crate::{
    activity::Counters,
    db::{CacheRow, ClientKeyRow, Db, KeyRow, NewKey},
    error::{Error, Result},
    network::Networks,
    secret::MasterKey,
};
use arc_swap::ArcSwap;
use iglu_api::{
    CacheName, Timestamp,
    cache::{PreferredCompression, Visibility},
    format,
    retention::{PushLimits, Retention},
};
use nix_compat::signing::{SigningKey, VerifyingKey};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

/// A cache as every request needs it. A change makes a new one; counters and epoch live on.
#[derive(Debug)]
pub struct Cache {
    pub id: i64,
    pub name: CacheName,
    pub visibility: Visibility,
    pub priority: i32,
    pub compression: PreferredCompression,
    pub created_at: Timestamp,
    /// Every one of them signs. Empty where those who push sign.
    pub keys: Vec<SigningKey>,
    /// Keys that signed here once.
    pub retired_keys: Vec<VerifyingKey>,
    /// Keys of people who sign before they push.
    pub client_keys: Vec<VerifyingKey>,
    /// Whether paths are shown although references are missing.
    pub is_lenient: bool,
    /// Names of keys: attic clients leave out what these signed.
    pub client_filter_keys: Vec<String>,
    /// URLs of the caches that this one sits on top of, in the order to be asked.
    pub upstreams: Vec<String>,
    /// From where it may be used.
    pub networks: Networks,
    pub retention: Retention,
    pub limits: PushLimits,
    pub(crate) state: Arc<CacheState>,
}

/// What outlives a reload of the directory.
#[derive(Debug, Default)]
pub(crate) struct CacheState {
    /// Raised by each commit before memory forgets the narinfo; see `path::NarinfoMemory`.
    pub epoch: AtomicU64,
    pub counters: Counters,
    pub path_count: AtomicI64,
    pub stored_bytes: AtomicI64,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOf {
    Server,
    Client,
}

impl Cache {
    /// The public key of this name, of whatever use.
    pub fn public_key(&self, name: &str) -> Option<(VerifyingKey, KeyOf)> {
        let active = self.keys.iter().find(|key| key.name() == name).map(SigningKey::verifying_key);
        let retired = || self.retired_keys.iter().find(|key| key.name() == name).cloned();
        let client = || self.client_keys.iter().find(|key| key.name() == name).cloned();
        match active.or_else(retired) {
            Some(key) => Some((key, KeyOf::Server)),
            None => client().map(|key| (key, KeyOf::Client)),
        }
    }

    /// How many bytes one NAR file may have here, when the server takes `most`. Refuses a cache that is full.
    pub(crate) fn upload_limit(&self, most: u64) -> Result<u64> {
        let used = self.stored_bytes();
        if let Some(limit) = self.limits.cache_bytes
            && used >= limit
        {
            return Err(Error::TooLarge(format!(
                "cache \"{}\" is full: {} of {} are used. Raise its limit, or let rules take out what is old",
                self.name,
                format::bytes(used),
                format::bytes(limit)
            )));
        }
        Ok(self.limits.upload_bytes.map_or(most, |limit| limit.min(most)))
    }

    /// Whether nobody needs a token to pull.
    pub fn is_public(&self) -> bool {
        self.visibility.is_public()
    }

    /// Whether everybody may pull, wherever they are: then proxies may keep what they saw and give it to others.
    pub fn is_for_everybody(&self) -> bool {
        self.is_public() && self.networks.is_everywhere()
    }

    /// What was asked of it since this process began.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    pub fn path_count(&self) -> u64 {
        self.state.path_count.load(Ordering::Relaxed).unsigned_abs()
    }

    /// Bytes of the NAR files of its paths.
    pub fn stored_bytes(&self) -> u64 {
        self.state.stored_bytes.load(Ordering::Relaxed).unsigned_abs()
    }
}

#[derive(Debug, Default)]
struct Snapshot {
    generation: i64,
    by_name: HashMap<Box<str>, Arc<Cache>>,
    by_id: HashMap<i64, Arc<Cache>>,
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    snapshot: ArcSwap<Snapshot>,
    /// One reads at a time: what was read earlier does not take the place of what was read later.
    turn: tokio::sync::Mutex<()>,
    /// Another server pushed or took out.
    counts_are_old: AtomicBool,
}

impl Directory {
    pub fn get(&self, name: &str) -> Option<Arc<Cache>> {
        self.snapshot.load().by_name.get(name).cloned()
    }

    pub fn get_by_id(&self, id: i64) -> Option<Arc<Cache>> {
        self.snapshot.load().by_id.get(&id).cloned()
    }

    /// All caches by name.
    pub fn all(&self) -> Vec<Arc<Cache>> {
        let mut caches: Vec<_> = self.snapshot.load().by_id.values().cloned().collect();
        caches.sort_by(|a, b| a.name.cmp(&b.name));
        caches
    }

    pub fn generation(&self) -> i64 {
        self.snapshot.load().generation
    }

    /// Reads the numbers of paths and bytes again. In memory they follow each change; one that is committed while everything is read
    /// again may be counted twice, until this comes.
    pub async fn recount(&self, db: &Db) -> Result<()> {
        let snapshot = self.snapshot.load();
        for row in db.cache_list().await? {
            if let Some(cache) = snapshot.by_id.get(&row.id) {
                cache.state.path_count.store(row.path_count, Ordering::Relaxed);
                cache.state.stored_bytes.store(row.stored_bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Notes that another server changed what there is.
    pub fn counts_changed(&self) {
        self.counts_are_old.store(true, Ordering::Relaxed);
    }

    /// Reads the numbers again where another server changed them.
    pub async fn recount_old(&self, db: &Db) -> Result<()> {
        if self.counts_are_old.swap(false, Ordering::Relaxed) { self.recount(db).await } else { Ok(()) }
    }

    /// Reads everything again. The generation is read first: a change during the load makes the next check load again.
    pub async fn reload(&self, db: &Db, master: &MasterKey) -> Result<()> {
        let _turn = self.turn.lock().await;
        let generation = db.generation().await?;
        let rows = db.cache_list().await?;
        let mut parts: HashMap<i64, Parts> = HashMap::new();
        for key in db.key_list().await? {
            parts.entry(key.cache_id).or_default().keys.push(key);
        }
        for key in db.client_key_list().await? {
            parts.entry(key.cache_id).or_default().client_keys.push(key);
        }
        for (cache_id, url) in db.upstream_list().await? {
            parts.entry(cache_id).or_default().upstreams.push(url);
        }
        let old = self.snapshot.load();
        let mut next = Snapshot { generation, ..Snapshot::default() };
        for row in rows {
            let state = old.by_id.get(&row.id).map(|cache| cache.state.clone()).unwrap_or_default();
            let parts = parts.remove(&row.id).unwrap_or_default();
            state.path_count.store(row.path_count, Ordering::Relaxed);
            state.stored_bytes.store(row.stored_bytes, Ordering::Relaxed);
            let cache = Arc::new(cache_from(row, parts, state, master)?);
            next.by_name.insert(cache.name.as_str().into(), cache.clone());
            next.by_id.insert(cache.id, cache);
        }
        self.snapshot.store(Arc::new(next));
        Ok(())
    }
}

/// What a signing key is sealed for; the database row cannot be given another name or cache.
pub(crate) fn sealing_purpose(cache: &str, key: &str) -> String {
    format!("signing key {key} of cache {cache}")
}

/// A key as the database keeps it.
pub(crate) fn sealed_key(master: &MasterKey, cache: &str, key: &SigningKey) -> NewKey {
    NewKey {
        name: key.name().to_owned(),
        public_key: *key.verifying_key().as_bytes(),
        sealed_seed: master.seal(&sealing_purpose(cache, key.name()), key.to_seed().as_slice()),
    }
}

/// The rows that belong to one cache.
#[derive(Default)]
struct Parts {
    keys: Vec<KeyRow>,
    client_keys: Vec<ClientKeyRow>,
    upstreams: Vec<String>,
}

fn cache_from(row: CacheRow, parts: Parts, state: Arc<CacheState>, master: &MasterKey) -> Result<Cache> {
    let broken = |what: String| Error::internal(format!("cache \"{}\" in the database: {what}", row.name));
    let public = |name: String, bytes: &[u8]| {
        let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| broken(format!("public key {name}")))?;
        VerifyingKey::from_bytes(name, &bytes).map_err(|error| broken(error.to_string()))
    };
    let (mut keys, mut retired_keys) = (Vec::new(), Vec::new());
    for key in parts.keys {
        if key.retired_at.is_some() {
            retired_keys.push(public(key.name, &key.public_key)?);
            continue;
        }
        let seed = master
            .open(&sealing_purpose(&row.name, &key.name), &key.sealed_seed)
            .and_then(|seed| <[u8; 32]>::try_from(seed.as_slice()).ok())
            .ok_or_else(|| broken(format!("the master key does not open signing key {}", key.name)))?;
        keys.push(SigningKey::from_seed(key.name, seed).map_err(|error| broken(error.to_string()))?);
    }
    let client_keys =
        parts.client_keys.into_iter().map(|key| public(key.name, &key.public_key)).collect::<Result<_>>()?;
    Ok(Cache {
        id: row.id,
        name: CacheName::parse(&row.name).map_err(|error| broken(error.to_string()))?,
        visibility: if row.is_public { Visibility::Public } else { Visibility::Private },
        priority: i32::try_from(row.priority).unwrap_or(i32::MAX),
        compression: if row.compression == "xz" { PreferredCompression::Xz } else { PreferredCompression::Zstd },
        created_at: Timestamp(row.created_at),
        keys,
        retired_keys,
        client_keys,
        is_lenient: row.is_lenient,
        client_filter_keys: row.client_filter_keys.split_ascii_whitespace().map(str::to_owned).collect(),
        upstreams: parts.upstreams,
        networks: Networks::parse(row.networks.split_ascii_whitespace()).map_err(|error| broken(error.to_string()))?,
        retention: Retention {
            pushed_days: row.keep_pushed_days.and_then(|days| u32::try_from(days).ok()),
            used_days: row.keep_used_days.and_then(|days| u32::try_from(days).ok()),
            bytes: row.keep_bytes.map(i64::unsigned_abs),
            revisions: row.keep_revisions.and_then(|count| u32::try_from(count).ok()),
        },
        limits: PushLimits {
            cache_bytes: row.most_bytes.map(i64::unsigned_abs),
            upload_bytes: row.most_upload_bytes.map(i64::unsigned_abs),
        },
        state,
    })
}
