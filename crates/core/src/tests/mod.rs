//! The whole of core by its own methods, on SQLite and on PostgreSQL alike.

mod backup;
mod detail;
mod keeping;
mod key_loss;
mod large;
mod model;
mod people;
mod replicas;
mod returning;
mod rights;
pub(crate) mod runs;
mod statistics;
mod story;
mod transfer;

use crate::{
    Caller, Core, CoreConfig, Discretion, Limits, Location, Result, StorageSettings,
    caller::{Person, Rights, Token},
    clock::Clock,
    postgres::Postgres,
    push::{Claim, Published, UploadId},
    reconcile::Reconciler,
    secret::MasterKey,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use iglu_api::{
    CacheName, Timestamp, UserName,
    cache::{CacheCreate, Permission, Visibility},
};
use md5::{Digest, Md5};
use nix_compat::{compression::Compression, nar, narinfo::NarInfo, nixhash::Sha256, store_path::StorePath};
use std::{collections::HashMap, path::Path, sync::Arc};

/// Runs a story on both engines.
macro_rules! on_both {
    ($($name:ident)*) => { $(
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name(crate::tests::Home::sqlite().await).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$name(crate::tests::Home::postgres().await).await;
            }
        }
    )* };
}

pub(crate) use on_both;

/// A Core in a folder of its own.
struct Home {
    core: Core,
    clock: Clock,
    folder: tempfile::TempDir,
    postgres: Option<Postgres>,
}

impl Home {
    async fn sqlite() -> Home {
        Home::new(None).await
    }

    async fn postgres() -> Home {
        Home::new(Some(Postgres::start())).await
    }

    async fn new(postgres: Option<Postgres>) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::default();
        let core = open(folder.path(), location(folder.path(), postgres.as_ref()), &clock).await;
        Home { core, clock, folder, postgres }
    }

    /// The same data opened by another process.
    async fn beside(&self) -> Core {
        open(self.folder.path(), location(self.folder.path(), self.postgres.as_ref()), &self.clock).await
    }

    async fn cache(&self, name: &str, visibility: Visibility) {
        let create = CacheCreate::new(CacheName::parse(name).unwrap(), visibility);
        self.core.cache().create(&Caller::Operator, &create).await.unwrap();
    }

    /// All that is done in the background to forget and remove what nothing needs.
    async fn tidy(&self) {
        for work in [Reconciler::Purge, Reconciler::Sweep] {
            work.tick(&self.core).await.unwrap();
        }
        // What is found to be dead is given some time.
        self.clock.advance(2 * Timestamp::HOUR);
        Reconciler::Files.tick(&self.core).await.unwrap();
    }

    fn stored_files(&self) -> usize {
        files_below(&self.folder.path().join("storage/nar"))
    }

    fn staged_files(&self) -> usize {
        let below = |name| files_below(&self.folder.path().join(name));
        below("storage/staging") + below("storage/scratch")
    }
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

fn location(folder: &Path, postgres: Option<&Postgres>) -> Location {
    match postgres {
        Some(postgres) => Location::Postgres(postgres.url()),
        None => Location::Sqlite(folder.join("iglu.db")),
    }
}

async fn open(folder: &Path, database: Location, clock: &Clock) -> Core {
    Core::open(config(folder, database, clock)).await.unwrap()
}

fn config(folder: &Path, database: Location, clock: &Clock) -> CoreConfig {
    CoreConfig {
        database,
        opening: crate::Opening::default(),
        storage: StorageSettings::Folder(folder.join("storage")),
        master: MasterKey::from_bytes(&[1; 32]),
        public_url: None,
        listen_url: Some("http://127.0.0.1:8080".to_owned()),
        cache_domain: None,
        limits: Limits::default(),
        narinfo_memory: 1 << 20,
        nar_grace: 31 * Timestamp::DAY,
        clock: clock.clone(),
    }
}

/// A path to push: a file whose content mentions its references.
struct Thing {
    claim: Claim,
    nar: Vec<u8>,
}

/// A store path with a hash part made from its name.
fn path_named(name: &str) -> StorePath {
    StorePath::new(nix_compat::store_path::StorePathHash::fold(&Sha256::digest(name.as_bytes())), name).unwrap()
}

fn thing(name: &str, references: &[&str]) -> Thing {
    let mut references: Vec<StorePath> = references.iter().map(|name| path_named(name)).collect();
    references.sort();
    let content = references.iter().map(StorePath::to_absolute).collect::<Vec<_>>().join("\n") + name;
    let mut writer = nar::Writer::new(Vec::new()).unwrap();
    writer.file(false, content.len() as u64, content.as_bytes()).unwrap();
    let nar = writer.finish().unwrap();
    let hash = Sha256::digest(&nar);
    let claim = Claim {
        store_path: path_named(name),
        nar_hash: hash,
        nar_size: nar.len() as u64,
        file_hash: Some(hash),
        file_size: Some(nar.len() as u64),
        compression: Compression::None,
        references,
        deriver: None,
        ca: None,
        signatures: Vec::new(),
        nameless_signature: None,
    };
    Thing { claim, nar }
}

fn body(bytes: &[u8]) -> impl futures_util::Stream<Item = Result<Bytes>> + Unpin + use<> {
    futures_util::stream::iter([Ok(Bytes::copy_from_slice(bytes))])
}

/// Begins an upload and puts its parts.
async fn upload(core: &Core, caller: &Caller, cache: &str, parts: &[&[u8]]) -> Result<UploadId> {
    let id = core.push().multipart_create(caller, cache, Compression::None).await?;
    for (number, part) in (1..).zip(parts) {
        let md5 = STANDARD.encode(Md5::digest(part));
        let url = core.push().part_url(caller, cache, id, number, &md5).await?.0;
        let (md5, proof) = capability(&url);
        core.push().part_put(id, number, &md5, &proof, body(part)).await?;
    }
    Ok(id)
}

/// What the door reads from an upload URL.
fn capability(url: &str) -> (String, String) {
    let query = url.split_once('?').unwrap().1;
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap().to_owned();
    (value("md5="), value("proof="))
}

async fn narinfo(core: &Core, cache: &str, path: &StorePath) -> Option<NarInfo> {
    let cache = core.cache().open(&Caller::Operator, cache, Permission::Pull, Discretion::Tell).await.unwrap();
    let rendered = core.path().narinfo(&cache, path.hash()).await.unwrap()?;
    Some(NarInfo::parse(&rendered.text).unwrap())
}

async fn push(core: &Core, caller: &Caller, cache: &str, thing: &Thing) -> Result<Published> {
    let id = upload(core, caller, cache, &[&thing.nar]).await?;
    core.push().complete(caller, cache, id, None, thing.claim.clone()).await
}

fn token(id: i64, cache_id: Option<i64>, scope: Permission) -> Caller {
    Caller::Token(Arc::new(Token {
        id,
        name: format!("token-{id}"),
        cache_id,
        scope,
        owner: None,
        address: String::new(),
    }))
}

fn person(name: &str, is_admin: bool) -> Caller {
    person_with(name, Rights { is_admin, roles: HashMap::new() })
}

fn person_with(name: &str, rights: Rights) -> Caller {
    let name = UserName::parse(name).unwrap();
    Caller::Person(Arc::new(Person { account_id: 0, session_id: 0, name, rights, address: String::new() }))
}

/// The text of an error.
fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}
