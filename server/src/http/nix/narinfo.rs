//! The answer with a narinfo: text, packed where that pays and the client can unpack, or JSON for scripts.

use super::{absent, matches_etag, mutable};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use iglu_core::{
    Cache, Error,
    path::{Packing, RenderedNarinfo},
};
use nix_compat::narinfo::NarInfo;
use serde_json::json;

const NARINFO_TYPE: HeaderValue = HeaderValue::from_static("text/x-nix-narinfo");

/// The narinfo, or that there is none.
pub fn response(cache: &Cache, narinfo: Option<&RenderedNarinfo>, request: &HeaderMap) -> Response {
    let Some(narinfo) = narinfo else { return absent() };
    let unchanged = request.get(header::IF_NONE_MATCH).is_some_and(|known| matches_etag(known, &narinfo.etag));
    let mut response = Response::new(Body::empty());
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let packed = packing(narinfo, request).and_then(|packing| Some((packing, narinfo.packed(packing)?)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, NARINFO_TYPE);
        if let Some((packing, _)) = &packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(packing.name()));
        }
        *response.body_mut() = Body::from(packed.map_or_else(|| narinfo.text.clone(), |(_, bytes)| bytes));
    }
    let headers = response.headers_mut();
    // Weak where the bytes differ with the encoding: what they mean is the same.
    let etag = if narinfo.is_worth_packing() {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        Bytes::from([b"W/", &narinfo.etag[..]].concat())
    } else {
        narinfo.etag.clone()
    };
    if let Ok(etag) = HeaderValue::from_maybe_shared(etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, mutable(cache));
    response
}

/// How to pack it, if the client offered. Only what every release of Nix that offers it also unpacks: no deflate, no identity.
fn packing(narinfo: &RenderedNarinfo, request: &HeaderMap) -> Option<Packing> {
    if !narinfo.is_worth_packing() {
        return None;
    }
    let offered = request.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    let offers = |name: &str| {
        offered.split(',').any(|one| {
            let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
            coding.trim().eq_ignore_ascii_case(name) && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
        })
    };
    Packing::ALL.into_iter().find(|packing| offers(packing.name()))
}

/// The form for scripts.
pub fn json(cache: &Cache, narinfo: &RenderedNarinfo) -> Result<Response, Error> {
    let read = NarInfo::parse(&narinfo.text).map_err(|error| Error::internal(format!("a narinfo of ours: {error}")))?;
    let own = read.signatures.iter().find(|signature| cache.keys.iter().any(|key| key.name() == signature.key_name));
    let document = json!({
        "storePath": read.store_path.to_absolute(),
        "url": read.url,
        "compression": read.compression.as_str(),
        "fileHash": read.file_hash.map(|hash| hash.to_string()),
        "fileSize": read.file_size,
        "narHash": read.nar_hash.to_string(),
        "narSize": read.nar_size,
        "references": read.references.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "deriver": read.deriver.as_ref().map(ToString::to_string),
        "system": null,
        "sig": own.or(read.signatures.first()).map(ToString::to_string),
        "ca": read.ca.as_ref().map(ToString::to_string),
    });
    let mut response = super::side::json(cache, document.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, mutable(cache));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}
