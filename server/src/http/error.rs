//! The only table from core's errors to status codes, and the reply of the doors for machines: one line of ASCII.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use iglu_core::Error;

/// How long a client should wait when database or storage fail, in seconds.
const RETRY_AFTER_TROUBLE: u64 = 5;

pub fn status(error: &Error) -> StatusCode {
    match error {
        Error::Invalid { .. } => StatusCode::BAD_REQUEST,
        Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Error::Forbidden(_) => StatusCode::FORBIDDEN,
        Error::NotFound(_) => StatusCode::NOT_FOUND,
        Error::Conflict { .. } => StatusCode::CONFLICT,
        Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Error::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Interrupted(_) | Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error as a reply of one line.
pub struct PlainError(pub Error);

impl From<Error> for PlainError {
    fn from(error: Error) -> PlainError {
        PlainError(error)
    }
}

impl IntoResponse for PlainError {
    fn into_response(self) -> Response {
        let PlainError(error) = self;
        if matches!(error, Error::Unavailable { .. } | Error::Internal { .. }) {
            tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "a request failed");
        }
        let mut response = plain(status(&error), &error.to_string());
        if let Error::Unauthenticated(_) = &error {
            let scheme = HeaderValue::from_static("Basic realm=\"iglu\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        say_when(&mut response, &error);
        response
    }
}

/// Says when it is worth trying again, where it is.
pub fn say_when(response: &mut Response, error: &Error) {
    let seconds = match error {
        Error::TooMany { retry_after_seconds, .. } => *retry_after_seconds,
        Error::Interrupted(_) => 1,
        Error::Unavailable { .. } => RETRY_AFTER_TROUBLE,
        _ => return,
    };
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
}

/// A message cut to one line of printable ASCII: what a client sent may stand in it.
pub fn one_line(message: &str) -> String {
    const LONGEST: usize = 600;
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let mut line: String = message.chars().take(LONGEST).map(plain).collect();
    if message.chars().nth(LONGEST).is_some() {
        line.push_str("...");
    }
    line
}

/// The answer of routes that take other methods; the Allow header says which.
pub async fn other_method() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "this address takes other methods only")
}

/// A reply of one line of printable ASCII: clients show it escaped, so anything else would be hard to read.
pub fn plain(status: StatusCode, message: &str) -> Response {
    let mut response = Response::new(Body::from(one_line(message)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The reply to a method that a door does not take.
pub fn wrong_method(allowed: &'static str) -> Response {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("this address takes {allowed} only"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
