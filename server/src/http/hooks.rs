//! Where forges call: `POST /hooks/{builder}`. The signature says whether the caller is one.

use super::{
    error::{say_when, status},
    stranger::Strangers,
};
use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use iglu_core::{
    Core, Error,
    webhook::{LONGEST, Signed},
};
use serde_json::json;

pub fn router(core: Core) -> Router {
    Router::new().route("/hooks/{builder}", post(receive)).with_state(core)
}

async fn receive(
    State(core): State<Core>,
    Extension(strangers): Extension<Strangers>,
    Path(builder): Path<String>,
    request: Request,
) -> Response {
    let signed = signed(request.headers());
    let answer = async {
        let (body, _turn) = strangers.document(request, LONGEST).await?;
        core.webhook_receive(&builder, &signed, &body).await
    };
    match answer.await {
        Ok(received) => {
            let status = StatusCode::from_u16(received.status).unwrap_or(StatusCode::OK);
            (status, Json(json!({ "message": received.message, "run": received.run }))).into_response()
        }
        Err(error) => {
            if matches!(error, Error::Unavailable { .. } | Error::Internal { .. }) {
                tracing::error!(error = %error, builder, "a call of a forge failed");
            }
            let mut response = (status(&error), Json(json!({ "message": error.to_string() }))).into_response();
            say_when(&mut response, &error);
            response
        }
    }
}

fn signed(headers: &HeaderMap) -> Signed {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Signed {
        github_event: text("x-github-event"),
        github_signature: text("x-hub-signature-256"),
        gitlab_event: text("x-gitlab-event"),
        gitlab_token: text("x-gitlab-token"),
        gitea_event: text("x-gitea-event"),
        gitea_signature: text("x-gitea-signature"),
        signature: text("x-iglu-signature"),
    }
}
