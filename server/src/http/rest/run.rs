//! Runs, the queue, and the nodes.

use super::{Answer, Asker, Input, Problem, Query};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::{
    node::{NodeChange, NodeCreate, NodeCreated, NodeRow},
    run::{LogFound, LogPart, RunDetail, RunRow, RunStart, RunStarted},
};
use iglu_core::Core;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new()
        .routes(routes!(run_list, run_start))
        .routes(routes!(queue_get))
        .routes(routes!(run_get))
        .routes(routes!(run_log))
        .routes(routes!(run_find))
        .routes(routes!(run_cancel))
        .routes(routes!(node_list, node_create))
        .routes(routes!(node_change, node_remove))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Older {
    /// Only runs with a lower number: the next page.
    before: Option<u64>,
    /// At most so many; never more than 500.
    most: u32,
}

impl Default for Older {
    fn default() -> Older {
        Older { before: None, most: 50 }
    }
}

/// The runs of a builder, the newest first.
#[utoipa::path(get, path = "/api/v1/builders/{name}/runs", tag = "runs", params(("name" = String, Path), Older),
    responses((status = 200, body = Vec<RunRow>), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn run_list(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
    Query(Older { before, most }): Query<Older>,
) -> Answer<Vec<RunRow>> {
    Ok(Json(core.run().list(&caller, &name, before, most).await?))
}

/// Puts a run of a builder into the queue.
#[utoipa::path(post, path = "/api/v1/builders/{name}/runs", tag = "runs", params(("name" = String, Path)),
    request_body = RunStart, responses((status = 200, body = RunStarted), (status = "default", body = Problem)),
    security(("token" = [])))]
async fn run_start(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
    Input(start): Input<RunStart>,
) -> Answer<RunStarted> {
    Ok(Json(RunStarted { id: core.run().start(&caller, &name, &start).await? }))
}

/// The runs that wait or are under way, in the order of the queue.
#[utoipa::path(get, path = "/api/v1/queue", tag = "runs",
    responses((status = 200, body = Vec<RunRow>), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn queue_get(State(core): State<Core>, Asker(caller): Asker) -> Answer<Vec<RunRow>> {
    Ok(Json(core.run().queue(&caller).await?))
}

/// All about a run but its log: its state, derivations, and what was pushed.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = u64, Path)),
    responses((status = 200, body = RunDetail), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn run_get(State(core): State<Core>, Asker(caller): Asker, Path(id): Path<u64>) -> Answer<RunDetail> {
    Ok(Json(core.run().get(&caller, id).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Lines {
    /// The number of the first line, counted from 0.
    first: u64,
    /// At most so many; never more than 5000.
    most: u64,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { first: 0, most: 1000 }
    }
}

/// Lines of a run's log.
#[utoipa::path(get, path = "/api/v1/runs/{id}/log", tag = "runs", params(("id" = u64, Path), Lines),
    responses((status = 200, body = LogPart), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn run_log(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(id): Path<u64>,
    Query(Lines { first, most }): Query<Lines>,
) -> Answer<LogPart> {
    Ok(Json(core.run().log(&caller, id, first, most).await?))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Sought {
    /// What the lines have in them, whatever its case and colours.
    text: String,
    /// Only lines that this derivation wrote.
    derivation: Option<u32>,
    /// The number of the first line that is looked at, counted from 0.
    first: u64,
}

/// The numbers of the lines of a run's log that have a text; a thousand at most.
#[utoipa::path(get, path = "/api/v1/runs/{id}/find", tag = "runs", params(("id" = u64, Path), Sought),
    responses((status = 200, body = LogFound), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn run_find(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(id): Path<u64>,
    Query(Sought { text, derivation, first }): Query<Sought>,
) -> Answer<LogFound> {
    Ok(Json(core.run().find(&caller, id, &text, derivation, first).await?))
}

/// Ends a run: at once in the queue, else as soon as its node hears of it.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs", params(("id" = u64, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn run_cancel(State(core): State<Core>, Asker(caller): Asker, Path(id): Path<u64>) -> Answer<()> {
    Ok(Json(core.run().cancel(&caller, id).await?))
}

/// The nodes, for administrators.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "runs",
    responses((status = 200, body = Vec<NodeRow>), (status = "default", body = Problem)), security(("token" = [])))]
async fn node_list(State(core): State<Core>, Asker(caller): Asker) -> Answer<Vec<NodeRow>> {
    Ok(Json(core.node().list(&caller).await?))
}

/// Adds a remote node; the secret that it shows to the server is told this once.
#[utoipa::path(post, path = "/api/v1/nodes", tag = "runs", request_body = NodeCreate,
    responses((status = 200, body = NodeCreated), (status = "default", body = Problem)), security(("token" = [])))]
async fn node_create(
    State(core): State<Core>,
    Asker(caller): Asker,
    Input(NodeCreate { name }): Input<NodeCreate>,
) -> Answer<NodeCreated> {
    let secret = core.node().create(&caller, &name).await?;
    Ok(Json(NodeCreated { name, secret }))
}

/// Lets a node take no more runs, or take them again.
#[utoipa::path(patch, path = "/api/v1/nodes/{name}", tag = "runs", params(("name" = String, Path)),
    request_body = NodeChange, responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn node_change(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
    Input(NodeChange { is_draining }): Input<NodeChange>,
) -> Answer<()> {
    Ok(Json(core.node().drain(&caller, &name, is_draining).await?))
}

/// Removes a node; what it has goes to others.
#[utoipa::path(delete, path = "/api/v1/nodes/{name}", tag = "runs", params(("name" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn node_remove(State(core): State<Core>, Asker(caller): Asker, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(core.node().remove(&caller, &name).await?))
}
