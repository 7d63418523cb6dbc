//! NAR files: whole or a range, never encoded, with the length of the file always told.

use super::{absent, matches_etag};
use crate::http::nar_body::{NarBody, Sending};
use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use iglu_api::cache::Permission;
use iglu_core::{Cache, Caller, Core, Error, Stored, push::NarFileName};
use std::{io, ops::Range, sync::Arc};

pub const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const NAR_TYPE: HeaderValue = HeaderValue::from_static("application/x-nix-nar");

pub async fn nar(
    core: &Core,
    caller: &Caller,
    cache: &Arc<Cache>,
    name: NarFileName,
    request: &Parts,
) -> Result<Response, Error> {
    let found = core.fetch().nar(cache, &name.file_hash).await?;
    let Some(nar) = found else {
        // A pusher asks whether it may leave out the upload; what is put and not yet published counts for it.
        let pushes = request.method == Method::HEAD && caller.permission(cache) >= Some(Permission::Push);
        if pushes && core.push().nar_head(cache, name).await? {
            return Ok(StatusCode::OK.into_response());
        }
        return Ok(absent());
    };
    let etag = format!("\"{}\"", name.file_hash.to_nix32());
    let asked = &request.headers;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, BYTES);
    headers.insert(header::CACHE_CONTROL, super::immutable(cache));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    let etag = Bytes::from(etag);
    if asked.get(header::IF_NONE_MATCH).is_some_and(|known| matches_etag(known, &etag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    headers.insert(header::CONTENT_TYPE, NAR_TYPE);
    let same = asked.get(header::IF_RANGE).is_none_or(|known| known.as_bytes() == &etag[..]);
    let range = asked.get(header::RANGE).filter(|_| same).and_then(|range| parse_range(range.to_str().ok()?, nar.size));
    let range = match range {
        None => 0..nar.size,
        Some(Some(range)) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {}-{}/{}", range.start, range.end - 1, nar.size);
            response.headers_mut().insert(header::CONTENT_RANGE, header_value(&value));
            range
        }
        Some(None) => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            let value = format!("bytes */{}", nar.size);
            response.headers_mut().insert(header::CONTENT_RANGE, header_value(&value));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return Ok(response);
        }
    };
    if request.method == Method::GET
        && let Stored::Object(object) = &nar.stored
        && let Some(url) = object.url().await?
    {
        // The bucket knows ranges as well.
        cache.counters().nar_requests.add(1);
        cache.counters().nar_bytes.add(range.end - range.start);
        return Ok(elsewhere(&url));
    }
    let length = range.end - range.start;
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if request.method == Method::GET {
        cache.counters().nar_requests.add(1);
        let sending = Sending { core: core.clone(), cache: cache.clone(), file_hash: nar.file_hash };
        *response.body_mut() = match nar.stored {
            Stored::File(file) => Body::new(NarBody::new(file, range.start, length, sending)),
            // The store has begun to send before the status line goes out.
            Stored::Object(object) => counted(object.stream(range).await?, length, sending),
        };
    }
    Ok(response)
}

/// Leads to a URL that is good for a while, and that nobody else is to remember.
fn elsewhere(url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(header::LOCATION, header_value(url));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The bytes of an object, counted as they go; fewer than promised break the connection.
fn counted(
    stream: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    length: u64,
    sending: Sending,
) -> Body {
    let stream = stream::try_unfold((stream, length, sending), |(mut stream, left, sending)| async move {
        let next = match stream.try_next().await {
            Ok(None) if left > 0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            next => next,
        };
        let Some(bytes) = next.inspect_err(|error| sending.failed(error))? else { return Ok(None) };
        let length = bytes.len() as u64;
        sending.sent(length);
        Ok::<_, io::Error>(Some((bytes, (stream, left.saturating_sub(length), sending))))
    });
    Body::from_stream(stream)
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A single byte range of something `size` bytes long. `None`: not a range that we serve, send the whole. `Some(None)`: a
/// range beyond the end.
fn parse_range(text: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match (first, last) {
        ("", last) => {
            let length = number(last)?.min(size);
            Some((length > 0).then_some(size - length..size))
        }
        (first, "") => {
            let first = number(first)?;
            Some((first < size).then_some(first..size))
        }
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            Some((first < size).then(|| first..last.saturating_add(1).min(size)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes=0-", Some(Some(0..100))),
            ("bytes=10-", Some(Some(10..100))),
            ("bytes=10-19", Some(Some(10..20))),
            ("bytes=10-1000", Some(Some(10..100))),
            ("bytes=-5", Some(Some(95..100))),
            ("bytes=-500", Some(Some(0..100))),
            ("bytes=-0", Some(None)),
            ("bytes=100-", Some(None)),
            ("bytes=18446744073709551615-18446744073709551615", Some(None)),
            ("bytes=5-4", None),
            ("bytes=0-1,5-6", None),
            ("bytes=+1-", None),
            ("bytes=-", None),
            ("items=0-1", None),
            ("bytes=99999999999999999999999-", None),
        ] {
            assert_eq!(parse_range(text, 100), expected, "{text}");
        }
    }
}
