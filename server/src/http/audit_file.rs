//! The audit log as a file, for administrators: comma-separated, the newest line first, sent as it is read.

use super::{caller, error::PlainError};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use iglu_api::instance::{AuditPage, AuditQuery, AuditRow};
use iglu_core::{Caller, Core, Error};

pub fn router(core: Core) -> Router {
    Router::new().route("/admin/audit.csv", get(audit)).with_state(core)
}

async fn audit(State(core): State<Core>, headers: HeaderMap) -> Response {
    match begin(&core, &headers).await {
        Ok((caller, first)) => send(core, caller, first),
        Err(error) => PlainError(error).into_response(),
    }
}

async fn begin(core: &Core, headers: &HeaderMap) -> Result<(Caller, AuditPage), Error> {
    let caller = caller::by_session(core, headers).await?;
    let first = core.instance().audit(&caller, &AuditQuery::default()).await?;
    Ok((caller, first))
}

fn send(core: Core, caller: Caller, first: AuditPage) -> Response {
    let lines = stream::try_unfold(Some(Ok(first)), move |page: Option<Result<AuditPage, i64>>| {
        let (core, caller) = (core.clone(), caller.clone());
        async move {
            let page = match page {
                None => return Ok(None),
                Some(Ok(first)) => first,
                Some(Err(before)) => {
                    let query = AuditQuery { before: Some(before), ..AuditQuery::default() };
                    core.instance().audit(&caller, &query).await?
                }
            };
            let text: String = page.rows.iter().map(line).collect();
            let next = page.rows.last().filter(|_| page.has_more).map(|row| Err(row.id));
            Ok::<_, Error>(Some((Bytes::from(text), next)))
        }
    });
    let head = stream::iter([Ok(Bytes::from_static(b"time,who,did,to,from\r\n"))]);
    let mut response = Response::new(Body::from_stream(futures_util::StreamExt::chain(head, lines)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"iglu-audit.csv\""));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn line(row: &AuditRow) -> String {
    let at = row.at.to_string();
    let cells = [at.as_str(), &row.actor, &row.action, &row.object, &row.address].map(cell);
    format!("{}\r\n", cells.join(","))
}

/// A cell in quotes. Spreadsheets take what begins so for a formula; names that people chose must not be one.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_text_and_nothing_else() {
        assert_eq!(cell("ada"), "\"ada\"");
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(cell("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
    }
}
