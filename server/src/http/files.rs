//! Files out of store paths, and build logs, for people: who they are says the session, where the cache protocol wants a token. What was
//! pushed is shown as plain text or given to be saved; it never runs here.

use super::{caller, error::PlainError, nix::side};
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use iglu_api::cache::Permission;
use iglu_core::{Cache, Core, Discretion, Error};
use nix_compat::store_path::{StorePath, StorePathHash};
use std::sync::Arc;

pub fn router(core: Core) -> Router {
    Router::new()
        .route("/caches/{name}/files/{hash}", get(whole))
        .route("/caches/{name}/files/{hash}/{*path}", get(inside))
        .route("/caches/{name}/log/{derivation}", get(log))
        .with_state(core)
}

async fn open(core: &Core, name: &str, request: &Parts) -> Result<Arc<Cache>, Error> {
    let caller = caller::by_session(core, &request.headers).await?;
    core.cache().open(&caller, name, Permission::Pull, Discretion::Hide).await
}

/// A store path that is a single file.
async fn whole(State(core): State<Core>, Path((name, hash)): Path<(String, String)>, request: Parts) -> Response {
    file(&core, &name, &hash, "", request).await.unwrap_or_else(|error| PlainError(error).into_response())
}

async fn inside(
    State(core): State<Core>,
    Path((name, hash, path)): Path<(String, String, String)>,
    request: Parts,
) -> Response {
    file(&core, &name, &hash, &path, request).await.unwrap_or_else(|error| PlainError(error).into_response())
}

async fn file(core: &Core, name: &str, hash: &str, path: &str, request: Parts) -> Result<Response, Error> {
    let cache = open(core, name, &request).await?;
    let hash = StorePathHash::parse(hash).map_err(|_| Error::NotFound("this is no store path".to_owned()))?;
    let is_download = request.uri.query() == Some("download");
    let mut response = side::member(core, &cache, hash, path, &request, false).await?;
    if response.status().is_success() {
        let headers = response.headers_mut();
        if is_download {
            headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        } else {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        // Who may see it is asked each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    Ok(response)
}

async fn log(State(core): State<Core>, Path((name, drv)): Path<(String, String)>, request: Parts) -> Response {
    let shown = async {
        let cache = open(&core, &name, &request).await?;
        let drv = StorePath::parse(&drv).map_err(|_| Error::NotFound("this is no derivation".to_owned()))?;
        let mut response = side::log(&core, &cache, &drv, &request).await?;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        Ok(response)
    };
    shown.await.unwrap_or_else(|error| PlainError(error).into_response())
}
