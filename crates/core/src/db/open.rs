//! Opens either engine, brings its schema up to date, and says in one line what is wrong where that cannot be done.

use super::*;
use sqlx::{
    PgConnection,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{io::ErrorKind, path::Path, str::FromStr};

pub(super) static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
pub(super) static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// How long PostgreSQL may take to answer a first connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a migration waits for a table, and for another server that migrates.
const LITTLE_PATIENCE: &str = "SET lock_timeout = '3s'";

const HAS_OURS: &str = "SELECT to_regclass('store_path') IS NOT NULL AND to_regclass('signing_key') IS NOT NULL";
const GET_SCHEMA: &str = "SELECT MAX(version) FROM _sqlx_migrations";

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Connections to PostgreSQL that requests share.
    pub connections: u32,
    /// Whether an older schema is brought up to date, or refused.
    pub migrates: bool,
}

impl Default for Opening {
    fn default() -> Opening {
        Opening { connections: 16, migrates: true }
    }
}

/// The numbers of the last migration that a database had, and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    pub before: i64,
    pub after: i64,
}

impl Db {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where trying again later can help, the source being one line for the operator; others where it cannot.
    pub async fn open(location: &Location, opening: Opening) -> Result<(Db, Schema)> {
        match location {
            Location::Sqlite(path) => open_sqlite(path, opening).await,
            Location::Postgres(url) => open_postgres(url, opening).await,
        }
    }
}

async fn open_postgres(url: &str, opening: Opening) -> Result<(Db, Schema)> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        let message = "the URL of the database is not one: it begins with postgres://";
        return Err(Error::invalid("database_url", message));
    }
    let wrong = |error| Error::invalid("database_url", format!("the URL of the database is not one: {error}"));
    let options = PgConnectOptions::from_str(url).map_err(wrong)?.application_name("iglu");
    // A pool would try again and again, and say no more than that it took too long.
    let first = tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await;
    let unavailable = |why: String| Error::Unavailable { what: "database", source: why.into() };
    let mut first = first
        .map_err(|_| unavailable(format!("{} does not answer", place(&options))))?
        .map_err(|error| unavailable(reason(&error, &options)))?;
    let schema = brought_up(&mut first, &with_later(&POSTGRES_MIGRATIONS)?, opening, &options).await?;
    let _ = first.close().await;
    let pool = PgPoolOptions::new()
        .max_connections(opening.connections.max(2))
        .acquire_timeout(Duration::from_secs(10))
        // What comes back is asked whether it is still there, and not waited for for ever: the machine behind it may be gone. sqlx asks too,
        // without an end; that is one round trip more, after the answer.
        .after_release(|connection, _| {
            Box::pin(async {
                match tokio::time::timeout(PATIENCE, connection.ping()).await {
                    Ok(there) => there.map(|()| true),
                    Err(_) => Err(sqlx::Error::Io(ErrorKind::TimedOut.into())),
                }
            })
        })
        .connect_lazy_with(options);
    Ok((Db::Postgres(pool), schema))
}

/// Brings the schema behind a connection up to date, where that is wanted, and makes nobody wait for long.
async fn brought_up(
    first: &mut PgConnection,
    migrations: &Migrator,
    opening: Opening,
    options: &PgConnectOptions,
) -> Result<Schema> {
    let unavailable = |why: String| Error::Unavailable { what: "database", source: why.into() };
    let applied = match sqlx::query_scalar(GET_SCHEMA).fetch_one(&mut *first).await {
        Ok(version) => Option::<i64>::unwrap_or_default(version),
        Err(error) if has_code(&error, "42P01") => 0,
        Err(error) => return Err(unavailable(reason(&error, options))),
    };
    let is_ours = applied == 0 || sqlx::query_scalar(HAS_OURS).fetch_one(&mut *first).await.unwrap_or(true);
    let place = place(options);
    let of_another = |why: String| {
        let message =
            format!("the database at {place} holds tables of another program: give Iglu a database of its own ({why})");
        Error::invalid("database_url", message)
    };
    if !is_ours {
        return Err(of_another("it has migrations, and none of Iglu's tables".to_owned()));
    }
    let schema = compare(migrations, applied, opening.migrates)?;
    if schema.before != schema.after {
        // It takes a lock that other servers wait for, which find nothing left to do.
        // Whoever reads a table for long, as a backup does, would be waited for, and everybody else behind that.
        sqlx::query(LITTLE_PATIENCE).execute(&mut *first).await?;
        migrations.run(&mut *first).await.map_err(|error| match error {
            error if is_locked(&error) => unavailable(format!(
                "{place} is changed or read by another program, a backup perhaps, so that its schema cannot be brought up to date now"
            )),
            error if is_of_another(&error) => of_another(error.to_string()),
            error => migration_failed(error),
        })?;
    }
    Ok(schema)
}

