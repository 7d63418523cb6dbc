//! Server-sent events for live pages: owns the browser's `EventSource`, hands each event to its page, and closes the
//! stream when the page goes.

use iglu_api::{CacheName, event::LiveEvent};

/// Hears what happens in a cache while the calling component is mounted; nothing on the server. The browser reconnects
/// by itself and says where it left off. Keeping what arrives within bounds is the caller's part.
#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
pub fn listen_to_cache(cache: &CacheName, on_event: impl Fn(LiveEvent) + 'static) {
    #[cfg(feature = "hydrate")]
    {
        use leptos::prelude::*;
        if let Some(stream) = stream::Stream::open(&format!("/events/caches/{cache}"), on_event) {
            // Dropped, and with that closed, together with the owner.
            StoredValue::new_local(stream);
        }
    }
}

#[cfg(feature = "hydrate")]
mod stream {
    use iglu_api::event::LiveEvent;
    use leptos::web_sys::{EventSource, MessageEvent};
    use wasm_bindgen::{JsCast, closure::Closure};

    pub struct Stream {
        source: EventSource,
        // Held because the browser calls it.
        _on_message: Closure<dyn Fn(MessageEvent)>,
    }

    impl Stream {
        pub fn open(url: &str, on_event: impl Fn(LiveEvent) + 'static) -> Option<Stream> {
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
}
