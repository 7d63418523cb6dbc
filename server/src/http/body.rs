//! Reading request bodies: as a stream that does not wait for ever, or whole up to a limit.

use async_compression::tokio::bufread::{BrotliDecoder, BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use iglu_core::{Error, Result};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio_util::io::{ReaderStream, StreamReader};

/// A sender that is silent for so long is gone.
const IDLE: Duration = Duration::from_secs(30);
/// How long a document may take, however it comes.
const DEADLINE: Duration = Duration::from_secs(120);
/// What is read and thrown away of a body that was refused early, in bytes, so that its sender hears the answer.
const DRAIN: usize = 64 << 20;

/// A body of whatever origin.
pub type Bodily = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// The body as it comes. Silence and breaks are errors.
pub fn stream(body: Body) -> Bodily {
    let chunks = futures_util::stream::unfold(Some(body.into_data_stream()), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(IDLE, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(body))),
            Ok(Some(Err(error))) => Some((Err(broken(&error)), None)),
            Err(_) => {
                let message = format!("no byte of the body came for {} seconds", IDLE.as_secs());
                Some((Err(Error::Interrupted(message)), None))
            }
        }
    });
    // Whoever reads on behind the end finds the end again.
    Box::pin(chunks.fuse())
}

/// Why a body ended early: cut off, which can be tried again, or not what HTTP has, which cannot.
fn broken(error: &axum::Error) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)) {
            return Error::invalid("", "the body is not well-formed HTTP");
        }
        source = cause.source();
    }
    Error::Interrupted("the body ended before its announced length".to_owned())
}

/// A body with two handles: one that reads it, and one that can read on when the first gave up.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Bodily>>);

impl Shared {
    pub fn new(body: Body) -> Shared {
        Shared(Arc::new(Mutex::new(stream(body))))
    }
}

impl Stream for Shared {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(context)
    }
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Xz,
    Bzip2,
}

impl Coding {
    /// A value of Content-Encoding; Nix writes its own names of compressions there.
    pub fn parse(name: &str) -> Option<Coding> {
        Some(match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Coding::Gzip,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            "xz" => Coding::Xz,
            "bzip2" => Coding::Bzip2,
            _ => return None,
        })
    }
}

/// A chunk in pieces that are unpacked in a moment, whatever is in them.
fn slices(chunk: Result<Bytes>) -> impl Iterator<Item = Result<Bytes>> {
    const PIECE: usize = 16 << 10;
    let (mut rest, mut broken) = match chunk {
        Ok(chunk) => (chunk, None),
        Err(error) => (Bytes::new(), Some(error)),
    };
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return broken.take().map(Err);
        }
        Some(Ok(rest.split_to(rest.len().min(PIECE))))
    })
}

/// The body, unpacked as it comes. How much comes out is for the reader to limit.
pub fn unpacked(body: Shared, coding: Option<Coding>) -> Bodily {
    /// Memory of one xz decoder, in bytes.
    const XZ_MEMORY: u64 = 32 << 20;
    /// Largest window of zstd as a power of two: what RFC 9659 has for the content coding.
    const ZSTD_WINDOW: u32 = 23;
    /// Bytes that may unpack to nothing before somebody is taken to waste our time.
    const MOST_FOR_NOTHING: usize = 960 << 10;
    let Some(coding) = coding else { return Box::pin(body) };
    let for_nothing = Arc::new(AtomicUsize::new(0));
    let taken = for_nothing.clone();
    let packed = body.flat_map(|chunk| futures_util::stream::iter(slices(chunk))).then(move |chunk| {
        let so_far = chunk.as_ref().map_or(0, |chunk| taken.fetch_add(chunk.len(), Ordering::Relaxed));
        async move {
            // Others get their turn, however little comes out of a chunk.
            tokio::task::yield_now().await;
            if so_far > MOST_FOR_NOTHING {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it unpacks to nothing"));
            }
            chunk.map_err(io::Error::other)
        }
    });
    let packed = StreamReader::new(Box::pin(packed));
    // Long files come as several members one behind the other; the last one ends the body.
    macro_rules! all_members {
        ($decoder:expr) => {{
            let mut decoder = $decoder;
            decoder.multiple_members(true);
            Box::pin(decoder)
        }};
    }
    let plain: Pin<Box<dyn AsyncRead + Send>> = match coding {
        Coding::Gzip => all_members!(GzipDecoder::new(packed)),
        Coding::Brotli => Box::pin(whole_brotli(packed)),
        Coding::Zstd => {
            let window = async_compression::zstd::DParameter::window_log_max(ZSTD_WINDOW);
            all_members!(ZstdDecoder::with_params(packed, &[window]))
        }
        Coding::Xz => all_members!(XzDecoder::with_mem_limit(packed, XZ_MEMORY)),
        Coding::Bzip2 => all_members!(BzDecoder::new(packed)),
    };
    Box::pin(ReaderStream::with_capacity(plain, 64 * 1024).map(move |chunk| {
        for_nothing.store(0, Ordering::Relaxed);
        chunk.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::invalid("", format!("the body cannot be unpacked as {coding:?}: {error}")),
        })
    }))
}

