//! Tokens: list, create, revoke.

use super::UiError;
use iglu_api::{
    CacheName,
    token::{CreatedToken, TokenRow},
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::GetUrl;

/// What the tokens page shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenPage {
    pub tokens: Vec<TokenRow>,
    /// The caches that a new token can be for.
    pub caches: Vec<CacheName>,
    /// The token just made in this browser, shown this once.
    pub created: Option<CreatedToken>,
}

#[server(input = GetUrl)]
pub async fn token_list() -> Result<TokenPage, UiError> {
    let call = super::context::Call::logged_in()?;
    let tokens = call.core.token().list(&call.caller).await?;
    let caches = call.core.cache().list(&call.caller).await?.into_iter().map(|cache| cache.name).collect();
    Ok(TokenPage { tokens, caches, created: call.take_created_token() })
}

/// Makes a token and leads back to the tokens page, which shows it. `cache` empty means every cache; `scope` is `pull`,
/// `push` or `admin`; `expires_days` empty means never; `owner` is `me` or `cache`.
#[server]
pub async fn token_create(
    name: String,
    cache: String,
    scope: String,
    expires_days: String,
    #[server(default)] owner: String,
) -> Result<(), UiError> {
    use iglu_api::{Timestamp, cache::Permission, token::TokenCreate};
    let call = super::context::Call::here()?;
    let invalid = |field: &str, message: String| UiError::Invalid { field: field.to_owned(), message };
    let create = TokenCreate {
        name: name.trim().to_owned(),
        cache: match cache.as_str() {
            "" => None,
            name => Some(CacheName::parse(name).map_err(|why| invalid("cache", why.to_string()))?),
        },
        scope: match scope.as_str() {
            "pull" => Permission::Pull,
            "push" => Permission::Push,
            "admin" => Permission::Admin,
            _ => return Err(invalid("scope", "choose pull, push or admin".to_owned())),
        },
        expires_at: match expires_days.trim() {
            "" => None,
            days => match days.parse::<u16>() {
                Ok(days) if days > 0 => Some(call.core.now().plus(i64::from(days) * Timestamp::DAY)),
                _ => return Err(invalid("expires_days", "a number of days from 1 to 65535".to_owned())),
            },
        },
        is_of_cache: owner == "cache",
    };
    let created = call.core.token().create(&call.caller, &create).await?;
    call.keep_created_token(&created);
    super::context::redirect_local("/tokens");
    Ok(())
}

#[server]
pub async fn token_revoke(id: i64) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.token().revoke(&call.caller, id).await?)
}
