//! Statements about builders.

use super::*;
use crate::trigger::Due;
use sqlx::FromRow;

/// A builder's columns.
macro_rules! builders {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, cache_id, spec, credential, is_enabled, revision, created_at, created_by, schedule_at, poll_at, ",
            "webhook_round, status_token FROM builder ",
            $rest
        )
    };
}
pub(super) use builders;

statements! {
    INSERT_BUILDER = "INSERT INTO builder (name, cache_id, spec, credential, is_enabled, revision, created_at, created_by, schedule_at, \
        poll_at, status_token) VALUES ($1, $2, $3, $4, TRUE, 1, $5, $6, $7, $8, $9)";
    LIST_BUILDERS = builders!("ORDER BY name");
    GET_BUILDER = builders!("WHERE name = $1");
    UPDATE_BUILDER = "UPDATE builder SET spec = $3, credential = $4, is_enabled = $5, schedule_at = $6, poll_at = $7, status_token = $8, \
        revision = revision + 1 WHERE id = $1 AND revision = $2";
    DELETE_BUILDER = "DELETE FROM builder WHERE id = $1";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct BuilderFound {
    pub id: i64,
    pub name: String,
    pub cache_id: i64,
    /// JSON.
    pub spec: String,
    pub credential: Option<Vec<u8>>,
    pub is_enabled: bool,
    pub revision: i64,
    pub created_at: i64,
    pub created_by: String,
    pub schedule_at: Option<i64>,
    pub poll_at: Option<i64>,
    pub webhook_round: i64,
    pub status_token: Option<Vec<u8>>,
}

impl Db {
    /// False where the name is taken.
    pub async fn builder_insert(
        &self,
        name: &str,
        cache_id: i64,
        spec: &str,
        (credential, status_token): (Option<&[u8]>, Option<&[u8]>),
        due: Due,
        audit: &Audit,
    ) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let inserted = sqlx::query(INSERT_BUILDER)
                .bind(name)
                .bind(cache_id)
                .bind(spec)
                .bind(credential)
                .bind(audit.at)
                .bind(&audit.actor)
                .bind(due.schedule_at)
                .bind(due.poll_at)
                .bind(status_token)
                .execute(&mut *tx)
                .await;
            match inserted {
                Err(error) if is_duplicate(&error) => return Ok(false),
                inserted => inserted?,
            };
            audit!(tx, audit);
            true
        }))
    }

    /// All builders by name.
    pub async fn builder_list(&self) -> Result<Vec<BuilderFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_BUILDERS).fetch_all(pool).await?))
    }

    pub async fn builder_get(&self, name: &str) -> Result<Option<BuilderFound>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_BUILDER).bind(name).fetch_optional(pool).await?))
    }

    /// Changes a builder whose revision is still `changed.revision`; false where it is another one.
    pub async fn builder_update(&self, changed: &BuilderFound, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let updated = sqlx::query(UPDATE_BUILDER)
                .bind(changed.id)
                .bind(changed.revision)
                .bind(&changed.spec)
                .bind(changed.credential.as_deref())
                .bind(changed.is_enabled)
                .bind(changed.schedule_at)
                .bind(changed.poll_at)
                .bind(changed.status_token.as_deref())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if updated > 0 {
                audit!(tx, audit);
            }
            updated > 0
        }))
    }

    /// Removes a builder with its runs and their logs.
    pub async fn builder_delete(&self, id: i64, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_BUILDER).bind(id).execute(&mut *tx).await?;
            audit!(tx, audit);
        });
        Ok(())
    }
}
