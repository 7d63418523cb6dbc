//! The whole server, for its administrators.

use super::UiError;
use iglu_api::instance::{AuditPage, Instance};
use leptos::prelude::*;
use server_fn::codec::GetUrl;

#[server(input = GetUrl)]
pub async fn instance_get() -> Result<Instance, UiError> {
    let call = super::context::Call::logged_in()?;
    Ok(call.core.instance().get(&call.caller).await?)
}

/// A page of the audit log: rows older than `before`, with `search` in them.
#[server(input = GetUrl)]
pub async fn audit_list(
    #[server(default)] search: String,
    #[server(default)] before: Option<i64>,
) -> Result<AuditPage, UiError> {
    use iglu_api::instance::AuditQuery;
    let call = super::context::Call::logged_in()?;
    Ok(call.core.instance().audit(&call.caller, &AuditQuery { search, before }).await?)
}
