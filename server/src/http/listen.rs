//! Takes connections: no more than there is room for, and none that says nothing for ever. What does not fit is told to come again.

use super::{
    Doors,
    answers::{self, Answers},
    no_room,
};
use crate::metrics;
use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    http::{Method, Version, header},
    response::Response,
};
use http_body::Body as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tower::Service;

/// How long a connection may be without a request, or take to send the head of one. Clients keep connections for as long as proxies
/// usually do.
const IDLE: Duration = Duration::from_secs(300);
/// The same while most connections are taken: who is slow makes room for who is not.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(10);
/// How long it may take until both sides agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection of HTTP/2 may not answer a ping.
const PING: Duration = Duration::from_secs(60);
/// Of the head of a request, in bytes: the longest that clients send is a token and a few names.
const LONGEST_HEAD: u32 = 64 << 10;
/// Between two tries to take a connection where the system has none to give.
const BREATH: Duration = Duration::from_millis(100);
/// How long a connection may be silent once the server was told to end.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// Between two looks at a connection of which a few bytes came.
const PAUSE: Duration = Duration::from_millis(20);
/// What is told where there is no room; short enough to fit into the socket without waiting.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 44\r\n\r\nthe server has no room for more connections\n";

/// What is heard before TLS would have to be spoken, where it is not: the first byte of a client's greeting is another.
const NOT_SECRET: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 53\r\n\r\nthis address speaks HTTPS; ask for it with https:// \n";
/// How TLS begins: a record of the kind that greets.
const TLS_GREETING: u8 = 22;

/// How connections are taken.
#[derive(Clone)]
pub struct Manner {
    /// Connections at a time.
    pub most: usize,
    /// How long a client may take nothing of what it is sent.
    pub send_timeout: Duration,
    /// What ends TLS; without it, HTTP is spoken in the open.
    pub tls: Option<TlsAcceptor>,
}

/// The connections that are open.
struct Open {
    tasks: TaskTracker,
    /// Room for answers of HTTP/2: with as many of them as there may be connections, the server holds what it would with HTTP/1.
    answers: Arc<Semaphore>,
    /// From then on a connection ends with the answer to what was asked on it.
    ending: CancellationToken,
}

/// Serves until it is told to stop, and then until every request under way has its answer.
pub async fn serve(listener: TcpListener, doors: Doors, manner: Manner, mut stopping: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(manner.most));
    let answers = Arc::new(Semaphore::new(manner.most));
    let open = Open { tasks: TaskTracker::default(), answers, ending: CancellationToken::default() };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a client that is gone already: others wait in the system's queue.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        // Small answers go out at once instead of waiting for more to send.
        let _ = stream.set_nodelay(true);
        let Ok(permit) = room.clone().try_acquire_owned() else {
            metrics::shed("connections");
            match manner.tls {
                // Whoever expects TLS would not understand it.
                Some(_) => drop(stream),
                None => drop(tokio::spawn(refuse(stream, NO_ROOM))),
            }
            continue;
        };
        let is_full = room.available_permits() < manner.most / 4;
        let idle = if is_full { IDLE_WHEN_FULL } else { IDLE };
        connection(stream, peer, doors.clone(), &manner, idle, permit, &open, stopping.clone());
    }
    // Who connected before that and waits in the system's queue is not sent away; then the address refuses.
    let until = tokio::time::Instant::now() + BREATH;
    while let Ok(Ok((stream, peer))) = tokio::time::timeout_at(until, listener.accept()).await {
        if let Ok(permit) = room.clone().try_acquire_owned() {
            connection(stream, peer, doors.clone(), &manner, IDLE_WHEN_FULL, permit, &open, stopping.clone());
        }
    }
    // The runtime learns of connections a moment after the system has them; those would be cut off with the listener.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let (Ok(stream), Ok(permit)) = (stream, room.clone().try_acquire_owned()) {
                connection(stream, peer, doors.clone(), &manner, IDLE_WHEN_FULL, permit, &open, stopping.clone());
            }
        }
    }
    open.ending.cancel();
    open.tasks.close();
    open.tasks.wait().await;
}

/// Answers whatever is asked with one line, and closes. What was sent is not read: that would be work.
async fn refuse(mut stream: TcpStream, why: &[u8]) {
    let _ = tokio::time::timeout(BREATH, stream.write_all(why)).await;
    let _ = tokio::time::timeout(BREATH, stream.shutdown()).await;
}

