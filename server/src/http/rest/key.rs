//! The keys of a cache: list, add, import, register, retire.

use super::{Answer, Asker, Input, Problem};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::key::{KeyAdd, KeyRow};
use iglu_core::Core;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new().routes(routes!(key_list, key_add)).routes(routes!(key_retire))
}

/// The keys of a cache, retired ones too.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/keys", tag = "keys", params(("cache" = String, Path)),
    responses((status = 200, body = Vec<KeyRow>), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn key_list(State(core): State<Core>, Asker(caller): Asker, Path(cache): Path<String>) -> Answer<Vec<KeyRow>> {
    Ok(Json(core.key().list(&caller, &cache).await?))
}

/// Adds a key to a cache, and gives the list of all.
#[utoipa::path(post, path = "/api/v1/caches/{cache}/keys", tag = "keys", params(("cache" = String, Path)),
    request_body = KeyAdd,
    responses((status = 200, body = Vec<KeyRow>), (status = "default", body = Problem)), security(("token" = [])))]
async fn key_add(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Input(add): Input<KeyAdd>,
) -> Answer<Vec<KeyRow>> {
    match add {
        KeyAdd::Fresh {} => core.key().add(&caller, &cache).await?,
        KeyAdd::Secret(secret) => core.key().import(&caller, &cache, &secret).await?,
        KeyAdd::Public(public_key) => {
            core.key().register(&caller, &cache, &public_key).await?;
        }
    }
    Ok(Json(core.key().list(&caller, &cache).await?))
}

/// Takes a key out of use; what it signed keeps its signature.
#[utoipa::path(delete, path = "/api/v1/caches/{cache}/keys/{name}", tag = "keys",
    params(("cache" = String, Path), ("name" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn key_retire(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, name)): Path<(String, String)>,
) -> Answer<()> {
    Ok(Json(core.key().retire(&caller, &cache, &name).await?))
}
