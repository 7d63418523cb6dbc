//! The list of caches.

use super::{cache_table::CacheTable, frame::NewCache, loaded::when_loaded};
use crate::{
    calls::cache::cache_list,
    ui::{button::Look, empty::Empty, number::counted, page::PageHead},
};
use leptos::prelude::*;

#[component]
pub fn Caches() -> impl IntoView {
    let caches = Resource::new_blocking(|| (), |_| cache_list());
    when_loaded(caches, |caches| {
        let about = counted(caches.len() as u64, "cache", "caches");
        let list = if caches.is_empty() {
            view! {
                <div class="card">
                    <Empty sentence="There is no cache yet. A cache is where paths are pushed to and pulled from.">
                        <NewCache look=Look::Quiet />
                    </Empty>
                </div>
            }
            .into_any()
        } else {
            view! { <CacheTable caches /> }.into_any()
        };
        view! {
            <PageHead
                title="Caches"
                about=move || view! { <p class="text-soft">{about.clone()}</p> }
                action=|| view! { <NewCache /> }
            />
            {list}
        }
        .into_any()
    })
}
