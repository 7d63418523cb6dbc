//! Statements about what caches keep: their rules, the graph of their paths, and removals with their history.

use super::{
    aside::{
        Back, DELETE_PUT_NAR, Departed, LOCK_CACHE, TAKE_NEEDED_MEANWHILE, purge, put_back_collected, release_nars,
        set_aside,
    },
    *,
};
use iglu_api::retention::{PushLimits, Retention};
use sqlx::{AssertSqlSafe, FromRow};
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

statements! {
    SET_RULES = "UPDATE cache SET keep_pushed_days = $2, keep_used_days = $3, keep_bytes = $4, keep_revisions = $5 WHERE id = $1";
    SET_LIMITS = "UPDATE cache SET most_bytes = $2, most_upload_bytes = $3 WHERE id = $1";
    LIST_GRAPH = "SELECT id, hash, nar_id, file_size, refs, pushed_at, last_pulled_at, is_visible FROM store_path \
        WHERE cache_id = $1 AND (pushed_at, id) > ($2, $3) ORDER BY pushed_at, id LIMIT 4000";
    LIST_GRAPH_DAMAGED = "SELECT CAST(0 AS BIGINT) AS id, hash, CAST(0 AS BIGINT) AS nar_id, CAST(0 AS BIGINT) AS file_size, refs, \
        pushed_at, last_pulled_at, FALSE AS is_visible FROM set_aside WHERE cache_id = $1 AND reason = 'damaged' AND hash > $2 \
        ORDER BY hash LIMIT 4000";
    INSERT_REMOVAL = "INSERT INTO removal (cache_id, kind, state, rules, asked_at, asked_by, touched_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $5) RETURNING id";
    CLAIM_REMOVAL = "UPDATE removal SET state = 'running', touched_at = $2 WHERE id = $1 AND (state = 'asked' \
        OR (state = 'running' AND (touched_at < $3 OR touched_at > $4)))";
    PLAN_REMOVAL = "UPDATE removal SET planned_paths = $2, planned_bytes = $3, touched_at = $4 WHERE id = $1";
    AWAIT_DEPARTED = "INSERT INTO awaited_reference (cache_id, hash, path_id) SELECT cache_id, CAST($2 AS TEXT), id FROM store_path \
        WHERE id = $1 AND NOT is_visible ON CONFLICT (cache_id, hash, path_id) DO NOTHING";
    ADVANCE_REMOVAL = "UPDATE removal SET paths = paths + $2, bytes = bytes + $3, touched_at = $4 WHERE id = $1";
    END_REMOVAL = "UPDATE removal SET state = $2, note = $3, ended_at = $4, touched_at = $4 WHERE id = $1";
    UNDO_REMOVAL = "UPDATE removal SET state = 'undone', touched_at = $2 WHERE id = $1 AND state = 'done'";
    GET_REMOVAL = "SELECT id, cache_id, kind, state, rules, asked_at, asked_by, ended_at, planned_paths, planned_bytes, paths, bytes, \
        note FROM removal WHERE id = $1";
    LIST_REMOVALS = "SELECT id, cache_id, kind, state, rules, asked_at, asked_by, ended_at, planned_paths, planned_bytes, paths, bytes, \
        note FROM removal WHERE cache_id = $1 ORDER BY id DESC LIMIT $2";
    LIST_OPEN_REMOVALS = "SELECT id, cache_id, kind, state, rules, asked_at, asked_by, ended_at, planned_paths, planned_bytes, paths, \
        bytes, note FROM removal WHERE state = 'asked' OR (state = 'running' AND (touched_at < $1 OR touched_at > $2)) ORDER BY id LIMIT 100";
    DELETE_OLD_REMOVALS = "DELETE FROM removal WHERE ended_at < $1";
    SET_COLLECTED = "UPDATE cache SET collected_since = $2 WHERE id = $1 AND (collected_since IS NULL OR collected_since < $3 \
        OR collected_since > $4)";
    TOUCH_COLLECTED = "UPDATE cache SET collected_since = $2 WHERE id = $1 AND collected_since = $3";
    UNSET_COLLECTED = "UPDATE cache SET collected_since = NULL WHERE id = $1 AND collected_since = $2";
    LIST_LEFT_COLLECTED = "SELECT id, collected_since FROM cache c WHERE (collected_since < $1 OR collected_since > $2) \
        AND NOT EXISTS (SELECT 1 FROM removal r WHERE r.cache_id = c.id AND r.state IN ('asked', 'running')) ORDER BY id LIMIT 100";
    LIST_PINNED = "SELECT name, store_path, keep FROM pin WHERE cache_id = $1 AND (expires_at IS NULL OR expires_at > $2) \
        ORDER BY name, revision DESC";
    LIST_REMOVED_CACHES = "SELECT id FROM cache WHERE removed_at IS NOT NULL ORDER BY id";
    DELETE_CACHE = "DELETE FROM cache WHERE id = $1";
    LIST_SOME_PATHS = "SELECT id FROM store_path WHERE cache_id = $1 LIMIT $2";
    LIST_SOME_ASIDE = "SELECT id FROM set_aside WHERE cache_id = $1 LIMIT $2";
}

