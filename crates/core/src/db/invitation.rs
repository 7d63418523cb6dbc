//! Statements about links that bring people in.

use super::{
    account::{DELETE_OTHER_SESSIONS, INSERT_ACCOUNT, SET_PASSWORD},
    member::PUT_MEMBER,
    *,
};
use sqlx::FromRow;

statements! {
    INSERT_INVITATION = "INSERT INTO invitation (secret_hash, cache_id, account_id, role, note, invited_by, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    LIST_INVITATIONS = "SELECT id, cache_id, account_id, role, note, invited_by, created_at, expires_at FROM invitation \
        WHERE expires_at > $1 ORDER BY id DESC LIMIT 1000";
    FIND_INVITATION = "SELECT id, cache_id, account_id, role, note, invited_by, created_at, expires_at FROM invitation \
        WHERE secret_hash = $1 AND expires_at > $2";
    TAKE_INVITATION = "DELETE FROM invitation WHERE id = $1 AND expires_at > $2";
    DELETE_OTHER_LINKS = "DELETE FROM invitation WHERE account_id = $1";
    DELETE_OLD_INVITATIONS = "DELETE FROM invitation WHERE expires_at <= $1";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct InvitationFound {
    pub id: i64,
    pub cache_id: Option<i64>,
    pub account_id: Option<i64>,
    pub role: String,
    pub note: String,
    pub invited_by: String,
    pub created_at: i64,
    pub expires_at: i64,
}

pub(crate) struct NewInvitation<'a> {
    pub secret_hash: &'a [u8],
    pub cache_id: Option<i64>,
    pub account_id: Option<i64>,
    pub role: &'a str,
    pub note: &'a str,
    pub invited_by: &'a str,
    pub expires_at: i64,
}

impl Db {
    /// A link for a new password ends the earlier ones of the same person.
    pub async fn invitation_insert(&self, new: &NewInvitation<'_>, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_OLD_INVITATIONS).bind(audit.at).execute(&mut *tx).await?;
            if let Some(account_id) = new.account_id {
                sqlx::query(DELETE_OTHER_LINKS).bind(account_id).execute(&mut *tx).await?;
            }
            sqlx::query(INSERT_INVITATION)
                .bind(new.secret_hash)
                .bind(new.cache_id)
                .bind(new.account_id)
                .bind(new.role)
                .bind(new.note)
                .bind(new.invited_by)
                .bind(audit.at)
                .bind(new.expires_at)
                .execute(&mut *tx)
                .await?;
            audit!(tx, audit);
        });
        Ok(())
    }

    /// Those that can still be followed, the newest first.
    pub async fn invitation_list(&self, now: i64) -> Result<Vec<InvitationFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_INVITATIONS).bind(now).fetch_all(pool).await?))
    }

    pub async fn invitation_find(&self, secret_hash: &[u8], now: i64) -> Result<Option<InvitationFound>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_INVITATION).bind(secret_hash).bind(now).fetch_optional(pool).await?))
    }

    /// Whether there was such a link.
    pub async fn invitation_delete(&self, id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let gone = sqlx::query(TAKE_INVITATION).bind(id).bind(audit.at).execute(&mut *tx).await?.rows_affected();
            if gone > 0 {
                audit!(tx, audit);
            }
            gone > 0
        }))
    }

    /// Uses a link up for somebody new: makes the account and gives the role, both or none. `None` when the link was used meanwhile.
    pub async fn invitation_take_new(
        &self,
        found: &InvitationFound,
        name: &str,
        password_hash: &str,
        audit: &Audit,
    ) -> Result<Option<i64>> {
        let take = async {
            Ok::<Option<i64>, sqlx::Error>(transact!(self, |tx| {
                let taken = sqlx::query(TAKE_INVITATION).bind(found.id).bind(audit.at).execute(&mut *tx).await?;
                if taken.rows_affected() == 0 {
                    return Ok(None);
                }
                let id: i64 = sqlx::query_scalar(INSERT_ACCOUNT)
                    .bind(name)
                    .bind(password_hash)
                    .bind(found.cache_id.is_none() && found.role == "admin")
                    .bind(audit.at)
                    .fetch_one(&mut *tx)
                    .await?;
                if let Some(cache_id) = found.cache_id {
                    sqlx::query(PUT_MEMBER)
                        .bind(cache_id)
                        .bind(id)
                        .bind(&found.role)
                        .bind(audit.at)
                        .execute(&mut *tx)
                        .await?;
                }
                audit!(tx, audit);
                bump!(tx);
                Some(id)
            }))
        };
        take.await.map_err(|error| {
            if is_duplicate(&error) {
                Error::Conflict { field: "name", message: format!("there is a user \"{name}\" already") }
            } else {
                error.into()
            }
        })
    }

    /// Uses a link up for somebody who is here. Whether it was still there.
    pub async fn invitation_take(&self, found: &InvitationFound, account_id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let taken = sqlx::query(TAKE_INVITATION).bind(found.id).bind(audit.at).execute(&mut *tx).await?;
            if taken.rows_affected() > 0 {
                sqlx::query(PUT_MEMBER)
                    .bind(found.cache_id)
                    .bind(account_id)
                    .bind(&found.role)
                    .bind(audit.at)
                    .execute(&mut *tx)
                    .await?;
                audit!(tx, audit);
                bump!(tx);
            }
            taken.rows_affected() > 0
        }))
    }

    /// Uses a link up for a new password, which ends all sessions. Whether it was still there.
    pub async fn invitation_take_password(&self, found: &InvitationFound, hash: &str, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let taken = sqlx::query(TAKE_INVITATION).bind(found.id).bind(audit.at).execute(&mut *tx).await?;
            if taken.rows_affected() > 0 {
                sqlx::query(SET_PASSWORD).bind(found.account_id).bind(hash).execute(&mut *tx).await?;
                // No session has this number.
                sqlx::query(DELETE_OTHER_SESSIONS).bind(found.account_id).bind(-1_i64).execute(&mut *tx).await?;
                audit!(tx, audit);
            }
            taken.rows_affected() > 0
        }))
    }
}
