//! How a call is sent and judged: the client's headers, its checks of the answer and its repeats.

use bytes::Bytes;
use http::{Method, Request, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;

use super::retry::{Kind, Repeats};
use super::{Error, Profile, host};
use crate::body::streamed;
use crate::http::{Http, Reply};

/// An emulated client. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    /// Release and limits.
    pub profile: Profile,
    http: Http,
    host: String,
    token: Option<String>,
}

/// A call: what to say of it, where it goes, and what counts as its success.
#[derive(Debug, Clone)]
pub(super) struct Call {
    name: &'static str,
    method: Method,
    kind: Kind,
    answers_json: bool,
    label: Option<String>,
}

impl Call {
    /// A call to the configured host, answered without content and not repeated.
    pub fn new(name: &'static str, method: Method) -> Self {
        Self { name, method, kind: Kind::Single, answers_json: false, label: None }
    }

    /// Repeated as calls of this kind are.
    pub fn repeated_as(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Answered with JSON. Only then the client says what it accepts.
    pub fn with_answer(mut self) -> Self {
        self.answers_json = true;
        self
    }

    /// Sent to the host with this label before its name.
    pub fn to(mut self, label: Option<&str>) -> Self {
        self.label = label.map(str::to_owned);
        self
    }
}

impl Client {
    /// A client of `host` (scheme, name, port and prefix), with a token or without.
    pub fn new(profile: Profile, host: &str, token: Option<&str>) -> Self {
        Self { profile, http: Http::new(), host: host.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same client with other limits.
    pub fn with_profile(&self, profile: Profile) -> Self {
        Self { profile, ..self.clone() }
    }

    /// Reaches every host name at this `IP:PORT`: older releases make host names of their own.
    pub fn reaching(mut self, address: &str) -> anyhow::Result<Self> {
        self.http = self.http.reaching(address)?;
        Ok(self)
    }

    /// Calls, and decodes the answer as strictly as the client.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        call: Call,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let call = call.with_answer();
        let reply = self.reply(&call, path, body).await?;
        if reply.media_type() != Some("application/json") {
            let found = reply.header("content-type").map(str::to_owned);
            return Err(Error::ContentType { call: call.name, found });
        }
        let cause = |error: serde_json::Error| Error::Decode { call: call.name, cause: error.to_string() };
        serde_json::from_slice(&reply.body).map_err(cause)
    }

    /// Calls, and looks at nothing but the status.
    pub(super) async fn reply(&self, call: &Call, path: &str, body: Option<&impl Serialize>) -> Result<Reply, Error> {
        let mut repeats = Repeats::new(&self.profile, call.kind);
        loop {
            let request = self.request(call, path, body)?;
            match self.send(call.name, request).await.and_then(|reply| judged(call.name, reply)) {
                Err(error) => repeats.wait(error).await?,
                done => return done,
            }
        }
    }

    /// Calls with a body of unknown length, once: it cannot be read again. Gives the reader back, at its end.
    pub(super) async fn stream<R>(&self, call: &Call, path: &str, reader: R) -> Result<R, Error>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        let failed = |cause: String| Error::Transport { call: call.name, cause };
        let (body, ended) = streamed(reader);
        let request = self.builder(call, path).header(header::CONTENT_TYPE, "application/octet-stream");
        let request = request.body(body).map_err(|cause| failed(cause.to_string()))?;
        let reply = self.http.send_body(request).await.map_err(|cause| failed(format!("{cause:#}")))?;
        judged(call.name, reply)?;
        ended.await.map_err(|_| failed("answered with success before everything was sent".to_owned()))
    }

    /// PUT to the URL of a part, with its repeats.
    pub async fn put(&self, url: &str, content_md5: &str, bytes: Bytes) -> Result<Option<String>, Error> {
        let mut repeats = Repeats::new(&self.profile, Kind::Put);
        loop {
            match self.put_once(url, content_md5, bytes.clone()).await {
                Err(error) => repeats.wait(error).await?,
                done => return done,
            }
        }
    }

    /// Sends a part's bytes to its URL, once and without credentials; gives the ETag, if there was one.
    pub async fn put_once(&self, url: &str, content_md5: &str, bytes: Bytes) -> Result<Option<String>, Error> {
        let call = "PUT";
        let request = Request::put(url)
            .header(header::USER_AGENT, &self.profile.user_agent)
            .header(header::ACCEPT_ENCODING, "gzip")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header("Content-MD5", content_md5)
            .header(header::CONTENT_LENGTH, bytes.len())
            .body(bytes)
            .map_err(|cause| Error::Transport { call, cause: format!("{url}: {cause}") })?;
        if request.uri().scheme().is_none() {
            return Err(Error::Decode { call, cause: format!("upload URL {url} is not absolute") });
        }
        let reply = self.send(call, request).await?;
        if !reply.status.is_success() {
            return Err(failed(call, &reply));
        }
        Ok(reply.header("etag").map(str::to_owned))
    }

