//! The calls of the API, one method each, with the client's headers, its checks of the answer and its repeats.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Profile, wire};
use crate::digest::Random;
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

/// How one call is sent and judged.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    method: Verb,
    repeated: bool,
    answers_json: bool,
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Post,
}

impl Client {
    /// A client of `host` (scheme, name, port and prefix; one trailing slash is dropped), with a token or without.
    pub fn new(profile: Profile, host: &str, token: Option<&str>) -> Self {
        let host = host.strip_suffix('/').unwrap_or(host).to_owned();
        Self { profile, http: Http::new(), host, token: token.map(str::to_owned) }
    }

    /// The same client with other limits.
    pub fn with_profile(&self, profile: Profile) -> Self {
        Self { profile, ..self.clone() }
    }

    /// getCache.
    pub async fn cache(&self, name: &str) -> Result<wire::Cache, Error> {
        let call = self.call_of("getCache", Verb::Get, false, true);
        self.json(call, &format!("cache/{name}"), None::<&()>).await
    }

    /// The bulk query: which of these hash parts the cache has not. Sent in chunks, one after the other.
    pub async fn missing(&self, cache: &str, hashes: &[String]) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        for chunk in hashes.chunks(self.profile.bulk_chunk) {
            missing.extend(self.missing_once(cache, chunk).await?);
        }
        Ok(missing)
    }

    /// One bulk query with exactly these texts, even none.
    pub async fn missing_once(&self, cache: &str, hashes: &[String]) -> Result<Vec<String>, Error> {
        let call = self.call_of("narinfo bulk", Verb::Post, true, true);
        self.json(call, &format!("cache/{cache}/narinfo"), Some(&hashes)).await
    }

    /// Begins an upload.
    pub async fn create(&self, cache: &str, compression: wire::Compression) -> Result<wire::Created, Error> {
        let call = self.call_of("create", Verb::Post, false, true);
        let path = format!("cache/{cache}/multipart-nar?compression={}", compression.query());
        self.json(call, &path, None::<&()>).await
    }

    /// Asks where a part goes.
    pub async fn part(
        &self,
        cache: &str,
        upload: &wire::Created,
        number: u32,
        content_md5: &str,
    ) -> Result<wire::PartCreated, Error> {
        let call = self.call_of("part", Verb::Post, true, true);
        let (id, upload_id) = (&upload.nar_id.0, escape(&upload.upload_id));
        let path = format!("cache/{cache}/multipart-nar/{id}?uploadId={upload_id}&partNumber={number}");
        self.json(call, &path, Some(&wire::PartCreate { content_md5: content_md5.to_owned() })).await
    }

    /// Sends a part's bytes to its URL; gives the ETag, if there was one.
    pub async fn put(&self, url: &str, content_md5: &str, bytes: Bytes) -> Result<Option<String>, Error> {
        let mut repeats = Repeats::new(&self.profile);
        loop {
            match self.put_once(url, content_md5, bytes.clone()).await {
                Err(error) if error.is_transient() => repeats.wait(error).await?,
                done => return done,
            }
        }
    }

    /// Like [`Client::put`], without repeats.
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

    /// Ends an upload with the client's claims.
    pub async fn complete(&self, cache: &str, upload: &wire::Created, body: &wire::Complete) -> Result<(), Error> {
        let call = self.call_of("complete", Verb::Post, true, false);
        let (id, upload_id) = (&upload.nar_id.0, escape(&upload.upload_id));
        self.reply(call, &format!("cache/{cache}/multipart-nar/{id}/complete?uploadId={upload_id}"), Some(body))
            .await?;
        Ok(())
    }

    /// Gives an upload up.
    pub async fn abort(&self, cache: &str, upload: &wire::Created) -> Result<(), Error> {
        let call = self.call_of("abort", Verb::Post, true, false);
        let (id, upload_id) = (&upload.nar_id.0, escape(&upload.upload_id));
        let path = format!("cache/{cache}/multipart-nar/{id}/abort?uploadId={upload_id}");
        self.reply(call, &path, None::<&()>).await?;
        Ok(())
    }

    fn call_of(&self, name: &'static str, method: Verb, repeated: bool, answers_json: bool) -> Call {
        Call { name, method, repeated: repeated || self.profile.repeats_every_call, answers_json }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        call: Call,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let reply = self.reply(call, path, body).await?;
        if reply.media_type() != Some("application/json") {
            let found = reply.header("content-type").map(str::to_owned);
            return Err(Error::ContentType { call: call.name, found });
        }
        let cause = |error: serde_json::Error| Error::Decode { call: call.name, cause: error.to_string() };
        serde_json::from_slice(&reply.body).map_err(cause)
    }

    async fn reply(&self, call: Call, path: &str, body: Option<&impl Serialize>) -> Result<Reply, Error> {
        let mut repeats = Repeats::new(&self.profile);
        loop {
            let request = self.request(call, path, body)?;
            let judged = self.send(call.name, request).await.and_then(|reply| {
                // Success is exactly 200: 201, 202 and 204 are failures to the client.
                if reply.status == 200 { Ok(reply) } else { Err(failed(call.name, &reply)) }
            });
            match judged {
                Err(error) if call.repeated && error.is_transient() => repeats.wait(error).await?,
                done => return done,
            }
        }
    }

    fn request(&self, call: Call, path: &str, body: Option<&impl Serialize>) -> Result<Request<Bytes>, Error> {
        let method = match call.method {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
        };
        // Without a token the client sends the scheme and nothing after it.
        let mut builder = Request::builder()
            .method(&method)
            .uri(format!("{}/api/v1/{path}", self.host))
            .header(header::USER_AGENT, &self.profile.user_agent)
            .header(header::ACCEPT_ENCODING, "gzip")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.as_deref().unwrap_or_default()));
        if call.answers_json {
            builder = builder.header(header::ACCEPT, "application/json;charset=utf-8,application/json");
        }
        let bytes = match body {
            Some(body) => {
                builder = builder.header(header::CONTENT_TYPE, "application/json;charset=utf-8");
                let cause = |error: serde_json::Error| Error::Decode { call: call.name, cause: error.to_string() };
                Bytes::from(serde_json::to_vec(body).map_err(cause)?)
            }
            None => Bytes::new(),
        };
        if method == Method::POST {
            builder = builder.header(header::CONTENT_LENGTH, bytes.len());
        }
        builder.body(bytes).map_err(|cause| Error::Transport { call: call.name, cause: cause.to_string() })
    }

    async fn send(&self, call: &'static str, request: Request<Bytes>) -> Result<Reply, Error> {
        self.http.send(request).await.map_err(|cause| Error::Transport { call, cause: format!("{cause:#}") })
    }
}

