//! From a call to a page: waits for the answer, shows it, or shows why there is none.

use super::problem::refused;
use crate::calls::UiError;
use leptos::prelude::*;

/// The page for what `resource` brings. While it is fetched again, the old page stays.
pub fn when_loaded<T>(
    resource: Resource<Result<T, UiError>>,
    page: impl Fn(T) -> AnyView + Clone + Send + Sync + 'static,
) -> AnyView
where
    T: Clone + Send + Sync + 'static,
{
    view! {
        <Transition fallback=|| {
            view! {
                <p role="status" class="py-8 text-dim">
                    "Loading…"
                </p>
            }
        }>
            {move || {
                let page = page.clone();
                Suspend::new(async move {
                    let answer = resource.await;
                    second_look().await;
                    match answer {
                        Ok(answer) => page(answer),
                        Err(error) => refused(error),
                    }
                })
            }}
        </Transition>
    }
    .into_any()
}

/// A part of a page that may be missing: shown when `resource` brings something that `part` has a view for.
pub fn part_when_loaded<T>(
    resource: Resource<Result<T, UiError>>,
    part: impl Fn(T) -> Option<AnyView> + Clone + Send + Sync + 'static,
) -> AnyView
where
    T: Clone + Send + Sync + 'static,
{
    view! {
        <Transition>
            {move || {
                let part = part.clone();
                Suspend::new(async move {
                    let answer = resource.await;
                    second_look().await;
                    answer.ok().and_then(part)
                })
            }}
        </Transition>
    }
    .into_any()
}

/// Before the server renders a page, it walks over it to find what it waits for, once or more often, and throws away what it finds to be
/// ready. Each walk would make all that hangs below anew, and send its calls again: the numbers by which the browser finds its answers
/// would differ from load to load, and so might the answers. What is ready at the second look only is made once, to be shown.
#[cfg(feature = "ssr")]
async fn second_look() {
    let mut is_second = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_second, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[cfg(not(feature = "ssr"))]
async fn second_look() {}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    async fn rendered(page: impl Fn() -> AnyView + Clone + Send + Sync + 'static) -> String {
        let page = move || view! { <html><body>{page()}</body></html> };
        // Refused when it was done.
        _ = any_spawner::Executor::init_tokio();
        let response = leptos_axum::render_app_async(page)(Request::new(Body::empty())).await;
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// A call below a call, both of them answered before anybody asks, or after a while.
    #[tokio::test]
    async fn a_page_is_made_once_and_asks_once() {
        for waits in [[false, false], [false, true], [true, false], [true, true]] {
            let (made, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (pages, calls) = (made.clone(), asked.clone());
            let answer = |waits: bool| async move {
                if waits {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                Ok::<_, UiError>("the answer".to_owned())
            };
            let html = rendered(move || {
                let (pages, calls) = (pages.clone(), calls.clone());
                let outer = Resource::new_blocking(|| (), move |()| answer(waits[0]));
                when_loaded(outer, move |_| {
                    pages.fetch_add(1, Ordering::Relaxed);
                    let calls = calls.clone();
                    let inner = Resource::new_blocking(
                        || (),
                        move |()| {
                            calls.fetch_add(1, Ordering::Relaxed);
                            answer(waits[1])
                        },
                    );
                    part_when_loaded(inner, |words| Some(view! { <p>{words}</p> }.into_any()))
                })
            })
            .await;
            assert!(html.contains("<p>the answer"), "{html}");
            let counts = (made.load(Ordering::Relaxed), asked.load(Ordering::Relaxed));
            assert_eq!(counts, (1, 1), "pages made, calls sent; waits: {waits:?}");
        }
    }
}
