//! The Nix binary cache protocol, reading side: `nix-cache-info`, narinfos, NAR files, listings. No cookies, no compression, no
//! redirects; what is not there is 404 and nothing else.
//!
//! One cache is reached in three ways: `/{cache}/…`, `/api/v1/cache/{cache}/…`, and as a label of the cache domain.

use super::{
    caller,
    error::{PlainError, plain, wrong_method},
    nar_body::NarBody,
    nix_put,
};
use crate::metrics::NixRoute;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use iglu_api::cache::Permission;
use iglu_core::{Cache, Caller, Core, Discretion, Error, path::RenderedNarinfo, push::NarFileName};
use nix_compat::{cache_info::CacheInfo, store_path::StorePathHash};
use percent_encoding::percent_decode_str;
use std::{ops::Range, sync::Arc};

const NARINFO_TYPE: HeaderValue = HeaderValue::from_static("text/x-nix-narinfo");
const NAR_TYPE: HeaderValue = HeaderValue::from_static("application/x-nix-nar");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
/// Signatures can be added to a narinfo, so it is asked for again soon.
const NARINFO_PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=60");
const NARINFO_PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=60");
const NAR_PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NAR_PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// What of a cache is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    CacheInfo,
    /// `None` for a name that is no hash: not there, whatever the method.
    Narinfo(Option<StorePathHash>),
    Nar(Option<NarFileName>),
    Listing(Option<StorePathHash>),
    /// The parts of the protocol that this server has nothing under: logs, realisations, debug info, single files.
    Absent,
}

/// A request of this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As in the address; may be no cache.
    pub cache: String,
    pub object: Object,
}

impl Target {
    /// What the request asks of which cache; `None` for everything that is not this protocol.
    pub fn of<B>(request: &axum::http::Request<B>, core: &Core) -> Option<Target> {
        let path = request.uri().path();
        if let Some(rest) = path.trim_start_matches('/').strip_prefix("api/v1/cache/") {
            // The cachix API shares this prefix; only its reading side is ours.
            let (cache, rest) = rest.split_once('/')?;
            let reads = matches!(*request.method(), Method::GET | Method::HEAD);
            return Target::below(cache, rest).filter(|target| reads && target.object != Object::Absent);
        }
        if let Some(domain) = core.address().cache_domain()
            && let Some(host) = host(request.uri(), request.headers())
            && !core.address().is_public_host(host)
            && let Some(label) = label(host, domain)
            && !["/api/", "/upload/"].iter().any(|prefix| path.starts_with(prefix))
        {
            return Target::below(&label, path.trim_start_matches('/'))
                .or(Some(Target { cache: label, object: Object::Absent }));
        }
        let (cache, rest) = path.trim_start_matches('/').split_once('/')?;
        Target::below(cache, rest)
    }

    fn below(cache: &str, rest: &str) -> Option<Target> {
        let rest = rest.trim_start_matches('/');
        let object = match rest.split_once('/') {
            None => match rest {
                "nix-cache-info" => Object::CacheInfo,
                _ => match rest.rsplit_once('.')? {
                    (hash, "narinfo") => Object::Narinfo(StorePathHash::parse(hash).ok()),
                    (hash, "ls") => Object::Listing(StorePathHash::parse(hash).ok()),
                    _ => return None,
                },
            },
            Some(("nar", file)) => {
                Object::Nar(percent_decode_str(file).decode_utf8().ok().and_then(|file| NarFileName::parse(&file)))
            }
            Some(("log" | "realisations" | "build-trace-v2" | "debuginfo" | "serve", _)) => Object::Absent,
            Some(_) if rest.ends_with(".narinfo") => Object::Narinfo(None),
            Some(_) => return None,
        };
        let cache = if cache.contains('%') {
            percent_decode_str(cache).decode_utf8().ok()?.into_owned()
        } else {
            cache.to_owned()
        };
        Some(Target { cache, object })
    }

    pub fn route(&self) -> NixRoute {
        match self.object {
            Object::CacheInfo => NixRoute::CacheInfo,
            Object::Narinfo(_) => NixRoute::Narinfo,
            Object::Nar(_) => NixRoute::Nar,
            Object::Listing(_) => NixRoute::Listing,
            Object::Absent => NixRoute::Absent,
        }
    }
}

fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.host().or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// The one label before the cache domain.
fn label(host: &str, domain: &str) -> Option<String> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    let label = host.strip_suffix(domain)?.strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then(|| label.to_owned())
}

/// The fastest path: a narinfo that memory knows, of a public cache, without credentials to look up.
pub fn from_memory(core: &Core, target: &Target, request: &Request<Body>) -> Option<Response> {
    let Object::Narinfo(Some(hash)) = target.object else { return None };
    if !matches!(*request.method(), Method::GET | Method::HEAD) || !caller::is_anonymous(request.headers()) {
        return None;
    }
    let cache = core.cache_remembered(&target.cache).filter(|cache| cache.is_public())?;
    let remembered = core.path().narinfo_remembered(&cache, hash)?;
    Some(narinfo_response(&cache, remembered.as_deref(), request.headers()))
}

/// Any request of this protocol.
pub async fn answer(core: &Core, target: Target, request: Request<Body>) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => match read(core, &target, &request.into_parts().0).await {
            Ok(response) => response,
            Err(error) => {
                let mut response = PlainError(error).into_response();
                if matches!(target.object, Object::Nar(_)) {
                    // A client that resumes forgets that it can when this is missing on an error.
                    response.headers_mut().insert(header::ACCEPT_RANGES, BYTES);
                }
                response
            }
        },
        Method::PUT => nix_put::answer(core, target, request).await,
        _ => wrong_method("GET, HEAD, PUT"),
    }
}

async fn read(core: &Core, target: &Target, request: &Parts) -> Result<Response, Error> {
    let headers = &request.headers;
    let caller = caller::by_token(core, headers).await?;
    let cache = core.cache().open(&caller, &target.cache, Permission::Pull, Discretion::Tell).await?;
    match &target.object {
        Object::CacheInfo => Ok(cache_info(&cache)),
        Object::Narinfo(Some(hash)) => {
            let narinfo = core.path().narinfo(&cache, *hash).await?;
            Ok(narinfo_response(&cache, narinfo.as_deref(), headers))
        }
        Object::Nar(Some(name)) => nar(core, &caller, &cache, *name, request).await,
        Object::Listing(Some(hash)) => match core.path().listing(&cache, *hash).await? {
            Some(listing) => Ok(json(&cache, listing)),
            None => Ok(absent()),
        },
        _ => Ok(absent()),
    }
}

