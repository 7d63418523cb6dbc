//! Statements about looks at repositories.

use super::*;
use sqlx::FromRow;

statements! {
    INSERT_PROBE = "INSERT INTO probe (cache_id, task, created_at) VALUES ($1, $2, $3) RETURNING id";
    COUNT_PROBES = "SELECT COUNT(*) FROM probe WHERE cache_id = $1 AND answer IS NULL";
    GET_PROBE = "SELECT cache_id, answer FROM probe WHERE id = $1";
    FIRST_PROBE = "SELECT id, task FROM probe WHERE node_id IS NULL ORDER BY id LIMIT 1";
    CLAIM_PROBE = "UPDATE probe SET node_id = $2 WHERE id = $1 AND node_id IS NULL";
    ANSWER_PROBE = "UPDATE probe SET answer = $3 WHERE id = $1 AND node_id = $2 AND answer IS NULL";
    FORGET_PROBES = "DELETE FROM probe WHERE created_at < $1";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct ProbeFound {
    pub cache_id: i64,
    pub answer: Option<String>,
}

impl Db {
    /// `None` where a cache has so many that nobody answered.
    pub async fn probe_insert(&self, cache_id: i64, task: &[u8], now: i64, most: i64) -> Result<Option<i64>> {
        Ok(transact!(self, |tx| {
            let open: i64 = sqlx::query_scalar(COUNT_PROBES).bind(cache_id).fetch_one(&mut *tx).await?;
            if open >= most {
                return Ok(None);
            }
            Some(sqlx::query_scalar(INSERT_PROBE).bind(cache_id).bind(task).bind(now).fetch_one(&mut *tx).await?)
        }))
    }

    pub async fn probe_get(&self, id: i64) -> Result<Option<ProbeFound>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_PROBE).bind(id).fetch_optional(pool).await?))
    }

    /// The one that waits longest, for a node.
    pub async fn probe_claim(&self, node_id: i64) -> Result<Option<(i64, Vec<u8>)>> {
        let first: Option<(i64, Vec<u8>)> =
            read!(self, |pool| sqlx::query_as(FIRST_PROBE).fetch_optional(pool).await?);
        let Some(first) = first else { return Ok(None) };
        let is_ours = transact!(self, |tx| {
            sqlx::query(CLAIM_PROBE).bind(first.0).bind(node_id).execute(&mut *tx).await?.rows_affected() > 0
        });
        Ok(is_ours.then_some(first))
    }

    /// False where the node does not have it, or answered already.
    pub async fn probe_answer(&self, id: i64, node_id: i64, answer: &str) -> Result<bool> {
        Ok(transact!(self, |tx| {
            sqlx::query(ANSWER_PROBE).bind(id).bind(node_id).bind(answer).execute(&mut *tx).await?.rows_affected() > 0
        }))
    }

    pub async fn probe_forget(&self, before: i64) -> Result<u64> {
        Ok(transact!(self, |tx| { sqlx::query(FORGET_PROBES).bind(before).execute(&mut *tx).await?.rows_affected() }))
    }
}
