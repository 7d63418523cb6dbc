//! Statements that look whether what the database says of itself is true.

use super::*;
use nix_compat::nixhash::Sha256;
use sqlx::FromRow;

statements! {
    COUNT_NARS = "SELECT COUNT(*) FROM nar";
    LIST_NARS = "SELECT id, file_hash, file_size, damaged_at FROM nar WHERE id > $1 ORDER BY id LIMIT $2";
    GET_NAR_OF_FILE = "SELECT id, file_hash, file_size, damaged_at FROM nar WHERE file_hash = $1";
    GET_NAR_OF_CONTENTS = "SELECT id, file_hash, file_size, damaged_at FROM nar WHERE nar_hash = $1 AND damaged_at IS NULL \
        ORDER BY id LIMIT 1";
    LIST_NAMES_OF_NAR = "SELECT c.name, p.hash, p.name FROM store_path p JOIN cache c ON c.id = p.cache_id WHERE p.nar_id = $1 \
        ORDER BY p.id LIMIT $2";
    COUNT_UNUSED_NARS = "SELECT COUNT(*) FROM nar n WHERE NOT EXISTS (SELECT 1 FROM store_path p WHERE p.nar_id = n.id) \
        AND NOT EXISTS (SELECT 1 FROM set_aside s WHERE s.nar_id = n.id)";
    LIST_UNUSED_NARS = "SELECT n.id FROM nar n WHERE n.id > $1 AND NOT EXISTS (SELECT 1 FROM store_path p WHERE p.nar_id = n.id) \
        AND NOT EXISTS (SELECT 1 FROM set_aside s WHERE s.nar_id = n.id) ORDER BY n.id LIMIT 256";
    SUM_CACHE = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(file_size), 0) AS BIGINT) FROM store_path WHERE cache_id = $1";
    DO_NUMBERS_MATCH = "SELECT COUNT(*) FROM cache c WHERE c.id = $1 \
        AND c.path_count = (SELECT COUNT(*) FROM store_path p WHERE p.cache_id = c.id) \
        AND c.stored_bytes = (SELECT CAST(COALESCE(SUM(p.file_size), 0) AS BIGINT) FROM store_path p WHERE p.cache_id = c.id)";
    SET_NUMBERS = "UPDATE cache SET path_count = (SELECT COUNT(*) FROM store_path p WHERE p.cache_id = cache.id), \
        stored_bytes = (SELECT CAST(COALESCE(SUM(p.file_size), 0) AS BIGINT) FROM store_path p WHERE p.cache_id = cache.id) WHERE id = $1";
    HAS_AWAITED = "SELECT COUNT(*) FROM (SELECT 1 AS one FROM awaited_reference WHERE cache_id = $1 LIMIT 1) some_of_them";
}

/// A NAR by its file.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct NarRow {
    pub id: i64,
    pub file_hash: Vec<u8>,
    pub file_size: i64,
    pub damaged_at: Option<i64>,
}

impl NarRow {
    /// SHA-256 of the file.
    pub fn hash(&self) -> Result<Sha256> {
        let bytes = <[u8; 32]>::try_from(self.file_hash.as_slice());
        bytes.map(Sha256::from_bytes).map_err(|_| Error::internal(format!("NAR {} in the database: its file", self.id)))
    }
}

impl Db {
    pub async fn nar_count(&self) -> Result<u64> {
        let count: i64 = read!(self, |pool| sqlx::query_scalar(COUNT_NARS).fetch_one(pool).await?);
        Ok(count.unsigned_abs())
    }

    /// NARs behind the one with this number.
    pub async fn nar_page(&self, after: i64, most: i64) -> Result<Vec<NarRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_NARS).bind(after).bind(most).fetch_all(pool).await?))
    }

    pub async fn nar_of_file(&self, file_hash: &[u8]) -> Result<Option<NarRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_NAR_OF_FILE).bind(file_hash).fetch_optional(pool).await?))
    }

    /// The NAR with this SHA-256, where its file is not known to be damaged.
    pub async fn nar_of_contents(&self, nar_hash: &[u8]) -> Result<Option<NarRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_NAR_OF_CONTENTS).bind(nar_hash).fetch_optional(pool).await?))
    }

    /// Some of the paths that have a NAR, as `cache: hash-name`.
    pub async fn nar_path_names(&self, nar_id: i64, most: i64) -> Result<Vec<String>> {
        let rows: Vec<(String, String, String)> =
            read!(self, |pool| sqlx::query_as(LIST_NAMES_OF_NAR).bind(nar_id).bind(most).fetch_all(pool).await?);
        Ok(rows.into_iter().map(|(cache, hash, name)| format!("{cache}: {hash}-{name}")).collect())
    }

    pub async fn unused_nar_count(&self) -> Result<u64> {
        let count: i64 = read!(self, |pool| sqlx::query_scalar(COUNT_UNUSED_NARS).fetch_one(pool).await?);
        Ok(count.unsigned_abs())
    }

    /// Forgets NARs that no path has. How many.
    pub async fn unused_nars_release(&self, now: i64) -> Result<u64> {
        let (mut last, mut released) = (0, 0);
        loop {
            let ids: Vec<i64> =
                read!(self, |pool| sqlx::query_scalar(LIST_UNUSED_NARS).bind(last).fetch_all(pool).await?);
            let Some(end) = ids.last() else { return Ok(released) };
            last = *end;
            released += ids.len() as u64;
            transact!(self, |tx| {
                super::aside::release_nars!(tx, &ids, now);
            });
        }
    }

    /// Paths of a cache and the bytes of their files, counted.
    pub async fn cache_numbers(&self, cache_id: i64) -> Result<(i64, i64)> {
        Ok(read!(self, |pool| sqlx::query_as(SUM_CACHE).bind(cache_id).fetch_one(pool).await?))
    }

    /// Whether the numbers kept of a cache are those of its rows, at one moment.
    pub async fn cache_numbers_match(&self, cache_id: i64) -> Result<bool> {
        let count: i64 =
            read!(self, |pool| sqlx::query_scalar(DO_NUMBERS_MATCH).bind(cache_id).fetch_one(pool).await?);
        Ok(count > 0)
    }

    pub async fn cache_numbers_set(&self, cache_id: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SET_NUMBERS).bind(cache_id).execute(&mut *tx).await?;
            bump!(tx);
        });
        Ok(())
    }

    /// Whether any path of the cache waits for references.
    pub async fn has_awaited(&self, cache_id: i64) -> Result<bool> {
        let count: i64 = read!(self, |pool| sqlx::query_scalar(HAS_AWAITED).bind(cache_id).fetch_one(pool).await?);
        Ok(count > 0)
    }
}
