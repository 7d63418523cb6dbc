//! What the cachix API tells of a cache and of the caller, and the registering of signing keys.

use super::{caller, read_json};
use crate::http::{caller::address, error::PlainError};
use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
};
use iglu_api::cache::{Permission, PreferredCompression};
use iglu_core::{Caller, Core, Error};
use serde::{Deserialize, Serialize};

const LONGEST_KEY: usize = 4096;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheRecord {
    name: String,
    uri: String,
    is_public: bool,
    public_signing_keys: Vec<String>,
    github_username: &'static str,
    permission: &'static str,
    preferred_compression_method: &'static str,
}

pub async fn cache_get(
    State(core): State<Core>,
    Path(cache): Path<String>,
    headers: HeaderMap,
) -> Result<Json<CacheRecord>, PlainError> {
    let caller = match caller(&core, &headers).await {
        Ok(caller) => caller,
        // Named with the cache, so that the client's user knows which of many it was.
        Err(Error::Unauthenticated(problem)) => {
            Caller::Anonymous { problem: Some(problem), address: address(&headers).to_owned() }
        }
        Err(error) => return Err(error.into()),
    };
    if let Caller::Anonymous { problem: Some(problem), .. } = &caller {
        let needs = format!("{problem}; cache \"{cache}\" needs a token with pull for it, or none where it is public");
        return Err(Error::Unauthenticated(needs).into());
    }
    let cache = core.cache().get(&caller, &cache).await?;
    Ok(Json(CacheRecord {
        name: cache.summary.name.to_string(),
        uri: cache.uri,
        is_public: cache.summary.visibility.is_public(),
        public_signing_keys: cache.public_keys,
        github_username: "",
        permission: match cache.permission {
            Some(Permission::Admin) => "Admin",
            Some(Permission::Push) => "Write",
            _ => "Read",
        },
        preferred_compression_method: match cache.compression {
            PreferredCompression::Zstd => "ZSTD",
            PreferredCompression::Xz => "XZ",
        },
    }))
}

#[derive(Serialize)]
pub struct UserRecord {
    username: String,
}

/// Whose token it is: how scripts find out whether one is good.
pub async fn user_get(State(core): State<Core>, headers: HeaderMap) -> Result<Json<UserRecord>, PlainError> {
    match caller(&core, &headers).await? {
        Caller::Anonymous { .. } => Err(Error::Unauthenticated("no token was sent".to_owned()).into()),
        caller => Ok(Json(UserRecord { username: caller.label() })),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyCreate {
    public_key: String,
}

/// Registers the key of somebody who signs before pushing; the client keeps the secret half only after 200.
pub async fn key_create(
    State(core): State<Core>,
    Path(cache): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, PlainError> {
    let (head, body) = request.into_parts();
    let caller = caller(&core, &head.headers).await?;
    let create: KeyCreate = read_json(&caller, body, LONGEST_KEY).await?;
    if create.public_key.contains(':') {
        return Err(Error::invalid("publicKey", "publicKey: a public key comes as base64 without a name").into());
    }
    core.key().register(&caller, &cache, &create.public_key).await?;
    Ok(StatusCode::OK)
}
