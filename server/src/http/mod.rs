//! All doors, and the choice between them: the cache protocol first, since it is asked a thousand times as often as the
//! rest; everything else by axum's router.

mod access;
mod answers;
mod attic;
mod audit_file;
mod body;
mod bulk;
mod cachix;
mod caller;
mod docs;
mod error;
mod events;
mod files;
mod hooks;
pub mod listen;
mod nar_body;
mod nix;
mod node;
pub mod ops;
pub mod proxies;
mod rest;
mod run_log;
mod security_txt;
mod stranger;
pub mod tls;
mod typed;
mod ui;
mod upload;

use crate::{
    metrics,
    site::Site,
    telemetry::{self, Passage},
};
use access::Noted;
use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use error::{PlainError, plain, wrong_method};
use futures_util::future::{BoxFuture, Either, FutureExt, Ready, ready};
use iglu_app::calls::context::SESSION_COOKIE;
use iglu_core::Core;
use ops::Condition;
use proxies::Proxies;
pub use rest::{Operator, calls};
use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};
use stranger::Strangers;
use tokio::sync::{Semaphore, watch};
use tower::Service;
use tracing::Instrument;

/// How requests are taken.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Under way at a time, those that memory answers aside.
    pub requests: usize,
    /// Whether each is logged.
    pub is_logged: bool,
}

/// What every door shares.
#[derive(Clone)]
pub struct Doors {
    core: Core,
    proxies: Proxies,
    condition: Arc<Condition>,
    /// Room for requests that are not answered from memory.
    room: Arc<Semaphore>,
    /// Whether each request is logged.
    is_logged: bool,
    router: Router,
}

impl Doors {
    pub fn new(
        core: Core,
        site: Arc<Site>,
        proxies: Proxies,
        condition: Arc<Condition>,
        Room { requests, is_logged }: Room,
        security_contact: Option<String>,
        stopping: watch::Receiver<bool>,
    ) -> Doors {
        let style = format!("{}/pkg/iglu.css", site.asset_root());
        let router = Router::new()
            .merge(attic::router(core.clone()))
            .merge(cachix::router(core.clone()))
            .merge(upload::router(core.clone()))
            .merge(events::router(core.clone(), site.asset_root(), stopping.clone()))
            .merge(node::router(core.clone(), stopping.clone()))
            .merge(run_log::router(core.clone(), stopping))
            .merge(files::router(core.clone()))
            .merge(security_txt::router(core.clone(), security_contact))
            .merge(hooks::router(core.clone()))
            .merge(audit_file::router(core.clone()))
            .merge(docs::router(style.clone()))
            .merge(rest::router(core.clone(), style))
            .merge(ui::router(core.clone(), site))
            .layer(Extension(Strangers::new(requests)))
            .layer(axum::middleware::from_fn(metrics::measure));
        let room = Arc::new(Semaphore::new(requests));
        Doors { core, proxies, condition, room, is_logged, router }
    }
}

/// Requests that no door takes, whatever they are about.
fn refused(request: &Request<Body>) -> Option<Response> {
    // A name would be this server's choice to make, where a proxy in front may make another.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Some(plain(StatusCode::BAD_REQUEST, "the request names no host, or more than one"));
    }
    if request.method() == Method::CONNECT {
        return Some(wrong_method("GET, HEAD, POST, PUT, PATCH, DELETE"));
    }
    let path = request.uri().path();
    if path.contains('%') && percent_encoding::percent_decode_str(path).decode_utf8().is_err() {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let status = if reads { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        let message = "the address is not UTF-8";
        return Some(if attic::is_asked(path) { attic::refusal(status, message) } else { plain(status, message) });
    }
    None
}

/// Whether something is put where nothing can be: told in one line, not as a page.
fn puts_nowhere(request: &Request<Body>) -> bool {
    let ours = ["/api/", "/_api/", "/upload/"];
    request.method() == Method::PUT && !ours.iter().any(|prefix| request.uri().path().starts_with(prefix))
}

/// Where as many requests are under way as may be: more would wait longer than their senders do, and take memory meanwhile.
fn no_room() -> Response {
    metrics::shed("requests");
    let mut response =
        plain(StatusCode::SERVICE_UNAVAILABLE, "the server has as many requests as it can take; try again");
    response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    response
}

/// Clients whose configured host ends in a slash ask for `//api/…`.
fn without_doubled_slashes(mut request: Request<Body>) -> Request<Body> {
    if !request.uri().path().contains("//") {
        return request;
    }
    let segments = request.uri().path().split('/').filter(|segment| !segment.is_empty());
    let path = segments.fold(String::new(), |path, segment| path + "/" + segment);
    if ["/api/", "/_api/"].iter().any(|prefix| path.starts_with(prefix)) {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = format!("{path}{query}").parse().ok();
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
    }
    request
}

