//! The cache itself: its rules, its SQL, its objects. Knows no HTTP and no page. `Core` is built once and cheap to clone; its
//! methods are grouped by noun (`core.cache()`, `core.push()`, …), and each takes the caller that it decides for.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod account;
pub mod activity;
mod address;
pub mod backup;
mod blob;
pub mod build_log;
pub mod builder;
pub mod cache;
pub mod caller;
pub mod check;
pub mod clock;
mod codec;
mod db;
mod directory;
pub mod error;
pub mod event;
pub mod export;
mod failpoint;
pub mod fetch;
pub mod instance;
pub mod invitation;
pub mod key;
pub mod key_loss;
mod lease;
mod login_limit;
pub mod member;
mod network;
pub mod node;
mod overview;
pub mod path;
mod path_detail;
pub mod pin;
#[cfg(test)]
mod postgres;
mod probe;
pub mod push;
mod rate_limit;
mod readers;
pub mod realisation;
pub mod reconcile;
pub mod replica;
pub mod restore;
pub mod retention;
pub mod run;
mod run_log;
mod scrub;
pub mod secret;
pub mod setup;
pub mod statistics;
mod status;
mod storage;
pub mod storage_move;
#[cfg(test)]
mod tests;
pub mod token;
mod trigger;
mod try_out;
mod upstream;
pub mod webhook;
mod why;
mod work;

pub use address::Address;
pub use blob::{BucketSettings, Object, Serving, Space, StorageSettings, Stored, Uploading};
pub use caller::{Caller, Client, Discretion};
pub use db::{Location, NarBytes, Opening, Schema};
pub use directory::Cache;
pub use error::{Error, Result};
pub use network::Networks;
pub use node::Node;
pub use rate_limit::{Rates, sender_of};

use activity::{Activity, Counter};
use arc_swap::ArcSwap;
use clock::Clock;
use db::{Audit, Db};
use directory::Directory;
use event::Events;
use iglu_api::{Timestamp, cache::Traffic, instance::Setting};
use nix_compat::{nixhash::Sha256, store_path::StorePathHash};
use secret::MasterKey;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// Where a server that was never started would be.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// How long everything may take to be read again.
const REFRESHING: Duration = Duration::from_secs(15);

/// The setting of a server whose data is made up.
const DEMO: &str = "demo";

/// What a Core is made from.
#[derive(Debug)]
pub struct CoreConfig {
    pub database: Location,
    pub opening: Opening,
    /// Where NAR files and the parts of uploads are kept.
    pub storage: StorageSettings,
    pub master: MasterKey,
    /// Set by flag, file or environment: then set-up cannot change it.
    pub public_url: Option<String>,
    /// Where people find the server when nothing else is said: the listening address. `None` for commands beside a server.
    pub listen_url: Option<String>,
    pub cache_domain: Option<String>,
    pub limits: Limits,
    /// Bytes of memory for rendered narinfos.
    pub narinfo_memory: u64,
    /// How long a NAR that rules took out can still be read by its name, in milliseconds: longer than clients remember narinfos.
    pub nar_grace: i64,
    pub clock: Clock,
}

/// What one request may bring.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One part of a multipart upload, in bytes.
    pub part_bytes: u64,
    /// One NAR file put by name, in bytes.
    pub nar_file_bytes: u64,
    /// Open multipart uploads of one token or person.
    pub open_uploads: u32,
    /// How fast stored files are read again in the background; `None` for not at all.
    pub scrub_bytes_per_second: Option<u64>,
    /// Requests a minute.
    pub rates: Rates,
    /// How long a node may be silent about a run before another one gets it, in milliseconds.
    pub run_lease: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            part_bytes: 5 << 30,
            nar_file_bytes: 100 << 30,
            open_uploads: 1000,
            scrub_bytes_per_second: Some(10 << 20),
            rates: Rates::default(),
            run_lease: 2 * Timestamp::MINUTE,
        }
    }
}

/// Totals of this process that belong to no cache. Monotonic.
#[derive(Debug, Default)]
pub struct Totals {
    pub push_bytes: Counter,
    pub verification_failures: Counter,
    /// Made by the caches' own keys.
    pub signatures: Counter,
}

/// The cache.
#[derive(Clone)]
pub struct Core(Arc<Inner>);

