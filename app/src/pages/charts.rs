//! The charts of statistics, for one cache and for all.

use crate::ui::chart::{Bar, Chart, ChartData};
use iglu_api::{
    Timestamp, format,
    statistics::{Point, Span, Statistics},
};
use leptos::prelude::*;

/// When a point was: the hour of a short chart, the day of a long one.
fn when(span: Span, at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    match span {
        Span::Day | Span::Week => format!("{day} {}", time.get(..5).unwrap_or_default()),
        Span::Month | Span::Year => day.to_owned(),
    }
}

#[component]
pub fn Charts(
    statistics: Statistics,
    /// With the size of the cache.
    #[prop(optional)]
    with_size: bool,
) -> impl IntoView {
    let Statistics { span, points, total, nar_requests } = statistics;
    let bars = |parts: &dyn Fn(&Point) -> Vec<u64>| -> Vec<Bar> {
        points.iter().map(|point| Bar { when: when(span, point.at), parts: parts(point) }).collect()
    };
    let served = ChartData {
        title: "Served",
        sum: format!("{} in {} downloads", format::bytes(total.nar_bytes), format::count(nar_requests)),
        parts: &["sent"],
        bars: bars(&|point| vec![point.traffic.nar_bytes]),
        number: format::bytes,
    };
    let lookups = ChartData {
        title: "Lookups",
        sum: format!("{} found", format::percent(total.narinfo_hits, total.lookups())),
        parts: &["found", "missed"],
        bars: bars(&|point| vec![point.traffic.narinfo_hits, point.traffic.narinfo_misses]),
        number: format::count,
    };
    let pushed = ChartData {
        title: "Pushed",
        sum: format!("{} paths", format::count(total.pushed_paths)),
        parts: &["paths"],
        bars: bars(&|point| vec![point.traffic.pushed_paths]),
        number: format::count,
    };
    let size = with_size.then(|| {
        let now = points.last().and_then(|point| point.size).unwrap_or_default();
        ChartData {
            title: "Stored",
            sum: format!("{} in {} paths", format::bytes(now.1), format::count(now.0)),
            parts: &["stored"],
            bars: bars(&|point| point.size.map(|(_, bytes)| bytes).into_iter().collect()),
            number: format::bytes,
        }
    });
    let columns = if with_size { "lg:grid-cols-2" } else { "lg:grid-cols-2 2xl:grid-cols-3" };
    view! {
        <div class=format!("grid gap-4 {columns}")>
            <Chart data=served is_binary=true />
            <Chart data=lookups />
            <Chart data=pushed />
            {size.map(|data| view! { <Chart data is_binary=true /> })}
        </div>
    }
}

/// The ways to look further back or less far.
#[component]
pub fn Spans(chosen: Span, #[prop(into)] address: String) -> impl IntoView {
    let links = Span::ALL
        .map(|span| {
            let current = (span == chosen).then_some("true");
            view! {
                <a class="span-link" href=format!("{address}?span={}", span.as_str()) aria-current=current>
                    {span.words()}
                </a>
            }
        })
        .collect_view();
    view! {
        <nav class="flex flex-wrap gap-1" aria-label="Time shown">
            {links}
        </nav>
    }
}
