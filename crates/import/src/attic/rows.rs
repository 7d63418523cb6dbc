//! What stands in attic's database: the only place that names its tables. As of its migrations up to today; columns that came
//! after the first release are not asked for, except the retention period, which may be absent.
//!
//! `cache` has `object`s (store paths), each with a `nar`, which is a row of `chunkref`s in the order of `seq`, each to a `chunk`.

use crate::database::{Database, PAGE, rows};
use serde::Deserialize;
use sqlx::FromRow;

/// Chunks of one page.
pub(super) const CHUNKS: i64 = 256;

const CACHES: &str = "SELECT CAST(id AS BIGINT) AS id, name, keypair, store_dir, CAST(priority AS BIGINT) AS priority, \
    CAST(CASE WHEN is_public THEN 1 ELSE 0 END AS BIGINT) AS is_public, \
    CAST(CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END AS BIGINT) AS is_deleted, \
    CAST(upstream_cache_key_names AS TEXT) AS upstream_key_names FROM cache ORDER BY id";
const RETENTION: &str = "SELECT CAST(retention_period AS BIGINT) FROM cache WHERE id = $1";
const COUNT: &str = "SELECT COUNT(*) FROM object WHERE cache_id = $1";
const OBJECTS: &str = "SELECT CAST(o.id AS BIGINT) AS id, COALESCE(CAST(o.store_path_hash AS TEXT), '') AS store_path_hash, \
    COALESCE(CAST(o.store_path AS TEXT), '') AS store_path, COALESCE(CAST(o.\"references\" AS TEXT), '') AS refs, \
    CAST(o.system AS TEXT) AS system, CAST(o.deriver AS TEXT) AS deriver, COALESCE(CAST(o.sigs AS TEXT), '') AS sigs, \
    CAST(o.ca AS TEXT) AS ca, CAST(n.id AS BIGINT) AS nar_id, CAST(n.state AS TEXT) AS state, \
    CAST(n.nar_hash AS TEXT) AS nar_hash, \
    CAST(n.nar_size AS BIGINT) AS nar_size, CAST(n.num_chunks AS BIGINT) AS chunks, \
    CAST((SELECT COUNT(*) FROM chunkref r JOIN chunk c ON c.id = r.chunk_id WHERE r.nar_id = n.id AND c.state = 'V') AS BIGINT) \
    AS chunks_here, CAST(c1.compression AS TEXT) AS compression, CAST(c1.file_hash AS TEXT) AS file_hash, CAST(c1.file_size AS BIGINT) AS file_size \
    FROM object o LEFT JOIN nar n ON n.id = o.nar_id \
    LEFT JOIN chunkref r1 ON r1.nar_id = n.id AND n.num_chunks = 1 AND r1.seq = 0 \
    LEFT JOIN chunk c1 ON c1.id = r1.chunk_id \
    WHERE o.cache_id = $1 AND o.id > $2 ORDER BY o.id LIMIT $3";
const CHUNKS_AFTER: &str = "SELECT CAST(r.seq AS BIGINT) AS seq, CAST(c.state AS TEXT) AS state, \
    CAST(c.compression AS TEXT) AS compression, CAST(c.chunk_size AS BIGINT) AS size, CAST(c.file_size AS BIGINT) AS file_size, \
    CAST(c.remote_file AS TEXT) AS remote_file \
    FROM chunkref r LEFT JOIN chunk c ON c.id = r.chunk_id \
    WHERE r.nar_id = $1 AND r.seq > $2 ORDER BY r.seq LIMIT $3";

#[derive(Debug, FromRow)]
pub(super) struct CacheRow {
    pub id: i64,
    pub name: String,
    /// `NAME:BASE64` of the secret key.
    pub keypair: String,
    pub store_dir: String,
    pub priority: i64,
    pub is_public: i64,
    pub is_deleted: i64,
    /// JSON list of names.
    pub upstream_key_names: String,
}

