//! Statements about caches and their signing keys.

use super::{key::NewKey, *};
use iglu_api::cache::Traffic;
use sqlx::FromRow;

statements! {
    INSERT_CACHE = "INSERT INTO cache (name, is_public, priority, compression, created_at, client_filter_keys) \
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
    LIST_CACHES = "SELECT id, name, is_public, priority, compression, is_lenient, client_filter_keys, created_at, path_count, \
        stored_bytes, last_push_at, keep_pushed_days, keep_used_days, keep_bytes, keep_revisions, most_bytes, most_upload_bytes, networks FROM cache WHERE removed_at IS NULL ORDER BY name";
    SET_LENIENCY = "UPDATE cache SET is_lenient = $2, client_filter_keys = $3 WHERE id = $1";
    SHOW_HELD = "UPDATE store_path SET is_visible = TRUE WHERE cache_id = $1 AND NOT is_visible";
    CLEAR_AWAITED = "DELETE FROM awaited_reference WHERE cache_id = $1";
    UPDATE_CACHE = "UPDATE cache SET is_public = $2, priority = $3, networks = $4 WHERE id = $1";
    DELETE_UPSTREAMS = "DELETE FROM upstream WHERE cache_id = $1";
    INSERT_UPSTREAM = "INSERT INTO upstream (cache_id, url) VALUES ($1, $2)";
    LIST_UPSTREAMS = "SELECT cache_id, url FROM upstream ORDER BY id";
    HIDE_CACHE = "UPDATE cache SET name = $2, removed_at = $3, is_public = FALSE WHERE id = $1 AND removed_at IS NULL";
    LIST_TRAFFIC = "SELECT cache_id, CAST(SUM(narinfo_hits) AS BIGINT) AS narinfo_hits, \
        CAST(SUM(narinfo_misses) AS BIGINT) AS narinfo_misses, CAST(SUM(nar_bytes) AS BIGINT) AS nar_bytes, \
        CAST(SUM(pushed_paths) AS BIGINT) AS pushed_paths FROM cache_activity WHERE hour >= $1 GROUP BY cache_id";
    NAR_BYTES = "SELECT CAST(COALESCE(SUM(file_size), 0) AS BIGINT) AS files, CAST(COALESCE(SUM(nar_size), 0) AS BIGINT) AS unpacked FROM nar";
    LIST_HELD = "SELECT cache_id, COUNT(DISTINCT path_id) FROM awaited_reference GROUP BY cache_id";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct CacheRow {
    pub id: i64,
    pub name: String,
    pub is_public: bool,
    pub priority: i64,
    pub compression: String,
    pub is_lenient: bool,
    pub client_filter_keys: String,
    pub created_at: i64,
    pub path_count: i64,
    pub stored_bytes: i64,
    pub last_push_at: Option<i64>,
    pub keep_pushed_days: Option<i64>,
    pub keep_used_days: Option<i64>,
    pub keep_bytes: Option<i64>,
    pub keep_revisions: Option<i64>,
    pub most_bytes: Option<i64>,
    pub most_upload_bytes: Option<i64>,
    /// With blanks between.
    pub networks: String,
}

/// Bytes of all NARs, each once.
#[derive(Clone, Copy, Debug)]
pub struct NarBytes {
    /// Of their files.
    pub files: u64,
    /// Of what is in them.
    pub unpacked: u64,
}

pub(crate) struct NewCache<'a> {
    pub name: &'a str,
    pub is_public: bool,
    pub priority: i64,
    pub compression: &'a str,
    /// Names of keys, a blank between them.
    pub client_filter_keys: &'a str,
    /// `None` where people sign and the server does not.
    pub key: Option<NewKey>,
}

/// Everything that can be changed of a cache, as it is to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheUpdate {
    pub is_public: bool,
    pub priority: i64,
    pub is_lenient: bool,
    pub client_filter_keys: String,
    /// All of them, in the order to be asked.
    pub upstreams: Vec<String>,
    /// With blanks between.
    pub networks: String,
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
                    .bind(cache.client_filter_keys)
                    .fetch_one(&mut *tx)
                    .await?;
                if let Some(key) = &cache.key {
                    sqlx::query(super::key::INSERT_KEY)
                        .bind(id)
                        .bind(&key.name)
                        .bind(&key.public_key[..])
                        .bind(&key.sealed_seed)
                        .bind(audit.at)
                        // Nothing is older than the key.
                        .bind(Some(audit.at))
                        .execute(&mut *tx)
                        .await?;
                }
                audit!(tx, &audit.clone().of(id));
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

    /// Which cache sits on top of which URL.
    pub async fn upstream_list(&self) -> Result<Vec<(i64, String)>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_UPSTREAMS).fetch_all(pool).await?))
    }

    /// Changes a cache. What waited for references is shown where they are waited for no longer.
    pub async fn cache_update(&self, id: i64, update: &CacheUpdate, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(UPDATE_CACHE)
                .bind(id)
                .bind(update.is_public)
                .bind(update.priority)
                .bind(&update.networks)
                .execute(&mut *tx)
                .await?;
            sqlx::query(SET_LENIENCY)
                .bind(id)
                .bind(update.is_lenient)
                .bind(&update.client_filter_keys)
                .execute(&mut *tx)
                .await?;
            if update.is_lenient || !update.client_filter_keys.is_empty() {
                sqlx::query(CLEAR_AWAITED).bind(id).execute(&mut *tx).await?;
                sqlx::query(SHOW_HELD).bind(id).execute(&mut *tx).await?;
            }
            sqlx::query(DELETE_UPSTREAMS).bind(id).execute(&mut *tx).await?;
            for url in &update.upstreams {
                sqlx::query(INSERT_UPSTREAM).bind(id).bind(url).execute(&mut *tx).await?;
            }
            audit!(tx, audit);
            bump!(tx);
        });
        Ok(())
    }

    /// Takes a cache from everybody's sight and frees its name. False when somebody else did.
    pub async fn cache_hide(&self, id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            // No cache can be called so.
            let name = format!("(removed {id})");
            let hidden = sqlx::query(HIDE_CACHE).bind(id).bind(name).bind(audit.at).execute(&mut *tx).await?;
            audit!(tx, audit);
            bump!(tx);
            hidden.rows_affected() > 0
        }))
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

    /// Bytes of all NARs.
    pub async fn nar_bytes(&self) -> Result<NarBytes> {
        let (files, unpacked): (i64, i64) = read!(self, |pool| sqlx::query_as(NAR_BYTES).fetch_one(pool).await?);
        Ok(NarBytes { files: unsigned(files), unpacked: unsigned(unpacked) })
    }

    /// For each cache that has paths waiting for references, how many.
    pub async fn held_counts(&self) -> Result<Vec<(i64, i64)>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_HELD).fetch_all(pool).await?))
    }
}
