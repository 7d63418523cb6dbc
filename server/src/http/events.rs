//! Live pages listen here: server-sent events of one cache, with the cache's own rule of who may read.

use super::{caller, error::PlainError};
use axum::{
    Router,
    extract::{Path, State},
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
    routing::get,
};
use futures_util::{Stream, StreamExt};
use iglu_api::{cache::Permission, event::LiveEvent};
use iglu_core::{Core, Discretion};
use std::{convert::Infallible, time::Duration};
use tokio::sync::watch;
use tokio_stream::wrappers::BroadcastStream;

/// Comments keep proxies from ending a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Events {
    core: Core,
    stopping: watch::Receiver<bool>,
}

pub fn router(core: Core, stopping: watch::Receiver<bool>) -> Router {
    Router::new().route("/events/caches/{name}", get(cache_events)).with_state(Events { core, stopping })
}

async fn cache_events(
    State(Events { core, mut stopping }): State<Events>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, PlainError> {
    let caller = caller::by_session(&core, &headers).await?;
    let cache = core.cache().open(&caller, &name, Permission::Pull, Discretion::Hide).await?;
    let name = cache.name.clone();
    let events = BroadcastStream::new(core.events.subscribe()).filter_map(move |event| {
        // A listener that was too slow goes on with what is newest; its page shows the rest when it loads.
        let event = event.ok().filter(|event| event.cache() == &name).and_then(|event| encode(&event));
        async move { event.map(Ok) }
    });
    let events = events.take_until(async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn encode(event: &LiveEvent) -> Option<Event> {
    let LiveEvent::PathPushed { path, .. } = event;
    Event::default().id(path.pushed_at.0.to_string()).json_data(event).ok()
}
