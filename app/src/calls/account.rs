//! Logging in and out, and one's own account.

use super::UiError;
use iglu_api::account::{Me, SessionRow};
use leptos::prelude::*;
use server_fn::codec::GetUrl;

/// Who is logged in, if anybody.
#[server(input = GetUrl)]
pub async fn me_get() -> Result<Option<Me>, UiError> {
    Ok(super::context::Call::here()?.caller.me())
}

/// Logs in and leads to `next`, or to the overview.
#[server]
pub async fn session_create(name: String, password: String, next: Option<String>) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let session = call.core.account().session_create(&name, &password, &call.client).await?;
    call.set_session(&session);
    super::context::redirect_local(next.as_deref().unwrap_or("/"));
    Ok(())
}

/// Logs out.
#[server]
pub async fn session_end() -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    call.core.account().session_end(&call.caller).await?;
    call.clear_session();
    super::context::redirect_local("/login");
    Ok(())
}

/// The caller's own sessions, the newest first.
#[server(input = GetUrl)]
pub async fn session_list() -> Result<Vec<SessionRow>, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.account().session_list(&call.caller).await?)
}

/// Ends one of the caller's own sessions.
#[server]
pub async fn session_revoke(id: i64) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.account().session_revoke(&call.caller, id).await?)
}

/// Changes the caller's password and ends the caller's other sessions.
#[server]
pub async fn password_change(current: String, new: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    call.core.account().password_change(&call.caller, &current, &new).await?;
    // The page says so, with and without JavaScript.
    super::context::redirect_local("/account?changed=password");
    Ok(())
}
