//! Databases as others left them, for tests of what only SQL can make.

use super::*;
use sqlx::{Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::path::Path;

const INSERT_CACHE: &str = "INSERT INTO cache (id, name, is_public, priority, compression, created_at) \
    VALUES (5, 'main', TRUE, 40, 'zstd', 9)";
const INSERT_KEY: &str = "INSERT INTO signing_key (id, cache_id, name, public_key, sealed_seed, created_at) \
    VALUES (3, 5, $1, $2, $3, 9)";

/// The rows of a cache go with it.
const EMPTY: &str = "DELETE FROM cache; DELETE FROM nar; DELETE FROM dead_file; DELETE FROM setting; DELETE FROM audit; \
    UPDATE generation SET value = 1";

/// A database of schema 1 with the cache `main` and its signing key.
pub(crate) async fn first_schema(path: &Path, key: &str, public_key: &[u8], sealed_seed: &[u8]) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    SQLITE_MIGRATIONS.run_to(1, &mut connection).await.unwrap();
    sqlx::query(INSERT_CACHE).execute(&mut connection).await.unwrap();
    let insert = sqlx::query(INSERT_KEY).bind(key).bind(public_key).bind(sealed_seed);
    insert.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Makes a PostgreSQL database one that saw this many changes.
pub(crate) async fn generation_set(url: &str, value: i64) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let update = sqlx::query("UPDATE generation SET value = $1").bind(value);
    update.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Makes a PostgreSQL database that a server used what it was when it was new.
pub(crate) async fn empty(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(EMPTY).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
