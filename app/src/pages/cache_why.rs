//! "Why was this not substituted?": what Nix would find, step by step, and what cures it.

use super::{cache::ThisCache, loaded::when_loaded};
use crate::{
    calls::{UiError, path::path_why},
    ui::{
        code::Code,
        field::Field,
        form::Refusal,
        icon::{self, Icon},
    },
};
use iglu_api::why::{Verdict, WhyAnswer, WhyCheck};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

/// What an answer is, or what is wrong with the question; nothing was asked yet.
type Answer = Option<Result<WhyAnswer, UiError>>;

#[component]
pub fn CacheWhy() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let query = use_query_map();
    let asked = Memo::new(move |_| query.with(|query| query.get("path").unwrap_or_default()));
    let answer = Resource::new_blocking(
        move || (cache.name.get(), asked.get()),
        |(cache, asked)| async move {
            if asked.trim().is_empty() {
                return Ok::<Answer, UiError>(None);
            }
            match path_why(cache, asked).await {
                // What is wrong with the question stands beside it.
                Err(error @ UiError::Invalid { .. }) => Ok(Some(Err(error))),
                answer => answer.map(|answer| Some(Ok(answer))),
            }
        },
    );
    view! {
        <Title text="Why was this not substituted?" />
        <section class="flex flex-col gap-4" aria-labelledby="why">
            <h2 id="why" class="text-lg font-semibold">
                "Why was this not substituted?"
            </h2>
            {when_loaded(
                answer,
                move |answer| {
                    view! { <Asked answer asked=asked.get_untracked() cache=cache.name.get_untracked() /> }.into_any()
                },
            )}
        </section>
    }
}

#[component]
fn Asked(answer: Answer, asked: String, cache: String) -> impl IntoView {
    let wrong = answer.as_ref().and_then(|answer| answer.as_ref().err().cloned());
    let error = Signal::stored(wrong);
    let found = answer.and_then(Result::ok).map(|answer| view! { <Found answer cache /> });
    view! {
        <form class="card flex max-w-3xl flex-col gap-4 p-5" method="get">
            <Refusal error fields=&["path"] />
            <Field
                name="path"
                label="Store path"
                value=asked
                placeholder="/nix/store/…-hello-2.12"
                help="As nix build names it, or its hash part, or the address of its narinfo."
                error
            />
            <button r#type="submit" class="button button-primary self-start">
                "Find out"
            </button>
        </form>
        {found}
    }
}

#[component]
fn Found(answer: WhyAnswer, cache: String) -> impl IntoView {
    let (class, glyph, words) = if answer.is_served() {
        (
            "text-done",
            icon::CHECK,
            "Nothing here keeps a machine from getting it. The hints say what may on the machine.",
        )
    } else {
        ("text-fail", icon::CROSSED, "It cannot be substituted from this cache.")
    };
    let page = answer.hash.map(|hash| {
        view! {
            <a class="link" href=format!("/caches/{cache}/paths/{hash}")>
                "See the path"
            </a>
        }
    });
    let checks =
        answer.checks.into_iter().enumerate().map(|(number, check)| view! { <Check number check /> }).collect_view();
    view! {
        <div class="flex max-w-3xl flex-col gap-3" role="status">
            <p class=format!("flex items-start gap-2 font-medium {class}")>
                <Icon glyph class="mt-1 size-4" />
                <span>{words} " " {page}</span>
            </p>
            <code class="text-xs break-all text-soft">{answer.path}</code>
            <ol class="card divide-y divide-line">{checks}</ol>
        </div>
    }
}

#[component]
fn Check(number: usize, check: WhyCheck) -> impl IntoView {
    let (class, glyph, word) = match check.verdict {
        Verdict::Good => ("text-done", icon::CHECK, "good"),
        Verdict::Hint => ("text-warn", icon::WARNING, "look"),
        Verdict::Bad => ("text-fail", icon::CROSSED, "bad"),
    };
    let command = (!check.command.is_empty())
        .then(|| view! { <Code id=format!("snippet-cure-{number}") place="to copy" text=check.command /> });
    view! {
        <li class="flex items-start gap-2.5 px-4 py-3">
            <span class=format!("mt-0.5 {class}")>
                <Icon glyph />
                <span class="sr-only">{word}</span>
            </span>
            <div class="flex min-w-0 flex-1 flex-col gap-2">
                <p class="break-words">
                    {check.finding} " " <span class="text-soft">{check.cure}</span>
                </p>
                {command}
            </div>
        </li>
    }
}