impl Service<Request<Body>> for Doors {
    type Response = Response;
    type Error = Infallible;
    /// A narinfo from memory needs no waiting and no allocation for a future.
    type Future = Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let from = self.proxies.client(&request);
        let noted = self.is_logged.then(|| (access::id(&request), Noted::of(&request, from)));
        let given = noted.as_ref().map(|(id, _)| id.clone());
        let id = move |request: &Request<Body>| given.unwrap_or_else(|| access::id(request));
        match (self.answer(request, from, id), noted) {
            (Either::Left(answer), Some((id, noted))) => {
                let Ok(response) = answer.into_inner();
                noted.log(&id, &response);
                Either::Left(ready(Ok(access::tell(response, id))))
            }
            (Either::Right(answer), Some((id, noted))) => Either::Right(
                async move {
                    let response = answer.await?;
                    noted.log(&id, &response);
                    Ok(response)
                }
                .boxed(),
            ),
            (answer, None) => answer,
        }
    }
}

impl Doors {
    /// Counts a request that shows nothing of who sent it, where those are limited; `has_sessions` says whether a cookie would mean
    /// something here. Addresses of uploads stand for the right to put something there.
    #[allow(clippy::result_large_err, reason = "the refusal is the answer")]
    fn counted(&self, request: &Request<Body>, from: Option<IpAddr>, has_sessions: bool) -> Result<(), Response> {
        let (headers, path) = (request.headers(), request.uri().path());
        if self.core.limits().rates.anonymous.is_none() || path.starts_with("/upload/") {
            return Ok(());
        }
        // Where nobody looks who asks, whatever is shown may be anything.
        let is_looked_at = !["/docs", "/hooks/", "/.well-known/"].iter().any(|place| path.starts_with(place))
            && !puts_nowhere(request);
        let shows_something = !caller::is_anonymous(headers)
            || (has_sessions && caller::own_cookie(&self.core, headers, SESSION_COOKIE).is_some());
        if is_looked_at && shows_something {
            return Ok(());
        }
        self.core.anonymous_try(from).map_err(|error| match attic::is_asked(path) {
            true => attic::AtticError(error).into_response(),
            false => PlainError(error).into_response(),
        })
    }

    /// The answer, at once where memory has it. `id` names the request, where it takes longer and may be spoken of in the log.
    fn answer(
        &mut self,
        mut request: Request<Body>,
        from: Option<IpAddr>,
        id: impl FnOnce(&Request<Body>) -> HeaderValue,
    ) -> <Doors as Service<Request<Body>>>::Future {
        if let Some(refusal) = refused(&request) {
            return Either::Left(ready(Ok(refusal)));
        }
        let target = nix::Target::of(&request, &self.core);
        let path = request.uri().path();
        let has_sessions = target.is_none() && !path.starts_with("/api/v1/") && !attic::is_asked(path);
        if let Err(refusal) = self.counted(&request, from, has_sessions) {
            return Either::Left(ready(Ok(refusal)));
        }
        let Some(target) = target else {
            let mut router = self.router.clone();
            let mut request = without_doubled_slashes(request);
            caller::note_address(&mut request, from);
            if puts_nowhere(&request) {
                return Either::Left(ready(Ok(plain(StatusCode::NOT_FOUND, "nothing can be put here"))));
            }
            let Ok(permit) = self.room.clone().try_acquire_owned() else { return Either::Left(ready(Ok(no_room()))) };
            let (core, condition, version) = (self.core.clone(), self.condition.clone(), request.version());
            let id = id(&request);
            let passage = Passage::of(&request, &id, self.proxies.handed(&request));
            let (span, traced, method) = (passage.span.clone(), passage.traced.clone(), request.method().clone());
            return Either::Right(
                async move {
                    let _open = (permit, metrics::Open::request());
                    // A database that does not answer is told of by what asks it next.
                    let _ = core.refresh_for_caller().await;
                    let response = Service::call(&mut router, request).await?;
                    passage.ends(method.as_str(), telemetry::route(&response), &response);
                    Ok(access::tell(condition.last_here(version, response), id))
                }
                .instrument(span)
                .instrument(traced)
                .boxed(),
            );
        };
        let started = Instant::now();
        let reader = nix::Reader { from, started };
        let route = target.route();
        if let Some(response) = nix::from_memory(&self.core, &target, &request, reader) {
            metrics::nix_request(route, response.status(), started);
            return Either::Left(ready(Ok(self.condition.last_here(request.version(), response))));
        }
        let Ok(permit) = self.room.clone().try_acquire_owned() else { return Either::Left(ready(Ok(no_room()))) };
        let (core, condition, version) = (self.core.clone(), self.condition.clone(), request.version());
        caller::note_address(&mut request, from);
        let id = id(&request);
        let passage = Passage::of(&request, &id, self.proxies.handed(&request));
        let (span, traced, method) = (passage.span.clone(), passage.traced.clone(), request.method().clone());
        Either::Right(
            async move {
                let _open = (permit, metrics::Open::request());
                let response = nix::answer(&core, target, request, reader).await;
                passage.ends(method.as_str(), route.pattern(), &response);
                metrics::nix_request(route, response.status(), started);
                Ok(access::tell(condition.last_here(version, response), id))
            }
            .instrument(span)
            .instrument(traced)
            .boxed(),
        )
    }
}
