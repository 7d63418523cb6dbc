//! The API as the program itself calls it: of a server somewhere, or of the data here without a server between.

use crate::http::{self, Operator};
use anyhow::{Context, bail};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;
use tower::ServiceExt;
use zeroize::Zeroizing;

/// Longest answer that is read, in bytes.
const LONGEST: usize = 64 << 20;
/// The longest that a server may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where calls go.
pub enum Api {
    /// To the data here, as the operator.
    Here(Router),
    /// To a server, as whom the token stands for.
    There { client: reqwest::Client, server: String, token: Option<Zeroizing<String>> },
}

/// The part of a refusal that people read.
#[derive(Deserialize)]
struct Problem {
    message: String,
}

impl Api {
    pub fn here(core: &iglu_core::Core) -> Api {
        Api::Here(http::calls(core.clone()))
    }

    /// `server` is the URL of its pages, without a trailing slash.
    pub fn there(server: String, token: Option<Zeroizing<String>>) -> anyhow::Result<Api> {
        // Fails where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("iglu/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            // A token goes to the server that was named, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Api::There { client, server, token })
    }

    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        self.call(Method::GET, path, None).await
    }

    pub async fn post<A: DeserializeOwned>(&self, path: &str, body: impl Serialize) -> anyhow::Result<A> {
        self.call(Method::POST, path, Some(serde_json::to_value(body)?)).await
    }

    pub async fn put<A: DeserializeOwned>(&self, path: &str, body: impl Serialize) -> anyhow::Result<A> {
        self.call(Method::PUT, path, Some(serde_json::to_value(body)?)).await
    }

    pub async fn patch<A: DeserializeOwned>(&self, path: &str, body: impl Serialize) -> anyhow::Result<A> {
        self.call(Method::PATCH, path, Some(serde_json::to_value(body)?)).await
    }

    pub async fn delete<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        self.call(Method::DELETE, path, None).await
    }

    /// `path` stands below `/api/v1/`.
    async fn call<A: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<A> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, answer) = match self {
            Api::Here(router) => here(router, method, path, body).await?,
            Api::There { client, server, token } => {
                let mut request = client.request(method, format!("{server}/api/v1/{path}"));
                if let Some(token) = token {
                    request = request.bearer_auth(token.as_str());
                }
                let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
                let response = request.send().await.with_context(|| format!("asking {server}"))?;
                let status = response.status();
                let body = reqwest::Body::from(response);
                (
                    status,
                    Limited::new(body, LONGEST).collect().await.map_err(|error| anyhow::anyhow!(error))?.to_bytes(),
                )
            }
        };
        if !status.is_success() {
            match serde_json::from_slice::<Problem>(&answer) {
                Ok(Problem { message }) => bail!("{message}"),
                Err(_) => bail!("the server answers {status}, and not as an Iglu server would"),
            }
        }
        serde_json::from_slice(&answer).context("the answer is not the one of an Iglu server of this version")
    }
}

async fn here(
    router: &Router,
    method: Method,
    path: &str,
    body: String,
) -> anyhow::Result<(axum::http::StatusCode, bytes::Bytes)> {
    let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}")).body(Body::from(body))?;
    request.extensions_mut().insert(Operator);
    let response = router.clone().oneshot(request).await?;
    Ok((response.status(), response.into_body().collect().await?.to_bytes()))
}

/// One segment of a path, whatever stands in it.
pub fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A query of names and values; empty values are left out.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    query.finish()
}
