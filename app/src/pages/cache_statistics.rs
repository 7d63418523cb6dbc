//! What was asked of a cache, over time.

use super::{
    cache::ThisCache,
    charts::{Charts, Spans},
    loaded::when_loaded,
};
use crate::calls::statistics::statistics_get;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

#[component]
pub fn CacheStatistics() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let query = use_query_map();
    let span = Memo::new(move |_| query.with(|query| query.get("span").unwrap_or_default()));
    let statistics =
        Resource::new_blocking(move || (cache.name.get(), span.get()), |(cache, span)| statistics_get(cache, span));
    view! {
        {move || view! { <Title text=format!("Statistics of {}", cache.name.get()) /> }}
        {when_loaded(
            statistics,
            move |statistics| {
                let address = format!("/caches/{}/statistics", cache.name.get_untracked());
                view! {
                    <section class="flex flex-col gap-4" aria-labelledby="statistics">
                        <div class="flex flex-wrap items-center justify-between gap-3">
                            <h2 id="statistics" class="text-lg font-semibold">
                                "Statistics"
                            </h2>
                            <Spans chosen=statistics.span address />
                        </div>
                        <Charts statistics with_size=true />
                        <p class="text-sm text-dim">"Times are UTC. The last bar is not over yet."</p>
                    </section>
                }
                    .into_any()
            },
        )}
    }
}
