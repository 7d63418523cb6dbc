//! Bricks in a wall, each as large as what it stands for: where the bytes are, at a glance. Drawn on the server.

use iglu_api::format;
use leptos::prelude::*;

#[derive(Clone, Debug, PartialEq)]
pub struct Brick {
    /// In bytes.
    pub size: u64,
    pub name: String,
    pub title: String,
    pub href: Option<String>,
}

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 260.0;

/// A place in the wall: left, top, width, height.
type Place = [f64; 4];

/// Lays bricks of these sizes, the largest first, row by row along the shorter side of what is left, as long as that makes them squarer
/// (Bruls, Huizing, van Wijk: Squarified Treemaps).
fn places(sizes: &[u64]) -> Vec<Place> {
    let total = sizes.iter().sum::<u64>() as f64;
    let mut left: Place = [0.0, 0.0, WIDTH, HEIGHT];
    let mut placed = Vec::with_capacity(sizes.len());
    let areas: Vec<f64> = sizes.iter().map(|size| *size as f64 / total.max(1.0) * WIDTH * HEIGHT).collect();
    let mut rest = &areas[..];
    while !rest.is_empty() {
        let side = left[2].min(left[3]).max(f64::MIN_POSITIVE);
        let mut count = 1;
        while count < rest.len() && worst(&rest[..=count], side) <= worst(&rest[..count], side) {
            count += 1;
        }
        let (row, others) = rest.split_at(count);
        let depth = row.iter().sum::<f64>() / side;
        let is_column = left[2] >= left[3];
        let mut at = if is_column { left[1] } else { left[0] };
        for area in row {
            let length = if depth > 0.0 { area / depth } else { 0.0 };
            placed.push(if is_column { [left[0], at, depth, length] } else { [at, left[1], length, depth] });
            at += length;
        }
        if is_column {
            left = [left[0] + depth, left[1], left[2] - depth, left[3]];
        } else {
            left = [left[0], left[1] + depth, left[2], left[3] - depth];
        }
        rest = others;
    }
    placed
}

/// How far the least square brick of a row is from a square: 1 is a square.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum = row.iter().sum::<f64>();
    let depth = sum / side;
    row.iter().map(|area| (depth * depth / area).max(area / (depth * depth))).fold(0.0, f64::max)
}

/// What there is room for, on a page that is not narrow: the name and, below it, the size. On a phone the wall is a third as wide, and
/// only bricks that are wide there too have words.
fn words(brick: &Brick, width: f64, height: f64) -> Option<AnyView> {
    const LINE: f64 = 17.0;
    /// Of a letter, on average.
    const LETTER: f64 = 6.5;
    let letters = ((width - 14.0) / LETTER) as usize;
    let short = |text: String| match text.chars().count() {
        count if count <= letters => text,
        _ => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
    };
    if letters < 3 || height < LINE + 5.0 {
        return None;
    }
    let class = if width < WIDTH / 5.0 { "max-sm:hidden" } else { "" };
    let size = (height >= 2.0 * LINE + 5.0).then(|| {
        view! {
            <text class=format!("brick-size {class}") x="7" y=(2.0 * LINE).to_string()>
                {short(format::bytes(brick.size))}
            </text>
        }
    });
    let view = view! {
        <text class=class x="7" y=LINE.to_string()>
            {short(brick.name.clone())}
        </text>
        {size}
    };
    Some(view.into_any())
}

/// Places are percentages, so that the wall is as wide as its page while words keep their size; outlines are drawn by the picture, since
/// the pages' policy lets no style into attributes.
#[component]
pub fn Treemap(
    /// The largest first.
    bricks: Vec<Brick>,
    /// What the picture shows, for readers.
    label: &'static str,
) -> impl IntoView {
    let bricks: Vec<Brick> = bricks.into_iter().filter(|brick| brick.size > 0).collect();
    let sizes: Vec<u64> = bricks.iter().map(|brick| brick.size).collect();
    let cells = bricks
        .into_iter()
        .zip(places(&sizes))
        .map(|(brick, [left, top, width, height])| {
            let percent = |part: f64, whole: f64| format!("{:.3}%", part / whole * 100.0);
            let wall = view! {
                <svg
                    x=percent(left, WIDTH)
                    y=percent(top, HEIGHT)
                    width=percent(width, WIDTH)
                    height=percent(height, HEIGHT)
                >
                    <title>{brick.title.clone()}</title>
                    <rect width="100%" height="100%"></rect>
                    {words(&brick, width, height)}
                </svg>
            };
            match brick.href {
                Some(href) => view! {
                    <a class="brick" href=href>
                        {wall}
                    </a>
                }
                .into_any(),
                None => view! { <g class="brick-rest">{wall}</g> }.into_any(),
            }
        })
        .collect_view();
    view! {
        <svg class="wall" role="group" aria-label=label>
            {cells}
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bricks_fill_the_wall_and_do_not_overlap() {
        for sizes in [vec![1], vec![6, 6, 4, 3, 2, 2, 1], vec![1_000_000, 1, 1], (1..40).rev().collect()] {
            let places = places(&sizes);
            assert_eq!(places.len(), sizes.len());
            let total = sizes.iter().sum::<u64>() as f64;
            for ([left, top, width, height], size) in places.iter().zip(&sizes) {
                let share = width * height / (WIDTH * HEIGHT);
                assert!((share - *size as f64 / total).abs() < 1e-6, "{sizes:?}");
                assert!(
                    *left >= -1e-6 && *top >= -1e-6 && left + width <= WIDTH + 1e-6 && top + height <= HEIGHT + 1e-6
                );
            }
            for (at, [left, top, width, height]) in places.iter().enumerate() {
                let apart = |other: &Place| {
                    other[0] + other[2] <= left + 1e-6
                        || other[0] >= left + width - 1e-6
                        || other[1] + other[3] <= top + 1e-6
                        || other[1] >= top + height - 1e-6
                };
                assert!(places[at + 1..].iter().all(apart), "{sizes:?}");
            }
        }
    }
}
