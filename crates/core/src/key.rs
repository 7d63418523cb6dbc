//! The keys of caches: adding, importing and retiring those that the server signs with, registering those of people who sign
//! themselves, and signing again what is older than a key.

use crate::{
    Core,
    cache::fresh_key,
    caller::{Caller, Discretion},
    db::Resigned,
    directory::{Cache, sealed_key},
    error::{Error, Result},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use iglu_api::{
    Timestamp,
    cache::Permission,
    key::{KeyRow, KeyState},
};
use nix_compat::{
    nixhash::Sha256,
    signing::{Signature, SigningKey, VerifyingKey, fingerprint},
    store_path::{StorePath, StorePathHash},
};
use std::collections::BTreeSet;

/// A key is old enough to be known to every server that signs, in milliseconds: what comes later is signed as it comes. Each commit looks
/// whether there is a key that it did not sign with; this is for servers of a version that does not.
const KNOWN_EVERYWHERE: i64 = 10 * Timestamp::SECOND;
/// Paths signed again between two looks at other work.
const BATCHES: usize = 20;

/// The methods of the noun.
pub struct Keys<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn key(&self) -> Keys<'_> {
        Keys(self)
    }
}

impl Keys<'_> {
    /// All keys of a cache, retired ones too, in the order in which they came.
    pub async fn list(&self, caller: &Caller, cache: &str) -> Result<Vec<KeyRow>> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        let mut rows = Vec::new();
        for key in core.db.key_list().await?.into_iter().filter(|key| key.cache_id == cache.id) {
            let state = match (key.retired_at, key.resigned_at) {
                (Some(at), _) => KeyState::Retired { at: Timestamp(at) },
                (None, Some(_)) => KeyState::Active,
                (None, None) => {
                    let left = core.db.resign_count(cache.id, key.resigned_after).await?;
                    KeyState::Signing { paths_left: left.unsigned_abs() }
                }
            };
            let public_key = public_text(&key.name, &key.public_key)?;
            rows.push(KeyRow { name: key.name, public_key, state, created_at: Timestamp(key.created_at) });
        }
        for key in core.db.client_key_list().await?.into_iter().filter(|key| key.cache_id == cache.id) {
            let public_key = public_text(&key.name, &key.public_key)?;
            let state = KeyState::Client { registered_by: key.created_by };
            rows.push(KeyRow { name: key.name, public_key, state, created_at: Timestamp(key.created_at) });
        }
        Ok(rows)
    }

    /// Adds a fresh key. It signs what comes from now on, and by and by what is there.
    pub async fn add(&self, caller: &Caller, cache: &str) -> Result<()> {
        let cache = self.0.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let key = fresh_key(self.free_name(&cache).await?)?;
        self.insert(caller, &cache, &key, "key.add").await
    }

    /// Adds a key that signed for this cache elsewhere, as `name:base64`, so that its users need not change what they trust.
    pub async fn import(&self, caller: &Caller, cache: &str, secret: &str) -> Result<()> {
        let cache = self.0.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let key = SigningKey::parse(secret.trim())
            .map_err(|error| Error::invalid("secret", format!("this is no secret key (name:base64): {error}")))?;
        if cache.public_key(key.name()).is_some() {
            let message = format!("cache \"{}\" has a key \"{}\" already", cache.name, key.name());
            return Err(Error::Conflict { field: "secret", message });
        }
        self.insert(caller, &cache, &key, "key.import").await
    }

    async fn insert(&self, caller: &Caller, cache: &Cache, key: &SigningKey, action: &'static str) -> Result<()> {
        let core = self.0;
        let name = cache.name.as_str();
        let new = sealed_key(&core.master, name, key);
        let audit = core.audit(caller, action, &format!("{} of {name}", key.name())).of(cache.id);
        core.db.key_insert(cache.id, &new, &audit).await?;
        core.directory.reload(&core.db, &core.master).await
    }

    /// Takes a key out of use: it signs nothing more and is no longer handed out. What it signed keeps its signature. The last
    /// one stays, and a key stays until another has signed everything.
    pub async fn retire(&self, caller: &Caller, cache: &str, name: &str) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let conflict = |message: String| Err(Error::Conflict { field: "name", message });
        let audit = core.audit(caller, "key.retire", &format!("{name} of {}", cache.name)).of(cache.id);
        let retired = if cache.client_keys.iter().any(|key| key.name() == name) {
            if cache.keys.is_empty() && cache.client_keys.len() == 1 {
                return conflict(format!("{name} is the only key of cache \"{}\"; add another first", cache.name));
            }
            core.db.client_key_delete(cache.id, name, &audit).await?
        } else {
            let keys = core.db.key_list().await?;
            let others =
                keys.iter().filter(|key| key.cache_id == cache.id && key.retired_at.is_none() && key.name != name);
            let others: Vec<_> = others.collect();
            if others.is_empty() {
                return conflict(format!("{name} is the only key of cache \"{}\"; add another first", cache.name));
            }
            if others.iter().all(|key| key.resigned_at.is_none()) {
                return conflict(format!(
                    "no other key has signed all paths of cache \"{}\" yet; wait until it has, or clients would miss some",
                    cache.name
                ));
            }
            if !keys.iter().any(|key| key.cache_id == cache.id && key.retired_at.is_none() && key.name == name) {
                false
            } else if core.db.key_retire(cache.id, name, &audit).await? {
                true
            } else {
                return conflict(format!(
                    "the keys of cache \"{}\" were changed at the same moment; look again",
                    cache.name
                ));
            }
        };
        if !retired {
            return Err(Error::NotFound(format!(
                "cache \"{}\" has no active key \"{}\"",
                cache.name,
                name.escape_default()
            )));
        }
        core.directory.reload(&core.db, &core.master).await
    }

    /// Registers the public key (base64, with or without a name) of somebody who signs before pushing, and gives it a name. The
    /// same key again is fine.
    pub async fn register(&self, caller: &Caller, cache: &str, public_key: &str) -> Result<String> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let digits = public_key.trim().rsplit(':').next().unwrap_or_default();
        let public_key = STANDARD.decode(digits).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let public_key =
            &public_key.ok_or_else(|| Error::invalid("public_key", "a public key is 32 bytes as base64"))?;
        if let Some(known) = cache.client_keys.iter().find(|key| key.as_bytes() == public_key) {
            return Ok(known.name().to_owned());
        }
        if cache.client_keys.len() >= 16 {
            let message = format!("cache \"{}\" has 16 keys of clients already; retire one first", cache.name);
            return Err(Error::Conflict { field: "public_key", message });
        }
        let name = self.free_name(&cache).await?;
        VerifyingKey::from_bytes(name.clone(), public_key)
            .map_err(|error| Error::invalid("public_key", format!("this is no public key: {error}")))?;
        let audit = core.audit(caller, "key.register", &format!("{name} of {}", cache.name)).of(cache.id);
        core.db.client_key_insert(cache.id, &name, public_key, &audit).await?;
        core.directory.reload(&core.db, &core.master).await?;
        Ok(name)
    }

    /// The first name of the usual form that no key of the cache ever had.
    async fn free_name(&self, cache: &Cache) -> Result<String> {
        let address = self.0.address();
        let name = (1..).map(|number| address.key_name(&cache.name, number));
        let free = name.take(1000).find(|name| cache.public_key(name).is_none());
        free.ok_or_else(|| Error::invalid("name", "this cache had a thousand keys"))
    }
}

