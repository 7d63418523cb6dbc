//! Live pages listen here: server-sent events of all that the listener may see, one stream for a browser's tab.

use super::{caller, error::PlainError, stranger::Strangers};
use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
    routing::get,
};
use futures_util::{Stream, StreamExt, stream};
use iglu_api::event::LiveEvent;
use iglu_core::{Caller, Core, Error};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

/// Comments keep proxies from ending a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How often numbers are compared with those that were told of.
const LOOK: Duration = Duration::from_secs(5);
/// Then the browser connects again, and who it is and what it may see is found anew.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

#[derive(Clone)]
struct Events {
    core: Core,
    /// Where the pages' files are; it changes with them.
    assets: Arc<str>,
    strangers: Strangers,
    stopping: watch::Receiver<bool>,
}

pub fn router(core: Core, assets: String, stopping: watch::Receiver<bool>) -> Router {
    let strangers = Strangers::listeners();
    Router::new().route("/events", get(events)).with_state(Events { core, assets: assets.into(), strangers, stopping })
}

async fn events(
    State(Events { core, assets, strangers, mut stopping }): State<Events>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, PlainError> {
    let caller = caller::by_session(&core, &headers).await?;
    let is_stranger = matches!(caller, Caller::Anonymous { .. });
    let listens = is_stranger.then(|| strangers.wait(&headers)).transpose()?;
    let other = other(core.clone(), headers, caller.clone());
    let hello = stream::iter([LiveEvent::Hello { assets: assets.to_string() }]);
    let (of, listener) = (core.clone(), caller.clone());
    let pushes = BroadcastStream::new(core.events.subscribe()).filter_map(move |event| {
        // A listener that was too slow goes on with what is newest; its page shows the rest when it loads.
        let event = event.ok().filter(|event| sees(&of, &listener, event)).map(|event| (*event).clone());
        async move { event }
    });
    let events = hello.chain(stream::select(pushes, changes(core, caller)));
    let until = Instant::now() + LIFETIME;
    let events = events.take_until(async move {
        let _listens = listens;
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep_until(until) => {}
            () = other => {}
        }
    });
    let encoded = events.filter_map(|event| async move { Event::default().json_data(&event).ok().map(Ok) });
    Ok(Sse::new(encoded).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Returns when the listener is another than they were: logged out, disabled, with other rights, or with a token that was revoked.
async fn other(core: Core, headers: HeaderMap, caller: Caller) {
    if matches!(caller, Caller::Anonymous { .. }) {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        match caller::by_session(&core, &headers).await {
            Ok(now) if now == caller => {}
            // A database that is away says nothing about them.
            Err(Error::Unavailable { .. }) => {}
            _ => return,
        }
    }
}

fn sees(core: &Core, caller: &Caller, event: &LiveEvent) -> bool {
    match event {
        LiveEvent::PathPushed { cache, .. } => {
            core.cache_remembered(cache.as_str()).is_some_and(|cache| caller.permission(&cache).is_some())
        }
        _ => true,
    }
}

/// What is other than at the last look.
fn changes(core: Core, caller: Caller) -> impl Stream<Item = LiveEvent> {
    let looks = IntervalStream::new(tokio::time::interval_at(Instant::now() + LOOK, LOOK));
    let mut known = core.live_state(&caller);
    looks
        .map(move |_| {
            let now = core.live_state(&caller);
            let before = std::mem::replace(&mut known, now);
            let counters = (now.counters != before.counters).then_some(LiveEvent::CountersChanged);
            let work = (now.work != before.work).then_some(LiveEvent::WorkChanged);
            stream::iter(counters.into_iter().chain(work))
        })
        .flatten()
}
