//! Statements that list every file that rows name, a table at a time.

use super::*;
use sqlx::FromRow;

statements! {
    COUNT_NAMED_FILES = "SELECT (SELECT COUNT(*) FROM nar WHERE damaged_at IS NULL) + (SELECT COUNT(*) FROM put_nar) \
        + (SELECT COUNT(*) FROM build_log)";
    LIST_NAR_FILES = "SELECT 'nar' AS kind, id AS first, '' AS second, file_hash, file_size FROM nar \
        WHERE damaged_at IS NULL AND id > $1 ORDER BY id LIMIT 500";
    LIST_PUT_NAR_FILES = "SELECT 'nar' AS kind, cache_id AS first, '' AS second, file_hash, file_size FROM put_nar \
        WHERE cache_id > $1 OR (cache_id = $1 AND file_hash > $2) ORDER BY cache_id, file_hash LIMIT 500";
    LIST_LOG_FILES = "SELECT 'log' AS kind, cache_id AS first, drv AS second, file_hash, file_size FROM build_log \
        WHERE cache_id > $1 OR (cache_id = $1 AND drv > $2) ORDER BY cache_id, drv LIMIT 500";
}

/// A file that a row names.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct NamedFile {
    /// nar or log.
    pub kind: String,
    first: i64,
    second: String,
    pub file_hash: Vec<u8>,
    pub file_size: i64,
}

/// Where a listing stopped.
#[derive(Clone, Debug)]
pub(crate) struct Place(i64, String, Vec<u8>);

/// The tables that name files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileTable {
    Nar,
    PutNar,
    Log,
}

impl NamedFile {
    pub const TABLES: [FileTable; 3] = [FileTable::Nar, FileTable::PutNar, FileTable::Log];
    pub const START: Place = Place(0, String::new(), Vec::new());

    pub fn place(&self) -> Place {
        Place(self.first, self.second.clone(), self.file_hash.clone())
    }
}

impl Db {
    /// Files that rows name; one that two rows name counts twice.
    pub async fn named_file_count(&self) -> Result<u64> {
        let count: i64 = read!(self, |pool| sqlx::query_scalar(COUNT_NAMED_FILES).fetch_one(pool).await?);
        Ok(count.unsigned_abs())
    }

    /// Files behind a place.
    pub async fn named_files(&self, table: FileTable, after: &Place) -> Result<Vec<NamedFile>> {
        let Place(first, second, hash) = after;
        Ok(read!(self, |pool| match table {
            FileTable::Nar => sqlx::query_as(LIST_NAR_FILES).bind(first).fetch_all(pool).await?,
            FileTable::PutNar => {
                sqlx::query_as(LIST_PUT_NAR_FILES).bind(first).bind(hash).fetch_all(pool).await?
            }
            FileTable::Log => sqlx::query_as(LIST_LOG_FILES).bind(first).bind(second).fetch_all(pool).await?,
        }))
    }
}
