//! What nodes say. Each call shows the node's secret; only what holds a run's lease is heard about that run.

use super::{
    caller,
    rest::{Answer, Input, Refusal},
};
use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
    routing::post,
};
use iglu_api::node::{Assignment, FailedBefore, Heard, Hello, Report};
use iglu_core::{Core, Error, Node};
use tokio::sync::watch;

pub fn router(core: Core, stopping: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/api/v1/node/hello", post(hello))
        .route("/api/v1/node/claim", post(async move |state, node| claim(state, node, stopping).await))
        .route("/api/v1/node/runs/{id}/report", post(report))
        .route("/api/v1/node/runs/{id}/failed-before", post(failed_before))
        .with_state(core)
}

/// The node that asks, by the secret shown.
struct Asking(Node);

impl FromRequestParts<Core> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, core: &Core) -> Result<Asking, Refusal> {
        let secret = caller::secret(&parts.headers)
            .ok_or_else(|| Error::Unauthenticated("a node shows its secret as Bearer".to_owned()))?;
        Ok(Asking(core.node().by_secret(&secret).await?))
    }
}

async fn hello(State(core): State<Core>, Asking(node): Asking, Input(hello): Input<Hello>) -> Answer<()> {
    Ok(Json(core.node().greet(&node, &hello).await?))
}

/// Waits a while for work. A server that ends sends the node away at once, to ask the next one.
async fn claim(
    State(core): State<Core>,
    Asking(node): Asking,
    mut stopping: watch::Receiver<bool>,
) -> Answer<Option<Assignment>> {
    let runs = core.run();
    let stopped = async {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        claimed = runs.claim(&node) => Ok(Json(claimed?)),
        () = stopped => Err(Error::Interrupted("the server is ending".to_owned()).into()),
    }
}

async fn report(
    State(core): State<Core>,
    Asking(node): Asking,
    Path(id): Path<u64>,
    Input(report): Input<Report>,
) -> Answer<Heard> {
    Ok(Json(core.run().tell(&node, id, &report).await?))
}

async fn failed_before(
    State(core): State<Core>,
    Asking(node): Asking,
    Path(id): Path<u64>,
    Input(asked): Input<FailedBefore>,
) -> Answer<Vec<String>> {
    Ok(Json(core.run().failed_before(&node, id, &asked).await?))
}
