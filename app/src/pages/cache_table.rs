//! Caches as rows, the same on the overview and in the list.

use crate::ui::{
    badge::VisibilityBadge,
    number::Size,
    table::{Cell, Column, Row, Table, numbers, words},
    time::AgoOr,
};
use iglu_api::{cache::CacheSummary, format};
use leptos::prelude::*;

const COLUMNS: [Column; 6] = [
    words("Cache"),
    numbers("Paths"),
    numbers("Stored"),
    numbers("Hit rate, 30 days"),
    numbers("Served, 30 days"),
    numbers("Last push"),
];

#[component]
pub fn CacheTable(caches: Vec<CacheSummary>) -> impl IntoView {
    let rows = caches
        .into_iter()
        .map(|cache| {
            let traffic = cache.traffic;
            view! {
                <Row>
                    <Cell class="wide">
                        <span class="flex flex-wrap items-center gap-x-2.5 gap-y-1">
                            <a class="link-plain font-medium break-all" href=format!("/caches/{}", cache.name)>
                                {cache.name.to_string()}
                            </a>
                            <VisibilityBadge visibility=cache.visibility />
                        </span>
                    </Cell>
                    <Cell label="Paths" class="number">
                        {format::count(cache.path_count)}
                    </Cell>
                    <Cell label="Stored" class="number">
                        <Size bytes=cache.stored_bytes />
                    </Cell>
                    <Cell label="Hit rate, 30 days" class="number">
                        <span title=format!(
                            "{} of {} lookups",
                            format::count(traffic.narinfo_hits),
                            format::count(traffic.lookups()),
                        )>{format::percent(traffic.narinfo_hits, traffic.lookups())}</span>
                    </Cell>
                    <Cell label="Served, 30 days" class="number">
                        <Size bytes=traffic.nar_bytes />
                    </Cell>
                    <Cell label="Last push" class="number">
                        <AgoOr at=cache.last_push_at never="never" />
                    </Cell>
                </Row>
            }
        })
        .collect_view();
    view! {
        <Table caption="Caches" columns=&COLUMNS>
            {rows}
        </Table>
    }
}
