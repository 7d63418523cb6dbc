//! Tries to log in, counted where several servers count together.

use super::*;

statements! {
    // Evenly spaced tries are due one after the other; who is ahead of that by more than a burst is refused, and nothing is written.
    COUNT_TRY = "INSERT INTO login_try (who, due_at) VALUES ($1, CAST($2 AS BIGINT) + CAST($3 AS BIGINT)) ON CONFLICT (who) DO UPDATE SET \
        due_at = CASE WHEN login_try.due_at > CAST($2 AS BIGINT) THEN login_try.due_at ELSE CAST($2 AS BIGINT) END + CAST($3 AS BIGINT) \
        WHERE login_try.due_at - CAST($2 AS BIGINT) <= CAST($4 AS BIGINT) RETURNING due_at";
    GET_TRY = "SELECT due_at FROM login_try WHERE who = $1";
    FORGET_TRIES = "DELETE FROM login_try WHERE due_at < $1";
}

impl Db {
    /// Counts a try of somebody who may make one every `interval` milliseconds and `burst` more at once. `Some` is how many milliseconds
    /// are to be waited.
    pub async fn login_try(&self, who: &str, now: i64, interval: i64, burst: i64) -> Result<Option<i64>> {
        let ahead = burst * interval;
        Ok(transact!(self, |tx| {
            let counted: Option<i64> = sqlx::query_scalar(COUNT_TRY)
                .bind(who)
                .bind(now)
                .bind(interval)
                .bind(ahead)
                .fetch_optional(&mut *tx)
                .await?;
            match counted {
                Some(_) => None,
                None => {
                    let due: Option<i64> = sqlx::query_scalar(GET_TRY).bind(who).fetch_optional(&mut *tx).await?;
                    Some((due.unwrap_or(now) - now - ahead).max(1))
                }
            }
        }))
    }

    /// Forgets whom the limits no longer concern.
    pub async fn login_tries_forget(&self, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(FORGET_TRIES).bind(now).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
