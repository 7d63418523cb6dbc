//! The charts of statistics, for one cache and for all.

use crate::ui::chart::{Bar, Chart, ChartData};
use iglu_api::{
    Timestamp, format,
    statistics::{Point, ReaderDay, Span, Statistics},
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
pub fn Charts(statistics: Statistics) -> impl IntoView {
    let Statistics { span, points, total, nar_requests, days, .. } = statistics;
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
    let now = points.last().and_then(|point| point.size).unwrap_or_default();
    let stored = ChartData {
        title: "Stored",
        sum: format!("{} in {} paths", format::bytes(now.1), format::count(now.0)),
        parts: &["stored"],
        bars: bars(&|point| point.size.map(|(_, bytes)| bytes).into_iter().collect()),
        number: format::bytes,
    };
    let clients = readers(
        "Clients a day",
        &["clients"],
        span,
        &days,
        |day| day.clients,
        format::count,
        |days| {
            let most = days.iter().map(|day| day.clients).max().unwrap_or_default();
            format!("up to {}", format::count(most))
        },
    );
    let waits = readers(
        "Time to answer",
        &["for 99 %"],
        span,
        &days,
        |day| day.slow_micros,
        micros,
        |days| {
            // Of the newest day on which anybody asked: today may have been too short for that.
            let last = days.iter().rev().find(|day| day.clients > 0);
            last.map_or_else(String::new, |day| {
                format!(
                    "newest day: half within {}, 99 % within {}",
                    micros(day.median_micros),
                    micros(day.slow_micros)
                )
            })
        },
    );
    view! {
        <div class="grid gap-4 lg:grid-cols-2 2xl:grid-cols-3">
            <Chart data=served is_binary=true />
            <Chart data=lookups />
            <Chart data=pushed />
            <Chart data=stored is_binary=true />
            <Chart data=clients />
            <Chart data=waits />
        </div>
    }
}

/// A duration as people say it.
fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A chart of the days that the charts beside it show; days without readers are gaps.
fn readers(
    title: &'static str,
    part: &'static [&'static str],
    span: Span,
    days: &[ReaderDay],
    value: fn(&ReaderDay) -> u64,
    number: fn(u64) -> String,
    sum: fn(&[ReaderDay]) -> String,
) -> ChartData {
    let (step, count) = span.steps();
    let newest = days.last().map_or(0, |day| day.at.0);
    let bars = (0..(step * count / Timestamp::DAY)).rev().map(|back| {
        let at = Timestamp(newest - back * Timestamp::DAY);
        let known = days.iter().find(|day| day.at == at).filter(|day| day.answers > 0);
        Bar { when: when(Span::Month, at), parts: known.map(value).into_iter().collect() }
    });
    ChartData { title, sum: sum(days), parts: part, bars: bars.collect(), number }
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
