//! What S3 does and `s3s-fs` does not: a body that is not what its `Content-MD5` or `x-amz-checksum-sha256` says is refused and
//! not stored, be it an object's or a part's. Looks at bodies as they pass.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use md5::{Digest as _, Md5};
use s3s::service::S3Service;
use s3s::{Body, HttpError};
use sha2::Sha256;

/// Answers a request by `service`. It sees a wrong body as one that breaks off, and stores nothing of it.
pub(super) async fn answer(service: S3Service, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let wrong = Arc::new(AtomicBool::new(false));
    let claims = Claims::of(request.headers());
    let request = match claims.0.is_empty() {
        true => request.map(Body::from),
        false => request.map(|body| compared(body, claims, Arc::clone(&wrong))),
    };
    let answer = service.call(request).await?;
    if !wrong.load(Ordering::Relaxed) {
        return Ok(answer);
    }
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>BadDigest</Code></Error>";
    let mut refusal = Response::new(Body::from(Bytes::from_static(text.as_bytes())));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Ok(refusal)
}

enum Hasher {
    Md5(Md5),
    Sha256(Sha256),
}

/// What headers say of a body, in base64, each with a hasher of the kind.
struct Claims(Vec<(String, Hasher)>);

impl Claims {
    fn of(headers: &HeaderMap) -> Self {
        let kinds =
            [("content-md5", Hasher::Md5(Md5::new())), ("x-amz-checksum-sha256", Hasher::Sha256(Sha256::new()))];
        let claimed = |(name, hasher)| Some((headers.get(name)?.to_str().ok()?.to_owned(), hasher));
        Self(kinds.into_iter().filter_map(claimed).collect())
    }

    fn update(&mut self, bytes: &[u8]) {
        for (_, hasher) in &mut self.0 {
            match hasher {
                Hasher::Md5(hasher) => hasher.update(bytes),
                Hasher::Sha256(hasher) => hasher.update(bytes),
            }
        }
    }

    fn hold(self) -> bool {
        self.0.into_iter().all(|(claim, hasher)| {
            claim
                == match hasher {
                    Hasher::Md5(hasher) => STANDARD.encode(hasher.finalize()),
                    Hasher::Sha256(hasher) => STANDARD.encode(hasher.finalize()),
                }
        })
    }
}

fn compared(body: Incoming, claims: Claims, wrong: Arc<AtomicBool>) -> Body {
    let frames = stream::unfold(Some((body, claims, wrong)), |passing| async {
        let (mut body, mut claims, wrong) = passing?;
        match body.frame().await {
            Some(Ok(frame)) => {
                frame.data_ref().inspect(|bytes| claims.update(bytes));
                Some((Ok::<Frame<Bytes>, io::Error>(frame), Some((body, claims, wrong))))
            }
            Some(Err(error)) => Some((Err(io::Error::other(error)), None)),
            None if claims.hold() => None,
            None => {
                wrong.store(true, Ordering::Relaxed);
                Some((Err(io::Error::other("not what the headers say")), None))
            }
        }
    });
    Body::http_body_unsync(StreamBody::new(frames))
}
