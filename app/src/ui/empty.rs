//! What stands where nothing is yet: one sentence, and what fills it.

use super::logo::Bricks;
use leptos::prelude::*;

#[component]
pub fn Empty(#[prop(into)] sentence: Oco<'static, str>, #[prop(optional)] children: Option<Children>) -> impl IntoView {
    view! {
        <div class="flex flex-col items-center gap-4 px-4 py-10 text-center">
            <Bricks />
            <p class="max-w-prose text-soft">{sentence}</p>
            {children.map(|children| children())}
        </div>
    }
}
