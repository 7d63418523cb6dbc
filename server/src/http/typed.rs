//! What was typed into a form that was refused, on its way back to the form's page where there is no JavaScript.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use iglu_app::calls::context::{TYPED_COOKIE, cookie_line};
use iglu_core::Core;

/// A form without JavaScript that is refused leads back to its page: what was typed goes along, but for secrets.
pub async fn keep(State(core): State<Core>, request: Request, next: Next) -> Response {
    /// A cookie's size, and what is left of it as base64.
    const LONGEST: usize = 2800;
    const SECRETS: [&str; 6] = ["status_token", "password", "current", "new", "secret", "key"];
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let is_form = request.uri().path().starts_with("/api/ui/")
        && request.method() == Method::POST
        && accepts.contains("text/html")
        && length.is_some_and(|length: usize| length <= LONGEST);
    if !is_form {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LONGEST).await else { return StatusCode::BAD_REQUEST.into_response() };
    let mut response = next.run(Request::from_parts(head, body.clone().into())).await;
    let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
    if location.contains("__err=") {
        let pairs = body.split(|byte| *byte == b'&').filter(|pair| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            !SECRETS.iter().any(|secret| secret.as_bytes() == name)
        });
        let typed = URL_SAFE_NO_PAD.encode(pairs.collect::<Vec<_>>().join(&b'&'));
        set(&core, &mut response, &typed, 60);
    }
    response
}

pub fn set(core: &Core, response: &mut Response, typed: &str, seconds: u32) {
    if let Ok(cookie) = HeaderValue::from_str(&cookie_line(core, TYPED_COOKIE, typed, seconds)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// What [`keep`] kept.
pub fn read(cookie: &str) -> Vec<(String, String)> {
    let form = URL_SAFE_NO_PAD.decode(cookie).unwrap_or_default();
    let parsed = form_urlencoded::parse(&form);
    parsed.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
