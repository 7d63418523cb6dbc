//! The cachix API: JSON exact, success exactly 200, refusals one line of ASCII.

mod legacy;
mod pin;
mod query;
mod record;
mod upload;

use super::{
    body,
    caller::by_good_token as caller,
    error::{other_method, plain},
};
use axum::{
    Router,
    body::Body,
    http::StatusCode,
    response::Response,
    routing::{any, get, post},
};
use iglu_core::{Caller, Core, Error};
use serde::Deserialize;

pub fn router(core: Core) -> Router {
    Router::new()
        .route("/api/v1/user", get(record::user_get))
        .route("/api/v1/cache/{cache}", get(record::cache_get))
        .route("/api/v1/cache/{cache}/key", post(record::key_create))
        .route("/api/v1/cache/{cache}/contents", get(query::contents))
        .route("/api/v1/cache/{cache}/narinfo", post(query::missing))
        .route("/api/v1/cache/{cache}/pin", get(pin::pin_list).post(pin::pin_create))
        .route("/api/v1/cache/{cache}/multipart-nar", post(upload::create))
        .route("/api/v1/cache/{cache}/multipart-nar/{id}", post(upload::part_url))
        .route("/api/v1/cache/{cache}/multipart-nar/{id}/complete", post(upload::complete))
        .route("/api/v1/cache/{cache}/multipart-nar/{id}/abort", post(upload::abort))
        .route("/api/v1/cache/{cache}/nar", post(legacy::nar_post))
        .route("/api/v1/cache/{cache}/{narinfo}", post(legacy::narinfo_post).fallback(unknown))
        // Where agents of deployments knock.
        .route("/ws", any(unknown))
        .route("/ws-deployment", any(unknown))
        .route("/api/{*unknown}", any(unknown))
        .method_not_allowed_fallback(other_method)
        .with_state(core)
}

/// Deployments among others: the client prints this line and goes on without.
async fn unknown() -> Response {
    plain(StatusCode::NOT_FOUND, "this server has no such API")
}

/// What a caller sends, who is waited for only where they have shown something.
async fn read_json<T: for<'a> Deserialize<'a>>(caller: &Caller, body: Body, limit: usize) -> Result<T, Error> {
    if let Caller::Anonymous { problem, .. } = caller {
        return Err(Error::Unauthenticated(problem.clone().unwrap_or_else(|| "no token was sent".to_owned())));
    }
    let body = body::document(body, limit).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::invalid("", format!("the body is not the JSON expected: {error}")))
}