/// The parts; every noun's methods reach them through `Core`.
pub struct Inner {
    db: Db,
    blob: blob::Blob,
    storage: storage::Storage,
    pub(crate) work: work::Works,
    nar_grace: i64,
    master: MasterKey,
    clock: Clock,
    directory: Directory,
    /// The generation of the database that everything remembered is at least as new as.
    refreshed_at: AtomicI64,
    refreshing: tokio::sync::Mutex<()>,
    address: ArcSwap<Address>,
    fixed_public_url: Option<String>,
    fallback_url: Option<String>,
    cache_domain: Option<String>,
    limits: Limits,
    narinfos: path::NarinfoMemory,
    known_nars: quick_cache::sync::Cache<(i64, Sha256), Arc<fetch::KnownNar>>,
    known_tokens: quick_cache::sync::Cache<[u8; 32], token::Remembered>,
    /// Hashes of secrets that were good once, and may be no more: nobody guesses these.
    once_good_tokens: quick_cache::sync::Cache<[u8; 32], ()>,
    activity: Activity,
    is_demo: AtomicBool,
    /// What the disk holds and when that was added up.
    disk_bytes: Mutex<Option<(NarBytes, Timestamp)>>,
    configuration: OnceLock<Vec<Setting>>,
    pub totals: Totals,
    pub events: Events,
    /// Something in the queue of runs, or about who takes them, changed.
    queue_changed: Notify,
    probe_answered: Notify,
    password_permits: Semaphore,
    login_limit: login_limit::LoginLimit,
    rate_limits: rate_limit::RateLimits,
    verify_permits: Arc<Semaphore>,
    search_permits: Semaphore,
    completing: push::Completing,
    upstreams: upstream::Upstreams,
    replicas: replica::Replicas,
}

impl std::ops::Deref for Core {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Core")
    }
}

impl Core {
    /// Opens database and storage, brings the schema up to date and loads what requests need in memory.
    pub async fn open(config: CoreConfig) -> Result<Core> {
        let fixed = config.public_url.as_deref();
        let address = Address::parse(fixed.unwrap_or(DEFAULT_URL), config.cache_domain.as_deref())?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let core = Core(Arc::new(Inner {
            db: Db::open(&config.database, config.opening).await?.0,
            blob: blob::Blob::open(&config.storage)?,
            storage: storage::Storage::default(),
            work: work::Works::default(),
            nar_grace: config.nar_grace,
            master: config.master,
            clock: config.clock,
            directory: Directory::default(),
            refreshed_at: AtomicI64::new(0),
            refreshing: tokio::sync::Mutex::default(),
            address: ArcSwap::from_pointee(address),
            fixed_public_url: config.public_url,
            fallback_url: config.listen_url,
            cache_domain: config.cache_domain,
            limits: config.limits,
            narinfos: path::NarinfoMemory::new(config.narinfo_memory),
            known_nars: quick_cache::sync::Cache::new(20_000),
            known_tokens: quick_cache::sync::Cache::new(10_000),
            once_good_tokens: quick_cache::sync::Cache::new(10_000),
            activity: Activity::default(),
            is_demo: AtomicBool::new(false),
            disk_bytes: Mutex::default(),
            configuration: OnceLock::new(),
            totals: Totals::default(),
            events: Events::default(),
            queue_changed: Notify::new(),
            probe_answered: Notify::new(),
            password_permits: Semaphore::new(2),
            login_limit: login_limit::LoginLimit::default(),
            rate_limits: rate_limit::RateLimits::new(config.limits.rates),
            verify_permits: Arc::new(Semaphore::new(cores)),
            search_permits: Semaphore::new(2),
            completing: push::Completing::default(),
            upstreams: upstream::Upstreams::default(),
            replicas: replica::Replicas::default(),
        }));
        // Written only when it is news: a server whose disk is full starts, and serves what it has.
        if let Some(url) = &core.fallback_url
            && core.db.setting("listen_url").await?.as_ref() != Some(url)
        {
            core.db.setting_put("listen_url", url).await?;
        }
        core.storage_begin().await?;
        core.storage_check().await?;
        core.load_settings().await?;
        core.directory.reload(&core.db, &core.master).await?;
        core.refreshed_at.store(core.directory.generation(), Ordering::Release);
        core.activity.salt(&core.master, core.now());
        Ok(core)
    }

    /// Brings the schema of a database up to date and does nothing else.
    pub async fn migrate(database: &Location) -> Result<Schema> {
        let (db, schema) = Db::open(database, Opening::default()).await?;
        db.close().await;
        Ok(schema)
    }

    /// Writes what is only counted in memory, and closes the database.
    pub async fn close(&self) -> Result<()> {
        self.activity.flush(&self.db, &self.directory, &self.master, self.now()).await?;
        self.db.close().await;
        Ok(())
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where pages and APIs are, without a trailing slash.
    pub fn public_url(&self) -> String {
        self.address.load().public_url()
    }

    pub fn public_url_is_fixed(&self) -> bool {
        self.fixed_public_url.is_some()
    }

    pub fn address(&self) -> Arc<Address> {
        self.address.load_full()
    }

    /// All caches by name, for the operator's metrics.
    pub fn caches(&self) -> Vec<Arc<Cache>> {
        self.directory.all()
    }

    /// The cache of this name from memory, for the read path; [`cache::Caches::open`] looks further.
    pub fn cache_remembered(&self, name: &str) -> Option<Arc<Cache>> {
        self.directory.get(name)
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn cache(&self) -> cache::Caches<'_> {
        cache::Caches(self)
    }

    pub fn path(&self) -> path::Paths<'_> {
        path::Paths(self)
    }

