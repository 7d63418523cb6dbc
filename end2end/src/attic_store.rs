//! What an attic server leaves behind, written without one: its database, SQLite or PostgreSQL, and its storage folder. Tables, spellings
//! and places are those of attic; only the cuts between chunks are not where its chunker would make them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool, sqlite::SqliteConnectOptions};
use tokio::io::AsyncReadExt as _;

use crate::digest::{base_name, hash_part, sha256_hex};
use crate::object::Object;
use crate::put::compress;

/// The tables that are read again; `ID` and `TIME` are the engines' own.
const TABLES: &str = r#"
CREATE TABLE cache (id ID, name varchar(50) NOT NULL UNIQUE, keypair varchar NOT NULL, is_public boolean NOT NULL,
  store_dir varchar NOT NULL, priority integer NOT NULL, upstream_cache_key_names varchar NOT NULL, created_at TIME NOT NULL,
  deleted_at TIME, retention_period integer);
CREATE TABLE nar (id ID, state varchar(1) NOT NULL, nar_hash varchar NOT NULL, nar_size bigint NOT NULL,
  compression varchar(10) NOT NULL, num_chunks integer NOT NULL, completeness_hint boolean NOT NULL DEFAULT TRUE,
  holders_count integer NOT NULL DEFAULT 0, created_at TIME NOT NULL);
CREATE TABLE object (id ID, cache_id bigint NOT NULL, nar_id bigint NOT NULL, store_path_hash varchar(32) NOT NULL,
  store_path varchar NOT NULL, "references" varchar NOT NULL, system varchar, deriver varchar, sigs varchar NOT NULL, ca varchar,
  created_at TIME NOT NULL, last_accessed_at TIME, created_by varchar, UNIQUE (cache_id, store_path_hash));
CREATE TABLE chunk (id ID, state varchar(1) NOT NULL, chunk_hash varchar NOT NULL, chunk_size bigint NOT NULL, file_hash varchar,
  file_size bigint, compression varchar(10) NOT NULL, remote_file varchar NOT NULL, remote_file_id varchar NOT NULL UNIQUE,
  holders_count integer NOT NULL DEFAULT 0, created_at TIME NOT NULL);
CREATE TABLE chunkref (id ID, nar_id bigint NOT NULL, seq integer NOT NULL, chunk_id bigint, chunk_hash varchar NOT NULL,
  compression varchar NOT NULL);
CREATE INDEX "idx-chunkref-nar-id" ON chunkref (nar_id);
"#;

#[derive(Debug, Clone)]
enum Database {
    Sqlite(SqlitePool, PathBuf),
    Postgres(PgPool, String),
}

/// A statement with `$1`… and its values; the id that it returns, if it does.
macro_rules! id {
    ($store:expr, $sql:expr $(, $value:expr)*) => {{
        let row: Option<(i64,)> = match &$store.database {
            Database::Sqlite(pool, _) => sqlx::query_as($sql)$(.bind($value))*.fetch_optional(pool).await?,
            Database::Postgres(pool, _) => sqlx::query_as($sql)$(.bind($value))*.fetch_optional(pool).await?,
        };
        row.map(|row| row.0)
    }};
}

/// An attic server's belongings.
#[derive(Debug, Clone)]
pub struct AtticStore {
    database: Database,
    storage: PathBuf,
}

/// What a push left behind.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Row of the NAR.
    pub nar: i64,
    /// The files of its chunks, in order.
    pub files: Vec<PathBuf>,
    /// The NAR itself.
    pub bytes: Vec<u8>,
}

