//! Numbers side by side, each with the word for what it counts.

use leptos::prelude::*;

#[derive(Clone, Debug)]
pub struct Stat {
    pub value: String,
    pub word: &'static str,
    /// The exact number, or how it is counted.
    pub title: String,
}

#[component]
pub fn Stats(stats: Vec<Stat>) -> impl IntoView {
    let cells = stats
        .into_iter()
        .map(|stat| {
            view! {
                <div class="flex flex-col-reverse justify-end gap-0.5 bg-surface px-4 py-3" title=stat.title>
                    <dt class="text-sm text-dim">{stat.word}</dt>
                    <dd class="text-2xl font-semibold tracking-tight">{stat.value}</dd>
                </div>
            }
        })
        .collect_view();
    view! { <dl class="card grid grid-cols-2 gap-px overflow-hidden bg-line lg:grid-cols-4">{cells}</dl> }
}
