//! Statements that write what was counted in memory.

use super::*;
use crate::{activity::PulledFile, directory::Cache, readers::Reading};
use iglu_api::{Timestamp, statistics::TopPath};
use nix_compat::store_path::StorePathHash;
use sqlx::{AssertSqlSafe, FromRow};
use std::sync::Arc;

statements! {
    ADD_ACTIVITY = "INSERT INTO cache_activity (cache_id, hour, narinfo_hits, narinfo_misses, nar_bytes, pushed_paths, nar_requests, \
        path_count, stored_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, (SELECT path_count FROM cache WHERE id = $1), \
        (SELECT stored_bytes FROM cache WHERE id = $1)) ON CONFLICT (cache_id, hour) DO UPDATE SET \
        narinfo_hits = cache_activity.narinfo_hits + excluded.narinfo_hits, \
        narinfo_misses = cache_activity.narinfo_misses + excluded.narinfo_misses, \
        nar_bytes = cache_activity.nar_bytes + excluded.nar_bytes, \
        pushed_paths = cache_activity.pushed_paths + excluded.pushed_paths, \
        nar_requests = cache_activity.nar_requests + excluded.nar_requests, \
        path_count = excluded.path_count, stored_bytes = excluded.stored_bytes";
    LIST_ACTIVITY = "SELECT hour, narinfo_hits, narinfo_misses, nar_bytes, pushed_paths, nar_requests, path_count, stored_bytes \
        FROM cache_activity WHERE cache_id = $1 AND hour >= $2 ORDER BY hour";
    LIST_OLD_DAYS = "SELECT DISTINCT cache_id, hour - hour % 86400000 AS day FROM cache_activity \
        WHERE hour < $1 AND hour % 86400000 <> 0 ORDER BY cache_id, day LIMIT 200";
    LIST_DAY = "SELECT hour, narinfo_hits, narinfo_misses, nar_bytes, pushed_paths, nar_requests, path_count, stored_bytes \
        FROM cache_activity WHERE cache_id = $1 AND hour >= $2 AND hour < $2 + 86400000 ORDER BY hour";
    DELETE_DAY = "DELETE FROM cache_activity WHERE cache_id = $1 AND hour >= $2 AND hour < $2 + 86400000";
    INSERT_DAY = "INSERT INTO cache_activity (cache_id, hour, narinfo_hits, narinfo_misses, nar_bytes, pushed_paths, nar_requests, \
        path_count, stored_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    DELETE_OLD_ACTIVITY = "DELETE FROM cache_activity WHERE hour < $1";
    PULL_FILE = "UPDATE store_path SET last_pulled_at = $3, pull_count = pull_count + $4 \
        WHERE cache_id = $1 AND nar_id IN (SELECT id FROM nar WHERE file_hash = $2)";
    ADD_PULLS = "INSERT INTO path_pull (cache_id, hash, day, pulls) SELECT p.cache_id, p.hash, $3, $4 FROM store_path p \
        WHERE p.cache_id = $1 AND p.nar_id IN (SELECT id FROM nar WHERE file_hash = $2) \
        ON CONFLICT (cache_id, hash, day) DO UPDATE SET pulls = path_pull.pulls + excluded.pulls";
    GET_PULL_COUNT = "SELECT pull_count FROM store_path WHERE cache_id = $1 AND hash = $2";
    LIST_PULLS = "SELECT day, pulls FROM path_pull WHERE cache_id = $1 AND hash = $2 ORDER BY day";
    DELETE_OLD_PULLS = "DELETE FROM path_pull WHERE day < $1";
    LIST_TOP = "SELECT hash, name, pull_count, file_size FROM store_path WHERE cache_id = $1 AND pull_count > 0 \
        ORDER BY pull_count DESC LIMIT 10";
    GET_READING = "SELECT clients, waits FROM cache_day WHERE cache_id = $1 AND day = $2";
    ADD_EMPTY_READING = "INSERT INTO cache_day (cache_id, day, clients, waits) VALUES ($1, $2, $3, $3) \
        ON CONFLICT (cache_id, day) DO UPDATE SET clients = cache_day.clients";
    PUT_READING = "INSERT INTO cache_day (cache_id, day, clients, waits) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (cache_id, day) DO UPDATE SET clients = excluded.clients, waits = excluded.waits";
    LIST_READINGS = "SELECT cache_id, day, clients, waits FROM cache_day WHERE day >= $1 ORDER BY day, cache_id";
    LIST_READINGS_OF = "SELECT cache_id, day, clients, waits FROM cache_day WHERE cache_id = $2 AND day >= $1 ORDER BY day";
    DELETE_OLD_READINGS = "DELETE FROM cache_day WHERE day < $1";
}

