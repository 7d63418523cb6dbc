//! Pages whose code the browser fetches when one of their group is first opened. What most visits are for stays in the first file.

use crate::pages;
use leptos::{lazy, prelude::*};
use leptos_router::LazyRoute;

/// A group is one file. Each page is followed by the name that `#[lazy]` gives to the function that fetches it.
/// `#[lazy]` tells files apart by their name and by where the macro stands, which is here for all.
macro_rules! groups {
    ($($group:ident { $($page:ident = $module:ident, $load:ident;)* })*) => {
        $($(
            #[lazy($group)]
            fn $module() -> AnyView {
                pages::$module::$page().into_any()
            }

            pub struct $page;

            impl LazyRoute for $page {
                fn data() -> Self {
                    Self
                }

                async fn view(_page: Self) -> AnyView {
                    $module().await
                }

                /// What the server rendered can be taken over only by a page that is here.
                async fn preload() {
                    #[cfg(feature = "hydrate")]
                    $load().await;
                }
            }
        )*)*
    };
}

groups! {
    cache {
        CacheKeys = cache_keys, __preload_cache_keys;
        CachePins = cache_pins, __preload_cache_pins;
        CacheRetention = cache_retention, __preload_cache_retention;
        CacheSettings = cache_settings, __preload_cache_settings;
        CacheWhy = cache_why, __preload_cache_why;
    }
    account {
        Account = account, __preload_account;
        CacheCreatePage = cache_create, __preload_cache_create;
        FirstPushPage = first_push, __preload_first_push;
        Setup = setup, __preload_setup;
        TokenCreatePage = token_create, __preload_token_create;
        Tokens = tokens, __preload_tokens;
    }
    admin {
        AdminServer = admin, __preload_admin;
        AdminAudit = admin_audit, __preload_admin_audit;
    }
}