/// A path with what its age and its place among others are made from.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct GraphRow {
    /// 0 for one that is out of its cache because it is damaged.
    pub id: i64,
    pub hash: String,
    pub nar_id: i64,
    pub file_size: i64,
    /// Base names with a blank between them.
    pub refs: String,
    pub pushed_at: i64,
    pub last_pulled_at: Option<i64>,
    pub is_visible: bool,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct RemovalRow {
    pub id: i64,
    pub cache_id: i64,
    pub kind: String,
    pub state: String,
    pub rules: String,
    pub asked_at: i64,
    pub asked_by: String,
    pub ended_at: Option<i64>,
    pub planned_paths: i64,
    pub planned_bytes: i64,
    pub paths: i64,
    pub bytes: i64,
    pub note: String,
}

/// A pinned path with the rule of its revision.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct PinnedRow {
    pub name: String,
    pub store_path: String,
    /// JSON.
    pub keep: String,
}

/// Where and for how long paths go that are removed.
pub(crate) struct SetAside<'a> {
    /// When the turn of whoever removes was last seen.
    pub turn: i64,
    pub cache_id: i64,
    pub removal_id: i64,
    /// deleted or collected.
    pub reason: &'a str,
    pub now: i64,
    pub until: i64,
    /// Held paths by what they refer to: they wait for that, too, when it goes.
    pub held: &'a HashMap<String, Vec<i64>>,
}

fn signed(number: Option<u64>) -> Option<i64> {
    number.map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}

