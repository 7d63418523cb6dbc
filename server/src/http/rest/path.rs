//! Store paths: list, look at, remove; and why one is not substituted.

use super::{Answer, Asker, Input, Problem, Query, hash_of};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::{
    check::DamagedPath,
    path::{FolderPage, PathDetail, PathFilter, PathPage, PathQuery, PathSort, PathsRemove},
    retention::Removal,
    why::WhyAnswer,
};
use iglu_core::{Core, Error};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new()
        .routes(routes!(path_list))
        .routes(routes!(path_get, path_remove))
        .routes(routes!(paths_remove))
        .routes(routes!(path_damaged))
        .routes(routes!(path_folder))
        .routes(routes!(path_why))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Listed {
    /// Words, each the beginning of a hash or of a part of a name between hyphens.
    search: String,
    /// `newest`, `name` or `largest`.
    sort: PathSort,
    /// Only what this token (`token ci`) or person pushed.
    pushed_by: String,
    /// `all`, `pinned`, `never_pulled` or `held`.
    filter: PathFilter,
    /// Counted from 0.
    page: u32,
}

/// The paths of a cache, fifty at a time.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/paths", tag = "paths", params(("cache" = String, Path), Listed),
    responses((status = 200, body = PathPage), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn path_list(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Query(Listed { search, sort, pushed_by, filter, page }): Query<Listed>,
) -> Answer<PathPage> {
    Ok(Json(core.path().list(&caller, &cache, &PathQuery { search, sort, pushed_by, filter, page }).await?))
}

/// All about one path: hashes, signatures, references both ways, closure.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/paths/{hash}", tag = "paths",
    params(("cache" = String, Path), ("hash" = String, Path, description = "The hash part of the store path")),
    responses((status = 200, body = PathDetail), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn path_get(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, hash)): Path<(String, String)>,
) -> Answer<PathDetail> {
    Ok(Json(core.path().detail(&caller, &cache, hash_of(&hash)?).await?))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct Removed {
    /// Whether all that refers to it goes along; otherwise nothing goes where something does.
    with_referrers: bool,
}

/// Takes a path out of its cache; it can be undone for a day.
#[utoipa::path(delete, path = "/api/v1/caches/{cache}/paths/{hash}", tag = "paths",
    params(("cache" = String, Path), ("hash" = String, Path), Removed),
    responses((status = 200, body = Removal), (status = "default", body = Problem)), security(("token" = [])))]
async fn path_remove(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, hash)): Path<(String, String)>,
    Query(Removed { with_referrers }): Query<Removed>,
) -> Answer<Removal> {
    Ok(Json(core.retention().remove(&caller, &cache, &[hash_of(&hash)?], with_referrers).await?))
}

/// Takes paths out of their cache together; it can be undone for a day.
#[utoipa::path(post, path = "/api/v1/caches/{cache}/paths/remove", tag = "paths", params(("cache" = String, Path)),
    request_body = PathsRemove,
    responses((status = 200, body = Removal), (status = "default", body = Problem)), security(("token" = [])))]
async fn paths_remove(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Input(PathsRemove { hashes, with_referrers }): Input<PathsRemove>,
) -> Answer<Removal> {
    Ok(Json(core.retention().remove(&caller, &cache, &hashes, with_referrers).await?))
}

/// Paths that are out of sight because their file is damaged, until they are pushed again.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/damaged", tag = "paths", params(("cache" = String, Path)),
    responses((status = 200, body = Vec<DamagedPath>), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn path_damaged(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
) -> Answer<Vec<DamagedPath>> {
    Ok(Json(core.path().damaged(&caller, &cache).await?))
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct InFolder {
    /// Below the store path; empty for its top.
    folder: String,
}

/// One folder of a path's files.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/paths/{hash}/files", tag = "paths",
    params(("cache" = String, Path), ("hash" = String, Path), InFolder),
    responses((status = 200, body = FolderPage), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn path_folder(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, hash)): Path<(String, String)>,
    Query(InFolder { folder }): Query<InFolder>,
) -> Answer<FolderPage> {
    let found = core.path().folder(&caller, &cache, hash_of(&hash)?, &folder).await?;
    Ok(Json(found.ok_or_else(|| Error::NotFound("the files of this path are not listed".to_owned()))?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AskedWhy {
    /// A store path, its base name, its hash part, or the address of its narinfo.
    path: String,
}

/// Why a path is not substituted from a cache, step by step.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/why", tag = "paths", params(("cache" = String, Path), AskedWhy),
    responses((status = 200, body = WhyAnswer), (status = "default", body = Problem)), security(("token" = []), ()))]
async fn path_why(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Query(AskedWhy { path }): Query<AskedWhy>,
) -> Answer<WhyAnswer> {
    Ok(Json(core.path().why(&caller, &cache, &path).await?))
}
