//! The cachix API: JSON exact, success exactly 200, refusals one line of ASCII.

use super::{
    body, caller,
    error::{PlainError, plain},
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{any, get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use iglu_api::cache::{Permission, PreferredCompression};
use iglu_core::{
    Caller, Core, Discretion, Error,
    push::{Claim, CompletedPart, UploadId},
};
use nix_compat::{
    compression::Compression,
    narinfo::UNKNOWN_DERIVER,
    nixhash::Sha256,
    store_path::{StorePath, StorePathHash},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeSeed, SeqAccess, Visitor},
};
use std::{
    collections::BTreeSet,
    fmt::{self, Formatter},
};
use tokio::sync::Semaphore;

/// Nearly two million hashes; a client before 1.7.5 asks for a whole closure at once.
const LONGEST_QUERY: usize = 64 << 20;
/// A quarter of a million hashes.
const LONGEST_ANONYMOUS_QUERY: usize = 8 << 20;
/// Strings in a query that are no hashes and are answered all the same.
const MOST_JUNK: usize = 1000;
/// Large queries in memory at once.
static QUERIES: Semaphore = Semaphore::const_new(4);
/// Narinfos with tens of thousands of references.
const LONGEST_COMPLETE: usize = 16 << 20;
const LONGEST_PART_REQUEST: usize = 4096;

pub fn router(core: Core) -> Router {
    Router::new()
        .route("/api/v1/cache/{cache}", get(cache_get))
        .route("/api/v1/cache/{cache}/narinfo", post(missing))
        .route("/api/v1/cache/{cache}/multipart-nar", post(multipart_create))
        .route("/api/v1/cache/{cache}/multipart-nar/{id}", post(part_url))
        .route("/api/v1/cache/{cache}/multipart-nar/{id}/complete", post(complete))
        .route("/api/v1/cache/{cache}/multipart-nar/{id}/abort", post(abort))
        .route("/api/{*unknown}", any(unknown))
        .with_state(core)
}

async fn unknown() -> Response {
    plain(StatusCode::NOT_FOUND, "this server has no such API; pushing needs cachix 1.7 or newer")
}

/// A token that is no good is said to be so here even where anybody may read: its holder must learn it.
async fn caller(core: &Core, headers: &HeaderMap) -> Result<Caller, Error> {
    match caller::by_token(core, headers).await? {
        Caller::Anonymous { problem: Some(problem) } => Err(Error::Unauthenticated(problem)),
        caller => Ok(caller),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheRecord {
    name: String,
    uri: String,
    is_public: bool,
    public_signing_keys: Vec<String>,
    github_username: &'static str,
    permission: &'static str,
    preferred_compression_method: &'static str,
}

async fn cache_get(
    State(core): State<Core>,
    Path(cache): Path<String>,
    headers: HeaderMap,
) -> Result<Json<CacheRecord>, PlainError> {
    let caller = match caller(&core, &headers).await {
        Ok(caller) => caller,
        // Named with the cache, so that the client's user knows which of many it was.
        Err(Error::Unauthenticated(problem)) => Caller::Anonymous { problem: Some(problem) },
        Err(error) => return Err(error.into()),
    };
    if let Caller::Anonymous { problem: Some(problem) } = &caller {
        let needs = format!("{problem}; cache \"{cache}\" needs a token with pull for it, or none where it is public");
        return Err(Error::Unauthenticated(needs).into());
    }
    let cache = core.cache().get(&caller, &cache).await?;
    Ok(Json(CacheRecord {
        name: cache.summary.name.to_string(),
        uri: cache.uri,
        is_public: cache.summary.visibility.is_public(),
        public_signing_keys: cache.public_keys,
        github_username: "",
        permission: match cache.permission {
            Some(Permission::Admin) => "Admin",
            Some(Permission::Push) => "Write",
            _ => "Read",
        },
        preferred_compression_method: match cache.compression {
            PreferredCompression::Zstd => "ZSTD",
            PreferredCompression::Xz => "XZ",
        },
    }))
}

async fn missing(
    State(core): State<Core>,
    Path(cache): Path<String>,
    request: Request<Body>,
) -> Result<Json<Vec<String>>, PlainError> {
    let (parts, body) = request.into_parts();
    let caller = caller(&core, &parts.headers).await?;
    let cache = core.cache().open(&caller, &cache, Permission::Pull, Discretion::Hide).await?;
    let longest = if matches!(caller, Caller::Anonymous { .. }) { LONGEST_ANONYMOUS_QUERY } else { LONGEST_QUERY };
    let _turn = QUERIES.acquire().await.map_err(|_| Error::internal("the queue of queries is closed"))?;
    let body = body::whole(body, longest).await?;
    let asked =
        tokio::task::spawn_blocking(move || serde_json::from_slice::<Asked>(&body)).await.map_err(Error::from)?;
    let Asked { hashes, junk } = asked
        .map_err(|error| Error::invalid("", format!("the body is not a JSON array of store path hashes: {error}")))?;
    let missing = core.path().missing(&cache, hashes).await?;
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

#[derive(Deserialize)]
struct CreateQuery {
    compression: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    nar_id: String,
    upload_id: String,
}

async fn multipart_create(
    State(core): State<Core>,
    Path(cache): Path<String>,
    Query(query): Query<CreateQuery>,
    headers: HeaderMap,
) -> Result<Json<Created>, PlainError> {
    let caller = caller(&core, &headers).await?;
    let compression = match query.compression.as_deref() {
        None | Some("xz") => Compression::Xz,
        Some("zst") => Compression::Zstd,
        Some(other) => {
            let message = format!("compression is xz or zst, not {}", other.escape_default());
            return Err(Error::invalid("compression", message).into());
        }
    };
    let id = core.push().multipart_create(&caller, &cache, compression).await?.to_string();
    Ok(Json(Created { upload_id: id.clone(), nar_id: id }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartQuery {
    part_number: u32,
    upload_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadQuery {
    upload_id: Option<String>,
}

/// The upload that path and query name; `create` gave the same word for both.
fn upload_id(path: &str, query: Option<&str>) -> Result<UploadId, Error> {
    match query {
        Some(query) if query != path => Err(Error::NotFound("there is no such upload".to_owned())),
        _ => UploadId::parse(path),
    }
}

#[derive(Deserialize)]
struct PartRequest {
    #[serde(rename = "contentMD5")]
    content_md5: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartAnswer {
    upload_url: String,
}

async fn part_url(
    State(core): State<Core>,
    Path((cache, id)): Path<(String, String)>,
    Query(query): Query<PartQuery>,
    request: Request<Body>,
) -> Result<Json<PartAnswer>, PlainError> {
    let (parts, body) = request.into_parts();
    let caller = caller(&core, &parts.headers).await?;
    let part: PartRequest = read_json(body, LONGEST_PART_REQUEST).await?;
    let id = upload_id(&id, query.upload_id.as_deref())?;
    let url = core.push().part_url(&caller, &cache, id, query.part_number, &part.content_md5).await?;
    Ok(Json(PartAnswer { upload_url: url.0 }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complete {
    /// `null` where a proxy took the ETags away.
    parts: Option<Vec<Part>>,
    nar_info_create: NarInfoCreate,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "partNumber")]
    number: u32,
    #[serde(rename = "eTag")]
    etag: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NarInfoCreate {
    c_store_hash: String,
    c_store_suffix: String,
    c_nar_hash: String,
    c_nar_size: u64,
    c_file_hash: String,
    c_file_size: u64,
    c_references: Vec<String>,
    c_deriver: String,
    c_sig: Option<String>,
}

impl NarInfoCreate {
    fn into_claim(self) -> Result<Claim, Error> {
        let bad = |field: &'static str, why: &dyn std::fmt::Display| Error::invalid(field, format!("{field}: {why}"));
        let hash = StorePathHash::parse(&self.c_store_hash).map_err(|error| bad("cStoreHash", &error))?;
        let store_path = StorePath::new(hash, &self.c_store_suffix).map_err(|error| bad("cStoreSuffix", &error))?;
        let mut references = Vec::with_capacity(self.c_references.len());
        for reference in &self.c_references {
            references.push(StorePath::parse(reference).map_err(|error| bad("cReferences", &error))?);
        }
        references.sort();
        references.dedup();
        let deriver = match self.c_deriver.as_str() {
            "" | UNKNOWN_DERIVER => None,
            deriver => Some(StorePath::parse(deriver).map_err(|error| bad("cDeriver", &error))?),
        };
        // Every cache is signed by the server, so that a client's signature changes nothing; but one that is none shows a
        // broken client.
        if let Some(signature) = &self.c_sig
            && STANDARD.decode(signature).map(|bytes| bytes.len()) != Ok(64)
        {
            return Err(bad("cSig", &"a signature is 64 bytes as base64"));
        }
        if self.c_nar_size == 0 {
            return Err(bad("cNarSize", &"a NAR is not empty"));
        }
        let file_hash = Sha256::parse_hex(&self.c_file_hash).or_else(|_| Sha256::parse(&self.c_file_hash));
        Ok(Claim {
            store_path,
            nar_hash: Sha256::parse(&self.c_nar_hash).map_err(|error| bad("cNarHash", &error))?,
            nar_size: self.c_nar_size,
            file_hash: Some(file_hash.map_err(|error| bad("cFileHash", &error))?),
            file_size: Some(self.c_file_size),
            // Said when the upload was created.
            compression: Compression::None,
            references,
            deriver,
            ca: None,
            signatures: Vec::new(),
        })
    }
}

async fn complete(
    State(core): State<Core>,
    Path((cache, id)): Path<(String, String)>,
    Query(query): Query<UploadQuery>,
    request: Request<Body>,
) -> Result<StatusCode, PlainError> {
    let (head, body) = request.into_parts();
    let caller = caller(&core, &head.headers).await?;
    core.cache().open(&caller, &cache, Permission::Push, Discretion::Hide).await?;
    let id = upload_id(&id, query.upload_id.as_deref())?;
    let Complete { parts, nar_info_create } = read_json(body, LONGEST_COMPLETE).await?;
    let parts = parts.map(|parts| {
        parts.into_iter().map(|part| CompletedPart { number: part.number, etag: part.etag }).collect::<Vec<_>>()
    });
    core.push().complete(&caller, &cache, id, parts, nar_info_create.into_claim()?).await?;
    Ok(StatusCode::OK)
}

async fn abort(
    State(core): State<Core>,
    Path((cache, id)): Path<(String, String)>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, PlainError> {
    let caller = caller(&core, &headers).await?;
    match upload_id(&id, query.upload_id.as_deref()) {
        Ok(id) => core.push().abort(&caller, &cache, id).await?,
        // Unknown is fine, as long as the caller may ask.
        Err(_) => core.cache().open(&caller, &cache, Permission::Push, Discretion::Hide).await.map(drop)?,
    }
    Ok(StatusCode::OK)
}

async fn read_json<T: for<'a> Deserialize<'a>>(body: Body, limit: usize) -> Result<T, Error> {
    let body = body::whole(body, limit).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::invalid("", format!("the body is not the JSON expected: {error}")))
}
