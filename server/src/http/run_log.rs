//! The log of a run for browsers: as a file, and as a stream of events that goes on where the last connection ended.

use super::{caller, error::PlainError};
use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, header},
    response::{
        Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use iglu_api::{ansi, run::RunNews};
use iglu_core::{Caller, Core, Error};
use serde::Deserialize;
use std::{convert::Infallible, fmt::Write, time::Duration};
use tokio::sync::{broadcast, watch};

/// Lines of one event; of more that came at once the page is told only their number, and these at their end.
const MOST: u64 = 1000;
/// How often a run is looked at of which nothing was heard here: another server may have heard its node.
const LOOK: Duration = Duration::from_secs(2);
/// News gathers so long: a fast log is told some times a second and not for each report.
const GATHER: Duration = Duration::from_millis(100);
/// Then the browser connects again, and who it is and what it may see is found anew.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Logs {
    core: Core,
    stopping: watch::Receiver<bool>,
}

pub fn router(core: Core, stopping: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/runs/{id}/log.txt", get(file))
        .route("/runs/{id}/news", get(news))
        .with_state(Logs { core, stopping })
}

/// The whole log so far as plain text, sent as it is read.
async fn file(
    State(Logs { core, .. }): State<Logs>,
    headers: HeaderMap,
    Path(id): Path<u64>,
) -> Result<Response, PlainError> {
    let caller = caller::by_session(&core, &headers).await?;
    let whole = core.run().get(&caller, id).await?.line_count;
    let lines = stream::try_unfold(0, move |first| {
        let (core, caller) = (core.clone(), caller.clone());
        async move {
            let part = core.run().log(&caller, id, first, whole - first).await?;
            let mut text = String::new();
            for line in &part.lines {
                // Into memory: it cannot fail.
                let _ = writeln!(text, "{}", ansi::plain(&line.text));
            }
            let next = first + part.lines.len() as u64;
            Ok::<_, Error>((!part.lines.is_empty()).then(|| (Bytes::from(text), next)))
        }
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"run-{id}.log\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

#[derive(Deserialize)]
struct From {
    /// The first line that the page does not have.
    #[serde(default)]
    first: u64,
}

/// What one connection has been told.
struct Listener {
    core: Core,
    caller: Caller,
    id: u64,
    next: u64,
    heard: broadcast::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    until: tokio::time::Instant,
    is_first: bool,
    is_over: bool,
}

async fn news(
    State(Logs { core, stopping }): State<Logs>,
    headers: HeaderMap,
    Path(id): Path<u64>,
    Query(From { first }): Query<From>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, PlainError> {
    let caller = caller::by_session(&core, &headers).await?;
    let heard = core.events.subscribe_runs();
    core.run().get(&caller, id).await?;
    // The number of an event is the number of the line behind its last one.
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let until = tokio::time::Instant::now() + LIFETIME;
    let next = resumed.unwrap_or(first);
    let listener = Listener { core, caller, id, next, heard, stopping, until, is_first: true, is_over: false };
    let events = stream::unfold(listener, |mut listener| async move { Some((Ok(listener.event().await?), listener)) });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Listener {
    /// The next event; none at the end.
    async fn event(&mut self) -> Option<Event> {
        let has_to_wait = !std::mem::take(&mut self.is_first);
        if self.is_over || has_to_wait && !self.waited().await {
            return None;
        }
        let runs = self.core.run();
        // Looked at before the log, so that the log of a run that is over is whole. An error is the caller's right that ended.
        let found = runs.get(&self.caller, self.id).await.ok()?;
        self.is_over = found.run.state.is_over();
        let first = self.next.max(found.line_count.saturating_sub(MOST));
        let log = runs.log(&self.caller, self.id, first, MOST).await.ok()?;
        self.next = log.first + log.lines.len() as u64;
        let event = Event::default().id(self.next.to_string());
        event.json_data(RunNews { log, is_over: self.is_over }).ok()
    }

    /// Waits for something to tell. False when the connection should end.
    async fn waited(&mut self) -> bool {
        let until = self.until;
        let heard = async {
            loop {
                match tokio::time::timeout(LOOK, self.heard.recv()).await {
                    Ok(Ok(id)) if id != self.id => {}
                    // Missed some, or the look that is due.
                    Ok(_) | Err(_) => return,
                }
            }
        };
        let stopping = &mut self.stopping;
        let stopped = async {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let goes_on = tokio::select! {
            () = heard => true,
            () = stopped => false,
            () = tokio::time::sleep_until(until) => false,
        };
        if goes_on {
            tokio::time::sleep(GATHER).await;
        }
        goes_on
    }
}