#[allow(clippy::too_many_arguments, reason = "what one connection is given, by one caller")]
fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    doors: Doors,
    manner: &Manner,
    idle: Duration,
    permit: OwnedSemaphorePermit,
    open: &Open,
    mut stopping: watch::Receiver<bool>,
) {
    let answers = Arc::new(Answers::new(open.answers.clone()));
    let sent = answers.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let (is_head, is_many) = (request.method() == Method::HEAD, request.version() == Version::HTTP_2);
        let busy = sent.begin();
        let (answer, answers) = (doors.clone().call(request), sent.clone());
        async move {
            answer.await.map(|response| match (is_many, is_head) {
                (true, true) => head_of(response),
                (true, false) => answers.send(response, busy, no_room),
                (false, true) => response,
                (false, false) => answers::held(response, busy),
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(LONGEST_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(answers::MOST)
        .max_header_list_size(LONGEST_HEAD);
    let ending = open.ending.clone();
    let (tls, send_timeout) = (manner.tls.clone(), manner.send_timeout);
    open.tasks.spawn(async move {
        let _open = metrics::Open::connection();
        let begun = tokio::select! {
            begun = begun(stream, tls, idle) => begun,
            // Nothing was asked, and what may be on its way has a moment to come.
            () = moment_after(&mut stopping) => None,
        };
        if let Some((stream, version)) = begun {
            let builder = match version {
                Version::HTTP_2 => builder.http2_only(),
                _ => builder.http1_only(),
            };
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(send_timeout));
            // How a client ends its connection is its own business.
            let mut spoken = pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service).into_owned());
            tokio::select! {
                // First: hyper closes a connection on which it has not read yet, where a request may have come already.
                biased;
                _ = spoken.as_mut() => {}
                () = answers.stall(send_timeout), if version == Version::HTTP_2 => {}
                // With HTTP/1 hyper looks for itself.
                () = answers.quiet(idle), if version == Version::HTTP_2 => {}
                () = ending.cancelled() => {
                    spoken.as_mut().graceful_shutdown();
                    // Half a head, or a client that does not say that it heard, is not waited for.
                    tokio::select! {
                        biased;
                        _ = spoken.as_mut() => {}
                        () = answers.quiet(LAST_MOMENT) => {}
                    }
                }
            }
        }
        drop(permit);
    });
}

/// A connection on which HTTP is spoken, in the open or within TLS.
type Spoken = Either<TcpStream, TlsStream<TcpStream>>;

/// Finds out what is spoken, and shakes hands where that is TLS. `None` where there is nobody to talk with.
async fn begun(stream: TcpStream, tls: Option<TlsAcceptor>, idle: Duration) -> Option<(Spoken, Version)> {
    let Some(tls) = tls else {
        let version = spoken(&stream, idle).await?;
        return Some((Either::Left(stream), version));
    };
    let mut first = [0];
    match tokio::time::timeout(idle, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == TLS_GREETING => {}
        Ok(Ok(1)) => {
            refuse(stream, NOT_SECRET).await;
            return None;
        }
        _ => return None,
    }
    let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await.ok()?.ok()?;
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    Some((Either::Right(stream), version))
}

/// The answer to a question for its head alone. With HTTP/1 hyper leaves bodies out by itself.
fn head_of(response: Response) -> Response {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| Body::empty());
    if let Some(length) = length {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    response
}

async fn moment_after(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
    tokio::time::sleep(LAST_MOMENT).await;
}

/// What a client begins to speak, without taking it from the stream. `None` where it says nothing for too long, or ends.
async fn spoken(stream: &TcpStream, idle: Duration) -> Option<Version> {
    /// How HTTP/2 begins, and no request of HTTP/1.
    const HTTP2: &[u8; 4] = b"PRI ";
    let listen = async {
        loop {
            let mut begin = [0; HTTP2.len()];
            match stream.peek(&mut begin).await {
                Ok(0) | Err(_) => return None,
                Ok(length) if begin[..length] != HTTP2[..length] => return Some(Version::HTTP_11),
                Ok(length) if length == HTTP2.len() => return Some(Version::HTTP_2),
                Ok(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(idle, listen).await.ok()?
}
