//! The keys that vouch for a cache's paths: which sign, how far they have come, and how to change them without anybody noticing.

use super::{cache::ThisCache, loaded::when_loaded};
use crate::{
    calls::key::{KeyAdd, KeyImport, KeyRegister, KeyRetire, key_list},
    ui::{
        badge::{Badge, Tone},
        button::{Look, Submit},
        copy::Copy,
        dialog::{Dialog, DialogOpener, close},
        empty::Empty,
        field::Field,
        form::{Refusal, refusal},
        icon,
        number::counted,
        table::{Cell, Column, Row, Table, numbers, words},
        time::Ago,
    },
};
use iglu_api::{
    cache::{CacheDetail, Permission, Signing},
    key::{KeyRow, KeyState},
};
use leptos::prelude::*;

/// What can be done about keys; each makes the list anew.
#[derive(Clone, Copy)]
struct Actions {
    add: ServerAction<KeyAdd>,
    import: ServerAction<KeyImport>,
    register: ServerAction<KeyRegister>,
    retire: ServerAction<KeyRetire>,
}

#[component]
pub fn CacheKeys() -> impl IntoView {
    let actions = Actions {
        add: ServerAction::new(),
        import: ServerAction::new(),
        register: ServerAction::new(),
        retire: ServerAction::new(),
    };
    let cache = expect_context::<ThisCache>();
    let Actions { add, import, register, retire } = actions;
    let changes =
        move || (add.version().get(), import.version().get(), register.version().get(), retire.version().get());
    let keys = Resource::new_blocking(move || (cache.name.get(), changes()), |(name, _)| key_list(name));
    // The Use panel hands out what is listed here. It looks again when it is opened: to look now would make this page anew, with
    // its actions under way.
    Effect::new(move |before: Option<(usize, usize, usize, usize)>| {
        let now = changes();
        if before.is_some_and(|before| before != now) {
            cache.is_stale.set_value(true);
        }
        now
    });
    when_loaded(cache.detail, move |detail| {
        let forms = detail.clone();
        let may_change = detail.permission >= Some(Permission::Admin);
        view! {
            <div class="flex flex-col gap-8">
                {when_loaded(
                    keys,
                    move |keys| view! { <Keys keys cache=detail.clone() actions /> }.into_any(),
                )} {may_change.then(|| view! { <Forms cache=forms actions /> })}
            </div>
        }
        .into_any()
    })
}

const COLUMNS: [Column; 4] = [words("Public key"), words("State"), numbers("Since"), numbers("")];

#[component]
fn Keys(keys: Vec<KeyRow>, cache: CacheDetail, actions: Actions) -> impl IntoView {
    let error = refusal(actions.retire);
    let may_change = cache.permission >= Some(Permission::Admin);
    let name = cache.summary.name.to_string();
    let table = if keys.is_empty() {
        view! {
            <div class="card">
                <Empty sentence="No key is registered yet, so that nothing can be pushed. Those who push make one with cachix generate-keypair, or it is registered below." />
            </div>
        }
        .into_any()
    } else {
        let rows = keys
            .into_iter()
            .enumerate()
            .map(|(number, key)| {
                let retirable = may_change && !matches!(key.state, KeyState::Retired { .. });
                view! { <Key number key cache=name.clone() retirable actions /> }
            })
            .collect_view();
        view! {
            <Table caption="Keys" columns=&COLUMNS>
                {rows}
            </Table>
        }
        .into_any()
    };
    view! {
        <section class="flex flex-col gap-3" aria-label="Keys">
            <p class="max-w-prose text-soft">
                "Nix pulls a path when it carries the signature of a key that it trusts. Every key that signs here signs each path, so that a new key can take over from an old one without a machine noticing."
            </p>
            <Refusal error />
            {table}
        </section>
    }
}

