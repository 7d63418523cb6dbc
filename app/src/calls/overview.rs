//! The first page's numbers.

use super::UiError;
use iglu_api::overview::Overview;
use leptos::prelude::*;
use server_fn::codec::GetUrl;

#[server(input = GetUrl)]
pub async fn overview_get() -> Result<Overview, UiError> {
    let call = super::context::Call::logged_in()?;
    Ok(call.core.overview(&call.caller).await?)
}
