//! Statements that take paths out of their caches and put them back.
//!
//! A path that goes is moved, as a whole row, from `store_path` to `set_aside`: every reader finds it gone without knowing of this
//! place, and putting it back is moving the row. Only what is purged from here takes its NAR along.

use super::*;
use sqlx::{AssertSqlSafe, FromRow};

/// All that a path is, without its visibility: only visible paths are set aside.
macro_rules! path_columns {
    () => {
        "cache_id, hash, name, nar_id, nar_size, file_size, refs, deriver, ca, signatures, pushed_at, pushed_by, last_pulled_at"
    };
}

statements! {
    FIND_ASIDE = "SELECT hash, name, reason, why, since FROM set_aside WHERE cache_id = $1 AND hash = $2";
    DELETE_UNUSED_NAR = "DELETE FROM nar WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM store_path WHERE nar_id = $1) \
        AND NOT EXISTS (SELECT 1 FROM set_aside WHERE nar_id = $1) RETURNING file_hash, file_size";
    ADD_TO_CACHE = "UPDATE cache SET path_count = path_count + $2, stored_bytes = stored_bytes + $3 WHERE id = $1";
    LIST_CACHES_OF_FILE = "SELECT DISTINCT p.cache_id FROM store_path p JOIN nar n ON n.id = p.nar_id WHERE n.file_hash = $1 \
        ORDER BY p.cache_id";
    LIST_CACHES_OF_DAMAGED = "SELECT DISTINCT cache_id FROM set_aside WHERE nar_id = $1 AND reason = 'damaged' ORDER BY cache_id";
    LOCK_CACHE = "UPDATE cache SET path_count = path_count WHERE id = $1 RETURNING collected_since IS NOT NULL";
    SET_DAMAGED = "UPDATE nar SET damaged_at = $2, damage = $3 WHERE file_hash = $1 AND damaged_at IS NULL RETURNING id";
    FIND_DAMAGED = "SELECT id FROM nar WHERE nar_hash = $1 AND damaged_at IS NOT NULL";
    FIND_DAMAGED_FILE = "SELECT id FROM nar WHERE file_hash = $1 AND damaged_at IS NOT NULL";
    SPOIL_ASIDE = "UPDATE set_aside SET reason = 'damaged', removal_id = NULL, \
        why = (SELECT COALESCE(n.damage, '') FROM nar n WHERE n.id = set_aside.nar_id), \
        since = (SELECT n.damaged_at FROM nar n WHERE n.id = set_aside.nar_id), \
        until = (SELECT n.damaged_at + $2 FROM nar n WHERE n.id = set_aside.nar_id) \
        WHERE id = $1 AND EXISTS (SELECT 1 FROM nar n WHERE n.id = set_aside.nar_id AND n.damaged_at IS NOT NULL)";
    LOCK_NAR = "UPDATE nar SET damaged_at = damaged_at WHERE id = $1 AND damaged_at IS NULL";
    LOCK_NAR_OF_ASIDE = "UPDATE nar SET damaged_at = damaged_at WHERE id = (SELECT nar_id FROM set_aside WHERE id = $1)";
    // The two moments are of two servers, whose clocks differ.
    SIGN_AGAIN = "UPDATE signing_key SET resigned_at = NULL WHERE cache_id = $2 AND retired_at IS NULL AND resigned_at IS NOT NULL \
        AND created_at >= (SELECT since - 60000 FROM set_aside WHERE id = $1)";
    LIST_UNDONE = "SELECT id FROM removal r WHERE state = 'undone' AND EXISTS (SELECT 1 FROM set_aside s WHERE s.removal_id = r.id) \
        ORDER BY id LIMIT 10";
    SET_WHOLE = "UPDATE nar SET damaged_at = NULL, damage = NULL WHERE id = $1";
    MOVE_ASIDE_TO_NAR = "UPDATE set_aside SET nar_id = $2, file_size = $3 WHERE nar_id = $1";
    LIST_PATHS_OF_NAR = "SELECT id FROM store_path WHERE nar_id = $1 ORDER BY id LIMIT 256";
    DELETE_PUT_NARS = "DELETE FROM put_nar WHERE file_hash = $1";
    DELETE_PUT_NAR = "DELETE FROM put_nar WHERE cache_id = $1 AND file_hash IN (SELECT file_hash FROM nar WHERE id = $2)";
    PUT_BACK = concat!("INSERT INTO store_path (", path_columns!(), ", is_visible) SELECT ", path_columns!(), ", FALSE FROM set_aside \
        WHERE id = $1 ON CONFLICT (cache_id, hash) DO NOTHING RETURNING id");
    AWAIT_AGAIN = "INSERT INTO awaited_reference (cache_id, hash, path_id) \
        SELECT c.id, CAST($2 AS TEXT), CAST($3 AS BIGINT) FROM cache c WHERE c.id = $1 AND NOT c.is_lenient AND c.client_filter_keys = '' \
        AND NOT EXISTS (SELECT 1 FROM upstream u WHERE u.cache_id = c.id) \
        AND NOT EXISTS (SELECT 1 FROM store_path p WHERE p.cache_id = c.id AND p.hash = $2 AND p.is_visible) \
        AND NOT EXISTS (SELECT 1 FROM set_aside s WHERE s.cache_id = c.id AND s.hash = $2 AND s.reason = 'damaged') \
        ON CONFLICT (cache_id, hash, path_id) DO NOTHING";
    SHOW_BACK = "UPDATE store_path SET is_visible = TRUE WHERE id = $1 AND NOT is_visible \
        AND NOT EXISTS (SELECT 1 FROM awaited_reference WHERE path_id = $1) RETURNING hash";
    DELETE_ASIDE = "DELETE FROM set_aside WHERE id = $1";
    DELETE_ASIDE_OF_PATH = "DELETE FROM set_aside WHERE cache_id = $1 AND hash = $2 RETURNING nar_id";
    FIND_COLLECTED = "SELECT id, cache_id, hash, refs, file_size FROM set_aside WHERE cache_id = $1 AND hash = $2 AND reason = 'collected'";
    LIST_DAMAGED_OF_NAR = "SELECT id, cache_id, hash, refs, file_size FROM set_aside WHERE nar_id = $1 AND reason = 'damaged' LIMIT 256";
    LIST_REMOVED_PATHS = "SELECT id, cache_id, hash, refs, file_size FROM set_aside WHERE removal_id = $1 LIMIT 128";
    LIST_PAST = "SELECT id FROM set_aside s WHERE until < $1 AND NOT EXISTS \
        (SELECT 1 FROM removal r WHERE r.id = s.removal_id AND r.state = 'undone') ORDER BY until LIMIT $2";
    COUNT_ASIDE = "SELECT reason, COUNT(*), CAST(COALESCE(SUM(file_size), 0) AS BIGINT) FROM set_aside GROUP BY reason";
    COUNT_DAMAGED = "SELECT cache_id, COUNT(*) FROM set_aside WHERE reason = 'damaged' GROUP BY cache_id";
    LIST_DAMAGED = "SELECT s.hash, s.name, s.why, s.since, s.file_size FROM set_aside s WHERE s.cache_id = $1 AND s.reason = 'damaged' \
        ORDER BY s.since DESC, s.id DESC LIMIT $2";
    NEEDED_MEANWHILE = "INSERT INTO needed_meanwhile (cache_id, hash) VALUES ($1, $2) ON CONFLICT (cache_id, hash) DO NOTHING";
    TAKE_NEEDED_MEANWHILE = "DELETE FROM needed_meanwhile WHERE cache_id = $1 RETURNING hash";
}

