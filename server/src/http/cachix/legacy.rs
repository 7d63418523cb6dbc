//! Uploads of the cachix API before 1.3: the NAR in one body without a name, then its description; the hash of the file links
//! them.

use super::{
    body, caller, read_json, unknown,
    upload::{CreateQuery, LONGEST_COMPLETE, NarInfoCreate, compression},
};
use crate::http::error::PlainError;
use axum::{
    body::Body,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use iglu_api::cache::Permission;
use iglu_core::{Core, Discretion, Error};

pub async fn nar_post(
    State(core): State<Core>,
    Path(cache): Path<String>,
    Query(query): Query<CreateQuery>,
    request: Request<Body>,
) -> Result<StatusCode, PlainError> {
    let (head, body) = request.into_parts();
    let mut chunks = body::stream(body);
    let take = async {
        let caller = caller(&core, &head.headers).await?;
        let cache = core.cache().open(&caller, &cache, Permission::Push, Discretion::Hide).await?;
        let compression = compression(query.compression.as_deref())?;
        core.push().nameless_nar_put(&cache, compression, &mut chunks).await
    };
    let taken = take.await;
    if taken.is_err() {
        // The sender is still at it, and hears the reason only when some of it is taken.
        body::drain(chunks);
    }
    taken?;
    Ok(StatusCode::OK)
}

pub async fn narinfo_post(
    State(core): State<Core>,
    Path((cache, narinfo)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, PlainError> {
    let Some(hash) = narinfo.strip_suffix(".narinfo") else { return Ok(unknown().await) };
    let (head, body) = request.into_parts();
    let caller = caller(&core, &head.headers).await?;
    let cache = core.cache().open(&caller, &cache, Permission::Push, Discretion::Hide).await?;
    let create: NarInfoCreate = read_json(&caller, body, LONGEST_COMPLETE).await?;
    let claim = create.into_claim()?;
    if claim.store_path.hash().to_string() != hash {
        let message = format!("cStoreHash: {} was sent to the address of another path", claim.store_path);
        return Err(Error::invalid("cStoreHash", message).into());
    }
    core.push().nameless_nar_publish(&caller, &cache, claim).await?;
    Ok(StatusCode::OK.into_response())
}
