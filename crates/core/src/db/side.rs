//! Statements about what stands beside store paths: build logs, realisations, debug info.

use super::*;
use sqlx::FromRow;

statements! {
    PUT_LOG = "INSERT INTO build_log (cache_id, drv, file_hash, file_size, size, put_at, put_by) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (cache_id, drv) DO UPDATE SET file_hash = excluded.file_hash, \
        file_size = excluded.file_size, size = excluded.size, put_at = excluded.put_at, put_by = excluded.put_by";
    GET_LOG = "SELECT file_hash, file_size, size FROM build_log WHERE cache_id = $1 AND drv = $2";
    LIST_UNNEEDED_LOGS = "SELECT drv FROM build_log l WHERE l.cache_id = $1 AND l.put_at < $2 \
        AND NOT EXISTS (SELECT 1 FROM store_path p WHERE p.cache_id = $1 AND p.deriver = l.drv) \
        AND NOT EXISTS (SELECT 1 FROM set_aside s WHERE s.cache_id = $1 AND s.deriver = l.drv) ORDER BY l.drv LIMIT 200";
    DELETE_LOG = "DELETE FROM build_log WHERE cache_id = $1 AND drv = $2 AND put_at < $3";
    LIST_LOGS_AFTER = "SELECT drv, file_hash, file_size, size FROM build_log WHERE cache_id = $1 AND drv > $2 ORDER BY drv LIMIT 500";
    LIST_REALISATIONS_AFTER = "SELECT key, document FROM realisation WHERE cache_id = $1 AND key > $2 ORDER BY key LIMIT 500";
    PUT_REALISATION = "INSERT INTO realisation (cache_id, key, document, put_at, put_by) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (cache_id, key) DO NOTHING";
    GET_REALISATION = "SELECT document FROM realisation WHERE cache_id = $1 AND key = $2";
    FIND_DEBUG_INFO = "SELECT n.file_hash, n.compression FROM debug_info d JOIN nar n ON n.id = d.nar_id \
        JOIN store_path p ON p.nar_id = n.id WHERE d.build_id = $2 AND p.cache_id = $1 AND p.is_visible LIMIT 1";
}

/// A build log as a packed file of the store.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct LogRow {
    pub file_hash: Vec<u8>,
    pub file_size: i64,
    /// Bytes of the log itself.
    pub size: i64,
}

/// A build log among those of its cache.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct ListedLog {
    /// Base name of the derivation.
    pub drv: String,
    #[sqlx(flatten)]
    pub log: LogRow,
}

pub(crate) struct NewLog<'a> {
    pub cache_id: i64,
    pub drv: &'a str,
    pub file_hash: &'a [u8],
    pub file_size: i64,
    pub size: i64,
    pub by: &'a str,
    pub now: i64,
}

impl Db {
    /// Notes a log; a later one of the same derivation takes its place.
    pub async fn log_put(&self, log: &NewLog<'_>) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(PUT_LOG)
                .bind(log.cache_id)
                .bind(log.drv)
                .bind(log.file_hash)
                .bind(log.file_size)
                .bind(log.size)
                .bind(log.now)
                .bind(log.by)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    pub async fn log_get(&self, cache_id: i64, drv: &str) -> Result<Option<LogRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_LOG).bind(cache_id).bind(drv).fetch_optional(pool).await?))
    }

    /// Forgets some logs that came before `before` and whose derivation made no path of the cache. How many.
    pub async fn logs_forget_some(&self, cache_id: i64, before: i64) -> Result<usize> {
        let drvs: Vec<String> = read!(self, |pool| sqlx::query_scalar(LIST_UNNEEDED_LOGS)
            .bind(cache_id)
            .bind(before)
            .fetch_all(pool)
            .await?);
        if !drvs.is_empty() {
            transact!(self, |tx| {
                for drv in &drvs {
                    sqlx::query(DELETE_LOG).bind(cache_id).bind(drv).bind(before).execute(&mut *tx).await?;
                }
            });
        }
        Ok(drvs.len())
    }

    /// Logs of derivations behind this one, by name.
    pub async fn log_list(&self, cache_id: i64, after: &str) -> Result<Vec<ListedLog>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_LOGS_AFTER).bind(cache_id).bind(after).fetch_all(pool).await?))
    }

    /// Keys and documents of realisations behind this one, by key.
    pub async fn realisation_list(&self, cache_id: i64, after: &str) -> Result<Vec<(String, String)>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_REALISATIONS_AFTER)
            .bind(cache_id)
            .bind(after)
            .fetch_all(pool)
            .await?))
    }

    /// Keeps a realisation; the first one stays.
    pub async fn realisation_put(&self, cache_id: i64, key: &str, document: &str, by: &str, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(PUT_REALISATION)
                .bind(cache_id)
                .bind(key)
                .bind(document)
                .bind(now)
                .bind(by)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    pub async fn realisation_get(&self, cache_id: i64, key: &str) -> Result<Option<String>> {
        Ok(read!(self, |pool| sqlx::query_scalar(GET_REALISATION)
            .bind(cache_id)
            .bind(key)
            .fetch_optional(pool)
            .await?))
    }

    /// File hash and compression of a NAR of the cache with the debug symbols of this build id.
    pub async fn debug_info_find(&self, cache_id: i64, build_id: &[u8]) -> Result<Option<(Vec<u8>, String)>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_DEBUG_INFO)
            .bind(cache_id)
            .bind(build_id)
            .fetch_optional(pool)
            .await?))
    }
}
