//! From a call to a page: waits for the answer, shows it, or shows why there is none.

use super::problem::refused;
use crate::calls::UiError;
use leptos::prelude::*;

/// The page for what `resource` brings. While it is fetched again, the old page stays.
pub fn when_loaded<T>(
    resource: Resource<Result<T, UiError>>,
    page: impl Fn(T) -> AnyView + Clone + Send + Sync + 'static,
) -> AnyView
where
    T: Clone + Send + Sync + 'static,
{
    view! {
        <Transition fallback=|| {
            view! {
                <p role="status" class="py-8 text-dim">
                    "Loading…"
                </p>
            }
        }>
            {move || {
                let page = page.clone();
                Suspend::new(async move {
                    match resource.await {
                        Ok(answer) => page(answer),
                        Err(error) => refused(error),
                    }
                })
            }}
        </Transition>
    }
    .into_any()
}

/// A part of a page that may be missing: shown when `resource` brings something that `part` has a view for.
pub fn part_when_loaded<T>(
    resource: Resource<Result<T, UiError>>,
    part: impl Fn(T) -> Option<AnyView> + Clone + Send + Sync + 'static,
) -> AnyView
where
    T: Clone + Send + Sync + 'static,
{
    view! {
        <Transition>
            {move || {
                let part = part.clone();
                Suspend::new(async move { resource.await.ok().and_then(part) })
            }}
        </Transition>
    }
    .into_any()
}