/// A store path with its NAR; of a NAR in one chunk also that one's file.
#[derive(Debug, FromRow)]
pub(super) struct ObjectRow {
    pub id: i64,
    pub store_path_hash: String,
    /// Absolute.
    pub store_path: String,
    /// JSON list of base names.
    pub refs: String,
    pub system: Option<String>,
    pub deriver: Option<String>,
    /// JSON list of `NAME:BASE64`.
    pub sigs: String,
    pub ca: Option<String>,
    /// `None` where the NAR is gone; so with what follows.
    pub nar_id: Option<i64>,
    /// `V`alid, `P`ending, `C`onfirmed to be another's, `D`eleted.
    pub state: Option<String>,
    /// `sha256:HEX`.
    pub nar_hash: Option<String>,
    pub nar_size: Option<i64>,
    pub chunks: Option<i64>,
    /// How many of them are valid.
    pub chunks_here: Option<i64>,
    pub compression: Option<String>,
    pub file_hash: Option<String>,
    pub file_size: Option<i64>,
}

#[derive(Debug, FromRow)]
pub(super) struct ChunkRow {
    pub seq: i64,
    /// As of NARs; `None` where the chunk is gone.
    pub state: Option<String>,
    pub compression: Option<String>,
    /// Bytes unpacked, and of the file.
    pub size: Option<i64>,
    pub file_size: Option<i64>,
    /// JSON, see [`RemoteFile`].
    pub remote_file: Option<String>,
}

/// Where the file of a chunk is.
#[derive(Debug, Deserialize)]
pub(super) enum RemoteFile {
    Local {
        name: String,
    },
    /// The bucket's name is left aside: it is the one that we are pointed at.
    S3 {
        key: String,
    },
    Http {
        url: String,
    },
}

impl RemoteFile {
    /// The names that it may have in the storage. Local files are in a folder of their first letter and one of their first two;
    /// servers that never ran a version with these have them in one folder.
    pub fn names(self) -> Result<Vec<String>, String> {
        let sorted = |name: &str| Some(format!("{}/{}/{name}", name.get(..1)?, name.get(..2)?));
        match self {
            Self::Local { name } => Ok(sorted(&name).into_iter().chain([name]).collect()),
            // First as a bucket has it, then as a folder would that somebody moved it to.
            Self::S3 { key } => Ok([key.clone()].into_iter().chain(sorted(&key)).collect()),
            Self::Http { url } => Err(format!("is at {url}, which is not followed")),
        }
    }
}

pub(super) async fn caches(database: &Database) -> sqlx::Result<Vec<CacheRow>> {
    rows!(database, CacheRow, CACHES)
}

/// Seconds; `None` also where the column is not there.
pub(super) async fn retention(database: &Database, cache: i64) -> Option<i64> {
    let found = rows!(database, (Option<i64>,), RETENTION, cache);
    found.ok()?.first()?.0
}

pub(super) async fn count(database: &Database, cache: i64) -> sqlx::Result<i64> {
    Ok(rows!(database, (i64,), COUNT, cache)?.first().map_or(0, |row| row.0))
}

pub(super) async fn objects(database: &Database, cache: i64, after: i64) -> sqlx::Result<Vec<ObjectRow>> {
    rows!(database, ObjectRow, OBJECTS, cache, after, PAGE)
}

pub(super) async fn chunks(database: &Database, nar: i64, after: i64) -> sqlx::Result<Vec<ChunkRow>> {
    rows!(database, ChunkRow, CHUNKS_AFTER, nar, after, CHUNKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_remote_file() {
        let names = |json: &str| serde_json::from_str::<RemoteFile>(json).unwrap().names();
        assert_eq!(names(r#"{"Local":{"name":"abc.chunk"}}"#).unwrap(), ["a/ab/abc.chunk", "abc.chunk"]);
        let s3 = r#"{"S3":{"region":"r","bucket":"b","key":"abc.chunk"}}"#;
        assert_eq!(names(s3).unwrap(), ["abc.chunk", "a/ab/abc.chunk"]);
        assert!(names(r#"{"Http":{"url":"http://x"}}"#).is_err());
        assert_eq!(names(r#"{"Local":{"name":"ä"}}"#).unwrap(), ["ä"]);
    }
}
