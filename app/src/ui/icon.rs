//! Icons: own strokes on a 16 by 16 grid. Always beside a word or inside something labelled, so hidden from readers.

use leptos::prelude::*;

/// The `d` of a stroked path.
pub type Glyph = &'static str;

pub const OVERVIEW: Glyph = "M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5h-4.5zM9 9h4.5v4.5H9z";
pub const CACHE: Glyph = "M2.5 4h11v8h-11zM2.5 8h11M6.5 4v4M10 8v4";
pub const TOKEN: Glyph = "M8.2 7.8 13.5 2.5M11 5l2 2M9.6 6.4l1.4 1.4M9 10.2a3.2 3.2 0 1 1-6.4 0 3.2 3.2 0 0 1 6.4 0z";
pub const PERSON: Glyph = "M10.5 5a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zM3 13.5c.6-2.7 2.5-4 5-4s4.4 1.3 5 4";
pub const MENU: Glyph = "M2.5 4.5h11M2.5 8h11M2.5 11.5h11";
pub const CLOSE: Glyph = "m4 4 8 8M12 4l-8 8";
pub const COPY: Glyph = "M6 5.5h7.5v8H6zM10 5.5v-3H2.5v8H6";
pub const CHECK: Glyph = "m3 8.5 3.5 3.5L13 4.5";
pub const PLUS: Glyph = "M8 3v10M3 8h10";
pub const SEARCH: Glyph = "M11 7a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM10 10l3.5 3.5";
pub const RIGHT: Glyph = "m6 3.5 4.5 4.5L6 12.5";
pub const LEFT: Glyph = "M10 3.5 5.5 8l4.5 4.5";
pub const DOWN: Glyph = "m3.5 6 4.5 4.5L12.5 6";
pub const UP: Glyph = "M8 13V3.5M4 7.5l4-4 4 4";
pub const GLOBE: Glyph =
    "M13.5 8a5.5 5.5 0 1 1-11 0 5.5 5.5 0 0 1 11 0zM2.5 8h11M8 2.5c3.3 3.2 3.3 7.8 0 11M8 2.5c-3.3 3.2-3.3 7.8 0 11";
pub const LOCK: Glyph = "M3.5 7.5h9v6h-9zM5.5 7.5v-2a2.5 2.5 0 0 1 5 0v2";
pub const WARNING: Glyph = "M8 2.5 14 13H2zM8 6.5v3M8 11.2v.1";
pub const CROSSED: Glyph = "M13.5 8a5.5 5.5 0 1 1-11 0 5.5 5.5 0 0 1 11 0zM6 6l4 4M10 6l-4 4";
pub const CLOCK: Glyph = "M13.5 8a5.5 5.5 0 1 1-11 0 5.5 5.5 0 0 1 11 0zM8 5v3.2l2.2 1.3";
pub const HALF_MOON: Glyph = "M13.5 8a5.5 5.5 0 1 1-11 0 5.5 5.5 0 0 1 11 0zM8 2.5v11M9.5 3v10M11 3.7v8.6M12.4 5v6";
pub const LEAVE: Glyph = "M9.5 3h-6v10h6M7 8h7M11.5 5.5 14 8l-2.5 2.5";
pub const KEYBOARD: Glyph = "M1.5 4h13v8h-13zM4 6.5h.1M6.7 6.5h.1M9.3 6.5h.1M12 6.5h.1M5 9.5h6";
pub const DISK: Glyph = "M2.5 9.5h11v4h-11zM2.5 9.5 4.5 3h7l2 6.5M11 11.5h.1";
pub const KEY_ROUND: Glyph = "M7 8a2.25 2.25 0 1 1-4.5 0 2.25 2.25 0 0 1 4.5 0zM7 8h6.5v2.5M11 8v2";
pub const TERMINAL: Glyph = "M2 3h12v10H2zM4.5 6l2 2-2 2M8.5 10.5h3";

pub const SERVER: Glyph = "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1";
pub const PIN: Glyph = "M5.5 2.5h5M6.5 2.5v4L4 9.5h8L9.5 6.5v-4M8 9.5v4";
pub const FOLDER: Glyph = "M2 4h4l1.5 1.5H14V13H2z";
pub const BOOK: Glyph =
    "M8 4c-1.2-.9-2.9-1.3-5.5-1.3v9.6c2.6 0 4.3.4 5.5 1.3 1.2-.9 2.9-1.3 5.5-1.3V2.7C10.9 2.7 9.2 3.1 8 4zM8 4v9.6";
pub const FILE: Glyph = "M4 2.5h5l3 3v8H4zM9 2.5v3h3";
pub const LINK: Glyph = "M6.5 9.5l3-3M7.5 5l2-2a2.5 2.5 0 0 1 3.5 3.5l-2 2M8.5 11l-2 2A2.5 2.5 0 0 1 3 9.5l2-2";
pub const BUILDER: Glyph = "M2.5 13.5 8 8M6.5 3.5 9 2l5 5-1.5 2.5-2-.5-3.5-3.5zM2.5 13.5l-.5-.5";
pub const RUNNING: Glyph = "M13.5 8A5.5 5.5 0 1 1 8 2.5M8 5v3h3";
pub const SAVE: Glyph = "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M2.5 13.5h11";

#[component]
pub fn Icon(glyph: Glyph, #[prop(default = "size-4")] class: &'static str) -> impl IntoView {
    view! {
        <svg
            class=format!("{class} shrink-0")
            viewBox="0 0 16 16"
            fill="none"
            stroke="currentColor"
            stroke-width="1.4"
            stroke-linecap="round"
            stroke-linejoin="round"
            aria-hidden="true"
        >
            <path d=glyph></path>
        </svg>
    }
}
