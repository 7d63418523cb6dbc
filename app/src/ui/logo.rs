//! The igloo of bricks, and the wall of bricks behind empty states.

use leptos::prelude::*;

// Brick by brick: each outer edge follows the ellipse 15 by 19.5 around (16, 23), the door is a circle of 4.4 around (16, 19.2).
const ICE: [&str; 7] = [
    "M1 23A15 19.5 0 0 1 1.59 17.6H6.3V23Z",
    "M25.7 23V17.6H30.41A15 19.5 0 0 1 31 23Z",
    "M9.45 16.7V11.6H15.55V14.82A4.4 4.4 0 0 0 12.38 16.7Z",
    "M23.45 16.7V11.6H28.17A15 19.5 0 0 1 30.2 16.7Z",
    "M4.36 10.7A15 19.5 0 0 1 7.89 6.6H11.85V10.7Z",
    "M20.15 10.7V6.6H24.11A15 19.5 0 0 1 27.64 10.7Z",
    "M9.08 5.7A15 19.5 0 0 1 22.92 5.7Z",
];
const PALE: [&str; 5] = [
    "M7.2 23V17.6H11.9A4.4 4.4 0 0 0 11.6 19.2V23Z",
    "M24.8 23V17.6H20.1A4.4 4.4 0 0 1 20.4 19.2V23Z",
    "M1.8 16.7A15 19.5 0 0 1 3.83 11.6H8.55V16.7Z",
    "M22.55 16.7V11.6H16.45V14.82A4.4 4.4 0 0 1 19.62 16.7Z",
    "M12.75 10.7V6.6H19.25V10.7Z",
];

/// The mark alone; the word beside it is the caller's.
#[component]
pub fn Logo(#[prop(default = "size-7")] class: &'static str) -> impl IntoView {
    view! {
        <svg class=format!("{class} shrink-0") viewBox="0 2 32 22" aria-hidden="true">
            <path class="fill-ice" d=ICE.concat()></path>
            <path class="fill-ice-mid" d=PALE.concat()></path>
        </svg>
    }
}

/// Three courses of bricks with one place free, for the first thing that will come.
#[component]
pub fn Bricks(
    /// The free place is taken.
    #[prop(optional, into)]
    filled: Signal<bool>,
) -> impl IntoView {
    view! {
        <svg class="h-14 w-36 mx-auto" viewBox="0 0 144 56" aria-hidden="true">
            <path
                class="fill-ice-pale"
                d="M2 40h32v14H2zM110 40h32v14h-32zM20 22h32v14H20zM92 22h32v14H92z"
            ></path>
            <path class="fill-ice" d="M38 40h32v14H38zM74 40h32v14H74zM56 22h32v14H56z"></path>
            <path
                class=move || if filled.get() { "fill-ice stroke-ice" } else { "fill-none stroke-edge" }
                stroke-dasharray=move || if filled.get() { "0" } else { "4 3" }
                d="M56.5 4.5h31v13h-31z"
            ></path>
        </svg>
    }
}
