//! What is under way on a connection. Over HTTP/2, one connection has many answers at a time, and a client that takes nothing of one is not
//! seen in what is written: it answers pings, and takes others. So the answers of all connections are limited as connections are, and a
//! connection on which one does not move is closed; so is one on which nothing is asked.

use axum::{body::Body, http::header, response::Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of which a client must take some now and then.
const PIECE: usize = 32 << 10;
/// Answers of one connection at a time.
pub const MOST: u32 = 128;

/// The answers of one connection.
pub struct Answers {
    open: Mutex<Vec<Weak<Answer>>>,
    room: Arc<Semaphore>,
    /// Held by whatever is under way.
    busy: Arc<()>,
    /// Requests so far.
    asked: AtomicU64,
}

/// Something that is under way.
#[derive(Clone)]
pub struct Busy(#[allow(dead_code, reason = "its count is what is looked at")] Arc<()>);

/// An answer, as long as any of it is in memory.
struct Answer {
    /// When something of it was handed on to be sent; `None` while there is nothing to send.
    waits: Mutex<Option<Instant>>,
    /// `None` for streams of events, which have limits of their own.
    _room: Option<OwnedSemaphorePermit>,
    _busy: Busy,
}

impl Answer {
    fn set(&self, waits: Option<Instant>) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = waits;
    }
}

impl Answers {
    pub fn new(room: Arc<Semaphore>) -> Answers {
        Answers { open: Mutex::default(), room, busy: Arc::default(), asked: AtomicU64::default() }
    }

    /// Notes a request, until what this returns is dropped.
    pub fn begin(&self) -> Busy {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Busy(self.busy.clone())
    }

    /// The answer as it is sent over HTTP/2, or `no_room`.
    pub fn send(&self, response: Response, busy: Busy, no_room: impl FnOnce() -> Response) -> Response {
        if http_body::Body::is_end_stream(response.body()) {
            return response;
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        let room = if kind.is_some_and(|kind| kind == "text/event-stream") {
            None
        } else {
            let Ok(room) = self.room.clone().try_acquire_owned() else { return no_room() };
            Some(room)
        };
        let answer = Arc::new(Answer { waits: Mutex::new(Some(Instant::now())), _room: room, _busy: busy });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= 2 * MOST as usize {
            open.retain(|answer| answer.strong_count() > 0);
        }
        open.push(Arc::downgrade(&answer));
        drop(open);
        response.map(|body| Body::new(Pieces { body, rest: Bytes::new(), answer }))
    }

    /// Returns when a client took nothing of an answer for so long as `patience`.
    pub async fn stall(&self, patience: Duration) {
        loop {
            tokio::time::sleep(patience / 4).await;
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let stalls = open.iter().filter_map(Weak::upgrade).any(|answer| {
                let waits = answer.waits.lock().unwrap_or_else(PoisonError::into_inner);
                waits.is_some_and(|since| since.elapsed() > patience)
            });
            if stalls {
                return;
            }
        }
    }

    /// Returns when nothing was asked and nothing was under way for so long.
    pub async fn quiet(&self, span: Duration) {
        let (mut since, mut asked) = (Instant::now(), self.asked.load(Ordering::Relaxed));
        while since.elapsed() < span {
            tokio::time::sleep(span / 8).await;
            let now = self.asked.load(Ordering::Relaxed);
            if now != asked || Arc::strong_count(&self.busy) > 1 {
                (since, asked) = (Instant::now(), now);
            }
        }
    }
}

/// A body over HTTP/1 that is under way until it is handed on. Those of a few packets are not worth it.
pub fn held(response: Response, busy: Busy) -> Response {
    let is_short = http_body::Body::size_hint(response.body()).upper().is_some_and(|size| size <= PIECE as u64);
    if is_short {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            // It lives as long as the body that has it.
            let _ = &busy;
            error
        }))
    })
}

/// A body that notes when it is taken from.
struct Pieces {
    body: Body,
    /// What the body gave and was not taken yet.
    rest: Bytes,
    answer: Arc<Answer>,
}

/// Bytes on their way: their answer is open until they are sent.
struct Piece {
    bytes: Bytes,
    _answer: Arc<Answer>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            // What the server has not is not waited for by the client's fault.
            self.answer.set(None);
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        self.answer.set(Some(Instant::now()));
        let length = self.rest.len().min(PIECE);
        let bytes = self.rest.split_to(length);
        let piece = Piece { bytes, _answer: self.answer.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(inner.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use futures_util::StreamExt;

    const PATIENCE: Duration = Duration::from_millis(200);

    fn answers(most: usize) -> Answers {
        Answers::new(Arc::new(Semaphore::new(most)))
    }

    async fn stalls(answers: &Answers) -> bool {
        tokio::time::timeout(4 * PATIENCE, answers.stall(PATIENCE)).await.is_ok()
    }

    #[tokio::test]
    async fn what_is_not_taken_stalls_and_what_is_not_there_yet_does_not() {
        let answers = answers(8);
        let no_room = || unreachable!("there is room");
        let quiet = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut quiet = answers.send(quiet.into_response(), answers.begin(), no_room).into_body().into_data_stream();
        assert!(futures_util::poll!(quiet.next()).is_pending());
        assert!(!stalls(&answers).await, "the server has nothing to send");

        let whole: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let mut taken = answers.send(whole.clone().into_response(), answers.begin(), no_room).into_body();
        assert_eq!(http_body::Body::size_hint(&taken).exact(), Some(100_000));
        let first = taken.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(stalls(&answers).await, "the second piece is not asked for");
        let rest = taken.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), whole);
        assert!(!stalls(&answers).await, "all is taken");
    }

    #[tokio::test]
    async fn a_connection_is_quiet_when_nothing_is_under_way() {
        let answers = answers(1);
        let is_quiet = async || tokio::time::timeout(2 * PATIENCE, answers.quiet(PATIENCE)).await.is_ok();
        assert!(is_quiet().await);
        let busy = answers.begin();
        assert!(!is_quiet().await, "it is being answered");
        let long = held(Body::from(vec![0; 100_000]).into_response(), busy);
        assert!(!is_quiet().await, "it is being sent");
        drop(long);
        assert!(is_quiet().await);
    }

    #[tokio::test]
    async fn an_answer_has_its_room_until_it_is_sent() {
        let answers = answers(1);
        let no_room = || axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response();
        let full = || answers.send("more".into_response(), answers.begin(), no_room).status() == 503;
        let mut body = answers.send("bytes".into_response(), answers.begin(), no_room).into_body();
        let sent = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert!(full(), "what the socket has not taken is in memory");
        drop(sent);
        assert!(!full());
    }
}
