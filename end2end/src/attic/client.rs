//! The calls of the API, one method each, with the client's headers and its view of the answers.

use bytes::Bytes;
use http::{Method, Request, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wire::{CacheConfig, ConfigureCache, CreateCache, GetMissingPaths, MissingPaths};
use super::{Endpoint, Error};
use crate::body::{self, Body};
use crate::http::{Http, Reply};

/// Which of the two clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `attic`.
    Attic,
    /// Its fork `celler`: other header names, and no content addresses.
    Celler,
}

impl Flavour {
    /// The `User-Agent` header.
    pub fn user_agent(self) -> &'static str {
        match self {
            Self::Attic => "Attic/attic-client (attic)",
            Self::Celler => "Celler/celler-client (celler)",
        }
    }

    /// The header with the whole metadata.
    pub fn nar_info_header(self) -> &'static str {
        match self {
            Self::Attic => "X-Attic-Nar-Info",
            Self::Celler => "X-Celler-Nar-Info",
        }
    }

    /// The header with the size of the metadata before the NAR.
    pub fn preamble_header(self) -> &'static str {
        match self {
            Self::Attic => "X-Attic-Nar-Info-Preamble-Size",
            Self::Celler => "X-Celler-Nar-Info-Preamble-Size",
        }
    }
}

/// What `use` writes into the configuration of Nix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substituter {
    /// For `substituters`.
    pub url: String,
    /// For `trusted-public-keys`.
    pub public_key: String,
    /// For the netrc file: a machine without port, a password and no login. Only with a token.
    pub netrc: Option<String>,
}

/// An emulated client, logged in. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    /// Which of the two clients.
    pub flavour: Flavour,
    /// Paths uploaded at once: 5 unless told.
    pub uploads_at_once: usize,
    http: Http,
    endpoint: Endpoint,
    token: Option<String>,
}

impl Client {
    /// What `login` leads to: an endpoint, with a token or without. Nobody is contacted.
    pub fn new(endpoint: &str, token: Option<&str>) -> Result<Self, Error> {
        Ok(Self {
            flavour: Flavour::Attic,
            uploads_at_once: 5,
            http: Http::new(),
            endpoint: Endpoint::parse(endpoint)?,
            token: token.map(str::to_owned),
        })
    }

    /// The same as the fork does it.
    pub fn celler(mut self) -> Self {
        self.flavour = Flavour::Celler;
        self
    }

    /// Reaches every host name at this `IP:PORT`.
    pub fn reaching(mut self, address: &str) -> anyhow::Result<Self> {
        self.http = self.http.reaching(address)?;
        Ok(self)
    }

