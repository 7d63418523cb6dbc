//! A store path as people look at it: the hash dim, the name plain to see.

use super::copy::Copy;
use iglu_api::path::PathRow;
use leptos::prelude::*;

/// The whole path, as commands take it.
pub fn full_path(path: &PathRow) -> String {
    format!("/nix/store/{}-{}", path.hash, path.name)
}

#[component]
pub fn StorePath(
    #[prop(into)] hash: String,
    #[prop(into)] name: String,
    /// The path's own page.
    #[prop(optional, into)]
    href: Option<String>,
) -> impl IntoView {
    let full = format!("/nix/store/{hash}-{name}");
    let short = hash[..hash.len().min(8)].to_owned();
    let words = view! {
        <span class="text-dim">{short} "…-"</span>
        <span class="font-semibold text-ink">{name.clone()}</span>
    };
    const CLASS: &str = "min-w-0 font-mono text-[0.8125rem] break-all sm:truncate";
    let shown = match href {
        Some(href) => view! {
            <a class=format!("{CLASS} hover:underline") href=href title=full.clone()>
                {words}
            </a>
        }
        .into_any(),
        None => view! {
            <span class=CLASS title=full.clone()>
                {words}
            </span>
        }
        .into_any(),
    };
    view! {
        <span class="flex min-w-0 items-center gap-1">
            {shown} <Copy text=full what=format!("store path of {name}") />
        </span>
    }
}
