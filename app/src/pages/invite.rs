//! The page behind an invitation's link: a new account, a role in a cache, or a new password.

use super::{loaded::when_loaded, problem::answer_with};
use crate::{
    calls::{
        UiError,
        member::{InvitationAccept, InvitationAcceptNew, InvitationAcceptPassword, InvitationPage, invitation_get},
    },
    ui::{
        button::{LinkButton, Look, Submit},
        confirm::Hidden,
        field::Field,
        form::{Refusal, refusal},
        logo::Logo,
        time::When,
    },
};
use iglu_api::member::Grant;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

#[component]
pub fn Invite() -> impl IntoView {
    let params = use_params_map();
    let secret = Memo::new(move |_| params.with(|params| params.get("secret").unwrap_or_default()));
    // A used link is an answer of its own, not a missing page.
    let invitation = Resource::new_blocking(
        move || secret.get(),
        |secret| async move {
            match invitation_get(secret).await {
                Ok(page) => Ok(Some(page)),
                Err(UiError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        },
    );
    view! {
        <main id="main" tabindex="-1" class="mx-auto flex min-h-dvh max-w-md flex-col gap-6 px-4 py-10 outline-none">
            <Logo class="size-12" />
            {when_loaded(invitation, move |page| match page {
                Some(page) => view! { <Accept page secret=secret.get_untracked() /> }.into_any(),
                None => view! { <UsedLink /> }.into_any(),
            })}
        </main>
    }
}

#[component]
fn UsedLink() -> impl IntoView {
    answer_with(404);
    view! {
        <Title text="Invitation" />
        <h1 class="text-2xl font-semibold tracking-tight">"This link does not work any more"</h1>
        <p class="text-soft">
            "Each link works once and for a limited time. Ask who sent it for another one, or "
            <a class="link" href="/login">
                "log in"
            </a> " if you have an account."
        </p>
    }
}

#[component]
fn Accept(page: InvitationPage, secret: String) -> impl IntoView {
    let InvitationPage { invitation, me } = page;
    let title = match &invitation.grant {
        Grant::Account { .. } => "Join this Iglu".to_owned(),
        Grant::Cache { cache, .. } => format!("Join cache {cache}"),
        Grant::Password { .. } => "Choose a new password".to_owned(),
    };
    let sentence = match &invitation.grant {
        Grant::Account { is_admin: true } => {
            format!("{} invites you to be an administrator of this server.", invitation.invited_by)
        }
        Grant::Account { is_admin: false } => format!("{} invites you to this server.", invitation.invited_by),
        Grant::Cache { cache, role } => {
            format!("{} invites you to be a {} of {cache}.", invitation.invited_by, role.as_str())
        }
        Grant::Password { name } => format!("For the account {name}. All its sessions end."),
    };
    let form = match (&invitation.grant, me) {
        (Grant::Password { name }, _) => view! { <Password name=name.to_string() secret /> }.into_any(),
        (Grant::Cache { .. }, Some(me)) => view! { <Join me secret /> }.into_any(),
        (Grant::Account { .. }, Some(me)) => view! {
            <p class="text-soft">
                {format!("You are logged in as {me} and have an account already. Leave the link to whom it is for.")}
            </p>
            <LinkButton href="/" label="To the overview" look=Look::Quiet />
        }
        .into_any(),
        (_, None) => view! { <Newcomer secret is_cache=matches!(invitation.grant, Grant::Cache { .. }) /> }.into_any(),
    };
    view! {
        <Title text=title.clone() />
        <header class="flex flex-col gap-2">
            <h1 class="text-2xl font-semibold tracking-tight">{title}</h1>
            <p class="text-soft">{sentence}</p>
        </header>
        {form}
        <p class="text-sm text-dim">"The link works once and ends " <When at=invitation.expires_at /> "."</p>
    }
}

#[component]
fn NewPassword(error: Signal<Option<UiError>>) -> impl IntoView {
    view! {
        <Field
            name="password"
            label="Password"
            kind="password"
            autocomplete="new-password"
            minlength=10
            help="At least 10 characters."
            error
        />
    }
}

#[component]
fn Newcomer(secret: String, is_cache: bool) -> impl IntoView {
    let action = ServerAction::<InvitationAcceptNew>::new();
    let error = refusal(action);
    let login = format!("/login?next=/invite/{secret}");
    view! {
        <ActionForm action attr:class="card flex flex-col gap-5 p-5">
            <Refusal error fields=&["name", "password"] />
            <Hidden name="secret" value=secret />
            <Field
                name="name"
                label="Name"
                autocomplete="username"
                autofocus=true
                maxlength=50
                help="Lower-case letters, digits and . - _ @"
                error
            />
            <NewPassword error />
            <Submit label="Create account" pending=action.pending() />
        </ActionForm>
        {is_cache
            .then(|| {
                view! {
                    <p class="text-soft">
                        "You have an account here? " <a class="link" href=login>
                            "Log in"
                        </a> " and join with it."
                    </p>
                }
            })}
    }
}

#[component]
fn Join(me: String, secret: String) -> impl IntoView {
    let action = ServerAction::<InvitationAccept>::new();
    let error = refusal(action);
    view! {
        <ActionForm action attr:class="card flex flex-col gap-5 p-5">
            <Refusal error />
            <Hidden name="secret" value=secret />
            <Submit label=format!("Join as {me}") pending=action.pending() />
        </ActionForm>
    }
}

#[component]
fn Password(name: String, secret: String) -> impl IntoView {
    let action = ServerAction::<InvitationAcceptPassword>::new();
    let error = refusal(action);
    view! {
        <ActionForm action attr:class="card flex flex-col gap-5 p-5">
            <Refusal error fields=&["password"] />
            <Hidden name="secret" value=secret />
            // Password managers keep the two together.
            <input class="sr-only" name="username" autocomplete="username" value=name readonly tabindex="-1" aria-hidden="true" />
            <NewPassword error />
            <Submit label="Set password" pending=action.pending() />
        </ActionForm>
    }
}
