//! The only door to SQL. One text of each statement serves SQLite and PostgreSQL: `$1` placeholders, BIGINT
//! milliseconds, BLOB/BYTEA. Every statement is a constant that a test prepares on both engines.
//!
//! SQLite has one writing connection and a pool of readers, so that "database is locked" cannot happen between our own
//! tasks; a write transaction begins IMMEDIATE and spans no network I/O.

mod account;
mod activity;
mod aside;
mod audited;
mod builder;
mod cache;
mod check;
mod dead;
pub(crate) mod dump;
mod files;
mod invitation;
mod key;
mod link;
pub(crate) mod load;
mod login;
mod member;
mod node;
mod open;
#[cfg(test)]
pub(crate) mod past;
mod path;
mod pin;
mod probe;
mod push;
mod reference;
mod retention;
mod run;
mod run_log;
mod side;
mod status;
mod token;
mod trigger;

pub(crate) use account::{AccountRow, NewSession};
pub(crate) use activity::{ActivityDelta, ActivityRow, SizeRow};
pub(crate) use aside::{AsideFound, DamagedRow, Departure};
pub(crate) use builder::BuilderFound;
pub use cache::NarBytes;
pub(crate) use cache::{CacheRow, CacheUpdate, NewCache};
pub(crate) use check::NarRow;
pub(crate) use dead::DeadFile;
pub(crate) use files::NamedFile;
pub(crate) use invitation::{InvitationFound, NewInvitation};
pub(crate) use key::{ClientKeyRow, KeyRow, NewKey, ReplacedKeys, Resigned, SignedRow};
pub(crate) use link::{Candidacy, Ear, Voice};
pub(crate) use member::role;
pub(crate) use node::{Greeting, NodeFound};
pub use open::{Opening, Schema};
use open::{POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS, migration_failed};
pub(crate) use path::NarinfoRow;
pub(crate) use pin::NewPin;
pub(crate) use push::{Commit, Committed, Covered, HeldRow, NewFile, Outcome, PartRow, UploadRow};
pub(crate) use reference::LinkedRow;
pub(crate) use retention::{GraphRow, RemovalRow, SetAside};
pub(crate) use run::{Claim, NewRun, RunDerivationRow, RunFound, Taken, Told};
pub(crate) use run_log::RunLogRow;
pub(crate) use side::{ListedLog, NewLog};
pub(crate) use status::StatusDue;
pub(crate) use token::{NewToken, scope};
pub(crate) use trigger::NewDelivery;

use crate::error::{Error, Result};
use sqlx::{Connection, PgPool, SqlitePool};
use std::time::{Duration, Instant};

/// Hashes asked for in one statement; both engines take this many placeholders.
const CHUNK: usize = 500;

/// Defines statements as constants, and `ALL` of them for the test that prepares each on both engines.
macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        $(pub(super) const $name: &str = $sql;)*
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// Runs `$run` with a connection source for reading.
macro_rules! read {
    ($db:expr, |$pool:ident| $run:expr) => {{
        let _timed = $crate::db::Timed::new("read");
        match $db {
            $crate::db::Db::Sqlite { read: $pool, .. } => $run,
            $crate::db::Db::Postgres($pool) => $run,
        }
    }};
}

/// Runs `$run` in one write transaction; an early return rolls it back.
macro_rules! transact {
    ($db:expr, |$tx:ident| $run:block) => {{
        let _timed = $crate::db::Timed::new("write");
        match $db {
            $crate::db::Db::Sqlite { write, .. } => {
                let mut transaction = write.begin_with("BEGIN IMMEDIATE").await?;
                let outcome = {
                    let $tx = &mut *transaction;
                    $run
                };
                transaction.commit().await?;
                outcome
            }
            $crate::db::Db::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let outcome = {
                    let $tx = &mut *transaction;
                    $run
                };
                transaction.commit().await?;
                outcome
            }
        }
    }};
}

pub(crate) use {read, statements, transact};

/// Records how long a statement or transaction took, waiting for its connection included.
pub(crate) struct Timed {
    kind: &'static str,
    started: Instant,
    /// Of the trace, for as long as this lives.
    _span: tracing::Span,
}

