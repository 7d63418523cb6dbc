//! What is read of the TypeScript Iglu: both shapes of its database, with files where its versions kept them.

#![allow(clippy::unwrap_used)]

mod support;

use iglu_end2end::{digest, nar, object::Object, put::compress, typescript_store::TABLES};
use iglu_import::{Access, Location, Source};
use nix_compat::signing::SigningKey;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use std::{fs, path::Path};
use support::{nar as whole_nar, postgres::Postgres, read, why_no_nar};

/// Tables of the repository `cache`, as far as they are read.
const HASHES: &str = "
CREATE SCHEMA cache;
CREATE TABLE cache.caches (id SERIAL PRIMARY KEY, githubUsername TEXT, isPublic BOOLEAN, name TEXT, permission TEXT,
  preferredCompressionMethod TEXT, uri TEXT, priority INTEGER DEFAULT 40);
CREATE TABLE cache.hashes (id SERIAL PRIMARY KEY, path TEXT NOT NULL, cache INTEGER NOT NULL REFERENCES cache.caches,
  updatedAt TIMESTAMP DEFAULT now() NOT NULL, cDeriver TEXT NOT NULL, cFileHash TEXT NOT NULL, cFileSize BIGINT NOT NULL,
  cNarHash TEXT NOT NULL, cNarSize BIGINT NOT NULL, cReferences TEXT[] NOT NULL, cSig TEXT, cStoreHash TEXT NOT NULL,
  cStoreSuffix TEXT NOT NULL, parts JSONB[] NOT NULL DEFAULT '{}', compression TEXT NOT NULL);
CREATE TABLE cache.public_signing_keys (id SERIAL PRIMARY KEY, name TEXT NOT NULL, key TEXT NOT NULL, description TEXT);
CREATE TABLE cache.signing_key_cache_api_link (id SERIAL PRIMARY KEY, cache_id INT, key_id INT, signing_key_id INT);
INSERT INTO cache.caches (id, name, isPublic, priority) VALUES (1, 'main', TRUE, 38), (2, 'other', FALSE, NULL);
";

/// Two tenants of the repository `iglu`.
const TENANTS: &str = "
INSERT INTO tenants VALUES ('00000000-0000-7000-8000-00000000000a', 'me', TRUE, 'main', 'u', 38, 'Read', 'xz', 86400),
  ('00000000-0000-7000-8000-00000000000b', 'me', FALSE, 'other', 'u', 40, 'Read', 'xz', 60);
";

const MAIN: &str = "00000000-0000-7000-8000-00000000000a";

fn uuid(n: usize) -> String {
    format!("00000000-0000-7000-8000-{n:012}")
}

/// One path as the old server has it.
struct Old {
    object: Object,
    compression: &'static str,
    file: Vec<u8>,
    nar: Vec<u8>,
    signature: String,
}

impl Old {
    async fn new(name: &str, compression: &'static str, references: &[&Old]) -> Self {
        let mut object = Object::bytes(name, 3, nar::archive(&nar::regular(name.repeat(50).as_bytes())));
        for reference in references {
            object = object.referring_to(&reference.object.path);
        }
        let iglu_end2end::object::Nar::Bytes(nar) = &object.nar else { panic!("not in memory") };
        let nar = nar.to_vec();
        let signature = key().sign(name).to_string();
        Self { file: compress(compression, &nar).await.unwrap(), object, compression, nar, signature }
    }

    fn base_name(&self) -> &str {
        digest::base_name(&self.object.path)
    }

    /// Values in the order of the columns that both shapes have, up to `compression`.
    fn values(&self, references: &str) -> String {
        let (hash, suffix) = self.base_name().split_once('-').unwrap();
        let (_, signature) = self.signature.split_once(':').unwrap();
        format!(
            "'unknown-deriver', '{}', {}, 'sha256:{}', {}, {references}, '{signature}', '{hash}', '{suffix}', '{}'",
            digest::sha256_hex(&self.file),
            self.file.len(),
            digest::sha256_nix32(&self.nar),
            self.nar.len(),
            self.compression
        )
    }

    fn write(&self, file: &Path) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &self.file).unwrap();
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed("main", [9; 32]).unwrap()
}

async fn open(database: String, storage: &Path) -> Source {
    let location = Location::Typescript { database, storage: storage.display().to_string() };
    Source::open(&location, &Access::default()).await.unwrap()
}