/// A path that is out of its cache.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct AsideFound {
    pub hash: String,
    pub name: String,
    /// `damaged`, `deleted` or `collected`.
    pub reason: String,
    pub why: String,
    pub since: i64,
}

/// A path out of its cache, about to be put back.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct AsideRow {
    pub id: i64,
    pub cache_id: i64,
    pub hash: String,
    pub refs: String,
    pub file_size: i64,
}

impl AsideRow {
    /// Hash parts of what it refers to, itself left out.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let hashes = self.refs.split(' ').filter_map(|reference| reference.get(..32));
        hashes.filter(|hash| *hash != self.hash)
    }
}

/// What came back into its cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Back {
    pub paths: u64,
    /// Those of them, and of what waited for them, that can be pulled now, by cache and hash part.
    pub visible: Vec<(i64, String)>,
}

/// Why paths go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'a> {
    /// damaged, deleted or collected.
    pub reason: &'a str,
    pub removal_id: Option<i64>,
    pub since: i64,
    /// When they are gone for good.
    pub until: i64,
}

/// A path that left, of whichever cache.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Departed {
    pub cache_id: i64,
    pub hash: String,
    pub nar_id: i64,
    pub file_size: i64,
    /// Whether anybody could pull it; otherwise it is not kept anywhere.
    pub is_visible: bool,
}

