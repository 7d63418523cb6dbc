//! Keys: `/` searches, `g` then a letter goes, `?` shows them all.

use super::dialog::Dialog;
use leptos::prelude::*;

pub const DIALOG: &str = "keys";
/// The dialog that ⌘K opens.
pub const PALETTE: &str = "palette";

const KEYS: [(&[&str], &str); 8] = [
    (&["⌘ or Ctrl", "K"], "Go anywhere"),
    (&["/"], "Search on this page, or go anywhere"),
    (&["g", "o"], "Go to the overview"),
    (&["g", "c"], "Go to the caches"),
    (&["g", "b"], "Go to the builders"),
    (&["g", "t"], "Go to the tokens"),
    (&["?"], "Show these keys"),
    (&["Esc"], "Close what is open"),
];

#[component]
pub fn KeysDialog() -> impl IntoView {
    #[cfg(feature = "hydrate")]
    listen::start();
    let rows = KEYS
        .map(|(keys, words)| {
            let keys = keys
                .iter()
                .map(|key| {
                    view! {
                        <kbd class="min-w-6 rounded-sm border border-edge bg-sunken px-1.5 py-0.5 text-center text-xs">
                            {*key}
                        </kbd>
                    }
                })
                .collect_view();
            view! {
                <div class="flex items-center justify-between gap-4 py-1.5">
                    <dt class="text-soft">{words}</dt>
                    <dd class="flex gap-1">{keys}</dd>
                </div>
            }
        })
        .collect_view();
    view! {
        <Dialog id=DIALOG title="Keys">
            <dl class="divide-y divide-line">{rows}</dl>
        </Dialog>
    }
}

#[cfg(feature = "hydrate")]
mod listen {
    use super::{super::dialog, DIALOG, PALETTE};
    use leptos::{
        ev,
        prelude::*,
        web_sys::{HtmlElement, KeyboardEvent},
    };
    use leptos_router::hooks::use_navigate;
    use wasm_bindgen::JsCast;

    /// How long after `g` its letter is waited for, in milliseconds.
    const PATIENCE: f64 = 1500.0;

    pub fn start() {
        Effect::new(move |_| {
            let navigate = use_navigate();
            let last_g = StoredValue::new(f64::NEG_INFINITY);
            let handle = window_event_listener(ev::keydown, move |event| {
                if (event.ctrl_key() || event.meta_key()) && event.key().eq_ignore_ascii_case("k") {
                    // The browser's own search bar has other keys too.
                    event.prevent_default();
                    dialog::open(PALETTE);
                    return;
                }
                if event.ctrl_key()
                    || event.meta_key()
                    || event.alt_key()
                    || event.default_prevented()
                    || writing(&event)
                {
                    return;
                }
                let now = event.time_stamp();
                let after_g = now - last_g.get_value() < PATIENCE;
                last_g.set_value(f64::NEG_INFINITY);
                let goal = match event.key().as_str() {
                    "o" if after_g => "/",
                    "c" if after_g => "/caches",
                    "b" if after_g => "/builders",
                    "t" if after_g => "/tokens",
                    "g" => {
                        last_g.set_value(now);
                        return;
                    }
                    "/" => {
                        event.prevent_default();
                        if !focus_search() {
                            dialog::open(PALETTE);
                        }
                        return;
                    }
                    "?" => {
                        dialog::open(DIALOG);
                        return;
                    }
                    _ => return,
                };
                navigate(goal, Default::default());
            });
            on_cleanup(move || handle.remove());
        });
    }

    /// Whether the key goes into a text.
    fn writing(event: &KeyboardEvent) -> bool {
        let element = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok());
        element.is_some_and(|element| {
            matches!(element.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT") || element.is_content_editable()
        })
    }

    fn focus_search() -> bool {
        let found = document().query_selector("input[type='search']").ok().flatten();
        let Some(input) = found.and_then(|element| element.dyn_into::<HtmlElement>().ok()) else { return false };
        input.focus().is_ok()
    }
}
