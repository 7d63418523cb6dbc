//! The first page: how much there is, what came last, what needs a person.

use super::{
    cache_table::CacheTable,
    charts::{Charts, Spans},
    frame::NewCache,
    loaded::{part_when_loaded, when_loaded},
    path_table::RecentTable,
    run_parts::RunTable,
};
use crate::{
    calls::{overview::overview_get, statistics::statistics_get},
    live::reload_on,
    ui::{
        empty::Empty,
        form::sentence,
        icon::{self, Glyph, Icon},
        number::counted,
        page::PageHead,
        stat::{Stat, Stats},
        time::When,
    },
};
use iglu_api::{
    CacheName,
    cache::Traffic,
    event::LiveEvent,
    format,
    overview::{Attention, Overview},
    statistics::Statistics,
};
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

#[component]
pub fn OverviewPage() -> impl IntoView {
    let overview = Resource::new_blocking(|| (), |_| overview_get());
    let query = use_query_map();
    let span = Memo::new(move |_| query.with(|query| query.get("span").unwrap_or_default()));
    let statistics = Resource::new_blocking(move || span.get(), |span| statistics_get(String::new(), span));
    reload_on(
        |event| matches!(event, LiveEvent::PathPushed { .. } | LiveEvent::CountersChanged | LiveEvent::RunsChanged),
        move || overview.refetch(),
    );
    // What is live is made anew when it changes; the charts, which somebody may be reading, are not.
    view! {
        <PageHead title="Overview" action=|| view! { <NewCache /> } />
        <div class="flex flex-col gap-8">
            {when_loaded(overview, move |overview| view! { <Now overview /> }.into_any())}
            {part_when_loaded(statistics, |statistics| Some(view! { <Traffics statistics /> }.into_any()))}
            {part_when_loaded(overview, |overview| Some(view! { <Content overview /> }.into_any()))}
        </div>
    }
}

/// The NARs of caches.
pub fn stored(bytes: u64) -> Stat {
    Stat {
        value: format::bytes(bytes),
        word: "stored",
        title: format!("{} bytes of compressed NARs", format::count(bytes)),
    }
}

/// All NARs that there are: less than all caches together where they share some, more where rules took some out.
fn on_disk(bytes: u64) -> Stat {
    let bytes_in_full = format::count(bytes);
    Stat {
        value: format::bytes(bytes),
        word: "on disk",
        title: format!(
            "{bytes_in_full} bytes, what caches share once, and with what was taken out and can still be read"
        ),
    }
}

/// The four numbers of one cache, or of all of them.
pub fn four_stats(path_count: u64, stored: Stat, traffic: &Traffic) -> Vec<Stat> {
    let lookups = traffic.lookups();
    vec![
        Stat {
            value: format::count(path_count),
            word: if path_count == 1 { "path" } else { "paths" },
            title: "Store paths that can be pulled".to_owned(),
        },
        stored,
        Stat {
            value: format::percent(traffic.narinfo_hits, lookups),
            word: "hit rate, 30 days",
            title: format!("{} of {} lookups were found", format::count(traffic.narinfo_hits), format::count(lookups)),
        },
        Stat {
            value: format::bytes(traffic.nar_bytes),
            word: "served, 30 days",
            title: format!("{} bytes of NARs sent", format::count(traffic.nar_bytes)),
        },
    ]
}

#[component]
fn Now(overview: Overview) -> impl IntoView {
    let size = if overview.is_on_disk { on_disk } else { stored };
    let stats = four_stats(overview.path_count, size(overview.stored_bytes), &overview.traffic);
    let attention = if overview.attention.is_empty() {
        view! {
            <p class="flex items-center gap-2 px-4 py-3 text-soft">
                <span class="text-done">
                    <Icon glyph=icon::CHECK />
                </span>
                "Nothing needs attention."
            </p>
        }
        .into_any()
    } else {
        let rows = overview.attention.into_iter().map(|attention| view! { <Notice attention /> }).collect_view();
        view! { <ul class="divide-y divide-line">{rows}</ul> }.into_any()
    };
    view! {
        <div class="flex flex-col gap-8">
            <Stats stats />
            <Section id="attention" title="Needs attention">
                <div class="card">{attention}</div>
            </Section>
        </div>
    }
}

#[component]
fn Traffics(statistics: Statistics) -> impl IntoView {
    let chosen = statistics.span;
    let shared = statistics.shared_bytes.filter(|bytes| *bytes > 0).map(|bytes| {
        let words = format!("{} need no disk because paths of the same content share one file.", format::bytes(bytes));
        view! { <p class="text-sm text-dim">{words}</p> }
    });
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="traffic">
            <div class="flex flex-wrap items-center justify-between gap-3">
                <h2 id="traffic" class="text-lg font-semibold">
                    "Traffic"
                </h2>
                <Spans chosen address="/" />
            </div>
            <Charts statistics />
            {shared}
        </section>
    }
}