async fn open_sqlite(path: &Path, opening: Opening) -> Result<(Db, Schema)> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A pushing client was told "done": a power cut must not undo it.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Other processes (`iglu admin`) write for milliseconds.
        .busy_timeout(Duration::from_secs(10))
        // In KiB. The file is not mapped into memory: where the disk fails, that would end the program, and every connection's share
        // of it would look like memory of its own.
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "MEMORY");
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        // Where the disk is full SQLite ends a transaction by itself, and its connection believes to be in it for ever.
        .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        .connect_with(options.clone())
        .await?;
    let applied = match sqlx::query_scalar(GET_SCHEMA).fetch_one(&write).await {
        Ok(version) => Option::<i64>::unwrap_or_default(version),
        Err(error) if error.as_database_error().is_some_and(|error| error.message().contains("no such table")) => 0,
        Err(error) => return Err(error.into()),
    };
    let schema = compare(&SQLITE_MIGRATIONS, applied, opening.migrates)?;
    if schema.before != schema.after {
        SQLITE_MIGRATIONS.run(&write).await.map_err(migration_failed)?;
    }
    // Each of them remembers by itself what the system remembers for all.
    let options = options.read_only(true).pragma("cache_size", "-4096");
    let read = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
    Ok((Db::Sqlite { read, write }, schema))
}

/// The migrations, and in debug builds that of the file `IGLU_TEST_MIGRATION` as number 9000: this program as its own next version.
fn with_later(known: &Migrator) -> Result<Migrator> {
    #[allow(unused_mut, reason = "nothing is added in release builds")]
    let mut migrations: Vec<_> = known.iter().cloned().collect();
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("IGLU_TEST_MIGRATION") {
        use sqlx::{AssertSqlSafe, SqlSafeStr, migrate::Migration, migrate::MigrationType};
        let sql = AssertSqlSafe(std::fs::read_to_string(file).map_err(Error::storage)?).into_sql_str();
        migrations.push(Migration::new(9000, "later".into(), MigrationType::Simple, sql, false));
    }
    Ok(Migrator::with_migrations(migrations))
}

/// What is to be done about a schema with these migrations.
fn compare(known: &Migrator, applied: i64, migrates: bool) -> Result<Schema> {
    let newest = known.iter().map(|migration| migration.version).max().unwrap_or_default();
    if applied > newest {
        return Err(Error::internal(format!(
            "the database has schema {applied}, of a newer Iglu; this one ({}) knows schema {newest}. Start the newer \
             version again, or restore the backup from before the upgrade",
            env!("CARGO_PKG_VERSION")
        )));
    }
    if applied < newest && !migrates {
        let source = format!("it has schema {applied} and this version needs {newest}: run `iglu migrate`").into();
        return Err(Error::Unavailable { what: "database", source });
    }
    Ok(Schema { before: applied, after: newest })
}

pub(super) fn migration_failed(source: sqlx::migrate::MigrateError) -> Error {
    Error::Internal {
        what: "the database schema could not be brought up to date".to_owned(),
        source: Some(source.into()),
    }
}

/// Whether others were in the way: a lock was not to be had in time, or each side waited for the other.
fn is_locked(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    matches!(error, Execute(error) | ExecuteMigration(error, _) if has_code(error, "55P03") || has_code(error, "40P01"))
}

/// Whether the tables, or the list of migrations, are not Iglu's.
fn is_of_another(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration, VersionMissing};
    match error {
        VersionMissing(_) => true,
        Execute(error) | ExecuteMigration(error, _) => has_code(error, "42P07"),
        _ => false,
    }
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}

/// Where PostgreSQL was looked for, without user and password.
fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(folder) => format!("PostgreSQL at {}", folder.display()),
        None => format!("PostgreSQL at {}:{}", options.get_host(), options.get_port()),
    }
}

