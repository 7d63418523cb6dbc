//! Fills an empty database with whole tables, in one transaction with the schema itself: whatever ends it early leaves what was
//! there.

use super::{
    dump::{Bulk, Cell, Column, DERIVED, Table, catalog, one_connection, within},
    *,
};
use sqlx::{
    AssertSqlSafe,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, str::FromStr};

const DROP_SCHEMA: &str = "DROP TABLE _sqlx_migrations";
const DELETE_SETTING: &str = "DELETE FROM setting WHERE name = $1";
const IDENTITIES: &str = "SELECT column_name::text FROM information_schema.columns \
    WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'";
/// Raises what was loaded above what a running server may have seen.
const RAISE_GENERATION: &str = "UPDATE generation SET value = $1 + 1 WHERE value <= $1";

/// What a server writes into a new database by itself. Nobody misses it.
const UNTOUCHED: [&str; 3] = ["generation", "setting", "setup_link"];
/// Rows of one INSERT, and the placeholders that it may have: fewer than either engine takes.
const BATCH: usize = 250;
const PLACEHOLDERS: usize = 30_000;

/// A database on its way to new content.
pub(crate) struct Load {
    bulk: Bulk,
    tables: Vec<Table>,
    /// The generation that a running server may have seen.
    seen: Option<i64>,
}

impl Load {
    /// Makes the database an empty one of this schema, whatever schema it had. Refuses one that holds anything, or that a
    /// server has open where this can be known.
    pub async fn begin(location: &Location, schema: i64) -> Result<Load> {
        let bulk = match location {
            Location::Sqlite(path) => open_sqlite(path).await?,
            Location::Postgres(url) => {
                let pool = one_connection(PgConnectOptions::from_str(url)?).await?;
                let transaction = pool.begin().await?;
                Bulk::Postgres(pool, transaction)
            }
        };
        let mut load = Load { bulk, tables: catalog(schema).await?, seen: None };
        load.clear().await?;
        load.migrate(Some(schema)).await?;
        // What the migrations inserted comes with the rows.
        for at in (0..load.tables.len()).rev() {
            load.execute(format!("DELETE FROM \"{}\"", load.tables[at].name)).await?;
        }
        Ok(load)
    }

