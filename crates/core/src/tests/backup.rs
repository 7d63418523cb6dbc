//! Backups of both databases while pushes run, restored into both.

use super::*;
use crate::{
    Discretion, Error,
    backup::{Backup, Progress, backup},
    codec::{self, Encoder},
    db::{
        dump::{Bulk, OBJECTS, catalog, newest_schema},
        past,
    },
    directory::sealing_purpose,
    push::NarFileName,
    reconcile::Reconciler,
    restore::{Restored, restore},
};
use iglu_api::{
    key::KeyState,
    member::Role,
    pin::{Keep, PinCreate},
    token::TokenCreate,
};
use nix_compat::{
    narinfo::NarInfo,
    signing::{SigningKey, VerifyingKey},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, Read, Write},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

const QUIET: &(dyn Fn(Progress<'_>) + Sync) = &|_| {};

/// Where a backup is restored to.
struct Target {
    folder: tempfile::TempDir,
    postgres: Option<Postgres>,
}

impl Target {
    fn new(postgres: bool) -> Target {
        Target { folder: tempfile::tempdir().unwrap(), postgres: postgres.then(Postgres::start) }
    }

    fn location(&self) -> Location {
        location(self.folder.path(), self.postgres.as_ref())
    }

    fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    async fn restore(&self, backup: &Path) -> Result<Restored> {
        restore(backup, &self.location(), &StorageSettings::Folder(self.storage()), QUIET).await
    }

    async fn open(&self, clock: &Clock) -> Core {
        open(self.folder.path(), location(self.folder.path(), self.postgres.as_ref()), clock).await
    }

    /// Whether Iglu never was here.
    async fn is_untouched(&self) -> bool {
        match Bulk::read(&self.location()).await {
            Ok(mut bulk) => bulk.schema().await.unwrap().is_none(),
            Err(Error::NotFound(_)) => true,
            Err(error) => panic!("{error}"),
        }
    }
}

fn location(folder: &Path, postgres: Option<&Postgres>) -> Location {
    match postgres {
        Some(postgres) => Location::Postgres(postgres.url()),
        None => Location::Sqlite(folder.join("iglu.db")),
    }
}

impl Home {
    fn location(&self) -> Location {
        location(self.folder.path(), self.postgres.as_ref())
    }

    async fn backup(&self, folder: &Path) -> Backup {
        backup(&self.location(), folder, false, &self.clock, QUIET).await.unwrap()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy_folder(&entry.path(), &target) } else { drop(fs::copy(entry.path(), target)) }
    }
}

/// The lines of a file of rows; the first one names the columns.
fn lines(file: &Path) -> Vec<Value> {
    let source = BufReader::new(fs::File::open(file).unwrap());
    let mut text = String::new();
    codec::decoder(Compression::Zstd, source).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write_lines(file: &Path, lines: &[Value]) {
    let mut encoder = Encoder::zstd_checked(fs::File::create(file).unwrap());
    lines.iter().for_each(|line| encoder.feed(format!("{line}\n").as_bytes()).unwrap());
    encoder.finish().unwrap().flush().unwrap();
}

fn table_file(backup: &Path, table: &str) -> PathBuf {
    backup.join("tables").join(format!("{table}.jsonl.zst"))
}

/// All rows of all tables, and the objects.
fn content(backup: &Path) -> BTreeMap<String, Vec<Value>> {
    let tables = fs::read_dir(backup.join("tables")).unwrap().map(|entry| entry.unwrap().path());
    let files = tables.chain([backup.join("objects.jsonl.zst")]);
    files.map(|file| (file.file_name().unwrap().to_string_lossy().into_owned(), lines(&file))).collect()
}

/// The values of one column.
fn column(backup: &Path, table: &str, name: &str) -> Vec<Value> {
    let lines = lines(&table_file(backup, table));
    let at = lines[0].as_array().unwrap().iter().position(|column| column[0] == name).unwrap();
    lines[1..].iter().map(|row| row[at].clone()).collect()
}

/// Puts something into nearly every table, with all kinds of values. A token that may do everything.
async fn furnish(home: &Home) -> String {
    let core = &home.core;
    let operator = &Caller::Operator;
    home.cache("main", Visibility::Public).await;
    home.cache("hidden", Visibility::Private).await;
    let name = UserName::parse("ada").unwrap();
    core.account().create(operator, &name, "long enough", true).await.unwrap();
    core.account().session_create("ada", "long enough", &crate::Client::default()).await.unwrap();
    core.member().set(operator, "main", "ada", Role::Maintainer).await.unwrap();
    core.invitation().create_for_cache(operator, "hidden", Role::Viewer, "Bob").await.unwrap();
    let create = TokenCreate {
        name: "all".to_owned(),
        cache: None,
        scope: Permission::Admin,
        expires_at: None,
        is_of_cache: false,
    };
    let token = core.token().create(operator, &create).await.unwrap().token;
    let (leaf, late) = (thing("leaf", &[]), thing("waits", &["absent"]));
    push(core, operator, "main", &leaf).await.unwrap();
    push(core, operator, "hidden", &leaf).await.unwrap();
    push(core, operator, "main", &late).await.unwrap();
    upload(core, operator, "main", &[b"a part that nothing completes"]).await.unwrap();
    let main = core.cache().open(operator, "main", Permission::Push, Discretion::Tell).await.unwrap();
    let put = thing("put", &[]);
    let file_hash = Sha256::digest(&put.nar);
    let file = NarFileName::parse(&format!("{}.nar", file_hash.to_nix32())).unwrap();
    core.push().nar_put(&main, file, body(&put.nar)).await.unwrap();
    core.build_log().put(operator, &main, &path_named("hello.drv"), body(b"a log")).await.unwrap();
    let pin = PinCreate {
        name: "stable".to_owned(),
        store_path: leaf.claim.store_path.to_absolute(),
        artifacts: Vec::new(),
        keep: Keep::Forever,
    };
    core.pin().create(operator, "main", &pin).await.unwrap();
    let gone = thing("gone", &[]);
    push(core, operator, "main", &gone).await.unwrap();
    core.retention().remove(operator, "main", &[gone.claim.store_path.hash()], false).await.unwrap();
    super::runs::furnish(core).await;
    core.db.file_set_dead("nar", &[7; 32], 7, core.now().0).await.unwrap();
    core.fetch().nar(&main, &leaf.claim.nar_hash).await.unwrap().unwrap();
    core.note_reader(&main, None, std::time::Duration::ZERO);
    core.path().narinfo(&main, leaf.claim.store_path.hash()).await.unwrap().unwrap();
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    core.db.login_try("somebody", core.now().0, 1000, 5).await.unwrap();
    token
}

/// Pushes until told to stop.
struct Pusher {
    stop: Arc<AtomicBool>,
    pushed: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Pusher {
    fn start(core: Core) -> Pusher {
        let (stop, pushed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (stop.clone(), pushed.clone());
        let task = tokio::spawn(async move {
            while !told.load(Ordering::SeqCst) {
                let name = format!("pushed-{}", count.load(Ordering::SeqCst));
                push(&core, &Caller::Operator, "main", &thing(&name, &["leaf"])).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Pusher { stop, pushed, task }
    }

    /// Waits off the async threads until two more pushes ended: the second began after this was called.
    fn wait(&self) {
        tokio::task::block_in_place(|| {
            let (before, started) = (self.pushed.load(Ordering::SeqCst), Instant::now());
            while self.pushed.load(Ordering::SeqCst) < before + 2 {
                assert!(started.elapsed() < Duration::from_secs(60), "pushes stand still");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
    }
}

async fn round_trip(home: Home, to_postgres: bool) {
    let token = furnish(&home).await;
    let folder = tempfile::tempdir().unwrap();
    let (made, again) = (folder.path().join("made"), folder.path().join("again"));
    let pusher = Pusher::start(home.core.clone());
    pusher.wait();
    // After each table, somebody pushes.
    let between = |_: Progress<'_>| pusher.wait();
    let described = backup(&home.location(), &made, false, &home.clock, &between).await.unwrap();
    pusher.end().await;

    // One moment: what a push writes in one transaction is all there or not at all.
    let of_main = column(&made, "store_path", "cache_id").iter().filter(|id| **id == json!(1)).count();
    assert_eq!(column(&made, "cache", "path_count")[0], json!(of_main));
    let later = folder.path().join("later");
    assert!(home.backup(&later).await.tables["store_path"] > described.tables["store_path"] + 10, "pushes went on");
    for (table, rows) in &described.tables {
        let may_be_empty = ["client_key", "debug_info", "needed_meanwhile", "realisation", "setup_link", "upstream"];
        assert!(*rows > 0 || may_be_empty.contains(&table.as_str()), "{table} is empty: furnish it for this test");
    }

    let target = Target::new(to_postgres);
    copy_folder(&home.folder.path().join("storage"), &target.storage());
    let restored = target.restore(&made).await.unwrap();
    assert!(restored.is_whole(), "{restored:?}");
    assert_eq!(restored.backup, described);
    let copied = backup(&target.location(), &again, false, &home.clock, QUIET).await.unwrap();
    assert_eq!(copied.engine, if to_postgres { "postgres" } else { "sqlite" });
    // All but whose the storage is.
    let (mut tables, mut rows) = (described.tables, content(&made));
    *tables.get_mut("setting").unwrap() -= 2;
    rows.get_mut("setting.jsonl.zst")
        .unwrap()
        .retain(|row| !row[0].as_str().is_some_and(|name| name.starts_with("store_id")));
    assert_eq!((copied.tables, copied.objects), (tables, described.objects));
    assert!(rows == content(&again), "the rows are the same");

    serves(&target.open(&home.clock).await, &token).await;
}

/// That this core has what [`furnish`] made, and takes more.
async fn serves(core: &Core, token: &str) {
    let caller = core.token().caller(token, "").await.unwrap();
    assert!(matches!(caller, Caller::Token(_)));
    // The files came with the mark of the database that the backup is of, which may still use them.
    assert!(matches!(core.check().await, Err(Error::Unavailable { what: "storage", .. })));
    assert!(matches!(push(core, &caller, "hidden", &thing("early", &[])).await, Err(Error::Unavailable { .. })));
    core.storage_adopt().await.unwrap();
    core.check().await.unwrap();
    let hidden = core.cache().open(&caller, "hidden", Permission::Push, Discretion::Tell).await.unwrap();
    let leaf = thing("leaf", &[]);
    let narinfo = core.path().narinfo(&hidden, leaf.claim.store_path.hash()).await.unwrap().unwrap();
    let narinfo = NarInfo::parse(&narinfo.text).unwrap();
    let shown = core.cache().get(&Caller::Operator, "hidden").await.unwrap();
    let key = VerifyingKey::parse(&shown.public_keys[0]).unwrap();
    assert!(key.verify(&narinfo.fingerprint(), &narinfo.signatures[0]));
    let nar = core.fetch().nar(&hidden, &narinfo.file_hash.unwrap()).await.unwrap().unwrap();
    assert_eq!(std::io::read_to_string(nar.stored.reader(0).unwrap()).unwrap().as_bytes(), &leaf.nar[..]);
    core.account().session_create("ada", "long enough", &crate::Client::default()).await.unwrap();

    // Every table that numbers its rows takes another one.
    let new = thing("new", &["leaf"]);
    assert_eq!(push(core, &caller, "hidden", &new).await.unwrap(), Published::New { visible: true });
    let narinfo = core.path().narinfo(&hidden, new.claim.store_path.hash()).await.unwrap().unwrap();
    let narinfo = NarInfo::parse(&narinfo.text).unwrap();
    assert!(key.verify(&narinfo.fingerprint(), &narinfo.signatures[0]), "the sealed key signs");
    let create = CacheCreate::new(CacheName::parse("third").unwrap(), Visibility::Public);
    core.cache().create(&caller, &create).await.unwrap();
    core.key().add(&caller, "third").await.unwrap();
    let create = TokenCreate {
        name: "new".to_owned(),
        cache: None,
        scope: Permission::Pull,
        expires_at: None,
        is_of_cache: false,
    };
    core.token().create(&Caller::Operator, &create).await.unwrap();
    core.account().create(&Caller::Operator, &UserName::parse("bob").unwrap(), "long enough", false).await.unwrap();
    let pin = PinCreate {
        name: "second".to_owned(),
        store_path: new.claim.store_path.to_absolute(),
        artifacts: Vec::new(),
        keep: Keep::Forever,
    };
    core.pin().create(&caller, "hidden", &pin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_sqlite() {
    round_trip(Home::sqlite().await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_postgres() {
    round_trip(Home::sqlite().await, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_to_sqlite() {
    round_trip(Home::postgres().await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_to_postgres() {
    round_trip(Home::postgres().await, true).await;
}

/// Tries to restore copies of a backup, each damaged in its own way, into the same database.
async fn damage_is_named(target: Target) {
    let home = Home::sqlite().await;
    let token = furnish(&home).await;
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    home.backup(&good).await;
    copy_folder(&home.folder.path().join("storage"), &target.storage());

    let refused = async |damage: &dyn Fn(&Path), expected: &[&str]| {
        let bad = folder.path().join("bad");
        copy_folder(&good, &bad);
        damage(&bad);
        let error = target.restore(&bad).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        let text = error.to_string();
        assert!(expected.iter().all(|part| text.contains(part)) && !text.contains('\n'), "{text}");
        assert!(target.is_untouched().await, "after {text}");
        fs::remove_dir_all(bad).unwrap();
    };
    let describe = |bad: &Path, name: &str, value: Value| {
        let path = bad.join("backup.json");
        let mut description: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        description[name] = value;
        fs::write(path, description.to_string()).unwrap();
    };
    let cut = |file: PathBuf| {
        let whole = fs::read(&file).unwrap();
        fs::write(file, &whole[..whole.len() / 2]).unwrap();
    };
    let edit = |file: PathBuf, change: &dyn Fn(&mut Vec<Value>)| {
        let mut rows = lines(&file);
        change(&mut rows);
        write_lines(&file, &rows);
    };

    refused(&|bad| fs::remove_file(bad.join("backup.json")).unwrap(), &["bad: ", "backup.json is missing"]).await;
    refused(&|bad| cut(bad.join("backup.json")), &["backup.json: EOF"]).await;
    refused(&|bad| describe(bad, "complete", json!(false)), &["backup.json", "did not come to its end"]).await;
    refused(&|bad| describe(bad, "format", json!(2)), &["format 2", "use a newer iglu"]).await;
    refused(&|bad| describe(bad, "schema", json!(999)), &["schema 999", "use a newer iglu"]).await;
    refused(&|bad| describe(bad, "schema", json!(1)), &["its tables are not those of schema 1"]).await;
    refused(&|bad| fs::remove_file(table_file(bad, "token")).unwrap(), &["token.jsonl.zst is missing"]).await;
    refused(&|bad| cut(table_file(bad, "audit")), &["audit.jsonl.zst: line "]).await;
    refused(&|bad| fs::write(table_file(bad, "audit"), b"").unwrap(), &["audit.jsonl.zst: line 1"]).await;
    refused(&|bad| cut(bad.join("objects.jsonl.zst")), &["objects.jsonl.zst: line "]).await;
    let flip = |bad: &Path| {
        let file = table_file(bad, "store_path");
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    };
    refused(&flip, &["store_path.jsonl.zst: line "]).await;
    let file = |bad: &Path| table_file(bad, "cache");
    refused(&|bad| edit(file(bad), &|rows| drop(rows.pop())), &["cache.jsonl.zst: line 2: ", "with 1 rows of 2"]).await;
    refused(&|bad| edit(file(bad), &|rows| rows[2][0] = json!("two")), &["line 3: id is no integer"]).await;
    refused(&|bad| edit(file(bad), &|rows| rows[2] = json!([2])), &["line 3: the row has 1 values for"]).await;
    refused(&|bad| edit(file(bad), &|rows| rows[0][0][0] = json!("x")), &["line 1: these are not the columns"]).await;
    refused(&|bad| edit(file(bad), &|rows| rows[2][0] = json!(1)), &["lines 2 to 3: ", "constraint"]).await;
    // By then earlier tables are loaded.
    let orphan = |rows: &mut Vec<Value>| rows[1][0] = json!(77);
    refused(&|bad| edit(table_file(bad, "awaited_reference"), &|rows| rows[1][2] = json!(77)), &["awaited_reference"])
        .await;
    refused(&|bad| edit(table_file(bad, "build_log"), &orphan), &["build_log.jsonl.zst: lines 2 to 2: "]).await;
    let lie = |rows: &mut Vec<Value>| rows[1][2] = json!(1);
    refused(&|bad| edit(bad.join("objects.jsonl.zst"), &lie), &["objects.jsonl.zst", "do not add up"]).await;

    assert!(target.restore(&good).await.unwrap().is_whole());
    serves(&target.open(&home.clock).await, &token).await;
}

#[tokio::test]
async fn damage_is_named_sqlite() {
    damage_is_named(Target::new(false)).await;
}

#[tokio::test]
async fn damage_is_named_postgres() {
    damage_is_named(Target::new(true)).await;
}

async fn only_the_unused_is_filled(target: Target) {
    let home = Home::sqlite().await;
    let token = furnish(&home).await;
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    home.backup(&made).await;
    copy_folder(&home.folder.path().join("storage"), &target.storage());

    let server = target.open(&home.clock).await;
    server.setup().link_create().await.unwrap();
    let is_sqlite = target.postgres.is_none();
    if is_sqlite {
        // A process that has the file open would go on with what it remembers.
        let refused = target.restore(&made).await.unwrap_err();
        assert!(matches!(refused, Error::Conflict { .. }), "{refused:?}");
        assert!(refused.to_string().ends_with("is in use; stop the server first"), "{refused}");
    }
    let name = UserName::parse("eve").unwrap();
    server.account().create(&Caller::Operator, &name, "long enough", true).await.unwrap();
    if is_sqlite {
        server.close().await.unwrap();
    }
    let refused = target.restore(&made).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused:?}");
    assert!(refused.to_string().contains("it has rows in account (1), audit (1);"), "{refused}");
    let core = target.open(&home.clock).await;
    core.account().session_create("eve", "long enough", &crate::Client::default()).await.unwrap();
    core.close().await.unwrap();

    // A database that a server only made is as good as none, however long it ran.
    let target = Target::new(target.postgres.is_some());
    copy_folder(&home.folder.path().join("storage"), &target.storage());
    let server = target.open(&home.clock).await;
    server.setup().link_create().await.unwrap();
    for one in Reconciler::ALL {
        // Some refuse: these files belong to a database, and not to this one.
        let _ = one.tick(&server).await;
    }
    match &target.postgres {
        None => server.close().await.unwrap(),
        Some(postgres) => {
            // It has seen as many changes as the backup.
            let changes = column(&made, "generation", "value")[0].as_i64().unwrap();
            past::generation_set(&postgres.url(), changes).await;
            Reconciler::DirectoryRefresh.tick(&server).await.unwrap();
        }
    }
    assert!(target.restore(&made).await.unwrap().is_whole());
    if target.postgres.is_some() {
        // A server that goes on notices.
        Reconciler::DirectoryRefresh.tick(&server).await.unwrap();
        assert!(server.cache_remembered("hidden").is_some());
    }
    serves(&target.open(&home.clock).await, &token).await;
}

#[tokio::test]
async fn only_the_unused_is_filled_sqlite() {
    only_the_unused_is_filled(Target::new(false)).await;
}

#[tokio::test]
async fn only_the_unused_is_filled_postgres() {
    only_the_unused_is_filled(Target::new(true)).await;
}

/// A backup of schema 1: its rows are loaded before later migrations change them.
#[tokio::test]
async fn older_schemas_are_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let (database, made) = (folder.path().join("iglu.db"), folder.path().join("made"));
    let name = "main.example.org-1";
    let public_key = SigningKey::from_seed(name, [7; 32]).unwrap().verifying_key();
    let sealed_seed = MasterKey::from_bytes(&[1; 32]).seal(&sealing_purpose("main", name), &[7; 32]);
    past::first_schema(&database, name, public_key.as_bytes(), &sealed_seed).await;
    let clock = Clock::default();
    let described = backup(&Location::Sqlite(database), &made, false, &clock, QUIET).await.unwrap();
    assert_eq!((described.schema, described.tables["cache"]), (1, 1));
    assert!(!described.tables.contains_key("pin"), "no table of a later schema");

    for postgres in [false, true] {
        for was_served in [false, true] {
            let target = Target::new(postgres);
            if was_served {
                target.open(&clock).await.close().await.unwrap();
            }
            target.restore(&made).await.unwrap();
            let mut bulk = Bulk::read(&target.location()).await.unwrap();
            assert_eq!(bulk.schema().await.unwrap(), Some(newest_schema()));
            bulk.close().await.unwrap();
            let core = target.open(&clock).await;
            let keys = core.key().list(&Caller::Operator, "main").await.unwrap();
            assert_eq!(keys.len(), 1);
            // The second migration sets `resigned_at` of the rows that it finds.
            assert_eq!(keys[0].state, KeyState::Active);
            push(&core, &Caller::Operator, "main", &thing("leaf", &[])).await.unwrap();
            core.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn absent_objects_are_told_of() {
    let home = Home::sqlite().await;
    furnish(&home).await;
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let described = home.backup(&made).await;
    assert_eq!(described.objects.count, 5, "three paths, a file that was put, a log");
    let target = Target::new(false);
    copy_folder(&home.folder.path().join("storage"), &target.storage());
    let stored = |kind: &str, digest: Sha256| {
        let name = digest.to_nix32();
        target.storage().join(kind).join(&name[..2]).join(name)
    };
    let (leaf, put) = (Sha256::digest(&thing("leaf", &[]).nar), Sha256::digest(&thing("put", &[]).nar));
    fs::remove_file(stored("nar", leaf)).unwrap();
    fs::write(stored("nar", put), b"short").unwrap();
    fs::remove_dir_all(target.storage().join("log")).unwrap();
    let restored = target.restore(&made).await.unwrap();
    assert_eq!((restored.missing, restored.other_size), (2, 1));
    assert!(restored.first.contains(&format!("nar {} is missing", leaf.to_nix32())), "{:?}", restored.first);
    let short = format!("nar {} has 5 bytes instead of ", put.to_nix32());
    assert!(restored.first.iter().any(|line| line.starts_with(&short)), "{:?}", restored.first);
    assert!(restored.first.iter().any(|line| line.starts_with("log ")), "{:?}", restored.first);
}

#[tokio::test]
async fn a_backup_is_not_written_over() {
    let home = Home::sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let try_in = async |path: &Path, force| backup(&home.location(), path, force, &home.clock, QUIET).await;
    let made = folder.path().join("made");
    try_in(&made, false).await.unwrap();
    for force in [false, true] {
        let refused = refusal(try_in(&made, force).await);
        assert!(refused.contains("holds a whole backup"), "{refused}");
    }
    fs::remove_file(made.join("backup.json")).unwrap();
    let refused = refusal(try_in(&made, false).await);
    assert!(refused.contains("--force"), "{refused}");
    fs::write(made.join("letter"), "dear").unwrap();
    let refused = refusal(try_in(&made, true).await);
    assert!(refused.contains("it holds letter"), "{refused}");
    fs::remove_file(made.join("letter")).unwrap();
    let again = try_in(&made, true).await.unwrap();
    let read: Backup = serde_json::from_slice(&fs::read(made.join("backup.json")).unwrap()).unwrap();
    assert_eq!(read, again);
    let absent = Location::Sqlite(folder.path().join("absent.db"));
    let refused = refusal(backup(&absent, &folder.path().join("x"), false, &home.clock, QUIET).await);
    assert!(refused.starts_with("there is no database ") && !folder.path().join("x").exists(), "{refused}");
}

#[tokio::test]
async fn every_table_with_files_is_listed() {
    for table in catalog(newest_schema()).await.unwrap() {
        // Dead files are named by nothing else: nobody needs them back.
        let names_files = table.name != "dead_file" && table.columns.iter().any(|column| column.name == "file_hash");
        let is_listed = OBJECTS.iter().any(|(name, _)| *name == table.name);
        assert_eq!(names_files, is_listed, "{}: say in db::dump::OBJECTS which objects it names", table.name);
    }
}