/// A path that needs attention because its file is damaged.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct DamagedRow {
    pub hash: String,
    pub name: String,
    pub why: String,
    pub since: i64,
    pub file_size: i64,
}

/// Forgets, with the open transaction `$tx`, those of the NARs that no path and nothing set aside has; their files become dead.
macro_rules! release_nars {
    ($tx:ident, $nar_ids:expr, $now:expr) => {
        for nar_id in $nar_ids {
            let gone: Option<(Vec<u8>, i64)> =
                sqlx::query_as(crate::db::aside::DELETE_UNUSED_NAR).bind(nar_id).fetch_optional(&mut *$tx).await?;
            if let Some((file_hash, file_size)) = gone {
                sqlx::query(crate::db::dead::INSERT_DEAD_FILE)
                    .bind("nar")
                    .bind(file_hash)
                    .bind(file_size)
                    .bind($now)
                    .execute(&mut *$tx)
                    .await?;
            }
        }
    };
}
pub(super) use release_nars;

/// Puts paths back with the open transaction `$tx`, and what was collected of what they refer to. One whose file was found to be
/// damaged meanwhile is out of sight for that reason from then on; one whose references are neither visible nor damaged waits for them.
/// They are added to `$back`.
macro_rules! put_back {
    ($tx:ident, $rows:expr, $back:ident) => {{
        let mut waiting: Vec<crate::db::aside::AsideRow> = $rows;
        let mut put_back: Vec<(i64, crate::db::aside::AsideRow)> = Vec::new();
        while let Some(row) = waiting.pop() {
            // Whoever finds the file damaged at this moment waits, and then sees the path.
            sqlx::query(crate::db::aside::LOCK_NAR_OF_ASIDE).bind(row.id).execute(&mut *$tx).await?;
            let spoiled = sqlx::query(crate::db::aside::SPOIL_ASIDE)
                .bind(row.id)
                .bind(crate::storage::DAMAGED_KEPT)
                .execute(&mut *$tx)
                .await?;
            if spoiled.rows_affected() > 0 {
                continue;
            }
            // Orders this with pushes and collections, which must hear of it.
            let is_collected: Option<bool> =
                sqlx::query_scalar(crate::db::aside::LOCK_CACHE).bind(row.cache_id).fetch_optional(&mut *$tx).await?;
            let put: Option<i64> =
                sqlx::query_scalar(crate::db::aside::PUT_BACK).bind(row.id).fetch_optional(&mut *$tx).await?;
            // Keys that came while it was out have not signed it.
            sqlx::query(crate::db::aside::SIGN_AGAIN).bind(row.id).bind(row.cache_id).execute(&mut *$tx).await?;
            sqlx::query(crate::db::aside::DELETE_ASIDE).bind(row.id).execute(&mut *$tx).await?;
            let Some(path_id) = put else { continue };
            sqlx::query(crate::db::aside::ADD_TO_CACHE)
                .bind(row.cache_id)
                .bind(1_i64)
                .bind(row.file_size)
                .execute(&mut *$tx)
                .await?;
            if is_collected == Some(true) {
                for hash in std::iter::once(row.hash.as_str()).chain(row.references()) {
                    sqlx::query(crate::db::aside::NEEDED_MEANWHILE)
                        .bind(row.cache_id)
                        .bind(hash)
                        .execute(&mut *$tx)
                        .await?;
                }
            }
            for hash in row.references() {
                let collected: Option<crate::db::aside::AsideRow> = sqlx::query_as(crate::db::aside::FIND_COLLECTED)
                    .bind(row.cache_id)
                    .bind(hash)
                    .fetch_optional(&mut *$tx)
                    .await?;
                waiting.extend(collected);
            }
            put_back.push((path_id, row));
        }
        for (path_id, row) in &put_back {
            for hash in row.references() {
                sqlx::query(crate::db::aside::AWAIT_AGAIN)
                    .bind(row.cache_id)
                    .bind(hash)
                    .bind(path_id)
                    .execute(&mut *$tx)
                    .await?;
            }
        }
        $back.paths += put_back.len() as u64;
        for (path_id, row) in put_back {
            let shown: Option<String> =
                sqlx::query_scalar(crate::db::aside::SHOW_BACK).bind(path_id).fetch_optional(&mut *$tx).await?;
            if let Some(hash) = shown {
                let mut visible = vec![hash];
                let arrived = visible.clone();
                crate::db::push::release!($tx, row.cache_id, arrived, visible);
                $back.visible.extend(visible.into_iter().map(|hash| (row.cache_id, hash)));
            }
        }
    }};
}
pub(super) use put_back;

