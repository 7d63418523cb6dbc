//! The Nix binary cache protocol, writing side: what `nix copy --to` sends. Rights and sizes are checked before the body is
//! read, so that a client that asks first (Expect: 100-continue) sends nothing in vain.

use super::{
    body, caller,
    error::{PlainError, plain},
    nix::{Object, Target},
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use iglu_api::cache::Permission;
use iglu_core::{Core, Discretion, Error};
use nix_compat::cache_info::CacheInfo;

/// A narinfo of a path with tens of thousands of references.
const LONGEST_NARINFO: usize = 8 << 20;
const LONGEST_CACHE_INFO: usize = 4096;
/// Listings come from clients, but ours is made from the bytes; theirs is read and dropped.
const LONGEST_LISTING: u64 = 256 << 20;

pub async fn answer(core: &Core, target: Target, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let allowed = async {
        let caller = caller::by_token(core, &parts.headers).await?;
        let cache = core.cache().open(&caller, &target.cache, Permission::Push, Discretion::Tell).await?;
        let length =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let limit = match target.object {
            Object::Nar(_) => core.limits().nar_file_bytes,
            Object::Listing(_) => LONGEST_LISTING,
            Object::Narinfo(_) => LONGEST_NARINFO as u64,
            Object::CacheInfo | Object::Absent => LONGEST_CACHE_INFO as u64,
        };
        match length {
            Some(length) if length > limit && target.object != Object::Absent => {
                Err(Error::TooLarge(format!("{length} bytes are more than the {limit} allowed here")))
            }
            _ => Ok((caller, cache)),
        }
    };
    let (caller, cache) = match allowed.await {
        Ok(allowed) => allowed,
        Err(error) => return refuse_early(PlainError(error).into_response(), &parts.headers, body).await,
    };
    let stored = async {
        match target.object {
            Object::Nar(Some(name)) => core.push().nar_put(&cache, name, body::stream(body)).await,
            Object::Narinfo(Some(hash)) => {
                let text = body::whole(body, LONGEST_NARINFO).await?;
                core.push().narinfo_put(&caller, &cache, hash, text).await.map(drop)
            }
            Object::Listing(Some(_)) => body::discard(body).await,
            Object::CacheInfo => {
                let text = body::whole(body, LONGEST_CACHE_INFO).await?;
                match CacheInfo::parse(&text) {
                    Ok(info) if info.store_dir == nix_compat::STORE_DIR || info.store_dir.is_empty() => Ok(()),
                    _ => Err(Error::invalid("StoreDir", format!("this cache is for {}", nix_compat::STORE_DIR))),
                }
            }
            Object::Nar(None) => {
                Err(Error::invalid("", "a NAR file is called <SHA-256 of the file in nix32>.nar[.ext]"))
            }
            Object::Narinfo(None) | Object::Listing(None) => Err(Error::invalid("", "the name is no store path hash")),
            Object::Absent => Err(Error::NotFound("this server does not keep such files".to_owned())),
        }
    };
    match stored.await {
        Ok(()) => StatusCode::OK.into_response(),
        // Clients before 2.33 hang when they are told to try an upload again: a broken one ends here.
        Err(Error::Interrupted(message)) => {
            let mut response = plain(StatusCode::BAD_REQUEST, &message);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(error) => PlainError(error).into_response(),
    }
}

/// Answers before the body was asked for; a sender that does not ask is listened to for a moment, so that it hears why.
async fn refuse_early(response: Response, headers: &axum::http::HeaderMap, body: Body) -> Response {
    if !headers.contains_key(header::EXPECT) {
        body::drain(body).await;
    }
    response
}
