//! Statistics, and the server itself.

use super::{Answer, Asker, Problem, Query};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::{
    instance::{AuditPage, AuditQuery, Instance},
    statistics::{Span, Statistics},
};
use iglu_core::Core;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new()
        .routes(routes!(statistics_get))
        .routes(routes!(instance_get))
        .routes(routes!(audit_list))
        .routes(routes!(cache_audit))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Spanned {
    /// `day`, `week`, `month` or `year`.
    span: Span,
}

/// What was asked of a cache, by steps of time.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/statistics", tag = "statistics",
    params(("cache" = String, Path), Spanned),
    responses((status = 200, body = Statistics), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn statistics_get(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Query(Spanned { span }): Query<Spanned>,
) -> Answer<Statistics> {
    Ok(Json(core.statistics().of_cache(&caller, &cache, span).await?))
}

/// Version, storage and background work of the server. For administrators.
#[utoipa::path(get, path = "/api/v1/instance", tag = "server",
    responses((status = 200, body = Instance), (status = "default", body = Problem)), security(("token" = [])))]
async fn instance_get(State(core): State<Core>, Asker(caller): Asker) -> Answer<Instance> {
    Ok(Json(core.instance().get(&caller).await?))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Audited {
    /// A part of actor, action, object or address.
    search: String,
    /// Rows older than the one with this id.
    before: Option<i64>,
}

/// What was changed about a cache, fifty lines at a time, the newest first.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/audit", tag = "caches", params(("cache" = String, Path), Audited),
    responses((status = 200, body = AuditPage), (status = "default", body = Problem)), security(("token" = [])))]
async fn cache_audit(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Query(Audited { search, before }): Query<Audited>,
) -> Answer<AuditPage> {
    Ok(Json(core.instance().audit_of_cache(&caller, &cache, &AuditQuery { search, before }).await?))
}

/// Who changed what, fifty lines at a time, the newest first. For administrators.
#[utoipa::path(get, path = "/api/v1/audit", tag = "server", params(Audited),
    responses((status = 200, body = AuditPage), (status = "default", body = Problem)), security(("token" = [])))]
async fn audit_list(
    State(core): State<Core>,
    Asker(caller): Asker,
    Query(Audited { search, before }): Query<Audited>,
) -> Answer<AuditPage> {
    Ok(Json(core.instance().audit(&caller, &AuditQuery { search, before }).await?))
}
