//! The head that a cache's pages share, and the tabs between them.

use super::loaded::when_loaded;
use crate::{
    calls::{UiError, cache::cache_get},
    ui::{
        badge::VisibilityBadge,
        button::LinkButton,
        icon,
        page::PageHead,
        tab::{Tab, Tabs},
    },
};
use iglu_api::cache::{CacheDetail, Permission};
use leptos::prelude::*;
use leptos_router::{components::Outlet, hooks::use_params_map};

/// The cache whose pages are open, for the page below the tabs.
#[derive(Clone, Copy)]
pub struct ThisCache {
    pub name: Memo<String>,
    pub detail: Resource<Result<CacheDetail, UiError>>,
    /// Whether a page changed the cache since `detail` was fetched.
    pub is_stale: StoredValue<bool>,
}

/// The cache named in the address.
pub fn named_cache() -> Memo<String> {
    let params = use_params_map();
    Memo::new(move |_| params.with(|params| params.get("name").unwrap_or_default()))
}

#[component]
pub fn CachePage() -> impl IntoView {
    let name = named_cache();
    let detail = Resource::new_blocking(move || name.get(), cache_get);
    provide_context(ThisCache { name, detail, is_stale: StoredValue::new(false) });
    // The page below the tabs is made once; only the head waits again when another cache is chosen.
    when_loaded(detail, move |cache| view! { <Head cache /> <Outlet /> }.into_any())
}

#[component]
fn Head(cache: CacheDetail) -> impl IntoView {
    let name = cache.summary.name.to_string();
    let visibility = cache.summary.visibility;
    let priority = cache.summary.priority;
    let is_bound = !cache.networks.is_empty();
    let may_change = cache.permission >= Some(Permission::Admin);
    let may_push = cache.permission >= Some(Permission::Push);
    let trail = match cache.permission {
        // The list of caches is for people who are logged in; the rest came by the address.
        Some(Permission::Push | Permission::Admin | Permission::Own) => {
            vec![("Caches".to_owned(), "/caches".to_owned())]
        }
        _ => Vec::new(),
    };
    let push = format!("/caches/{name}/first-push");
    let base = format!("/caches/{name}");
    view! {
        <PageHead
            title=name.clone()
            trail
            about=move || {
                view! {
                    <p class="flex flex-wrap items-center gap-x-2 gap-y-1 text-soft">
                        <VisibilityBadge visibility /> {format!("priority {priority}")}
                        {is_bound.then_some(" · from its networks only")}
                    </p>
                }
            }
            action=move || {
                let push = push.clone();
                may_push.then(|| view! { <LinkButton href=push label="Push a path" glyph=icon::UP /> })
            }
        />
        <Tabs label=format!("Pages of {name}")>
            <Tab word="Use" href=base.clone() is_root=true />
            <Tab word="Paths" href=format!("{base}/paths") />
            <Tab word="Pins" href=format!("{base}/pins") />
            <Tab word="Keys" href=format!("{base}/keys") />
            <Tab word="Statistics" href=format!("{base}/statistics") />
            {may_change
                .then(|| {
                    view! {
                        <Tab word="Members" href=format!("{base}/members") />
                        <Tab word="Retention" href=format!("{base}/retention") />
                        <Tab word="Activity" href=format!("{base}/activity") />
                        <Tab word="Settings" href=format!("{base}/settings") />
                    }
                })}
        </Tabs>
    }
}
