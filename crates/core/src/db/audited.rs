//! Statements that read the audit log; each change writes its line in its own transaction.

use super::{path::like_literal, *};
use iglu_api::{
    Timestamp,
    instance::{AuditQuery, AuditRow},
};

statements! {
    LIST_AUDIT = "SELECT id, at, actor, action, object, address FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2";
    LIST_AUDIT_OF = "SELECT id, at, actor, action, object, address FROM audit WHERE id < $1 AND cache_id = $3 \
        ORDER BY id DESC LIMIT $2";
    SEARCH_AUDIT = "SELECT id, at, actor, action, object, address FROM audit WHERE id < $1 AND (LOWER(actor) LIKE $3 ESCAPE '\\' \
        OR LOWER(action) LIKE $3 ESCAPE '\\' OR LOWER(object) LIKE $3 ESCAPE '\\' OR address LIKE $3 ESCAPE '\\') \
        AND (CAST($4 AS BIGINT) IS NULL OR cache_id = $4) ORDER BY id DESC LIMIT $2";
}

impl Db {
    /// Up to `most` rows, the newest first: of one cache or of all, as the query says.
    pub async fn audit_list(&self, query: &AuditQuery, cache_id: Option<i64>, most: usize) -> Result<Vec<AuditRow>> {
        let before = query.before.unwrap_or(i64::MAX);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows: Vec<(i64, i64, String, String, String, String)> = match (query.search.trim(), cache_id) {
            ("", None) => {
                read!(self, |pool| sqlx::query_as(LIST_AUDIT).bind(before).bind(most).fetch_all(pool).await?)
            }
            ("", Some(cache_id)) => read!(self, |pool| sqlx::query_as(LIST_AUDIT_OF)
                .bind(before)
                .bind(most)
                .bind(cache_id)
                .fetch_all(pool)
                .await?),
            (search, cache_id) => {
                let pattern = format!("%{}%", like_literal(&search.to_lowercase()));
                read!(self, |pool| sqlx::query_as(SEARCH_AUDIT)
                    .bind(before)
                    .bind(most)
                    .bind(&pattern)
                    .bind(cache_id)
                    .fetch_all(pool)
                    .await?)
            }
        };
        let rows = rows.into_iter().map(|(id, at, actor, action, object, address)| AuditRow {
            id,
            at: Timestamp(at),
            actor,
            action,
            object,
            address,
        });
        Ok(rows.collect())
    }

    /// What the database is, for people.
    pub fn engine(&self) -> &'static str {
        match self {
            Db::Sqlite { .. } => "SQLite",
            Db::Postgres(_) => "PostgreSQL",
        }
    }
}
