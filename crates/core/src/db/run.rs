//! Statements about runs: the queue, what nodes tell, and logs.

use super::*;
use sqlx::FromRow;

/// A statement that gives [`RunFound`], with its end.
macro_rules! runs {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.builder_id, b.name AS builder, b.cache_id, r.state, r.trigger, r.triggered_by, r.reference, r.commit_hash, ",
            "r.subject, r.priority, r.systems, r.attempt, r.node_name, r.cancelled_by, r.line_count, r.queued_at, r.started_at, ",
            "r.ended_at, r.reason FROM run r JOIN builder b ON b.id = r.builder_id ",
            $rest
        )
    };
}

statements! {
    INSERT_RUN = "INSERT INTO run (builder_id, state, trigger, triggered_by, reference, commit_hash, priority, systems, tries_again, dedupe, queued_at) \
        VALUES ($1, 'queued', $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id";
    FIND_QUEUED = "SELECT id FROM run WHERE builder_id = $1 AND dedupe = $2 AND state = 'queued'";
    COUNT_RUNS_SINCE = "SELECT COUNT(*) FROM run WHERE builder_id = $1 AND trigger = $2 AND queued_at >= $3";
    GET_RUN = runs!("WHERE r.id = $1");
    LIST_RUNS_OF = runs!("WHERE r.builder_id = $1 AND r.id < $2 ORDER BY r.id DESC LIMIT $3");
    LIST_OPEN_RUNS = runs!("WHERE r.state IN ('queued', 'starting', 'running') \
        ORDER BY r.priority DESC, r.id LIMIT $1");
    COUNT_OPEN_RUNS = "SELECT state, COUNT(*), MIN(queued_at) FROM run WHERE state IN ('queued', 'starting', 'running') GROUP BY state";
    LIST_LAST_RUNS = runs!("WHERE r.id IN (SELECT o.id FROM run o WHERE o.builder_id = r.builder_id ORDER BY o.id DESC LIMIT 12) ORDER BY r.id DESC");
    LIST_RECENT_RUNS = runs!("WHERE r.ended_at IS NOT NULL ORDER BY r.id DESC LIMIT $1");
    LIST_EARLIER = "SELECT ended_at - started_at FROM run WHERE builder_id = $1 AND id < $2 AND state = 'succeeded' ORDER BY id DESC LIMIT 10";
    LIST_CANDIDATES = "SELECT r.id, r.builder_id, r.systems, \
        (SELECT COUNT(*) FROM run o WHERE o.builder_id = r.builder_id AND o.state IN ('starting', 'running')) AS running, \
        (SELECT MAX(o.started_at) FROM run o WHERE o.builder_id = r.builder_id) AS last_started_at, b.spec \
        FROM run r JOIN builder b ON b.id = r.builder_id WHERE r.state = 'queued' ORDER BY r.priority DESC, running, \
        COALESCE((SELECT MAX(o.started_at) FROM run o WHERE o.builder_id = r.builder_id), 0), r.id LIMIT 500";
    CLAIM_RUN = "UPDATE run SET state = 'starting', attempt = attempt + 1, node_id = $2, node_name = $3, lease = $4, lease_until = $5, \
        token_hash = $6, next_event = 0, started_at = $7, reason = '' WHERE id = $1 AND state = 'queued' \
        AND (SELECT COUNT(*) FROM run o WHERE o.builder_id = run.builder_id AND o.state IN ('starting', 'running')) < $8 \
        AND EXISTS (SELECT 1 FROM node n WHERE n.id = $2 AND NOT n.is_draining \
        AND (SELECT COUNT(*) FROM run o WHERE o.node_id = n.id AND o.state IN ('starting', 'running')) < n.capacity)";
    LOCK_BUILDER = "UPDATE builder SET revision = revision WHERE id = $1";
    VOID_RUN = "DELETE FROM run WHERE id = $1";
    LAST_COMMIT = "SELECT commit_hash FROM run WHERE builder_id = $1 AND id <> $2 AND commit_hash IS NOT NULL \
        AND reference = (SELECT reference FROM run WHERE id = $2) ORDER BY id DESC LIMIT 1";
    GET_CLAIMED = "SELECT r.id, r.attempt, r.reference, r.commit_hash, r.tries_again, r.trigger, b.name AS builder, b.cache_id, b.credential \
        FROM run r JOIN builder b ON b.id = r.builder_id WHERE r.id = $1";
    GET_HELD = "SELECT state, next_event, line_count, cancelled_by, reason FROM run WHERE id = $1 AND node_id = $2 AND lease = $3 \
        AND state IN ('starting', 'running')";
    ADVANCE_RUN = "UPDATE run SET state = CASE WHEN $7 = '' THEN 'running' ELSE state END, reason = CASE WHEN state = 'starting' THEN $7 ELSE reason END, \
        next_event = $2, line_count = $3, lease_until = $4 WHERE id = $1 AND lease = $5 AND next_event = $6";
    SET_COMMIT = "UPDATE run SET commit_hash = $2, subject = $3 WHERE id = $1";
    FINISH_RUN = "UPDATE run SET state = $2, ended_at = $4, \
        reason = CASE WHEN $2 = 'cancelled' AND cancelled_by IS NOT NULL THEN 'cancelled by ' || cancelled_by ELSE $3 END, lease = NULL, lease_until = NULL, token_hash = NULL WHERE id = $1";
    SKIP_REST = "UPDATE run_derivation SET state = 'skipped' WHERE run_id = $1 AND state IN ('queued', 'building')";
    PUT_DERIVATION = "INSERT INTO run_derivation (run_id, number, drv, state, started_at, ended_at, reason) VALUES ($1, $2, $3, $4, $5, $6, $7) \
        ON CONFLICT (run_id, number) DO UPDATE SET drv = excluded.drv, state = excluded.state, \
        started_at = COALESCE(excluded.started_at, run_derivation.started_at), ended_at = excluded.ended_at, reason = excluded.reason";
    PUT_RUN_PATH = "INSERT INTO run_path (run_id, path, nar_size) VALUES ($1, $2, $3) ON CONFLICT (run_id, path) DO NOTHING";
    INSERT_LOG = "INSERT INTO run_log (run_id, first_line, line_count, lines) VALUES ($1, $2, $3, $4)";
    LIST_RUN_DERIVATIONS = "SELECT number, drv, state, started_at, ended_at, reason FROM run_derivation WHERE run_id = $1 ORDER BY number LIMIT 20000";
    LIST_RUN_PATHS = "SELECT path, nar_size FROM run_path WHERE run_id = $1 ORDER BY path LIMIT 20000";
    FORGET_ATTEMPT = "DELETE FROM run_derivation WHERE run_id = $1";
    CANCEL_QUEUED = "UPDATE run SET state = 'cancelled', ended_at = $2, cancelled_by = $3, reason = $4 WHERE id = $1 AND state = 'queued'";
    ASK_CANCEL = "UPDATE run SET cancelled_by = $2 WHERE id = $1 AND state IN ('starting', 'running') AND cancelled_by IS NULL";
    LIST_LOST = "SELECT id, attempt, node_name, line_count, cancelled_by FROM run WHERE state IN ('starting', 'running') AND lease_until < $1 LIMIT 100";
    REQUEUE_RUN = "UPDATE run SET state = 'queued', node_id = NULL, lease = NULL, lease_until = NULL, token_hash = NULL, line_count = $3, reason = $4, \
        dedupe = NULL WHERE id = $1 AND lease_until < $2 AND state IN ('starting', 'running')";
    FIND_RUN_TOKEN = "SELECT r.id, b.name AS builder, b.cache_id, r.lease_until FROM run r JOIN builder b ON b.id = r.builder_id \
        WHERE r.token_hash = $1 AND r.state IN ('starting', 'running')";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct RunFound {
    pub id: i64,
    pub builder_id: i64,
    pub builder: String,
    pub cache_id: i64,
    pub state: String,
    pub trigger: String,
    pub triggered_by: String,
    pub reference: String,
    pub commit_hash: Option<String>,
    pub subject: String,
    pub priority: i64,
    pub systems: String,
    pub attempt: i64,
    pub node_name: Option<String>,
    pub cancelled_by: Option<String>,
    pub line_count: i64,
    pub queued_at: i64,
    pub started_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub reason: String,
}

pub(crate) struct NewRun<'a> {
    pub builder_id: i64,
    pub trigger: &'a str,
    pub triggered_by: &'a str,
    pub reference: &'a str,
    pub commit: Option<&'a str>,
    pub priority: i64,
    /// A JSON array of text.
    pub systems: &'a str,
    pub tries_again: bool,
    pub dedupe: Option<&'a str>,
    pub queued_at: i64,
}

