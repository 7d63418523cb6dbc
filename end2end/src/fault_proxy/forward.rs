//! One request on its way to the server and back, with its fault. Owns the connection to the server.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::line::Line;
use super::{Fault, Front};
use crate::body::{self, Body};

/// Ends the client's connection without an answer, or without the rest of it.
#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
pub(super) struct Broken;

/// An error closes the client's connection.
pub(super) async fn answer(
    front: &Front,
    line: &Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Broken> {
    let target = request.uri().to_string();
    let fault = front.rules().fault(request.method(), &target);
    let request = request.map(|body| body.map_err(io::Error::other).boxed_unsync());
    let server = &front.server;
    match fault {
        Fault::Pass => passed(server, line, request).await,
        Fault::Delay(time) => {
            tokio::time::sleep(time).await;
            passed(server, line, request).await
        }
        Fault::Answer { status, code } => {
            let head = request.method() == Method::HEAD;
            // A client that is still sending would see a broken connection, and no answer.
            drained(request.into_body()).await?;
            refusal(status, code, &target, head).map_err(|_| Broken)
        }
        Fault::CutAnswer(limit) => {
            let answer = passed(server, line, request).await?;
            Ok(answer.map(|body| cut(body, limit, Some(Arc::clone(line)))))
        }
        Fault::CutRequest(limit) => passed(server, line, request.map(|body| cut(body, limit, None))).await,
        Fault::Reset => {
            line.reset();
            Err(Broken)
        }
        Fault::Swallow => {
            let answer = passed(server, line, request).await?;
            drained(answer.into_body()).await?;
            Err(Broken)
        }
        Fault::Hang(time) => {
            tokio::time::sleep(time).await;
            Err(Broken)
        }
    }
}

async fn passed(server: &str, line: &Line, request: Request<Body>) -> Result<Response<Body>, Broken> {
    let Ok(stream) = TcpStream::connect(server).await else {
        line.reset();
        return Err(Broken);
    };
    forwarded(stream, request).await.map_err(|_| Broken)
}

async fn forwarded(stream: TcpStream, mut request: Request<Body>) -> anyhow::Result<Response<Body>> {
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the answer's body is read or dropped.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    // Both are between neighbours; each side here settles them for itself.
    request.headers_mut().remove(CONNECTION);
    request.headers_mut().remove(EXPECT);
    let mut answer = sender.send_request(request).await?;
    answer.headers_mut().remove(CONNECTION);
    Ok(answer.map(|body| body.map_err(io::Error::other).boxed_unsync()))
}

/// The first `limit` bytes, then an error if there are more. With a line, the error waits until these bytes are on their way.
fn cut(body: Body, limit: u64, line: Option<Arc<Line>>) -> Body {
    let frames = stream::unfold(Rest::Passing(body, limit), move |rest| {
        let line = line.clone();
        async move {
            let (mut body, left) = match rest {
                Rest::Passing(body, left) => (body, left),
                Rest::Cut => {
                    if let Some(line) = line {
                        line.sent().await;
                    }
                    return Some((Err(io::Error::other(Broken)), Rest::Over));
                }
                Rest::Over => return None,
            };
            let mut bytes = match body.frame().await? {
                // Trailers are behind the last byte, and go with it.
                Ok(frame) => frame.into_data().ok()?,
                Err(error) => return Some((Err(error), Rest::Over)),
            };
            let size = bytes.len() as u64;
            if size <= left {
                return Some((Ok(Frame::data(bytes)), Rest::Passing(body, left - size)));
            }
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            Some((Ok(Frame::data(bytes)), Rest::Cut))
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// What is to come of a body that is cut.
enum Rest {
    Passing(Body, u64),
    Cut,
    Over,
}

async fn drained(mut body: Body) -> Result<(), Broken> {
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| Broken)?;
    }
    Ok(())
}

fn refusal(status: u16, code: &str, target: &str, head: bool) -> http::Result<Response<Body>> {
    let path = target.split('?').next().unwrap_or(target);
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>A fault of the test's proxy</Message>\
         <Resource>{path}</Resource><RequestId>0000000000000000</RequestId></Error>"
    );
    let text = if head { Bytes::new() } else { Bytes::from(text) };
    Response::builder().status(status).header(CONTENT_TYPE, "application/xml").body(body::full(text))
}
