//! Builders.

use super::{Answer, Asker, Input, Problem};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::{
    builder::{BuilderChange, BuilderCreate, BuilderDetail, BuilderRow, WebhookDetail},
    probe::{ProbeAnswer, ProbeStart, ProbeStarted},
};
use iglu_core::Core;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new()
        .routes(routes!(builder_list, builder_create))
        .routes(routes!(builder_get, builder_change, builder_remove))
        .routes(routes!(webhook_get))
        .routes(routes!(webhook_renew))
        .routes(routes!(webhook_repeat))
        .routes(routes!(probe_start))
        .routes(routes!(probe_get))
}

/// The builders of caches that the caller may pull from, by name.
#[utoipa::path(get, path = "/api/v1/builders", tag = "builders",
    responses((status = 200, body = Vec<BuilderRow>), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn builder_list(State(core): State<Core>, Asker(caller): Asker) -> Answer<Vec<BuilderRow>> {
    Ok(Json(core.builder().list(&caller).await?))
}

/// Makes a builder for a cache that the caller maintains.
#[utoipa::path(post, path = "/api/v1/builders", tag = "builders", request_body = BuilderCreate,
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn builder_create(
    State(core): State<Core>,
    Asker(caller): Asker,
    Input(create): Input<BuilderCreate>,
) -> Answer<()> {
    Ok(Json(core.builder().create(&caller, &create).await?))
}

/// All about a builder but its credential, with its newest runs.
#[utoipa::path(get, path = "/api/v1/builders/{name}", tag = "builders", params(("name" = String, Path)),
    responses((status = 200, body = BuilderDetail), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn builder_get(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
) -> Answer<BuilderDetail> {
    Ok(Json(core.builder().get(&caller, &name).await?))
}

/// Changes what is named of a builder; what is absent stays.
#[utoipa::path(patch, path = "/api/v1/builders/{name}", tag = "builders", params(("name" = String, Path)),
    request_body = BuilderChange, responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn builder_change(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
    Input(change): Input<BuilderChange>,
) -> Answer<()> {
    Ok(Json(core.builder().change(&caller, &name, &change).await?))
}

/// Removes a builder with its runs and their logs. What it built stays.
#[utoipa::path(delete, path = "/api/v1/builders/{name}", tag = "builders", params(("name" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn builder_remove(State(core): State<Core>, Asker(caller): Asker, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(core.builder().remove(&caller, &name).await?))
}

/// Where forges call a builder, with what secret, and their last calls.
#[utoipa::path(get, path = "/api/v1/builders/{name}/webhook", tag = "builders", params(("name" = String, Path)),
    responses((status = 200, body = WebhookDetail), (status = "default", body = Problem)), security(("token" = [])))]
async fn webhook_get(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
) -> Answer<WebhookDetail> {
    Ok(Json(core.builder().webhook(&caller, &name).await?))
}

/// Makes another secret for a builder's webhook; the old one is worth nothing from then on.
#[utoipa::path(post, path = "/api/v1/builders/{name}/webhook/renew", tag = "builders", params(("name" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn webhook_renew(State(core): State<Core>, Asker(caller): Asker, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(core.builder().webhook_renew(&caller, &name).await?))
}

/// Takes a call of a forge again that was signed. The number of the run that it started, if it did.
#[utoipa::path(post, path = "/api/v1/builders/{name}/webhook/deliveries/{id}/repeat", tag = "builders",
    params(("name" = String, Path), ("id" = u64, Path)),
    responses((status = 200, body = Option<u64>), (status = "default", body = Problem)), security(("token" = [])))]
async fn webhook_repeat(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((name, id)): Path<(String, u64)>,
) -> Answer<Option<u64>> {
    Ok(Json(core.builder().webhook_repeat(&caller, &name, id).await?.run))
}

/// Lets a node look at a repository: whether it can be fetched, and what its flake offers. For whoever maintains the cache.
#[utoipa::path(post, path = "/api/v1/probes", tag = "builders", request_body = ProbeStart,
    responses((status = 200, body = ProbeStarted), (status = "default", body = Problem)), security(("token" = [])))]
async fn probe_start(
    State(core): State<Core>,
    Asker(caller): Asker,
    Input(start): Input<ProbeStart>,
) -> Answer<ProbeStarted> {
    Ok(Json(ProbeStarted { id: core.builder().probe(&caller, &start).await? }))
}

/// What came of a look, waiting 20 seconds at most; null where nothing came yet. It is forgotten after ten minutes.
#[utoipa::path(get, path = "/api/v1/probes/{id}", tag = "builders", params(("id" = u64, Path)),
    responses((status = 200, body = Option<ProbeAnswer>), (status = "default", body = Problem)), security(("token" = [])))]
async fn probe_get(State(core): State<Core>, Asker(caller): Asker, Path(id): Path<u64>) -> Answer<Option<ProbeAnswer>> {
    Ok(Json(core.builder().probe_answer(&caller, id).await?))
}
