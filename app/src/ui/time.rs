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

/// Something that has happened: `5 min ago`, with the date and time in the title. Never in the future, however the
/// clocks of server and browser differ.
#[component]
pub fn Ago(at: Timestamp) -> impl IntoView {
    view! { <Moment at words=move |now: Timestamp| at.relative_to(now.max(at)) /> }
}

/// Something that will happen or has happened: `in 3 d`, `2 d ago`.
#[component]
pub fn When(at: Timestamp) -> impl IntoView {
    view! { <Moment at words=move |now| at.relative_to(now) /> }
}

#[component]
fn Moment(at: Timestamp, words: impl Fn(Timestamp) -> String + Send + Sync + 'static) -> impl IntoView {
    let now = use_context::<Now>();
    view! {
        <time class="whitespace-nowrap" datetime=at.to_string() title=exact(at)>
            {move || now.map_or_else(|| at.to_string(), |Now(now)| words(now.get()))}
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
