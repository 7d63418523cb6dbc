//! Where to tell of a hole (RFC 9116), where the operator names somebody.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use iglu_api::Timestamp;
use iglu_core::Core;
use std::sync::Arc;

/// The standard asks for an end; it is always half a year ahead, since the file is as new as the settings.
const GOOD_FOR: i64 = 180 * Timestamp::DAY;

/// `contact` is a URI: `mailto:security@example.org`.
pub fn router(core: Core, contact: Option<String>) -> Router {
    let contact: Option<Arc<str>> = contact.map(Into::into);
    let told = async move |State(core): State<Core>| answer(&core, contact.as_deref());
    Router::new().route("/.well-known/security.txt", get(told)).with_state(core)
}

fn answer(core: &Core, contact: Option<&str>) -> Response {
    let until = jiff::Timestamp::from_millisecond(core.now().plus(GOOD_FOR).0).ok();
    let (Some(contact), Some(until)) = (contact, until) else {
        return (StatusCode::NOT_FOUND, "this server names nobody\n").into_response();
    };
    let text =
        format!("Contact: {contact}\nExpires: {until:.0}\nCanonical: {}/.well-known/security.txt\n", core.public_url());
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text).into_response()
}
