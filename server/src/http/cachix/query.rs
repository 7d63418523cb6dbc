//! Asking the cachix API what a cache has: which of many paths are missing, and all of them.

use super::caller;
use crate::http::{bulk, error::PlainError, stranger::Strangers};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use iglu_api::cache::Permission;
use iglu_core::{Caller, Core, Discretion};
use nix_compat::store_path::StorePathHash;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, SeqAccess, Visitor},
};
use std::{
    collections::BTreeSet,
    fmt::{self, Formatter},
};

/// Strings in a query that are no hashes and are answered all the same.
const MOST_JUNK: usize = 1000;

pub async fn missing(
    State(core): State<Core>,
    Extension(strangers): Extension<Strangers>,
    Path(cache): Path<String>,
    request: Request<Body>,
) -> Result<Json<Vec<String>>, PlainError> {
    let (parts, body) = request.into_parts();
    let caller = caller(&core, &parts.headers).await?;
    let cache = core.cache().open(&caller, &cache, Permission::Pull, Discretion::Hide).await?;
    let is_stranger = matches!(caller, Caller::Anonymous { .. });
    let wait = is_stranger.then(|| strangers.wait(&parts.headers)).transpose()?;
    let bulk = bulk::read(body, is_stranger, "a JSON array of store path hashes").await?;
    drop(wait);
    let Asked { hashes, junk } = bulk.asked;
    let missing = core.path().missing(&cache, hashes).await?;
    drop(bulk.turn);
    Ok(Json(missing.iter().map(ToString::to_string).chain(junk).collect()))
}

/// What a client asks about. What is no hash cannot be here, so that it is missing; a little of it is told so.
struct Asked {
    hashes: Vec<StorePathHash>,
    junk: BTreeSet<String>,
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Asked, D::Error> {
        /// Takes one string without keeping it, unless it is junk.
        struct One<'a>(&'a mut Asked);

        impl<'de> DeserializeSeed<'de> for One<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_str(self)
            }
        }

        impl Visitor<'_> for One<'_> {
            type Value = ();

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("a store path hash")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
                match StorePathHash::parse(text) {
                    Ok(hash) => self.0.hashes.push(hash),
                    Err(_) if text.len() <= 256 && self.0.junk.len() < MOST_JUNK => {
                        self.0.junk.insert(text.to_owned());
                    }
                    Err(error) => return Err(E::custom(error)),
                }
                Ok(())
            }
        }

        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Asked;

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("an array of store path hashes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Asked, A::Error> {
                let mut asked = Asked { hashes: Vec::new(), junk: BTreeSet::new() };
                while seq.next_element_seed(One(&mut asked))?.is_some() {}
                Ok(asked)
            }
        }

        deserializer.deserialize_seq(All)
    }
}

/// The base names of all visible paths, as they are read from the database.
pub async fn contents(
    State(core): State<Core>,
    Path(cache): Path<String>,
    headers: HeaderMap,
) -> Result<Response, PlainError> {
    let caller = caller(&core, &headers).await?;
    let cache = core.cache().open(&caller, &cache, Permission::Pull, Discretion::Hide).await?;
    let pages = stream::unfold(Some(None), move |after| {
        let (core, cache) = (core.clone(), cache.clone());
        async move {
            let after: Option<StorePathHash> = after?;
            let first = after.is_none();
            let names = match core.path().names_after(&cache, after).await {
                Ok(names) => names,
                Err(error) => return Some((Err(error), None)),
            };
            let Some(last) = names.last().map(|path| path.hash()) else {
                let end = if first { "[]" } else { "]" };
                return Some((Ok(Bytes::from(end)), None));
            };
            // Store path names need no escapes in JSON.
            let listed: Vec<String> = names.iter().map(|path| format!("\"{path}\"")).collect();
            let text = format!("{}{}", if first { "[" } else { "," }, listed.join(","));
            Some((Ok(Bytes::from(text)), Some(Some(last))))
        }
    });
    let mut response = Response::new(Body::from_stream(pages));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
