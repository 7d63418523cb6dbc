//! Caches: list, look at, create.

#![allow(clippy::too_many_arguments, reason = "what a form has, by the names of its fields")]

use super::UiError;
use iglu_api::cache::{self as api, CacheDetail, CacheSummary};
use leptos::prelude::*;
use server_fn::codec::GetUrl;

/// The caches that the caller may see, by name.
#[server(input = GetUrl)]
pub async fn cache_list() -> Result<Vec<CacheSummary>, UiError> {
    let call = super::context::Call::logged_in()?;
    Ok(call.core.cache().list(&call.caller).await?)
}

/// One cache.
#[server(input = GetUrl)]
pub async fn cache_get(name: String) -> Result<CacheDetail, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.cache().get(&call.caller, &name).await?)
}

/// Tries a cache out at its public address, as somebody who pulls would.
#[server]
pub async fn cache_try(name: String) -> Result<Vec<api::TryStep>, UiError> {
    let call = super::context::Call::logged_in()?;
    Ok(call.core.cache_try(&call.caller, &name).await?)
}

/// Creates a cache and leads to its page. `visibility` is `public` or `private`, `compression` is `zstd` or `xz`, `signing` is
/// `server` or `client`.
#[server]
pub async fn cache_create(
    name: String,
    visibility: String,
    priority: String,
    compression: String,
    signing: String,
) -> Result<(), UiError> {
    use iglu_api::{
        CacheName,
        cache::{CacheCreate, PreferredCompression, Signing, Visibility},
    };
    let call = super::context::Call::here()?;
    let invalid =
        |field: &str, message: &str| UiError::Invalid { field: field.to_owned(), message: message.to_owned() };
    let create = CacheCreate {
        name: CacheName::parse(name.trim()).map_err(|why| invalid("name", &why.to_string()))?,
        visibility: match visibility.as_str() {
            "public" => Visibility::Public,
            "private" => Visibility::Private,
            _ => return Err(invalid("visibility", "choose public or private")),
        },
        priority: priority.trim().parse().map_err(|_| invalid("priority", "a whole number, such as 41"))?,
        compression: match compression.as_str() {
            "zstd" => PreferredCompression::Zstd,
            "xz" => PreferredCompression::Xz,
            _ => return Err(invalid("compression", "choose zstd or xz")),
        },
        signing: match signing.as_str() {
            "server" => Signing::Server,
            "client" => Signing::Client,
            _ => return Err(invalid("signing", "choose the server or those who push")),
        },
        client_filter_keys: Vec::new(),
    };
    call.core.cache().create(&call.caller, &create).await?;
    super::context::redirect_local(&format!("/caches/{}", create.name));
    Ok(())
}

/// Changes what the settings page shows. `seen` is what it showed, as JSON: whoever changed it meanwhile is not overruled unseen.
/// `client_filter_keys`, `upstreams` and `networks` are lists with blanks or line breaks between.
#[server]
pub async fn cache_change(
    name: String,
    #[server(default)] seen: String,
    visibility: String,
    priority: String,
    #[server(default)] is_lenient: bool,
    #[server(default)] client_filter_keys: String,
    #[server(default)] upstreams: String,
    #[server(default)] networks: String,
) -> Result<(), UiError> {
    use iglu_api::cache::Visibility;
    let call = super::context::Call::here()?;
    let invalid =
        |field: &str, message: &str| UiError::Invalid { field: field.to_owned(), message: message.to_owned() };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let change = api::CacheChange {
        visibility: Some(match visibility.as_str() {
            "public" => Visibility::Public,
            "private" => Visibility::Private,
            _ => return Err(invalid("visibility", "choose public or private")),
        }),
        priority: Some(priority.trim().parse().map_err(|_| invalid("priority", "a whole number, such as 41"))?),
        is_lenient: Some(is_lenient),
        client_filter_keys: Some(words(&client_filter_keys)),
        upstreams: Some(words(&upstreams)),
        networks: Some(words(&networks)),
    };
    call.core.refresh().await?;
    let before = settings_of(&call.core.cache().get(&call.caller, &name).await?);
    if serde_json::from_str::<api::CacheChange>(&seen).is_ok_and(|seen| seen != before) {
        return Err(super::changed_meanwhile("the settings"));
    }
    Ok(call.core.cache().change(&call.caller, &name, &change).await?)
}

/// The settings of a cache, as a change to them.
pub fn settings_of(detail: &CacheDetail) -> api::CacheChange {
    api::CacheChange {
        visibility: Some(detail.summary.visibility),
        priority: Some(detail.summary.priority),
        is_lenient: Some(detail.is_lenient),
        client_filter_keys: Some(detail.client_filter_keys.clone()),
        upstreams: Some(detail.upstreams.clone()),
        networks: Some(detail.networks.clone()),
    }
}

/// Removes a cache and leads to the list. `confirm` is its name once more.
#[server]
pub async fn cache_remove(name: String, confirm: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    if confirm.trim() != name {
        return Err(UiError::Invalid { field: "confirm".to_owned(), message: format!("type {name} to remove it") });
    }
    call.core.cache().remove(&call.caller, &name).await?;
    super::context::redirect_local("/caches");
    Ok(())
}
