//! Which address shows which page, and what every page is given.

use crate::{
    lazy,
    pages::{
        admin::AdminPage, builder::BuilderPage, cache::CachePage, cache_path::CachePath, cache_paths::CachePaths,
        cache_statistics::CacheStatistics, cache_use::CacheUse, caches::Caches, frame::FramedPages, login::Login,
        overview::OverviewPage, problem::UnknownPage,
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
    Lazy, SsrMode,
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
                <Route path=path!("/invite/:secret") view={Lazy::<lazy::Invite>::new()} ssr=SsrMode::Async />
                <Route path=path!("/setup/:secret") view={Lazy::<lazy::Setup>::new()} ssr=SsrMode::Async />
                <ParentRoute path=path!("") view=FramedPages ssr=SsrMode::Async>
                    <Route path=path!("/") view=OverviewPage ssr=SsrMode::Async />
                    <Route path=path!("/caches") view=Caches ssr=SsrMode::Async />
                    <Route path=path!("/caches/new") view={Lazy::<lazy::CacheCreatePage>::new()} ssr=SsrMode::Async />
                    <Route path=path!("/caches/:name/first-push") view={Lazy::<lazy::FirstPushPage>::new()} ssr=SsrMode::Async />
                    <ParentRoute path=path!("/caches/:name") view=CachePage ssr=SsrMode::Async>
                        <Route path=path!("") view=CacheUse ssr=SsrMode::Async />
                        <Route path=path!("/paths") view=CachePaths ssr=SsrMode::Async />
                        <Route path=path!("/paths/:hash") view=CachePath ssr=SsrMode::Async />
                        <Route path=path!("/why") view={Lazy::<lazy::CacheWhy>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/pins") view={Lazy::<lazy::CachePins>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/members") view={Lazy::<lazy::CacheMembers>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/activity") view={Lazy::<lazy::CacheActivity>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/keys") view={Lazy::<lazy::CacheKeys>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/retention") view={Lazy::<lazy::CacheRetention>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/statistics") view=CacheStatistics ssr=SsrMode::Async />
                        <Route path=path!("/settings") view={Lazy::<lazy::CacheSettings>::new()} ssr=SsrMode::Async />
                    </ParentRoute>
                    <ParentRoute path=path!("/admin") view=AdminPage ssr=SsrMode::Async>
                        <Route path=path!("") view={Lazy::<lazy::AdminServer>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/users") view={Lazy::<lazy::AdminUsers>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/audit") view={Lazy::<lazy::AdminAudit>::new()} ssr=SsrMode::Async />
                    </ParentRoute>
                    <Route path=path!("/builders") view={Lazy::<lazy::BuildersPage>::new()} ssr=SsrMode::Async />
                    <Route path=path!("/builders/new") view={Lazy::<lazy::BuilderCreatePage>::new()} ssr=SsrMode::Async />
                    <ParentRoute path=path!("/builders/:name") view=BuilderPage ssr=SsrMode::Async>
                        <Route path=path!("") view={Lazy::<lazy::BuilderRuns>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/webhook") view={Lazy::<lazy::BuilderWebhook>::new()} ssr=SsrMode::Async />
                        <Route path=path!("/settings") view={Lazy::<lazy::BuilderSettings>::new()} ssr=SsrMode::Async />
                    </ParentRoute>
                    <Route path=path!("/runs/:id") view={Lazy::<lazy::RunPage>::new()} ssr=SsrMode::Async />
                    <Route path=path!("/queue") view={Lazy::<lazy::QueuePage>::new()} ssr=SsrMode::Async />
                    <Route path=path!("/nodes") view={Lazy::<lazy::NodesPage>::new()} ssr=SsrMode::Async />
                    <Route path=path!("/tokens") view={Lazy::<lazy::Tokens>::new()} ssr=SsrMode::Async />
                    <Route path=path!("/tokens/new") view={Lazy::<lazy::TokenCreatePage>::new()} ssr=SsrMode::Async />
                    <Route path=path!("/account") view={Lazy::<lazy::Account>::new()} ssr=SsrMode::Async />
                </ParentRoute>
            </Routes>
        </Router>
        <ToastRegion toasts />
    }
}
