//! Push your first path: the exact commands, and the path as soon as it is there.

use super::{cache::named_cache, loaded::when_loaded, snippet};
use crate::{
    calls::setup::{FirstPush, first_push_get},
    live::listen,
    ui::{
        button::{LinkButton, Look},
        code::Code,
        icon::{self, Icon},
        logo::Bricks,
        number::Size,
        page::PageHead,
        store_path::StorePath,
        time::Ago,
    },
};
use iglu_api::event::LiveEvent;
use leptos::prelude::*;

#[component]
pub fn FirstPushPage() -> impl IntoView {
    let name = named_cache();
    let push = Resource::new_blocking(move || name.get(), first_push_get);
    when_loaded(push, |push| view! { <Loaded push /> }.into_any())
}

#[component]
fn Loaded(push: FirstPush) -> impl IntoView {
    let cache = push.cache;
    let name = cache.summary.name.clone();
    let first = push.newest.is_none();
    let title = if first { "Push your first path".to_owned() } else { format!("Push a path to {name}") };
    let has_token = push.token.is_some();
    let token = push.token.map_or_else(|| snippet::TOKEN.to_owned(), |created| created.token);
    let (newest, set_newest) = signal(push.newest.map(|push| push.path));
    let (live, set_live) = signal(false);
    let listened = name.clone();
    Effect::new(move |_| {
        let listened = listened.clone();
        listen(move |event| match event {
            LiveEvent::PathPushed { cache, path } if *cache == listened => {
                set_newest.set(Some(path.clone()));
                set_live.set(true);
            }
            _ => {}
        });
    });
    let trail = vec![("Caches".to_owned(), "/caches".to_owned()), (name.to_string(), format!("/caches/{name}"))];
    let about_token = if has_token {
        view! {
            <p class="flex items-start gap-2 rounded-md bg-warn-ground px-3 py-2 text-warn">
                <Icon glyph=icon::TOKEN class="mt-0.5 size-4" />
                "The token in these commands is shown this once. Copy it before you leave the page."
            </p>
        }
        .into_any()
    } else {
        view! {
            <p class="text-soft">
                <code>{snippet::TOKEN}</code> " is a token with the right to push: "
                <a class="link" href=format!("/tokens/new?cache={}", name.as_str().replace('+', "%2B"))>
                    "make one"
                </a> "."
            </p>
        }
        .into_any()
    };
    let (paths, uses) = (format!("/caches/{name}/paths"), format!("/caches/{name}"));
    let arrival = move || match newest.get() {
        None => {
            view! { <p class="text-soft">"Waiting for the first path. It appears here as soon as it is stored."</p> }
                .into_any()
        }
        Some(path) => {
            let word = if live.get() { "It is there." } else { "The newest path of this cache:" };
            view! {
                <p class="font-semibold">{word}</p>
                <div data-testid="arrived" class="flex max-w-full flex-col items-center gap-1">
                    <StorePath hash=path.hash.to_string() name=path.name />
                    <p class="text-sm text-soft">
                        <Size bytes=path.file_size />
                        " stored, pushed by "
                        {path.pushed_by}
                        " "
                        <Ago at=path.pushed_at />
                    </p>
                </div>
            }
            .into_any()
        }
    };
    view! {
        <PageHead title trail />
        <div class="grid items-start gap-6 xl:grid-cols-[minmax(0,1fr)_24rem]">
            <ol class="flex min-w-0 flex-col gap-6">
                <Step number=1 title="Build something">
                    <Code
                        id="snippet-build"
                        place="shell"
                        text="nix --extra-experimental-features 'nix-command flakes' build nixpkgs#hello\n"
                    />
                </Step>
                <Step number=2 title="Push it">
                    {about_token}
                    <fieldset class="choices">
                        <legend class="sr-only">"Way to push"</legend>
                        <input class="sr-only" r#type="radio" name="way" id="way-cachix" checked=true />
                        <label for="way-cachix">"cachix"</label>
                        <div class="panel">
                            <Code id="snippet-cachix-push" place="shell" text=snippet::cachix_push(&cache, &token) />
                        </div>
                        <input class="sr-only" r#type="radio" name="way" id="way-nix-copy" />
                        <label for="way-nix-copy">"nix copy"</label>
                        <div class="panel">
                            <Code id="snippet-nix-copy" place="shell" text=snippet::nix_copy(&cache, &token) />
                        </div>
                    </fieldset>
                </Step>
            </ol>
            <section class="card flex flex-col items-center gap-4 p-6 text-center xl:sticky xl:top-8" aria-label="Arrival">
                <Bricks filled=Signal::derive(move || newest.with(Option::is_some)) />
                <div class="flex max-w-full flex-col items-center gap-2" aria-live="polite">
                    {arrival}
                </div>
                {move || {
                    let (paths, uses) = (paths.clone(), uses.clone());
                    newest
                        .with(Option::is_some)
                        .then(|| {
                            view! {
                                <div class="flex flex-wrap justify-center gap-2">
                                    <LinkButton href=uses label="Use this cache" />
                                    <LinkButton href=paths label="See all paths" look=Look::Quiet />
                                </div>
                            }
                        })
                }}
            </section>
        </div>
    }
}

#[component]
fn Step(number: u8, title: &'static str, children: Children) -> impl IntoView {
    view! {
        <li class="flex flex-col gap-3">
            <h2 class="flex items-center gap-2.5 text-lg font-semibold">
                <span class="grid size-6 place-items-center rounded-sm bg-accent-ground text-sm text-accent" aria-hidden="true">
                    {number}
                </span>
                {title}
            </h2>
            {children()}
        </li>
    }
}
