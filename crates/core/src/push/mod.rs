//! The push: one machine for every protocol. An upload row stands before the first byte; bytes are staged and read back;
//! what they are is compared with what was claimed; only then one transaction publishes the path.

mod multipart;
mod put;
mod verify;

pub(crate) use multipart::Completing;
pub use multipart::{CompletedPart, PartUrl, UploadId};
pub use put::NarFileName;

use crate::{
    Core,
    blob::Space,
    caller::Caller,
    db::{Commit, Committed},
    directory::Cache,
    error::{Error, Result},
};
use iglu_api::event::LiveEvent;
use nix_compat::{
    compression::Compression,
    content_address::ContentAddress,
    nixhash::Sha256,
    signing::{self, Signature},
    store_path::{StorePath, StorePathHash},
};
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// The methods of the noun.
pub struct Pushes<'a>(pub(crate) &'a Core);

/// What a client says about the NAR file that it uploads. Nothing of it is believed before the bytes agree.
#[derive(Clone, Debug)]
pub struct Claim {
    pub store_path: StorePath,
    pub nar_hash: Sha256,
    pub nar_size: u64,
    /// Of the compressed file.
    pub file_hash: Option<Sha256>,
    pub file_size: Option<u64>,
    pub compression: Compression,
    /// Sorted, without duplicates; the path itself among them if it mentions itself.
    pub references: Vec<StorePath>,
    pub deriver: Option<StorePath>,
    pub ca: Option<ContentAddress>,
    pub signatures: Vec<Signature>,
}

impl Claim {
    /// What is signed.
    pub fn fingerprint(&self) -> String {
        signing::fingerprint(&self.store_path, &self.nar_hash, self.nar_size, &self.references)
    }

    /// The references that must be in the cache: all but the path itself.
    fn awaits(&self) -> Vec<String> {
        let others = self.references.iter().filter(|reference| **reference != self.store_path);
        others.map(|reference| reference.hash().to_string()).collect()
    }

    fn refs(&self) -> String {
        self.references.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// What a push did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The path is in the cache; `visible` unless it waits for references.
    New { visible: bool },
    /// The cache had it before, and keeps what it had.
    Existing,
}

impl Pushes<'_> {
    /// Free and total bytes of the storage.
    pub fn space(&self) -> Result<Space> {
        self.0.blob.space()
    }

    /// How many multipart uploads are open.
    pub async fn open_count(&self) -> Result<u64> {
        Ok(self.0.db.upload_open_count().await?.unsigned_abs())
    }

    /// Signatures to keep: those of others as they are, and ours for every key. One that carries the name of a key of
    /// this cache and does not verify is refused: it is forged or of other bytes.
    fn signatures(&self, cache: &Cache, claim: &Claim) -> Result<String> {
        let fingerprint = claim.fingerprint();
        let mut lines = BTreeSet::new();
        for signature in &claim.signatures {
            match cache.keys.iter().find(|key| key.name() == signature.key_name) {
                Some(key) if !key.verifying_key().verify(&fingerprint, signature) => {
                    return Err(self.refused(format!("signature by {} is wrong for {}", key.name(), claim.store_path)));
                }
                _ => lines.insert(signature.to_string()),
            };
        }
        lines.extend(cache.keys.iter().map(|key| key.sign(&fingerprint).to_string()));
        Ok(lines.into_iter().collect::<Vec<_>>().join("\n"))
    }

    /// A claim that the bytes do not bear out.
    fn refused(&self, message: String) -> Error {
        self.0.totals.verification_failures.add(1);
        Error::Invalid { field: "", message }
    }

    /// The last step of every push.
    async fn publish(&self, push: &Publish<'_>) -> Result<Published> {
        let core = self.0;
        let Publish { cache, claim, found, .. } = push;
        let store_path = &claim.store_path;
        let hash = store_path.hash().to_string();
        let (refs, awaits) = (claim.refs(), claim.awaits());
        let (deriver, ca) =
            (claim.deriver.as_ref().map(ToString::to_string), claim.ca.as_ref().map(ToString::to_string));
        let signatures = self.signatures(cache, claim)?;
        let commit = Commit {
            cache_id: cache.id,
            hash: &hash,
            name: store_path.name(),
            nar_hash: claim.nar_hash.as_bytes(),
            nar_size: signed(claim.nar_size),
            file_hash: found.file_hash.as_bytes(),
            file_size: signed(found.file_size),
            compression: claim.compression.as_str(),
            listing: found.listing.as_deref(),
            refs: &refs,
            awaits: &awaits,
            deriver: deriver.as_deref(),
            ca: ca.as_deref(),
            signatures: &signatures,
            pushed_by: push.pushed_by,
            now: core.now().0,
            upload_id: push.upload_id,
            hold: push.hold,
        };
        match core.db.path_commit(&commit).await? {
            Committed::New { visible } => {
                self.announce(cache, &visible).await;
                cache.state.counters.pushed_paths.add(1);
                cache.state.path_count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                cache.state.stored_bytes.fetch_add(commit.file_size, std::sync::atomic::Ordering::Relaxed);
                Ok(Published::New { visible: visible.contains(&hash) })
            }
            // Forgotten whether or not this push changed it: an earlier one may have ended between commit and here.
            Committed::Existing => {
                core.narinfos.forget(cache, &[store_path.hash()]);
                Ok(Published::Existing)
            }
            Committed::Missing(missing) => {
                let named: BTreeSet<String> = missing.into_iter().collect();
                let missing = claim.references.iter().filter(|path| named.contains(&StorePath::hash(path).to_string()));
                let missing = missing.take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let more = if named.len() > 5 { format!(" and {} more", named.len() - 5) } else { String::new() };
                Err(self.refused(format!(
                    "{store_path} refers to {missing}{more}, not in cache \"{}\"; push it first (a client that believes it is here asks again with --refresh)",
                    cache.name
                )))
            }
        }
    }

    /// Makes newly visible paths visible in this process too, and tells live pages.
    async fn announce(&self, cache: &Cache, visible: &[String]) {
        /// Rows that one commit tells live pages about; a page that missed some shows them when it loads.
        const MOST_TOLD: usize = 50;
        let core = self.0;
        let hashes: Vec<_> = visible.iter().filter_map(|hash| StorePathHash::parse(hash).ok()).collect();
        core.narinfos.forget(cache, &hashes);
        if core.events.listeners() == 0 {
            return;
        }
        for hash in visible.iter().take(MOST_TOLD) {
            if let Ok(Some(path)) = core.db.path_row(cache.id, hash).await {
                core.events.send(LiveEvent::PathPushed { cache: cache.name.clone(), path });
            }
        }
    }
}

/// What is handed to the last step.
struct Publish<'a> {
    cache: &'a Cache,
    claim: &'a Claim,
    found: &'a verify::Found,
    pushed_by: &'a str,
    upload_id: Option<i64>,
    /// Whether missing references keep the path back, or refuse it.
    hold: bool,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Who pushed, as lists show it.
fn pushed_by(caller: &Caller) -> String {
    caller.label()
}

/// Lets one task at a time work on the same thing; a second waits and then finds it done.
#[derive(Debug)]
pub(crate) struct KeyedLock<K>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedLock<K> {
    fn default() -> Self {
        KeyedLock(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> KeyedLock<K> {
    pub async fn lock(&self, key: K) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Locks that only the map holds are nobody's.
            if locks.len() > 1024 {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            locks.entry(key).or_default().clone()
        };
        lock.lock_owned().await
    }
}
