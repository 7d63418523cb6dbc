//! What a server of Iglu's TypeScript generation leaves behind, written without one: the later shape of its database, in SQLite, and its
//! NAR folder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, SqlitePool};
use tokio::io::AsyncReadExt as _;

use crate::digest::{base_name, sha256_hex, sha256_nix32};
use crate::object::Object;
use crate::put::compress;

/// The tables that are read; `ID` is the engine's own type.
pub const TABLES: &str = "
CREATE TABLE tenants (id ID PRIMARY KEY NOT NULL, github_username TEXT NOT NULL, is_public BOOLEAN NOT NULL, name TEXT NOT NULL,
  uri TEXT NOT NULL, priority INTEGER NOT NULL, permission TEXT NOT NULL, preferred_compression_method TEXT NOT NULL,
  ttl BIGINT NOT NULL);
CREATE TABLE signing_keys (id ID PRIMARY KEY NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, api_keys_id ID NOT NULL);
CREATE TABLE api_keys_tenants_link (id ID PRIMARY KEY NOT NULL, tenants_id ID NOT NULL, api_keys_id ID NOT NULL);
CREATE TABLE derivations (id ID PRIMARY KEY NOT NULL, signing_keys_id ID NOT NULL, cderiver TEXT NOT NULL, cfilehash TEXT NOT NULL,
  cfilesize BIGINT NOT NULL, cnarhash TEXT NOT NULL, cnarsize TEXT NOT NULL, creferences TEXT NOT NULL, csig TEXT NOT NULL,
  cstorehash TEXT NOT NULL, cstoresuffix TEXT NOT NULL, parts TEXT NOT NULL, compression TEXT NOT NULL);
CREATE TABLE derivations_tenants_links (id ID PRIMARY KEY NOT NULL, tenants_id ID NOT NULL, derivations_id ID NOT NULL,
  pin BOOLEAN NOT NULL DEFAULT FALSE);
";

/// The belongings of such a server with one cache.
#[derive(Debug)]
pub struct TypescriptStore {
    pool: SqlitePool,
    database: PathBuf,
    storage: PathBuf,
    rows: usize,
}

const TENANT: &str = "00000000-0000-7000-8000-00000000000a";

fn uuid(n: usize) -> String {
    format!("00000000-0000-7000-8000-{n:012}")
}

impl TypescriptStore {
    /// A public cache of this name with priority 38, whose clients sign with `public_key`, below `folder`.
    pub async fn new(folder: &Path, name: &str, public_key: &str) -> anyhow::Result<Self> {
        let (database, storage) = (folder.join("iglu.sqlite"), folder.join("nars"));
        std::fs::create_dir(&storage)?;
        let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await?;
        let store = Self { pool, database, storage, rows: 0 };
        store.execute(&TABLES.replace("ID ", "TEXT ")).await?;
        let id = uuid(1);
        store
            .execute(&format!(
                "INSERT INTO tenants VALUES ('{TENANT}', 'me', TRUE, '{name}', 'u', 38, 'Read', 'xz', 0);\
                 INSERT INTO signing_keys (id, key, name, api_keys_id) VALUES ('{id}', '{public_key}', 'k', '{id}');\
                 INSERT INTO api_keys_tenants_link (id, tenants_id, api_keys_id) VALUES ('{id}', '{TENANT}', '{id}');"
            ))
            .await?;
        Ok(store)
    }

    /// The database file.
    pub fn database(&self) -> String {
        self.database.display().to_string()
    }

    /// The folder with the NAR files.
    pub fn storage(&self) -> String {
        self.storage.display().to_string()
    }

    /// Uploads a path. The first of its signatures is kept, without the name of its key.
    pub async fn push(&mut self, object: &Object, compression: &str) -> anyhow::Result<()> {
        let mut nar = Vec::new();
        let mut reader = object.nar.open()?;
        reader.read_to_end(&mut nar).await?;
        reader.finish().await?;
        let file = compress(compression, &nar).await?;
        let base = base_name(&object.path);
        std::fs::write(self.storage.join(format!("{base}.{compression}")), &file)?;
        let (hash, suffix) = base.split_once('-').context("a store path without a name")?;
        let signature = object.sigs.first().and_then(|sig| sig.split_once(':')).map_or("", |(_, digits)| digits);
        self.rows += 1;
        let (row, key) = (uuid(100 + self.rows), uuid(1));
        let (file_hash, file_size, nar_hash, nar_size) = (sha256_hex(&file), file.len(), sha256_nix32(&nar), nar.len());
        let references = serde_json::to_string(&object.references)?;
        self.execute(&format!(
            "INSERT INTO derivations (id, signing_keys_id, cderiver, cfilehash, cfilesize, cnarhash, cnarsize, creferences, csig, \
             cstorehash, cstoresuffix, parts, compression) VALUES ('{row}', '{key}', 'unknown-deriver', '{file_hash}', {file_size}, \
             'sha256:{nar_hash}', {nar_size}, '{references}', '{signature}', '{hash}', '{suffix}', '[]', '{compression}');\
             INSERT INTO derivations_tenants_links (id, tenants_id, derivations_id) VALUES ('{row}', '{TENANT}', '{row}');"
        ))
        .await
    }

    async fn execute(&self, statements: &str) -> anyhow::Result<()> {
        Ok(sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&self.pool).await.map(drop)?)
    }
}
