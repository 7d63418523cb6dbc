//! Statements of the push: uploads, their parts, NAR files put by name, and the one transaction that publishes a path.

use super::{
    aside::{
        self, ADD_TO_CACHE, Back, DELETE_ASIDE_OF_PATH, FIND_DAMAGED, LOCK_NAR, MOVE_ASIDE_TO_NAR, NEEDED_MEANWHILE,
        SET_WHOLE, put_back_collected, put_back_damaged, release_nars,
    },
    dead::{GET_DEAD_FILE, REVIVE_FILE},
    *,
};
use nix_compat::{debug_info::DebugId, store_path::StorePath};
use sqlx::{AssertSqlSafe, FromRow};
use std::collections::{BTreeMap, BTreeSet};

statements! {
    INSERT_UPLOAD = "INSERT INTO upload (public_id, cache_id, compression, pushed_by, state, created_at, touched_at) \
        VALUES ($1, $2, $3, $4, 'open', $5, $5)";
    FIND_UPLOAD = "SELECT id, public_id, cache_id, compression, pushed_by, state FROM upload WHERE public_id = $1";
    TOUCH_UPLOAD = "UPDATE upload SET touched_at = $2 WHERE id = $1 AND state = 'open'";
    END_UPLOAD = "UPDATE upload SET state = $2, touched_at = $3 WHERE id = $1";
    COUNT_OPEN_UPLOADS_OF = "SELECT COUNT(*) FROM upload WHERE state = 'open' AND pushed_by = $1";
    COUNT_OPEN_UPLOADS = "SELECT COUNT(*), MIN(created_at) FROM upload WHERE state = 'open'";
    PUT_PART = "INSERT INTO upload_part (upload_id, number, size, md5) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (upload_id, number) DO UPDATE SET size = excluded.size, md5 = excluded.md5";
    LIST_PARTS = "SELECT number, size, md5 FROM upload_part WHERE upload_id = $1 ORDER BY number";
    LIST_STALE_UPLOADS = "SELECT id, public_id, cache_id, compression, pushed_by, state FROM upload WHERE touched_at < $1 LIMIT 100";
    DELETE_UPLOAD = "DELETE FROM upload WHERE id = $1";
    LIST_SIGNING = "SELECT name FROM signing_key WHERE cache_id = $1 AND retired_at IS NULL";
    LOCK_CACHE = "UPDATE cache SET last_push_at = $2 WHERE id = $1 RETURNING collected_since IS NOT NULL";
    FIND_PATH = "SELECT p.id, p.name, p.nar_size, p.signatures, p.refs, n.nar_hash FROM store_path p JOIN nar n ON n.id = p.nar_id \
        WHERE p.cache_id = $1 AND p.hash = $2";
    FIND_NAR_BY_HASH = "SELECT id, file_size FROM nar WHERE nar_hash = $1 AND damaged_at IS NULL ORDER BY id LIMIT 1";
    FIND_NAR_BY_FILE = "SELECT id, file_size FROM nar WHERE file_hash = $1 AND nar_hash = $2";
    INSERT_NAR = "INSERT INTO nar (nar_hash, nar_size, file_hash, file_size, compression, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (file_hash) DO NOTHING";
    INSERT_LISTING = "INSERT INTO nar_listing (nar_id, listing) VALUES ($1, $2) ON CONFLICT (nar_id) DO NOTHING";
    INSERT_DEBUG_ID = "INSERT INTO debug_info (build_id, nar_id) VALUES ($1, $2) ON CONFLICT (build_id, nar_id) DO NOTHING";
    INSERT_PATH = "INSERT INTO store_path (cache_id, hash, name, nar_id, nar_size, file_size, refs, deriver, ca, signatures, \
        pushed_at, pushed_by, is_visible) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id";
    INSERT_AWAITED = "INSERT INTO awaited_reference (cache_id, hash, path_id) VALUES ($1, $2, $3) \
        ON CONFLICT (cache_id, hash, path_id) DO NOTHING";
    LIST_AWAITED = "SELECT DISTINCT hash FROM awaited_reference WHERE cache_id = $1 ORDER BY hash LIMIT 1000";
    TAKE_AWAITED = "DELETE FROM awaited_reference WHERE cache_id = $1 AND hash = $2 RETURNING path_id";
    COUNT_AWAITED = "SELECT COUNT(*) FROM awaited_reference WHERE path_id = $1";
    LIST_HELD_PATHS = "SELECT p.hash, p.name, p.refs, (SELECT MIN(a.hash) FROM awaited_reference a WHERE a.cache_id = p.cache_id \
        AND a.path_id = p.id AND NOT EXISTS (SELECT 1 FROM store_path q WHERE q.cache_id = a.cache_id AND q.hash = a.hash)) \
        AS absent FROM store_path p WHERE p.cache_id = $1 AND NOT p.is_visible AND p.hash > $2 ORDER BY p.hash LIMIT 500";
    SHOW_COMPLETE = "UPDATE store_path SET is_visible = TRUE WHERE cache_id = $1 AND hash = $2 AND NOT is_visible \
        AND NOT EXISTS (SELECT 1 FROM awaited_reference a WHERE a.path_id = store_path.id) RETURNING hash";
    RENEW_PATH = "UPDATE store_path SET pushed_at = CASE WHEN pushed_at < $3 THEN $3 ELSE pushed_at END \
        WHERE cache_id = $1 AND hash = $2 AND (is_visible OR EXISTS (SELECT 1 FROM awaited_reference a WHERE a.path_id = store_path.id))";
    SHOW_PATH = "UPDATE store_path SET is_visible = $2 WHERE id = $1 RETURNING hash";
    SET_SIGNATURES = "UPDATE store_path SET signatures = $2 WHERE id = $1";
    SET_PUSHED = "UPDATE store_path SET pushed_at = CASE WHEN pushed_at < $3 THEN $3 ELSE pushed_at END \
        WHERE cache_id = $1 AND hash = $2";
    PUT_PUT_NAR = "INSERT INTO put_nar (cache_id, file_hash, file_size, touched_at, announced) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (cache_id, file_hash) DO UPDATE SET touched_at = excluded.touched_at, \
        announced = COALESCE(excluded.announced, put_nar.announced)";
    GET_PUT_NAR = "SELECT file_size, compression, announced FROM put_nar WHERE cache_id = $1 AND file_hash = $2";
    SET_PUT_NAR_VERIFIED = "UPDATE put_nar SET compression = $3 WHERE cache_id = $1 AND file_hash = $2";
    DELETE_OLD_PUT_NARS = "DELETE FROM put_nar WHERE (compression IS NULL AND touched_at < $1) OR touched_at < $2";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct UploadRow {
    pub id: i64,
    pub public_id: String,
    pub cache_id: i64,
    pub compression: String,
    pub pushed_by: String,
    pub state: String,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct PartRow {
    pub number: i64,
    pub size: i64,
    pub md5: Vec<u8>,
}

#[derive(Clone, Debug, FromRow)]
struct NarRow {
    id: i64,
    file_size: i64,
}

/// A NAR file put by name; `compression` once a narinfo was found to be true of it.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct PutNarRow {
    pub file_size: i64,
    pub compression: Option<String>,
    /// What its client said that it is.
    pub announced: Option<String>,
}

/// Signature lines kept of one path: more would make its narinfo a burden to all who read it.
const MOST_SIGNATURES: usize = 32;

/// A path that is there, visible or held.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct ExistingPath {
    id: i64,
    name: String,
    nar_size: i64,
    pub signatures: String,
    refs: String,
    nar_hash: Vec<u8>,
}

