//! The Nix binary cache protocol: `nix-cache-info`, narinfos, NAR files and all that stands beside them. No cookies, no redirects;
//! what is not there is 404 and nothing else.
//!
//! One cache is reached in three ways: `/{cache}/…`, `/api/v1/cache/{cache}/…`, and as a label of the cache domain.

mod nar;
mod narinfo;
mod put;
pub mod side;
mod target;

pub use target::{Object, Target};

use super::{
    attic, caller,
    error::{PlainError, plain, wrong_method},
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use iglu_api::cache::Permission;
use iglu_core::{Cache, Core, Discretion, Error};
use nix_compat::cache_info::CacheInfo;
use std::{net::IpAddr, time::Instant};

/// What can change is asked for again soon.
fn mutable(cache: &Cache) -> HeaderValue {
    HeaderValue::from_static(if cache.is_for_everybody() { "public, max-age=60" } else { "private, max-age=60" })
}

/// What has the hash of its content in its name never changes.
fn immutable(cache: &Cache) -> HeaderValue {
    HeaderValue::from_static(if cache.is_for_everybody() {
        "public, max-age=31536000, immutable"
    } else {
        "private, max-age=31536000, immutable"
    })
}

/// Who waits for an answer, and since when.
#[derive(Clone, Copy)]
pub struct Reader {
    pub from: Option<IpAddr>,
    pub started: Instant,
}

impl Reader {
    fn note(self, core: &Core, cache: &Cache) {
        core.note_reader(cache, self.from, self.started.elapsed());
    }
}

/// The fastest path: a narinfo that memory knows, of a public cache, without credentials to look up.
pub fn from_memory(core: &Core, target: &Target, request: &Request<Body>, reader: Reader) -> Option<Response> {
    let Object::Narinfo(Some(hash)) = target.object else { return None };
    if target.is_api
        || !matches!(*request.method(), Method::GET | Method::HEAD)
        || !caller::is_anonymous(request.headers())
    {
        return None;
    }
    let cache = core.cache_remembered(&target.cache)?;
    if !cache.is_public() || !cache.networks.contains(reader.from) {
        return None;
    }
    let remembered = core.path().narinfo_remembered(&cache, hash)?;
    let response = narinfo::response(&cache, remembered.as_deref(), request.headers());
    reader.note(core, &cache);
    Some(response)
}

/// Any request of this protocol.
pub async fn answer(core: &Core, target: Target, request: Request<Body>, reader: Reader) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => match read(core, &target, &request.into_parts().0, reader).await {
            Ok(response) => response,
            Err(error) => {
                let mut response = PlainError(error).into_response();
                if matches!(target.object, Object::Nar(_)) {
                    // A client that resumes forgets that it can when this is missing on an error.
                    response.headers_mut().insert(header::ACCEPT_RANGES, nar::BYTES);
                }
                response
            }
        },
        Method::PUT => put::answer(core, target, request).await,
        _ => wrong_method("GET, HEAD, PUT"),
    }
}

async fn read(core: &Core, target: &Target, request: &Parts, reader: Reader) -> Result<Response, Error> {
    let headers = &request.headers;
    let caller = caller::by_token(core, headers).await?;
    let cache = core.cache().open(&caller, &target.cache, Permission::Pull, Discretion::Tell).await?;
    let wants_json = target.is_api && prefers_json(headers);
    match &target.object {
        Object::CacheInfo => Ok(cache_info(&cache, wants_json)),
        Object::Narinfo(Some(hash)) => {
            let narinfo = core.path().narinfo(&cache, *hash).await?;
            reader.note(core, &cache);
            match narinfo {
                Some(narinfo) if wants_json => narinfo::json(&cache, &narinfo),
                narinfo => Ok(narinfo::response(&cache, narinfo.as_deref(), headers)),
            }
        }
        Object::Nar(Some(name)) => nar::nar(core, &caller, &cache, *name, request).await,
        Object::NarUrl(Some((name, file))) => {
            let url = format!("{}/nar/{file}", core.address().cache_uri(&cache.name));
            let found = core.fetch().nar(&cache, &name.file_hash).await?;
            Ok(found.map_or_else(absent, |_| side::json(&cache, serde_json::Value::from(url).to_string())))
        }
        Object::Listing(Some(hash)) => side::listing(core, &cache, *hash).await,
        Object::Log(Some(drv)) => side::log(core, &cache, drv, request).await,
        Object::Realisation(Some(key)) => side::realisation(core, &cache, key).await,
        Object::DebugInfo(Some(id)) => side::debug_info(core, &cache, id).await,
        Object::Member(Some((hash, path))) => side::member(core, &cache, *hash, path, request, true).await,
        Object::AtticConfig => attic::config(core, &caller, &target.cache).await,
        _ => Ok(absent()),
    }
}

/// Whether a script asked for JSON by name.
fn prefers_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

fn cache_info(cache: &Cache, as_json: bool) -> Response {
    let info = CacheInfo::new(cache.priority);
    let (kind, text) = if as_json {
        let json =
            serde_json::json!({ "storeDir": nix_compat::STORE_DIR, "wantMassQuery": 1, "priority": cache.priority });
        ("application/json", json.to_string())
    } else {
        ("text/x-nix-cache-info", info.to_string())
    };
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, mutable(cache));
    response
}

/// Whether a list of ETags names this one. Weak ones count: it is only asked whether bytes must be sent.
fn matches_etag(known: &HeaderValue, etag: &Bytes) -> bool {
    let Ok(known) = known.to_str() else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one.as_bytes() == &etag[..])
}

/// Nothing here. Not to be remembered by proxies: it may be pushed any moment.
fn absent() -> Response {
    plain(StatusCode::NOT_FOUND, "not in this cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags() {
        let etag = Bytes::from_static(b"\"abc\"");
        for known in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(matches_etag(&HeaderValue::from_static(known), &etag), "{known}");
        }
        assert!(!matches_etag(&HeaderValue::from_static("\"abcd\""), &etag));
    }
}
