//! Statements about what forges are told.

use super::*;
use sqlx::FromRow;

statements! {
    LIST_STATUSES_DUE = "SELECT r.id, r.state, r.reason, r.commit_hash, b.name AS builder, b.spec, b.status_token, r.told_tries \
        FROM run r JOIN builder b ON b.id = r.builder_id WHERE r.queued_at > $2 AND r.tell_at <= $1 AND r.told_state <> r.state \
        AND r.told_tries < $3 AND r.commit_hash IS NOT NULL AND b.status_token IS NOT NULL ORDER BY r.id LIMIT 50";
    STATUS_TOLD = "UPDATE run SET told_state = $2, told_tries = 0, tell_at = 0 WHERE id = $1";
    STATUS_FAILED = "UPDATE run SET told_tries = told_tries + 1, tell_at = $2 WHERE id = $1";
}

/// A run whose forge knows another state.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct StatusDue {
    pub id: i64,
    pub state: String,
    pub reason: String,
    pub commit_hash: String,
    pub builder: String,
    pub spec: String,
    pub status_token: Vec<u8>,
    pub told_tries: i64,
}

impl Db {
    pub async fn status_list_due(&self, now: i64, since: i64, tries: i64) -> Result<Vec<StatusDue>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_STATUSES_DUE)
            .bind(now)
            .bind(since)
            .bind(tries)
            .fetch_all(pool)
            .await?))
    }

    pub async fn status_told(&self, id: i64, state: &str) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(STATUS_TOLD).bind(id).bind(state).execute(&mut *tx).await?;
        });
        Ok(())
    }

    pub async fn status_failed(&self, id: i64, tell_at: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(STATUS_FAILED).bind(id).bind(tell_at).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