/// All of a path that its signatures cover.
pub(crate) struct Covered<'a> {
    pub name: &'a str,
    pub nar_hash: &'a [u8],
    pub nar_size: i64,
    /// Base names with a blank between them.
    pub refs: &'a str,
}

/// A path that waits for references.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct HeldRow {
    pub hash: String,
    pub name: String,
    pub refs: String,
    /// The hash part of a reference that is not here at all; `None` where all that it waits for are held themselves.
    pub absent: Option<String>,
}

/// The file of a NAR that may be new.
pub(crate) struct NewFile<'a> {
    pub hash: &'a [u8],
    pub size: i64,
    pub compression: &'a str,
}

/// A path whose bytes are verified and stored, about to be published.
pub(crate) struct Commit<'a> {
    pub cache_id: i64,
    pub hash: &'a str,
    pub name: &'a str,
    pub nar_hash: &'a [u8],
    pub nar_size: i64,
    /// `None` where the NAR is here already.
    pub file: Option<NewFile<'a>>,
    pub listing: Option<&'a [u8]>,
    pub debug_ids: &'a [DebugId],
    /// Base names with a blank between them.
    pub refs: &'a str,
    /// The references that must be here first.
    pub awaits: &'a [StorePath],
    pub deriver: Option<&'a str>,
    pub ca: Option<&'a str>,
    /// One name:base64 a line.
    pub signatures: &'a str,
    /// Names of the cache's own keys that made some of them.
    pub signed_by: &'a [&'a str],
    pub pushed_by: &'a str,
    pub now: i64,
    pub upload_id: Option<i64>,
    /// Whether a path with missing references is kept back until they arrive; otherwise it is refused.
    pub hold: bool,
}

