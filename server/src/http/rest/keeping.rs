//! What stays and what goes: pins, rules, their preview and runs, removals, limits.

use super::{Answer, Asker, Input, Problem, Query};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::{
    pin::{PinCreate, PinRow},
    retention::{Preview, PushLimits, Removal, Retention},
};
use iglu_core::Core;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Rows of a preview.
const ROWS: usize = 1000;

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new()
        .routes(routes!(pin_list, pin_create))
        .routes(routes!(pin_remove))
        .routes(routes!(retention_get, retention_set))
        .routes(routes!(retention_preview))
        .routes(routes!(removal_list, retention_run))
        .routes(routes!(removal_undo))
        .routes(routes!(limits_get, limits_set))
}

/// The pins of a cache by name, each with its revisions.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/pins", tag = "pins", params(("cache" = String, Path)),
    responses((status = 200, body = Vec<PinRow>), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn pin_list(State(core): State<Core>, Asker(caller): Asker, Path(cache): Path<String>) -> Answer<Vec<PinRow>> {
    Ok(Json(core.pin().list(&caller, &cache).await?))
}

/// Pins a path; a name that exists gets one more revision.
#[utoipa::path(post, path = "/api/v1/caches/{cache}/pins", tag = "pins", params(("cache" = String, Path)),
    request_body = PinCreate, responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn pin_create(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Input(create): Input<PinCreate>,
) -> Answer<()> {
    Ok(Json(core.pin().create(&caller, &cache, &create).await?))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Revision {
    /// Only this revision; otherwise all of them.
    revision: Option<u64>,
}

/// Ends a pin, or one revision of it.
#[utoipa::path(delete, path = "/api/v1/caches/{cache}/pins/{name}", tag = "pins",
    params(("cache" = String, Path), ("name" = String, Path), Revision),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn pin_remove(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, name)): Path<(String, String)>,
    Query(Revision { revision }): Query<Revision>,
) -> Answer<()> {
    Ok(Json(core.pin().remove(&caller, &cache, &name, revision).await?))
}

/// The rules of a cache.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/retention", tag = "retention", params(("cache" = String, Path)),
    responses((status = 200, body = Retention), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn retention_get(State(core): State<Core>, Asker(caller): Asker, Path(cache): Path<String>) -> Answer<Retention> {
    Ok(Json(core.retention().get(&caller, &cache).await?.0))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Confirmed {
    /// Needed where every path would go.
    confirm: bool,
}

/// Sets the rules of a cache. What would remove everything at once needs `confirm`.
#[utoipa::path(put, path = "/api/v1/caches/{cache}/retention", tag = "retention",
    params(("cache" = String, Path), Confirmed), request_body = Retention,
    responses((status = 200, body = Retention), (status = "default", body = Problem)), security(("token" = [])))]
async fn retention_set(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Query(Confirmed { confirm }): Query<Confirmed>,
    Input(rules): Input<Retention>,
) -> Answer<Retention> {
    core.retention().set(&caller, &cache, &rules, confirm).await?;
    Ok(Json(rules))
}

/// What these rules would take out of a cache at this moment. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/caches/{cache}/retention/preview", tag = "retention",
    params(("cache" = String, Path)), request_body = Retention,
    responses((status = 200, body = Preview), (status = "default", body = Problem)), security(("token" = [])))]
async fn retention_preview(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Input(rules): Input<Retention>,
) -> Answer<Preview> {
    Ok(Json(core.retention().preview(&caller, &cache, Some(&rules), ROWS).await?))
}

/// Removals of a cache by rules and by people, the newest first.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/removals", tag = "retention", params(("cache" = String, Path)),
    responses((status = 200, body = Vec<Removal>), (status = "default", body = Problem)), security(("token" = [])))]
async fn removal_list(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
) -> Answer<Vec<Removal>> {
    Ok(Json(core.retention().removals(&caller, &cache).await?))
}

/// Asks for a removal by the rules of the cache now. It happens in the background.
#[utoipa::path(post, path = "/api/v1/caches/{cache}/removals", tag = "retention",
    params(("cache" = String, Path), Confirmed),
    responses((status = 200, body = Removal), (status = "default", body = Problem)), security(("token" = [])))]
async fn retention_run(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Query(Confirmed { confirm }): Query<Confirmed>,
) -> Answer<Removal> {
    let id = core.retention().ask(&caller, &cache, confirm).await?;
    Ok(Json(core.retention().removal(&caller, &cache, id).await?))
}

/// Puts back what people removed together.
#[utoipa::path(post, path = "/api/v1/caches/{cache}/removals/{id}/undo", tag = "retention",
    params(("cache" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Removal), (status = "default", body = Problem)), security(("token" = [])))]
async fn removal_undo(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, id)): Path<(String, i64)>,
) -> Answer<Removal> {
    Ok(Json(core.retention().undo(&caller, &cache, id).await?))
}

/// What may be pushed to a cache.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/limits", tag = "retention", params(("cache" = String, Path)),
    responses((status = 200, body = PushLimits), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn limits_get(State(core): State<Core>, Asker(caller): Asker, Path(cache): Path<String>) -> Answer<PushLimits> {
    Ok(Json(core.retention().get(&caller, &cache).await?.1))
}

/// Sets what may be pushed to a cache.
#[utoipa::path(put, path = "/api/v1/caches/{cache}/limits", tag = "retention", params(("cache" = String, Path)),
    request_body = PushLimits,
    responses((status = 200, body = PushLimits), (status = "default", body = Problem)), security(("token" = [])))]
async fn limits_set(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Input(limits): Input<PushLimits>,
) -> Answer<PushLimits> {
    core.retention().limits_set(&caller, &cache, &limits).await?;
    Ok(Json(limits))
}
