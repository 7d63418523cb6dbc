//! Moments as people say them, exact on hover. The server says what time it is, so that both renderings agree; the
//! browser's clock takes over afterwards.

use iglu_api::Timestamp;
use leptos::prelude::*;

/// The present, as far as the page knows.
#[derive(Clone, Copy)]
pub struct Now(RwSignal<Timestamp>);

impl Now {
    /// Provides the present to every page. Called once, at the root.
    pub fn provide() {
        let now = RwSignal::new(SharedValue::new(present).into_inner());
        provide_context(Now(now));
        #[cfg(feature = "hydrate")]
        Effect::new(move |_| {
            let tick = move || now.set(present());
            tick();
            if let Ok(handle) = set_interval_with_handle(tick, std::time::Duration::from_secs(20)) {
                on_cleanup(move || handle.clear());
            }
        });
    }

    /// The present when it is asked for, without hearing of later ones.
    pub fn untracked(self) -> Timestamp {
        self.0.get_untracked()
    }
}

#[cfg(feature = "ssr")]
fn present() -> Timestamp {
    use_context::<crate::calls::context::Call>().map_or(Timestamp(0), |call| call.core.now())
}

#[cfg(all(feature = "hydrate", not(feature = "ssr")))]
fn present() -> Timestamp {
    Timestamp(leptos::web_sys::js_sys::Date::now() as i64)
}

#[cfg(not(any(feature = "hydrate", feature = "ssr")))]
fn present() -> Timestamp {
    Timestamp(0)
}

/// `5 min ago`, with the date and time in the title.
#[component]
pub fn Ago(at: Timestamp) -> impl IntoView {
    let now = use_context::<Now>();
    let words = move || match now {
        Some(Now(now)) => at.relative_to(now.get()),
        None => at.to_string(),
    };
    view! {
        <time class="whitespace-nowrap" datetime=at.to_string() title=exact(at)>
            {words}
        </time>
    }
}

/// The moment, or a word for never.
#[component]
pub fn AgoOr(at: Option<Timestamp>, never: &'static str) -> impl IntoView {
    match at {
        Some(at) => view! { <Ago at /> }.into_any(),
        None => view! { <span class="text-dim">{never}</span> }.into_any(),
    }
}

/// `2026-06-30 12:00:00 UTC`
fn exact(at: Timestamp) -> String {
    at.to_string().replace('T', " ").replace('Z', " UTC")
}