/// What a commit did, and to whom it is news.
pub(crate) struct Committed {
    pub outcome: Outcome,
    /// What came back with it, and all paths that became visible: the path itself, and those that waited.
    pub back: Back,
}

pub(crate) enum Outcome {
    New {
        file_size: i64,
    },
    /// The cache has this path; the first one stays. Signatures were merged where the NAR and references are the same.
    Existing,
    /// Nothing was stored, because the cache has a key that did not sign.
    KeysChanged,
    /// Nothing was stored, because these references, by base name, are not in the cache.
    Missing(Vec<String>),
}

/// Shows, with the open transaction `$tx`, the paths that waited for nothing but `$arrived`, and those that waited for them. Their hash
/// parts are added to `$visible`.
macro_rules! release {
    ($tx:ident, $cache_id:expr, $arrived:ident, $visible:ident) => {
        let mut arrived: Vec<String> = $arrived;
        while let Some(hash) = arrived.pop() {
            let waiting: Vec<i64> = sqlx::query_scalar(crate::db::push::TAKE_AWAITED)
                .bind($cache_id)
                .bind(hash)
                .fetch_all(&mut *$tx)
                .await?;
            for path_id in waiting {
                let left: i64 =
                    sqlx::query_scalar(crate::db::push::COUNT_AWAITED).bind(path_id).fetch_one(&mut *$tx).await?;
                if left == 0 {
                    let hash: String = sqlx::query_scalar(crate::db::push::SHOW_PATH)
                        .bind(path_id)
                        .bind(true)
                        .fetch_one(&mut *$tx)
                        .await?;
                    arrived.push(hash.clone());
                    $visible.push(hash);
                }
            }
        }
    };
}
pub(super) use release;

/// Shows again, with the open transaction `$tx`, what was out of its cache because the file of this NAR was damaged: the bytes are
/// here again, in this file.
macro_rules! heal {
    ($tx:ident, $commit:ident, $file:ident, $back:ident) => {
        let damaged: Vec<i64> = sqlx::query_scalar(FIND_DAMAGED).bind($commit.nar_hash).fetch_all(&mut *$tx).await?;
        if !damaged.is_empty() {
            let whole: Option<NarRow> = sqlx::query_as(FIND_NAR_BY_FILE)
                .bind($file.hash)
                .bind($commit.nar_hash)
                .fetch_optional(&mut *$tx)
                .await?;
            let whole = match whole {
                Some(whole) => whole,
                None => insert_nar!($tx, $commit, $file),
            };
            sqlx::query(SET_WHOLE).bind(whole.id).execute(&mut *$tx).await?;
            for nar_id in damaged.iter().filter(|id| **id != whole.id) {
                sqlx::query(MOVE_ASIDE_TO_NAR)
                    .bind(nar_id)
                    .bind(whole.id)
                    .bind(whole.file_size)
                    .execute(&mut *$tx)
                    .await?;
            }
            put_back_damaged!($tx, whole.id, $back);
            release_nars!($tx, damaged.into_iter().filter(|id| *id != whole.id), $commit.now);
            // Other servers remember that the paths are absent.
            bump!($tx);
        }
    };
}

