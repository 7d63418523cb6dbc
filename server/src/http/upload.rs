//! The upload door: parts come here by the URL that stands for the right to put them. No Authorization is asked.

use super::{
    body,
    error::{PlainError, other_method},
};
use axum::{
    Router,
    extract::{Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::put,
};
use iglu_core::{Core, push::UploadId};
use serde::Deserialize;

pub fn router(core: Core) -> Router {
    Router::new()
        .route("/upload/{id}/{number}", put(part_put))
        .method_not_allowed_fallback(other_method)
        .with_state(core)
}

#[derive(Deserialize)]
struct Proof {
    #[serde(default)]
    md5: String,
    #[serde(default)]
    proof: String,
}

async fn part_put(
    State(core): State<Core>,
    Path((id, number)): Path<(String, u32)>,
    Query(Proof { md5, proof }): Query<Proof>,
    request: Request,
) -> Result<Response, PlainError> {
    let id = UploadId::parse(&id)?;
    let mut chunks = body::stream(request.into_body());
    let etag = match core.push().part_put(id, number, &md5, &proof, &mut chunks).await {
        Ok(etag) => etag,
        Err(error) => {
            // The sender is still at it, and hears the reason only when some of it is taken.
            body::drain(chunks);
            return Err(error.into());
        }
    };
    let mut response = StatusCode::OK.into_response();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}