impl Db {
    pub async fn retention_set(&self, cache_id: i64, rules: &Retention, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SET_RULES)
                .bind(cache_id)
                .bind(rules.pushed_days.map(i64::from))
                .bind(rules.used_days.map(i64::from))
                .bind(signed(rules.bytes))
                .bind(rules.revisions.map(i64::from))
                .execute(&mut *tx)
                .await?;
            audit!(tx, audit);
            bump!(tx);
        });
        Ok(())
    }

    pub async fn limits_set(&self, cache_id: i64, limits: &PushLimits, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SET_LIMITS)
                .bind(cache_id)
                .bind(signed(limits.cache_bytes))
                .bind(signed(limits.upload_bytes))
                .execute(&mut *tx)
                .await?;
            audit!(tx, audit);
            bump!(tx);
        });
        Ok(())
    }

    /// Some paths of a cache behind the last one, by the moment of their push and their number.
    pub async fn graph_page(&self, cache_id: i64, last: (i64, i64)) -> Result<Vec<GraphRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_GRAPH)
            .bind(cache_id)
            .bind(last.0)
            .bind(last.1)
            .fetch_all(pool)
            .await?))
    }

    /// Some damaged paths of a cache behind the one with this hash part.
    pub async fn graph_damaged_page(&self, cache_id: i64, last: &str) -> Result<Vec<GraphRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_GRAPH_DAMAGED).bind(cache_id).bind(last).fetch_all(pool).await?))
    }

    /// Everything that is pinned and not over, by name, the newest revision first.
    pub async fn pinned_list(&self, cache_id: i64, now: i64) -> Result<Vec<PinnedRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_PINNED).bind(cache_id).bind(now).fetch_all(pool).await?))
    }

    /// How many paths of all caches have each of these NARs, what is set aside included.
    pub async fn nar_uses(&self, nar_ids: &[i64]) -> Result<Vec<(i64, i64)>> {
        let mut uses = Vec::with_capacity(nar_ids.len());
        for chunk in nar_ids.chunks(256) {
            let marks = placeholders(1, chunk.len());
            let sql = format!(
                "SELECT nar_id, CAST(COUNT(*) AS BIGINT) FROM (SELECT nar_id FROM store_path WHERE nar_id IN ({marks}) \
                 UNION ALL SELECT nar_id FROM set_aside WHERE nar_id IN ({marks})) named GROUP BY nar_id"
            );
            let found: Vec<(i64, i64)> = read!(self, |pool| {
                let mut query = sqlx::query_as(AssertSqlSafe(sql));
                for id in chunk {
                    query = query.bind(id);
                }
                query.fetch_all(pool).await?
            });
            uses.extend(found);
        }
        Ok(uses)
    }

    /// Names and hash parts of paths by their rows.
    pub async fn path_names(&self, ids: &[i64]) -> Result<Vec<(i64, String)>> {
        let mut names = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(256) {
            let sql = format!("SELECT id, name FROM store_path WHERE id IN ({})", placeholders(1, chunk.len()));
            let found: Vec<(i64, String)> = read!(self, |pool| {
                let mut query = sqlx::query_as(AssertSqlSafe(sql));
                for id in chunk {
                    query = query.bind(id);
                }
                query.fetch_all(pool).await?
            });
            names.extend(found);
        }
        Ok(names)
    }

    pub async fn removal_insert(
        &self,
        cache_id: i64,
        kind: &str,
        state: &str,
        rules: &str,
        audit: &Audit,
    ) -> Result<i64> {
        Ok(transact!(self, |tx| {
            let id: i64 = sqlx::query_scalar(INSERT_REMOVAL)
                .bind(cache_id)
                .bind(kind)
                .bind(state)
                .bind(rules)
                .bind(audit.at)
                .bind(&audit.actor)
                .fetch_one(&mut *tx)
                .await?;
            audit!(tx, audit);
            id
        }))
    }

    pub async fn removal_get(&self, id: i64) -> Result<Option<RemovalRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_REMOVAL).bind(id).fetch_optional(pool).await?))
    }

    /// The newest removals of a cache.
    pub async fn removal_list(&self, cache_id: i64, most: i64) -> Result<Vec<RemovalRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_REMOVALS).bind(cache_id).bind(most).fetch_all(pool).await?))
    }

    /// Removals that nobody works on: asked for, or not touched within `alive`.
    pub async fn removal_list_open(&self, alive: &Range<i64>) -> Result<Vec<RemovalRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_OPEN_REMOVALS)
            .bind(alive.start)
            .bind(alive.end)
            .fetch_all(pool)
            .await?))
    }

    /// Makes a removal the caller's to run. False where somebody else has it, and touched it within `alive`.
    pub async fn removal_claim(&self, id: i64, now: i64, alive: &Range<i64>) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let claimed = sqlx::query(CLAIM_REMOVAL)
                .bind(id)
                .bind(now)
                .bind(alive.start)
                .bind(alive.end)
                .execute(&mut *tx)
                .await?;
            claimed.rows_affected() > 0
        }))
    }

    pub async fn removal_plan(&self, id: i64, paths: u64, bytes: u64, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(PLAN_REMOVAL)
                .bind(id)
                .bind(signed(Some(paths)))
                .bind(signed(Some(bytes)))
                .bind(now)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    pub async fn removal_end(&self, id: i64, state: &str, note: &str, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(END_REMOVAL).bind(id).bind(state).bind(note).bind(now).execute(&mut *tx).await?;
            // Other servers may remember narinfos of what went.
            bump!(tx);
        });
        Ok(())
    }

    /// Marks a removal as undone, so that only one puts it back. False where it is not one to be undone.
    pub async fn removal_undo(&self, id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let undone = sqlx::query(UNDO_REMOVAL).bind(id).bind(audit.at).execute(&mut *tx).await?.rows_affected() > 0;
            if undone {
                audit!(tx, audit);
            }
            undone
        }))
    }

    pub async fn removal_delete_old(&self, before: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_OLD_REMOVALS).bind(before).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// From here on pushes and pins note what they need. False where the cache is collected by somebody else, who was seen at it
    /// within `alive`.
    pub async fn collection_begin(&self, cache_id: i64, now: i64, alive: &Range<i64>) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let begun = sqlx::query(SET_COLLECTED)
                .bind(cache_id)
                .bind(now)
                .bind(alive.start)
                .bind(alive.end)
                .execute(&mut *tx)
                .await?;
            let is_begun = begun.rows_affected() > 0;
            if is_begun {
                // What was noted for one who never came to hear of it.
                let _: Vec<String> =
                    sqlx::query_scalar(TAKE_NEEDED_MEANWHILE).bind(cache_id).fetch_all(&mut *tx).await?;
            }
            is_begun
        }))
    }

    /// Ends the turn that was last seen at `since`; nothing where somebody else took it over.
    pub async fn collection_end(&self, cache_id: i64, since: i64) -> Result<()> {
        transact!(self, |tx| {
            let ended = sqlx::query(UNSET_COLLECTED).bind(cache_id).bind(since).execute(&mut *tx).await?;
            if ended.rows_affected() > 0 {
                let _: Vec<String> =
                    sqlx::query_scalar(TAKE_NEEDED_MEANWHILE).bind(cache_id).fetch_all(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Turns of servers that are gone, which no removal is left to end: caches, and when each was last seen.
    pub async fn collections_left(&self, alive: &Range<i64>) -> Result<Vec<(i64, i64)>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_LEFT_COLLECTED)
            .bind(alive.start)
            .bind(alive.end)
            .fetch_all(pool)
            .await?))
    }

    /// Takes paths out of their cache: those of `batch` that `choose` still names when it has heard what pushes and pins came to need.
    /// They, and how long the cache was held.
    pub async fn paths_set_aside(
        &self,
        how: &SetAside<'_>,
        choose: &mut (dyn FnMut(Vec<String>) -> Vec<(i64, &'static str)> + Send),
    ) -> Result<(Vec<Departed>, Duration)> {
        Ok(transact!(self, |tx| {
            // Orders this with the pushes to the cache.
            let turn = sqlx::query(TOUCH_COLLECTED).bind(how.cache_id).bind(how.now).bind(how.turn).execute(&mut *tx);
            if turn.await?.rows_affected() == 0 {
                return Err(Error::Interrupted("another server took over what was being removed".to_owned()));
            }
            let held = Instant::now();
            let needed: Vec<String> =
                sqlx::query_scalar(TAKE_NEEDED_MEANWHILE).bind(how.cache_id).fetch_all(&mut *tx).await?;
            let chosen = choose(needed);
            let departure =
                Departure { reason: how.reason, removal_id: Some(how.removal_id), since: how.now, until: how.until };
            let mut departed: Vec<Departed> = Vec::new();
            let whys: HashSet<&'static str> = chosen.iter().map(|(_, why)| *why).collect();
            for why in whys {
                let ids: Vec<i64> = chosen.iter().filter(|(_, of)| *of == why).map(|(id, _)| *id).collect();
                set_aside!(tx, &ids, why, &departure, departed);
            }
            for path in departed.iter().filter(|path| path.is_visible) {
                for held in how.held.get(&path.hash).into_iter().flatten() {
                    sqlx::query(AWAIT_DEPARTED).bind(held).bind(&path.hash).execute(&mut *tx).await?;
                }
            }
            if how.reason == "deleted" {
                // Nobody reads by its name what people took out.
                for path in &departed {
                    sqlx::query(DELETE_PUT_NAR).bind(how.cache_id).bind(path.nar_id).execute(&mut *tx).await?;
                }
                // Nor by a narinfo that a server remembers, should this process end before the removal does.
                bump!(tx);
            }
            release_nars!(tx, departed.iter().filter(|path| !path.is_visible).map(|path| path.nar_id), how.now);
            let bytes: i64 = departed.iter().map(|path| path.file_size).sum();
            sqlx::query(ADVANCE_REMOVAL)
                .bind(how.removal_id)
                .bind(i64::try_from(departed.len()).unwrap_or(i64::MAX))
                .bind(bytes)
                .bind(how.now)
                .execute(&mut *tx)
                .await?;
            (departed, held.elapsed())
        }))
    }

    /// Puts back what was collected of these hash parts and of what they refer to.
    pub async fn collected_put_back(&self, cache_id: i64, hashes: Vec<String>) -> Result<Back> {
        Ok(transact!(self, |tx| {
            sqlx::query(LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
            let mut back = Back::default();
            put_back_collected!(tx, cache_id, hashes, back);
            back
        }))
    }

    /// Removes some rows of caches that are gone. How many; `None` when there are no such caches.
    pub async fn cache_remove_some(&self, now: i64, most: i64) -> Result<Option<u64>> {
        let removed: Option<i64> =
            read!(self, |pool| sqlx::query_scalar(LIST_REMOVED_CACHES).fetch_optional(pool).await?);
        let Some(cache_id) = removed else { return Ok(None) };
        Ok(Some(transact!(self, |tx| {
            let mut nar_ids = std::collections::BTreeSet::new();
            let ids: Vec<i64> =
                sqlx::query_scalar(LIST_SOME_PATHS).bind(cache_id).bind(most).fetch_all(&mut *tx).await?;
            for chunk in ids.chunks(256) {
                let sql =
                    format!("DELETE FROM store_path WHERE id IN ({}) RETURNING nar_id", placeholders(1, chunk.len()));
                let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
                for id in chunk {
                    query = query.bind(id);
                }
                nar_ids.extend(query.fetch_all(&mut *tx).await? as Vec<i64>);
            }
            let mut gone = ids.len();
            if ids.is_empty() {
                let ids: Vec<i64> =
                    sqlx::query_scalar(LIST_SOME_ASIDE).bind(cache_id).bind(most).fetch_all(&mut *tx).await?;
                gone = ids.len();
                nar_ids.extend(purge!(tx, ids));
            }
            release_nars!(tx, nar_ids, now);
            if gone == 0 {
                sqlx::query(DELETE_CACHE).bind(cache_id).execute(&mut *tx).await?;
            }
            gone as u64
        })))
    }
}
