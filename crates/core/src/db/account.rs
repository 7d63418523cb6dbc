//! Statements about people: accounts, sessions, set-up links.

use super::*;
use iglu_api::{Timestamp, account::SessionRow};
use sqlx::FromRow;

statements! {
    COUNT_ACCOUNTS = "SELECT COUNT(*) FROM account";
    INSERT_ACCOUNT = "INSERT INTO account (name, password_hash, is_admin, created_at) VALUES ($1, $2, $3, $4) RETURNING id";
    FIND_ACCOUNT = "SELECT id, name, password_hash, is_admin, disabled_at IS NOT NULL AS is_disabled FROM account WHERE name = $1";
    GET_ACCOUNT = "SELECT id, name, password_hash, is_admin, disabled_at IS NOT NULL AS is_disabled FROM account WHERE id = $1";
    SET_PASSWORD = "UPDATE account SET password_hash = $2 WHERE id = $1";
    INSERT_SESSION = "INSERT INTO session (account_id, secret_hash, created_at, last_seen_at, expires_at, address, agent) \
        VALUES ($1, $2, $3, $3, $4, $5, $6)";
    FIND_SESSION = "SELECT s.id, s.account_id, a.name, a.is_admin, s.expires_at \
        FROM session s JOIN account a ON a.id = s.account_id WHERE s.secret_hash = $1 AND a.disabled_at IS NULL";
    LIST_SESSIONS = "SELECT id, created_at, last_seen_at, address, agent FROM session \
        WHERE account_id = $1 AND expires_at > $2 ORDER BY last_seen_at DESC, id DESC LIMIT 100";
    DELETE_SESSION = "DELETE FROM session WHERE id = $1 AND account_id = $2";
    DELETE_OTHER_SESSIONS = "DELETE FROM session WHERE account_id = $1 AND id <> $2";
    DELETE_OLD_SESSIONS = "DELETE FROM session WHERE expires_at <= $1";
    SEE_SESSION = "UPDATE session SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2";
    DELETE_SETUP_LINKS = "DELETE FROM setup_link WHERE expires_at <= $1";
    INSERT_SETUP_LINK = "INSERT INTO setup_link (secret_hash, expires_at) VALUES ($1, $2)";
    FIND_SETUP_LINK = "SELECT expires_at FROM setup_link WHERE secret_hash = $1";
    TAKE_SETUP_LINKS = "DELETE FROM setup_link
        WHERE EXISTS (SELECT 1 FROM setup_link WHERE secret_hash = $1 AND expires_at > $2)";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct AccountRow {
    pub id: i64,
    pub name: String,
    pub password_hash: String,
    pub is_admin: bool,
    pub is_disabled: bool,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct SessionCaller {
    pub id: i64,
    pub account_id: i64,
    pub name: String,
    pub is_admin: bool,
    pub expires_at: i64,
}

#[derive(FromRow)]
struct SessionListRow {
    id: i64,
    created_at: i64,
    last_seen_at: i64,
    address: String,
    agent: String,
}

/// A session to be made.
pub(crate) struct NewSession<'a> {
    pub account_id: i64,
    pub secret_hash: &'a [u8],
    pub now: i64,
    pub expires_at: i64,
    pub address: &'a str,
    pub agent: &'a str,
}

impl Db {
    pub async fn account_count(&self) -> Result<i64> {
        Ok(read!(self, |pool| sqlx::query_scalar(COUNT_ACCOUNTS).fetch_one(pool).await?))
    }

    pub async fn account_insert(&self, name: &str, password_hash: &str, is_admin: bool, audit: &Audit) -> Result<i64> {
        let insert = async {
            Ok::<i64, sqlx::Error>(transact!(self, |tx| {
                let id: i64 = sqlx::query_scalar(INSERT_ACCOUNT)
                    .bind(name)
                    .bind(password_hash)
                    .bind(is_admin)
                    .bind(audit.at)
                    .fetch_one(&mut *tx)
                    .await?;
                audit!(tx, audit);
                id
            }))
        };
        insert.await.map_err(|error| {
            if is_duplicate(&error) {
                Error::Conflict { field: "name", message: format!("there is a user \"{name}\" already") }
            } else {
                error.into()
            }
        })
    }

