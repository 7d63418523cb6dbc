//! Statements that read the audit log; each change writes its line in its own transaction.

use super::{path::like_literal, *};
use iglu_api::{Timestamp, instance::AuditRow};

statements! {
    LIST_AUDIT = "SELECT id, at, actor, action, object, address FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2";
    SEARCH_AUDIT = "SELECT id, at, actor, action, object, address FROM audit WHERE id < $1 AND (LOWER(actor) LIKE $3 ESCAPE '\\' \
        OR LOWER(action) LIKE $3 ESCAPE '\\' OR LOWER(object) LIKE $3 ESCAPE '\\' OR address LIKE $3 ESCAPE '\\') \
        ORDER BY id DESC LIMIT $2";
}

impl Db {
    /// Up to `most` rows behind `before`, the newest first, that have `search` anywhere.
    pub async fn audit_list(&self, search: &str, before: Option<i64>, most: usize) -> Result<Vec<AuditRow>> {
        let before = before.unwrap_or(i64::MAX);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows: Vec<(i64, i64, String, String, String, String)> = match search {
            "" => read!(self, |pool| sqlx::query_as(LIST_AUDIT).bind(before).bind(most).fetch_all(pool).await?),
            search => {
                let pattern = format!("%{}%", like_literal(&search.to_lowercase()));
                read!(self, |pool| sqlx::query_as(SEARCH_AUDIT)
                    .bind(before)
                    .bind(most)
                    .bind(&pattern)
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
