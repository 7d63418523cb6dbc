//! Statements about pins.

use super::{
    aside::{Back, put_back_collected},
    *,
};
use sqlx::{AssertSqlSafe, FromRow};

statements! {
    NEXT_REVISION = "SELECT CAST(COALESCE(MAX(revision), 0) + 1 AS BIGINT) FROM pin WHERE cache_id = $1 AND name = $2";
    INSERT_PIN = "INSERT INTO pin (cache_id, name, revision, store_path, artifacts, keep, created_at, created_by, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    DELETE_OLD_REVISIONS = "DELETE FROM pin WHERE cache_id = $1 AND name = $2 AND revision <= $3";
    IS_PATH_HERE = "SELECT COUNT(*) FROM store_path WHERE cache_id = $1 AND hash = $2";
    LIST_PINS = "SELECT name, revision, store_path, artifacts, keep, created_at, created_by, expires_at FROM pin \
        WHERE cache_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY name, revision DESC";
    DELETE_PIN = "DELETE FROM pin WHERE cache_id = $1 AND name = $2 AND revision = COALESCE($3, revision)";
    DELETE_EXPIRED_PINS = "DELETE FROM pin WHERE expires_at <= $1";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct PinRow {
    pub name: String,
    pub revision: i64,
    pub store_path: String,
    pub artifacts: String,
    pub keep: String,
    pub created_at: i64,
    pub created_by: String,
    pub expires_at: Option<i64>,
}

pub(crate) struct NewPin<'a> {
    pub cache_id: i64,
    pub name: &'a str,
    pub store_path: &'a str,
    /// Its hash part.
    pub hash: &'a str,
    /// JSON arrays and objects.
    pub artifacts: &'a str,
    pub keep: &'a str,
    pub expires_at: Option<i64>,
    /// How many revisions stay, this one among them; `None` keeps all.
    pub revisions: Option<i64>,
}

impl Db {
    /// Adds a revision, and removes those that its rule is no longer for. What came back because of it; `None` where its path is not
    /// here, not even among what rules took out lately.
    pub async fn pin_insert(&self, pin: &NewPin<'_>, audit: &Audit) -> Result<Option<Back>> {
        Ok(transact!(self, |tx| {
            // Whoever collects the cache at this moment must hear of it.
            let is_collected: bool =
                sqlx::query_scalar(super::aside::LOCK_CACHE).bind(pin.cache_id).fetch_one(&mut *tx).await?;
            if is_collected {
                sqlx::query(super::aside::NEEDED_MEANWHILE).bind(pin.cache_id).bind(pin.hash).execute(&mut *tx).await?;
            }
            // The collector may have had its turn since the path was seen.
            let mut back = Back::default();
            put_back_collected!(tx, pin.cache_id, vec![pin.hash.to_owned()], back);
            let is_here: i64 =
                sqlx::query_scalar(IS_PATH_HERE).bind(pin.cache_id).bind(pin.hash).fetch_one(&mut *tx).await?;
            if is_here == 0 {
                return Ok(None);
            }
            let revision: i64 =
                sqlx::query_scalar(NEXT_REVISION).bind(pin.cache_id).bind(pin.name).fetch_one(&mut *tx).await?;
            sqlx::query(INSERT_PIN)
                .bind(pin.cache_id)
                .bind(pin.name)
                .bind(revision)
                .bind(pin.store_path)
                .bind(pin.artifacts)
                .bind(pin.keep)
                .bind(audit.at)
                .bind(&audit.actor)
                .bind(pin.expires_at)
                .execute(&mut *tx)
                .await?;
            if let Some(kept) = pin.revisions {
                sqlx::query(DELETE_OLD_REVISIONS)
                    .bind(pin.cache_id)
                    .bind(pin.name)
                    .bind(revision - kept)
                    .execute(&mut *tx)
                    .await?;
            }
            audit!(tx, audit);
            Some(back)
        }))
    }

    /// Every revision that is not over, by name, the newest first.
    pub async fn pin_list(&self, cache_id: i64, now: i64) -> Result<Vec<PinRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_PINS).bind(cache_id).bind(now).fetch_all(pool).await?))
    }

    /// Ends a revision of a pin, or all. False where there is none.
    pub async fn pin_delete(&self, cache_id: i64, name: &str, revision: Option<i64>, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let gone = sqlx::query(DELETE_PIN).bind(cache_id).bind(name).bind(revision).execute(&mut *tx).await?;
            audit!(tx, audit);
            gone.rows_affected() > 0
        }))
    }

    pub async fn pin_delete_expired(&self, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_EXPIRED_PINS).bind(now).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