    pub async fn account_find(&self, name: &str) -> Result<Option<AccountRow>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_ACCOUNT).bind(name).fetch_optional(pool).await?))
    }

    pub async fn account_get(&self, id: i64) -> Result<Option<AccountRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_ACCOUNT).bind(id).fetch_optional(pool).await?))
    }

    /// Changes the password and ends all sessions but `keep_session`.
    pub async fn password_set(&self, id: i64, password_hash: &str, keep_session: i64, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SET_PASSWORD).bind(id).bind(password_hash).execute(&mut *tx).await?;
            sqlx::query(DELETE_OTHER_SESSIONS).bind(id).bind(keep_session).execute(&mut *tx).await?;
            audit!(tx, audit);
        });
        Ok(())
    }

    pub async fn session_insert(&self, session: &NewSession<'_>, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(INSERT_SESSION)
                .bind(session.account_id)
                .bind(session.secret_hash)
                .bind(session.now)
                .bind(session.expires_at)
                .bind(session.address)
                .bind(session.agent)
                .execute(&mut *tx)
                .await?;
            audit!(tx, audit);
        });
        Ok(())
    }

    pub async fn session_find(&self, secret_hash: &[u8]) -> Result<Option<SessionCaller>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_SESSION).bind(secret_hash).fetch_optional(pool).await?))
    }

    /// The live sessions of an account; the caller marks the current one.
    pub async fn session_list(&self, account_id: i64, now: i64) -> Result<Vec<SessionRow>> {
        let rows: Vec<SessionListRow> =
            read!(self, |pool| sqlx::query_as(LIST_SESSIONS).bind(account_id).bind(now).fetch_all(pool).await?);
        Ok(rows
            .into_iter()
            .map(|row| SessionRow {
                id: row.id,
                created_at: Timestamp(row.created_at),
                last_seen_at: Timestamp(row.last_seen_at),
                address: row.address,
                agent: row.agent,
                current: false,
            })
            .collect())
    }

    /// Whether there was such a session of this account.
    pub async fn session_delete(&self, id: i64, account_id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let gone = sqlx::query(DELETE_SESSION).bind(id).bind(account_id).execute(&mut *tx).await?.rows_affected();
            if gone > 0 {
                audit!(tx, audit);
            }
            gone > 0
        }))
    }

    pub async fn session_delete_old(&self, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_OLD_SESSIONS).bind(now).execute(&mut *tx).await?;
        });
        Ok(())
    }

    pub async fn session_seen(&self, seen: &[(i64, i64)]) -> Result<()> {
        transact!(self, |tx| {
            for (id, at) in seen {
                sqlx::query(SEE_SESSION).bind(id).bind(at).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Adds a link, and ends those that expire until then.
    pub async fn setup_link_add(&self, secret_hash: &[u8], expires_at: i64, ends_until: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(DELETE_SETUP_LINKS).bind(ends_until).execute(&mut *tx).await?;
            sqlx::query(INSERT_SETUP_LINK).bind(secret_hash).bind(expires_at).execute(&mut *tx).await?;
        });
        Ok(())
    }

    pub async fn setup_link_expiry(&self, secret_hash: &[u8]) -> Result<Option<i64>> {
        Ok(read!(self, |pool| sqlx::query_scalar(FIND_SETUP_LINK).bind(secret_hash).fetch_optional(pool).await?))
    }

    /// Uses a link up, and every other with it: makes the administrator and keeps the public URL in one transaction. `None` when
    /// the link is used or expired, so that of two hands one wins.
    pub async fn setup_finish(
        &self,
        secret_hash: &[u8],
        name: &str,
        password_hash: &str,
        public_url: Option<&str>,
        audit: &Audit,
    ) -> Result<Option<i64>> {
        Ok(transact!(self, |tx| {
            let taken = sqlx::query(TAKE_SETUP_LINKS).bind(secret_hash).bind(audit.at).execute(&mut *tx).await?;
            // Somebody may have been first by another link, or on the command line.
            let accounts: i64 = sqlx::query_scalar(COUNT_ACCOUNTS).fetch_one(&mut *tx).await?;
            if taken.rows_affected() == 0 || accounts > 0 {
                return Ok(None);
            }
            let id: i64 = sqlx::query_scalar(INSERT_ACCOUNT)
                .bind(name)
                .bind(password_hash)
                .bind(true)
                .bind(audit.at)
                .fetch_one(&mut *tx)
                .await?;
            if let Some(url) = public_url {
                sqlx::query(PUT_SETTING).bind("public_url").bind(url).execute(&mut *tx).await?;
            }
            audit!(tx, audit);
            bump!(tx);
            Some(id)
        }))
    }
}