/// The repeats of one request.
struct Repeats<'a> {
    profile: &'a Profile,
    attempt: u32,
    waited: Duration,
    random: Random,
}

impl<'a> Repeats<'a> {
    fn new(profile: &'a Profile) -> Self {
        // Two clients that failed together must not come back together.
        let seed = RandomState::new().build_hasher().finish();
        Self { profile, attempt: 0, waited: Duration::ZERO, random: Random::new(seed) }
    }

    /// Waits before the next attempt, or gives the error back when there is none.
    async fn wait(&mut self, error: Error) -> Result<(), Error> {
        let draw = self.random.below(1000) as f64 / 1000.0;
        let Some(mut delay) = self.profile.backoff.delay(self.attempt, self.waited, draw) else { return Err(error) };
        if let Error::Status { retry_after: Some(seconds), .. } = &error {
            delay = delay.max(Duration::from_secs((*seconds).min(120)));
        }
        tokio::time::sleep(delay).await;
        self.attempt += 1;
        self.waited += delay;
        Ok(())
    }
}

fn failed(call: &'static str, reply: &Reply) -> Error {
    let header = reply.header("retry-after").and_then(|value| value.trim().parse().ok());
    let json = || serde_json::from_slice::<serde_json::Value>(&reply.body).ok()?.get("retry_after")?.as_u64();
    let retry_after = header.or_else(json);
    Error::Status { call, status: reply.status.as_u16(), body: reply.text(), retry_after }
}

/// Percent-encodes everything but unreserved characters.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}