    pub fn fetch(&self) -> fetch::Fetch<'_> {
        fetch::Fetch(self)
    }

    pub fn account(&self) -> account::Accounts<'_> {
        account::Accounts(self)
    }

    pub fn token(&self) -> token::Tokens<'_> {
        token::Tokens(self)
    }

    pub fn setup(&self) -> setup::Setup<'_> {
        setup::Setup(self)
    }

    /// Whether database and storage answer, and the storage is ours.
    pub async fn check(&self) -> Result<()> {
        self.db.generation().await?;
        self.storage_require().await
    }

    /// Forgets what memory knows of paths, by cache and hash part: they appeared or went.
    pub(crate) fn forget(&self, paths: &[(i64, String)]) {
        let mut by_cache: HashMap<i64, Vec<StorePathHash>> = HashMap::new();
        for (cache_id, hash) in paths {
            by_cache.entry(*cache_id).or_default().extend(StorePathHash::parse(hash).ok());
        }
        for (cache_id, hashes) in by_cache {
            if let Some(cache) = self.directory.get_by_id(cache_id) {
                self.forget_paths(&cache, &hashes);
            }
        }
    }

    /// The same of one cache.
    pub(crate) fn forget_paths(&self, cache: &Cache, hashes: &[StorePathHash]) {
        self.narinfos.forget(cache, hashes);
        self.paths_tell(cache.id, hashes);
    }

    /// The address that set-up asks for, unless it is fixed.
    fn address_for(&self, public_url: &str) -> Result<Address> {
        let url = self.fixed_public_url.as_deref().unwrap_or(public_url);
        Address::parse(url, self.cache_domain.as_deref())
    }

    async fn load_settings(&self) -> Result<()> {
        let kept = match self.db.setting("public_url").await? {
            Some(url) => Some(url),
            // Commands beside a server know its address from here.
            None if self.fallback_url.is_none() => self.db.setting("listen_url").await?,
            None => None,
        };
        self.is_demo.store(self.db.setting(DEMO).await?.is_some(), Ordering::Relaxed);
        let url = kept.as_deref().or(self.fallback_url.as_deref()).unwrap_or(DEFAULT_URL);
        let address = self.address_for(url)?;
        self.address.store(Arc::new(address));
        Ok(())
    }

    /// Says of this server from now on that what it holds is made up.
    pub async fn demo_begin(&self) -> Result<()> {
        self.db.setting_put(DEMO, "true").await?;
        self.is_demo.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Tells what settings are in force, for administrators to see: secrets are hidden already. The first word stands.
    pub fn configuration_show(&self, settings: Vec<Setting>) {
        let _ = self.configuration.set(settings);
    }

    /// Whether what the server holds is made up.
    pub fn is_demo(&self) -> bool {
        self.is_demo.load(Ordering::Relaxed)
    }

    /// Makes running servers forget what they remember, paths that they believe absent above all, and takes over what they changed.
    /// For commands that push beside them.
    pub async fn servers_tell(&self) -> Result<()> {
        self.db.generation_raise().await?;
        self.refresh().await
    }

    /// Takes over what other processes changed; a timer does it every second.
    pub async fn refresh(&self) -> Result<()> {
        // The directory reads the newest after each change of its own; what else is remembered is older than that.
        if self.db.generation().await? != self.refreshed_at.load(Ordering::Acquire) {
            let late = |_| Error::Unavailable { what: "database", source: "it does not answer in time".into() };
            // One that hangs must not keep the others waiting that come when the database is back.
            tokio::time::timeout(REFRESHING, self.read_again()).await.map_err(late)??;
        }
        self.directory.recount_old(&self.db).await
    }

    /// Many ask at once after a change; one of them reads.
    async fn read_again(&self) -> Result<()> {
        let _turn = self.refreshing.lock().await;
        let generation = self.db.generation().await?;
        if generation != self.refreshed_at.load(Ordering::Acquire) {
            self.load_settings().await?;
            self.directory.reload(&self.db, &self.master).await?;
            self.forget_everything();
            self.refreshed_at.store(generation, Ordering::Release);
        }
        Ok(())
    }

    /// The same before a person or a script is answered, who may have changed something at another server a moment ago.
    pub async fn refresh_for_caller(&self) -> Result<()> {
        if self.is_shared() { self.refresh().await } else { Ok(()) }
    }

    /// Per cache, what was asked of it in the last 30 days, what is not yet written included.
    async fn traffic_30_days(&self) -> Result<HashMap<i64, Traffic>> {
        let since = self.now().plus(-30 * Timestamp::DAY);
        let mut traffic: HashMap<i64, Traffic> = self.db.traffic_since(since.0).await?.into_iter().collect();
        for cache in self.directory.all() {
            traffic.entry(cache.id).or_default().add(&cache.state.counters.pending());
        }
        Ok(traffic)
    }

    fn audit(&self, caller: &Caller, action: &'static str, object: &str) -> Audit {
        self.audit_as(caller.label(), action, object, caller.address())
    }

    fn audit_as(&self, actor: String, action: &'static str, object: &str, address: &str) -> Audit {
        Audit {
            at: self.now().0,
            actor,
            action,
            object: object.to_owned(),
            address: address.to_owned(),
            cache_id: None,
        }
    }
}
