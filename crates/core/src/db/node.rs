//! Statements about nodes.

use super::*;
use sqlx::FromRow;

statements! {
    PUT_NODE = "INSERT INTO node (name, kind, secret_hash, created_at, created_by) VALUES ($1, $2, $3, $4, $5)";
    RENEW_NODE = "UPDATE node SET secret_hash = $2 WHERE name = $1 AND kind = $3";
    LIST_NODES = "SELECT n.id, n.name, n.kind, n.epoch, n.systems, n.features, n.capacity, n.is_draining, n.version, n.nix_version, \
        n.last_seen_at, n.created_by, (SELECT COUNT(*) FROM run r WHERE r.node_id = n.id AND r.state IN ('starting', 'running')) AS running \
        FROM node n ORDER BY n.name";
    FIND_NODE = "SELECT n.id, n.name, n.kind, n.epoch, n.systems, n.features, n.capacity, n.is_draining, n.version, n.nix_version, \
        n.last_seen_at, n.created_by, (SELECT COUNT(*) FROM run r WHERE r.node_id = n.id AND r.state IN ('starting', 'running')) AS running \
        FROM node n WHERE n.secret_hash = $1";
    FIND_NODE_OF_RUN = "SELECT n.id, n.name, n.kind, n.epoch, n.systems, n.features, n.capacity, n.is_draining, n.version, n.nix_version, \
        n.last_seen_at, n.created_by, CAST(0 AS BIGINT) AS running FROM node n JOIN run o ON o.node_id = n.id WHERE o.id = $1 AND o.token_hash = $2 \
        AND o.state IN ('starting', 'running')";
    GREET_NODE = "UPDATE node SET epoch = $2, systems = $3, features = $4, capacity = $5, version = $6, nix_version = $7, last_seen_at = $8 \
        WHERE id = $1";
    SEE_NODE = "UPDATE node SET last_seen_at = $2 WHERE id = $1 AND (last_seen_at IS NULL OR last_seen_at < $2)";
    DRAIN_NODE = "UPDATE node SET is_draining = $2 WHERE name = $1";
    DELETE_NODE = "DELETE FROM node WHERE name = $1";
    LOSE_RUNS_OF = "UPDATE run SET lease_until = 0 WHERE node_id IN (SELECT id FROM node WHERE name = $1) AND state IN ('starting', 'running')";
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct NodeFound {
    pub id: i64,
    pub name: String,
    pub kind: String,
    pub epoch: String,
    /// JSON arrays of text.
    pub systems: String,
    pub features: String,
    pub capacity: i64,
    pub is_draining: bool,
    pub version: String,
    pub nix_version: String,
    pub last_seen_at: Option<i64>,
    pub created_by: String,
    pub running: i64,
}

/// What a node said of itself.
pub(crate) struct Greeting<'a> {
    pub epoch: &'a str,
    /// JSON arrays of text.
    pub systems: &'a str,
    pub features: &'a str,
    pub capacity: i64,
    pub version: &'a str,
    pub nix_version: &'a str,
}

impl Db {
    /// False where the name is taken.
    pub async fn node_insert(&self, name: &str, kind: &str, secret_hash: &[u8], audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let inserted = sqlx::query(PUT_NODE)
                .bind(name)
                .bind(kind)
                .bind(secret_hash)
                .bind(audit.at)
                .bind(&audit.actor)
                .execute(&mut *tx)
                .await;
            match inserted {
                Err(error) if is_duplicate(&error) => return Ok(false),
                inserted => inserted?,
            };
            audit!(tx, audit);
            true
        }))
    }

    /// Gives a node of this name and kind another secret. False where there is none.
    pub async fn node_renew(&self, name: &str, kind: &str, secret_hash: &[u8]) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let renewed = sqlx::query(RENEW_NODE).bind(name).bind(secret_hash).bind(kind).execute(&mut *tx).await?;
            renewed.rows_affected() > 0
        }))
    }

    pub async fn node_list(&self) -> Result<Vec<NodeFound>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_NODES).fetch_all(pool).await?))
    }

    pub async fn node_find(&self, secret_hash: &[u8]) -> Result<Option<NodeFound>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_NODE).bind(secret_hash).fetch_optional(pool).await?))
    }

    /// The node that has a run, by what the run pushes with.
    pub async fn node_of_run(&self, id: i64, token_hash: &[u8]) -> Result<Option<NodeFound>> {
        Ok(read!(self, |pool| sqlx::query_as(FIND_NODE_OF_RUN).bind(id).bind(token_hash).fetch_optional(pool).await?))
    }

    /// Notes what a node says of itself. Where it started anew, the leases of what it had are over.
    pub async fn node_greet(&self, node: &NodeFound, greeting: &Greeting<'_>, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(GREET_NODE)
                .bind(node.id)
                .bind(greeting.epoch)
                .bind(greeting.systems)
                .bind(greeting.features)
                .bind(greeting.capacity)
                .bind(greeting.version)
                .bind(greeting.nix_version)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            if node.epoch != greeting.epoch {
                sqlx::query(LOSE_RUNS_OF).bind(&node.name).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    pub async fn node_seen(&self, id: i64, now: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(SEE_NODE).bind(id).bind(now).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// False where there is none of this name.
    pub async fn node_drain(&self, name: &str, is_draining: bool, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let drained = sqlx::query(DRAIN_NODE).bind(name).bind(is_draining).execute(&mut *tx).await?.rows_affected();
            if drained > 0 {
                audit!(tx, audit);
            }
            drained > 0
        }))
    }

    /// Removes a node; what it has goes to others. False where there is none of this name.
    pub async fn node_delete(&self, name: &str, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            sqlx::query(LOSE_RUNS_OF).bind(name).execute(&mut *tx).await?;
            let gone = sqlx::query(DELETE_NODE).bind(name).execute(&mut *tx).await?.rows_affected();
            if gone > 0 {
                audit!(tx, audit);
            }
            gone > 0
        }))
    }
}