/// What both shapes have to give: `leaf` and `top`, of which `top` refers to `leaf`, and what is wrong.
async fn everything(source: &Source, leaf: &Old, top: &Old, read_errors: &[(&Old, &str)], listed: &[(&Old, &str)]) {
    let found = source.caches().await.unwrap();
    let (main, other) = (&found.caches[0], &found.caches[1]);
    assert_eq!((main.name.as_str(), main.is_public, main.priority), ("main", Some(true), Some(38)));
    assert_eq!((other.name.as_str(), other.is_public, other.paths), ("other", Some(false), Some(0)));
    assert_eq!(main.client_keys, [key().verifying_key()]);
    assert!(main.signing_keys.is_empty() && other.client_keys.is_empty());
    assert_eq!(found.left_out.len(), 1, "{:?}", found.left_out);
    assert!(found.left_out[0].what.contains("public key of cache main"));

    let (paths, bad) = read(source.paths(main, Vec::new()).await.unwrap()).await;
    assert_eq!(main.paths, Some((paths.len() + bad.len()) as u64));
    let path = &paths[top.base_name()];
    assert_eq!(whole_nar(source, path).await, top.nar);
    assert_eq!(path.narinfo.references[0].to_string(), leaf.base_name());
    assert_eq!(path.narinfo.signatures[0].to_string(), top.signature);
    assert_eq!((path.narinfo.deriver.as_ref(), path.narinfo.file_hash.is_some()), (None, true));
    let path = &paths[leaf.base_name()];
    assert_eq!(whole_nar(source, path).await, leaf.nar);
    assert!(path.narinfo.references.is_empty());
    for (old, why) in read_errors {
        let found = why_no_nar(source, &paths[old.base_name()]).await;
        assert!(found.contains(why) && found.contains(&old.object.path), "{found}");
    }
    for (old, why) in listed {
        assert!(bad[&old.object.path].why.contains(why), "{:?}", bad[&old.object.path]);
    }
    assert_eq!((paths.len(), bad.len()), (2 + read_errors.len(), listed.len()), "{bad:?}");
    assert!(read(source.paths(other, Vec::new()).await.unwrap()).await.0.is_empty());
}

#[tokio::test]
async fn hashes_of_the_repository_cache() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::raw_sql(HASHES).execute(&mut database).await.unwrap();
    let leaf = Old::new("leaf", "xz", &[]).await;
    let top = Old::new("top", "zstd", &[&leaf]).await;
    let (gone, short) = (Old::new("gone", "xz", &[]).await, Old::new("short", "xz", &[]).await);
    let odd = Old::new("odd", "xz", &[]).await;
    let mut sql = String::new();
    for (n, old) in [&leaf, &top, &gone, &short, &odd].into_iter().enumerate() {
        let name = format!("{n}ab.nar.{}", old.compression);
        let references: Vec<String> = old.object.references.iter().map(|name| format!("'{name}'")).collect();
        let references = format!("ARRAY[{}]::TEXT[]", references.join(","));
        sql.push_str(&format!(
            "INSERT INTO cache.hashes (path, cache, cDeriver, cFileHash, cFileSize, cNarHash, cNarSize, cReferences, cSig, \
             cStoreHash, cStoreSuffix, compression) VALUES ('/app/data/nar_files/main/{name}', 1, {});",
            old.values(&references)
        ));
        old.write(&folder.path().join("nar_files/main").join(name));
    }
    fs::remove_file(folder.path().join("nar_files/main/2ab.nar.xz")).unwrap();
    fs::write(folder.path().join("nar_files/main/3ab.nar.xz"), "short").unwrap();
    let public = key().verifying_key().to_string();
    let bare = public.split_once(':').unwrap().1;
    sql.push_str("UPDATE cache.hashes SET compression = 'zip' WHERE cStoreSuffix = 'odd';");
    sql.push_str(&format!(
        "INSERT INTO cache.public_signing_keys (id, name, key) VALUES (1, 'a', '{bare}'), (2, 'b', ''), (3, 'c', 'nonsense');\
         INSERT INTO cache.signing_key_cache_api_link (cache_id, key_id, signing_key_id) VALUES (1,1,1), (1,2,1), (1,3,2), (1,4,3);"
    ));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut database).await.unwrap();
    let (read_errors, listed) = ([(&gone, "is not in"), (&short, "has 5 bytes")], [(&odd, "compression zip")]);
    // The folder itself, or the one inside it.
    for storage in [folder.path().to_owned(), folder.path().join("nar_files")] {
        let source = open(postgres.url(), &storage).await;
        everything(&source, &leaf, &top, &read_errors, &listed).await;
    }
}

