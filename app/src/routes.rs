//! Which address shows which page, and what every page is given.

use crate::{
    pages::{
        account::Account,
        admin::{AdminPage, AdminServer},
        admin_audit::AdminAudit,
        cache::CachePage,
        cache_create::CacheCreatePage,
        cache_keys::CacheKeys,
        cache_path::CachePath,
        cache_paths::CachePaths,
        cache_pins::CachePins,
        cache_retention::CacheRetention,
        cache_settings::CacheSettings,
        cache_statistics::CacheStatistics,
        cache_use::CacheUse,
        cache_why::CacheWhy,
        caches::Caches,
        first_push::FirstPushPage,
        frame::FramedPages,
        login::Login,
        overview::OverviewPage,
        problem::UnknownPage,
        setup::Setup,
        token_create::TokenCreatePage,
        tokens::Tokens,
    },
    ui::{
        theme::Chosen,
        time::Now,
        toast::{ToastRegion, Toasts},
    },
};
use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{ParentRoute, Route, Router, Routes},
    path,
};

/// The whole of what the browser takes over. Every page is rendered once its data is there: status codes are right,
/// and nothing needs JavaScript to fall into place.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    Now::provide();
    Chosen::provide();
    let toasts = Toasts::provide();
    // Buttons that need JavaScript show themselves from here on.
    Effect::new(|_| {
        if let Some(root) = document().document_element() {
            _ = root.set_attribute("data-live", "");
        }
    });
    view! {
        <Title formatter=|page: String| if page.is_empty() { "Iglu".to_owned() } else { format!("{page} · Iglu") } />
        <a
            href="#main"
            class="sr-only focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50 focus:rounded-md focus:bg-surface focus:px-3 focus:py-2"
        >
            "Skip to the content"
        </a>
        <Router>
            <Routes fallback=UnknownPage>
                <Route path=path!("/login") view=Login ssr=SsrMode::Async />
                <Route path=path!("/setup/:secret") view=Setup ssr=SsrMode::Async />
                <ParentRoute path=path!("") view=FramedPages ssr=SsrMode::Async>
                    <Route path=path!("/") view=OverviewPage ssr=SsrMode::Async />
                    <Route path=path!("/caches") view=Caches ssr=SsrMode::Async />
                    <Route path=path!("/caches/new") view=CacheCreatePage ssr=SsrMode::Async />
                    <Route path=path!("/caches/:name/first-push") view=FirstPushPage ssr=SsrMode::Async />
                    <ParentRoute path=path!("/caches/:name") view=CachePage ssr=SsrMode::Async>
                        <Route path=path!("") view=CacheUse ssr=SsrMode::Async />
                        <Route path=path!("/paths") view=CachePaths ssr=SsrMode::Async />
                        <Route path=path!("/paths/:hash") view=CachePath ssr=SsrMode::Async />
                        <Route path=path!("/why") view=CacheWhy ssr=SsrMode::Async />
                        <Route path=path!("/pins") view=CachePins ssr=SsrMode::Async />
                        <Route path=path!("/keys") view=CacheKeys ssr=SsrMode::Async />
                        <Route path=path!("/retention") view=CacheRetention ssr=SsrMode::Async />
                        <Route path=path!("/statistics") view=CacheStatistics ssr=SsrMode::Async />
                        <Route path=path!("/settings") view=CacheSettings ssr=SsrMode::Async />
                    </ParentRoute>
                    <ParentRoute path=path!("/admin") view=AdminPage ssr=SsrMode::Async>
                        <Route path=path!("") view=AdminServer ssr=SsrMode::Async />
                        <Route path=path!("/audit") view=AdminAudit ssr=SsrMode::Async />
                    </ParentRoute>
                    <Route path=path!("/tokens") view=Tokens ssr=SsrMode::Async />
                    <Route path=path!("/tokens/new") view=TokenCreatePage ssr=SsrMode::Async />
                    <Route path=path!("/account") view=Account ssr=SsrMode::Async />
                </ParentRoute>
            </Routes>
        </Router>
        <ToastRegion toasts />
    }
}
