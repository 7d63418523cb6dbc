//! Store paths of a cache.

use super::UiError;
use iglu_api::path::PathPage;
use leptos::prelude::*;
use server_fn::codec::GetUrl;

/// One page of a cache's paths. `sort` is one of `PathSort`'s words; anything else means the newest first.
#[server(input = GetUrl)]
pub async fn path_list(cache: String, search: String, sort: String, page: u32) -> Result<PathPage, UiError> {
    use iglu_api::path::{PathQuery, PathSort};
    let call = super::context::Call::here()?;
    let query = PathQuery { search, sort: PathSort::parse(&sort).unwrap_or_default(), page };
    Ok(call.core.path().list(&call.caller, &cache, &query).await?)
}