impl Timed {
    pub fn new(kind: &'static str) -> Timed {
        let _span = tracing::debug_span!("database", otel.name = format_args!("database {kind}"), otel.kind = "client");
        Timed { kind, started: Instant::now(), _span }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        metrics::histogram!("iglu_database_seconds", "kind" => self.kind).record(self.started.elapsed());
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Db {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(PgPool),
}

/// Where the database is.
#[derive(Clone)]
pub enum Location {
    /// A file of the data folder, made when absent.
    Sqlite(std::path::PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

impl Location {
    /// Whether it is another program that may be away for a while.
    pub fn is_remote(&self) -> bool {
        matches!(self, Location::Postgres(_))
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
            // The URL may hold a password.
            Location::Postgres(_) => f.write_str("Postgres(redacted)"),
        }
    }
}

/// A line of the audit log, written in the transaction of the change that it tells of.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub at: i64,
    pub actor: String,
    pub action: &'static str,
    pub object: String,
    pub address: String,
    /// The cache that it is about.
    pub cache_id: Option<i64>,
}

impl Audit {
    /// The same, about this cache.
    pub fn of(self, cache_id: i64) -> Audit {
        Audit { cache_id: Some(cache_id), ..self }
    }
}

statements! {
    INSERT_AUDIT = "INSERT INTO audit (at, actor, action, object, address, cache_id) VALUES ($1, $2, $3, $4, $5, $6)";
    BUMP_GENERATION = "UPDATE generation SET value = value + 1 WHERE id = 1";
    GET_GENERATION = "SELECT value FROM generation WHERE id = 1";
    GET_SETTING = "SELECT value FROM setting WHERE name = $1";
    KEEP_SETTING = "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    PUT_SETTING = "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
}

/// Writes an audit line with the open transaction `$tx`.
macro_rules! audit {
    ($tx:ident, $audit:expr) => {{
        let audit: &$crate::db::Audit = $audit;
        sqlx::query($crate::db::INSERT_AUDIT)
            .bind(audit.at)
            .bind(&audit.actor)
            .bind(audit.action)
            .bind(&audit.object)
            .bind(&audit.address)
            .bind(audit.cache_id)
            .execute(&mut *$tx)
            .await?;
    }};
}
pub(crate) use audit;

/// Tells running servers, with the open transaction `$tx`, that what they hold in memory changed.
macro_rules! bump {
    ($tx:ident) => {
        sqlx::query($crate::db::BUMP_GENERATION).execute(&mut *$tx).await?
    };
}
pub(crate) use bump;

impl Db {
    pub async fn close(&self) {
        match self {
            Db::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }

    /// For tests: makes something wrong.
    #[cfg(test)]
    pub async fn test_execute(&self, sql: impl Into<String>) -> Result<()> {
        let sql = sql.into();
        transact!(self, |tx| {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Raised by every change of what servers hold in memory.
    pub async fn generation(&self) -> Result<i64> {
        Ok(read!(self, |pool| sqlx::query_scalar(GET_GENERATION).fetch_one(pool).await?))
    }

    /// Lets running servers forget what they remember.
    pub async fn generation_raise(&self) -> Result<()> {
        transact!(self, |tx| {
            bump!(tx);
        });
        Ok(())
    }

    pub async fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(read!(self, |pool| sqlx::query_scalar(GET_SETTING).bind(name).fetch_optional(pool).await?))
    }

    /// Sets what has no value yet; the value that it has then, whoever set it.
    pub async fn setting_keep(&self, name: &str, value: &str) -> Result<String> {
        Ok(transact!(self, |tx| {
            sqlx::query(KEEP_SETTING).bind(name).bind(value).execute(&mut *tx).await?;
            sqlx::query_scalar(GET_SETTING).bind(name).fetch_one(&mut *tx).await?
        }))
    }

    pub async fn setting_put(&self, name: &str, value: &str) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(PUT_SETTING).bind(name).bind(value).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

/// Whether `error` says that a row with the same unique value exists.
fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// `$first, $first+1, …` for `count` values.
fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

    fn all_statements() -> Vec<(&'static str, &'static str)> {
        [
            ALL,
            account::ALL,
            activity::ALL,
            aside::ALL,
            audited::ALL,
            builder::ALL,
            cache::ALL,
            check::ALL,
            dead::ALL,
            files::ALL,
            invitation::ALL,
            key::ALL,
            login::ALL,
            member::ALL,
            node::ALL,
            path::ALL,
            pin::ALL,
            probe::ALL,
            push::ALL,
            reference::ALL,
            retention::ALL,
            run::ALL,
            run_log::ALL,
            status::ALL,
            trigger::ALL,
            side::ALL,
            token::ALL,
        ]
        .concat()
    }

    async fn prepare_all(db: &Db) {
        let statements = all_statements();
        assert!(statements.len() > 40, "the lists of statements are empty");
        for (name, sql) in statements {
            let prepared = read!(db, |pool| pool.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(drop));
            prepared.unwrap_or_else(|error| panic!("{name}: {error}\n{sql}"));
        }
    }

    #[tokio::test]
    async fn every_statement_is_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        prepare_all(&Db::open(&Location::Sqlite(folder.path().join("iglu.db")), Opening::default()).await.unwrap().0)
            .await;
    }

    #[tokio::test]
    async fn every_statement_is_postgres() {
        let postgres = crate::postgres::Postgres::start();
        prepare_all(&Db::open(&Location::Postgres(postgres.url()), Opening::default()).await.unwrap().0).await;
    }

    #[tokio::test]
    async fn both_schemas_have_the_same_columns() {
        let folder = tempfile::tempdir().unwrap();
        let postgres = crate::postgres::Postgres::start();
        let sqlite = Db::open(&Location::Sqlite(folder.path().join("iglu.db")), Opening::default()).await.unwrap().0;
        let Db::Sqlite { read, .. } = &sqlite else { unreachable!() };
        let of_sqlite: Vec<(String, String)> = sqlx::query_as(
            "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' ORDER BY 1, 2",
        )
        .fetch_all(read)
        .await
        .unwrap();
        let Db::Postgres(pool) = Db::open(&Location::Postgres(postgres.url()), Opening::default()).await.unwrap().0
        else {
            unreachable!()
        };
        let of_postgres: Vec<(String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text FROM information_schema.columns \
             WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%' \
             ORDER BY table_name COLLATE \"C\", column_name COLLATE \"C\"",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        assert_eq!(of_sqlite, of_postgres);
        assert!(of_sqlite.len() > 50);
    }
}
