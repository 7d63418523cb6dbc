//! Caches: create, list, look at. Who may pull from them and what signs for them is decided here.

use crate::{
    Core,
    caller::{Caller, Client, Discretion},
    clock,
    db::{self, NewCache, NewKey},
    directory::{Cache, sealing_purpose},
    error::Result,
};
use iglu_api::{
    Timestamp,
    cache::{CacheCreate, CacheDetail, CacheSummary, Permission, Traffic},
};
use nix_compat::signing::SigningKey;
use std::{collections::HashMap, sync::Arc};

/// The methods of the noun.
pub struct Caches<'a>(pub(crate) &'a Core);

impl Caches<'_> {
    /// The cache `name`, if the caller has `needed` on it.
    pub async fn open(&self, caller: &Caller, name: &str, needed: Permission, how: Discretion) -> Result<Arc<Cache>> {
        match self.find(name).await? {
            Some(cache) => caller.require(&cache, needed, how).map(|()| cache),
            None => Err(caller.unknown_cache(name, needed, how)),
        }
    }

    /// From memory; a name that memory does not know is looked for once more where another process changed caches.
    async fn find(&self, name: &str) -> Result<Option<Arc<Cache>>> {
        let core = self.0;
        if let Some(cache) = core.directory.get(name) {
            return Ok(Some(cache));
        }
        if iglu_api::CacheName::parse(name).is_ok() && core.db.generation().await? != core.directory.generation() {
            core.refresh().await?;
        }
        Ok(core.directory.get(name))
    }

    /// Creates a cache with a fresh signing key.
    pub async fn create(&self, caller: &Caller, create: &CacheCreate) -> Result<()> {
        caller.require_instance_admin("creating a cache")?;
        self.create_unchecked(caller, create, &Client::default()).await
    }

    pub(crate) async fn create_unchecked(&self, caller: &Caller, create: &CacheCreate, client: &Client) -> Result<()> {
        let core = self.0;
        let key_name = core.address().key_name(&create.name, 1);
        let key = SigningKey::from_seed(key_name, clock::random())
            .map_err(|error| crate::Error::internal(format!("a key name made from the public URL: {error}")))?;
        let sealed_seed =
            core.master.seal(&sealing_purpose(create.name.as_str(), key.name()), key.to_seed().as_slice());
        let public_key = key.verifying_key();
        let new = NewCache {
            name: create.name.as_str(),
            is_public: create.visibility.is_public(),
            priority: create.priority.into(),
            compression: create.compression.as_str(),
            key: NewKey { name: key.name(), public_key: public_key.as_bytes(), sealed_seed: &sealed_seed },
        };
        core.db.cache_insert(&new, &core.audit(caller, "cache.create", create.name.as_str(), client)).await?;
        core.directory.reload(&core.db, &core.master).await
    }

    /// The caches that the caller may pull from, by name.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<CacheSummary>> {
        let core = self.0;
        let traffic: HashMap<i64, Traffic> = core.traffic_30_days().await?;
        let mut summaries = Vec::new();
        for row in core.db.cache_list().await? {
            let Some(cache) = self.find(&row.name).await? else { continue };
            if caller.permission(&cache).is_some() {
                summaries.push(summary(&cache, &row, traffic.get(&row.id).copied().unwrap_or_default()));
            }
        }
        Ok(summaries)
    }

    /// One cache with what its page and the cachix record need.
    pub async fn get(&self, caller: &Caller, name: &str) -> Result<CacheDetail> {
        let core = self.0;
        let cache = self.open(caller, name, Permission::Pull, Discretion::Hide).await?;
        let traffic = core.traffic_30_days().await?.get(&cache.id).copied().unwrap_or_default();
        let row = core.db.cache_list().await?.into_iter().find(|row| row.id == cache.id);
        let row = row.ok_or_else(|| caller.unknown_cache(name, Permission::Pull, Discretion::Hide))?;
        Ok(CacheDetail {
            summary: summary(&cache, &row, traffic),
            uri: core.address().cache_uri(&cache.name),
            public_url: core.public_url(),
            public_keys: public_keys(&cache),
            compression: cache.compression,
            permission: caller.permission(&cache),
        })
    }
}

/// Each of the cache's keys as `trusted-public-keys` takes it.
pub fn public_keys(cache: &Cache) -> Vec<String> {
    cache.keys.iter().map(|key| key.verifying_key().to_string()).collect()
}

fn summary(cache: &Cache, row: &db::CacheRow, traffic: Traffic) -> CacheSummary {
    CacheSummary {
        name: cache.name.clone(),
        visibility: cache.visibility,
        priority: cache.priority,
        created_at: cache.created_at,
        path_count: row.path_count.unsigned_abs(),
        stored_bytes: row.stored_bytes.unsigned_abs(),
        last_push_at: row.last_push_at.map(Timestamp),
        traffic,
    }
}
