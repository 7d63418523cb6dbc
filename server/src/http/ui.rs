//! The pages' door: Leptos routes, server functions, assets. Here are the session cookie, the check against forged cross-site
//! requests, and compression; none of them elsewhere.

use super::{body, caller, error::PlainError, stranger::Strangers, typed};
use crate::site::{File, Site};
use axum::{
    Extension, Router,
    extract::{FromRef, Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use iglu_api::CacheName;
#[cfg(debug_assertions)]
use iglu_app::kit;
use iglu_app::{
    App, AssetRoot,
    calls::{
        UiError,
        context::{CREATED_COOKIE, Call, INVITED_COOKIE, TYPED_COOKIE},
    },
    shell,
};
use iglu_core::{Caller, Client, Core};
use leptos::prelude::{LeptosOptions, provide_context, use_context};
use leptos_axum::{LeptosRoutes, generate_route_list};
use std::sync::Arc;
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer, csrf::CsrfLayer};

#[derive(Clone)]
struct Ui {
    core: Core,
    site: Arc<Site>,
}

impl FromRef<Ui> for LeptosOptions {
    fn from_ref(ui: &Ui) -> LeptosOptions {
        ui.site.options.clone()
    }
}

pub fn router(core: Core, site: Arc<Site>) -> Router {
    let ui = Ui { core, site };
    let root = AssetRoot(ui.site.asset_root());
    // Written once: pages and server functions are given the same.
    let context = move || {
        provide_context(root.clone());
        if let Some(call) = use_context::<Parts>().and_then(|parts| parts.extensions.get::<Call>().cloned()) {
            provide_context(call);
        }
    };
    let options = ui.site.options.clone();
    let app = move || shell(options.clone());
    let unknown_page = leptos_axum::render_app_async_with_context(context.clone(), app.clone());
    let fallback = {
        let site = ui.site.clone();
        move |request: Request| {
            let (site, unknown_page) = (site.clone(), unknown_page.clone());
            async move {
                match elsewhere(&site, &request) {
                    Some(response) => response,
                    None => unknown_page(request).await,
                }
            }
        }
    };
    // The kit's page of debug builds.
    #[cfg(debug_assertions)]
    let fallback = {
        let options = ui.site.options.clone();
        let kit = leptos_axum::render_app_async_with_context(context.clone(), move || kit::document(&options));
        move |request: Request| {
            let (kit, fallback) = (kit.clone(), fallback.clone());
            async move { if request.uri().path() == "/_kit" { kit(request).await } else { fallback(request).await } }
        }
    };
    let pages = Router::new()
        .leptos_routes_with_context(&ui, generate_route_list(App), context, app)
        .fallback(fallback)
        .layer(middleware::from_fn_with_state(ui.core.clone(), typed::keep))
        .layer(middleware::from_fn(refusal_status))
        .layer(middleware::from_fn(gathered))
        .layer(middleware::from_fn_with_state(ui.clone(), identify))
        .layer(CsrfLayer::new())
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| server_error()))
        .with_state(ui.clone());
    Router::new().route("/assets/{version}/{*file}", get(asset)).with_state(ui).merge(pages)
}

/// A refused call of a page gets the status of its reason: leptos has 500 for whatever is refused.
async fn refusal_status(request: Request, next: Next) -> Response {
    /// A refusal is a line or two.
    const LONGEST: usize = 64 << 10;
    let is_call = request.uri().path().starts_with("/api/ui/");
    let response = next.run(request).await;
    if !is_call || response.status() != StatusCode::INTERNAL_SERVER_ERROR {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LONGEST).await else { return server_error() };
    head.status = match serde_json::from_slice(&body) {
        // Here "connection" is about what the browser sent: it could not be read.
        Ok(UiError::Invalid { .. } | UiError::Connection(_)) => StatusCode::BAD_REQUEST,
        Ok(UiError::LoginNeeded) => StatusCode::UNAUTHORIZED,
        Ok(UiError::Forbidden(_)) => StatusCode::FORBIDDEN,
        Ok(UiError::NotFound(_)) => StatusCode::NOT_FOUND,
        Ok(UiError::TooMany(_)) => StatusCode::TOO_MANY_REQUESTS,
        Ok(UiError::Server(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Response::from_parts(head, body.into())
}

/// What is sent to a server function, before that runs: leptos would wait for it without end.
async fn gathered(Extension(strangers): Extension<Strangers>, request: Request, next: Next) -> Response {
    /// Longer than any form.
    const LONGEST: usize = 1 << 20;
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return next.run(request).await;
    }
    let is_stranger =
        request.extensions().get::<Call>().is_none_or(|call| matches!(call.caller, Caller::Anonymous { .. }));
    let (head, body) = request.into_parts();
    let read = async {
        let _wait = is_stranger.then(|| strangers.wait(&head.headers)).transpose()?;
        body::document(body, LONGEST).await
    };
    match read.await {
        Ok(body) => next.run(Request::from_parts(head, body.into())).await,
        Err(error) => PlainError(error).into_response(),
    }
}

/// Who asks, once for every page and server function.
async fn identify(State(ui): State<Ui>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let caller = match caller::by_session(&ui.core, headers).await {
        Ok(caller) => caller,
        Err(error) => return PlainError(error).into_response(),
    };
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned();
    let is_page = !request.uri().path().starts_with("/api/");
    let kept = caller::own_cookie(&ui.core, headers, TYPED_COOKIE).filter(|_| is_page);
    let is_kept = kept.is_some();
    let call = Call {
        core: ui.core.clone(),
        caller,
        client: Client { address: caller::address(headers).to_owned(), agent },
        created_cookie: caller::own_cookie(&ui.core, headers, CREATED_COOKIE),
        typed: kept.as_deref().map(typed::read).unwrap_or_default(),
        invited_cookie: caller::own_cookie(&ui.core, headers, INVITED_COOKIE),
    };
    request.extensions_mut().insert(call);
    let mut response = next.run(request).await;
    if is_kept {
        typed::set(&ui.core, &mut response, "", 0);
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // Pages are of one person and one moment.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What an unknown address is when it is no page: a public file, or a cache's substituter URL opened in a browser.
fn elsewhere(site: &Site, request: &Request) -> Option<Response> {
    let path = request.uri().path().trim_start_matches('/');
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return None;
    }
    if let Some(file) = site.public_file(path) {
        return Some(file_response(file, request.headers(), HeaderValue::from_static("public, max-age=86400")));
    }
    let name = CacheName::parse(path.trim_end_matches('/')).ok()?;
    Some(Redirect::to(&format!("/caches/{name}")).into_response())
}

async fn asset(State(ui): State<Ui>, Path((_, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match ui.site.asset(&file) {
        // The version in the path changes with the bytes.
        Some(file) => file_response(file, &headers, HeaderValue::from_static("public, max-age=31536000, immutable")),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A file in the smallest form that the browser takes.
fn file_response(file: File, asked: &HeaderMap, cache_control: HeaderValue) -> Response {
    let accepts = |encoding: &str| {
        let accepted =
            asked.get(header::ACCEPT_ENCODING).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
        accepted.split(',').any(|one| one.split(';').next().is_some_and(|name| name.trim() == encoding))
    };
    let (bytes, encoding) = match (file.brotli, file.gzip) {
        (Some(brotli), _) if accepts("br") => (brotli, Some("br")),
        (_, Some(gzip)) if accepts("gzip") => (gzip, Some("gzip")),
        _ => (file.bytes, None),
    };
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    headers.insert(header::CACHE_CONTROL, cache_control);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

fn server_error() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "the server failed at this request; its log says more").into_response()
}
