//! Each request has a name, which answers carry and log lines repeat; and a line of its own in the log where the operator wants that.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header},
    response::Response,
};
use std::{net::IpAddr, time::Instant};

/// Whoever asks, or a proxy on the way, may name a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that is taken over, in bytes.
const LONGEST_ID: usize = 64;
/// How much is logged of what a client says of itself, in bytes.
const LONGEST_AGENT: usize = 100;
/// Behind these stands a secret: who reads the log must not be able to use it.
const SECRET_PATHS: [&str; 3] = ["/setup/", "/invite/", "/upload/"];

/// The name of a request: the one it came with where that is harmless to log, else a new one.
pub fn id<B>(request: &Request<B>) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|id| {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
    });
    given.cloned().unwrap_or_else(|| {
        let fresh = iglu_core::secret::fresh("");
        HeaderValue::from_str(&fresh[..16.min(fresh.len())]).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// What is remembered of a request until it is answered.
pub struct Noted {
    method: Method,
    path: String,
    agent: String,
    from: Option<IpAddr>,
    started: Instant,
}

impl Noted {
    pub fn of<B>(request: &Request<B>, from: Option<IpAddr>) -> Noted {
        // What stands behind the question mark can be anything, a secret too.
        let path = request.uri().path();
        let secret = SECRET_PATHS.into_iter().find(|prefix| path.starts_with(prefix));
        let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        Noted {
            method: request.method().clone(),
            path: secret.map_or_else(|| path.to_owned(), |prefix| format!("{prefix}…")),
            agent: agent.chars().take(LONGEST_AGENT).collect(),
            from,
            started: Instant::now(),
        }
    }

    /// Logs the request with its answer, whose body may still be on its way.
    pub fn log(&self, id: &HeaderValue, response: &Response) {
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        tracing::info!(
            id = id.to_str().unwrap_or_default(),
            from = self.from.map(|from| from.to_canonical().to_string()).unwrap_or_default(),
            method = self.method.as_str(),
            path = self.path,
            status = response.status().as_u16(),
            bytes = length.unwrap_or("-"),
            milliseconds = self.started.elapsed().as_secs_f64() * 1000.0,
            agent = self.agent,
            "request"
        );
    }
}

/// Tells whoever asked the name of the request, to be looked for in the log.
pub fn tell(mut response: Response, id: HeaderValue) -> Response {
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_over_where_they_are_harmless() {
        let named = |name: &[u8]| {
            let mut request = Request::new(());
            request.headers_mut().insert(REQUEST_ID, HeaderValue::from_bytes(name).unwrap());
            id(&request)
        };
        assert_eq!(named(b"ci-42_a.b"), "ci-42_a.b");
        for odd in [&b"two words"[..], b"", b"a\xffb", &[b'a'; 65], b"a=b"] {
            let made = named(odd);
            assert_ne!(made.as_bytes(), odd);
            assert_eq!(made.len(), 16);
        }
        assert_ne!(id(&Request::new(())), id(&Request::new(())));
    }

    #[test]
    fn secrets_in_addresses_are_not_noted() {
        for (address, noted) in [
            ("/setup/1vzr6fry?x=1", "/setup/…"),
            ("/invite/1vzr6fry", "/invite/…"),
            ("/main/abc.narinfo?token=1", "/main/abc.narinfo"),
        ] {
            let request = Request::builder().uri(address).body(()).unwrap();
            assert_eq!(Noted::of(&request, None).path, noted);
        }
    }
}
