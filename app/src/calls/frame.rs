//! What the frame around every page shows.

use super::UiError;
use iglu_api::{CacheName, account::Me};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::GetUrl;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Who is logged in, if anybody.
    pub me: Option<Me>,
    /// For the cache switcher; empty for people who are not logged in.
    pub caches: Vec<CacheName>,
    /// Whether what the server holds is made up.
    pub is_demo: bool,
}

#[server(input = GetUrl)]
pub async fn frame_get() -> Result<Frame, UiError> {
    let call = super::context::Call::here()?;
    let me = call.caller.me();
    let caches = match me {
        Some(_) => call.core.cache().names(&call.caller),
        None => Vec::new(),
    };
    Ok(Frame { me, caches, is_demo: call.core.is_demo() })
}