/// Puts back, with the open transaction `$tx`, what was collected of `$wanted`.
macro_rules! put_back_collected {
    ($tx:ident, $cache_id:expr, $wanted:expr, $back:ident) => {{
        let wanted: Vec<String> = $wanted;
        let mut collected: Vec<crate::db::aside::AsideRow> = Vec::new();
        for chunk in wanted.chunks(256) {
            let sql = crate::db::aside::find_collected_sql(chunk.len());
            let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind($cache_id);
            for hash in chunk {
                query = query.bind(hash);
            }
            let found: Vec<crate::db::aside::AsideRow> = query.fetch_all(&mut *$tx).await?;
            collected.extend(found);
        }
        crate::db::aside::put_back!($tx, collected, $back);
    }};
}
pub(super) use put_back_collected;

/// The statement that finds those of `count` paths that were collected; hash parts are bound from $2 on.
pub(super) fn find_collected_sql(count: usize) -> String {
    format!(
        "SELECT id, cache_id, hash, refs, file_size FROM set_aside WHERE cache_id = $1 AND reason = 'collected' AND hash IN ({})",
        placeholders(2, count)
    )
}

/// Takes paths out of their caches with the open transaction `$tx`: visible ones are set aside, held ones are gone. `$departed` gets
/// those that were there.
macro_rules! set_aside {
    ($tx:ident, $ids:expr, $why:expr, $departure:expr, $departed:ident) => {{
        let (ids, why, departure): (&[i64], &str, &crate::db::aside::Departure<'_>) = ($ids, $why, $departure);
        for chunk in ids.chunks(256) {
            let (insert, delete) = crate::db::aside::set_aside_sql(chunk.len());
            let mut query = sqlx::query(AssertSqlSafe(insert))
                .bind(departure.reason)
                .bind(why)
                .bind(departure.removal_id)
                .bind(departure.since)
                .bind(departure.until);
            for id in chunk {
                query = query.bind(id);
            }
            query.execute(&mut *$tx).await?;
            let mut query = sqlx::query_as(AssertSqlSafe(delete));
            for id in chunk {
                query = query.bind(id);
            }
            let gone: Vec<crate::db::aside::Departed> = query.fetch_all(&mut *$tx).await?;
            let mut by_cache: std::collections::BTreeMap<i64, (i64, i64)> = std::collections::BTreeMap::new();
            for path in &gone {
                let (paths, bytes) = by_cache.entry(path.cache_id).or_default();
                *paths += 1;
                *bytes += path.file_size;
            }
            for (cache_id, (paths, bytes)) in by_cache {
                sqlx::query(crate::db::aside::ADD_TO_CACHE)
                    .bind(cache_id)
                    .bind(-paths)
                    .bind(-bytes)
                    .execute(&mut *$tx)
                    .await?;
            }
            $departed.extend(gone);
        }
    }};
}
pub(super) use set_aside;

/// The statements that move `count` paths: ids are bound from $6 on in the first and from $1 on in the second.
pub(super) fn set_aside_sql(count: usize) -> (String, String) {
    let insert = format!(
        concat!(
            "INSERT INTO set_aside (",
            path_columns!(),
            ", reason, why, removal_id, since, until) SELECT ",
            path_columns!(),
            ", CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT) \
             FROM store_path WHERE is_visible AND id IN ({})"
        ),
        placeholders(6, count)
    );
    let delete = format!(
        "DELETE FROM store_path WHERE id IN ({}) RETURNING cache_id, hash, nar_id, file_size, is_visible",
        placeholders(1, count)
    );
    (insert, delete)
}

/// Puts back, with the open transaction `$tx`, all damaged paths of a NAR that is whole again.
macro_rules! put_back_damaged {
    ($tx:ident, $nar_id:expr, $back:ident) => {
        loop {
            let rows: Vec<crate::db::aside::AsideRow> =
                sqlx::query_as(crate::db::aside::LIST_DAMAGED_OF_NAR).bind($nar_id).fetch_all(&mut *$tx).await?;
            if rows.is_empty() {
                break;
            }
            crate::db::aside::put_back!($tx, rows, $back);
        }
    };
}
pub(super) use put_back_damaged;

/// Forgets what was set aside, with the open transaction `$tx`. The NARs that it had.
macro_rules! purge {
    ($tx:ident, $ids:expr) => {{
        let mut nar_ids: std::collections::BTreeSet<i64> = std::collections::BTreeSet::new();
        for chunk in $ids.chunks(256) {
            let sql = format!("DELETE FROM set_aside WHERE id IN ({}) RETURNING nar_id", placeholders(1, chunk.len()));
            let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
            for id in chunk {
                query = query.bind(id);
            }
            nar_ids.extend(query.fetch_all(&mut *$tx).await? as Vec<i64>);
        }
        nar_ids
    }};
}
pub(super) use purge;

impl Db {
    /// Notes that a NAR's file is not what it was, and takes every path that has it out of sight. The paths.
    pub async fn nar_set_damaged(
        &self,
        file_hash: &[u8],
        why: &str,
        departure: &Departure<'_>,
    ) -> Result<Vec<Departed>> {
        Ok(transact!(self, |tx| {
            let mut departed = Vec::new();
            // Caches before NARs, as pushes lock them.
            let caches: Vec<i64> = sqlx::query_scalar(LIST_CACHES_OF_FILE).bind(file_hash).fetch_all(&mut *tx).await?;
            for cache_id in caches {
                sqlx::query(LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
            }
            let nar_id: Option<i64> = sqlx::query_scalar(SET_DAMAGED)
                .bind(file_hash)
                .bind(departure.since)
                .bind(why)
                .fetch_optional(&mut *tx)
                .await?;
            let is_news = nar_id.is_some();
            // Where it is known, a path may have come to have it at the very moment when it was found.
            let nar_id = match nar_id {
                Some(nar_id) => Some(nar_id),
                None => sqlx::query_scalar(FIND_DAMAGED_FILE).bind(file_hash).fetch_optional(&mut *tx).await?,
            };
            if let Some(nar_id) = nar_id {
                loop {
                    let ids: Vec<i64> = sqlx::query_scalar(LIST_PATHS_OF_NAR).bind(nar_id).fetch_all(&mut *tx).await?;
                    if ids.is_empty() {
                        break;
                    }
                    set_aside!(tx, &ids, why, departure, departed);
                }
                sqlx::query(DELETE_PUT_NARS).bind(file_hash).execute(&mut *tx).await?;
                // Where only held paths had it, nothing has it now.
                release_nars!(tx, [nar_id], departure.since);
                if is_news || !departed.is_empty() {
                    bump!(tx);
                }
            }
            departed
        }))
    }

    /// Puts back every path of a NAR whose file is whole again.
    pub async fn nar_set_whole(&self, file_hash: &[u8]) -> Result<Back> {
        Ok(transact!(self, |tx| {
            let mut back = Back::default();
            let nar_id: Option<i64> =
                sqlx::query_scalar(FIND_DAMAGED_FILE).bind(file_hash).fetch_optional(&mut *tx).await?;
            if let Some(nar_id) = nar_id {
                let caches: Vec<i64> =
                    sqlx::query_scalar(LIST_CACHES_OF_DAMAGED).bind(nar_id).fetch_all(&mut *tx).await?;
                for cache_id in caches {
                    sqlx::query(LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
                }
                sqlx::query(SET_WHOLE).bind(nar_id).execute(&mut *tx).await?;
                put_back_damaged!(tx, nar_id, back);
                bump!(tx);
            }
            back
        }))
    }

    /// Purges up to `most` of what was set aside until now, and releases NARs that nothing has. How many went.
    pub async fn aside_purge_some(&self, now: i64, most: i64) -> Result<u64> {
        Ok(transact!(self, |tx| {
            let ids: Vec<i64> = sqlx::query_scalar(LIST_PAST).bind(now).bind(most).fetch_all(&mut *tx).await?;
            let nar_ids = purge!(tx, ids);
            release_nars!(tx, nar_ids, now);
            ids.len() as u64
        }))
    }

    /// Paths and bytes out of their caches, by reason.
    pub async fn aside_counts(&self) -> Result<Vec<(String, i64, i64)>> {
        Ok(read!(self, |pool| sqlx::query_as(COUNT_ASIDE).fetch_all(pool).await?))
    }

    /// For each cache that has damaged paths, how many.
    pub async fn damaged_counts(&self) -> Result<Vec<(i64, i64)>> {
        Ok(read!(self, |pool| sqlx::query_as(COUNT_DAMAGED).fetch_all(pool).await?))
    }

    /// What became of the path with this hash part.
    pub async fn aside_find(&self, cache_id: i64, hash: &str) -> Result<Option<AsideFound>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_ASIDE).bind(cache_id).bind(hash).fetch_optional(pool).await?))
    }

    /// The newest damaged paths of a cache.
    pub async fn damaged_list(&self, cache_id: i64, most: i64) -> Result<Vec<DamagedRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_DAMAGED).bind(cache_id).bind(most).fetch_all(pool).await?))
    }

    /// Removals that somebody undid and that are not back in full.
    pub async fn removal_list_undone(&self) -> Result<Vec<i64>> {
        Ok(read!(self, |pool| sqlx::query_scalar(LIST_UNDONE).fetch_all(pool).await?))
    }

    /// Puts back some paths of a removal. `None` when it has none left.
    pub async fn removal_put_back_some(&self, removal_id: i64) -> Result<Option<Back>> {
        Ok(transact!(self, |tx| {
            let rows: Vec<AsideRow> = sqlx::query_as(LIST_REMOVED_PATHS).bind(removal_id).fetch_all(&mut *tx).await?;
            let (is_empty, mut back) = (rows.is_empty(), Back::default());
            put_back!(tx, rows, back);
            (!is_empty).then_some(back)
        }))
    }
}
