//! People and tokens: roles in caches, users of the server, invitations.

use super::{Answer, Asker, Input, Problem};
use axum::{
    Json,
    extract::{Path, State},
};
use iglu_api::{
    member::{CreatedInvitation, MemberInvite, MemberRole, Members, UserChange, UserCreate, UserInvite, Users},
    token::{CreatedToken, TokenCreate, TokenRow},
};
use iglu_core::Core;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn router() -> OpenApiRouter<Core> {
    OpenApiRouter::new()
        .routes(routes!(member_list))
        .routes(routes!(member_set, member_remove))
        .routes(routes!(member_invite))
        .routes(routes!(user_list, user_create))
        .routes(routes!(user_change, user_remove))
        .routes(routes!(user_password_link))
        .routes(routes!(user_invite))
        .routes(routes!(invitation_revoke))
        .routes(routes!(token_list, token_create))
        .routes(routes!(token_revoke))
}

/// People and live tokens of a cache, and for owners its invitations.
#[utoipa::path(get, path = "/api/v1/caches/{cache}/members", tag = "people", params(("cache" = String, Path)),
    responses((status = 200, body = Members), (status = "default", body = Problem)), security(("token" = [])))]
async fn member_list(State(core): State<Core>, Asker(caller): Asker, Path(cache): Path<String>) -> Answer<Members> {
    Ok(Json(core.member().list(&caller, &cache).await?))
}

/// Gives somebody with an account a role in a cache, in place of the one they had.
#[utoipa::path(put, path = "/api/v1/caches/{cache}/members/{name}", tag = "people",
    params(("cache" = String, Path), ("name" = String, Path)), request_body = MemberRole,
    responses((status = 200, body = Members), (status = "default", body = Problem)), security(("token" = [])))]
async fn member_set(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, name)): Path<(String, String)>,
    Input(MemberRole { role }): Input<MemberRole>,
) -> Answer<Members> {
    core.member().set(&caller, &cache, &name, role).await?;
    Ok(Json(core.member().list(&caller, &cache).await?))
}

/// Takes somebody out of a cache.
#[utoipa::path(delete, path = "/api/v1/caches/{cache}/members/{name}", tag = "people",
    params(("cache" = String, Path), ("name" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn member_remove(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path((cache, name)): Path<(String, String)>,
) -> Answer<()> {
    Ok(Json(core.member().remove(&caller, &cache, &name).await?))
}

/// Makes a link that brings somebody into a cache, once.
#[utoipa::path(post, path = "/api/v1/caches/{cache}/invitations", tag = "people", params(("cache" = String, Path)),
    request_body = MemberInvite,
    responses((status = 200, body = CreatedInvitation), (status = "default", body = Problem)), security(("token" = [])))]
async fn member_invite(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(cache): Path<String>,
    Input(MemberInvite { role, note }): Input<MemberInvite>,
) -> Answer<CreatedInvitation> {
    Ok(Json(core.invitation().create_for_cache(&caller, &cache, role, &note).await?))
}

/// Everybody with an account, and who is invited to the server. For administrators.
#[utoipa::path(get, path = "/api/v1/users", tag = "people",
    responses((status = 200, body = Users), (status = "default", body = Problem)), security(("token" = [])))]
async fn user_list(State(core): State<Core>, Asker(caller): Asker) -> Answer<Users> {
    Ok(Json(core.user().list(&caller).await?))
}

/// Makes an account with a password, and gives the list of all. For administrators.
#[utoipa::path(post, path = "/api/v1/users", tag = "people", request_body = UserCreate,
    responses((status = 200, body = Users), (status = "default", body = Problem)), security(("token" = [])))]
async fn user_create(
    State(core): State<Core>,
    Asker(caller): Asker,
    Input(UserCreate { name, password, is_admin }): Input<UserCreate>,
) -> Answer<Users> {
    core.account().create(&caller, &name, &password, is_admin).await?;
    Ok(Json(core.user().list(&caller).await?))
}

/// Makes somebody an administrator or none, lets them in or not. For administrators.
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "people", params(("name" = String, Path)),
    request_body = UserChange,
    responses((status = 200, body = Users), (status = "default", body = Problem)), security(("token" = [])))]
async fn user_change(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
    Input(change): Input<UserChange>,
) -> Answer<Users> {
    core.user().change(&caller, &name, &change).await?;
    Ok(Json(core.user().list(&caller).await?))
}

/// Removes an account with its roles and own tokens. For administrators.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "people", params(("name" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn user_remove(State(core): State<Core>, Asker(caller): Asker, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(core.user().remove(&caller, &name).await?))
}

/// Makes a link by which somebody chooses a new password, once. For administrators.
#[utoipa::path(post, path = "/api/v1/users/{name}/password-link", tag = "people", params(("name" = String, Path)),
    responses((status = 200, body = CreatedInvitation), (status = "default", body = Problem)), security(("token" = [])))]
async fn user_password_link(
    State(core): State<Core>,
    Asker(caller): Asker,
    Path(name): Path<String>,
) -> Answer<CreatedInvitation> {
    Ok(Json(core.invitation().create_for_password(&caller, &name).await?))
}

/// Makes a link to an account on this server, once. For administrators.
#[utoipa::path(post, path = "/api/v1/invitations", tag = "people", request_body = UserInvite,
    responses((status = 200, body = CreatedInvitation), (status = "default", body = Problem)), security(("token" = [])))]
async fn user_invite(
    State(core): State<Core>,
    Asker(caller): Asker,
    Input(UserInvite { is_admin, note }): Input<UserInvite>,
) -> Answer<CreatedInvitation> {
    Ok(Json(core.invitation().create_for_server(&caller, is_admin, &note).await?))
}

/// Ends an invitation that nobody followed yet.
#[utoipa::path(delete, path = "/api/v1/invitations/{id}", tag = "people", params(("id" = i64, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn invitation_revoke(State(core): State<Core>, Asker(caller): Asker, Path(id): Path<i64>) -> Answer<()> {
    Ok(Json(core.invitation().revoke(&caller, id).await?))
}

/// All tokens, without their secrets. For administrators.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "people",
    responses((status = 200, body = Vec<TokenRow>), (status = "default", body = Problem)), security(("token" = [])))]
async fn token_list(State(core): State<Core>, Asker(caller): Asker) -> Answer<Vec<TokenRow>> {
    Ok(Json(core.token().list(&caller).await?))
}

/// Makes a token of a cache or of the server; its secret is in the answer and nowhere else. For administrators.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "people", request_body = TokenCreate,
    responses((status = 200, body = CreatedToken), (status = "default", body = Problem)), security(("token" = [])))]
async fn token_create(
    State(core): State<Core>,
    Asker(caller): Asker,
    Input(create): Input<TokenCreate>,
) -> Answer<CreatedToken> {
    Ok(Json(core.token().create(&caller, &create).await?))
}

/// Ends a token.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "people", params(("id" = i64, Path)),
    responses((status = 200), (status = "default", body = Problem)), security(("token" = [])))]
async fn token_revoke(State(core): State<Core>, Asker(caller): Asker, Path(id): Path<i64>) -> Answer<()> {
    Ok(Json(core.token().revoke(&caller, id).await?))
}
