//! Statements about the keys of caches: those the server signs with, and those of people who sign themselves.

use super::*;
use sqlx::FromRow;

statements! {
    INSERT_KEY = "INSERT INTO signing_key (cache_id, name, public_key, sealed_seed, created_at, resigned_at) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    LIST_KEYS = "SELECT id, cache_id, name, public_key, sealed_seed, created_at, retired_at, resigned_after, resigned_at \
        FROM signing_key ORDER BY cache_id, id";
    LIST_CLIENT_KEYS = "SELECT cache_id, name, public_key, created_at, created_by FROM client_key ORDER BY cache_id, id";
    // Two that retire each other's key would leave none.
    RETIRE_KEY = "UPDATE signing_key SET retired_at = $3 WHERE cache_id = $1 AND name = $2 AND retired_at IS NULL AND EXISTS \
        (SELECT 1 FROM signing_key k WHERE k.cache_id = $1 AND k.name <> $2 AND k.retired_at IS NULL AND k.resigned_at IS NOT NULL)";
    HAS_SEALED = "SELECT EXISTS (SELECT 1 FROM signing_key) OR EXISTS (SELECT 1 FROM builder WHERE credential IS NOT NULL OR status_token IS NOT NULL)";
    RETIRE_LOST_KEY = "UPDATE signing_key SET retired_at = $2 WHERE id = $1";
    INSERT_CLIENT_KEY = "INSERT INTO client_key (cache_id, name, public_key, created_at, created_by) VALUES ($1, $2, $3, $4, $5)";
    DELETE_CLIENT_KEY = "DELETE FROM client_key WHERE cache_id = $1 AND name = $2";
    LIST_TO_RESIGN = "SELECT p.id, p.hash, p.name, p.nar_size, p.refs, p.signatures, n.nar_hash FROM store_path p \
        JOIN nar n ON n.id = p.nar_id WHERE p.cache_id = $1 AND p.id > $2 ORDER BY p.id LIMIT 500";
    COUNT_TO_RESIGN = "SELECT COUNT(*) FROM store_path WHERE cache_id = $1 AND id > $2";
    RESIGN_PATH = "UPDATE store_path SET signatures = $2 WHERE id = $1 AND signatures = $3";
    NOTE_RESIGNED = "UPDATE signing_key SET resigned_after = $2, resigned_at = $3 WHERE id = $1";
}

/// A key that has signed nothing of what is there yet.
macro_rules! insert_key {
    ($tx:ident, $cache_id:expr, $key:expr, $at:expr) => {
        sqlx::query(INSERT_KEY)
            .bind($cache_id)
            .bind(&$key.name)
            .bind(&$key.public_key[..])
            .bind(&$key.sealed_seed)
            .bind($at)
            .bind(None::<i64>)
            .execute(&mut *$tx)
            .await?
    };
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct KeyRow {
    pub id: i64,
    pub cache_id: i64,
    pub name: String,
    pub public_key: Vec<u8>,
    pub sealed_seed: Vec<u8>,
    pub created_at: i64,
    pub retired_at: Option<i64>,
    pub resigned_after: i64,
    pub resigned_at: Option<i64>,
}

#[derive(Clone, Debug, FromRow)]
pub(crate) struct ClientKeyRow {
    pub cache_id: i64,
    pub name: String,
    pub public_key: Vec<u8>,
    pub created_at: i64,
    pub created_by: String,
}

#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub name: String,
    pub public_key: [u8; 32],
    pub sealed_seed: Vec<u8>,
}

/// Keys of a cache that nobody can sign with any more, and the one that comes in their place.
pub(crate) struct ReplacedKeys {
    pub cache_id: i64,
    /// Their numbers.
    pub lost: Vec<i64>,
    pub new: Option<NewKey>,
    pub audit: Audit,
}

/// All that a signature of a path covers, and the signatures it has.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct SignedRow {
    pub id: i64,
    pub hash: String,
    pub name: String,
    pub nar_size: i64,
    pub refs: String,
    pub signatures: String,
    pub nar_hash: Vec<u8>,
}

/// New signature lines of a path whose old ones are still these.
pub(crate) struct Resigned {
    pub path_id: i64,
    pub old: String,
    pub new: String,
}

