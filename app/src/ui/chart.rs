//! Charts over time, drawn on the server: bars from zero, each with its numbers on hover, and the same numbers as a table.

use leptos::prelude::*;

/// One bar. Parts stand on each other, the first at the bottom; none is a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// When it was, as people say it.
    pub when: String,
    pub parts: Vec<u64>,
}

/// What a chart is drawn from.
#[derive(Clone, Debug)]
pub struct ChartData {
    pub title: &'static str,
    /// The number that the whole of it comes to, with its unit.
    pub sum: String,
    /// What each part is, from the bottom.
    pub parts: &'static [&'static str],
    pub bars: Vec<Bar>,
    /// How a number is written.
    pub number: fn(u64) -> String,
}

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// The height of the chart: the largest bar, rounded up to what can be read at a glance: 1, 1.5, 2, 3 or 5 with zeros, of 1024 for sizes.
fn top(largest: u64, is_binary: bool) -> u64 {
    let thousand: u64 = if is_binary { 1024 } else { 1000 };
    let mut unit = 1;
    while largest / unit >= thousand {
        unit *= thousand;
    }
    // Halves, so that there is one and a half of what can be halved.
    let halves = [1, 10, 100].into_iter().flat_map(|decade| [2, 3, 4, 6, 10].map(|step| step * decade));
    let tops = halves.chain([2 * thousand]).map(|half| half * unit).filter(|top| top % 2 == 0).map(|top| top / 2);
    tops.into_iter().find(|top| *top >= largest).unwrap_or(largest)
}

/// A word for many, or for one.
fn one(many: &str, count: u64) -> &str {
    if count == 1 { many.strip_suffix('s').unwrap_or(many) } else { many }
}

#[component]
pub fn Chart(
    data: ChartData,
    /// Whether the numbers are bytes.
    #[prop(optional)]
    is_binary: bool,
) -> impl IntoView {
    let ChartData { title, sum, parts, bars, number } = data;
    let largest = bars.iter().map(|bar| bar.parts.iter().sum::<u64>()).max().unwrap_or_default();
    let top = top(largest.max(1), is_binary);
    let step = WIDTH / bars.len().max(1) as f64;
    let gap = (step * 0.2).min(4.0);
    let drawn = bars
        .iter()
        .enumerate()
        .map(|(place, bar)| {
            let left = place as f64 * step;
            let said: Vec<String> = parts
                .iter()
                .zip(&bar.parts)
                .map(|(part, value)| format!("{} {}", number(*value), one(part, *value)))
                .collect();
            let said = if said.is_empty() { "not known".to_owned() } else { said.join(", ") };
            let mut below = 0.0;
            let rects = bar
                .parts
                .iter()
                .enumerate()
                .map(|(part, value)| {
                    // What is there can be seen, however little it is.
                    let height = if *value == 0 { 0.0 } else { (*value as f64 / top as f64 * HEIGHT).max(1.0) };
                    below += height;
                    view! {
                        <rect
                            class=if part == 0 { "chart-first" } else { "chart-second" }
                            x=format!("{:.2}", left + gap / 2.0)
                            y=format!("{:.2}", HEIGHT - below)
                            width=format!("{:.2}", step - gap)
                            height=format!("{height:.2}")
                        ></rect>
                    }
                })
                .collect_view();
            view! {
                <g class="chart-bar">
                    <title>{format!("{}: {said}", bar.when)}</title>
                    <rect
                        class="chart-ground"
                        x=format!("{left:.2}")
                        y="0"
                        width=format!("{step:.2}")
                        height=HEIGHT.to_string()
                    ></rect>
                    {rects}
                </g>
            }
        })
        .collect_view();
    let legend = (parts.len() > 1).then(|| {
        let words = parts
            .iter()
            .enumerate()
            .map(|(part, word)| {
                let class = if part == 0 { "legend legend-first" } else { "legend legend-second" };
                view! { <span class=class>{*word}</span> }
            })
            .collect_view();
        view! { <p class="flex gap-3 text-xs text-soft">{words}</p> }
    });
    let first = bars.first().map(|bar| bar.when.clone());
    let last = bars.last().map(|bar| bar.when.clone());
    let rows = bars
        .into_iter()
        .map(|bar| {
            let cells = (0..parts.len())
                .map(|part| {
                    let text = bar.parts.get(part).map_or("–".to_owned(), |value| number(*value));
                    view! { <td class="number">{text}</td> }
                })
                .collect_view();
            view! {
                <tr>
                    <th scope="row">{bar.when}</th>
                    {cells}
                </tr>
            }
        })
        .collect_view();
    let heads = parts.iter().map(|part| view! { <th scope="col" class="number">{*part}</th> }).collect_view();
    view! {
        <figure class="card flex min-w-0 flex-col gap-2 p-4">
            <figcaption class="flex flex-wrap items-baseline justify-between gap-x-4">
                <span class="font-semibold">{title}</span>
                <span class="text-sm text-soft">{sum}</span>
            </figcaption>
            {legend}
            <div class="relative flex gap-2">
                {(largest == 0)
                    .then(|| {
                        view! {
                            <p class="absolute inset-0 grid place-items-center pr-16 text-sm text-dim">
                                "Nothing in this time"
                            </p>
                        }
                    })}
                <svg
                    class="chart"
                    viewBox=format!("0 0 {WIDTH} {HEIGHT}")
                    preserveAspectRatio="none"
                    role="img"
                    aria-label=format!("{title}; the numbers are in the table below")
                >
                    {drawn}
                </svg>
                <div class="flex w-14 shrink-0 flex-col justify-between text-xs text-dim" aria-hidden="true">
                    <span>{(largest > 0).then(|| number(top))}</span>
                    <span>"0"</span>
                </div>
            </div>
            <div class="flex justify-between pr-16 text-xs text-dim" aria-hidden="true">
                <span>{first}</span>
                <span>{last}</span>
            </div>
            <details class="text-sm">
                <summary class="link-plain w-fit">"Show data"</summary>
                <div class="mt-2 max-h-72 overflow-auto" tabindex="0" role="group" aria-label=format!("{title} as a table")>
                    <table class="chart-table">
                        <thead>
                            <tr>
                                <th scope="col">"When"</th>
                                {heads}
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
            </details>
        </figure>
    }
}

#[cfg(test)]
mod tests {
    use super::top;

    #[test]
    fn the_top_is_round_and_just_above() {
        for (largest, is_binary, expected) in [
            (1, false, 1),
            (3, false, 3),
            (4, false, 5),
            (7, false, 10),
            (11, false, 15),
            (999, false, 1000),
            (1001, false, 1500),
            (1025, true, 1536),
            (900 << 20, true, 1 << 30),
            (3 << 30, true, 3 << 30),
        ] {
            assert_eq!(top(largest, is_binary), expected, "{largest}");
        }
    }
}
