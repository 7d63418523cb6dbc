//! Short messages that come and go, spoken to readers.

use leptos::prelude::*;
use std::time::Duration;

const SHOWN: Duration = Duration::from_secs(4);
/// Older ones give way.
const AT_ONCE: usize = 3;

#[derive(Clone, Copy)]
pub struct Toasts {
    shown: RwSignal<Vec<(u32, String)>>,
    next: StoredValue<u32>,
}

impl Toasts {
    pub fn provide() -> Toasts {
        let toasts = Toasts { shown: RwSignal::new(Vec::new()), next: StoredValue::new(0) };
        provide_context(toasts);
        toasts
    }

    pub fn say(self, message: impl Into<String>) {
        let id = self.next.with_value(|next| *next);
        self.next.set_value(id + 1);
        self.shown.update(|shown| {
            if shown.len() == AT_ONCE {
                shown.remove(0);
            }
            shown.push((id, message.into()));
        });
        set_timeout(move || _ = self.shown.try_update(|shown| shown.retain(|(other, _)| *other != id)), SHOWN);
    }
}

#[component]
pub fn ToastRegion(toasts: Toasts) -> impl IntoView {
    view! {
        <div
            class="pointer-events-none fixed inset-x-0 bottom-4 z-50 flex flex-col items-center gap-2 px-4"
            role="status"
            aria-live="polite"
        >
            <For each=move || toasts.shown.get() key=|(id, _)| *id let((_, message))>
                <p class="animate-arrive rounded-md bg-ink px-3 py-2 text-sm text-snow">{message}</p>
            </For>
        </div>
    }
}
