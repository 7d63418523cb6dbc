//! Statements about people's roles in caches, and about people as administrators see them.

use super::*;
use iglu_api::{
    Timestamp, UserName,
    member::{MemberRow, Role, UserRow},
};
use sqlx::FromRow;
use std::collections::HashMap;

statements! {
    LIST_ROLES = "SELECT cache_id, role FROM cache_member WHERE account_id = $1";
    LIST_MEMBERS = "SELECT a.name, m.role, m.created_at FROM cache_member m JOIN account a ON a.id = m.account_id \
        WHERE m.cache_id = $1 ORDER BY a.name LIMIT 1000";
    PUT_MEMBER = "INSERT INTO cache_member (cache_id, account_id, role, created_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (cache_id, account_id) DO UPDATE SET role = excluded.role";
    DELETE_MEMBER = "DELETE FROM cache_member WHERE cache_id = $1 AND account_id = $2";
    LIST_USERS = "SELECT a.name, a.is_admin, a.created_at, a.disabled_at, \
        (SELECT MAX(s.last_seen_at) FROM session s WHERE s.account_id = a.id) AS last_seen_at, \
        (SELECT COUNT(*) FROM cache_member m JOIN cache c ON c.id = m.cache_id WHERE m.account_id = a.id) AS cache_count \
        FROM account a ORDER BY a.name LIMIT 1000";
    IS_LAST_ADMIN = "SELECT (SELECT COUNT(*) FROM account WHERE id = $1 AND is_admin AND disabled_at IS NULL) > 0 \
        AND NOT EXISTS (SELECT 1 FROM account WHERE is_admin AND disabled_at IS NULL AND id <> $1)";
    CHANGE_USER = "UPDATE account SET is_admin = $2, disabled_at = CASE WHEN $3 THEN COALESCE(disabled_at, $4) END WHERE id = $1";
    DELETE_SESSIONS = "DELETE FROM session WHERE account_id = $1";
    DELETE_ACCOUNT = "DELETE FROM account WHERE id = $1";
}

#[derive(FromRow)]
struct UserListRow {
    name: String,
    is_admin: bool,
    created_at: i64,
    disabled_at: Option<i64>,
    last_seen_at: Option<i64>,
    cache_count: i64,
}

/// A role in the database; anything but the words that this program writes gives the least.
pub(crate) fn role(text: &str) -> Role {
    Role::parse(text).unwrap_or(Role::Viewer)
}

fn user_name(name: &str) -> Result<UserName> {
    UserName::parse(name).map_err(|error| Error::internal(format!("a user in the database: {error}")))
}

impl Db {
    /// By the cache's id.
    pub async fn member_roles(&self, account_id: i64) -> Result<HashMap<i64, Role>> {
        let rows: Vec<(i64, String)> =
            read!(self, |pool| sqlx::query_as(LIST_ROLES).bind(account_id).fetch_all(pool).await?);
        Ok(rows.into_iter().map(|(cache_id, text)| (cache_id, role(&text))).collect())
    }

    pub async fn member_list(&self, cache_id: i64) -> Result<Vec<MemberRow>> {
        let rows: Vec<(String, String, i64)> =
            read!(self, |pool| sqlx::query_as(LIST_MEMBERS).bind(cache_id).fetch_all(pool).await?);
        let row = |(name, text, since): (String, String, i64)| {
            Ok(MemberRow { name: user_name(&name)?, role: role(&text), since: Timestamp(since) })
        };
        rows.into_iter().map(row).collect()
    }

    /// Gives a role, in place of the one there was.
    pub async fn member_put(&self, cache_id: i64, account_id: i64, role: Role, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(PUT_MEMBER)
                .bind(cache_id)
                .bind(account_id)
                .bind(role.as_str())
                .bind(audit.at)
                .execute(&mut *tx)
                .await?;
            audit!(tx, audit);
            bump!(tx);
        });
        Ok(())
    }

    /// Whether they were in the cache.
    pub async fn member_delete(&self, cache_id: i64, account_id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let gone = sqlx::query(DELETE_MEMBER).bind(cache_id).bind(account_id).execute(&mut *tx).await?;
            if gone.rows_affected() > 0 {
                audit!(tx, audit);
                bump!(tx);
            }
            gone.rows_affected() > 0
        }))
    }

    pub async fn user_list(&self) -> Result<Vec<UserRow>> {
        let rows: Vec<UserListRow> = read!(self, |pool| sqlx::query_as(LIST_USERS).fetch_all(pool).await?);
        let row = |row: UserListRow| {
            Ok(UserRow {
                name: user_name(&row.name)?,
                is_admin: row.is_admin,
                created_at: Timestamp(row.created_at),
                last_seen_at: row.last_seen_at.map(Timestamp),
                disabled_at: row.disabled_at.map(Timestamp),
                cache_count: row.cache_count.unsigned_abs(),
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Whether this person is not the last administrator, or stays one. Whoever is disabled loses their sessions.
    pub async fn user_change(&self, id: i64, is_admin: bool, is_disabled: bool, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            // First the row that all such changes take, so that two administrators cannot end each other.
            bump!(tx);
            let is_last: bool = sqlx::query_scalar(IS_LAST_ADMIN).bind(id).fetch_one(&mut *tx).await?;
            if is_last && (!is_admin || is_disabled) {
                return Ok(false);
            }
            sqlx::query(CHANGE_USER).bind(id).bind(is_admin).bind(is_disabled).bind(audit.at).execute(&mut *tx).await?;
            if is_disabled {
                sqlx::query(DELETE_SESSIONS).bind(id).execute(&mut *tx).await?;
            }
            audit!(tx, audit);
            true
        }))
    }

    /// Whether this person is not the last administrator; then the account is gone, with its sessions, tokens and roles.
    pub async fn user_delete(&self, id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            bump!(tx);
            let is_last: bool = sqlx::query_scalar(IS_LAST_ADMIN).bind(id).fetch_one(&mut *tx).await?;
            if is_last {
                return Ok(false);
            }
            sqlx::query(DELETE_ACCOUNT).bind(id).execute(&mut *tx).await?;
            audit!(tx, audit);
            true
        }))
    }
}
