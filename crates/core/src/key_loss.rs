//! What is left to do where the master key is lost: signing keys that nobody can open any more are retired, and their caches get new ones.
//! What the lost ones signed keeps its signature. It works on a database that no server runs on, since none would start.

use crate::{
    cache::fresh_key,
    db::{Audit, Db, KeyRow, Location, Opening, ReplacedKeys},
    directory::{sealed_key, sealing_purpose},
    error::{Error, Result},
    secret::MasterKey,
};
use iglu_api::Timestamp;
use serde::Serialize;
use std::collections::HashSet;

/// A cache with signing keys that the master key does not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostKeys {
    pub cache: String,
    /// Their names.
    pub lost: Vec<String>,
    /// What machines have to trust from now on, as `name:base64`. `None` where nothing was changed, or another key of the cache goes on.
    pub public_key: Option<String>,
}

/// Whether anything in a database was sealed by a master key. The schema is brought up to date, as it is when a server starts.
pub async fn is_needed(location: &Location, opening: Opening) -> Result<bool> {
    let (db, _) = Db::open(location, opening).await?;
    let is_needed = db.has_sealed().await;
    db.close().await;
    is_needed
}

/// Which signing keys `master` does not open.
///
/// # Errors
/// [`Error::Conflict`] while a server runs on PostgreSQL.
pub async fn find(location: &Location, master: &MasterKey) -> Result<Vec<LostKeys>> {
    // Who only looks changes no schema.
    let opening = Opening { migrates: false, ..Opening::default() };
    work(location, opening, master, None).await
}

/// Retires those keys, and makes a new one for each cache that has no other: all of it or nothing. New keys sign what is there by and by,
/// as soon as a server runs.
///
/// # Errors
/// [`Error::Conflict`] while a server runs on PostgreSQL.
pub async fn replace(
    location: &Location,
    opening: Opening,
    master: &MasterKey,
    at: Timestamp,
) -> Result<Vec<LostKeys>> {
    work(location, opening, master, Some(at)).await
}

async fn work(
    location: &Location,
    opening: Opening,
    master: &MasterKey,
    at: Option<Timestamp>,
) -> Result<Vec<LostKeys>> {
    let (db, _) = Db::open(location, opening).await?;
    // A server would go on with the keys that it remembers. Nothing keeps one from starting later: it reads the new ones.
    if !db.is_alone().await? {
        let message = "a server, or a command, runs on this database; stop every one of them first".to_owned();
        return Err(Error::Conflict { field: "", message });
    }
    let (keys, client_keys) = (db.key_list().await?, db.client_key_list().await?);
    let (mut found, mut replaced) = (Vec::new(), Vec::new());
    for cache in db.cache_list().await? {
        let of_cache = keys.iter().filter(|key| key.cache_id == cache.id);
        let mut taken: HashSet<&str> = of_cache.clone().map(|key| key.name.as_str()).collect();
        taken.extend(client_keys.iter().filter(|key| key.cache_id == cache.id).map(|key| key.name.as_str()));
        let (good, lost): (Vec<&KeyRow>, Vec<&KeyRow>) = of_cache
            .filter(|key| key.retired_at.is_none())
            .partition(|key| master.open(&sealing_purpose(&cache.name, &key.name), &key.sealed_seed).is_some());
        let Some(last) = lost.last() else { continue };
        let names: Vec<String> = lost.iter().map(|key| key.name.clone()).collect();
        let mut public_key = None;
        if let Some(at) = at {
            let fresh = good.is_empty().then(|| fresh_key(next_name(&last.name, &taken))).transpose()?;
            public_key = fresh.as_ref().map(|key| key.verifying_key().to_string());
            replaced.push(ReplacedKeys {
                cache_id: cache.id,
                lost: lost.iter().map(|key| key.id).collect(),
                new: fresh.map(|key| sealed_key(master, &cache.name, &key)),
                audit: Audit {
                    at: at.0,
                    actor: "operator".to_owned(),
                    action: "key.replace",
                    object: format!("{} of {}", names.join(", "), cache.name),
                    address: String::new(),
                    cache_id: Some(cache.id),
                },
            });
        }
        found.push(LostKeys { cache: cache.name.clone(), lost: names, public_key });
    }
    db.keys_replace(&replaced).await?;
    db.close().await;
    Ok(found)
}

/// The name of a key with the next number that is not taken.
fn next_name(name: &str, taken: &HashSet<&str>) -> String {
    let stem = name.rsplit_once('-').filter(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()));
    let stem = stem.map_or(name, |(stem, _)| stem);
    let mut number = 2;
    loop {
        let next = format!("{stem}-{number}");
        if !taken.contains(next.as_str()) {
            return next;
        }
        number += 1;
    }
}
