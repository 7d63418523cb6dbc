//! Tabs as plain links: each a page of its own below one head.

use leptos::{html, prelude::*};
use leptos_router::hooks::use_location;

#[component]
pub fn Tabs(#[prop(into)] label: String, children: Children) -> impl IntoView {
    view! {
        <nav class="tabs -mt-2 mb-6 overflow-x-auto border-b border-line" aria-label=label>
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
    let node = NodeRef::<html::A>::new();
    #[cfg(feature = "hydrate")]
    {
        let current = current.clone();
        Effect::new(move |_| {
            if current().is_some()
                && let Some(tab) = node.get()
            {
                show(&tab);
            }
        });
    }
    view! {
        <li>
            <a node_ref=node class="tab" href=href aria-current=current>
                {word}
            </a>
        </li>
    }
}

/// Where the tabs are more than fit, the one that is open is among those that are seen.
#[cfg(feature = "hydrate")]
fn show(tab: &leptos::web_sys::HtmlElement) {
    /// Of the tab before it, in pixels.
    const SOME: i32 = 48;
    use wasm_bindgen::JsCast;
    let tabs = tab.closest("nav").ok().flatten();
    if let Some(tabs) = tabs.and_then(|tabs| tabs.dyn_into::<leptos::web_sys::HtmlElement>().ok()) {
        tabs.set_scroll_left(tab.offset_left() - tabs.offset_left() - SOME);
    }
}
