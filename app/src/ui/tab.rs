//! Tabs as plain links: each a page of its own below one head.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

#[component]
pub fn Tabs(#[prop(into)] label: String, children: Children) -> impl IntoView {
    view! {
        <nav class="-mt-2 mb-6 overflow-x-auto border-b border-line" aria-label=label>
            <ul class="flex gap-5">{children()}</ul>
        </nav>
    }
}

#[component]
pub fn Tab(
    word: &'static str,
    #[prop(into)] href: String,
    /// The first tab, below whose address the others are.
    #[prop(optional)]
    is_root: bool,
) -> impl IntoView {
    let path = use_location().pathname;
    let target = href.clone();
    let current = move || {
        path.with(|path| match path.trim_end_matches('/').strip_prefix(target.as_str()) {
            Some("") => Some("page"),
            Some(rest) if !is_root && rest.starts_with('/') => Some("true"),
            _ => None,
        })
    };
    view! {
        <li>
            <a class="tab" href=href aria-current=current>
                {word}
            </a>
        </li>
    }
}
