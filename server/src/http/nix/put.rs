//! The Nix binary cache protocol, writing side: what `nix copy --to` sends. Rights and sizes are checked before the body is
//! read, so that a client that asks first (Expect: 100-continue) sends nothing in vain.

use super::{Object, Target};
use crate::http::{
    body, caller,
    error::{PlainError, plain},
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use iglu_api::cache::Permission;
use iglu_core::{Cache, Caller, Core, Discretion, Error, build_log};
use nix_compat::{cache_info::CacheInfo, realisation};
use std::sync::Arc;

/// A narinfo of a path with tens of thousands of references.
const LONGEST_NARINFO: usize = 8 << 20;
const LONGEST_CACHE_INFO: usize = 4096;
/// Listings come from clients, but ours is made from the bytes; theirs is read and dropped, as is debug info.
const LONGEST_LISTING: u64 = 256 << 20;
const LONGEST_DEBUG_INFO: u64 = 64 << 10;

pub async fn answer(core: &Core, target: Target, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let (caller, cache) = match allowed(core, &target, headers).await {
        Ok(allowed) => allowed,
        Err(error) => return refuse_early(PlainError(error).into_response(), headers, body),
    };
    // A NAR file is named by its bytes as they are; the rest may come packed.
    let coding = match headers.get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap_or("?").trim()) {
        None | Some("" | "identity") => None,
        Some(coding) => match body::Coding::parse(coding).filter(|_| !matches!(target.object, Object::Nar(_))) {
            Some(coding) => Some(coding),
            None => {
                let message = "Content-Encoding is gzip, br, zstd, xz or bzip2 here, and none for NAR files";
                let refusal = plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
                return refuse_early(refusal, headers, body);
            }
        },
    };
    let body = body::Shared::new(body);
    match store(core, &caller, &cache, target.object, body::unpacked(body.clone(), coding)).await {
        Ok(()) => StatusCode::OK.into_response(),
        // Clients before 2.33 hang when they are told to try an upload again: a broken one ends here.
        Err(Error::Interrupted(message)) => {
            let mut response = plain(StatusCode::BAD_REQUEST, &message);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(error) => {
            body::drain(body);
            PlainError(error).into_response()
        }
    }
}

/// Who puts what where, as far as the head of the request tells.
async fn allowed(core: &Core, target: &Target, headers: &HeaderMap) -> Result<(Caller, Arc<Cache>), Error> {
    let caller = caller::by_token(core, headers).await?;
    let cache = core.cache().open(&caller, &target.cache, Permission::Push, Discretion::Tell).await?;
    let limit = match &target.object {
        Object::Nar(_) => core.limits().nar_file_bytes,
        Object::Listing(_) => LONGEST_LISTING,
        Object::Narinfo(_) => LONGEST_NARINFO as u64,
        Object::Log(_) => build_log::LONGEST,
        Object::Realisation(_) => realisation::MAX_DOCUMENT_LEN as u64,
        Object::DebugInfo(_) => LONGEST_DEBUG_INFO,
        Object::CacheInfo => LONGEST_CACHE_INFO as u64,
        Object::NarUrl(_) | Object::Member(_) | Object::AtticConfig => {
            return Err(Error::NotFound("nothing can be put here".to_owned()));
        }
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit => {
            Err(Error::TooLarge(format!("{length} bytes are more than the {limit} allowed here")))
        }
        _ => Ok((caller, cache)),
    }
}

async fn store(
    core: &Core,
    caller: &Caller,
    cache: &Arc<Cache>,
    object: Object,
    body: body::Bodily,
) -> Result<(), Error> {
    let no_hash = || Err(Error::invalid("", "the name is no store path hash"));
    match object {
        Object::Nar(Some(name)) => core.push().nar_put(cache, name, body).await,
        Object::Narinfo(Some(hash)) => {
            let text = body::whole(body, LONGEST_NARINFO).await?;
            core.push().narinfo_put(caller, cache, hash, text).await.map(drop)
        }
        Object::Listing(Some(_)) => body::discard(body, LONGEST_LISTING).await,
        Object::DebugInfo(Some(_)) => body::discard(body, LONGEST_DEBUG_INFO).await,
        Object::Log(Some(drv)) => core.build_log().put(caller, cache, &drv, body).await,
        Object::Realisation(Some(key)) => {
            let json = body::whole(body, realisation::MAX_DOCUMENT_LEN).await?;
            core.realisation().put(caller, cache, &key, &json).await
        }
        Object::CacheInfo => {
            let text = body::whole(body, LONGEST_CACHE_INFO).await?;
            match CacheInfo::parse(&text) {
                Ok(info) if info.store_dir == nix_compat::STORE_DIR || info.store_dir.is_empty() => Ok(()),
                _ => Err(Error::invalid("StoreDir", format!("this cache is for {}", nix_compat::STORE_DIR))),
            }
        }
        Object::Nar(None) => Err(Error::invalid("", "a NAR file is called <SHA-256 of the file in nix32>.nar[.ext]")),
        Object::Narinfo(None) | Object::Listing(None) => no_hash(),
        Object::Log(None) => Err(Error::invalid("", "a log is called <hash>-<name>.drv, as its derivation")),
        Object::Realisation(None) => Err(Error::invalid(
            "",
            "a realisation is called sha256:<64 hex digits>!<output>.doi or <derivation>/<output>.doi",
        )),
        Object::DebugInfo(None) => Err(Error::invalid("", "debug info is called <40 hex digits>.debug")),
        Object::NarUrl(_) | Object::Member(_) | Object::AtticConfig => {
            Err(Error::NotFound("nothing can be put here".to_owned()))
        }
    }
}

/// Answers before the body was asked for; what a sender that does not ask sends is taken.
fn refuse_early(response: Response, headers: &HeaderMap, body: Body) -> Response {
    if !headers.contains_key(header::EXPECT) {
        body::drain(body::stream(body));
    }
    response
}
