//! Our own API under `/api/v1`: what the pages do, for scripts. Tokens say who asks; cookies do not, so that no other site can ask in
//! somebody's name. Its description is made from the code, and served beside it.

mod builder;
mod cache;
mod instance;
mod keeping;
mod key;
mod path;
mod people;
mod reference;
mod run;

use super::{
    body, caller, docs,
    error::{say_when, status},
};
use axum::{
    Json, Router,
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use iglu_core::{Caller, Core, Error};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

/// Longest body of a call.
const LONGEST: usize = 1 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Iglu",
        description = "Caches, paths, pins, keys, people, tokens, retention, statistics, builders and runs of an Iglu server. Every call takes a token as \
            `Authorization: Bearer …`; what a public cache shows needs none. Times are milliseconds since 1970-01-01 UTC, sizes are bytes.",
        license(name = "Apache-2.0")
    ),
    tags(
        (name = "caches", description = "Caches and their settings"),
        (name = "paths", description = "Store paths of a cache"),
        (name = "pins", description = "Names for paths that stay"),
        (name = "keys", description = "Who vouches for the paths of a cache"),
        (name = "retention", description = "What a cache keeps, and what was removed"),
        (name = "statistics", description = "What was asked, over time"),
        (name = "builders", description = "What of which repository is built into which cache"),
        (name = "runs", description = "Executions of builders, the queue, and the nodes that execute them"),
        (name = "people", description = "Who may do what, and tokens"),
        (name = "server", description = "The server itself, for administrators")
    ),
    // Those that only queries name.
    components(schemas(iglu_api::path::PathSort, iglu_api::path::PathFilter, iglu_api::statistics::Span)),
    modifiers(&Tokens)
)]
struct Description;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        openapi.info.version = env!("CARGO_PKG_VERSION").to_owned();
    }
}

fn described() -> (Router<Core>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(cache::router())
        .merge(path::router())
        .merge(keeping::router())
        .merge(key::router())
        .merge(people::router())
        .merge(builder::router())
        .merge(run::router())
        .merge(instance::router())
        .split_for_parts()
}

pub fn router(core: Core, site_style: String) -> Router {
    let (router, openapi) = described();
    let page: Arc<str> = reference::page(&openapi, &site_style).into();
    // Made of constants, and read by a test.
    let json: Arc<str> = openapi.to_pretty_json().unwrap_or_default().into();
    let as_json = async move || {
        let mut response = Response::new(Body::from(json.to_string()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    router
        .route("/api/v1/openapi.json", get(as_json))
        .route("/docs/api", get(async move || docs::answer(http::StatusCode::OK, &page)))
        .with_state(core)
}

/// The calls without a server in front, for the program itself.
pub fn calls(core: Core) -> Router {
    described().0.with_state(core)
}

/// Marks a request that the program itself makes on the data here. Nothing that comes over the network carries it.
#[derive(Clone, Copy)]
pub struct Operator;

/// Who asks, by the token shown.
struct Asker(Caller);

impl FromRequestParts<Core> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, core: &Core) -> Result<Asker, Refusal> {
        if parts.extensions.get::<Operator>().is_some() {
            return Ok(Asker(Caller::Operator));
        }
        Ok(Asker(caller::by_good_token(core, &parts.headers).await?))
    }
}

/// A JSON body. Whatever is wrong with it is told as JSON.
pub(super) struct Input<T>(pub(super) T);

impl<T: for<'a> Deserialize<'a>> FromRequest<Core> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Core) -> Result<Input<T>, Refusal> {
        // Nobody is waited for who shows nothing; whether what is shown is any good, the asker was looked at for.
        if request.extensions().get::<Operator>().is_none() && caller::secret(request.headers()).is_none() {
            return Err(Error::Unauthenticated("no token was sent".to_owned()).into());
        }
        let bytes = body::document(request.into_body(), LONGEST).await?;
        let read = serde_json::from_slice(&bytes);
        Ok(Input(read.map_err(|error| Error::invalid("", format!("the body is not the JSON expected: {error}")))?))
    }
}

/// The values of a query. Whatever is wrong with them is told as JSON.
struct Query<T>(T);

impl<T: for<'a> Deserialize<'a>> FromRequestParts<Core> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Core) -> Result<Query<T>, Refusal> {
        let read = axum::extract::Query::try_from_uri(&parts.uri);
        let axum::extract::Query(values) = read.map_err(|error| Error::invalid("", error.body_text()))?;
        Ok(Query(values))
    }
}

/// What a call answers.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// Why a call was refused.
#[derive(Debug, Serialize, ToSchema)]
struct Problem {
    /// The HTTP status.
    status: u16,
    /// The field that is wrong; empty where none is.
    field: &'static str,
    message: String,
}

#[derive(Debug)]
pub(super) struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(error) = self;
        if matches!(error, Error::Unavailable { .. } | Error::Internal { .. }) {
            tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "a call failed");
        }
        let field = match &error {
            Error::Invalid { field, .. } | Error::Conflict { field, .. } => field,
            _ => "",
        };
        let status = status(&error);
        let mut response =
            (status, Json(Problem { status: status.as_u16(), field, message: error.to_string() })).into_response();
        if status == axum::http::StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        say_when(&mut response, &error);
        response
    }
}

/// The hash part of a store path in an address.
fn hash_of(text: &str) -> Result<nix_compat::store_path::StorePathHash, Refusal> {
    let parsed = nix_compat::store_path::StorePathHash::parse(text);
    Ok(parsed.map_err(|_| Error::NotFound("this is no hash part of a store path".to_owned()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What scripts rely on changes only on purpose. `IGLU_BLESS=1` writes it anew.
    #[test]
    fn the_description_is_the_one_that_is_kept() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        let made = described().1.to_pretty_json().unwrap() + "\n";
        if std::env::var_os("IGLU_BLESS").is_some() {
            std::fs::write(&file, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == made,
            "docs/openapi.json is not what the code says: run this test with IGLU_BLESS=1 and look at it"
        );
    }

    #[test]
    fn every_call_says_how_it_is_refused() {
        let (_, openapi) = described();
        let mut calls = 0;
        for (path, item) in &openapi.paths.paths {
            let methods = [&item.get, &item.post, &item.put, &item.patch, &item.delete];
            for operation in methods.into_iter().flatten() {
                calls += 1;
                assert!(operation.responses.responses.contains_key("default"), "{path}");
                assert!(operation.summary.as_ref().is_some_and(|words| words.len() > 10), "{path}");
            }
        }
        assert!(calls > 20, "{calls} calls");
    }
}