    /// Removes the tables of a database that nobody used.
    async fn clear(&mut self) -> Result<()> {
        let Some(schema) = self.bulk.schema().await? else { return Ok(()) };
        let tables = catalog(schema).await?;
        let names: Vec<String> = tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
        if let Bulk::Postgres(..) = self.bulk {
            // A server that runs on it writes nothing between this look and the end.
            self.execute(format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))).await?;
        }
        let mut found = Vec::new();
        for table in tables.iter().filter(|table| !UNTOUCHED.contains(&table.name.as_str())) {
            let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM \"{}\"", table.name));
            let rows: i64 = within!(&mut self.bulk, |tx| sqlx::query_scalar(sql).fetch_one(tx).await?);
            if rows > 0 {
                found.push(format!("{} ({rows})", table.name));
            }
        }
        if !found.is_empty() {
            let message =
                format!("the database is not empty, it has rows in {}; restore into an empty one", found.join(", "));
            return Err(Error::Conflict { field: "", message });
        }
        self.seen = within!(&mut self.bulk, |tx| sqlx::query_scalar(GET_GENERATION).fetch_optional(tx).await?);
        for name in DERIVED {
            self.execute(format!("DROP TABLE IF EXISTS {name}")).await?;
        }
        for name in names.iter().rev() {
            self.execute(format!("DROP TABLE {name}")).await?;
        }
        self.execute(DROP_SCHEMA.to_owned()).await
    }

    async fn migrate(&mut self, schema: Option<i64>) -> Result<()> {
        let schema = schema.unwrap_or(i64::MAX);
        let migrated = match &mut self.bulk {
            Bulk::Sqlite(_, tx) => SQLITE_MIGRATIONS.run_to(schema, &mut **tx).await,
            Bulk::Postgres(_, tx) => POSTGRES_MIGRATIONS.run_to(schema, &mut **tx).await,
        };
        migrated.map_err(migration_failed)
    }

    async fn execute(&mut self, sql: String) -> Result<()> {
        let sql = AssertSqlSafe(sql);
        within!(&mut self.bulk, |tx| sqlx::query(sql).execute(tx).await.map(drop)?);
        Ok(())
    }

    /// The tables to fill, in this order: rows refer to rows of earlier tables only.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Rows that [`Load::insert`] takes at once.
    pub fn batch(table: &Table) -> usize {
        BATCH.min(PLACEHOLDERS / table.columns.len().max(1)).max(1)
    }

    /// Inserts rows whose cells are those of the table's columns.
    ///
    /// # Errors
    /// What the engine says of a row that it does not take.
    pub async fn insert(&mut self, table: &Table, rows: Vec<Vec<Cell>>) -> Result<(), sqlx::Error> {
        let columns: Vec<String> = table.columns.iter().map(|Column { name, .. }| format!("\"{name}\"")).collect();
        let width = columns.len();
        let (overriding, values) = match self.bulk {
            // SQLite looks numbered placeholders up one by one.
            Bulk::Sqlite(..) => ("", vec![format!("({})", vec!["?"; width].join(", ")); rows.len()]),
            Bulk::Postgres(..) => (
                " OVERRIDING SYSTEM VALUE",
                (0..rows.len()).map(|row| format!("({})", placeholders(row * width + 1, width))).collect(),
            ),
        };
        let (columns, values) = (columns.join(", "), values.join(", "));
        let sql = AssertSqlSafe(format!("INSERT INTO \"{}\" ({columns}){overriding} VALUES {values}", table.name));
        let is_whole = rows.len() == Load::batch(table);
        within!(&mut self.bulk, |tx| {
            let mut insert = sqlx::query(sql).persistent(is_whole);
            for cell in rows.into_iter().flatten() {
                insert = match cell {
                    Cell::Integer(value) => insert.bind(value),
                    Cell::Boolean(value) => insert.bind(value),
                    Cell::Text(value) => insert.bind(value),
                    Cell::Bytes(value) => insert.bind(value),
                };
            }
            insert.execute(tx).await.map(drop)
        })
    }

    /// Forgets settings that came with the rows.
    pub async fn forget_settings(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            within!(&mut self.bulk, |tx| sqlx::query(DELETE_SETTING).bind(*name).execute(tx).await.map(drop)?);
        }
        Ok(())
    }

    /// Lets new rows be numbered behind the loaded ones, brings the schema up to date, and makes all of it the database.
    pub async fn commit(mut self) -> Result<()> {
        if let Bulk::Postgres(_, tx) = &mut self.bulk {
            for Table { name, .. } in &self.tables {
                for column in sqlx::query_scalar::<_, String>(IDENTITIES).bind(name).fetch_all(&mut **tx).await? {
                    let sql = format!(
                        "SELECT setval(pg_get_serial_sequence('\"{name}\"', '{column}'), MAX(\"{column}\")) FROM \"{name}\" \
                         HAVING MAX(\"{column}\") > 0"
                    );
                    sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await?;
                }
            }
        }
        if let Some(seen) = self.seen {
            within!(&mut self.bulk, |tx| sqlx::query(RAISE_GENERATION).bind(seen).execute(tx).await.map(drop)?);
        }
        self.migrate(None).await?;
        match self.bulk {
            Bulk::Sqlite(pool, transaction) => {
                transaction.commit().await?;
                pool.close().await;
            }
            Bulk::Postgres(pool, transaction) => {
                transaction.commit().await?;
                pool.close().await;
            }
        }
        Ok(())
    }

    /// Leaves the database as it was.
    pub async fn abandon(self) -> Result<()> {
        self.bulk.close().await
    }
}

/// SQLite gives up its write-ahead log here, which it can do only while nobody else has the file open: so a running server is
/// noticed, and what is loaded is written once.
async fn open_sqlite(path: &Path) -> Result<Bulk> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(1))
        .pragma("cache_size", "-65536");
    let opened = async {
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let transaction = pool.begin_with("BEGIN EXCLUSIVE").await?;
        Ok(Bulk::Sqlite(pool, transaction))
    };
    opened.await.map_err(|error: sqlx::Error| match is_busy(&error) {
        true => Error::Conflict {
            field: "",
            message: format!("the database {} is in use; stop the server first", path.display()),
        },
        false => error.into(),
    })
}

/// SQLITE_BUSY or one of its extended codes.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == 5)
}
