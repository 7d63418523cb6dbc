//! The only door to the server: what nodes say to it, and pushes with the token of a run.

use futures_util::Stream;
use iglu_api::{
    attic::{GetMissingPaths, MissingPaths, UploadPathInfo},
    node::{Assignment, FailedBefore, Heard, Hello, Report, Welcome},
    pin::PinCreate,
    probe::{ProbeAnswer, ProbeTask},
};
use nix_compat::store_path::StorePathHash;
use reqwest::{Body, Client, Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};
use std::time::{Duration, Instant};

/// Longer than the server keeps a node waiting that asks for work.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// A push that nothing moves in for so long is given up.
const STALLED: Duration = Duration::from_secs(120);

/// How long a server may be away before a run fails for it, and the longest pause between two questions.
const AWAY: Duration = Duration::from_secs(10 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is left of the patience with a server that is away.
pub struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    pub fn new() -> Patience {
        Patience { until: Instant::now() + AWAY, pause: Duration::from_secs(1) }
    }

    /// Waits a while if asking again can help; else says that it cannot.
    pub async fn waits(&mut self, error: &ServerError) -> bool {
        if !error.is_passing() || Instant::now() > self.until {
            return false;
        }
        tracing::warn!(%error, "trying again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Asks again while the server or the network is away.
macro_rules! patiently {
    ($ask:expr) => {{
        let mut patience = $crate::server::Patience::new();
        loop {
            match $ask.await {
                Err(error) if patience.waits(&error).await => {}
                answer => break answer,
            }
        }
    }};
}
pub(crate) use patiently;

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the server refuses ({status}): {message}")]
    Refused { status: u16, message: String },
}

impl ServerError {
    /// What went wrong on this side; asking again does not help.
    pub fn here(why: impl std::fmt::Display) -> ServerError {
        ServerError::Refused { status: 400, message: format!("on this node: {why}") }
    }

    /// Whether asking again can help.
    pub fn is_passing(&self) -> bool {
        match self {
            ServerError::Unreachable(_) => true,
            ServerError::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 429),
        }
    }
}

impl From<reqwest::Error> for ServerError {
    fn from(error: reqwest::Error) -> ServerError {
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        let innermost = causes.last().map(ToString::to_string);
        ServerError::Unreachable(innermost.unwrap_or_else(|| error.without_url().to_string()))
    }
}

#[derive(Clone)]
pub struct Server {
    http: Client,
    url: String,
    token: String,
}

impl Server {
    pub fn new(url: &str, token: &str) -> Server {
        // The second of two that install it in one process finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().connect_timeout(CONNECT).read_timeout(STALLED).build().unwrap_or_default();
        Server { http, url: url.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// The same server, asked with the token of a run.
    pub fn with_token(&self, token: &str) -> Server {
        Server { token: token.to_owned(), ..self.clone() }
    }

    /// Where Nix finds a cache.
    pub fn cache_uri(&self, cache: &str) -> String {
        format!("{}/{cache}", self.url)
    }

    /// The host of the server, as a netrc file names it.
    pub fn host(&self) -> String {
        let url = reqwest::Url::parse(&self.url).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    pub async fn hello(&self, hello: &Hello) -> Result<Welcome, ServerError> {
        json(self.post("/api/v1/node/hello", hello).await?).await
    }

    /// The next run; waits a while for one.
    pub async fn claim(&self) -> Result<Option<Assignment>, ServerError> {
        json(self.post("/api/v1/node/claim", &()).await?).await
    }

    /// The next look at a repository; waits a while for one.
    pub async fn probe_claim(&self) -> Result<Option<ProbeTask>, ServerError> {
        json(self.post("/api/v1/node/probe", &()).await?).await
    }

    pub async fn probe_tell(&self, id: u64, answer: &ProbeAnswer) -> Result<(), ServerError> {
        self.post(&format!("/api/v1/node/probes/{id}"), answer).await.map(drop)
    }

    pub async fn report(&self, run: u64, report: &Report) -> Result<Heard, ServerError> {
        json(self.post(&format!("/api/v1/node/runs/{run}/report"), report).await?).await
    }

    pub async fn failed_before(&self, run: u64, asked: &FailedBefore) -> Result<Vec<String>, ServerError> {
        json(self.post(&format!("/api/v1/node/runs/{run}/failed-before"), asked).await?).await
    }

    /// Of these hash parts, those of paths that the cache lacks.
    pub async fn missing(&self, cache: &str, hashes: &[StorePathHash]) -> Result<Vec<StorePathHash>, ServerError> {
        let asked = GetMissingPaths { cache: cache.to_owned(), store_path_hashes: hashes.to_vec() };
        let answer: MissingPaths = json(self.post("/_api/v1/get-missing-paths", &asked).await?).await?;
        Ok(answer.missing_paths)
    }

    /// Pushes one path, as its plain NAR.
    pub async fn upload<S, E>(&self, info: &UploadPathInfo, nar: S) -> Result<(), ServerError>
    where
        S: Stream<Item = Result<tokio_util::bytes::Bytes, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let preamble = serde_json::to_vec(info).map_err(|error| ServerError::Unreachable(error.to_string()))?;
        let size = preamble.len();
        let first = futures_util::stream::once(async move { Ok(tokio_util::bytes::Bytes::from(preamble)) });
        let body = Body::wrap_stream(futures_util::StreamExt::chain(first, nar));
        let request = self.request(Method::PUT, "/_api/v1/upload-path");
        good(request.header("x-attic-nar-info-preamble-size", size).body(body).send().await?).await.map(drop)
    }

    pub async fn log_put(&self, cache: &str, drv: &str, log: Vec<u8>) -> Result<(), ServerError> {
        good(self.request(Method::PUT, &format!("/{cache}/log/{drv}")).body(log).send().await?).await.map(drop)
    }

    pub async fn pin(&self, cache: &str, pin: &PinCreate) -> Result<(), ServerError> {
        self.post(&format!("/api/v1/caches/{cache}/pins"), pin).await.map(drop)
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Response, ServerError> {
        good(self.request(Method::POST, path).timeout(PATIENCE).json(body).send().await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ServerError> {
    Ok(response.json().await?)
}

async fn good(response: Response) -> Result<Response, ServerError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    #[derive(serde::Deserialize)]
    struct Problem {
        message: String,
    }
    let text = response.text().await.unwrap_or_default();
    let message = serde_json::from_str::<Problem>(&text).map_or(text, |problem| problem.message);
    Err(ServerError::Refused { status: status.as_u16(), message: message.chars().take(500).collect() })
}