/// What came to one cache since the last flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ActivityDelta {
    pub narinfo_hits: i64,
    pub narinfo_misses: i64,
    pub nar_bytes: i64,
    pub pushed_paths: i64,
    pub nar_requests: i64,
}

/// An hour, or a day of long ago, or several of them added up.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct ActivityRow {
    pub hour: i64,
    pub narinfo_hits: i64,
    pub narinfo_misses: i64,
    pub nar_bytes: i64,
    pub pushed_paths: i64,
    pub nar_requests: i64,
    pub path_count: Option<i64>,
    pub stored_bytes: Option<i64>,
}

/// How large a cache was at a look.
#[derive(Clone, Copy, Debug, FromRow)]
pub(crate) struct SizeRow {
    pub cache_id: i64,
    pub hour: i64,
    pub path_count: i64,
    pub stored_bytes: i64,
}

impl Db {
    /// What was asked of a cache since then, the oldest first.
    pub async fn activity_of(&self, cache_id: i64, since: i64) -> Result<Vec<ActivityRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_ACTIVITY).bind(cache_id).bind(since).fetch_all(pool).await?))
    }

    /// What was asked of these caches since then, added up by steps.
    pub async fn activity_of_all(&self, caches: &[i64], since: i64, step: i64) -> Result<Vec<ActivityRow>> {
        let mut found = Vec::new();
        for chunk in caches.chunks(CHUNK) {
            let sql = format!(
                "SELECT MIN(hour) AS hour, CAST(SUM(narinfo_hits) AS BIGINT) AS narinfo_hits, \
                 CAST(SUM(narinfo_misses) AS BIGINT) AS narinfo_misses, CAST(SUM(nar_bytes) AS BIGINT) AS nar_bytes, \
                 CAST(SUM(pushed_paths) AS BIGINT) AS pushed_paths, CAST(SUM(nar_requests) AS BIGINT) AS nar_requests, \
                 CAST(NULL AS BIGINT) AS path_count, CAST(NULL AS BIGINT) AS stored_bytes FROM cache_activity \
                 WHERE hour >= $1 AND cache_id IN ({}) GROUP BY (hour - $1) / $2",
                placeholders(3, chunk.len())
            );
            let rows: Vec<ActivityRow> = read!(self, |pool| {
                let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(since).bind(step);
                for id in chunk {
                    query = query.bind(id);
                }
                query.fetch_all(pool).await?
            });
            found.extend(rows);
        }
        Ok(found)
    }

    /// Paths and bytes of these caches at the last look of each step since then, and at the last one before, the oldest first.
    pub async fn sizes_of_all(&self, caches: &[i64], since: i64, step: i64) -> Result<Vec<SizeRow>> {
        let mut found: Vec<SizeRow> = Vec::new();
        for chunk in caches.chunks(CHUNK) {
            let within = placeholders(3, chunk.len());
            let sql = format!(
                "SELECT a.cache_id, a.hour, a.path_count, COALESCE(a.stored_bytes, 0) AS stored_bytes FROM cache_activity a \
                 JOIN (SELECT cache_id, MAX(hour) AS hour FROM cache_activity WHERE hour >= $1 AND path_count IS NOT NULL \
                 AND cache_id IN ({within}) GROUP BY cache_id, (hour - $1) / $2) b \
                 ON b.cache_id = a.cache_id AND b.hour = a.hour \
                 UNION ALL SELECT a.cache_id, a.hour, a.path_count, COALESCE(a.stored_bytes, 0) AS stored_bytes FROM cache c \
                 JOIN cache_activity a ON a.cache_id = c.id AND a.hour = (SELECT o.hour FROM cache_activity o \
                 WHERE o.cache_id = c.id AND o.hour < $1 AND o.path_count IS NOT NULL ORDER BY o.hour DESC LIMIT 1) \
                 WHERE c.id IN ({within})"
            );
            let rows: Vec<SizeRow> = read!(self, |pool| {
                let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(since).bind(step);
                for id in chunk {
                    query = query.bind(id);
                }
                query.fetch_all(pool).await?
            });
            found.extend(rows);
        }
        found.sort_by_key(|row| row.hour);
        Ok(found)
    }

    /// Adds up the hours of some days before `before`, and forgets what is older than `forgotten`. How many days.
    pub async fn activity_roll_up(&self, before: i64, forgotten: i64) -> Result<usize> {
        let days: Vec<(i64, i64)> =
            read!(self, |pool| sqlx::query_as(LIST_OLD_DAYS).bind(before).fetch_all(pool).await?);
        transact!(self, |tx| {
            sqlx::query(DELETE_OLD_ACTIVITY).bind(forgotten).execute(&mut *tx).await?;
            for (cache_id, day) in &days {
                let hours: Vec<ActivityRow> =
                    sqlx::query_as(LIST_DAY).bind(cache_id).bind(day).fetch_all(&mut *tx).await?;
                sqlx::query(DELETE_DAY).bind(cache_id).bind(day).execute(&mut *tx).await?;
                let sum = |number: fn(&ActivityRow) -> i64| hours.iter().map(number).sum::<i64>();
                let last = |number: fn(&ActivityRow) -> Option<i64>| hours.iter().rev().find_map(number);
                sqlx::query(INSERT_DAY)
                    .bind(cache_id)
                    .bind(day)
                    .bind(sum(|row| row.narinfo_hits))
                    .bind(sum(|row| row.narinfo_misses))
                    .bind(sum(|row| row.nar_bytes))
                    .bind(sum(|row| row.pushed_paths))
                    .bind(sum(|row| row.nar_requests))
                    .bind(last(|row| row.path_count))
                    .bind(last(|row| row.stored_bytes))
                    .execute(&mut *tx)
                    .await?;
            }
        });
        Ok(days.len())
    }

    pub async fn activity_add(&self, hour: i64, deltas: &[(i64, ActivityDelta)]) -> Result<()> {
        transact!(self, |tx| {
            for (cache_id, delta) in deltas {
                sqlx::query(ADD_ACTIVITY)
                    .bind(cache_id)
                    .bind(hour)
                    .bind(delta.narinfo_hits)
                    .bind(delta.narinfo_misses)
                    .bind(delta.nar_bytes)
                    .bind(delta.pushed_paths)
                    .bind(delta.nar_requests)
                    .execute(&mut *tx)
                    .await?;
            }
        });
        Ok(())
    }

    /// Notes when files were last downloaded and how often, for every path of the cache that has them.
    pub async fn files_pulled(&self, pulled: &[(PulledFile, (i64, u32))], day: i64) -> Result<()> {
        for chunk in pulled.chunks(CHUNK) {
            transact!(self, |tx| {
                for ((cache_id, file_hash), (at, pulls)) in chunk {
                    let file_hash = &file_hash.as_bytes()[..];
                    let pulls = i64::from(*pulls);
                    sqlx::query(PULL_FILE)
                        .bind(cache_id)
                        .bind(file_hash)
                        .bind(at)
                        .bind(pulls)
                        .execute(&mut *tx)
                        .await?;
                    sqlx::query(ADD_PULLS)
                        .bind(cache_id)
                        .bind(file_hash)
                        .bind(day)
                        .bind(pulls)
                        .execute(&mut *tx)
                        .await?;
                }
            });
        }
        Ok(())
    }

    /// How often the file of a path was downloaded since the path came.
    pub async fn pull_count(&self, cache_id: i64, hash: &str) -> Result<u64> {
        let count: Option<i64> = read!(self, |pool| sqlx::query_scalar(GET_PULL_COUNT)
            .bind(cache_id)
            .bind(hash)
            .fetch_optional(pool)
            .await?);
        Ok(count.unwrap_or_default().unsigned_abs())
    }

    /// Downloads of a path by days, the oldest first.
    pub async fn pulls_of(&self, cache_id: i64, hash: &str) -> Result<Vec<(Timestamp, u64)>> {
        let rows: Vec<(i64, i64)> =
            read!(self, |pool| sqlx::query_as(LIST_PULLS).bind(cache_id).bind(hash).fetch_all(pool).await?);
        Ok(rows.into_iter().map(|(day, pulls)| (Timestamp(day), pulls.unsigned_abs())).collect())
    }

    /// The paths of a cache that were downloaded most.
    pub async fn top_paths(&self, cache_id: i64) -> Result<Vec<TopPath>> {
        let rows: Vec<(String, String, i64, i64)> =
            read!(self, |pool| sqlx::query_as(LIST_TOP).bind(cache_id).fetch_all(pool).await?);
        let row = |(hash, name, pulls, file_size): (String, String, i64, i64)| {
            Some(TopPath {
                hash: StorePathHash::parse(&hash).ok()?,
                name,
                pulls: pulls.unsigned_abs(),
                file_size: file_size.unsigned_abs(),
            })
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// Adds what was counted of readers to what the day has.
    pub async fn readings_add(&self, day: i64, readings: &[(Arc<Cache>, Reading)]) -> Result<()> {
        if readings.is_empty() {
            return Ok(());
        }
        transact!(self, |tx| {
            // Servers that share a database add one after the other.
            for (cache, reading) in readings {
                sqlx::query(ADD_EMPTY_READING).bind(cache.id).bind(day).bind(&b""[..]).execute(&mut *tx).await?;
                let known: (Vec<u8>, Vec<u8>) =
                    sqlx::query_as(GET_READING).bind(cache.id).bind(day).fetch_one(&mut *tx).await?;
                let mut sum = Reading::from_bytes(&known.0, &known.1);
                sum.add(reading);
                sqlx::query(PUT_READING)
                    .bind(cache.id)
                    .bind(day)
                    .bind(sum.clients_bytes())
                    .bind(sum.waits_bytes())
                    .execute(&mut *tx)
                    .await?;
            }
        });
        Ok(())
    }

    /// Readers since then by cache and day, the oldest day first; of one cache or of all.
    pub async fn readings_since(&self, day: i64, cache_id: Option<i64>) -> Result<Vec<(i64, i64, Reading)>> {
        let rows: Vec<(i64, i64, Vec<u8>, Vec<u8>)> = match cache_id {
            Some(cache_id) => {
                read!(self, |pool| sqlx::query_as(LIST_READINGS_OF).bind(day).bind(cache_id).fetch_all(pool).await?)
            }
            None => read!(self, |pool| sqlx::query_as(LIST_READINGS).bind(day).fetch_all(pool).await?),
        };
        let row = |(cache_id, day, clients, waits): (i64, i64, Vec<u8>, Vec<u8>)| {
            (cache_id, day, Reading::from_bytes(&clients, &waits))
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Forgets downloads by days and readers of long ago.
    pub async fn readings_forget(&self, pulls_before: i64, readings_before: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_OLD_PULLS).bind(pulls_before).execute(&mut *tx).await?;
            sqlx::query(DELETE_OLD_READINGS).bind(readings_before).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
