//! Whole tables, read in one snapshot. Knows no table by name but those that name objects: which tables and columns a schema has is
//! asked of the migrations themselves, applied in memory.

use super::*;
use futures_util::{Stream, StreamExt};
use sqlx::{
    AssertSqlSafe, Connection, Postgres, Row, Sqlite, SqliteConnection, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use std::{collections::BTreeMap, pin::Pin, str::FromStr};

// The next three are asked of the schema in memory only, which is SQLite whatever the database is. The tables that triggers make from
// another one are made again by them.
const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT IN ('path_reference', 'path_word') ORDER BY name";
const COLUMNS: &str = "SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid";
const PARENTS: &str = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)";

const HAS_SCHEMA_SQLITE: &str = "SELECT COUNT(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'";
const HAS_SCHEMA_POSTGRES: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
const GET_SCHEMA: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";

/// The tables that triggers make from another one.
pub(crate) const DERIVED: [&str; 2] = ["path_reference", "path_word"];

/// Where rows name objects: the table, and the kind of the object.
pub(crate) const OBJECTS: [(&str, &str); 3] = [("nar", "nar"), ("put_nar", "nar"), ("build_log", "log")];
/// How long to wait for a connection, or for another process that has the file for itself.
const WAIT: Duration = Duration::from_secs(10);

/// What a column holds, the same on both engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Integer,
    Boolean,
    Text,
    Bytes,
}

