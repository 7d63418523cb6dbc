//! The keys of a cache: list, add, import, register, retire.

use super::UiError;
use iglu_api::key::KeyRow;
use leptos::prelude::*;
use server_fn::codec::GetUrl;

/// All keys of a cache, retired ones too.
#[server(input = GetUrl)]
pub async fn key_list(cache: String) -> Result<Vec<KeyRow>, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.key().list(&call.caller, &cache).await?)
}

/// Adds a fresh key that the server signs with.
#[server]
pub async fn key_add(cache: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.key().add(&call.caller, &cache).await?)
}

/// Adds a key that signed for the cache elsewhere; `secret` is `name:base64`.
#[server]
pub async fn key_import(cache: String, secret: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.key().import(&call.caller, &cache, &secret).await?)
}

/// Registers the public key (base64) of somebody who signs before pushing.
#[server]
pub async fn key_register(cache: String, public_key: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    call.core.key().register(&call.caller, &cache, &public_key).await?;
    Ok(())
}

/// Takes a key out of use.
#[server]
pub async fn key_retire(cache: String, name: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.key().retire(&call.caller, &cache, &name).await?)
}
