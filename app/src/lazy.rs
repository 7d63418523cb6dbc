//! Pages whose code the browser fetches when one of their group is first opened. What most visits are for stays in the first file.

use crate::pages;
use leptos::{lazy, prelude::*};
use leptos_router::LazyRoute;

/// A group is one file. Each page is followed by names for the function that makes it and for the one that
/// `#[lazy]` makes to fetch it.
/// `#[lazy]` tells files apart by their name and by where the macro stands, which is here for all.
macro_rules! groups {
    ($($group:ident { $($page:ident in $module:ident = $view:ident, $load:ident;)* })*) => {
        $($(
            #[lazy($group)]
            fn $view() -> AnyView {
                pages::$module::$page().into_any()
            }

            pub struct $page;

            impl LazyRoute for $page {
                fn data() -> Self {
                    Self
                }

                async fn view(_page: Self) -> AnyView {
                    $view().await
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
        CacheActivity in changes = cache_activity, __preload_cache_activity;
        CacheKeys in cache_keys = cache_keys, __preload_cache_keys;
        CacheMembers in cache_members = cache_members, __preload_cache_members;
        CachePins in cache_pins = cache_pins, __preload_cache_pins;
        CacheRetention in cache_retention = cache_retention, __preload_cache_retention;
        CacheSettings in cache_settings = cache_settings, __preload_cache_settings;
        CacheWhy in cache_why = cache_why, __preload_cache_why;
    }
    account {
        Account in account = account, __preload_account;
        CacheCreatePage in cache_create = cache_create, __preload_cache_create;
        FirstPushPage in first_push = first_push, __preload_first_push;
        Invite in invite = invite, __preload_invite;
        Setup in setup = setup, __preload_setup;
        TokenCreatePage in token_create = token_create, __preload_token_create;
        Tokens in tokens = tokens, __preload_tokens;
    }
    builders {
        BuildersPage in builders = builders_page, __preload_builders_page;
        BuilderCreatePage in builder_form = builder_create_page, __preload_builder_create_page;
        BuilderRuns in builder = builder_runs, __preload_builder_runs;
        BuilderSettings in builder = builder_settings, __preload_builder_settings;
        BuilderWebhook in builder_webhook = builder_webhook, __preload_builder_webhook;
        NodesPage in nodes = nodes_page, __preload_nodes_page;
        QueuePage in queue = queue_page, __preload_queue_page;
        RunPage in run = run_page, __preload_run_page;
    }
    admin {
        AdminServer in admin = admin, __preload_admin;
        AdminAudit in changes = admin_audit, __preload_admin_audit;
        AdminUsers in admin_users = admin_users, __preload_admin_users;
    }
}