impl ColumnKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ColumnKind::Integer => "integer",
            ColumnKind::Boolean => "boolean",
            ColumnKind::Text => "text",
            ColumnKind::Bytes => "bytes",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Positions of the primary key's columns, in its order.
    key: Vec<usize>,
    /// Tables that rows of this one refer to.
    parents: Vec<String>,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Integer(Option<i64>),
    Boolean(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

pub(crate) type Rows<'a> = Pin<Box<dyn Stream<Item = Result<Vec<Cell>>> + Send + 'a>>;

/// The highest schema that this program knows.
pub(crate) fn newest_schema() -> i64 {
    SQLITE_MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The tables of a schema that this program knows, each behind those that it refers to. SQLite's word is PostgreSQL's too: a test
/// compares their schemas.
pub(crate) async fn catalog(schema: i64) -> Result<Vec<Table>> {
    let mut memory = SqliteConnection::connect_with(&SqliteConnectOptions::from_str("sqlite::memory:")?).await?;
    SQLITE_MIGRATIONS.run_to(schema, &mut memory).await.map_err(migration_failed)?;
    let mut waiting = Vec::new();
    for name in sqlx::query_scalar::<_, String>(TABLES).fetch_all(&mut memory).await? {
        let described: Vec<(String, String, i64)> = sqlx::query_as(COLUMNS).bind(&name).fetch_all(&mut memory).await?;
        let parents = sqlx::query_scalar(PARENTS).bind(&name).fetch_all(&mut memory).await?;
        let mut key = BTreeMap::new();
        let mut columns = Vec::new();
        for (at, (column, declared, place)) in described.into_iter().enumerate() {
            if place > 0 {
                key.insert(place, at);
            }
            let kind = match declared.as_str() {
                "INTEGER" | "BIGINT" => ColumnKind::Integer,
                "BOOLEAN" => ColumnKind::Boolean,
                "TEXT" => ColumnKind::Text,
                "BLOB" => ColumnKind::Bytes,
                _ => {
                    return Err(Error::internal(format!("{name}.{column}: no backup of the type {declared} is known")));
                }
            };
            columns.push(Column { name: column, kind });
        }
        waiting.push(Table { name, columns, key: key.into_values().collect(), parents });
    }
    memory.close().await?;
    let mut ordered: Vec<Table> = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |table: &Table| {
            let is_there = |parent: &String| *parent == table.name || ordered.iter().any(|one| one.name == *parent);
            table.parents.iter().all(is_there)
        };
        let Some(next) = waiting.iter().position(is_ready) else {
            return Err(Error::internal(format!("table {} refers to itself through others", waiting[0].name)));
        };
        ordered.push(waiting.remove(next));
    }
    Ok(ordered)
}

/// A database held in one transaction: a snapshot to read from, or new content that nobody sees before its end.
pub(crate) enum Bulk {
    Sqlite(SqlitePool, Transaction<'static, Sqlite>),
    Postgres(PgPool, Transaction<'static, Postgres>),
}

/// Runs `$run` with the transaction.
macro_rules! within {
    ($bulk:expr, |$tx:ident| $run:expr) => {
        match $bulk {
            Bulk::Sqlite(_, transaction) => {
                let $tx = &mut **transaction;
                $run
            }
            Bulk::Postgres(_, transaction) => {
                let $tx = &mut **transaction;
                $run
            }
        }
    };
}

pub(super) use within;

/// The values of a row in the order of `$columns`.
macro_rules! cells {
    ($row:expr, $columns:expr) => {{
        let row = $row?;
        let mut cells = Vec::with_capacity($columns.len());
        for (at, column) in $columns.iter().enumerate() {
            cells.push(match column.kind {
                ColumnKind::Integer => Cell::Integer(row.try_get(at)?),
                ColumnKind::Boolean => Cell::Boolean(row.try_get(at)?),
                ColumnKind::Text => Cell::Text(row.try_get(at)?),
                ColumnKind::Bytes => Cell::Bytes(row.try_get(at)?),
            });
        }
        Ok(cells)
    }};
}

impl Bulk {
    /// A snapshot of the database as it is; what others write meanwhile is not seen. Changes nothing, not even the schema.
    pub async fn read(location: &Location) -> Result<Bulk> {
        match location {
            Location::Sqlite(path) => {
                if !path.exists() {
                    return Err(Error::NotFound(format!("there is no database {}", path.display())));
                }
                let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(WAIT);
                let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
                let transaction = pool.begin_with("BEGIN").await?;
                Ok(Bulk::Sqlite(pool, transaction))
            }
            Location::Postgres(url) => {
                let pool = one_connection(PgConnectOptions::from_str(url)?).await?;
                let transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                Ok(Bulk::Postgres(pool, transaction))
            }
        }
    }

    /// The schema of the database, `None` where Iglu never was.
    pub async fn schema(&mut self) -> Result<Option<i64>> {
        let has_schema: bool = match self {
            Bulk::Sqlite(_, tx) => sqlx::query_scalar(HAS_SCHEMA_SQLITE).fetch_one(&mut **tx).await?,
            Bulk::Postgres(_, tx) => sqlx::query_scalar(HAS_SCHEMA_POSTGRES).fetch_one(&mut **tx).await?,
        };
        if !has_schema {
            return Ok(None);
        }
        let schema: Option<i64> = within!(self, |tx| sqlx::query_scalar(GET_SCHEMA).fetch_one(tx).await?);
        if schema.is_some_and(|schema| schema > newest_schema()) {
            return Err(newer("the database has", schema.unwrap_or_default()));
        }
        Ok(schema)
    }

    pub fn engine(&self) -> &'static str {
        match self {
            Bulk::Sqlite(..) => "sqlite",
            Bulk::Postgres(..) => "postgres",
        }
    }

    pub async fn setting(&mut self, name: &str) -> Result<Option<String>> {
        Ok(within!(self, |tx| sqlx::query_scalar(GET_SETTING).bind(name).fetch_optional(tx).await?))
    }

    /// The rows of a table by primary key, in the same order on both engines.
    pub fn rows<'a>(&'a mut self, table: &'a Table) -> Rows<'a> {
        let is_postgres = matches!(self, Bulk::Postgres(..));
        // Qualified: SQLite takes a quoted name that it does not know for a text.
        let columns = table.columns.iter().map(|column| format!("\"{}\".\"{}\"", table.name, column.name));
        let order = table.key.iter().map(|at| {
            let column = &table.columns[*at];
            let bytewise = if is_postgres && column.kind == ColumnKind::Text { " COLLATE \"C\"" } else { "" };
            format!("\"{}\".\"{}\"{bytewise}", table.name, column.name)
        });
        let (columns, order) = (columns.collect::<Vec<_>>().join(", "), order.collect::<Vec<_>>().join(", "));
        self.select(format!("SELECT {columns} FROM \"{}\" ORDER BY {order}", table.name), &table.columns)
    }

    /// The objects that rows name, each once: its kind, SHA-256 and bytes, as [`object_columns`] says.
    pub fn objects<'a>(&'a mut self, tables: &[Table], columns: &'a [Column]) -> Rows<'a> {
        let is_there = |name: &str| tables.iter().any(|table| table.name == name);
        let sources = OBJECTS.iter().filter(|(table, _)| is_there(table));
        let sources =
            sources.map(|(table, kind)| format!("SELECT '{kind}' AS kind, file_hash, file_size FROM {table}"));
        let sql = format!(
            "SELECT kind, file_hash, MAX(file_size) AS file_size FROM ({}) AS named GROUP BY kind, file_hash \
             ORDER BY kind, file_hash",
            sources.collect::<Vec<_>>().join(" UNION ALL ")
        );
        self.select(sql, columns)
    }

    fn select<'a>(&'a mut self, sql: String, columns: &'a [Column]) -> Rows<'a> {
        let sql = AssertSqlSafe(sql);
        match self {
            Bulk::Sqlite(_, tx) => Box::pin(sqlx::query(sql).fetch(&mut **tx).map(move |row| cells!(row, columns))),
            Bulk::Postgres(_, tx) => Box::pin(sqlx::query(sql).fetch(&mut **tx).map(move |row| cells!(row, columns))),
        }
    }

    /// Ends without a change.
    pub async fn close(self) -> Result<()> {
        match self {
            Bulk::Sqlite(pool, transaction) => {
                transaction.rollback().await?;
                pool.close().await;
            }
            Bulk::Postgres(pool, transaction) => {
                transaction.rollback().await?;
                pool.close().await;
            }
        }
        Ok(())
    }
}

/// What a row of [`Bulk::objects`] holds.
pub(crate) fn object_columns() -> Vec<Column> {
    let column = |name: &str, kind| Column { name: name.to_owned(), kind };
    vec![
        column("kind", ColumnKind::Text),
        column("file_hash", ColumnKind::Bytes),
        column("file_size", ColumnKind::Integer),
    ]
}

pub(super) async fn one_connection(options: PgConnectOptions) -> Result<PgPool> {
    let options = options.application_name("iglu");
    Ok(PgPoolOptions::new().max_connections(1).acquire_timeout(WAIT).connect_with(options).await?)
}

/// The error for a schema that only a later program knows; `what` ends in a verb.
pub(crate) fn newer(what: &str, schema: i64) -> Error {
    Error::invalid(
        "",
        format!("{what} schema {schema}, and this program knows those up to {}; use a newer iglu", newest_schema()),
    )
}
