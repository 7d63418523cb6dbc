//! Caches: create, list, look at. Who may pull from them and what signs for them is decided here.

use crate::{
    Address, Core,
    caller::{Caller, Discretion},
    clock,
    db::{self, CacheUpdate, NewCache},
    directory::{Cache, sealed_key},
    error::{Error, Result},
    network::Networks,
};
use iglu_api::{
    Timestamp,
    cache::{CacheChange, CacheCreate, CacheDetail, CacheSummary, Permission, Signing, Traffic},
};
use nix_compat::signing::{SigningKey, is_key_name};
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

    /// Creates a cache, with a fresh signing key unless those who push sign.
    pub async fn create(&self, caller: &Caller, create: &CacheCreate) -> Result<()> {
        caller.require_instance_admin("creating a cache")?;
        self.create_unchecked(caller, create).await
    }

    /// Creates a cache that signs with a key it had elsewhere.
    pub async fn create_with_key(&self, caller: &Caller, create: &CacheCreate, key: &SigningKey) -> Result<()> {
        caller.require_instance_admin("creating a cache")?;
        self.insert(caller, create, Some(key)).await
    }

    pub(crate) async fn create_unchecked(&self, caller: &Caller, create: &CacheCreate) -> Result<()> {
        let key = match create.signing {
            Signing::Server => Some(fresh_key(self.0.address().key_name(&create.name, 1))?),
            Signing::Client => None,
        };
        self.insert(caller, create, key.as_ref()).await
    }

    async fn insert(&self, caller: &Caller, create: &CacheCreate, key: Option<&SigningKey>) -> Result<()> {
        let core = self.0;
        check_filter_keys(&create.client_filter_keys)?;
        let name = create.name.as_str();
        let new = NewCache {
            name,
            is_public: create.visibility.is_public(),
            priority: create.priority.into(),
            compression: create.compression.as_str(),
            client_filter_keys: &create.client_filter_keys.join(" "),
            key: key.map(|key| sealed_key(&core.master, name, key)),
        };
        core.db.cache_insert(&new, &core.audit(caller, "cache.create", name)).await?;
        core.directory.reload(&core.db, &core.master).await
    }

    /// Whether a change could be made, whatever the cache.
    pub fn check(&self, change: &CacheChange) -> Result<()> {
        if let Some(keys) = &change.client_filter_keys {
            check_filter_keys(keys)?;
        }
        if let Some(networks) = &change.networks {
            Networks::parse(networks.iter().map(String::as_str))?;
        }
        match &change.upstreams {
            Some(urls) => checked_upstreams(urls, &self.0.address()).map(drop),
            None => Ok(()),
        }
    }

    /// Changes what the caller names of a cache, and nothing else.
    pub async fn change(&self, caller: &Caller, name: &str, change: &CacheChange) -> Result<()> {
        let core = self.0;
        let cache = self.open(caller, name, Permission::Admin, Discretion::Hide).await?;
        self.check(change)?;
        let upstreams = match &change.upstreams {
            Some(urls) => checked_upstreams(urls, &core.address())?,
            None => cache.upstreams.clone(),
        };
        let networks = match &change.networks {
            Some(networks) => Networks::parse(networks.iter().map(String::as_str))?,
            None => cache.networks.clone(),
        };
        if networks != cache.networks && !caller.is_let_in(&networks) {
            let address = caller.address();
            let message =
                format!("your own address, {address}, is in none of these networks: you would shut yourself out");
            return Err(Error::invalid("networks", message));
        }
        let update = CacheUpdate {
            is_public: change.visibility.unwrap_or(cache.visibility).is_public(),
            priority: change.priority.unwrap_or(cache.priority).into(),
            is_lenient: change.is_lenient.unwrap_or(cache.is_lenient),
            client_filter_keys: change.client_filter_keys.as_ref().unwrap_or(&cache.client_filter_keys).join(" "),
            upstreams,
            networks: networks.texts().join(" "),
        };
        let audit = core.audit(caller, "cache.change", name).of(cache.id);
        core.db.cache_update(cache.id, &update, &audit).await?;
        core.directory.reload(&core.db, &core.master).await?;
        // What waited for references may be seen now.
        core.narinfos.clear();
        Ok(())
    }

    /// Removes a cache with all its paths: at once for everybody, bit by bit on the disk.
    pub async fn remove(&self, caller: &Caller, name: &str) -> Result<()> {
        let core = self.0;
        let cache = self.open(caller, name, Permission::Own, Discretion::Hide).await?;
        let audit = core.audit(caller, "cache.remove", name).of(cache.id);
        if !core.db.cache_hide(cache.id, &audit).await? {
            return Err(caller.unknown_cache(name, Permission::Own, Discretion::Hide));
        }
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

    /// The names of the caches that the caller may pull from, in their order. From memory: every page asks.
    pub fn names(&self, caller: &Caller) -> Vec<iglu_api::CacheName> {
        let caches = self.0.directory.all().into_iter().filter(|cache| caller.permission(cache).is_some());
        caches.map(|cache| cache.name.clone()).collect()
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
            is_lenient: cache.is_lenient,
            client_filter_keys: cache.client_filter_keys.clone(),
            upstreams: cache.upstreams.clone(),
            networks: cache.networks.texts(),
            signing: if cache.keys.is_empty() { Signing::Client } else { Signing::Server },
            permission: caller.permission(&cache),
        })
    }
}

/// Each key that vouches for paths of the cache, as `trusted-public-keys` takes it.
pub fn public_keys(cache: &Cache) -> Vec<String> {
    let own = cache.keys.iter().map(|key| key.verifying_key().to_string());
    own.chain(cache.client_keys.iter().map(ToString::to_string)).collect()
}

pub(crate) fn fresh_key(name: String) -> Result<SigningKey> {
    SigningKey::from_seed(name, clock::random())
        .map_err(|error| Error::internal(format!("a key name made from the public URL: {error}")))
}

fn check_filter_keys(names: &[String]) -> Result<()> {
    match names.iter().find(|name| !is_key_name(name) || name.len() > 255) {
        Some(wrong) => {
            let wrong: String = wrong.chars().take(60).flat_map(char::escape_default).collect();
            Err(Error::invalid("client_filter_keys", format!("\"{wrong}\" is no key name, such as cache.nixos.org-1")))
        }
        None if names.len() > 32 => Err(Error::invalid("client_filter_keys", "at most 32 key names are taken")),
        None => Ok(()),
    }
}

/// Upstream URLs without trailing slashes, each once.
fn checked_upstreams(urls: &[String], address: &Address) -> Result<Vec<String>> {
    let mut checked = Vec::new();
    for url in urls {
        let url = url.trim().trim_end_matches('/');
        let refuse =
            |why: &str| Err(Error::invalid("upstreams", format!("upstream \"{}\" {why}", url.escape_default())));
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if !host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
            return refuse("is no URL of a cache, such as https://cache.nixos.org");
        }
        if url.len() > 500 || url.contains(|c: char| c.is_control() || c == ' ' || matches!(c, '?' | '#' | '@')) {
            return refuse("has a blank, a query, credentials or more than 500 bytes");
        }
        if address.is_own(url) {
            return refuse("is on this server; a cache cannot sit on top of its own server");
        }
        if !checked.iter().any(|known| known == url) {
            checked.push(url.to_owned());
        }
    }
    if checked.len() > 8 {
        return Err(Error::invalid("upstreams", "at most 8 upstreams are asked"));
    }
    Ok(checked)
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
