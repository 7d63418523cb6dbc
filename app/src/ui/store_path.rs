//! A store path as people look at it: the hash dim, the name plain to see.

use super::copy::Copy;
use iglu_api::path::PathRow;
use leptos::prelude::*;

/// The whole path, as commands take it.
pub fn full_path(path: &PathRow) -> String {
    format!("/nix/store/{}-{}", path.hash, path.name)
}

#[component]
pub fn StorePath(#[prop(into)] hash: String, #[prop(into)] name: String) -> impl IntoView {
    let full = format!("/nix/store/{hash}-{name}");
    let short = hash[..hash.len().min(8)].to_owned();
    view! {
        <span class="flex min-w-0 items-center gap-1">
            <span class="min-w-0 font-mono text-[0.8125rem] break-all sm:truncate" title=full.clone()>
                <span class="text-dim">{short} "…-"</span>
                <span class="font-semibold text-ink">{name.clone()}</span>
            </span>
            <Copy text=full what=format!("store path of {name}") />
        </span>
    }
}
