//! The first run: from the one-time link to the first pushed path.

use super::UiError;
use iglu_api::{cache::CacheDetail, path::RecentPush, token::CreatedToken};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::GetUrl;

/// What the set-up form begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupForm {
    /// The address under which the server believes to be reached.
    pub public_url: String,
    /// Set by flag, file or environment, so that the form cannot change it.
    pub public_url_fixed: bool,
}

/// What the "push your first path" page needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstPush {
    pub cache: CacheDetail,
    /// A push token made by set-up, shown this once.
    pub token: Option<CreatedToken>,
    /// The newest path, once there is one.
    pub newest: Option<RecentPush>,
}

/// Whether the link is good, and what the form begins with. A used, expired or wrong link is `NotFound`.
#[server(input = GetUrl)]
pub async fn setup_get(secret: String) -> Result<SetupForm, UiError> {
    let call = super::context::Call::here()?;
    call.core.setup().check(&secret).await?;
    Ok(SetupForm { public_url: call.core.public_url(), public_url_fixed: call.core.public_url_is_fixed() })
}

/// Makes the administrator, the first cache and a push token, logs in, and leads to "push your first path".
#[server]
pub async fn setup_finish(
    secret: String,
    name: String,
    password: String,
    public_url: String,
    cache: String,
    visibility: String,
) -> Result<(), UiError> {
    use iglu_api::{CacheName, UserName, cache::Visibility};
    use iglu_core::setup::SetupFinish;
    let call = super::context::Call::here()?;
    let invalid = |field: &str, message: String| UiError::Invalid { field: field.to_owned(), message };
    let finish = SetupFinish {
        secret,
        name: UserName::parse(name.trim()).map_err(|why| invalid("name", why.to_string()))?,
        password,
        public_url: public_url.trim().to_owned(),
        cache: CacheName::parse(cache.trim()).map_err(|why| invalid("cache", why.to_string()))?,
        visibility: if visibility == "private" { Visibility::Private } else { Visibility::Public },
    };
    let done = call.core.setup().finish(&finish, &call.client).await?;
    call.set_session(&done.session);
    call.keep_created_token(&done.token);
    super::context::redirect_local(&format!("/caches/{}/first-push", finish.cache));
    Ok(())
}

#[server(input = GetUrl)]
pub async fn first_push_get(cache: String) -> Result<FirstPush, UiError> {
    use iglu_api::path::PathQuery;
    let call = super::context::Call::logged_in()?;
    let detail = call.core.cache().get(&call.caller, &cache).await?;
    let newest = call.core.path().list(&call.caller, &cache, &PathQuery::default()).await?.rows.into_iter().next();
    let newest = newest.map(|path| RecentPush { cache: detail.summary.name.clone(), path });
    Ok(FirstPush { cache: detail, token: call.take_created_token(), newest })
}
