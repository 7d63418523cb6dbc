//! Caches: list, make, look at, change, remove.

use super::{Answer, Asker, Input, Problem};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::cache::{CacheChange, CacheCreate, CacheDetail, CacheSummary};
use iglu_core::Core;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new().routes(routes!(cache_list, cache_create)).routes(routes!(
        cache_get,
        cache_change,
        cache_remove
    ))
}

/// The caches that the token may pull from, by name.
#[utoipa::path(get, path = "/api/v1/caches", tag = "caches",
    responses((status = 200, body = Vec<CacheSummary>), (status = "default", body = Problem)), security(("token" = [])))]
async fn cache_list(State(core): State<Core>, Asker(caller): Asker) -> Answer<Vec<CacheSummary>> {
    Ok(Json(core.cache().list(&caller).await?))
}

/// Makes a cache. For administrators.
#[utoipa::path(post, path = "/api/v1/caches", tag = "caches", request_body = CacheCreate,
    responses((status = 200, body = CacheDetail), (status = "default", body = Problem)), security(("token" = [])))]
async fn cache_create(
    State(core): State<Core>,
    Asker(caller): Asker,
    Input(create): Input<CacheCreate>,
) -> Answer<CacheDetail> {
    core.cache().create(&caller, &create).await?;
    Ok(Json(core.cache().get(&caller, create.name.as_str()).await?))
}

/// One cache with its settings, keys and numbers.
#[utoipa::path(get, path = "/api/v1/caches/{cache}", tag = "caches", params(("cache" = String, Path)),
    responses((status = 200, body = CacheDetail), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn cache_get(State(core): State<Core>, Asker(caller): Asker, Path(cache): Path<String>) -> Answer<CacheDetail> {
    Ok(Json(core.cache().get(&caller, &cache).await?))
}

/// Changes what is named of a cache, and nothing else.
#[utoipa::path(patch, path = "/api/v1/caches/{cache}", tag = "caches", params(("cache" = String, Path)),
    request_body = CacheChange,
    responses((status = 200, body = CacheDetail), (status = "default", body = Problem)), security(("token" = [])))]
async fn cache_change(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Input(change): Input<CacheChange>,
) -> Answer<CacheDetail> {
    core.cache().change(&caller, &cache, &change).await?;
    Ok(Json(core.cache().get(&caller, &cache).await?))
}

/// Removes a cache with all its paths. There is no way back.
#[utoipa::path(delete, path = "/api/v1/caches/{cache}", tag = "caches", params(("cache" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn cache_remove(State(core): State<Core>, Asker(caller): Asker, Path(cache): Path<String>) -> Answer<()> {
    Ok(Json(core.cache().remove(&caller, &cache).await?))
}
