//! The operator's listener: is it alive, is it ready, what does it count. Apart from the traffic, so that it can stay private.

use crate::metrics;
use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, Version, header},
    response::{IntoResponse, Response},
    routing::get,
};
use iglu_core::Core;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Where a server is between its start and its end.
#[derive(Default)]
pub struct Condition {
    core: OnceLock<Core>,
    /// Why it does not serve yet.
    waits_for: Mutex<String>,
    is_ending: AtomicBool,
}

impl Condition {
    pub fn waits_for(&self, why: String) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub fn serves(&self, core: Core) {
        let _ = self.core.set(core);
    }

    /// From now on `/ready` says no, and connections are not kept for another request.
    pub fn ends(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// While the server ends, an answer is the last one of its connection: whoever keeps connections, a proxy above all, makes the next
    /// one to another server instead of finding this one closed.
    pub fn last_here(&self, version: Version, mut response: Response) -> Response {
        if self.is_ending() && version <= Version::HTTP_11 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[derive(Clone)]
struct Ops {
    condition: Arc<Condition>,
    recorder: PrometheusHandle,
}

pub fn router(condition: Arc<Condition>, recorder: PrometheusHandle) -> Router {
    Router::new()
        .route("/live", get(|| async { "alive\n" }))
        .route("/ready", get(is_ready))
        .route("/serving", get(is_serving))
        .route("/metrics", get(render))
        .with_state(Ops { condition, recorder })
}

/// Whether requests may be sent here. What all servers share, database and storage, is no reason to send them nowhere: each still serves what
/// it can, and says what it cannot.
async fn is_serving(State(ops): State<Ops>) -> (StatusCode, &'static str) {
    match (ops.condition.is_ending(), ops.condition.core.get()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        (false, None) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        (false, Some(_)) => (StatusCode::OK, "serving\n"),
    }
}

async fn is_ready(State(ops): State<Ops>) -> impl IntoResponse {
    if ops.condition.is_ending() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let Some(core) = ops.condition.core.get() else {
        let why = ops.condition.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        return (StatusCode::SERVICE_UNAVAILABLE, format!("starting\n{}\n", *why));
    };
    match core.check().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => {
            // The probe is the operator's: it says why.
            let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}{why}\n"))
        }
    }
}

async fn render(State(ops): State<Ops>) -> impl IntoResponse {
    if let Some(core) = ops.condition.core.get() {
        metrics::collect(core).await;
    }
    ops.recorder.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], ops.recorder.render())
}
