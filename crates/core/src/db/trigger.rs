//! Statements about what starts runs by itself.

use super::{builder::builders, *};
use crate::trigger::Due;
use sqlx::FromRow;

statements! {
    LIST_DUE_BUILDERS = builders!("WHERE is_enabled AND (schedule_at <= $1 OR poll_at <= $1) ORDER BY id LIMIT 100");
    SET_DUE = "UPDATE builder SET schedule_at = $3, poll_at = $4 WHERE id = $1 AND revision = $2";
    RENEW_WEBHOOK = "UPDATE builder SET webhook_round = webhook_round + 1 WHERE id = $1";
    INSERT_DELIVERY = "INSERT INTO delivery (builder_id, at, forge, event, change, reference, commit_hash, status, message, run_id) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    FORGET_DELIVERIES = "DELETE FROM delivery WHERE builder_id = $1 AND id <= \
        (SELECT id FROM delivery WHERE builder_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";
    LIST_DELIVERIES = "SELECT id, at, forge, event, change, reference, commit_hash, status, message, run_id FROM delivery \
        WHERE builder_id = $1 ORDER BY id DESC LIMIT $2";
}

pub(crate) struct NewDelivery<'a> {
    pub builder_id: i64,
    pub at: i64,
    pub forge: &'a str,
    pub event: &'a str,
    /// JSON.
    pub change: Option<&'a str>,
    pub reference: &'a str,
    pub commit: Option<&'a str>,
    pub status: i64,
    pub message: &'a str,
    pub run_id: Option<i64>,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct DeliveryFound {
    pub id: i64,
    pub at: i64,
    pub forge: String,
    pub event: String,
    pub change: Option<String>,
    pub reference: String,
    pub commit_hash: Option<String>,
    pub status: i64,
    pub message: String,
    pub run_id: Option<i64>,
}

impl Db {
    /// Builders whose schedule or look for a new commit is due.
    pub async fn builder_list_due(&self, now: i64) -> Result<Vec<BuilderFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_DUE_BUILDERS).bind(now).fetch_all(pool).await?))
    }

    /// Says when a builder is due next, unless somebody changed it meanwhile, who said so too.
    pub async fn builder_set_due(&self, id: i64, revision: i64, due: Due) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SET_DUE)
                .bind(id)
                .bind(revision)
                .bind(due.schedule_at)
                .bind(due.poll_at)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    pub async fn builder_renew_webhook(&self, id: i64, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(RENEW_WEBHOOK).bind(id).execute(&mut *tx).await?;
            audit!(tx, audit);
        });
        Ok(())
    }

    /// Notes a call of a forge; of its builder, so many are kept.
    pub async fn delivery_insert(&self, new: &NewDelivery<'_>, kept: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(INSERT_DELIVERY)
                .bind(new.builder_id)
                .bind(new.at)
                .bind(new.forge)
                .bind(new.event)
                .bind(new.change)
                .bind(new.reference)
                .bind(new.commit)
                .bind(new.status)
                .bind(new.message)
                .bind(new.run_id)
                .execute(&mut *tx)
                .await?;
            sqlx::query(FORGET_DELIVERIES).bind(new.builder_id).bind(kept).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// The newest calls for a builder.
    pub async fn delivery_list(&self, builder_id: i64, most: i64) -> Result<Vec<DeliveryFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_DELIVERIES).bind(builder_id).bind(most).fetch_all(pool).await?))
    }
}
