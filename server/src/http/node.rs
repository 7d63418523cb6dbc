//! What nodes say. Each call shows the node's secret, or the token of the one run that it tells of; only what holds a run's lease is
//! heard about that run.

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
use iglu_api::node::{Assignment, FailedBefore, Heard, Hello, Report, Welcome};
use iglu_api::probe::{ProbeAnswer, ProbeTask};
use iglu_core::{Core, Error, Node};
use tokio::sync::watch;

pub fn router(core: Core, stopping: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/api/v1/node/hello", post(hello))
        .route("/api/v1/node/claim", post(async move |state, node| claim(state, node, stopping).await))
        .route("/api/v1/node/probe", post(probe_claim))
        .route("/api/v1/node/probes/{id}", post(probe_tell))
        .route("/api/v1/node/runs/{id}/report", post(report))
        .route("/api/v1/node/runs/{id}/failed-before", post(failed_before))
        .with_state(core)
}

/// The node that asks, by the secret shown.
struct Asking(Node);

impl FromRequestParts<Core> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, core: &Core) -> Result<Asking, Refusal> {
        let secret = shown(parts)?;
        Ok(Asking(core.node().by_secret(&secret).await?))
    }
}

/// Whatever tells of the run of the address: its node, or what that one gave it to.
struct Telling(Node, u64);

impl FromRequestParts<Core> for Telling {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, core: &Core) -> Result<Telling, Refusal> {
        let Path(id) = Path::<u64>::from_request_parts(parts, core)
            .await
            .map_err(|_| Error::NotFound("runs have numbers".to_owned()))?;
        let secret = shown(parts)?;
        Ok(Telling(core.node().telling(&secret, id).await?, id))
    }
}

fn shown(parts: &Parts) -> Result<String, Error> {
    caller::secret(&parts.headers).ok_or_else(|| Error::Unauthenticated("a node shows its secret as Bearer".to_owned()))
}

async fn hello(State(core): State<Core>, Asking(node): Asking, Input(hello): Input<Hello>) -> Answer<Welcome> {
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

async fn probe_claim(State(core): State<Core>, Asking(node): Asking) -> Answer<Option<ProbeTask>> {
    Ok(Json(core.node().probe_claim(&node).await?))
}

async fn probe_tell(
    State(core): State<Core>,
    Asking(node): Asking,
    Path(id): Path<u64>,
    Input(answer): Input<ProbeAnswer>,
) -> Answer<()> {
    core.node().probe_tell(&node, id, answer).await?;
    Ok(Json(()))
}

async fn report(State(core): State<Core>, Telling(node, id): Telling, Input(report): Input<Report>) -> Answer<Heard> {
    Ok(Json(core.run().tell(&node, id, &report).await?))
}

async fn failed_before(
    State(core): State<Core>,
    Telling(node, id): Telling,
    Input(asked): Input<FailedBefore>,
) -> Answer<Vec<String>> {
    Ok(Json(core.run().failed_before(&node, id, &asked).await?))
}