    /// The same client at another endpoint, with the same token.
    pub fn at(&self, endpoint: &str) -> Result<Self, Error> {
        Ok(Self { endpoint: Endpoint::parse(endpoint)?, ..self.clone() })
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `cache info`, and the first call of every other command.
    pub async fn cache_config(&self, cache: &str) -> Result<CacheConfig, Error> {
        let reply = self.cache_call("cache-config", Method::GET, cache, None::<&()>).await?;
        decode("cache-config", &reply)
    }

    /// The same record below the substituter.
    pub async fn cache_info(&self, cache: &str) -> Result<CacheConfig, Error> {
        let path = format!("{}/attic-cache-info", checked(cache)?);
        let reply = self.call("attic-cache-info", Method::GET, &path, None::<&()>).await?;
        decode("attic-cache-info", &reply)
    }

    /// `use`: needs the substituter's address and key.
    pub async fn use_cache(&self, cache: &str) -> Result<Substituter, Error> {
        let config = self.cache_config(cache).await?;
        let without = |field| Error::Incomplete { cache: cache.to_owned(), field };
        let url = config.substituter_endpoint.ok_or(without("substituter_endpoint"))?;
        let public_key = config.public_key.ok_or(without("public_key"))?;
        let host = Endpoint::parse(&url)?.host().to_owned();
        let netrc = self.token.as_ref().map(|token| format!("machine {host}\npassword {token}\n"));
        Ok(Substituter { url, public_key, netrc })
    }

    /// `cache create`. Gives the answer, of which the client looks at nothing but the class of its status.
    pub async fn create(&self, cache: &str, body: &CreateCache) -> Result<Reply, Error> {
        self.cache_call("create", Method::POST, cache, Some(body)).await
    }

    /// `cache configure`.
    pub async fn configure(&self, cache: &str, body: &ConfigureCache) -> Result<Reply, Error> {
        self.cache_call("configure", Method::PATCH, cache, Some(body)).await
    }

    /// [`Client::configure`] with any body, as older and other clients may send it.
    pub async fn configure_with(&self, cache: &str, body: &Value) -> Result<Reply, Error> {
        self.cache_call("configure", Method::PATCH, cache, Some(body)).await
    }

    /// `cache destroy`.
    pub async fn destroy(&self, cache: &str) -> Result<Reply, Error> {
        self.cache_call("destroy", Method::DELETE, cache, None::<&()>).await
    }

    /// Which of these hash parts the cache has not: all in one request.
    pub async fn get_missing_paths(&self, cache: &str, hashes: &[String]) -> Result<Vec<String>, Error> {
        let call = "get-missing-paths";
        let body = GetMissingPaths { cache: checked(cache)?.to_owned(), store_path_hashes: hashes.to_vec() };
        let reply = self.call(call, Method::POST, "_api/v1/get-missing-paths", Some(&body)).await?;
        Ok(decode::<MissingPaths>(call, &reply)?.missing_paths)
    }

    async fn cache_call(
        &self,
        call: &'static str,
        method: Method,
        cache: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Reply, Error> {
        let path = format!("_api/v1/cache-config/{}", checked(cache)?);
        self.call(call, method, &path, body).await
    }

    async fn call(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Reply, Error> {
        let mut request = self.request(method, path);
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                let cause = |error: serde_json::Error| Error::Decode { call, cause: error.to_string() };
                Bytes::from(serde_json::to_vec(body).map_err(cause)?)
            }
            None => Bytes::new(),
        };
        self.send(call, request, body::full(bytes)).await
    }

    /// A request with what every request has. The scheme of the credentials is written in lower case.
    pub(super) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(self.endpoint.resolve(path))
            .header(header::ACCEPT, "*/*")
            .header(header::USER_AGENT, self.flavour.user_agent());
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("bearer {token}"));
        }
        request
    }

    /// Sends; anything but 2xx is a failure.
    pub(super) async fn send(
        &self,
        call: &'static str,
        request: http::request::Builder,
        body: Body,
    ) -> Result<Reply, Error> {
        let request = request.body(body).map_err(|cause| Error::Transport { call, cause: cause.to_string() })?;
        let sent = self.http.send_body(request).await;
        let reply = sent.map_err(|cause| Error::Transport { call, cause: format!("{cause:#}") })?;
        if reply.status.is_success() { Ok(reply) } else { Err(Error::of(call, &reply)) }
    }
}

fn decode<T: DeserializeOwned>(call: &'static str, reply: &Reply) -> Result<T, Error> {
    serde_json::from_slice(&reply.body).map_err(|error| Error::Decode { call, cause: error.to_string() })
}

/// The client's rule for names of caches: 1 to 50 characters, the first a letter or a digit.
fn checked(cache: &str) -> Result<&str, Error> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
    let good = cache.len() <= 50 && cache.starts_with(|c: char| c.is_ascii_alphanumeric()) && cache.chars().all(inner);
    if good { Ok(cache) } else { Err(Error::Name(cache.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_sent() {
        for good in ["a", "0", "A-b_c+d", &"x".repeat(50)] {
            assert_eq!(checked(good).unwrap(), good);
        }
        for bad in ["", "_api", "-a", "+a", "a/b", "a.b", "a b", "\u{e9}", &"x".repeat(51)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scheme_of_the_credentials_is_lower_case() {
        let client = Client::new("http://h/", Some("secret")).unwrap();
        let request = client.request(Method::GET, "_api/v1/x").body(()).unwrap();
        assert_eq!(request.headers()["authorization"], "bearer secret");
        let nobody = Client::new("http://h/", None).unwrap().celler();
        let request = nobody.request(Method::GET, "_api/v1/x").body(()).unwrap();
        assert_eq!(request.headers().get("authorization"), None);
        assert!(request.headers()["user-agent"].to_str().unwrap().starts_with("Celler/"));
    }
}
