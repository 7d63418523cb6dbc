//! A new token.

use super::loaded::when_loaded;
use crate::{
    calls::{cache::cache_list, token::TokenCreate},
    ui::{
        button::{LinkButton, Look, Submit},
        field::{Choice, Choices, Field, Select},
        form::{Refusal, refusal},
        page::PageHead,
    },
};
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

const SCOPES: [Choice; 3] = [
    Choice { value: "pull", label: "Pull", help: "Read paths of private caches." },
    Choice { value: "push", label: "Push", help: "Pull, and add paths." },
    Choice { value: "admin", label: "Admin", help: "Push, and change the cache." },
];

const OWNERS: [Choice; 2] = [
    Choice { value: "me", label: "You", help: "It may do what you may, never more, and ends with your account." },
    Choice { value: "cache", label: "The cache", help: "It stays when you leave. For those who may change the cache." },
];

const ENDS: [(&str, &str); 5] =
    [("7", "in 7 days"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"), ("", "never")];

#[component]
pub fn TokenCreatePage() -> impl IntoView {
    let caches = Resource::new_blocking(
        || (),
        |_| async {
            let caches = cache_list().await?;
            Ok(caches.into_iter().map(|cache| cache.name.to_string()).collect::<Vec<_>>())
        },
    );
    when_loaded(caches, |caches| view! { <TokenForm caches /> }.into_any())
}

#[component]
fn TokenForm(caches: Vec<String>) -> impl IntoView {
    let action = ServerAction::<TokenCreate>::new();
    let error = refusal(action);
    let asked = use_query_map().with_untracked(|query| query.get("cache").unwrap_or_default());
    let mut options: Vec<(String, String)> = caches.into_iter().map(|name| (name.clone(), name)).collect();
    options.push((String::new(), "Every cache".to_owned()));
    // The page of a cache asks for a token of the cache.
    let owner = if asked.is_empty() { "me" } else { "cache" };
    let chosen = if options.iter().any(|(name, _)| *name == asked && !asked.is_empty()) {
        asked
    } else {
        options.first().map(|(name, _)| name.clone()).unwrap_or_default()
    };
    let ends = ENDS.iter().map(|(days, words)| ((*days).to_owned(), (*words).to_owned())).collect();
    view! {
        <PageHead title="New token" trail=vec![("Tokens".to_owned(), "/tokens".to_owned())] />
        <ActionForm action attr:class="card flex max-w-xl flex-col gap-5 p-5">
            <Refusal error fields=&["name", "cache", "scope", "expires_days"] />
            <Field
                name="name"
                label="Name"
                autofocus=true
                placeholder="ci-push"
                maxlength=60
                help="Who or what will use it. It stands beside every path that it pushes."
                error
            />
            <Select name="cache" label="Cache" options value=chosen error />
            <Choices name="scope" legend="Access" choices=&SCOPES value="push" error />
            <Choices name="owner" legend="Belongs to" choices=&OWNERS value=owner error />
            <Select name="expires_days" label="Expires" options=ends value="90" error />
            <div class="flex gap-2">
                <Submit label="Create token" pending=action.pending() />
                <LinkButton href="/tokens" label="Cancel" look=Look::Quiet />
            </div>
        </ActionForm>
    }
}
