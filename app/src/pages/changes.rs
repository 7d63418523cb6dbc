//! The audit log: who changed what, when, and from where; of the whole server, or of one cache.

use super::{cache::ThisCache, loaded::when_loaded};
use crate::{
    calls::{UiError, instance::audit_list, member::cache_activity},
    ui::{
        empty::Empty,
        encoded,
        icon::{self, Icon},
        pagination::Older,
        table::{Cell, Column, Row, Table, numbers, words},
        time::Ago,
    },
};
use iglu_api::instance::{AuditPage, AuditRow};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

#[component]
pub fn AdminAudit() -> impl IntoView {
    let asked = asked();
    let page = Resource::new_blocking(move || asked.get(), |(search, before)| audit_list(search, before));
    view! {
        <Title text="Audit log" />
        <p class="-mt-2 mb-3 text-end text-sm">
            <a class="link" href="/admin/audit.csv" rel="external" download="iglu-audit.csv">
                "Save all as CSV"
            </a>
        </p>
        <Log page asked at=|| "/admin/audit".to_owned() />
    }
}

#[component]
pub fn CacheActivity() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let asked = asked();
    let page = Resource::new_blocking(
        move || (cache.name.get(), asked.get()),
        |(cache, (search, before))| cache_activity(cache, search, before),
    );
    view! {
        {move || view! { <Title text=format!("Activity of {}", cache.name.get()) /> }}
        <Log page asked at=move || format!("/caches/{}/activity", cache.name.get_untracked()) />
    }
}

/// The search and the row behind which it goes on, as the address says.
fn asked() -> Memo<(String, Option<i64>)> {
    let query = use_query_map();
    Memo::new(move |_| {
        query.with(|query| {
            let search = query.get_str("q").unwrap_or_default().trim().to_owned();
            (search, query.get_str("before").and_then(|before| before.parse::<i64>().ok()))
        })
    })
}

#[component]
fn Log(
    page: Resource<Result<AuditPage, UiError>>,
    asked: Memo<(String, Option<i64>)>,
    /// The page's own address.
    at: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> impl IntoView {
    view! {
        <h2 class="sr-only">"Changes"</h2>
        <form class="mb-4 flex flex-wrap gap-2" role="search" method="get">
            <div class="relative min-w-0 flex-1 basis-64">
                <span class="pointer-events-none absolute top-2.5 left-2.5 text-dim">
                    <Icon glyph=icon::SEARCH />
                </span>
                <input
                    class="input pl-8"
                    r#type="search"
                    name="q"
                    value=move || asked.with(|(search, _)| search.clone())
                    placeholder="Who, what, or from where"
                    aria-label="Search the log"
                    autocapitalize="none"
                    spellcheck="false"
                />
            </div>
            <button r#type="submit" class="button button-quiet">
                "Search"
            </button>
        </form>
        {when_loaded(
            page,
            move |page| {
                let (search, before) = asked.get_untracked();
                view! { <Rows page search is_later=before.is_some() at=at() /> }.into_any()
            },
        )}
    }
}

const COLUMNS: [Column; 5] = [words("Who"), words("Did"), words("To"), words("From"), numbers("When")];

#[component]
fn Rows(page: AuditPage, search: String, is_later: bool, at: String) -> impl IntoView {
    if page.rows.is_empty() {
        let sentence = if search.is_empty() { "Nothing was changed yet." } else { "No change has these words." };
        return view! {
            <div class="card">
                <Empty sentence />
            </div>
        }
        .into_any();
    }
    let last = page.rows.last().map(|row| row.id);
    let address = |before: Option<i64>| match before {
        Some(before) => format!("{at}?q={}&before={before}", encoded(&search)),
        None => format!("{at}?q={}", encoded(&search)),
    };
    let newest = is_later.then(|| address(None));
    let older = page.has_more.then(|| address(last));
    let rows = page.rows.into_iter().map(|row| view! { <Line row /> }).collect_view();
    view! {
        <Table caption="Changes" columns=&COLUMNS>
            {rows}
        </Table>
        <Older label="Parts of the log" newest older />
    }
    .into_any()
}

#[component]
fn Line(row: AuditRow) -> impl IntoView {
    view! {
        <Row>
            <Cell class="wide min-w-32">
                <span class="font-medium break-words">{row.actor}</span>
            </Cell>
            <Cell label="Did" class="whole">
                <code class="text-xs">{row.action}</code>
            </Cell>
            <Cell label="To" class="roomy">
                <span class="block break-words sm:truncate" title=row.object.clone()>
                    {row.object.clone()}
                </span>
            </Cell>
            <Cell label="From" class="whole">
                {row.address}
            </Cell>
            <Cell label="When" class="number">
                <Ago at=row.at />
            </Cell>
        </Row>
    }
}