impl Db {
    pub async fn key_list(&self) -> Result<Vec<KeyRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_KEYS).fetch_all(pool).await?))
    }

    pub async fn client_key_list(&self) -> Result<Vec<ClientKeyRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_CLIENT_KEYS).fetch_all(pool).await?))
    }

    /// Adds a key that signs from now on; what is older is signed again by and by.
    pub async fn key_insert(&self, cache_id: i64, key: &NewKey, audit: &Audit) -> Result<()> {
        let insert = async {
            transact!(self, |tx| {
                // A push that is stored at this moment either sees the key, or is seen by who signs what is older.
                sqlx::query(aside::LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
                insert_key!(tx, cache_id, key, audit.at);
                audit!(tx, audit);
                bump!(tx);
            });
            Ok::<(), sqlx::Error>(())
        };
        insert.await.map_err(|error| taken(error, &key.name))
    }

    /// Retires keys that nobody can sign with, and adds those that come in their place: all of it or nothing.
    pub async fn keys_replace(&self, replaced: &[ReplacedKeys]) -> Result<()> {
        transact!(self, |tx| {
            for ReplacedKeys { cache_id, lost, new, audit } in replaced {
                sqlx::query(aside::LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
                for id in lost {
                    sqlx::query(RETIRE_LOST_KEY).bind(id).bind(audit.at).execute(&mut *tx).await?;
                }
                if let Some(key) = new {
                    insert_key!(tx, cache_id, key, audit.at);
                }
                audit!(tx, audit);
            }
            bump!(tx);
        });
        Ok(())
    }

    /// Whether anything here was sealed by a master key.
    pub async fn has_sealed(&self) -> Result<bool> {
        Ok(read!(self, |pool| sqlx::query_scalar(HAS_SEALED).fetch_one(pool).await?))
    }

    /// Takes a key out of use. False when no active key is called so, or no other one has signed everything.
    pub async fn key_retire(&self, cache_id: i64, name: &str, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            sqlx::query(aside::LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
            let retired = sqlx::query(RETIRE_KEY).bind(cache_id).bind(name).bind(audit.at).execute(&mut *tx).await?;
            audit!(tx, audit);
            bump!(tx);
            retired.rows_affected() > 0
        }))
    }

    pub async fn client_key_insert(&self, cache_id: i64, name: &str, public_key: &[u8], audit: &Audit) -> Result<()> {
        let insert = async {
            transact!(self, |tx| {
                sqlx::query(INSERT_CLIENT_KEY)
                    .bind(cache_id)
                    .bind(name)
                    .bind(public_key)
                    .bind(audit.at)
                    .bind(&audit.actor)
                    .execute(&mut *tx)
                    .await?;
                audit!(tx, audit);
                bump!(tx);
            });
            Ok::<(), sqlx::Error>(())
        };
        insert.await.map_err(|error| taken(error, name))
    }

    /// False when no client key is called so.
    pub async fn client_key_delete(&self, cache_id: i64, name: &str, audit: &Audit) -> Result<bool> {
        Ok(transact!(self, |tx| {
            let deleted = sqlx::query(DELETE_CLIENT_KEY).bind(cache_id).bind(name).execute(&mut *tx).await?;
            audit!(tx, audit);
            bump!(tx);
            deleted.rows_affected() > 0
        }))
    }

    /// The next paths of a cache, in the order in which they came.
    pub async fn resign_list(&self, cache_id: i64, after: i64) -> Result<Vec<SignedRow>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_TO_RESIGN).bind(cache_id).bind(after).fetch_all(pool).await?))
    }

    /// How many paths of a cache came after this one.
    pub async fn resign_count(&self, cache_id: i64, after: i64) -> Result<i64> {
        Ok(read!(self, |pool| sqlx::query_scalar(COUNT_TO_RESIGN).bind(cache_id).bind(after).fetch_one(pool).await?))
    }

    /// Adds signatures, and notes how far a key of a cache has come. False where signatures changed meanwhile: these paths are to be
    /// looked at again.
    pub async fn resign(&self, (cache_id, key_id): (i64, i64), paths: &[Resigned], after: i64) -> Result<bool> {
        Ok(transact!(self, |tx| {
            // Whoever merges signatures into a path has read them before.
            sqlx::query(aside::LOCK_CACHE).bind(cache_id).execute(&mut *tx).await?;
            let mut signed = 0;
            for path in paths {
                let query = sqlx::query(RESIGN_PATH).bind(path.path_id).bind(&path.new).bind(&path.old);
                signed += query.execute(&mut *tx).await?.rows_affected();
            }
            let is_whole = signed == paths.len() as u64;
            if is_whole {
                sqlx::query(NOTE_RESIGNED).bind(key_id).bind(after).bind(None::<i64>).execute(&mut *tx).await?;
            }
            is_whole
        }))
    }

    /// Notes that a key has signed everything up to `after`, which is the last path.
    pub async fn resign_end(&self, key_id: i64, after: i64, ended_at: i64) -> Result<()> {
        transact!(self, |tx| {
            sqlx::query(NOTE_RESIGNED).bind(key_id).bind(after).bind(ended_at).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    if is_duplicate(&error) {
        Error::Conflict { field: "name", message: format!("this cache has a key \"{name}\" already") }
    } else {
        error.into()
    }
}
