//! What is left to do where the master key is lost: signing keys that nobody can open any more are retired, and their caches get new ones.
//! What the lost ones signed keeps its signature. It works on a database that no server runs on, since none would start.

use crate::{
    cache::fresh_key,
    db::{Audit, Db, KeyRow, Location, NewKey, Opening},
    directory::sealing_purpose,
    error::{Error, Result},
    secret::MasterKey,
};
use iglu_api::Timestamp;
use nix_compat::signing::SigningKey;
use serde::Serialize;

/// A cache with signing keys that the master key does not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostKeys {
    pub cache: String,
    /// Their names.
    pub lost: Vec<String>,
    /// What machines have to trust from now on, as `name:base64`. `None` where nothing was changed, or another key of the cache goes on.
    pub public_key: Option<String>,
}

/// Which signing keys `master` does not open; all of them where there is none.
///
/// # Errors
/// [`Error::Conflict`] while a server runs.
pub async fn find(location: &Location, master: Option<&MasterKey>) -> Result<Vec<LostKeys>> {
    work(location, master, None).await
}

/// Retires those keys, and makes a new one for each cache that has no other. It signs what is there by and by, as soon as a server runs.
///
/// # Errors
/// [`Error::Conflict`] while a server runs.
pub async fn replace(location: &Location, master: &MasterKey, at: Timestamp) -> Result<Vec<LostKeys>> {
    work(location, Some(master), Some(at)).await
}

async fn work(location: &Location, master: Option<&MasterKey>, at: Option<Timestamp>) -> Result<Vec<LostKeys>> {
    let (db, _) = Db::open(location, Opening::default()).await?;
    // Held to the end, so that none begins meanwhile.
    let mut candidacy = db.candidacy().await?;
    if let Some(candidacy) = &mut candidacy
        && !candidacy.try_lead().await?
    {
        let message = "a server runs on this database; stop every one of them first".to_owned();
        return Err(Error::Conflict { field: "", message });
    }
    let keys = db.key_list().await?;
    let mut found = Vec::new();
    for cache in db.cache_list().await? {
        let of_cache = || keys.iter().filter(|key| key.cache_id == cache.id);
        let (good, lost): (Vec<&KeyRow>, Vec<&KeyRow>) =
            of_cache().filter(|key| key.retired_at.is_none()).partition(|key| {
                let purpose = sealing_purpose(&cache.name, &key.name);
                master.is_some_and(|master| master.open(&purpose, &key.sealed_seed).is_some())
            });
        let Some(last) = lost.last() else { continue };
        let mut public_key = None;
        if let (Some(at), Some(master)) = (at, master) {
            let fresh = good.is_empty().then(|| fresh_key(next_name(&last.name, of_cache()))).transpose()?;
            let audit = Audit {
                at: at.0,
                actor: "operator".to_owned(),
                action: "key.replace",
                object: format!("{} of {}", names(&lost).join(", "), cache.name),
                address: String::new(),
                cache_id: Some(cache.id),
            };
            let sealed = fresh.as_ref().map(|key| sealed(master, &cache.name, key));
            let new = fresh.as_ref().zip(sealed.as_ref()).map(|(key, (public_key, sealed_seed))| NewKey {
                name: key.name(),
                public_key,
                sealed_seed,
            });
            let ids: Vec<i64> = lost.iter().map(|key| key.id).collect();
            db.keys_replace(cache.id, &ids, new.as_ref(), &audit).await?;
            public_key = fresh.map(|key| key.verifying_key().to_string());
        }
        found.push(LostKeys { cache: cache.name.clone(), lost: names(&lost), public_key });
    }
    if let Some(candidacy) = candidacy {
        candidacy.end().await;
    }
    db.close().await;
    Ok(found)
}

fn names(keys: &[&KeyRow]) -> Vec<String> {
    keys.iter().map(|key| key.name.clone()).collect()
}

/// The public part, and the sealed secret one.
fn sealed(master: &MasterKey, cache: &str, key: &SigningKey) -> ([u8; 32], Vec<u8>) {
    let sealed_seed = master.seal(&sealing_purpose(cache, key.name()), key.to_seed().as_slice());
    (*key.verifying_key().as_bytes(), sealed_seed)
}

/// The name of a key with the next number that no key of the cache had.
fn next_name<'a>(name: &str, taken: impl Iterator<Item = &'a KeyRow> + Clone) -> String {
    let stem = name.rsplit_once('-').filter(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()));
    let stem = stem.map_or(name, |(stem, _)| stem);
    let mut number = 2;
    loop {
        let next = format!("{stem}-{number}");
        if !taken.clone().any(|key| key.name == next) {
            return next;
        }
        number += 1;
    }
}