    fn request(&self, call: &Call, path: &str, body: Option<&impl Serialize>) -> Result<Request<Bytes>, Error> {
        let mut builder = self.builder(call, path);
        let bytes = match body {
            Some(body) => {
                builder = builder.header(header::CONTENT_TYPE, "application/json;charset=utf-8");
                let cause = |error: serde_json::Error| Error::Decode { call: call.name, cause: error.to_string() };
                Bytes::from(serde_json::to_vec(body).map_err(cause)?)
            }
            None => Bytes::new(),
        };
        if call.method == Method::POST {
            builder = builder.header(header::CONTENT_LENGTH, bytes.len());
        }
        builder.body(bytes).map_err(|cause| Error::Transport { call: call.name, cause: cause.to_string() })
    }

    fn builder(&self, call: &Call, path: &str) -> http::request::Builder {
        // Without a token the client sends the scheme and nothing after it.
        let builder = Request::builder()
            .method(&call.method)
            .uri(self.url(call.label.as_deref(), path))
            .header(header::USER_AGENT, &self.profile.user_agent)
            .header(header::ACCEPT_ENCODING, "gzip")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.as_deref().unwrap_or_default()));
        if call.answers_json {
            builder.header(header::ACCEPT, "application/json;charset=utf-8,application/json")
        } else {
            builder
        }
    }

    fn url(&self, label: Option<&str>, path: &str) -> String {
        let base = match self.host.strip_suffix('/') {
            Some(base) if !self.profile.keeps_trailing_slash => base,
            _ => &self.host,
        };
        let base = label.map_or_else(|| base.to_owned(), |label| host::under(label, base));
        let mark = if self.profile.bare_question_mark && !path.contains('?') { "?" } else { "" };
        format!("{base}/api/v1/{path}{mark}")
    }

    async fn send(&self, call: &'static str, request: Request<Bytes>) -> Result<Reply, Error> {
        self.http.send(request).await.map_err(|cause| Error::Transport { call, cause: format!("{cause:#}") })
    }
}

/// Success is exactly 200: 201, 202 and 204 are failures to the client.
fn judged(call: &'static str, reply: Reply) -> Result<Reply, Error> {
    if reply.status == 200 { Ok(reply) } else { Err(failed(call, &reply)) }
}

fn failed(call: &'static str, reply: &Reply) -> Error {
    let header = reply.header("retry-after").and_then(|value| value.trim().parse().ok());
    let is_json = matches!(reply.media_type(), Some("application/json" | "application/problem+json"));
    let json = || serde_json::from_slice::<serde_json::Value>(&reply.body).ok()?.get("retry_after")?.as_u64();
    let retry_after = header.or_else(|| if is_json { json() } else { None });
    Error::Status { call, status: reply.status.as_u16(), body: reply.text(), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_the_quirks_of_their_release() {
        let url = |profile: Profile, host: &str, label, path| Client::new(profile, host, None).url(label, path);
        let (slash, none) = ("http://h:1/", "http://h:1/pfx");
        assert_eq!(url(Profile::v1_0(), slash, None, "cache/a"), "http://h:1//api/v1/cache/a?");
        assert_eq!(url(Profile::v1_1(), slash, None, "cache/a"), "http://h:1/api/v1/cache/a?");
        assert_eq!(url(Profile::v1_3(), none, Some("a"), "x?y=1"), "http://a.h:1/pfx/api/v1/x?y=1");
        assert_eq!(url(Profile::v1_6_1(), none, Some("a"), "x"), "http://a.h:1/pfx/api/v1/x");
    }

    #[test]
    fn bare_question_mark_survives() {
        let client = Client::new(Profile::v1_0(), "http://h:1", None);
        let request = client.request(&Call::new("test", Method::GET), "cache/a", None::<&()>).unwrap();
        assert_eq!(request.uri().to_string(), "http://h:1/api/v1/cache/a?");
        assert_eq!(request.headers()["authorization"], "Bearer ");
        assert_eq!(request.headers().get("accept"), None);
    }

    #[test]
    fn wait_is_read_from_header_or_json() {
        let reply = |media_type: &'static str, headers: &[(&'static str, &'static str)], body: &'static str| {
            let mut map = http::HeaderMap::new();
            map.insert("content-type", media_type.parse().unwrap());
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            let reply = Reply { status: http::StatusCode::TOO_MANY_REQUESTS, headers: map, body: body.into() };
            match failed("test", &reply) {
                Error::Status { retry_after, .. } => retry_after,
                other => panic!("{other}"),
            }
        };
        let json = r#"{"retry_after":7}"#;
        assert_eq!(reply("text/plain", &[("retry-after", "5")], ""), Some(5));
        assert_eq!(reply("application/problem+json", &[], json), Some(7));
        assert_eq!(reply("text/plain", &[], json), None);
    }
}
