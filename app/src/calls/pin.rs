//! The pins of a cache: list, create, end.

use super::UiError;
use iglu_api::pin::PinRow;
use leptos::prelude::*;
use server_fn::codec::GetUrl;

/// The pins of a cache by name, each with its revisions.
#[server(input = GetUrl)]
pub async fn pin_list(cache: String) -> Result<Vec<PinRow>, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.pin().list(&call.caller, &cache).await?)
}

/// Pins a path; a name that exists gets one more revision. `keep` is `forever`, `days` or `revisions`, of which `count` says how many.
#[server]
pub async fn pin_create(
    cache: String,
    name: String,
    store_path: String,
    keep: String,
    #[server(default)] count: String,
) -> Result<(), UiError> {
    use iglu_api::pin::{Keep, PinCreate};
    let call = super::context::Call::here()?;
    let number = || {
        count
            .trim()
            .parse::<u32>()
            .map_err(|_| UiError::Invalid { field: "count".to_owned(), message: "write how many".to_owned() })
    };
    let keep = match keep.as_str() {
        "days" => Keep::Days(number()?),
        "revisions" => Keep::Revisions(number()?),
        _ => Keep::Forever,
    };
    let create = PinCreate {
        name: name.trim().to_owned(),
        store_path: store_path.trim().to_owned(),
        artifacts: Vec::new(),
        keep,
    };
    let created = call.core.pin().create(&call.caller, &cache, &create).await.map_err(UiError::from);
    // Core's fields are those of the cachix protocol.
    created.map_err(|error| match error {
        UiError::Invalid { field, message } => {
            let field = match field.as_str() {
                "storePath" => "store_path".to_owned(),
                "keep" => "count".to_owned(),
                _ => field,
            };
            UiError::Invalid { field, message }
        }
        UiError::NotFound(message) => UiError::Invalid { field: "store_path".to_owned(), message },
        other => other,
    })
}

/// Ends a pin: all its revisions.
#[server]
pub async fn pin_remove(cache: String, name: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.pin().remove(&call.caller, &cache, &name, None).await?)
}
