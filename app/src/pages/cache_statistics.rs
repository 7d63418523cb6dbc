//! What was asked of a cache, over time.

use super::{
    cache::ThisCache,
    charts::{Charts, Spans},
    loaded::when_loaded,
};
use crate::{
    calls::statistics::statistics_get,
    ui::{
        empty::Empty,
        number::Size,
        store_path::StorePath,
        table::{Cell, Column, Row, Table, numbers, words},
    },
};
use iglu_api::{format, statistics::TopPath};
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
                let top = statistics.top.clone();
                view! {
                    <section class="flex flex-col gap-4" aria-labelledby="statistics">
                        <div class="flex flex-wrap items-center justify-between gap-3">
                            <h2 id="statistics" class="text-lg font-semibold">
                                "Statistics"
                            </h2>
                            <Spans chosen=statistics.span address />
                        </div>
                        <Charts statistics />
                        <Top paths=top cache=cache.name.get_untracked() />
                        <p class="text-sm text-dim">"Times are UTC. The last bar is not over yet. Clients are counted about, and no address of theirs is kept."</p>
                    </section>
                }
                    .into_any()
            },
        )}
    }
}

const COLUMNS: [Column; 3] = [words("Path"), numbers("Downloads"), numbers("Size")];

#[component]
fn Top(paths: Vec<TopPath>, cache: String) -> impl IntoView {
    let never = format!("/caches/{cache}/paths?filter=never_pulled");
    let nothing = paths.is_empty();
    let rows = paths
        .into_iter()
        .map(|path| {
            let href = format!("/caches/{cache}/paths/{}", path.hash);
            view! {
                <Row>
                    <Cell class="wide roomy">
                        <StorePath hash=path.hash.to_string() name=path.name href />
                    </Cell>
                    <Cell label="Downloads" class="number">
                        {format::count(path.pulls)}
                    </Cell>
                    <Cell label="Size" class="number">
                        <Size bytes=path.file_size />
                    </Cell>
                </Row>
            }
        })
        .collect_view();
    view! {
        <section class="flex flex-col gap-3 pt-4" aria-labelledby="top">
            <div class="flex flex-wrap items-center justify-between gap-3">
                <h2 id="top" class="text-lg font-semibold">
                    "Downloaded most"
                </h2>
                <a class="link text-sm" href=never>
                    "Never pulled"
                </a>
            </div>
            {if nothing {
                view! {
                    <div class="card">
                        <Empty sentence="Nothing of what is here was downloaded yet." />
                    </div>
                }
                    .into_any()
            } else {
                view! {
                    <Table caption="Downloaded most" columns=&COLUMNS>
                        {rows}
                    </Table>
                }
                    .into_any()
            }}
        </section>
    }
}
