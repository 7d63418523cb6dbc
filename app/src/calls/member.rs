//! People: in caches, on the server, and the links that bring them in.

use super::UiError;
use iglu_api::{
    instance::AuditPage,
    member::{CreatedInvitation, InvitationRow, Members, Users},
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::GetUrl;

/// What the page of a cache's members shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberPage {
    pub members: Members,
    /// The invitation just made in this browser, shown this once.
    pub created: Option<CreatedInvitation>,
}

/// What the page of all users shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserPage {
    pub users: Users,
    /// The link just made in this browser, shown this once.
    pub created: Option<CreatedInvitation>,
}

/// What an invitation's page shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvitationPage {
    pub invitation: InvitationRow,
    /// Who is logged in here already.
    pub me: Option<String>,
}

#[cfg(feature = "ssr")]
fn role(text: &str) -> Result<iglu_api::member::Role, UiError> {
    let unknown = || UiError::Invalid { field: "role".to_owned(), message: "choose a role of the list".to_owned() };
    iglu_api::member::Role::parse(text).ok_or_else(unknown)
}

#[server(input = GetUrl)]
pub async fn member_list(cache: String) -> Result<MemberPage, UiError> {
    let call = super::context::Call::logged_in()?;
    let members = call.core.member().list(&call.caller, &cache).await?;
    Ok(MemberPage { members, created: call.take_created_invitation() })
}

/// Gives somebody with an account a role.
#[server]
pub async fn member_set(cache: String, name: String, role: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.member().set(&call.caller, &cache, &name, self::role(&role)?).await?)
}

#[server]
pub async fn member_remove(cache: String, name: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.member().remove(&call.caller, &cache, &name).await?)
}

/// Makes a link into a cache.
#[server]
pub async fn member_invite(cache: String, note: String, role: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let role = self::role(&role)?;
    let created = call.core.invitation().create_for_cache(&call.caller, &cache, role, &note).await?;
    call.keep_created_invitation(&created);
    Ok(())
}

/// What was changed about a cache.
#[server(input = GetUrl)]
pub async fn cache_activity(
    cache: String,
    #[server(default)] search: String,
    #[server(default)] before: Option<i64>,
) -> Result<AuditPage, UiError> {
    use iglu_api::instance::AuditQuery;
    let call = super::context::Call::logged_in()?;
    Ok(call.core.instance().audit_of_cache(&call.caller, &cache, &AuditQuery { search, before }).await?)
}

#[server]
pub async fn invitation_revoke(id: i64) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.invitation().revoke(&call.caller, id).await?)
}

#[server(input = GetUrl)]
pub async fn user_list() -> Result<UserPage, UiError> {
    let call = super::context::Call::logged_in()?;
    let users = call.core.user().list(&call.caller).await?;
    Ok(UserPage { users, created: call.take_created_invitation() })
}

/// Makes a link to an account; `role` is `member` or `admin`.
#[server]
pub async fn user_invite(note: String, role: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let created = call.core.invitation().create_for_server(&call.caller, role == "admin", &note).await?;
    call.keep_created_invitation(&created);
    Ok(())
}

/// Makes a link by which somebody chooses a new password.
#[server]
pub async fn user_password_link(name: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let created = call.core.invitation().create_for_password(&call.caller, &name).await?;
    call.keep_created_invitation(&created);
    Ok(())
}

/// `to` is `member`, `admin`, `disabled` or `enabled`.
#[server]
pub async fn user_change(name: String, to: String) -> Result<(), UiError> {
    use iglu_api::member::UserChange;
    let call = super::context::Call::here()?;
    let change = match to.as_str() {
        "member" | "admin" => UserChange { is_admin: Some(to == "admin"), is_disabled: None },
        "disabled" | "enabled" => UserChange { is_admin: None, is_disabled: Some(to == "disabled") },
        _ => return Err(UiError::Invalid { field: String::new(), message: "no such change".to_owned() }),
    };
    Ok(call.core.user().change(&call.caller, &name, &change).await?)
}

/// `confirm` is the name once more.
#[server]
pub async fn user_remove(name: String, confirm: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    if confirm.trim() != name {
        return Err(UiError::Invalid {
            field: String::new(),
            message: format!("{name} was not removed: type the name to remove the account"),
        });
    }
    Ok(call.core.user().remove(&call.caller, &name).await?)
}

/// What a link gives. A used, ended or wrong one is `NotFound`.
#[server(input = GetUrl)]
pub async fn invitation_get(secret: String) -> Result<InvitationPage, UiError> {
    let call = super::context::Call::here()?;
    let invitation = call.core.invitation().get(&secret).await?;
    Ok(InvitationPage { invitation, me: call.caller.me().map(|me| me.name.to_string()) })
}

/// Follows a link as somebody new.
#[server]
pub async fn invitation_accept_new(secret: String, name: String, password: String) -> Result<(), UiError> {
    use iglu_api::UserName;
    let call = super::context::Call::here()?;
    let invalid = |message: String| UiError::Invalid { field: "name".to_owned(), message };
    let name = UserName::parse(name.trim()).map_err(|why| invalid(why.to_string()))?;
    let session = call.core.invitation().accept_new(&secret, &name, &password, &call.client).await?;
    call.set_session(&session);
    super::context::redirect_local("/");
    Ok(())
}

/// Follows a link into a cache as who is logged in.
#[server]
pub async fn invitation_accept(secret: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    call.core.invitation().accept(&call.caller, &secret).await?;
    super::context::redirect_local("/");
    Ok(())
}

/// Follows a link for a new password.
#[server]
pub async fn invitation_accept_password(secret: String, password: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let session = call.core.invitation().accept_password(&secret, &password, &call.client).await?;
    call.set_session(&session);
    super::context::redirect_local("/");
    Ok(())
}
