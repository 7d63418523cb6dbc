//! What stands in the databases of the TypeScript Iglu: the only place that names its tables. Two shapes of them are known.
//! Everything comes as text, as cachix clients wrote it.

use crate::database::{Database, PAGE, rows};
use sqlx::FromRow;

/// Which tables there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Of the repository `cache`: schema `cache` with `caches` and `hashes`, PostgreSQL only.
    Hashes,
    /// Of the repository `iglu`: `tenants`, `derivations` and `derivations_tenants_links`, SQLite or PostgreSQL.
    Tenants,
}

/// Of one shape.
struct Statements {
    caches: &'static str,
    keys: &'static str,
    count: &'static str,
    /// In the order of a text, of which rows behind `$2` are wanted.
    paths: &'static str,
}

const HASHES: Statements = Statements {
    caches: "SELECT CAST(id AS TEXT) AS id, name, CAST(CASE WHEN ispublic THEN 1 ELSE 0 END AS BIGINT) AS is_public, \
        CAST(priority AS BIGINT) AS priority, CAST(NULL AS BIGINT) AS ttl FROM cache.caches ORDER BY 1",
    keys: "SELECT DISTINCT k.key FROM cache.signing_key_cache_api_link l \
        JOIN cache.public_signing_keys k ON k.id = l.signing_key_id WHERE CAST(l.cache_id AS TEXT) = $1",
    count: "SELECT COUNT(*) FROM cache.hashes WHERE CAST(cache AS TEXT) = $1",
    paths: "SELECT LPAD(CAST(id AS TEXT), 20, '0') AS cursor, path AS file, cderiver AS deriver, cfilehash AS file_hash, \
        CAST(cfilesize AS TEXT) AS file_size, cnarhash AS nar_hash, CAST(cnarsize AS TEXT) AS nar_size, \
        ARRAY_TO_STRING(creferences, ' ') AS refs, csig AS sig, cstorehash AS store_hash, cstoresuffix AS store_suffix, \
        compression FROM cache.hashes \
        WHERE CAST(cache AS TEXT) = $1 AND LPAD(CAST(id AS TEXT), 20, '0') > $2 ORDER BY 1 LIMIT $3",
};

const TENANTS: Statements = Statements {
    caches: "SELECT CAST(id AS TEXT) AS id, name, CAST(CASE WHEN is_public THEN 1 ELSE 0 END AS BIGINT) AS is_public, \
        CAST(priority AS BIGINT) AS priority, CAST(ttl AS BIGINT) AS ttl FROM tenants ORDER BY name",
    keys: "SELECT DISTINCT k.key FROM api_keys_tenants_link l JOIN signing_keys k ON k.api_keys_id = l.api_keys_id \
        WHERE CAST(l.tenants_id AS TEXT) = $1",
    count: "SELECT COUNT(*) FROM derivations_tenants_links WHERE CAST(tenants_id AS TEXT) = $1",
    paths: "SELECT CAST(l.id AS TEXT) AS cursor, CAST(NULL AS TEXT) AS file, d.cderiver AS deriver, d.cfilehash AS file_hash, \
        CAST(d.cfilesize AS TEXT) AS file_size, d.cnarhash AS nar_hash, CAST(d.cnarsize AS TEXT) AS nar_size, \
        CAST(d.creferences AS TEXT) AS refs, d.csig AS sig, d.cstorehash AS store_hash, d.cstoresuffix AS store_suffix, \
        d.compression FROM derivations_tenants_links l JOIN derivations d ON d.id = l.derivations_id \
        WHERE CAST(l.tenants_id AS TEXT) = $1 AND CAST(l.id AS TEXT) > $2 ORDER BY 1 LIMIT $3",
};

#[derive(Debug, FromRow)]
pub(super) struct CacheRow {
    pub id: String,
    pub name: Option<String>,
    pub is_public: i64,
    pub priority: Option<i64>,
    /// Seconds after its last use that a path is kept.
    pub ttl: Option<i64>,
}

#[derive(Debug, FromRow)]
pub(super) struct PathRow {
    pub cursor: String,
    /// Where the NAR file was written, with [`Shape::Hashes`].
    pub file: Option<String>,
    /// Base name, or `unknown-deriver`.
    pub deriver: Option<String>,
    /// Hex.
    pub file_hash: Option<String>,
    pub file_size: Option<String>,
    /// `sha256:` and base 32.
    pub nar_hash: Option<String>,
    pub nar_size: Option<String>,
    /// Base names: with blanks between, or a JSON list.
    pub refs: Option<String>,
    /// Base 64, mostly without a key's name in front.
    pub sig: Option<String>,
    pub store_hash: Option<String>,
    pub store_suffix: Option<String>,
    pub compression: Option<String>,
}

impl Shape {
    /// Looks which tables there are.
    pub async fn of(database: &Database) -> Option<Self> {
        for shape in [Self::Tenants, Self::Hashes] {
            if shape.caches(database).await.is_ok() && shape.count(database, "").await.is_ok() {
                return Some(shape);
            }
        }
        None
    }

    fn statements(self) -> &'static Statements {
        match self {
            Self::Hashes => &HASHES,
            Self::Tenants => &TENANTS,
        }
    }

    pub async fn caches(self, database: &Database) -> sqlx::Result<Vec<CacheRow>> {
        rows!(database, CacheRow, self.statements().caches)
    }

    /// The public keys that clients registered, each `NAME:BASE64` or base 64 alone.
    pub async fn keys(self, database: &Database, cache: &str) -> sqlx::Result<Vec<String>> {
        let keys = rows!(database, (String,), self.statements().keys, cache)?;
        Ok(keys.into_iter().map(|row| row.0).collect())
    }

    pub async fn count(self, database: &Database, cache: &str) -> sqlx::Result<i64> {
        Ok(rows!(database, (i64,), self.statements().count, cache)?.first().map_or(0, |row| row.0))
    }

    pub async fn paths(self, database: &Database, cache: &str, after: &str) -> sqlx::Result<Vec<PathRow>> {
        rows!(database, PathRow, self.statements().paths, cache, after, PAGE)
    }
}
