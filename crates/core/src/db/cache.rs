//! Statements about caches and their signing keys.

use super::*;
use iglu_api::cache::Traffic;
use sqlx::FromRow;

statements! {
    INSERT_CACHE = "INSERT INTO cache (name, is_public, priority, compression, created_at) VALUES ($1, $2, $3, $4, $5) \
        RETURNING id";
    INSERT_KEY = "INSERT INTO signing_key (cache_id, name, public_key, sealed_seed, created_at) VALUES ($1, $2, $3, $4, $5)";
    LIST_CACHES = "SELECT id, name, is_public, priority, compression, created_at, path_count, stored_bytes, last_push_at \
        FROM cache ORDER BY name";
    LIST_KEYS = "SELECT cache_id, name, sealed_seed FROM signing_key ORDER BY cache_id, id";
    LIST_TRAFFIC = "SELECT cache_id, CAST(SUM(narinfo_hits) AS BIGINT) AS narinfo_hits, \
        CAST(SUM(narinfo_misses) AS BIGINT) AS narinfo_misses, CAST(SUM(nar_bytes) AS BIGINT) AS nar_bytes, \
        CAST(SUM(pushed_paths) AS BIGINT) AS pushed_paths FROM cache_activity WHERE hour >= $1 GROUP BY cache_id";
    STORED_BYTES = "SELECT CAST(COALESCE(SUM(file_size), 0) AS BIGINT) FROM nar";
    LIST_HELD = "SELECT cache_id, COUNT(DISTINCT path_id) FROM awaited_reference GROUP BY cache_id";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct CacheRow {
    pub id: i64,
    pub name: String,
    pub is_public: bool,
    pub priority: i64,
    pub compression: String,
    pub created_at: i64,
    pub path_count: i64,
    pub stored_bytes: i64,
    pub last_push_at: Option<i64>,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct KeyRow {
    pub cache_id: i64,
    pub name: String,
    pub sealed_seed: Vec<u8>,
}

pub(crate) struct NewKey<'a> {
    pub name: &'a str,
    pub public_key: &'a [u8],
    pub sealed_seed: &'a [u8],
}

pub(crate) struct NewCache<'a> {
    pub name: &'a str,
    pub is_public: bool,
    pub priority: i64,
    pub compression: &'a str,
    pub key: NewKey<'a>,
}

#[derive(FromRow)]
struct TrafficRow {
    cache_id: i64,
    narinfo_hits: i64,
    narinfo_misses: i64,
    nar_bytes: i64,
    pushed_paths: i64,
}

/// SQL knows signed numbers only; sizes and counts are never below zero.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Db {
    pub async fn cache_insert(&self, cache: &NewCache<'_>, audit: &Audit) -> Result<i64> {
        let insert = async {
            Ok::<i64, sqlx::Error>(transact!(self, |tx| {
                let id: i64 = sqlx::query_scalar(INSERT_CACHE)
                    .bind(cache.name)
                    .bind(cache.is_public)
                    .bind(cache.priority)
                    .bind(cache.compression)
                    .bind(audit.at)
                    .fetch_one(&mut *tx)
                    .await?;
                sqlx::query(INSERT_KEY)
                    .bind(id)
                    .bind(cache.key.name)
                    .bind(cache.key.public_key)
                    .bind(cache.key.sealed_seed)
                    .bind(audit.at)
                    .execute(&mut *tx)
                    .await?;
                audit!(tx, audit);
                bump!(tx);
                id
            }))
        };
        insert.await.map_err(|error| {
            if is_duplicate(&error) {
                Error::Conflict { field: "name", message: format!("there is a cache \"{}\" already", cache.name) }
            } else {
                error.into()
            }
        })
    }

    pub async fn cache_list(&self) -> Result<Vec<CacheRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_CACHES).fetch_all(pool).await?))
    }

    pub async fn key_list(&self) -> Result<Vec<KeyRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_KEYS).fetch_all(pool).await?))
    }

    /// What was asked of each cache since the hour that began at `since`.
    pub async fn traffic_since(&self, since: i64) -> Result<Vec<(i64, Traffic)>> {
        let rows: Vec<TrafficRow> =
            read!(self, |pool| sqlx::query_as(LIST_TRAFFIC).bind(since).fetch_all(pool).await?);
        Ok(rows
            .into_iter()
            .map(|row| {
                let traffic = Traffic {
                    narinfo_hits: unsigned(row.narinfo_hits),
                    narinfo_misses: unsigned(row.narinfo_misses),
                    nar_bytes: unsigned(row.nar_bytes),
                    pushed_paths: unsigned(row.pushed_paths),
                };
                (row.cache_id, traffic)
            })
            .collect())
    }

    /// Bytes of all NAR files, each once.
    pub async fn stored_bytes(&self) -> Result<u64> {
        Ok(unsigned(read!(self, |pool| sqlx::query_scalar(STORED_BYTES).fetch_one(pool).await?)))
    }

    /// For each cache that has paths waiting for references, how many.
    pub async fn held_counts(&self) -> Result<Vec<(i64, i64)>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_HELD).fetch_all(pool).await?))
    }
}
