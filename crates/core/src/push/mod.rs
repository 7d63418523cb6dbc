//! The push: one machine for every protocol. An upload row stands before the first byte; bytes are staged and read back;
//! what they are is compared with what was claimed; only then one transaction publishes the path.

mod import;
mod legacy;
mod multipart;
mod proof;
mod put;
mod stream;
mod verify;

pub use import::{Held, Present};
pub(crate) use multipart::Completing;
pub use multipart::{CompletedPart, PartUrl, UploadId};
pub use put::NarFileName;
pub use stream::Streamed;

use crate::{
    Core,
    blob::Space,
    caller::Caller,
    db::{Commit, Committed, NewFile, Outcome},
    directory::{Cache, KeyOf},
    error::{Error, Result},
};
use iglu_api::{Timestamp, event::LiveEvent};
use nix_compat::{
    compression::Compression,
    content_address::ContentAddress,
    narinfo::NarInfo,
    nixhash::Sha256,
    signing::{self, Signature, SigningKey},
    store_path::{StorePath, StorePathHash},
};
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
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
    /// A signature that comes without the name of its key.
    pub nameless_signature: Option<[u8; 64]>,
}

/// A NAR as a file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NarFile {
    /// SHA-256 of the file's bytes.
    hash: Sha256,
    /// Bytes of the file.
    size: u64,
    compression: Compression,
}

/// What the bytes of a push are.
#[derive(Default)]
struct Found {
    /// `None` where the NAR was found to be here already.
    file: Option<NarFile>,
    contents: proof::Contents,
}

impl Claim {
    /// What a narinfo says.
    fn of(narinfo: NarInfo) -> Claim {
        Claim {
            store_path: narinfo.store_path,
            nar_hash: narinfo.nar_hash,
            nar_size: narinfo.nar_size,
            file_hash: narinfo.file_hash,
            file_size: narinfo.file_size,
            compression: narinfo.compression,
            references: narinfo.references,
            deriver: narinfo.deriver,
            ca: narinfo.ca,
            signatures: narinfo.signatures,
            nameless_signature: None,
        }
    }

    /// What is signed.
    pub fn fingerprint(&self) -> String {
        signing::fingerprint(&self.store_path, &self.nar_hash, self.nar_size, &self.references)
    }

