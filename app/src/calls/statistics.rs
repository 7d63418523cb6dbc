//! Statistics of a cache, or of all of them.

use super::UiError;
use iglu_api::statistics::Statistics;
use leptos::prelude::*;
use server_fn::codec::GetUrl;

/// Statistics of a cache, or with an empty name of all that the caller may see. `span` is one of `Span`'s words; anything else means the
/// last 30 days.
#[server(input = GetUrl)]
pub async fn statistics_get(
    #[server(default)] cache: String,
    #[server(default)] span: String,
) -> Result<Statistics, UiError> {
    use iglu_api::statistics::Span;
    let call = super::context::Call::here()?;
    let span = Span::parse(&span).unwrap_or_default();
    let statistics = call.core.statistics();
    Ok(match cache.as_str() {
        "" => statistics.of_all(&call.caller, span).await?,
        cache => statistics.of_cache(&call.caller, cache, span).await?,
    })
}
