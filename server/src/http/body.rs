//! Reading request bodies: as a stream that does not wait for ever, or whole up to a limit.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use iglu_core::{Error, Result};
use std::time::Duration;

/// A sender that is silent for so long is gone.
const IDLE: Duration = Duration::from_secs(30);
/// What is read and thrown away of a body that was refused early, in bytes, so that its sender hears the answer.
const DRAIN: usize = 1 << 20;

/// The body as it comes. Silence and breaks are errors.
pub fn stream(body: Body) -> impl Stream<Item = Result<Bytes>> + Unpin {
    let chunks = futures_util::stream::unfold(Some(body.into_data_stream()), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(IDLE, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(body))),
            Ok(Some(Err(_))) => {
                Some((Err(Error::Interrupted("the body ended before its announced length".to_owned())), None))
            }
            Err(_) => {
                let message = format!("no byte of the body came for {} seconds", IDLE.as_secs());
                Some((Err(Error::Interrupted(message)), None))
            }
        }
    });
    Box::pin(chunks)
}

/// The whole body, of at most `limit` bytes.
pub async fn whole(body: Body, limit: usize) -> Result<Bytes> {
    let mut chunks = stream(body);
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await.transpose()? {
        if whole.len() + chunk.len() > limit {
            return Err(Error::TooLarge(format!("the body is larger than the {limit} bytes allowed here")));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Reads a body to its end without keeping it.
pub async fn discard(body: Body) -> Result<()> {
    let mut chunks = stream(body);
    while chunks.next().await.transpose()?.is_some() {}
    Ok(())
}

/// Reads a little of a body that nobody wants.
pub async fn drain(body: Body) {
    let mut body = body;
    let mut drained = 0;
    let some = async {
        while drained < DRAIN {
            match body.frame().await {
                Some(Ok(frame)) => drained += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), some).await;
}