    /// The references that must be in the cache: all but the path itself.
    fn awaits(&self) -> Vec<StorePath> {
        self.references.iter().filter(|reference| **reference != self.store_path).cloned().collect()
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

/// How long the database may take for the last step of a push.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a push is stored that something else is in the way of.
const TRIES: u32 = 5;
/// Signatures of keys that a cache does not know, kept of one push; and the longest name of such a key in bytes.
const MOST_STRANGERS: usize = 16;
const LONGEST_KEY_NAME: usize = 255;

impl Pushes<'_> {
    /// Free and total bytes of the storage, where there is a bound.
    pub fn space(&self) -> Result<Option<Space>> {
        self.0.blob.space()
    }

    /// How many multipart uploads are open, and when the oldest of them began.
    pub async fn open_uploads(&self) -> Result<(u64, Option<Timestamp>)> {
        let (count, oldest) = self.0.db.uploads_open().await?;
        Ok((count.unsigned_abs(), oldest.map(Timestamp)))
    }

    /// Signatures to keep: those of others as they are, and ours for every active key. One that carries the name of a key of
    /// this cache and does not verify is refused: it is forged or of other bytes. Where people sign and the server does not,
    /// one of their signatures must be there.
    fn signatures(&self, cache: &Cache, claim: &Claim) -> Result<String> {
        let fingerprint = claim.fingerprint();
        let mut lines = BTreeSet::new();
        let mut signed_by_client = false;
        let mut strangers = 0;
        for signature in &claim.signatures {
            let key = cache.public_key(&signature.key_name);
            if let Some((key, _)) = &key
                && !key.verify(&fingerprint, signature)
            {
                return Err(self.refused(format!("signature by {} is wrong for {}", key.name(), claim.store_path)));
            }
            signed_by_client |= key.as_ref().is_some_and(|(_, of)| *of == KeyOf::Client);
            if key.is_none() {
                // Nobody here can say whether it is good; some are kept for those who can.
                if strangers == MOST_STRANGERS || signature.key_name.len() > LONGEST_KEY_NAME {
                    continue;
                }
                strangers += 1;
            }
            lines.insert(signature.to_string());
        }
        if let Some(nameless) = &claim.nameless_signature {
            let key = cache.client_keys.iter().find(|key| key.verify_raw(&fingerprint, nameless));
            signed_by_client |= key.is_some();
            lines.extend(key.map(|key| Signature { key_name: key.name().to_owned(), bytes: *nameless }.to_string()));
        }
        // A content address needs no signature.
        if cache.keys.is_empty() && !signed_by_client && claim.ca.is_none() {
            let name = &cache.name;
            let why = match (cache.client_keys.is_empty(), &claim.nameless_signature, claim.signatures.is_empty()) {
                (true, ..) => "no key is registered yet: make one with cachix generate-keypair".to_owned(),
                (false, None, true) => "there is no signature: set the signing key (CACHIX_SIGNING_KEY, or secret-key of nix copy), or let the server sign for this cache".to_owned(),
                _ => "no registered key made the signature that came".to_owned(),
            };
            return Err(self.refused(format!("cache \"{name}\" is signed by those who push: {why}")));
        }
        lines.extend(cache.keys.iter().map(|key| key.sign(&fingerprint).to_string()));
        self.0.totals.signatures.add(cache.keys.len() as u64);
        Ok(lines.into_iter().collect::<Vec<_>>().join("\n"))
    }

    /// What a proof refused, counted.
    fn refusal(&self, refusal: proof::Refusal) -> Error {
        match refusal {
            proof::Refusal::Claim(message) => self.refused(message),
            proof::Refusal::Storage(error) => Error::storage(error),
        }
    }

    /// A claim that the bytes do not bear out.
    fn refused(&self, message: String) -> Error {
        self.0.totals.verification_failures.add(1);
        Error::Invalid { field: "", message }
    }

    /// Stores what a push brings. Where somebody else was in the way, a migration for example, it is tried again: some clients try nothing
    /// again by themselves.
    async fn committed(&self, commit: &Commit<'_>) -> Result<Committed> {
        let mut tries = 0;
        loop {
            tries += 1;
            let done = tokio::time::timeout(PATIENCE, self.0.db.path_commit(commit)).await.map_err(|_| {
                // Nobody waits for this for ever: what became of it is seen when the path is pushed again.
                Error::Unavailable { what: "database", source: "it does not answer in time".into() }
            })?;
            match done {
                Err(error) if error.is_deadlock() && tries < TRIES => {
                    tracing::info!(path = commit.hash, tries, "a push and something else waited for each other; again");
                }
                done => return done,
            }
        }
    }

    /// The last step of every push.
    async fn publish(&self, push: &Publish<'_>) -> Result<Published> {
        for _ in 0..TRIES {
            if let Some(published) = self.publish_once(push).await? {
                return Ok(published);
            }
            // A key was added since this server read the keys, perhaps at another one.
            self.0.directory.reload(&self.0.db, &self.0.master).await?;
        }
        Err(Error::Interrupted(format!("the keys of cache \"{}\" change all the time; push it again", push.cache.name)))
    }

    /// The same with the keys that this server knows; `None` where the cache has others.
    async fn publish_once(&self, push: &Publish<'_>) -> Result<Option<Published>> {
        let core = self.0;
        let Publish { claim, found, .. } = push;
        let cache = core.directory.get_by_id(push.cache.id).ok_or_else(|| {
            Error::NotFound(format!("cache \"{}\" was removed while a path was pushed to it", push.cache.name))
        })?;
        let cache = &cache;
        let store_path = &claim.store_path;
        let hash = store_path.hash().to_string();
        let refs = claim.refs();
        let awaits = self.awaits(cache, claim).await?;
        let (deriver, ca) =
            (claim.deriver.as_ref().map(ToString::to_string), claim.ca.as_ref().map(ToString::to_string));
        let signatures = self.signatures(cache, claim)?;
        let signed_by: Vec<&str> = cache.keys.iter().map(SigningKey::name).collect();
        let commit = Commit {
            cache_id: cache.id,
            hash: &hash,
            name: store_path.name(),
            nar_hash: claim.nar_hash.as_bytes(),
            nar_size: signed(claim.nar_size),
            file: found.file.as_ref().map(|file| NewFile {
                hash: file.hash.as_bytes(),
                size: signed(file.size),
                compression: file.compression.as_str(),
            }),
            listing: found.contents.listing.as_deref(),
            debug_ids: &found.contents.debug_ids,
            refs: &refs,
            awaits: &awaits,
            deriver: deriver.as_deref(),
            ca: ca.as_deref(),
            signatures: &signatures,
            signed_by: &signed_by,
            pushed_by: push.pushed_by,
            now: core.now().0,
            upload_id: push.upload_id,
            hold: push.hold,
        };
        crate::failpoint::reach("commit.before");
        let committed = self.committed(&commit).await?;
        crate::failpoint::reach("commit.after");
        // Out of their caches until now, of this one or of others.
        core.forget(&committed.back.visible);
        let is_counted = committed.back.paths > 0;
        if is_counted {
            // The numbers of this cache, and of others.
            core.directory.reload(&core.db, &core.master).await?;
        }
        let own =
            committed.back.visible.into_iter().filter(|(cache_id, _)| *cache_id == cache.id).map(|(_, hash)| hash);
        let visible: Vec<String> = own.collect();
        match committed.outcome {
            Outcome::New { file_size } => {
                self.announce(cache, &visible).await;
                cache.state.counters.pushed_paths.add(1);
                if !is_counted {
                    cache.state.path_count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    cache.state.stored_bytes.fetch_add(file_size, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(Some(Published::New { visible: visible.contains(&hash) }))
            }
            Outcome::KeysChanged => Ok(None),
            // Forgotten whether or not this push changed it: an earlier one may have ended between commit and here.
            Outcome::Existing => {
                core.forget_paths(cache, &[store_path.hash()]);
                Ok(Some(Published::Existing))
            }
            Outcome::Missing(missing) => {
                let more = if missing.len() > 5 { format!(" and {} more", missing.len() - 5) } else { String::new() };
                let missing = missing.into_iter().take(5).collect::<Vec<_>>().join(", ");
                Err(self.refused(format!(
                    "{store_path} refers to {missing}{more}, not in cache \"{}\"; push it first (a client that believes it is here asks again with --refresh)",
                    cache.name
                )))
            }
        }
    }

    /// The references that must be in the cache before the path is shown: none where the cache is lenient or its clients
    /// leave out what other caches have; otherwise those that no upstream has.
    async fn awaits(&self, cache: &Cache, claim: &Claim) -> Result<Vec<StorePath>> {
        let core = self.0;
        if cache.is_lenient || !cache.client_filter_keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut awaits = claim.awaits();
        if !cache.upstreams.is_empty() && !awaits.is_empty() {
            let hashes: Vec<String> = awaits.iter().map(|path| path.hash().to_string()).collect();
            let here = core.db.paths_present(cache.id, &hashes, true).await?;
            let asked = awaits.iter().map(StorePath::hash).filter(|hash| !here.contains(&hash.to_string()));
            let elsewhere = core.upstream().present(cache, asked.collect()).await;
            awaits.retain(|path| !elsewhere.contains(&path.hash()));
        }
        Ok(awaits)
    }

    /// Shows paths that wait for what an upstream has by now, because it was silent when they came or was not named yet.
    pub(crate) async fn release_held(&self) -> Result<()> {
        let core = self.0;
        for cache in core.directory.all().into_iter().filter(|cache| !cache.upstreams.is_empty()) {
            let awaited = core.db.awaited_list(cache.id).await?;
            let hashes: Vec<_> = awaited.iter().filter_map(|hash| StorePathHash::parse(hash).ok()).collect();
            if hashes.is_empty() {
                continue;
            }
            let elsewhere = core.upstream().present(&cache, hashes).await.iter().map(ToString::to_string).collect();
            let visible = core.db.awaited_release(cache.id, elsewhere).await?;
            self.announce(&cache, &visible).await;
        }
        Ok(())
    }

    /// Makes newly visible paths visible in this process too, and tells live pages.
    async fn announce(&self, cache: &Cache, visible: &[String]) {
        /// Rows that one commit tells live pages about; a page that missed some shows them when it loads.
        const MOST_TOLD: usize = 50;
        let core = self.0;
        let hashes: Vec<_> = visible.iter().filter_map(|hash| StorePathHash::parse(hash).ok()).collect();
        core.forget_paths(cache, &hashes);
        if !core.somebody_watches() {
            return;
        }
        for hash in visible.iter().take(MOST_TOLD) {
            if let Ok(Some(path)) = core.db.path_row(cache.id, hash).await {
                core.tell(LiveEvent::PathPushed { cache: cache.name.clone(), path });
            }
        }
    }
}

/// What is handed to the last step.
struct Publish<'a> {
    cache: &'a Cache,
    claim: &'a Claim,
    found: &'a Found,
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
