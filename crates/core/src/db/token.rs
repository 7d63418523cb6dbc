//! Statements about tokens.

use super::*;
use iglu_api::{CacheName, Timestamp, cache::Permission, token::TokenRow};
use sqlx::FromRow;

statements! {
    INSERT_TOKEN = "INSERT INTO token (name, prefix, secret_hash, cache_id, scope, account_id, created_at, expires_at, made_by) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    FIND_TOKEN = "SELECT t.id, t.name, t.cache_id, t.scope, t.expires_at, t.revoked_at, t.account_id, a.is_admin AS is_owner_admin, \
        a.disabled_at IS NOT NULL AS is_owner_disabled FROM token t LEFT JOIN account a ON a.id = t.account_id WHERE t.secret_hash = $1";
    GET_TOKEN = "SELECT name, cache_id, account_id FROM token WHERE id = $1";
    LIST_TOKENS = "SELECT t.id, t.name, t.prefix, c.name AS cache, t.cache_id, t.scope, a.name AS owner, t.created_at, t.expires_at, \
        t.last_used_at, t.revoked_at, t.made_by FROM token t LEFT JOIN cache c ON c.id = t.cache_id \
        LEFT JOIN account a ON a.id = t.account_id \
        WHERE (CAST($1 AS BIGINT) IS NULL OR t.account_id = $1) AND (CAST($2 AS BIGINT) IS NULL OR t.cache_id = $2) ORDER BY t.created_at DESC, t.id DESC LIMIT 1000";
    REVOKE_TOKEN = "UPDATE token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    USE_TOKEN = "UPDATE token SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
}

/// What the door needs to know of a token.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct TokenAuthRow {
    pub id: i64,
    pub name: String,
    pub cache_id: Option<i64>,
    pub scope: String,
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
    pub account_id: Option<i64>,
    pub is_owner_admin: Option<bool>,
    pub is_owner_disabled: Option<bool>,
}

/// Whose a token is.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct TokenOf {
    pub name: String,
    pub cache_id: Option<i64>,
    pub account_id: Option<i64>,
}

#[derive(FromRow)]
struct TokenListRow {
    id: i64,
    name: String,
    prefix: String,
    cache: Option<String>,
    scope: String,
    owner: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
    made_by: String,
}

pub(crate) struct NewToken<'a> {
    pub name: &'a str,
    pub prefix: &'a str,
    pub secret_hash: &'a [u8],
    pub cache_id: Option<i64>,
    pub scope: Permission,
    pub account_id: Option<i64>,
    pub made_by: &'a str,
    pub expires_at: Option<i64>,
}

/// Anything but the words that this program writes gives the least.
pub(crate) fn scope(text: &str) -> Permission {
    match text {
        "admin" => Permission::Admin,
        "push" => Permission::Push,
        _ => Permission::Pull,
    }
}

impl Db {
    pub async fn token_insert(&self, token: &NewToken<'_>, audit: &Audit) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(INSERT_TOKEN)
                .bind(token.name)
                .bind(token.prefix)
                .bind(token.secret_hash)
                .bind(token.cache_id)
                .bind(token.scope.as_str())
                .bind(token.account_id)
                .bind(audit.at)
                .bind(token.expires_at)
                .bind(token.made_by)
                .execute(&mut *tx)
                .await?;
            audit!(tx, audit);
        });
        Ok(())
    }

    pub async fn token_find(&self, secret_hash: &[u8]) -> Result<Option<TokenAuthRow>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_TOKEN).bind(secret_hash).fetch_optional(pool).await?))
    }

    pub async fn token_get(&self, id: i64) -> Result<Option<TokenOf>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_TOKEN).bind(id).fetch_optional(pool).await?))
    }

    /// The newest thousand tokens, of one account or of all, for one cache or for whichever.
    pub async fn token_list(&self, account_id: Option<i64>, cache_id: Option<i64>) -> Result<Vec<TokenRow>> {
        let rows: Vec<TokenListRow> =
            read!(self, |pool| sqlx::query_as(LIST_TOKENS).bind(account_id).bind(cache_id).fetch_all(pool).await?);
        Ok(rows
            .into_iter()
            .map(|row| TokenRow {
                id: row.id,
                name: row.name,
                prefix: row.prefix,
                cache: row.cache.and_then(|name| CacheName::parse(&name).ok()),
                scope: scope(&row.scope),
                owner: row.owner,
                created_at: Timestamp(row.created_at),
                expires_at: row.expires_at.map(Timestamp),
                last_used_at: row.last_used_at.map(Timestamp),
                revoked_at: row.revoked_at.map(Timestamp),
                made_by: row.made_by,
            })
            .collect())
    }

    /// Whether there was such a live token.
    pub async fn token_revoke(&self, id: i64, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let revoked = sqlx::query(REVOKE_TOKEN).bind(id).bind(audit.at).execute(&mut *tx).await?.rows_affected();
            if revoked > 0 {
                audit!(tx, audit);
                bump!(tx);
            }
            revoked > 0
        }))
    }

    pub async fn token_used(&self, used: &[(i64, i64)]) -> Result<()> {
        transact!(self, |tx| {
            for (id, at) in used {
                sqlx::query(USE_TOKEN).bind(id).bind(at).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }
}