/// A NAR with what stands beside it, with the open transaction `$tx`.
macro_rules! insert_nar {
    ($tx:ident, $commit:ident, $file:ident) => {{
        sqlx::query(INSERT_NAR)
            .bind($commit.nar_hash)
            .bind($commit.nar_size)
            .bind($file.hash)
            .bind($file.size)
            .bind($file.compression)
            .bind($commit.now)
            .execute(&mut *$tx)
            .await?;
        let nar: Option<NarRow> =
            sqlx::query_as(FIND_NAR_BY_FILE).bind($file.hash).bind($commit.nar_hash).fetch_optional(&mut *$tx).await?;
        // One file that unpacks to two NARs, read by two names of compression.
        let Some(nar) = nar else {
            return Err(Error::invalid("", "this file is stored already as another NAR"));
        };
        if let Some(listing) = $commit.listing {
            sqlx::query(INSERT_LISTING).bind(nar.id).bind(listing).execute(&mut *$tx).await?;
        }
        for id in $commit.debug_ids {
            sqlx::query(INSERT_DEBUG_ID).bind(&id.as_bytes()[..]).bind(nar.id).execute(&mut *$tx).await?;
        }
        nar
    }};
}

impl ExistingPath {
    /// Whether a signature of the one is a signature of the other.
    pub fn is(&self, covered: &Covered<'_>) -> bool {
        self.nar_hash == covered.nar_hash
            && self.refs == covered.refs
            && self.name == covered.name
            && self.nar_size == covered.nar_size
    }

    /// All its signatures, where these lines hold some that it lacks. All that a signature covers must be the same.
    fn merged(&self, covered: &Covered<'_>, signatures: &str) -> Option<String> {
        let old: BTreeSet<&str> = self.signatures.lines().collect();
        let merged: BTreeSet<&str> = old.iter().copied().chain(signatures.lines()).collect();
        let is_more = merged.len() > old.len() && merged.len() <= MOST_SIGNATURES;
        (self.is(covered) && is_more).then(|| merged.into_iter().collect::<Vec<_>>().join("\n"))
    }
}

impl Commit<'_> {
    fn covered(&self) -> Covered<'_> {
        Covered { name: self.name, nar_hash: self.nar_hash, nar_size: self.nar_size, refs: self.refs }
    }
}