fn cache_info(cache: &Cache) -> Response {
    let mut response = Response::new(Body::from(CacheInfo::new(cache.priority).to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/x-nix-cache-info"));
    headers.insert(header::CACHE_CONTROL, if cache.is_public() { NARINFO_PUBLIC } else { NARINFO_PRIVATE });
    response
}

fn narinfo_response(cache: &Cache, narinfo: Option<&RenderedNarinfo>, request: &HeaderMap) -> Response {
    let Some(narinfo) = narinfo else { return absent() };
    let unchanged = request.get(header::IF_NONE_MATCH).is_some_and(|known| matches_etag(known, &narinfo.etag));
    let mut response = if unchanged {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(Body::from(narinfo.text.clone()));
        response.headers_mut().insert(header::CONTENT_TYPE, NARINFO_TYPE);
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_maybe_shared(narinfo.etag.clone()) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, if cache.is_public() { NARINFO_PUBLIC } else { NARINFO_PRIVATE });
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

/// Listings are kept compressed; clients of these few kilobytes get them plain.
fn json(cache: &Cache, listing: Bytes) -> Response {
    let mut response = Response::new(Body::from(listing));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, if cache.is_public() { NAR_PUBLIC } else { NAR_PRIVATE });
    response
}

async fn nar(
    core: &Core,
    caller: &Caller,
    cache: &Arc<Cache>,
    name: NarFileName,
    request: &Parts,
) -> Result<Response, Error> {
    let found = core.fetch().nar(cache, &name.file_hash).await?;
    let Some(nar) = found else {
        // A pusher asks whether it may leave out the upload; what is put and not yet published counts for it.
        let pushes = request.method == Method::HEAD && caller.permission(cache) >= Some(Permission::Push);
        if pushes && core.push().nar_head(cache, name).await? {
            return Ok(StatusCode::OK.into_response());
        }
        return Ok(absent());
    };
    let etag = format!("\"{}\"", name.file_hash.to_nix32());
    let asked = &request.headers;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, BYTES);
    headers.insert(header::CACHE_CONTROL, if cache.is_public() { NAR_PUBLIC } else { NAR_PRIVATE });
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    let etag = Bytes::from(etag);
    if asked.get(header::IF_NONE_MATCH).is_some_and(|known| matches_etag(known, &etag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    headers.insert(header::CONTENT_TYPE, NAR_TYPE);
    let same = asked.get(header::IF_RANGE).is_none_or(|known| known.as_bytes() == &etag[..]);
    let range = asked.get(header::RANGE).filter(|_| same).and_then(|range| parse_range(range.to_str().ok()?, nar.size));
    let range = match range {
        None => 0..nar.size,
        Some(Some(range)) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {}-{}/{}", range.start, range.end - 1, nar.size);
            response.headers_mut().insert(header::CONTENT_RANGE, header_value(&value));
            range
        }
        Some(None) => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            let value = format!("bytes */{}", nar.size);
            response.headers_mut().insert(header::CONTENT_RANGE, header_value(&value));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return Ok(response);
        }
    };
    let length = range.end - range.start;
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if request.method == Method::GET {
        cache.counters().nar_requests.add(1);
        *response.body_mut() = Body::new(NarBody::new(nar.file, range.start, length, cache.clone()));
    }
    Ok(response)
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A single byte range of something `size` bytes long. `None`: not a range that we serve, send the whole. `Some(None)`: a
/// range beyond the end.
fn parse_range(text: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match (first, last) {
        ("", last) => {
            let length = number(last)?.min(size);
            Some((length > 0).then_some(size - length..size))
        }
        (first, "") => {
            let first = number(first)?;
            Some((first < size).then_some(first..size))
        }
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            Some((first < size).then(|| first..last.saturating_add(1).min(size)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes=0-", Some(Some(0..100))),
            ("bytes=10-", Some(Some(10..100))),
            ("bytes=10-19", Some(Some(10..20))),
            ("bytes=10-1000", Some(Some(10..100))),
            ("bytes=-5", Some(Some(95..100))),
            ("bytes=-500", Some(Some(0..100))),
            ("bytes=-0", Some(None)),
            ("bytes=100-", Some(None)),
            ("bytes=18446744073709551615-18446744073709551615", Some(None)),
            ("bytes=5-4", None),
            ("bytes=0-1,5-6", None),
            ("bytes=+1-", None),
            ("bytes=-", None),
            ("items=0-1", None),
            ("bytes=99999999999999999999999-", None),
        ] {
            assert_eq!(parse_range(text, 100), expected, "{text}");
        }
    }

    #[test]
    fn etags() {
        let etag = Bytes::from_static(b"\"abc\"");
        for known in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(matches_etag(&HeaderValue::from_static(known), &etag), "{known}");
        }
        assert!(!matches_etag(&HeaderValue::from_static("\"abcd\""), &etag));
    }

    #[test]
    fn targets() {
        let hash = "i9pmrzmpshapij2kin22pff6fc2adavx";
        let narinfo = Object::Narinfo(StorePathHash::parse(hash).ok());
        for (rest, object) in [
            ("nix-cache-info", Some(Object::CacheInfo)),
            (&*format!("{hash}.narinfo"), Some(narinfo.clone())),
            (&*format!("/{hash}.narinfo"), Some(narinfo)),
            ("..%2f.narinfo", Some(Object::Narinfo(None))),
            ("a/b.narinfo", Some(Object::Narinfo(None))),
            ("nar/x", Some(Object::Nar(None))),
            ("log/x.drv", Some(Object::Absent)),
            ("paths", None),
            ("", None),
        ] {
            assert_eq!(Target::below("main", rest).map(|target| target.object), object, "{rest}");
        }
    }

    #[test]
    fn labels_of_the_cache_domain() {
        assert_eq!(label("Main.Cache.test:8080", "cache.test"), Some("main".to_owned()));
        assert_eq!(label("cache.test", "cache.test"), None);
        assert_eq!(label("a.b.cache.test", "cache.test"), None);
        assert_eq!(label("xcache.test", "cache.test"), None);
    }
}
