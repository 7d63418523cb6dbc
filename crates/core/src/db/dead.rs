//! Statements about files that nothing names any more. Between finding that out and removing a file, a push may come to need it: the
//! row of a dead file decides who is first.

use super::*;
use sqlx::{AssertSqlSafe, FromRow};
use std::collections::HashSet;

statements! {
    INSERT_DEAD_FILE = "INSERT INTO dead_file (kind, file_hash, file_size, since) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (kind, file_hash) DO NOTHING";
    GET_DEAD_FILE = "SELECT taken_at FROM dead_file WHERE kind = $1 AND file_hash = $2";
    REVIVE_FILE = "DELETE FROM dead_file WHERE kind = $1 AND file_hash = $2 AND taken_at IS NULL";
    LIST_DEAD_FILES = "SELECT kind, file_hash, file_size FROM dead_file WHERE (taken_at IS NULL AND since < $1) \
        OR taken_at < $2 OR taken_at > $3 ORDER BY since, kind, file_hash LIMIT 64";
    // A push may have come to need it since it was listed, or another server taken it.
    TAKE_DEAD_FILE = "UPDATE dead_file SET taken_at = $3 WHERE kind = $1 AND file_hash = $2 \
        AND (taken_at IS NULL OR taken_at < $4 OR taken_at > $5)";
    IS_DEAD_FILE_TAKEN = "SELECT COUNT(*) FROM dead_file WHERE kind = $1 AND file_hash = $2 AND taken_at = $3";
    RELEASE_DEAD_FILES = "UPDATE dead_file SET taken_at = NULL WHERE taken_at < $1";
    DELETE_DEAD_FILE = "DELETE FROM dead_file WHERE kind = $1 AND file_hash = $2";
    FORGET_DEAD_FILE = "DELETE FROM dead_file WHERE kind = $1 AND file_hash = $2 AND taken_at = $3";
    COUNT_DEAD_FILES = "SELECT COUNT(*), CAST(COALESCE(SUM(file_size), 0) AS BIGINT) FROM dead_file";
    IS_NAR_FILE_NEEDED = "SELECT (SELECT COUNT(*) FROM nar WHERE file_hash = $1) + (SELECT COUNT(*) FROM put_nar WHERE file_hash = $1)";
    IS_LOG_FILE_NEEDED = "SELECT COUNT(*) FROM build_log WHERE file_hash = $1";
}

/// A file on its way out.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct DeadFile {
    pub kind: String,
    pub file_hash: Vec<u8>,
    pub file_size: i64,
}

impl Db {
    /// Whether a file may be published: nothing is about to remove it. A row that says that it is dead is taken away; false where
    /// it is being removed at this moment.
    pub async fn file_revive(&self, kind: &str, file_hash: &[u8]) -> Result<bool> {
        let dead: Option<Option<i64>> = read!(self, |pool| sqlx::query_scalar(GET_DEAD_FILE)
            .bind(kind)
            .bind(file_hash)
            .fetch_optional(pool)
            .await?);
        match dead {
            None => Ok(true),
            Some(Some(_)) => Ok(false),
            Some(None) => {
                let revived = transact!(self, |tx| {
                    sqlx::query(REVIVE_FILE).bind(kind).bind(file_hash).execute(&mut *tx).await?.rows_affected()
                });
                Ok(revived > 0)
            }
        }
    }

    /// Notes a file that nothing names.
    pub async fn file_set_dead(&self, kind: &str, file_hash: &[u8], file_size: i64, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(INSERT_DEAD_FILE)
                .bind(kind)
                .bind(file_hash)
                .bind(file_size)
                .bind(now)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Takes some files that are dead since `before` and that nothing came to name; nobody else can publish them until they are
    /// forgotten. What another server took and did not forget within `lease` (ms) is taken too. `None` when there is nothing left
    /// to do; an empty list when there is more.
    pub async fn dead_files_take(&self, before: i64, lease: i64, now: i64) -> Result<Option<Vec<DeadFile>>> {
        Ok(transact!(self, |tx| {
            let dead: Vec<DeadFile> = sqlx::query_as(LIST_DEAD_FILES)
                .bind(before)
                .bind(now - lease)
                // A clock that went back.
                .bind(now + lease)
                .fetch_all(&mut *tx)
                .await?;
            let is_empty = dead.is_empty();
            let mut taken = Vec::new();
            for file in dead {
                let needed = if file.kind == "nar" { IS_NAR_FILE_NEEDED } else { IS_LOG_FILE_NEEDED };
                let names: i64 = sqlx::query_scalar(needed).bind(&file.file_hash).fetch_one(&mut *tx).await?;
                if names > 0 {
                    sqlx::query(DELETE_DEAD_FILE).bind(&file.kind).bind(&file.file_hash).execute(&mut *tx).await?;
                } else {
                    let took = sqlx::query(TAKE_DEAD_FILE)
                        .bind(&file.kind)
                        .bind(&file.file_hash)
                        .bind(now)
                        .bind(now - lease)
                        .bind(now + lease)
                        .execute(&mut *tx)
                        .await?;
                    if took.rows_affected() > 0 {
                        taken.push(file);
                    }
                }
            }
            (!is_empty).then_some(taken)
        }))
    }

    /// Whether a file still belongs to whoever took it at that moment.
    pub async fn dead_file_is_taken(&self, file: &DeadFile, taken_at: i64) -> Result<bool> {
        let taken: i64 = read!(self, |pool| sqlx::query_scalar(IS_DEAD_FILE_TAKEN)
            .bind(&file.kind)
            .bind(&file.file_hash)
            .bind(taken_at)
            .fetch_one(pool)
            .await?);
        Ok(taken > 0)
    }

    /// Lets go of the files that were taken before a moment, by a server which is known to be gone.
    pub async fn dead_files_release(&self, taken_before: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(RELEASE_DEAD_FILES).bind(taken_before).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Forgets files that were removed by whoever took them at that moment. Those that somebody else took since are theirs.
    pub async fn dead_files_forget(&self, files: &[DeadFile], taken_at: i64) -> Result<()> {
        transact!(self, |tx| {
            for file in files {
                sqlx::query(FORGET_DEAD_FILE)
                    .bind(&file.kind)
                    .bind(&file.file_hash)
                    .bind(taken_at)
                    .execute(&mut *tx)
                    .await?;
            }
        });
        Ok(())
    }

    /// Files on their way out, and their bytes.
    pub async fn dead_file_count(&self) -> Result<(i64, i64)> {
        Ok(read!(self, |pool| sqlx::query_as(COUNT_DEAD_FILES).fetch_one(pool).await?))
    }

    /// Which of these files anything names.
    pub async fn files_needed(&self, kind: &str, hashes: &[&[u8]]) -> Result<HashSet<Vec<u8>>> {
        let marks = placeholders(1, hashes.len());
        let sql = match kind {
            "nar" => format!(
                "SELECT file_hash FROM nar WHERE file_hash IN ({marks}) \
                 UNION SELECT file_hash FROM put_nar WHERE file_hash IN ({marks})"
            ),
            _ => format!("SELECT file_hash FROM build_log WHERE file_hash IN ({marks})"),
        };
        let found: Vec<Vec<u8>> = read!(self, |pool| {
            let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
            for hash in hashes {
                query = query.bind(*hash);
            }
            query.fetch_all(pool).await?
        });
        Ok(found.into_iter().collect())
    }
}
