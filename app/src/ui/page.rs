//! The head of a page: the way back, the title, a line about it, and at most one primary action.

use super::breadcrumb::{Breadcrumb, Trail};
use leptos::prelude::*;
use leptos_meta::Title;

#[component]
pub fn PageHead(
    #[prop(into)] title: String,
    /// The title of the browser's tab, where it says more.
    #[prop(optional, into)]
    tab: Option<String>,
    #[prop(optional)] trail: Trail,
    #[prop(optional, into)] about: ViewFn,
    #[prop(optional, into)] action: ViewFn,
) -> impl IntoView {
    let tab = tab.unwrap_or_else(|| title.clone());
    view! {
        <Title text=tab />
        <header class="mb-6 flex flex-wrap items-end justify-between gap-x-6 gap-y-3">
            <div class="flex min-w-0 flex-col gap-1">
                {(!trail.is_empty()).then(|| view! { <Breadcrumb trail here=title.clone() /> })}
                <h1 class="text-xl font-semibold tracking-tight break-words">{title}</h1>
                {about.run()}
            </div>
            {action.run()}
        </header>
    }
}
