//! Caches: list, look at, create.

use super::UiError;
use iglu_api::cache::{CacheDetail, CacheSummary};
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
