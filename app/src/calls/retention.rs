//! What a cache keeps, what would go, and what went.

use super::UiError;
use iglu_api::retention::{Preview, PushLimits, Removal, Retention};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::GetUrl;

/// What the retention page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionPage {
    pub rules: Retention,
    /// The rules of the preview: those that were asked about, or those of the cache.
    pub previewed: Retention,
    /// `None` where no rule takes anything.
    pub preview: Option<Preview>,
    pub removals: Vec<Removal>,
    /// Why the rules that were asked about are none; then the preview is of those of the cache.
    pub refused: Option<UiError>,
}

/// Rows of a preview on its page; all of it comes from `iglu gc --dry-run`.
pub const PREVIEW_ROWS: usize = 100;

/// Rules as they are typed; an empty text is no such rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RulesText {
    pub pushed_days: String,
    pub used_days: String,
    pub bytes: String,
    pub revisions: String,
}

impl RulesText {
    pub fn of(rules: &Retention) -> RulesText {
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        RulesText {
            pushed_days: number(rules.pushed_days),
            used_days: number(rules.used_days),
            bytes: rules.bytes.map(iglu_api::format::bytes_exact).unwrap_or_default(),
            revisions: number(rules.revisions),
        }
    }

    /// # Errors
    /// The field that cannot be read.
    pub fn parse(&self) -> Result<Retention, UiError> {
        let number = |field: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| UiError::Invalid {
                field: field.to_owned(),
                message: "write a whole number, or nothing for no such rule".to_owned(),
            }),
        };
        Ok(Retention {
            pushed_days: number("pushed_days", &self.pushed_days)?,
            used_days: number("used_days", &self.used_days)?,
            bytes: size("bytes", &self.bytes)?,
            revisions: number("revisions", &self.revisions)?,
        })
    }
}

/// A size as it is typed; none where nothing is.
fn size(field: &str, text: &str) -> Result<Option<u64>, UiError> {
    match text.trim() {
        "" => Ok(None),
        text => iglu_api::format::bytes_parse(text)
            .map(Some)
            .map_err(|why| UiError::Invalid { field: field.to_owned(), message: why.to_owned() }),
    }
}

/// The rules of a cache, what they or the `asked` ones would take now, and what went.
#[server(input = GetUrl)]
pub async fn retention_get(
    cache: String,
    #[server(default)] asked: Option<RulesText>,
) -> Result<RetentionPage, UiError> {
    let call = super::context::Call::logged_in()?;
    let retention = call.core.retention();
    let (rules, _) = retention.get(&call.caller, &cache).await?;
    let removals = retention.removals(&call.caller, &cache).await?;
    let (previewed, refused) = match asked.map(|asked| asked.parse()) {
        None => (rules, None),
        Some(Ok(asked)) => (asked, None),
        Some(Err(error)) => (rules, Some(error)),
    };
    let preview = match previewed.collects() {
        true => Some(retention.preview(&call.caller, &cache, Some(&previewed), PREVIEW_ROWS).await?),
        false => None,
    };
    Ok(RetentionPage { rules, previewed, preview, removals, refused })
}

/// Changes the rules. `seen` are those that the page showed, as JSON: whoever changed them meanwhile is not overruled unseen.
#[server]
pub async fn retention_set(
    cache: String,
    #[server(default)] seen: String,
    pushed_days: String,
    used_days: String,
    bytes: String,
    revisions: String,
    #[server(default)] confirm: bool,
) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let rules = RulesText { pushed_days, used_days, bytes, revisions }.parse()?;
    call.core.refresh().await?;
    let retention = call.core.retention();
    let (before, _) = retention.get(&call.caller, &cache).await?;
    if serde_json::from_str::<Retention>(&seen).is_ok_and(|seen| seen != before) {
        return Err(super::changed_meanwhile("the rules"));
    }
    Ok(retention.set(&call.caller, &cache, &rules, confirm).await?)
}

/// Asks for a run of the collector now.
#[server]
pub async fn retention_run(cache: String, #[server(default)] confirm: bool) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    call.core.retention().ask(&call.caller, &cache, confirm).await?;
    Ok(())
}

/// Puts back what people removed together.
#[server]
pub async fn removal_undo(cache: String, id: i64) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    call.core.retention().undo(&call.caller, &cache, id).await?;
    Ok(())
}

/// What may be pushed to a cache.
#[server(input = GetUrl)]
pub async fn limits_get(cache: String) -> Result<PushLimits, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.retention().get(&call.caller, &cache).await?.1)
}

/// Changes what may be pushed to a cache; an empty text is no limit.
#[server]
pub async fn limits_set(cache: String, cache_bytes: String, upload_bytes: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    let limits = PushLimits {
        cache_bytes: size("cache_bytes", &cache_bytes)?,
        upload_bytes: size("upload_bytes", &upload_bytes)?,
    };
    Ok(call.core.retention().limits_set(&call.caller, &cache, &limits).await?)
}