impl Core {
    /// How many signatures of paths are to come, of all keys that are new to a cache.
    pub async fn signatures_due(&self) -> Result<u64> {
        let mut due = 0;
        for key in
            self.db.key_list().await?.into_iter().filter(|key| key.resigned_at.is_none() && key.retired_at.is_none())
        {
            due += self.db.resign_count(key.cache_id, key.resigned_after).await?.unsigned_abs();
        }
        Ok(due)
    }
}

/// Signs what is older than a key. A bounded piece of work; true when more is left.
pub(crate) async fn resign_some(core: &Core) -> Result<bool> {
    let unfinished = core.db.key_list().await?;
    let unfinished = unfinished.into_iter().filter(|key| key.resigned_at.is_none() && key.retired_at.is_none());
    for row in unfinished {
        let Some(cache) = core.directory.get_by_id(row.cache_id) else { continue };
        let Some(key) = cache.keys.iter().find(|key| key.name() == row.name) else { continue };
        let mut after = row.resigned_after;
        for _ in 0..BATCHES {
            let paths = core.db.resign_list(cache.id, after).await?;
            let Some(last) = paths.last().map(|path| path.id) else {
                let known = core.now().0 - row.created_at >= KNOWN_EVERYWHERE;
                if known {
                    core.db.resign_end(row.id, after, core.now().0).await?;
                }
                break;
            };
            let mut resigned = Vec::new();
            let mut hashes = Vec::new();
            for path in paths {
                let (hash, new) = signed_again(key, &path)?;
                if new != path.signatures {
                    hashes.push(hash);
                    resigned.push(Resigned { path_id: path.id, old: path.signatures, new });
                }
            }
            let is_whole = core.db.resign((cache.id, row.id), &resigned, last).await?;
            core.forget_paths(&cache, &hashes);
            if !is_whole {
                return Ok(true);
            }
            core.totals.signatures.add(hashes.len() as u64);
            after = last;
        }
        if after != row.resigned_after {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The signature lines of a path with one more of `key`.
fn signed_again(key: &SigningKey, row: &crate::db::SignedRow) -> Result<(StorePathHash, String)> {
    let broken = || Error::internal(format!("store path {}-{} in the database cannot be read", row.hash, row.name));
    let store_path = StorePath::parse(&format!("{}-{}", row.hash, row.name)).map_err(|_| broken())?;
    let nar_hash = <[u8; 32]>::try_from(row.nar_hash.as_slice()).map(Sha256::from_bytes).map_err(|_| broken())?;
    let references = row.refs.split(' ').filter(|name| !name.is_empty()).map(StorePath::parse);
    let references = references.collect::<Result<Vec<_>, _>>().map_err(|_| broken())?;
    let mut lines: BTreeSet<&str> = row.signatures.lines().collect();
    let line = key.sign(&fingerprint(&store_path, &nar_hash, row.nar_size.unsigned_abs(), &references)).to_string();
    if !lines.iter().any(|line| Signature::parse(line).is_ok_and(|known| known.key_name == key.name())) {
        lines.insert(&line);
    }
    Ok((store_path.hash(), lines.into_iter().collect::<Vec<_>>().join("\n")))
}

fn public_text(name: &str, bytes: &[u8]) -> Result<String> {
    let broken = || Error::internal(format!("key {name} in the database cannot be read"));
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| broken())?;
    VerifyingKey::from_bytes(name, &bytes).map(|key| key.to_string()).map_err(|_| broken())
}