/// Brotli has no members: what stands behind the end of the stream is garbage, which its decoder does not look at.
fn whole_brotli<S: AsyncBufRead + Unpin + Send + 'static>(packed: S) -> impl AsyncRead + Send {
    enum State<S> {
        Unpacking(BrotliDecoder<S>),
        Ending(S),
    }
    let blocks = futures_util::stream::unfold(Some(State::Unpacking(BrotliDecoder::new(packed))), |state| async move {
        let mut state = state?;
        loop {
            match state {
                State::Unpacking(mut decoder) => {
                    let mut block = BytesMut::with_capacity(64 * 1024);
                    match decoder.read_buf(&mut block).await {
                        Ok(0) => state = State::Ending(decoder.into_inner()),
                        Ok(_) => return Some((Ok(block.freeze()), Some(State::Unpacking(decoder)))),
                        Err(error) => return Some((Err(error), None)),
                    }
                }
                State::Ending(mut packed) => {
                    return match packed.fill_buf().await {
                        Ok([]) => None,
                        Ok(_) => {
                            let garbage = io::Error::new(io::ErrorKind::InvalidData, "more stands behind its end");
                            Some((Err(garbage), None))
                        }
                        Err(error) => Some((Err(error), None)),
                    };
                }
            }
        }
    });
    StreamReader::new(Box::pin(blocks))
}

/// The whole body, of at most `limit` bytes.
pub async fn whole(mut chunks: Bodily, limit: usize) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await.transpose()? {
        if whole.len() + chunk.len() > limit {
            return Err(Error::TooLarge(format!("the body is larger than the {limit} bytes allowed here")));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// A document of at most `limit` bytes. The sender of a longer one hears so, and one who takes too long.
pub async fn document(body: Body, limit: usize) -> Result<Bytes> {
    let body = Shared::new(body);
    let slow = |_| Error::Interrupted(format!("the body took longer than {} seconds", DEADLINE.as_secs()));
    let document = tokio::time::timeout(DEADLINE, whole(Box::pin(body.clone()), limit)).await.map_err(slow).flatten();
    if document.is_err() {
        drain(body);
    }
    document
}

/// Reads a body of at most `limit` bytes to its end without keeping it.
pub async fn discard(mut chunks: Bodily, limit: u64) -> Result<()> {
    let mut discarded = 0;
    while let Some(chunk) = chunks.next().await.transpose()? {
        discarded += chunk.len() as u64;
        if discarded > limit {
            return Err(Error::TooLarge(format!("the body is larger than the {limit} bytes allowed here")));
        }
    }
    Ok(())
}

/// Takes the first `size` bytes off a body.
pub async fn take_first(chunks: &mut Bodily, size: usize) -> Result<Bytes> {
    let mut first = BytesMut::new();
    while first.len() < size {
        let Some(chunk) = chunks.next().await.transpose()? else {
            return Err(Error::Interrupted(format!("the body ended within its first {size} bytes")));
        };
        first.extend_from_slice(&chunk);
    }
    let behind = futures_util::stream::iter([Ok(first.split_off(size).freeze())]);
    let rest = std::mem::replace(chunks, Box::pin(futures_util::stream::empty()));
    *chunks = Box::pin(behind.chain(rest));
    Ok(first.freeze())
}

/// Reads on in a body that nobody wants, for a while and behind the answer: a sender that is still at it would otherwise find the
/// connection broken before it hears why.
pub fn drain(mut chunks: impl Stream<Item = Result<Bytes>> + Unpin + Send + 'static) {
    let some = async move {
        let mut drained = 0;
        while drained < DRAIN {
            match chunks.next().await {
                Some(Ok(chunk)) => drained += chunk.len(),
                _ => break,
            }
        }
    };
    tokio::spawn(tokio::time::timeout(Duration::from_secs(10), some));
}