/// What is wrong and what to do about it, in one line.
fn reason(error: &sqlx::Error, options: &PgConnectOptions) -> String {
    let place = place(options);
    let said = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
    let cure = match (error, code.as_deref()) {
        (sqlx::Error::Io(error), _) if error.kind() == ErrorKind::ConnectionRefused => {
            return format!(
                "nothing listens for {place}: start it, or correct host and port in the URL of the database"
            );
        }
        (sqlx::Error::Io(error), _) if error.kind() == ErrorKind::NotFound => {
            return format!("there is no socket of {place}: start it, or correct the host in the URL of the database");
        }
        (sqlx::Error::Io(_), _) => "is the host in the URL of the database right?",
        (sqlx::Error::Tls(_), _) => "set sslmode and sslrootcert in the URL of the database",
        (_, Some("28P01" | "28000")) => "correct user and password in the URL of the database, or pg_hba.conf",
        (_, Some("3D000")) => "make it with createdb, or correct the name in the URL of the database",
        (_, Some("42501")) => {
            "the user needs rights: GRANT CREATE ON SCHEMA public, or with --auto-migrate false SELECT, INSERT, UPDATE and DELETE on \
             every table"
        }
        (_, Some("53300")) => "raise max_connections there, or lower --database-connections here",
        (_, Some("57P03")) => "it is starting or stopping",
        _ => return format!("{place}: {said}"),
    };
    format!("{place}: {said}: {cure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_is_said_with_its_cure() {
        let folder = tempfile::tempdir().unwrap();
        let said = async |url: &str| {
            let opened = Db::open(&Location::Postgres(url.to_owned()), Opening::default()).await;
            let error = opened.unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {source}")
        };
        assert!(said("mysql//x").await.contains("the URL of the database is not one"));
        let refused = said("postgres://user:secret@127.0.0.1:9/iglu").await;
        assert!(refused.contains("nothing listens for PostgreSQL at 127.0.0.1:9"), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
        let no_socket = said(&format!("postgres:///iglu?host={}", folder.path().display())).await;
        assert!(no_socket.contains("there is no socket"), "{no_socket}");
        let postgres = crate::postgres::Postgres::start();
        let absent = said(&postgres.url().replace("/postgres?", "/absent?")).await;
        assert!(absent.contains("createdb"), "{absent}");
        let mut other = PgConnection::connect(&postgres.url()).await.unwrap();
        sqlx::query("CREATE TABLE cache (id INT)").execute(&mut other).await.unwrap();
        let taken = said(&postgres.url()).await;
        assert!(taken.contains("tables of another program: give Iglu a database of its own"), "{taken}");
        // Another one that keeps its migrations in the same way.
        for sql in [
            "DROP TABLE cache",
            "UPDATE _sqlx_migrations SET version = 20260101000000",
            "INSERT INTO _sqlx_migrations \
            (version, description, success, checksum, execution_time) VALUES (20260101000000, 'theirs', TRUE, '', 1)",
        ] {
            let _ = sqlx::query(sql).execute(&mut other).await;
        }
        let taken = said(&postgres.url()).await;
        assert!(taken.contains("none of Iglu's tables"), "{taken}");
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_and_an_older_one_waits_where_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let postgres = crate::postgres::Postgres::start();
        for location in [Location::Sqlite(folder.path().join("iglu.db")), Location::Postgres(postgres.url())] {
            let held = Opening { migrates: false, ..Opening::default() };
            let error = Db::open(&location, held).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
            let (_, schema) = Db::open(&location, Opening::default()).await.unwrap();
            assert_eq!(schema.before, 0);
            let (db, again) = Db::open(&location, held).await.unwrap();
            assert_eq!((again.before, again.after), (schema.after, schema.after));
            let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                         VALUES (9999, 'later', TRUE, '', 1)";
            db.test_execute(newer).await.unwrap();
            let error = Db::open(&location, Opening::default()).await.unwrap_err().to_string();
            assert!(error.contains("schema 9999, of a newer Iglu"), "{error}");
        }
    }

    /// A backup reads every table in one transaction: a migration that waited for it would make everybody else wait behind itself.
    #[tokio::test]
    async fn a_migration_waits_for_nobody_for_long() {
        let postgres = crate::postgres::Postgres::start();
        let opening = Opening::default();
        Db::open(&Location::Postgres(postgres.url()), opening).await.unwrap();
        let options = PgConnectOptions::from_str(&postgres.url()).unwrap();
        let mut migrations: Vec<_> = POSTGRES_MIGRATIONS.iter().cloned().collect();
        let sql = "ALTER TABLE cache ADD COLUMN colour TEXT";
        let kind = sqlx::migrate::MigrationType::Simple;
        let sql = sqlx::SqlSafeStr::into_sql_str(sql);
        migrations.push(sqlx::migrate::Migration::new(9000, "later".into(), kind, sql, false));
        let later = Migrator::with_migrations(migrations);

        let pool = PgPool::connect(&postgres.url()).await.unwrap();
        let mut backup = pool.begin().await.unwrap();
        sqlx::query("SELECT COUNT(*) FROM cache").execute(&mut *backup).await.unwrap();
        let mut first = PgConnection::connect_with(&options).await.unwrap();
        let error = brought_up(&mut first, &later, opening, &options).await.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(source.contains("changed or read by another program"), "{source}");
        // Others read meanwhile, and afterwards it goes on.
        sqlx::query("SELECT COUNT(*) FROM cache").execute(&pool).await.unwrap();
        backup.rollback().await.unwrap();
        // With it goes the lock of migrations.
        drop(first);
        let mut first = PgConnection::connect_with(&options).await.unwrap();
        assert_eq!(brought_up(&mut first, &later, opening, &options).await.unwrap().after, 9000);
    }
}