impl AtticStore {
    /// An empty server with `server.db` and `storage` in this folder.
    pub async fn sqlite(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("server.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await?;
        let tables = TABLES.replace("ID,", "integer NOT NULL PRIMARY KEY AUTOINCREMENT,").replace("TIME", "text");
        Self::new(Database::Sqlite(pool, file), folder, tables).await
    }

    /// The same with an empty database of PostgreSQL.
    pub async fn postgres(url: &str, folder: &Path) -> anyhow::Result<Self> {
        let pool = PgPool::connect(url).await?;
        let tables =
            TABLES.replace("ID,", "bigserial NOT NULL PRIMARY KEY,").replace("TIME", "timestamp with time zone");
        Self::new(Database::Postgres(pool, url.to_owned()), folder, tables).await
    }

    async fn new(database: Database, folder: &Path, tables: String) -> anyhow::Result<Self> {
        let storage = folder.join("storage");
        std::fs::create_dir(&storage)?;
        std::fs::write(storage.join("VERSION"), "1")?;
        let store = Self { database, storage };
        store.execute(&tables).await?;
        Ok(store)
    }

    /// The database as its URL or file name.
    pub fn database(&self) -> String {
        match &self.database {
            Database::Sqlite(_, file) => file.display().to_string(),
            Database::Postgres(_, url) => url.clone(),
        }
    }

    /// The storage folder.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// Creates a cache; `keypair` is the text of a secret key.
    pub async fn cache(&self, name: &str, keypair: &str, public: bool) -> anyhow::Result<i64> {
        let id = id!(
            self,
            "INSERT INTO cache (name, keypair, is_public, store_dir, priority, upstream_cache_key_names, created_at) \
             VALUES ($1, $2, $3, '/nix/store', 41, '[\"cache.nixos.org-1\"]', CURRENT_TIMESTAMP) RETURNING CAST(id AS BIGINT)",
            name,
            keypair,
            public
        );
        id.context("no row came back")
    }

    /// Uploads a path: in chunks of `chunk` bytes, the whole NAR in one if that is `None`, packed with `compression` (as in
    /// narinfos). Chunks that are there already are used again.
    pub async fn push(
        &self,
        cache: i64,
        object: &Object,
        compression: &str,
        chunk: Option<usize>,
    ) -> anyhow::Result<Stored> {
        let mut bytes = Vec::new();
        let mut reader = object.nar.open()?;
        reader.read_to_end(&mut bytes).await?;
        reader.finish().await?;
        let pieces: Vec<&[u8]> = bytes.chunks(chunk.unwrap_or(usize::MAX).max(1)).collect();
        let nar = id!(
            self,
            "INSERT INTO nar (state, nar_hash, nar_size, compression, num_chunks, created_at) \
             VALUES ('V', $1, $2, $3, $4, CURRENT_TIMESTAMP) RETURNING CAST(id AS BIGINT)",
            format!("sha256:{}", sha256_hex(&bytes)),
            i64::try_from(bytes.len())?,
            compression,
            i32::try_from(pieces.len())?
        );
        let nar = nar.context("no row came back")?;
        let mut files = Vec::new();
        for (seq, piece) in (0_i32..).zip(pieces) {
            let (id, hash, file) = self.chunk(piece, compression).await?;
            let link = id!(
                self,
                "INSERT INTO chunkref (nar_id, seq, chunk_id, chunk_hash, compression) VALUES ($1, $2, $3, $4, $5) \
                 RETURNING CAST(id AS BIGINT)",
                nar,
                seq,
                id,
                hash,
                compression
            );
            link.context("no row came back")?;
            files.push(file);
        }
        let link = id!(
            self,
            "INSERT INTO object (cache_id, nar_id, store_path_hash, store_path, \"references\", deriver, sigs, ca, created_at, \
             created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CURRENT_TIMESTAMP, 'tester') RETURNING CAST(id AS BIGINT)",
            cache,
            nar,
            hash_part(&object.path),
            &object.path,
            serde_json::to_string(&object.references)?,
            object.deriver.as_deref().map(base_name),
            serde_json::to_string(&object.sigs)?,
            object.ca.as_deref()
        );
        link.context("no row came back")?;
        Ok(Stored { nar, files, bytes })
    }

    async fn chunk(&self, piece: &[u8], compression: &str) -> anyhow::Result<(i64, String, PathBuf)> {
        let hash = format!("sha256:{}", sha256_hex(piece));
        // attic takes a random name; here it is the chunk's own, so that it can be found again.
        let random = sha256_hex(format!("{hash} {compression}").as_bytes());
        let name = format!("{}-{}-{}.chunk", &random[..8], &random[8..12], &random[12..24]);
        let file = self.storage.join(&name[..1]).join(&name[..2]).join(&name);
        let known = id!(
            self,
            "SELECT CAST(id AS BIGINT) FROM chunk WHERE chunk_hash = $1 AND compression = $2",
            &hash,
            compression
        );
        if let Some(id) = known {
            return Ok((id, hash, file));
        }
        let packed = compress(compression, piece).await?;
        std::fs::create_dir_all(file.parent().context("a file without a folder")?)?;
        std::fs::write(&file, &packed)?;
        let id = id!(
            self,
            "INSERT INTO chunk (state, chunk_hash, chunk_size, file_hash, file_size, compression, remote_file, remote_file_id, \
             created_at) VALUES ('V', $1, $2, $3, $4, $5, $6, $7, CURRENT_TIMESTAMP) RETURNING CAST(id AS BIGINT)",
            &hash,
            i64::try_from(piece.len())?,
            format!("sha256:{}", sha256_hex(&packed)),
            i64::try_from(packed.len())?,
            compression,
            serde_json::json!({ "Local": { "name": name } }).to_string(),
            format!("local:{name}")
        );
        Ok((id.context("no row came back")?, hash, file))
    }

    /// Runs statements, to spoil something.
    pub async fn execute(&self, statements: &str) -> anyhow::Result<()> {
        let statements = AssertSqlSafe(statements.to_owned());
        match &self.database {
            Database::Sqlite(pool, _) => sqlx::raw_sql(statements).execute(pool).await.map(drop)?,
            Database::Postgres(pool, _) => sqlx::raw_sql(statements).execute(pool).await.map(drop)?,
        }
        Ok(())
    }
}
