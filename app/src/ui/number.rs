//! Sizes and counts: rounded for reading, exact on hover.

use iglu_api::format;
use leptos::prelude::*;

/// A size in binary units, the exact bytes in its title.
#[component]
pub fn Size(bytes: u64) -> impl IntoView {
    view! { <span title=format!("{} bytes", format::count(bytes))>{format::bytes(bytes)}</span> }
}

/// `1 path`, `12 431 paths`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", format::count(number), if number == 1 { one } else { many })
}
