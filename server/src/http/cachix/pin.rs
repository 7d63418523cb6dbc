//! Pins by the cachix API.

use super::{caller, read_json};
use crate::http::error::PlainError;
use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
};
use iglu_api::pin::{Keep, PinCreate, PinRevision};
use iglu_core::Core;
use serde::{Deserialize, Serialize};

const LONGEST_PIN: usize = 256 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pin {
    name: String,
    store_path: String,
    #[serde(default)]
    artifacts: Vec<String>,
    /// A client that says nothing keeps every revision: nothing is lost that nobody gave up.
    keep: Option<Keep>,
}

pub async fn pin_create(
    State(core): State<Core>,
    Path(cache): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, PlainError> {
    let (head, body) = request.into_parts();
    let caller = caller(&core, &head.headers).await?;
    let Pin { name, store_path, artifacts, keep } = read_json(&caller, body, LONGEST_PIN).await?;
    let create = PinCreate { name, store_path, artifacts, keep: keep.unwrap_or_default() };
    core.pin().create(&caller, &cache, &create).await?;
    Ok(StatusCode::OK)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PinRecord {
    name: String,
    created_on: String,
    last_revision: RevisionRecord,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RevisionRecord {
    revision: u64,
    store_path: String,
    artifacts: Vec<String>,
    keep: Keep,
    created_on: String,
}

impl From<PinRevision> for RevisionRecord {
    fn from(revision: PinRevision) -> RevisionRecord {
        RevisionRecord {
            revision: revision.number,
            store_path: revision.store_path,
            artifacts: revision.artifacts,
            keep: revision.keep,
            created_on: revision.created_at.to_string(),
        }
    }
}

pub async fn pin_list(
    State(core): State<Core>,
    Path(cache): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Vec<PinRecord>>, PlainError> {
    let caller = caller(&core, &headers).await?;
    let pins = core.pin().list(&caller, &cache).await?.into_iter();
    let records = pins.filter_map(|pin| {
        let last = pin.revisions.into_iter().next()?;
        Some(PinRecord { name: pin.name, created_on: pin.created_at.to_string(), last_revision: last.into() })
    });
    Ok(Json(records.collect()))
}
