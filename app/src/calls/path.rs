//! Store paths of a cache.

use super::UiError;
use iglu_api::{
    path::{FolderPage, PathDetail, PathPage, RecentPush},
    why::WhyAnswer,
};
use leptos::prelude::*;
use server_fn::codec::GetUrl;

/// One page of a cache's paths. `sort` is one of `PathSort`'s words; anything else means the newest first. `filter` is one of
/// `PathFilter`'s; anything else means all.
#[server(input = GetUrl)]
pub async fn path_list(
    cache: String,
    search: String,
    sort: String,
    page: u32,
    #[server(default)] pushed_by: String,
    #[server(default)] filter: String,
) -> Result<PathPage, UiError> {
    use iglu_api::path::{PathFilter, PathQuery, PathSort};
    let call = super::context::Call::here()?;
    let query = PathQuery {
        search,
        sort: PathSort::parse(&sort).unwrap_or_default(),
        pushed_by,
        filter: PathFilter::parse(&filter).unwrap_or_default(),
        page,
    };
    Ok(call.core.path().list(&call.caller, &cache, &query).await?)
}

/// Paths of the caches that the caller sees, for the palette: a few that have these words.
#[server(input = GetUrl)]
pub async fn path_find(search: String) -> Result<Vec<RecentPush>, UiError> {
    let call = super::context::Call::logged_in()?;
    Ok(call.core.path().find(&call.caller, &search).await?)
}

/// All about one path. `hash` is the hash part.
#[server(input = GetUrl)]
pub async fn path_get(cache: String, hash: String) -> Result<PathDetail, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.path().detail(&call.caller, &cache, hash_of(&hash)?).await?)
}

/// One folder of a path's files; `None` where they are not known.
#[server(input = GetUrl)]
pub async fn path_folder(
    cache: String,
    hash: String,
    #[server(default)] folder: String,
) -> Result<Option<FolderPage>, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.path().folder(&call.caller, &cache, hash_of(&hash)?, &folder).await?)
}

/// Why a path was not substituted. `path` is whatever names it.
#[server(input = GetUrl)]
pub async fn path_why(cache: String, path: String) -> Result<WhyAnswer, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.path().why(&call.caller, &cache, &path).await?)
}

/// Takes a path out of its cache, with all that refers to it or not at all, and leads to where it can be undone.
#[server]
pub async fn path_remove(cache: String, hash: String, #[server(default)] with_referrers: bool) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    call.core.retention().remove(&call.caller, &cache, &[hash_of(&hash)?], with_referrers).await?;
    super::context::redirect_local(&format!("/caches/{cache}/retention?removed=1"));
    Ok(())
}

#[cfg(feature = "ssr")]
fn hash_of(text: &str) -> Result<iglu_api::path::StorePathHash, UiError> {
    let parsed = iglu_api::path::StorePathHash::parse(text);
    parsed.map_err(|_| UiError::NotFound("this is no hash part of a store path".to_owned()))
}
