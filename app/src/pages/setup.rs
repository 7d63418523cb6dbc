//! The first run: one form, from the one-time link to the first cache.

use super::loaded::when_loaded;
use crate::{
    calls::{
        UiError,
        setup::{SetupFinish, SetupForm, setup_get},
    },
    pages::problem::answer_with,
    ui::{
        button::Submit,
        code::Code,
        field::{Choices, Field},
        form::{Refusal, refusal},
        logo::Logo,
    },
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::cache_create::VISIBILITIES;

#[component]
pub fn Setup() -> impl IntoView {
    let params = use_params_map();
    let secret = Memo::new(move |_| params.with(|params| params.get("secret").unwrap_or_default()));
    // A used link is an answer of its own, not a missing page.
    let form = Resource::new_blocking(
        move || secret.get(),
        |secret| async move {
            match setup_get(secret).await {
                Ok(form) => Ok(Some(form)),
                Err(UiError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        },
    );
    view! {
        <main id="main" tabindex="-1" class="mx-auto flex min-h-dvh max-w-xl flex-col gap-6 px-4 py-10 outline-none">
            {when_loaded(form, move |form| match form {
                Some(form) => view! { <SetupFields form secret=secret.get_untracked() /> }.into_any(),
                None => view! { <UsedLink /> }.into_any(),
            })}
        </main>
    }
}

#[component]
fn UsedLink() -> impl IntoView {
    answer_with(404);
    view! {
        <Title text="Set-up link" />
        <Logo class="size-12" />
        <h1 class="text-2xl font-semibold tracking-tight">"This set-up link does not work any more"</h1>
        <p class="text-soft">
            "Each link works once and for a limited time. If Iglu is set up already, "
            <a class="link" href="/login">
                "log in"
            </a> ". If not, print a new link on the server:"
        </p>
        <Code id="snippet-setup-link" place="shell" text="iglu admin setup-link" />
    }
}

#[component]
fn SetupFields(form: SetupForm, secret: String) -> impl IntoView {
    let action = ServerAction::<SetupFinish>::new();
    let error = refusal(action);
    let url_help = if form.public_url_fixed {
        "Fixed by the server's configuration."
    } else {
        "What browsers and Nix use to reach this server. It goes into every command you will copy."
    };
    view! {
        <Title text="Set up" />
        <header class="flex flex-col gap-3">
            <Logo class="size-12" />
            <h1 class="text-2xl font-semibold tracking-tight">"Set up Iglu"</h1>
            <p class="text-soft">"Three answers, and the first path can be pushed."</p>
        </header>
        <ActionForm action attr:class="flex flex-col gap-4">
            <Refusal error fields=&["name", "password", "public_url", "cache", "visibility"] />
            <input r#type="hidden" name="secret" value=secret />
            <Step number=1 title="Administrator">
                <Field
                    name="name"
                    label="Name"
                    autocomplete="username"
                    autofocus=true
                    maxlength=50
                    help="Lower-case letters, digits and . - _ @"
                    error
                />
                <Field
                    name="password"
                    label="Password"
                    kind="password"
                    autocomplete="new-password"
                    minlength=10
                    help="At least 10 characters."
                    error
                />
            </Step>
            <Step number=2 title="Address">
                <Field
                    name="public_url"
                    label="Public URL"
                    kind="url"
                    value=form.public_url
                    readonly=form.public_url_fixed
                    help=url_help
                    error
                />
            </Step>
            <Step number=3 title="First cache">
                <Field
                    name="cache"
                    label="Name"
                    value="main"
                    maxlength=50
                    help="Stands in the substituter's URL and in the signing key's name."
                    error
                />
                <Choices name="visibility" legend="Who may pull" choices=&VISIBILITIES value="public" error />
            </Step>
            <Submit label="Set up" class="self-start" pending=action.pending() />
        </ActionForm>
    }
}

#[component]
fn Step(number: u8, title: &'static str, children: Children) -> impl IntoView {
    let heading = format!("step-{number}");
    view! {
        <section class="card flex flex-col gap-4 p-5" aria-labelledby=heading>
            <h2 id=heading.clone() class="flex items-center gap-2.5 text-lg font-semibold">
                <span class="grid size-6 place-items-center rounded-sm bg-accent-ground text-sm text-accent" aria-hidden="true">
                    {number}
                </span>
                {title}
            </h2>
            {children()}
        </section>
    }
}
