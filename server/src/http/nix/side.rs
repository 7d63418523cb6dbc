//! Reading what stands beside narinfos and NARs: listings, build logs, realisations, debug info, and single files.

use super::{absent, immutable, mutable};
use axum::{
    body::Body,
    http::{HeaderValue, Method, header, request::Parts},
    response::Response,
};
use iglu_core::{Cache, Core, Error, Stored};
use nix_compat::{
    debug_info::DebugId,
    realisation::RealisationKey,
    store_path::{StorePath, StorePathHash},
};
use tokio_util::io::ReaderStream;

/// What others pushed is shown, never run: no script, no frame, no form, no request to anywhere.
const HARMLESS: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; sandbox");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// A JSON document that does not change.
pub fn json(cache: &Cache, document: impl Into<Body>) -> Response {
    let mut response = Response::new(document.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, immutable(cache));
    response
}

/// The listing, plain: it is kept packed, and is a few kilobytes.
pub async fn listing(core: &Core, cache: &Cache, hash: StorePathHash) -> Result<Response, Error> {
    Ok(core.path().listing(cache, hash).await?.map_or_else(absent, |listing| json(cache, listing)))
}

/// A build log: as it is stored to clients that unpack zstd, else plain.
pub async fn log(core: &Core, cache: &Cache, drv: &StorePath, request: &Parts) -> Result<Response, Error> {
    let Some(log) = core.build_log().get(cache, drv).await? else { return Ok(absent()) };
    let offered = request.headers.get(header::ACCEPT_ENCODING).and_then(|offered| offered.to_str().ok());
    let as_stored = offered.is_some_and(|offered| offered.split(',').any(|coding| coding.trim() == "zstd"));
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", NOSNIFF);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CACHE_CONTROL, mutable(cache));
    headers.insert(header::CONTENT_LENGTH, if as_stored { log.file_size } else { log.size }.into());
    if as_stored {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    if request.method == Method::GET {
        *response.body_mut() = if as_stored {
            match log.stored {
                Stored::File(file) => {
                    Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), 128 * 1024))
                }
                Stored::Object(object) => Body::from_stream(object.stream(0..object.size).await?),
            }
        } else {
            Body::from_stream(log.plain().await?)
        };
    }
    Ok(response)
}

pub async fn realisation(core: &Core, cache: &Cache, key: &RealisationKey) -> Result<Response, Error> {
    let Some(document) = core.realisation().get(cache, key).await? else { return Ok(absent()) };
    let mut response = json(cache, document);
    response.headers_mut().insert(header::CACHE_CONTROL, mutable(cache));
    Ok(response)
}

/// Which NAR has the debug symbols, relative to where this document is.
pub async fn debug_info(core: &Core, cache: &Cache, id: &DebugId) -> Result<Response, Error> {
    let Some((nar_url, member)) = core.fetch().debug_info(cache, id).await? else { return Ok(absent()) };
    let document = serde_json::json!({ "archive": format!("../{nar_url}"), "member": member });
    let mut response = json(cache, document.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, mutable(cache));
    Ok(response)
}

/// One regular file of a store path.
pub async fn member(
    core: &Core,
    cache: &Cache,
    hash: StorePathHash,
    path: &str,
    request: &Parts,
    is_use: bool,
) -> Result<Response, Error> {
    let Some(member) = core.fetch().member(cache, hash, path, is_use).await? else { return Ok(absent()) };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let kind = mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("x-content-type-options", NOSNIFF);
    headers.insert(header::CONTENT_SECURITY_POLICY, HARMLESS);
    headers.insert(header::CACHE_CONTROL, immutable(cache));
    headers.insert(header::CONTENT_LENGTH, member.size.into());
    if request.method == Method::GET {
        *response.body_mut() = Body::from_stream(member.bytes().await?);
    }
    Ok(response)
}
