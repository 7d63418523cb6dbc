//! Statements about what paths refer to, in both directions.

use super::*;
use sqlx::{AssertSqlSafe, FromRow};

statements! {
    GET_PATH_FACTS = "SELECT p.hash, p.name, p.refs, p.deriver, p.ca, p.signatures, n.nar_hash, n.nar_size, n.file_hash, \
        n.file_size, n.compression FROM store_path p JOIN nar n ON n.id = p.nar_id WHERE p.cache_id = $1 AND p.hash = $2";
    LIST_REFERRERS = "SELECT p.hash, p.name, p.nar_size, p.file_size, p.refs FROM path_reference r \
        JOIN store_path p ON p.id = r.path_id WHERE r.cache_id = $1 AND r.hash = $2 ORDER BY r.path_id LIMIT $3";
    COUNT_REFERRERS = "SELECT COUNT(*) FROM path_reference WHERE cache_id = $1 AND hash = $2";
    LIST_PINS_OF = "SELECT DISTINCT name FROM pin WHERE cache_id = $1 AND store_path = $2 AND (expires_at IS NULL OR expires_at > $3) \
        ORDER BY name LIMIT 100";
}

/// A path of a closure.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct LinkedRow {
    pub hash: String,
    pub name: String,
    pub nar_size: i64,
    pub file_size: i64,
    /// Base names with a blank between them.
    pub refs: String,
}

impl Db {
    /// What the narinfo of a path is made from, visible or held.
    pub async fn path_facts(&self, cache_id: i64, hash: &str) -> Result<Option<NarinfoRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_PATH_FACTS).bind(cache_id).bind(hash).fetch_optional(pool).await?))
    }

    /// Up to `most` paths that refer to the one with this hash part, and how many there are.
    pub async fn referrers(&self, cache_id: i64, hash: &str, most: i64) -> Result<(Vec<LinkedRow>, i64)> {
        Ok(read!(self, |pool| {
            let count = sqlx::query_scalar(COUNT_REFERRERS).bind(cache_id).bind(hash).fetch_one(pool).await?;
            let rows = sqlx::query_as(LIST_REFERRERS).bind(cache_id).bind(hash).bind(most).fetch_all(pool).await?;
            (rows, count)
        }))
    }

    /// Those of these paths that the cache has, by hash part.
    pub async fn linked(&self, cache_id: i64, hashes: &[String]) -> Result<Vec<LinkedRow>> {
        let mut found = Vec::with_capacity(hashes.len());
        for chunk in hashes.chunks(CHUNK) {
            let sql = format!(
                "SELECT hash, name, nar_size, file_size, refs FROM store_path WHERE cache_id = $1 AND hash IN ({})",
                placeholders(2, chunk.len())
            );
            let rows: Vec<LinkedRow> = read!(self, |pool| {
                let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(cache_id);
                for hash in chunk {
                    query = query.bind(hash);
                }
                query.fetch_all(pool).await?
            });
            found.extend(rows);
        }
        Ok(found)
    }

    /// Those of these paths that the cache has, or where `above`, those that refer to any of them; as parts of a graph.
    pub async fn graph_near(&self, cache_id: i64, hashes: &[String], above: bool) -> Result<Vec<GraphRow>> {
        let mut found = Vec::new();
        for chunk in hashes.chunks(CHUNK) {
            let marks = placeholders(2, chunk.len());
            let which = match above {
                true => format!(
                    "p.id IN (SELECT r.path_id FROM path_reference r WHERE r.cache_id = $1 AND r.hash IN ({marks})) AND p.cache_id = $1"
                ),
                false => format!("p.cache_id = $1 AND p.hash IN ({marks})"),
            };
            let sql = format!(
                "SELECT p.id, p.hash, p.nar_id, p.file_size, p.refs, p.pushed_at, p.last_pulled_at, p.is_visible \
                 FROM store_path p WHERE {which}"
            );
            let rows: Vec<GraphRow> = read!(self, |pool| {
                let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(cache_id);
                for hash in chunk {
                    query = query.bind(hash);
                }
                query.fetch_all(pool).await?
            });
            found.extend(rows);
        }
        Ok(found)
    }

    /// The pins that keep a path.
    pub async fn pins_of(&self, cache_id: i64, store_path: &str, now: i64) -> Result<Vec<String>> {
        Ok(read!(self, |pool| sqlx::query_scalar(LIST_PINS_OF)
            .bind(cache_id)
            .bind(store_path)
            .bind(now)
            .fetch_all(pool)
            .await?))
    }
}
