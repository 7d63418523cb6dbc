//! Store paths as rows.

use crate::ui::{
    badge::{Badge, Tone},
    encoded, icon,
    number::Size,
    store_path::StorePath,
    table::{Cell, Column, Row, Table, numbers, words},
    time::{Ago, AgoOr},
};
use iglu_api::{
    CacheName,
    path::{PathRow, RecentPush},
};
use leptos::prelude::*;

const COLUMNS: [Column; 6] = [
    words("Store path"),
    numbers("Stored"),
    numbers("Unpacked"),
    words("Pushed by"),
    numbers("Pushed"),
    numbers("Last pulled"),
];

const RECENT: [Column; 5] =
    [words("Store path"), words("Cache"), numbers("Stored"), words("Pushed by"), numbers("Pushed")];

#[component]
fn Named(path: PathRow, cache: String) -> impl IntoView {
    let hash = path.hash.to_string();
    let href = format!("/caches/{cache}/paths/{hash}");
    view! {
        <span class="flex min-w-0 flex-wrap items-center gap-x-2 sm:flex-nowrap">
            <StorePath hash name=path.name href />
            {path
                .held
                .then(|| {
                    view! {
                        <span title="Not served until every path that it refers to is in the cache">
                            <Badge tone=Tone::Warn glyph=icon::CLOCK word="waits for references" />
                        </span>
                    }
                })}
        </span>
    }
}

#[component]
fn PathCells(path: PathRow, cache: String) -> impl IntoView {
    let by = format!("/caches/{cache}/paths?by={}", encoded(&path.pushed_by));
    let named = view! { <Named path=path.clone() cache /> };
    view! {
        <Cell class="wide roomy">{named}</Cell>
        <Cell label="Stored" class="number">
            <Size bytes=path.file_size />
        </Cell>
        <Cell label="Unpacked" class="number">
            <Size bytes=path.nar_size />
        </Cell>
        <Cell label="Pushed by" class="whole break-words">
            <a class="link-plain" href=by>
                {path.pushed_by}
            </a>
        </Cell>
        <Cell label="Pushed" class="number">
            <Ago at=path.pushed_at />
        </Cell>
        <Cell label="Last pulled" class="number">
            <AgoOr at=path.last_pulled_at never="never" />
        </Cell>
    }
}

#[component]
pub fn PathTable(
    rows: Vec<PathRow>,
    cache: String,
    /// Paths that came while the page was open, the newest first; they stand above.
    arrived: ReadSignal<Vec<PathRow>>,
) -> impl IntoView {
    let of_arrived = StoredValue::new(cache.clone());
    let rows = rows
        .into_iter()
        .map(|path| {
            // A path that was pushed again while the page is open has moved to the top.
            let hash = path.hash;
            let moved = move || arrived.with(|arrived| arrived.iter().any(|path| path.hash == hash));
            view! {
                <tr role="row" class:hidden=moved>
                    <PathCells path cache=cache.clone() />
                </tr>
            }
        })
        .collect_view();
    view! {
        <Table caption="Store paths" columns=&COLUMNS>
            <For each=move || arrived.get() key=|path| (path.hash, path.pushed_at) let(path)>
                <Row class="animate-arrive bg-accent-ground">
                    <PathCells path cache=of_arrived.get_value() />
                </Row>
            </For>
            {rows}
        </Table>
    }
}

#[component]
pub fn RecentTable(pushes: Vec<RecentPush>) -> impl IntoView {
    let rows = pushes
        .into_iter()
        .map(|push| {
            let path = push.path;
            let named = view! { <Named path=path.clone() cache=push.cache.to_string() /> };
            view! {
                <Row>
                    <Cell class="wide roomy">{named}</Cell>
                    <Cell label="Cache" class="whole break-words">
                        <CacheLink cache=push.cache />
                    </Cell>
                    <Cell label="Stored" class="number">
                        <Size bytes=path.file_size />
                    </Cell>
                    <Cell label="Pushed by" class="whole break-words">
                        {path.pushed_by}
                    </Cell>
                    <Cell label="Pushed" class="number">
                        <Ago at=path.pushed_at />
                    </Cell>
                </Row>
            }
        })
        .collect_view();
    view! {
        <Table caption="Recent pushes" columns=&RECENT>
            {rows}
        </Table>
    }
}

#[component]
fn CacheLink(cache: CacheName) -> impl IntoView {
    view! {
        <a class="link-plain" href=format!("/caches/{cache}/paths")>
            {cache.to_string()}
        </a>
    }
}
