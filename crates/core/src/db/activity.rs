//! Statements that write what was counted in memory.

use super::*;
use crate::activity::PulledFile;

statements! {
    ADD_ACTIVITY = "INSERT INTO cache_activity (cache_id, hour, narinfo_hits, narinfo_misses, nar_bytes, pushed_paths) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (cache_id, hour) DO UPDATE SET \
        narinfo_hits = cache_activity.narinfo_hits + excluded.narinfo_hits, \
        narinfo_misses = cache_activity.narinfo_misses + excluded.narinfo_misses, \
        nar_bytes = cache_activity.nar_bytes + excluded.nar_bytes, \
        pushed_paths = cache_activity.pushed_paths + excluded.pushed_paths";
    PULL_FILE = "UPDATE store_path SET last_pulled_at = $3 WHERE cache_id = $1 AND nar_id IN (SELECT id FROM nar WHERE file_hash = $2)";
}

/// What came to one cache since the last flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ActivityDelta {
    pub narinfo_hits: i64,
    pub narinfo_misses: i64,
    pub nar_bytes: i64,
    pub pushed_paths: i64,
}

impl Db {
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
                    .execute(&mut *tx)
                    .await?;
            }
        });
        Ok(())
    }

    /// Notes when files were last downloaded, for every path of the cache that has them.
    pub async fn files_pulled(&self, pulled: &[(PulledFile, i64)]) -> Result<()> {
        for chunk in pulled.chunks(CHUNK) {
            transact!(self, |tx| {
                for ((cache_id, file_hash), at) in chunk {
                    sqlx::query(PULL_FILE)
                        .bind(cache_id)
                        .bind(&file_hash.as_bytes()[..])
                        .bind(at)
                        .execute(&mut *tx)
                        .await?;
                }
            });
        }
        Ok(())
    }
}
