//! A request body that is read while it is sent, so that its length need not be known. Owns the reader until its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as HttpBody, Frame};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;

/// Bytes per frame at most.
const FRAME: usize = 64 * 1024;

/// What a request carries.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body with a known length.
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body without a known length, which HTTP/1.1 sends in chunks. An error of the reader breaks the connection. The
/// receiver gets the reader back once it is at its end, and an error if the connection ended before.
pub fn streamed<R>(reader: R) -> (Body, oneshot::Receiver<R>)
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let (back, ended) = oneshot::channel();
    (Streamed { open: Some((reader, back)) }.boxed_unsync(), ended)
}

struct Streamed<R> {
    open: Option<(R, oneshot::Sender<R>)>,
}

impl<R: AsyncRead + Unpin> HttpBody for Streamed<R> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some((reader, _)) = &mut self.open else { return Poll::Ready(None) };
        let mut bytes = BytesMut::zeroed(FRAME);
        let mut buf = ReadBuf::new(&mut bytes);
        match Pin::new(reader).poll_read(cx, &mut buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => {
                self.open = None;
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Ready(Ok(())) => {}
        }
        let size = buf.filled().len();
        if size == 0 {
            if let Some((reader, back)) = self.open.take() {
                // Nobody may be waiting for it.
                let _ = back.send(reader);
            }
            return Poll::Ready(None);
        }
        bytes.truncate(size);
        Poll::Ready(Some(Ok(Frame::data(bytes.freeze()))))
    }
}

/// A reader without bytes that fails: what ends a body whose sender dies.
#[derive(Debug)]
pub struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other("the body was cut off on purpose")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn stream_carries_every_byte_and_gives_the_reader_back() {
        let content = crate::digest::Random::new(1).bytes(3 * FRAME + 5);
        let (body, ended) = streamed(Cursor::new(content.clone()));
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(body.collect().await.unwrap().to_bytes(), content);
        assert_eq!(ended.await.unwrap().position(), content.len() as u64);
    }

    #[tokio::test]
    async fn broken_reader_breaks_the_body() {
        let (body, ended) = streamed(Cursor::new(b"begin").chain(Broken));
        assert!(body.collect().await.is_err());
        assert!(ended.await.is_err());
    }
}
