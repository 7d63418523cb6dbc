//! Server-sent events for live pages: owns the tab's one `EventSource`, hands each event to the pages that listen, and closes the
//! stream with the frame.

use iglu_api::event::LiveEvent;
#[cfg(feature = "hydrate")]
use leptos::prelude::*;
#[cfg(feature = "hydrate")]
use std::{rc::Rc, time::Duration};

/// How long events gather before a page is loaded again because of them.
#[cfg(feature = "hydrate")]
const SOON: Duration = Duration::from_millis(500);

/// The stream of the tab, for the pages in the frame.
#[derive(Clone, Copy)]
pub struct Live {
    #[cfg(feature = "hydrate")]
    listeners: StoredValue<stream::Listeners, LocalStorage>,
}

impl Live {
    /// Listens while the calling component is mounted; nothing on the server. The browser reconnects by itself.
    pub fn provide() {
        #[cfg(feature = "hydrate")]
        {
            let live = Live { listeners: StoredValue::new_local(stream::Listeners::default()) };
            provide_context(live);
            Effect::new(move |_| {
                let hand_out = move |event: LiveEvent| {
                    if let LiveEvent::Hello { assets } = &event {
                        stream::reload_if_old(assets);
                    }
                    // None of them may be held while it is called: it may listen, or stop to.
                    for listener in live.listeners.try_with_value(stream::Listeners::all).unwrap_or_default() {
                        listener(&event);
                    }
                };
                if let Some(stream) = stream::Stream::open("/events", hand_out) {
                    // Dropped, and with that closed, together with the owner.
                    StoredValue::new_local(stream);
                }
            });
        }
    }
}

/// Hears events while the calling component is mounted; nothing on the server. Keeping what arrives within bounds is the caller's part.
#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
pub fn listen(on_event: impl Fn(&LiveEvent) + 'static) {
    #[cfg(feature = "hydrate")]
    if let Some(live) = use_context::<Live>() {
        let id = live.listeners.try_update_value(|listeners| listeners.add(on_event));
        on_cleanup(move || {
            live.listeners.try_update_value(|listeners| listeners.remove(id));
        });
    }
}

/// Loads something again soon after an event that it shows a part of: once for however many events come meanwhile. A busy cache has
/// hundreds of them in a second.
#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
pub fn reload_on(shows: impl Fn(&LiveEvent) -> bool + 'static, reload: impl Fn() + Clone + Send + Sync + 'static) {
    #[cfg(feature = "hydrate")]
    Effect::new({
        let shows = Rc::new(shows);
        move |_| {
            let (shows, reload) = (shows.clone(), reload.clone());
            let waiting = StoredValue::new(None::<TimeoutHandle>);
            listen(move |event| {
                if shows(event) && waiting.with_value(Option::is_none) {
                    let reload = reload.clone();
                    let due = move || {
                        waiting.set_value(None);
                        reload();
                    };
                    waiting.set_value(set_timeout_with_handle(due, SOON).ok());
                }
            });
            on_cleanup(move || {
                if let Some(Some(waiting)) = waiting.try_get_value() {
                    waiting.clear();
                }
            });
        }
    });
}

/// Hears the events of another stream while the calling component is mounted, until `on_event` says that it was the last one.
#[cfg(feature = "hydrate")]
pub fn follow<T: serde::de::DeserializeOwned + 'static>(url: &str, on_event: impl Fn(T) -> bool + 'static) {
    let held = StoredValue::new_local(None::<stream::Stream>);
    let url = url.to_owned();
    let on_event = Rc::new(on_event);
    Effect::new(move |_| {
        let on_event = on_event.clone();
        let opened = stream::Stream::open(&url, move |event: T| {
            if !on_event(event) {
                // Not while it calls this.
                set_timeout(move || drop(held.try_set_value(None)), Duration::ZERO);
            }
        });
        held.set_value(opened);
    });
}

#[cfg(feature = "hydrate")]
mod stream {
    use iglu_api::event::LiveEvent;
    use leptos::{
        prelude::*,
        web_sys::{EventSource, HtmlInputElement, HtmlTextAreaElement, MessageEvent},
    };
    use std::rc::Rc;
    use wasm_bindgen::{JsCast, closure::Closure};

    type Listener = Rc<dyn Fn(&LiveEvent)>;

    #[derive(Default)]
    pub struct Listeners {
        next: u32,
        known: Vec<(u32, Listener)>,
    }

    impl Listeners {
        pub fn add(&mut self, listener: impl Fn(&LiveEvent) + 'static) -> u32 {
            self.next += 1;
            self.known.push((self.next, Rc::new(listener)));
            self.next
        }

        pub fn remove(&mut self, id: Option<u32>) {
            self.known.retain(|(known, _)| Some(*known) != id);
        }

        pub fn all(&self) -> Vec<Listener> {
            self.known.iter().map(|(_, listener)| listener.clone()).collect()
        }
    }

    pub struct Stream {
        source: EventSource,
        // Held because the browser calls it.
        _on_message: Closure<dyn Fn(MessageEvent)>,
    }

    impl Stream {
        pub fn open<T: serde::de::DeserializeOwned>(url: &str, on_event: impl Fn(T) + 'static) -> Option<Stream> {
            let source = EventSource::new(url).ok()?;
            let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |message: MessageEvent| {
                let text = message.data().as_string().unwrap_or_default();
                // An event of a newer server that this page does not know is none of its business.
                if let Ok(event) = serde_json::from_str(&text) {
                    on_event(event);
                }
            });
            source.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            Some(Stream { source, _on_message: on_message })
        }
    }

    impl Drop for Stream {
        fn drop(&mut self) {
            self.source.set_onmessage(None);
            self.source.close();
        }
    }

    /// A page of an older server cannot talk to this one: it is loaded again, unless somebody is writing in it. Then the next
    /// connection asks again.
    pub fn reload_if_old(assets: &str) {
        let own = document().query_selector("link[rel=modulepreload]").ok().flatten();
        let own = own.and_then(|link| link.get_attribute("href")).unwrap_or_default();
        if !own.starts_with(&format!("{assets}/")) && !is_writing() {
            _ = window().location().reload();
        }
    }

    /// Whether a field holds something else than it began with.
    fn is_writing() -> bool {
        let Ok(fields) = document().query_selector_all("form input, form textarea") else { return false };
        (0..fields.length()).filter_map(|place| fields.get(place)).any(|field| {
            let input = field.dyn_ref::<HtmlInputElement>().map(|input| input.value() != input.default_value());
            let area = || field.dyn_ref::<HtmlTextAreaElement>().map(|area| Ok(area.value()) != area.default_value());
            input.or_else(area).unwrap_or(false)
        })
    }
}
