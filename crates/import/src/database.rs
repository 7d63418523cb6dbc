//! Foreign databases, SQLite and PostgreSQL, opened for reading only: owns the connections. One text of each statement serves
//! both; numbers come as BIGINT and everything else as TEXT, so that the types of neither matter.

use crate::error::ImportError;
use sqlx::{
    PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use std::{str::FromStr as _, time::Duration};

const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 4;

/// Rows of one page.
pub(crate) const PAGE: i64 = 500;

#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// All rows of a statement as `$row`, with these values bound.
macro_rules! rows {
    ($database:expr, $row:ty, $sql:expr $(, $value:expr)*) => {
        match $database {
            $crate::database::Database::Sqlite(pool) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($value))*.fetch_all(pool).await
            }
            $crate::database::Database::Postgres(pool) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($value))*.fetch_all(pool).await
            }
        }
    };
}
pub(crate) use rows;

impl Database {
    /// Opens a SQLite file, `sqlite:FILE` or `postgres://…`. Nothing is written, and a file that is absent is not made.
    pub async fn open(place: &str) -> Result<Self, ImportError> {
        if place.starts_with("postgres://") || place.starts_with("postgresql://") {
            // The URL may hold a password.
            let failed = |error: sqlx::Error| ImportError::unavailable("PostgreSQL database", error);
            let options = PgConnectOptions::from_str(place).map_err(failed)?;
            let options = options.application_name("iglu import").options([("default_transaction_read_only", "on")]);
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
            return Ok(Self::Postgres(pool.connect_with(options).await.map_err(failed)?));
        }
        if place.contains("://") && !place.starts_with("sqlite://") {
            let scheme = place.split("://").next().unwrap_or_default();
            return Err(ImportError::place(
                format!("{scheme}://…"),
                "not a database: name a SQLite file or postgres://…",
            ));
        }
        let file = place.strip_prefix("sqlite://").or(place.strip_prefix("sqlite:")).unwrap_or(place);
        // attic's own settings end in ?mode=rwc.
        let file = file.split('?').next().unwrap_or(file);
        let options = SqliteConnectOptions::new().filename(file).read_only(true).create_if_missing(false);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        let pool = pool.connect_with(options).await;
        Ok(Self::Sqlite(pool.map_err(|error| ImportError::unavailable(format!("SQLite database {file}"), error))?))
    }
}