#[component]
fn Key(number: usize, key: KeyRow, cache: String, retirable: bool, actions: Actions) -> impl IntoView {
    let (badge, more) = match &key.state {
        KeyState::Active => (view! { <Badge tone=Tone::Done glyph=icon::CHECK word="signs" /> }.into_any(), None),
        KeyState::Signing { paths_left } => (
            view! { <Badge tone=Tone::Accent glyph=icon::CLOCK word="signing" /> }.into_any(),
            (*paths_left > 0).then(|| format!("{} left", counted(*paths_left, "older path", "older paths"))),
        ),
        KeyState::Retired { .. } => {
            (view! { <Badge tone=Tone::Plain glyph=icon::CROSSED word="retired" /> }.into_any(), None)
        }
        KeyState::Client { registered_by } => (
            view! { <Badge tone=Tone::Accent glyph=icon::PERSON word="signs elsewhere" /> }.into_any(),
            Some(format!("registered by {registered_by}")),
        ),
    };
    let since = match key.state {
        KeyState::Retired { at } => at,
        _ => key.created_at,
    };
    let retirement = retirable.then(|| view! { <Retirement number name=key.name.clone() cache actions /> });
    view! {
        <Row>
            <Cell class="wide">
                <span class="flex items-center gap-1">
                    <code class="min-w-0 flex-1 text-xs break-all">{key.public_key.clone()}</code>
                    <Copy text=key.public_key what="public key" />
                </span>
            </Cell>
            <Cell label="State">
                <span class="inline-flex flex-wrap items-center gap-x-2 gap-y-1">
                    {badge} {more.map(|more| view! { <span class="text-sm text-dim">{more}</span> })}
                </span>
            </Cell>
            <Cell label="Since" class="number">
                <Ago at=since />
            </Cell>
            <Cell class="wide sm:text-end">{retirement}</Cell>
        </Row>
    }
}

#[component]
fn Retirement(number: usize, name: String, cache: String, actions: Actions) -> impl IntoView {
    let dialog = format!("retire-{number}");
    let closing = dialog.clone();
    view! {
        <DialogOpener dialog=dialog.clone() label="Retire" describes=format!("Retire key {name}") />
        <Dialog id=dialog title=format!("Retire {name}?")>
            <p class="mb-4 text-start whitespace-normal text-soft">
                "It signs nothing more and is no longer handed out. Paths that carry its signature keep it, so that machines that trust only this key pull those and nothing newer. This cannot be undone."
            </p>
            <ActionForm action=actions.retire attr:class="flex justify-end gap-2" on:submit=move |_| close(&closing)>
                <input r#type="hidden" name="cache" value=cache />
                <input r#type="hidden" name="name" value=name />
                <Submit label="Retire key" look=Look::Danger pending=actions.retire.pending() />
            </ActionForm>
        </Dialog>
    }
}

/// The ways to another key.
#[component]
fn Forms(cache: CacheDetail, actions: Actions) -> impl IntoView {
    let [for_add, for_import, for_register] = [(); 3].map(|()| cache.summary.name.to_string());
    let Actions { add, import, register, .. } = actions;
    let (fresh, about_fresh) = match cache.signing {
        Signing::Server => (
            "Rotate",
            "A fresh key signs what comes from now on, and then by and by what is there. Hand it out, wait until nothing is left to sign, and retire the old one.",
        ),
        Signing::Client => (
            "Let the server sign",
            "With a key of its own the server signs whatever is pushed, and pushes need no signature any more.",
        ),
    };
    let (add_error, import_error, register_error) = (refusal(add), refusal(import), refusal(register));
    view! {
        <section class="grid items-start gap-4 lg:grid-cols-3" aria-label="Another key">
            <Way title=fresh about=about_fresh>
                <ActionForm action=add attr:class="flex flex-col gap-4">
                    <Refusal error=add_error />
                    <input r#type="hidden" name="cache" value=for_add />
                    <Submit label="Add a key" class="self-start" pending=add.pending() />
                </ActionForm>
            </Way>
            <Way
                title="Bring a key along"
                about="A cache that moves here keeps its key, and no machine has to change what it trusts. The secret is kept sealed and never shown."
            >
                <ActionForm action=import attr:class="flex flex-col gap-4">
                    <Refusal error=import_error fields=&["secret"] />
                    <input r#type="hidden" name="cache" value=for_import />
                    <Field
                        name="secret"
                        label="Secret key"
                        kind="password"
                        autocomplete="off"
                        help="name:base64, as nix-store --generate-binary-cache-key writes it."
                        error=import_error
                    />
                    <Submit label="Import key" look=Look::Quiet class="self-start" pending=import.pending() />
                </ActionForm>
            </Way>
            <Way
                title="Let a pusher sign"
                about="Whoever signs before pushing registers the public half; their signature is verified and kept. cachix generate-keypair does the same."
            >
                <ActionForm action=register attr:class="flex flex-col gap-4">
                    <Refusal error=register_error fields=&["public_key"] />
                    <input r#type="hidden" name="cache" value=for_register />
                    <Field name="public_key" label="Public key" help="32 bytes as base64." error=register_error />
                    <Submit label="Register key" look=Look::Quiet class="self-start" pending=register.pending() />
                </ActionForm>
            </Way>
        </section>
    }
}

#[component]
fn Way(title: &'static str, about: &'static str, children: Children) -> impl IntoView {
    view! {
        <div class="card flex flex-col gap-3 p-4">
            <h2 class="font-semibold">{title}</h2>
            <p class="text-sm text-soft">{about}</p>
            {children()}
        </div>
    }
}