/// Rows and files of the later shape.
async fn tenants() -> (String, tempfile::TempDir, Vec<Old>) {
    let folder = tempfile::tempdir().unwrap();
    let leaf = Old::new("leaf", "xz", &[]).await;
    let top = Old::new("top", "zstd", &[&leaf]).await;
    let (gone, odd) = (Old::new("gone", "xz", &[]).await, Old::new("odd", "xz", &[]).await);
    let all = vec![leaf, top, gone, odd];
    let mut sql = String::new();
    for (n, old) in all.iter().enumerate() {
        let references = format!("'{}'", serde_json::to_string(&old.object.references).unwrap());
        sql.push_str(&format!(
            "INSERT INTO derivations (id, signing_keys_id, parts, cderiver, cfilehash, cfilesize, cnarhash, cnarsize, creferences, \
             csig, cstorehash, cstoresuffix, compression) VALUES ('{}', '{}', '[]', {});\
             INSERT INTO derivations_tenants_links (id, tenants_id, derivations_id) VALUES ('{}', '{MAIN}', '{}');",
            uuid(n),
            uuid(1),
            old.values(&references),
            uuid(50 + n),
            uuid(n)
        ));
    }
    // One where earlier versions kept it, one where later ones do.
    all[0].write(&folder.path().join(MAIN).join(format!("{}.xz", all[0].base_name())));
    all[1].write(&folder.path().join(format!("{}.zstd", all[1].base_name())));
    let public = key().verifying_key();
    sql.push_str("UPDATE derivations SET cnarsize = 'many' WHERE cstoresuffix = 'odd';");
    for (n, key) in [public.to_string(), "nonsense".to_owned()].iter().enumerate() {
        sql.push_str(&format!(
            "INSERT INTO signing_keys (id, key, name, api_keys_id) VALUES ('{id}', '{key}', 'k', '{id}');\
             INSERT INTO api_keys_tenants_link (id, tenants_id, api_keys_id) VALUES ('{id}', '{MAIN}', '{id}');",
            id = uuid(n + 1)
        ));
    }
    (sql, folder, all)
}

async fn all_of_tenants(source: &Source, all: &[Old]) {
    everything(source, &all[0], &all[1], &[(&all[2], "is not in")], &[(&all[3], "NAR size")]).await;
    let caches = source.caches().await.unwrap().caches;
    assert_eq!(caches[0].retention_seconds, Some(86400));
}

#[tokio::test]
async fn tenants_in_postgresql() {
    let postgres = Postgres::start();
    let (sql, folder, all) = tenants().await;
    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    // A number in PostgreSQL could not be spoiled so.
    let tables = TABLES.replace("ID ", "UUID ") + TENANTS;
    sqlx::raw_sql(AssertSqlSafe(format!("{tables}{sql}"))).execute(&mut database).await.unwrap();
    all_of_tenants(&open(postgres.url(), folder.path()).await, &all).await;
}

#[tokio::test]
async fn tenants_in_sqlite() {
    let (sql, folder, all) = tenants().await;
    let file = folder.path().join("out.sqlite");
    let mut database = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", file.display())).await.unwrap();
    let tables = TABLES.replace("ID ", "TEXT ") + TENANTS;
    sqlx::raw_sql(AssertSqlSafe(format!("{tables}{sql}"))).execute(&mut database).await.unwrap();
    let source = open(format!("sqlite:{}", file.display()), folder.path()).await;
    all_of_tenants(&source, &all).await;
}

#[tokio::test]
async fn other_databases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.sqlite").display().to_string();
    let mut database = SqliteConnection::connect(&format!("sqlite:{file}?mode=rwc")).await.unwrap();
    sqlx::raw_sql("CREATE TABLE cache (id INT)").execute(&mut database).await.unwrap();
    let location = Location::Typescript { database: file, storage: folder.path().display().to_string() };
    let error = Source::open(&location, &Access::default()).await.unwrap_err().to_string();
    assert!(error.contains("tenants"), "{error}");
}