#[component]
fn Content(overview: Overview) -> impl IntoView {
    let first_cache = overview.caches.first().map(|cache| cache.name.clone());
    let caches = if overview.caches.is_empty() {
        view! {
            <div class="card">
                <Empty sentence="There is no cache yet. A cache is where paths are pushed to and pulled from.">
                    <NewCache look=crate::ui::button::Look::Quiet />
                </Empty>
            </div>
        }
        .into_any()
    } else {
        view! { <CacheTable caches=overview.caches /> }.into_any()
    };
    let runs = (!overview.runs.is_empty()).then(|| {
        view! {
            <Section id="recent-runs" title="Runs">
                <RunTable caption="Runs" runs=overview.runs of_several=true />
            </Section>
        }
    });
    let pushes = match (overview.recent_pushes.is_empty(), first_cache) {
        (false, _) => view! { <RecentTable pushes=overview.recent_pushes /> }.into_any(),
        (true, None) => ().into_any(),
        (true, Some(cache)) => view! {
            <div class="card">
                <Empty sentence="Nothing has been pushed yet.">
                    <a class="button button-quiet" href=format!("/caches/{cache}/first-push")>
                        "Push the first path"
                    </a>
                </Empty>
            </div>
        }
        .into_any(),
    };
    view! {
        <div class="flex flex-col gap-8">
            <Section id="caches" title="Caches">
                {caches}
            </Section>
            {runs}
            <Section id="recent-pushes" title="Recent pushes">
                {pushes}
            </Section>
        </div>
    }
}

#[component]
fn Section(id: &'static str, title: &'static str, children: Children) -> impl IntoView {
    view! {
        <section class="flex flex-col gap-3" aria-labelledby=id>
            <h2 id=id class="text-lg font-semibold">
                {title}
            </h2>
            {children()}
        </section>
    }
}

fn see_paths(cache: &CacheName) -> AnyView {
    view! {
        <a class="link" href=format!("/caches/{cache}/paths")>
            "See paths"
        </a>
    }
    .into_any()
}

#[component]
fn Notice(attention: Attention) -> impl IntoView {
    let (glyph, words, act): (Glyph, AnyView, AnyView) = match attention {
        Attention::DiskFull { free_bytes, total_bytes } => (
            icon::DISK,
            format!(
                "The disk is nearly full: {} of {} are free. Make room before pushes are refused.",
                format::bytes(free_bytes),
                format::bytes(total_bytes),
            )
            .into_any(),
            ().into_any(),
        ),
        Attention::RunFailed { builder, run, reason } => (
            icon::BUILDER,
            view! {
                "Builder "
                <strong>{builder.to_string()}</strong>
                ": "
                {reason}
            }
            .into_any(),
            view! {
                <a class="link" href=format!("/runs/{run}")>
                    "See the run"
                </a>
            }
            .into_any(),
        ),
        Attention::TokenExpires { name, at } => (
            icon::TOKEN,
            view! {
                "Token "
                <strong>{name}</strong>
                " ends "
                <When at />
                "."
            }
            .into_any(),
            view! {
                <a class="link" href="/tokens">
                    "See tokens"
                </a>
            }
            .into_any(),
        ),
        Attention::NodeAway { name, seen_at } => (
            icon::SERVER,
            view! {
                "Node "
                <strong>{name}</strong>
                " was last seen "
                <When at=seen_at />
                ": runs wait for others."
            }
            .into_any(),
            view! {
                <a class="link" href="/nodes">
                    "See nodes"
                </a>
            }
            .into_any(),
        ),
        Attention::StorageTrouble { why } => {
            let words = format!("Nothing is stored and nothing removed: {why}.");
            (icon::DISK, words.into_any(), ().into_any())
        }
        Attention::DamagedPaths { cache, count } => {
            let words = format!(
                "{} in {cache} because a stored file is damaged; push again what is missing",
                counted(count, "path is out of sight", "paths are out of sight"),
            );
            (icon::DISK, sentence(&words).into_any(), see_paths(&cache))
        }
        Attention::HeldPaths { cache, count } => {
            let words = format!(
                "{} in {cache} for references that have not arrived; push their closures again",
                counted(count, "path waits", "paths wait"),
            );
            (icon::CLOCK, sentence(&words).into_any(), see_paths(&cache))
        }
    };
    view! {
        <li class="flex items-start gap-2.5 px-4 py-3">
            <span class="mt-0.5 text-warn">
                <Icon glyph />
            </span>
            <p class="min-w-0 flex-1">{words}</p>
            {act}
        </li>
    }
}
