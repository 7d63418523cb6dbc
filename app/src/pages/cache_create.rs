//! A new cache.

use super::{frame::FrameData, loaded::when_loaded};
use crate::{
    calls::{UiError, account::me_get, cache::CacheCreate},
    ui::{
        button::{LinkButton, Look, Submit},
        field::{Choice, Choices, Field, Select},
        form::{Refusal, refusal},
        page::PageHead,
    },
};
use iglu_api::cache as api;
use leptos::prelude::*;

pub const VISIBILITIES: [Choice; 2] = [
    Choice { value: "public", label: "Public", help: "Everybody who reaches the server." },
    Choice { value: "private", label: "Private", help: "Only with a token, by netrc." },
];

const SIGNINGS: [Choice; 2] = [
    Choice {
        value: "server",
        label: "The server",
        help: "Whatever is pushed gets the signature of the cache's own key.",
    },
    Choice {
        value: "client",
        label: "Those who push",
        help: "With keys that they register (cachix generate-keypair). What no such key signed is refused.",
    },
];

#[component]
pub fn CacheCreatePage() -> impl IntoView {
    let allowed = Resource::new_blocking(
        || (),
        |_| async {
            match me_get().await? {
                None => Err(UiError::LoginNeeded),
                Some(me) if !me.is_admin => Err(UiError::Forbidden("only administrators create caches".to_owned())),
                Some(_) => Ok(()),
            }
        },
    );
    when_loaded(allowed, |()| view! { <CacheForm /> }.into_any())
}

#[component]
fn CacheForm() -> impl IntoView {
    let action = ServerAction::<CacheCreate>::new();
    let error = refusal(action);
    let frame = expect_context::<FrameData>();
    Effect::new(move |_| {
        if action.value().with(|answer| matches!(answer, Some(Ok(())))) {
            frame.refresh();
        }
    });
    let compressions = vec![
        ("zstd".to_owned(), "zstd: fast, the usual choice".to_owned()),
        ("xz".to_owned(), "xz: smaller, slow to push".to_owned()),
    ];
    view! {
        <PageHead title="New cache" trail=vec![("Caches".to_owned(), "/caches".to_owned())] />
        <ActionForm action attr:class="card flex max-w-xl flex-col gap-5 p-5">
            <Refusal error fields=&["name", "visibility", "priority", "compression", "signing"] />
            <Field
                name="name"
                label="Name"
                autofocus=true
                maxlength=50
                help="Lower-case letters, digits and - _ +. Stands in the substituter's URL and cannot be changed later."
                error
            />
            <Choices name="visibility" legend="Who may pull" choices=&VISIBILITIES value="public" error />
            <Field
                name="priority"
                label="Priority"
                kind="number"
                value=api::CacheCreate::DEFAULT_PRIORITY.to_string()
                help="Nix asks caches with a lower number first. cache.nixos.org has 40."
                error
            />
            <Select
                name="compression"
                label="Compression"
                options=compressions
                value="zstd"
                help="What pushing clients are asked to use. Anything that Nix reads is accepted."
                error
            />
            <Choices name="signing" legend="Who signs" choices=&SIGNINGS value="server" error />
            <div class="flex gap-2">
                <Submit label="Create cache" pending=action.pending() />
                <LinkButton href="/caches" label="Cancel" look=Look::Quiet />
            </div>
        </ActionForm>
    }
}
