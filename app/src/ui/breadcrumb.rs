//! The way back up, above the title.

use super::icon::{self, Icon};
use leptos::prelude::*;

/// Pages above this one, the outermost first, as (word, address).
pub type Trail = Vec<(String, String)>;

#[component]
pub fn Breadcrumb(trail: Trail, #[prop(into)] here: String) -> impl IntoView {
    let above = trail
        .into_iter()
        .map(|(word, href)| {
            view! {
                <li class="flex items-center gap-1">
                    <a class="hover:text-ink hover:underline underline-offset-2" href=href>
                        {word}
                    </a>
                    <Icon glyph=icon::RIGHT class="size-3" />
                </li>
            }
        })
        .collect_view();
    view! {
        <nav aria-label="Breadcrumb" class="text-sm text-dim">
            <ol class="flex flex-wrap items-center gap-1">
                {above} <li class="min-w-0 break-words" aria-current="page">
                    {here}
                </li>
            </ol>
        </nav>
    }
}
