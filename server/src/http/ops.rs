//! The operator's listener: is it alive, is it ready, what does it count. Apart from the traffic, so that it can stay private.

use crate::metrics;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use iglu_core::Core;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

#[derive(Clone)]
struct Ops {
    core: Core,
    recorder: PrometheusHandle,
    /// Raised when everything is up, lowered when the server was told to end.
    ready: Arc<AtomicBool>,
}

pub fn router(core: Core, recorder: PrometheusHandle, ready: Arc<AtomicBool>) -> Router {
    Router::new()
        .route("/live", get(|| async { "alive\n" }))
        .route("/ready", get(is_ready))
        .route("/metrics", get(render))
        .with_state(Ops { core, recorder, ready })
}

async fn is_ready(State(ops): State<Ops>) -> impl IntoResponse {
    if !ops.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n".to_owned());
    }
    match ops.core.check().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => {
            // The probe is the operator's: it says why.
            let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}{why}\n"))
        }
    }
}

async fn render(State(ops): State<Ops>) -> impl IntoResponse {
    metrics::collect(&ops.core).await;
    ops.recorder.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], ops.recorder.render())
}
