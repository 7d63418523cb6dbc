//! Statements about logs of runs, and how long runs are kept.

use super::*;
use sqlx::FromRow;

statements! {
    LIST_LOG = "SELECT first_line, line_count, lines, encoding FROM run_log WHERE run_id = $1 AND first_line + line_count > $2 \
        AND first_line < $3 ORDER BY first_line";
    LIST_UNPACKED = "SELECT id FROM run WHERE ended_at IS NOT NULL AND NOT is_packed ORDER BY id LIMIT $1";
    DELETE_BLOCKS = "DELETE FROM run_log WHERE run_id = $1 AND first_line >= $2 AND first_line < $3";
    PUT_BLOCK = "INSERT INTO run_log (run_id, first_line, line_count, lines, encoding) VALUES ($1, $2, $3, $4, $5)";
    SET_PACKED = "UPDATE run SET is_packed = TRUE WHERE id = $1";
    FORGET_RUNS = "DELETE FROM run WHERE id IN (SELECT r.id FROM run r WHERE r.ended_at < $1 AND \
        (SELECT COUNT(*) FROM run n WHERE n.builder_id = r.builder_id AND n.id > r.id) >= $2 ORDER BY r.id LIMIT 20)";
}

/// Lines of a log that stand together.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct RunLogRow {
    pub first_line: i64,
    pub line_count: i64,
    pub lines: Vec<u8>,
    /// 0: as they are. 1: zstd.
    pub encoding: i64,
}

impl Db {
    /// Blocks of lines that hold any from `first` to before `end`.
    pub async fn run_log(&self, id: i64, first: i64, end: i64) -> Result<Vec<RunLogRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_LOG).bind(id).bind(first).bind(end).fetch_all(pool).await?))
    }

    /// Runs that are over, and whose logs are as they came.
    pub async fn run_list_unpacked(&self, most: i64) -> Result<Vec<i64>> {
        Ok(read!(self, |pool| sqlx::query_scalar(LIST_UNPACKED).bind(most).fetch_all(pool).await?))
    }

    /// Puts one block in the place of all that begin inside it.
    pub async fn run_log_replace(&self, id: i64, block: &RunLogRow) -> Result<()> {
        transact!(self, |tx| {
            let end = block.first_line + block.line_count;
            sqlx::query(DELETE_BLOCKS).bind(id).bind(block.first_line).bind(end).execute(&mut *tx).await?;
            sqlx::query(PUT_BLOCK)
                .bind(id)
                .bind(block.first_line)
                .bind(block.line_count)
                .bind(&block.lines)
                .bind(block.encoding)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    pub async fn run_set_packed(&self, id: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SET_PACKED).bind(id).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Removes some runs that ended before a moment, but the newest so many of each builder. How many.
    pub async fn run_forget_some(&self, before: i64, kept: i64) -> Result<u64> {
        Ok(transact!(self, |tx| {
            sqlx::query(FORGET_RUNS).bind(before).bind(kept).execute(&mut *tx).await?.rows_affected()
        }))
    }
}
