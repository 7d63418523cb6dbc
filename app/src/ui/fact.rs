//! Words and what they say of one thing; they stand in a list of the class `facts`.

use leptos::prelude::*;

#[component]
pub fn Fact(word: &'static str, children: Children) -> impl IntoView {
    view! {
        <div class="min-w-0">
            <dt class="text-sm text-dim">{word}</dt>
            <dd>{children()}</dd>
        </div>
    }
}