/// A queued run in the order of the queue.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Candidate {
    pub id: i64,
    pub builder_id: i64,
    pub systems: String,
    pub running: i64,
    pub spec: String,
}

pub(crate) struct Claim<'a> {
    pub node_id: i64,
    pub node_name: &'a str,
    pub lease: &'a str,
    pub lease_until: i64,
    pub token_hash: &'a [u8],
    pub now: i64,
    /// Runs of its builder at a time.
    pub most: i64,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct ClaimedRow {
    pub id: i64,
    pub attempt: i64,
    pub reference: String,
    pub commit_hash: Option<String>,
    pub tries_again: bool,
    pub trigger: String,
    pub builder: String,
    pub cache_id: i64,
    pub credential: Option<Vec<u8>>,
}

/// A run as its node has it.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct HeldRun {
    pub state: String,
    pub next_event: i64,
    pub line_count: i64,
    pub cancelled_by: Option<String>,
    pub reason: String,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct RunDerivationRow {
    pub number: i64,
    pub drv: String,
    pub state: String,
    pub started_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub reason: String,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct LostRun {
    pub id: i64,
    pub attempt: i64,
    pub node_name: Option<String>,
    pub line_count: i64,
    pub cancelled_by: Option<String>,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct RunToken {
    pub id: i64,
    pub builder: String,
    pub cache_id: i64,
}

/// What a report changes, put together before the transaction.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub commit: Option<(String, String)>,
    pub derivations: Vec<RunDerivationRow>,
    /// Paths and the sizes of their NARs.
    pub paths: Vec<(String, i64)>,
    pub line_count: i64,
    pub lines: Vec<u8>,
    /// The state that it ends in, and why.
    pub finished: Option<(&'static str, String)>,
    /// The run did nothing, and is removed.
    pub is_void: bool,
    /// Events in all.
    pub events: i64,
    /// Why nothing is executed yet; empty where something is.
    pub waiting: String,
}

/// What became of a report.
pub(crate) enum Taken {
    /// The node does not have the run any more.
    Lost,
    /// The same node tells of it at this moment.
    Busy,
    /// The events up to this number are there; where `told` did not begin there, none of it was taken.
    At { next_event: i64, cancel: bool, is_news: bool },
}

impl Db {
    /// The run and whether it is a new one: a queued one with the same key stands for both.
    pub async fn run_insert(&self, new: &NewRun<'_>, audit: Option<&Audit>) -> Result<(i64, bool)> {
        Ok(transact!(self, |tx| {
            // One at a time for a builder, so that the same key is not queued twice.
            sqlx::query(LOCK_BUILDER).bind(new.builder_id).execute(&mut *tx).await?;
            if let Some(dedupe) = new.dedupe {
                let queued: Option<i64> =
                    sqlx::query_scalar(FIND_QUEUED).bind(new.builder_id).bind(dedupe).fetch_optional(&mut *tx).await?;
                if let Some(id) = queued {
                    return Ok((id, false));
                }
            }
            let id: i64 = sqlx::query_scalar(INSERT_RUN)
                .bind(new.builder_id)
                .bind(new.trigger)
                .bind(new.triggered_by)
                .bind(new.reference)
                .bind(new.commit)
                .bind(new.priority)
                .bind(new.systems)
                .bind(new.tries_again)
                .bind(new.dedupe)
                .bind(new.queued_at)
                .fetch_one(&mut *tx)
                .await?;
            if let Some(audit) = audit {
                audit!(tx, audit);
            }
            (id, true)
        }))
    }

    /// Whether a run of a builder with this trigger was queued at a moment or later.
    pub async fn run_is_since(&self, builder_id: i64, trigger: &str, since: i64) -> Result<bool> {
        let runs: i64 = read!(self, |pool| sqlx::query_scalar(COUNT_RUNS_SINCE)
            .bind(builder_id)
            .bind(trigger)
            .bind(since)
            .fetch_one(pool)
            .await?);
        Ok(runs > 0)
    }

    pub async fn run_get(&self, id: i64) -> Result<Option<RunFound>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_RUN).bind(id).fetch_optional(pool).await?))
    }

    /// The newest runs of a builder before `before`.
    pub async fn run_list(&self, builder_id: i64, before: i64, most: i64) -> Result<Vec<RunFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_RUNS_OF)
            .bind(builder_id)
            .bind(before)
            .bind(most)
            .fetch_all(pool)
            .await?))
    }

    /// Runs that are not over, in the order of the queue.
    pub async fn run_list_open(&self, most: i64) -> Result<Vec<RunFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_OPEN_RUNS).bind(most).fetch_all(pool).await?))
    }

    /// The runs that are over, the newest first.
    pub async fn run_list_recent(&self, most: i64) -> Result<Vec<RunFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_RECENT_RUNS).bind(most).fetch_all(pool).await?))
    }

    /// The newest dozen runs of each builder, the newest first.
    pub async fn run_list_last(&self) -> Result<Vec<RunFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_LAST_RUNS).fetch_all(pool).await?))
    }

    /// How long earlier runs of a builder took that succeeded, in milliseconds.
    pub async fn run_earlier(&self, builder_id: i64, id: i64) -> Result<Vec<i64>> {
        Ok(read!(self, |pool| sqlx::query_scalar(LIST_EARLIER).bind(builder_id).bind(id).fetch_all(pool).await?))
    }

    pub async fn run_candidates(&self) -> Result<Vec<Candidate>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_CANDIDATES).fetch_all(pool).await?))
    }

    /// Gives a queued run to a node. `None` where another one was faster, or its builder has enough of them.
    pub async fn run_claim(&self, candidate: &Candidate, claim: &Claim<'_>) -> Result<Option<ClaimedRow>> {
        Ok(transact!(self, |tx| {
            sqlx::query(LOCK_BUILDER).bind(candidate.builder_id).execute(&mut *tx).await?;
            let claimed = sqlx::query(CLAIM_RUN)
                .bind(candidate.id)
                .bind(claim.node_id)
                .bind(claim.node_name)
                .bind(claim.lease)
                .bind(claim.lease_until)
                .bind(claim.token_hash)
                .bind(claim.now)
                .bind(claim.most)
                .execute(&mut *tx)
                .await?;
            if claimed.rows_affected() == 0 {
                return Ok(None);
            }
            sqlx::query(FORGET_ATTEMPT).bind(candidate.id).execute(&mut *tx).await?;
            Some(sqlx::query_as(GET_CLAIMED).bind(candidate.id).fetch_one(&mut *tx).await?)
        }))
    }

    /// Takes what a node tells of a run that it has, once.
    pub async fn run_tell(
        &self,
        (id, node_id, lease): (i64, i64, &str),
        first: i64,
        told: &Told,
        lease_until: i64,
        now: i64,
    ) -> Result<Taken> {
        Ok(transact!(self, |tx| {
            let held: Option<HeldRun> =
                sqlx::query_as(GET_HELD).bind(id).bind(node_id).bind(lease).fetch_optional(&mut *tx).await?;
            let Some(held) = held else { return Ok(Taken::Lost) };
            let is_next = held.next_event == first;
            let told_nothing = Told { waiting: told.waiting.clone(), ..Told::default() };
            let told = if is_next { told } else { &told_nothing };
            let next_event = held.next_event + told.events;
            // Whoever tells at the same moment finds another number, and takes nothing.
            let advanced = sqlx::query(ADVANCE_RUN)
                .bind(id)
                .bind(next_event)
                .bind(held.line_count + told.line_count)
                .bind(lease_until)
                .bind(lease)
                .bind(held.next_event)
                .bind(&told.waiting)
                .execute(&mut *tx)
                .await?;
            if advanced.rows_affected() == 0 {
                return Ok(Taken::Busy);
            }
            if let Some((commit, subject)) = &told.commit {
                sqlx::query(SET_COMMIT).bind(id).bind(commit).bind(subject).execute(&mut *tx).await?;
            }
            for row in &told.derivations {
                sqlx::query(PUT_DERIVATION)
                    .bind(id)
                    .bind(row.number)
                    .bind(&row.drv)
                    .bind(&row.state)
                    .bind(row.started_at)
                    .bind(row.ended_at)
                    .bind(&row.reason)
                    .execute(&mut *tx)
                    .await?;
            }
            for (path, nar_size) in &told.paths {
                sqlx::query(PUT_RUN_PATH).bind(id).bind(path).bind(nar_size).execute(&mut *tx).await?;
            }
            if told.line_count > 0 {
                sqlx::query(INSERT_LOG)
                    .bind(id)
                    .bind(held.line_count)
                    .bind(told.line_count)
                    .bind(&told.lines)
                    .execute(&mut *tx)
                    .await?;
            }
            if let Some((state, reason)) = &told.finished {
                sqlx::query(SKIP_REST).bind(id).execute(&mut *tx).await?;
                sqlx::query(FINISH_RUN).bind(id).bind(state).bind(reason).bind(now).execute(&mut *tx).await?;
                if told.is_void {
                    sqlx::query(VOID_RUN).bind(id).execute(&mut *tx).await?;
                }
            }
            Taken::At {
                next_event,
                cancel: held.cancelled_by.is_some(),
                is_news: told.events > 0
                    || held.state == "starting" && (told.waiting.is_empty() || told.waiting != held.reason),
            }
        }))
    }

    /// The newest commit of the same reference that another run of the builder had.
    pub async fn run_last_commit(&self, builder_id: i64, id: i64) -> Result<Option<String>> {
        Ok(read!(self, |pool| sqlx::query_scalar(LAST_COMMIT).bind(builder_id).bind(id).fetch_optional(pool).await?))
    }

    /// Whether the node has the run.
    pub async fn run_is_held(&self, id: i64, node_id: i64, lease: &str) -> Result<bool> {
        let held: Option<HeldRun> = read!(self, |pool| sqlx::query_as(GET_HELD)
            .bind(id)
            .bind(node_id)
            .bind(lease)
            .fetch_optional(pool)
            .await?);
        Ok(held.is_some())
    }

    /// Of these derivations, those whose newest build failed, in caches below the same builder's.
    pub async fn run_failed_before(&self, drvs: &[String]) -> Result<Vec<String>> {
        let mut failed = Vec::new();
        for some in drvs.chunks(CHUNK) {
            let sql = format!(
                "SELECT d.drv FROM run_derivation d WHERE d.drv IN ({}) GROUP BY d.drv HAVING \
                 MAX(CASE WHEN d.state = 'failed' AND d.reason LIKE '%exit code%' THEN d.run_id ELSE 0 END) > \
                 MAX(CASE WHEN d.state = 'built' THEN d.run_id ELSE 0 END)",
                placeholders(1, some.len())
            );
            let rows: Vec<String> = read!(self, |pool| {
                let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
                for drv in some {
                    query = query.bind(drv);
                }
                query.fetch_all(pool).await?
            });
            failed.extend(rows);
        }
        Ok(failed)
    }

    pub async fn run_derivations(&self, id: i64) -> Result<Vec<RunDerivationRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_RUN_DERIVATIONS).bind(id).fetch_all(pool).await?))
    }

    pub async fn run_paths(&self, id: i64) -> Result<Vec<(String, i64)>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_RUN_PATHS).bind(id).fetch_all(pool).await?))
    }

    /// Ends a queued run, or asks the node that has it to. False where it is over or ending already.
    pub async fn run_cancel(&self, id: i64, reason: &str, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let mut changed = sqlx::query(CANCEL_QUEUED)
                .bind(id)
                .bind(audit.at)
                .bind(&audit.actor)
                .bind(reason)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            changed += sqlx::query(ASK_CANCEL).bind(id).bind(&audit.actor).execute(&mut *tx).await?.rows_affected();
            if changed > 0 {
                audit!(tx, audit);
            }
            changed > 0
        }))
    }

    /// Runs whose node was not heard of in time.
    pub async fn run_list_lost(&self, now: i64) -> Result<Vec<LostRun>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_LOST).bind(now).fetch_all(pool).await?))
    }

    /// Takes a run from a node that is lost: into the queue again, or to its end. The words go into its log, as a line.
    pub async fn run_lost(&self, lost: &LostRun, finish: Option<&'static str>, words: &str, now: i64) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let requeued = sqlx::query(REQUEUE_RUN)
                .bind(lost.id)
                .bind(now)
                .bind(lost.line_count + 1)
                .bind(words)
                .execute(&mut *tx)
                .await?;
            if requeued.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(INSERT_LOG)
                .bind(lost.id)
                .bind(lost.line_count)
                .bind(1_i64)
                .bind(format!("\t{words}\n").into_bytes())
                .execute(&mut *tx)
                .await?;
            if let Some(state) = finish {
                sqlx::query(SKIP_REST).bind(lost.id).execute(&mut *tx).await?;
                sqlx::query(FINISH_RUN).bind(lost.id).bind(state).bind(words).bind(now).execute(&mut *tx).await?;
            }
            true
        }))
    }

    /// States that are not an end, with their runs and when the first of these was queued.
    pub async fn run_count_open(&self) -> Result<Vec<(String, i64, i64)>> {
        Ok(read!(self, |pool| sqlx::query_as(COUNT_OPEN_RUNS).fetch_all(pool).await?))
    }

    pub async fn run_token(&self, token_hash: &[u8]) -> Result<Option<RunToken>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_RUN_TOKEN).bind(token_hash).fetch_optional(pool).await?))
    }
}