impl Db {
    /// The path with this hash part, visible or held.
    pub async fn path_find(&self, cache_id: i64, hash: &str) -> Result<Option<ExistingPath>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_PATH).bind(cache_id).bind(hash).fetch_optional(pool).await?))
    }

    /// Adds signature lines to a path that is there and that they cover. Whether it gained any.
    pub async fn signatures_merge(
        &self,
        cache_id: i64,
        hash: &str,
        covered: &Covered<'_>,
        signatures: &str,
    ) -> Result<bool> {
        Ok(transact!(self, |tx| {
            // A key may be signing the same path.
            sqlx::query(aside::LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
            let existing: Option<ExistingPath> =
                sqlx::query_as(FIND_PATH).bind(cache_id).bind(hash).fetch_optional(&mut *tx).await?;
            let merged = existing.and_then(|existing| Some((existing.id, existing.merged(covered, signatures)?)));
            if let Some((id, merged)) = &merged {
                sqlx::query(SET_SIGNATURES).bind(id).bind(merged).execute(&mut *tx).await?;
            }
            merged.is_some()
        }))
    }

    /// Held paths of a cache behind a hash part, by hash part.
    pub async fn held_list(&self, cache_id: i64, after: &str) -> Result<Vec<HeldRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_HELD_PATHS).bind(cache_id).bind(after).fetch_all(pool).await?))
    }

    /// Hash parts that held paths of a cache wait for.
    pub async fn awaited_list(&self, cache_id: i64) -> Result<Vec<String>> {
        Ok(read!(self, |pool| sqlx::query_scalar(LIST_AWAITED).bind(cache_id).fetch_all(pool).await?))
    }

    /// Shows what waited for nothing but these references, which are elsewhere. The hash parts that became visible.
    pub async fn awaited_release(&self, cache_id: i64, elsewhere: Vec<String>) -> Result<Vec<String>> {
        Ok(transact!(self, |tx| {
            // Two that release what waits for both must see each other.
            sqlx::query(aside::LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
            let mut visible = Vec::new();
            release!(tx, cache_id, elsewhere, visible);
            visible
        }))
    }

    pub async fn upload_insert(
        &self,
        public_id: &str,
        cache_id: i64,
        compression: &str,
        by: &str,
        now: i64,
    ) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(INSERT_UPLOAD)
                .bind(public_id)
                .bind(cache_id)
                .bind(compression)
                .bind(by)
                .bind(now)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    pub async fn upload_find(&self, public_id: &str) -> Result<Option<UploadRow>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_UPLOAD).bind(public_id).fetch_optional(pool).await?))
    }

    pub async fn upload_end(&self, id: i64, state: &str, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(END_UPLOAD).bind(id).bind(state).bind(now).execute(&mut *tx).await?;
        });
        Ok(())
    }

    pub async fn uploads_open(&self) -> Result<(i64, Option<i64>)> {
        Ok(read!(self, |pool| sqlx::query_as(COUNT_OPEN_UPLOADS).fetch_one(pool).await?))
    }

    /// Open uploads of one pusher.
    pub async fn upload_open_count_of(&self, pushed_by: &str) -> Result<i64> {
        Ok(read!(self, |pool| sqlx::query_scalar(COUNT_OPEN_UPLOADS_OF).bind(pushed_by).fetch_one(pool).await?))
    }

    /// Notes a part that is stored whole. False when the upload ended meanwhile.
    pub async fn part_put(&self, upload_id: i64, part: &PartRow, now: i64) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let open = sqlx::query(TOUCH_UPLOAD).bind(upload_id).bind(now).execute(&mut *tx).await?.rows_affected() > 0;
            if open {
                sqlx::query(PUT_PART)
                    .bind(upload_id)
                    .bind(part.number)
                    .bind(part.size)
                    .bind(&part.md5)
                    .execute(&mut *tx)
                    .await?;
            }
            open
        }))
    }

    pub async fn part_list(&self, upload_id: i64) -> Result<Vec<PartRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_PARTS).bind(upload_id).fetch_all(pool).await?))
    }

    pub async fn upload_list_stale(&self, before: i64) -> Result<Vec<UploadRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_STALE_UPLOADS).bind(before).fetch_all(pool).await?))
    }

    pub async fn upload_delete(&self, id: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_UPLOAD).bind(id).execute(&mut *tx).await?;
        });
        Ok(())
    }

    pub async fn put_nar_put(
        &self,
        cache_id: i64,
        file_hash: &[u8],
        file_size: i64,
        announced: Option<&str>,
        now: i64,
    ) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(PUT_PUT_NAR)
                .bind(cache_id)
                .bind(file_hash)
                .bind(file_size)
                .bind(now)
                .bind(announced)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    pub async fn put_nar_get(&self, cache_id: i64, file_hash: &[u8]) -> Result<Option<PutNarRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_PUT_NAR).bind(cache_id).bind(file_hash).fetch_optional(pool).await?))
    }

    /// Notes that a narinfo was found to be true of this file, so that it can be read by its name.
    pub async fn put_nar_verified(&self, cache_id: i64, file_hash: &[u8], compression: &str) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SET_PUT_NAR_VERIFIED)
                .bind(cache_id)
                .bind(file_hash)
                .bind(compression)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Forgets files that no narinfo came for since `unverified_before`, and all that nobody asked for since `before`.
    pub async fn put_nar_delete_old(&self, unverified_before: i64, before: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_OLD_PUT_NARS).bind(unverified_before).bind(before).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Ends an upload of a path that is here, visible or held, and that was pushed again with it. False where it is not.
    pub async fn path_renew(&self, cache_id: i64, hash: &str, upload_id: i64, now: i64) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let is_collected: bool =
                sqlx::query_scalar(LOCK_CACHE).bind(cache_id).bind(now).fetch_one(&mut *tx).await?;
            let renewed = sqlx::query(RENEW_PATH).bind(cache_id).bind(hash).bind(now).execute(&mut *tx).await?;
            let is_here = renewed.rows_affected() > 0;
            if is_here {
                sqlx::query(END_UPLOAD).bind(upload_id).bind("done").bind(now).execute(&mut *tx).await?;
                if is_collected {
                    sqlx::query(NEEDED_MEANWHILE).bind(cache_id).bind(hash).execute(&mut *tx).await?;
                }
            }
            is_here
        }))
    }

    /// Publishes a path: NAR, path, references and released referrers in one transaction.
    pub async fn path_commit(&self, commit: &Commit<'_>) -> Result<Committed> {
        Ok(transact!(self, |tx| {
            // The row lock orders the pushes to one cache, so that a path and its reference cannot miss each other.
            let is_collected: bool =
                sqlx::query_scalar(LOCK_CACHE).bind(commit.cache_id).bind(commit.now).fetch_one(&mut *tx).await?;
            let mut back = Back::default();
            let keys: Vec<String> = sqlx::query_scalar(LIST_SIGNING).bind(commit.cache_id).fetch_all(&mut *tx).await?;
            if keys.iter().any(|key| !commit.signed_by.contains(&key.as_str())) {
                return Ok(Committed { outcome: Outcome::KeysChanged, back });
            }
            if let Some(file) = &commit.file {
                // The lock of this row decides between a removal and this push, however long ago the file was published.
                sqlx::query(REVIVE_FILE).bind("nar").bind(file.hash).execute(&mut *tx).await?;
                let dead: Option<Option<i64>> =
                    sqlx::query_scalar(GET_DEAD_FILE).bind("nar").bind(file.hash).fetch_optional(&mut *tx).await?;
                if let Some(Some(_)) = dead {
                    return Err(Error::Interrupted(
                        "the file is being removed at this moment; push it again".to_owned(),
                    ));
                }
                heal!(tx, commit, file, back);
            }

            let existing: Option<ExistingPath> =
                sqlx::query_as(FIND_PATH).bind(commit.cache_id).bind(commit.hash).fetch_optional(&mut *tx).await?;
            let outcome = if let Some(existing) = existing {
                if let Some(merged) = existing.merged(&commit.covered(), commit.signatures) {
                    sqlx::query(SET_SIGNATURES).bind(existing.id).bind(merged).execute(&mut *tx).await?;
                }
                // Whoever pushes a path counts on it from now on, also where it was here.
                sqlx::query(SET_PUSHED)
                    .bind(commit.cache_id)
                    .bind(commit.hash)
                    .bind(commit.now)
                    .execute(&mut *tx)
                    .await?;
                // One that waits for nothing any more is seen, whatever kept it.
                let complete: Option<String> = sqlx::query_scalar(SHOW_COMPLETE)
                    .bind(commit.cache_id)
                    .bind(commit.hash)
                    .fetch_optional(&mut *tx)
                    .await?;
                if let Some(hash) = complete {
                    let mut shown = vec![hash];
                    let arrived = shown.clone();
                    release!(tx, commit.cache_id, arrived, shown);
                    back.visible.extend(shown.into_iter().map(|hash| (commit.cache_id, hash)));
                }
                Outcome::Existing
            } else {
                if commit.awaits.is_empty() {
                    // Where references may be missing, those are not that were here when its pusher asked.
                    let references = commit.refs.split(' ').filter_map(|name| name.get(..32));
                    let references = references.filter(|hash| *hash != commit.hash).map(str::to_owned);
                    put_back_collected!(tx, commit.cache_id, references.collect(), back);
                }
                let mut missing: BTreeMap<String, String> =
                    commit.awaits.iter().map(|path| (path.to_string(), path.hash().to_string())).collect();
                for again in [false, true] {
                    for chunk in commit.awaits.chunks(CHUNK) {
                        let sql = format!(
                            "SELECT hash, name FROM store_path WHERE cache_id = $1 AND is_visible AND hash IN ({})",
                            placeholders(2, chunk.len())
                        );
                        let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(commit.cache_id);
                        for path in chunk {
                            query = query.bind(path.hash().to_string());
                        }
                        let found: Vec<(String, String)> = query.fetch_all(&mut *tx).await?;
                        for (hash, name) in found {
                            missing.remove(&format!("{hash}-{name}"));
                        }
                    }
                    if again || missing.is_empty() {
                        break;
                    }
                    // Their pusher may have been told that they are here, before they were collected.
                    let before = back.visible.len();
                    put_back_collected!(tx, commit.cache_id, missing.values().cloned().collect(), back);
                    if back.visible.len() == before {
                        break;
                    }
                }
                if !missing.is_empty() && !commit.hold {
                    // What was put back stays where it was: nothing of this transaction is kept.
                    return Ok(Committed {
                        outcome: Outcome::Missing(missing.into_keys().collect()),
                        back: Back::default(),
                    });
                }

                let shared: Option<NarRow> =
                    sqlx::query_as(FIND_NAR_BY_HASH).bind(commit.nar_hash).fetch_optional(&mut *tx).await?;
                let nar = match (shared, &commit.file) {
                    (Some(nar), _) => {
                        // Whoever finds the file damaged at this moment waits, and then sees the path.
                        let whole = sqlx::query(LOCK_NAR).bind(nar.id).execute(&mut *tx).await?;
                        if whole.rows_affected() == 0 {
                            return Err(Error::Interrupted(
                                "the NAR was found to be damaged while this path was pushed; push it again".to_owned(),
                            ));
                        }
                        nar
                    }
                    (None, Some(file)) => insert_nar!(tx, commit, file),
                    (None, None) => {
                        return Err(Error::Interrupted(
                            "the NAR was removed while this path was pushed; push it again".to_owned(),
                        ));
                    }
                };
                let before: Option<i64> = sqlx::query_scalar(DELETE_ASIDE_OF_PATH)
                    .bind(commit.cache_id)
                    .bind(commit.hash)
                    .fetch_optional(&mut *tx)
                    .await?;
                let path_id: i64 = sqlx::query_scalar(INSERT_PATH)
                    .bind(commit.cache_id)
                    .bind(commit.hash)
                    .bind(commit.name)
                    .bind(nar.id)
                    .bind(commit.nar_size)
                    .bind(nar.file_size)
                    .bind(commit.refs)
                    .bind(commit.deriver)
                    .bind(commit.ca)
                    .bind(commit.signatures)
                    .bind(commit.now)
                    .bind(commit.pushed_by)
                    .bind(missing.is_empty())
                    .fetch_one(&mut *tx)
                    .await?;
                release_nars!(tx, before.as_slice(), commit.now);
                for hash in missing.values() {
                    sqlx::query(INSERT_AWAITED)
                        .bind(commit.cache_id)
                        .bind(hash)
                        .bind(path_id)
                        .execute(&mut *tx)
                        .await?;
                }

                let mut shown = Vec::new();
                if missing.is_empty() {
                    shown.push(commit.hash.to_owned());
                }
                let arrived = shown.clone();
                release!(tx, commit.cache_id, arrived, shown);
                back.visible.extend(shown.into_iter().map(|hash| (commit.cache_id, hash)));
                sqlx::query(ADD_TO_CACHE)
                    .bind(commit.cache_id)
                    .bind(1_i64)
                    .bind(nar.file_size)
                    .execute(&mut *tx)
                    .await?;
                Outcome::New { file_size: nar.file_size }
            };
            if let Some(upload_id) = commit.upload_id {
                sqlx::query(END_UPLOAD).bind(upload_id).bind("done").bind(commit.now).execute(&mut *tx).await?;
            }
            if is_collected {
                for hash in std::iter::once(commit.hash).chain(commit.refs.split(' ').filter_map(|name| name.get(..32)))
                {
                    sqlx::query(NEEDED_MEANWHILE).bind(commit.cache_id).bind(hash).execute(&mut *tx).await?;
                }
            }
            Committed { outcome, back }
        }))
    }
}
