//! Uploads of the cachix API since 1.3: create, parts, complete, abort.

use super::{caller, read_json};
use crate::http::error::PlainError;
use axum::{
    Json,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use iglu_api::{bounded, cache::Permission};
use iglu_core::{
    Core, Discretion, Error,
    push::{Claim, CompletedPart, UploadId},
};
use nix_compat::{
    compression::Compression,
    narinfo::UNKNOWN_DERIVER,
    nixhash::Sha256,
    store_path::{StorePath, StorePathHash},
};
use serde::{Deserialize, Serialize};

/// Narinfos with tens of thousands of references.
pub const LONGEST_COMPLETE: usize = 16 << 20;
const LONGEST_PART_REQUEST: usize = 4096;

#[derive(Deserialize)]
pub struct CreateQuery {
    pub compression: Option<String>,
}

/// The word of a query; clients without one mean xz.
pub fn compression(word: Option<&str>) -> Result<Compression, Error> {
    match word {
        None | Some("xz") => Ok(Compression::Xz),
        Some("zst") => Ok(Compression::Zstd),
        Some(other) => {
            let message = format!("compression is xz or zst, not {}", other.escape_default());
            Err(Error::invalid("compression", message))
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    nar_id: String,
    upload_id: String,
}

pub async fn create(
    State(core): State<Core>,
    Path(cache): Path<String>,
    Query(query): Query<CreateQuery>,
    headers: HeaderMap,
) -> Result<Json<Created>, PlainError> {
    let caller = caller(&core, &headers).await?;
    let compression = compression(query.compression.as_deref())?;
    let id = core.push().multipart_create(&caller, &cache, compression).await?.to_string();
    Ok(Json(Created { upload_id: id.clone(), nar_id: id }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartQuery {
    part_number: u32,
    upload_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadQuery {
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
pub struct PartAnswer {
    upload_url: String,
}

pub async fn part_url(
    State(core): State<Core>,
    Path((cache, id)): Path<(String, String)>,
    Query(query): Query<PartQuery>,
    request: Request<Body>,
) -> Result<Json<PartAnswer>, PlainError> {
    let (parts, body) = request.into_parts();
    let caller = caller(&core, &parts.headers).await?;
    let part: PartRequest = read_json(&caller, body, LONGEST_PART_REQUEST).await?;
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

pub async fn complete(
    State(core): State<Core>,
    Path((cache, id)): Path<(String, String)>,
    Query(query): Query<UploadQuery>,
    request: Request<Body>,
) -> Result<StatusCode, PlainError> {
    let (head, body) = request.into_parts();
    let caller = caller(&core, &head.headers).await?;
    core.cache().open(&caller, &cache, Permission::Push, Discretion::Hide).await?;
    let id = upload_id(&id, query.upload_id.as_deref())?;
    let Complete { parts, nar_info_create } = read_json(&caller, body, LONGEST_COMPLETE).await?;
    let parts = parts.map(|parts| {
        parts.into_iter().map(|part| CompletedPart { number: part.number, etag: part.etag }).collect::<Vec<_>>()
    });
    core.push().complete(&caller, &cache, id, parts, nar_info_create.into_claim()?).await?;
    Ok(StatusCode::OK)
}

pub async fn abort(
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

/// What the client says of the path that it uploaded.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NarInfoCreate {
    c_store_hash: String,
    c_store_suffix: String,
    c_nar_hash: String,
    c_nar_size: u64,
    c_file_hash: String,
    c_file_size: u64,
    #[serde(deserialize_with = "bounded::list::<_, 100_000>")]
    c_references: Vec<String>,
    c_deriver: String,
    c_sig: Option<String>,
}

impl NarInfoCreate {
    pub fn into_claim(self) -> Result<Claim, Error> {
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
        let signature =
            self.c_sig.as_ref().map(|text| STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()));
        let nameless_signature = match signature {
            Some(None) => return Err(bad("cSig", &"a signature is 64 bytes as base64")),
            Some(signature) => signature,
            None => None,
        };
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
            nameless_signature,
        })
    }
}
