//! How to use a cache: every text complete, to be copied.

use super::{
    cache::ThisCache,
    loaded::when_loaded,
    overview::{four_stats, stored},
    snippet,
};
use crate::{
    calls::cache::CacheTry,
    ui::{
        button::{Look, Submit},
        code::Code,
        confirm::Hidden,
        copy::Copy,
        form::{Refusal, refusal, sentence},
        icon::{self, Icon},
        stat::Stats,
        time::Ago,
    },
};
use iglu_api::cache::{CacheDetail, Permission, Signing};
use leptos::prelude::*;

#[component]
pub fn CacheUse() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    Effect::new(move |_| {
        if cache.is_stale.get_value() {
            cache.is_stale.set_value(false);
            cache.detail.refetch();
        }
    });
    when_loaded(cache.detail, |cache| view! { <Loaded cache /> }.into_any())
}

#[component]
fn Loaded(cache: CacheDetail) -> impl IntoView {
    let summary = &cache.summary;
    let stats = four_stats(summary.path_count, stored(summary.stored_bytes), &summary.traffic);
    view! {
        <div class="flex flex-col gap-8">
            <Stats stats />
            <div class="grid items-start gap-8 xl:grid-cols-[minmax(0,1fr)_20rem]">
                <Ways cache=cache.clone() />
                <div class="flex min-w-0 flex-col gap-6">
                    <Facts cache=cache.clone() />
                    {(cache.permission >= Some(Permission::Push)).then(|| view! { <TryOut name=cache.summary.name.to_string() /> })}
                </div>
            </div>
        </div>
    }
}

/// A button that asks for the cache as its users do, and what came of it.
#[component]
fn TryOut(name: String) -> impl IntoView {
    let action = ServerAction::<CacheTry>::new();
    let error = refusal(action);
    let steps = move || {
        let answer = action.value().get().and_then(Result::ok)?;
        let rows = answer
            .into_iter()
            .map(|step| {
                let (glyph, tone) =
                    if step.is_good { (icon::CHECK, "text-done") } else { (icon::CROSSED, "text-fail") };
                view! {
                    <li class="flex items-start gap-2">
                        <span class=format!("mt-0.5 {tone}")>
                            <Icon glyph />
                        </span>
                        <span class="min-w-0 break-words">
                            <code class="block text-xs break-all text-dim">{step.what}</code>
                            {sentence(&step.words)}
                        </span>
                    </li>
                }
            })
            .collect_view();
        Some(view! { <ul class="flex flex-col gap-2">{rows}</ul> })
    };
    view! {
        <section class="needs-live card flex flex-col gap-3 p-4" aria-labelledby="try">
            <h2 id="try" class="font-semibold">
                "Does it work?"
            </h2>
            <p class="text-sm text-soft">
                "The server asks for this cache at its public address, and verifies the newest signature as Nix would."
            </p>
            <Refusal error />
            <div aria-live="polite">{steps}</div>
            <ActionForm action>
                <Hidden name="name" value=name />
                <Submit label="Try it" look=Look::Quiet pending=action.pending() />
            </ActionForm>
        </section>
    }
}

#[component]
fn Ways(cache: CacheDetail) -> impl IntoView {
    let private = !cache.summary.visibility.is_public();
    let client_signed = cache.signing == Signing::Client;
    let copy_text = if client_signed {
        "Push with nothing but Nix. Add &secret-key=FILE to the address: this cache takes only what a registered key signed."
    } else {
        "Push with nothing but Nix. The server signs what arrives."
    };
    let by_hand = snippet::needs_netrc_by_hand(&cache);
    let netrc_too = move || private.then(|| view! { <Say text="This cache is private: take the netrc lines too." /> });
    let use_text = snippet::cachix_use(&cache);
    let push_text = snippet::cachix_push(&cache, snippet::TOKEN);
    let attic_text = snippet::attic(&cache, snippet::TOKEN);
    let nix_conf_text = snippet::nix_conf(&cache);
    let flake_text = snippet::flake(&cache);
    let nixos_text = snippet::nixos(&cache);
    let nix_copy_text = snippet::nix_copy(&cache, snippet::TOKEN);
    let github_text = snippet::github(&cache);
    let netrc = private.then(|| {
        let text = snippet::netrc(&cache, snippet::TOKEN);
        view! {
            <Way id="netrc" word="netrc">
                <Say text="This cache is private: Nix shows a token from netrc, as the password of any user. On a machine with a Nix daemon the file is root's." />
                <Code id="snippet-netrc" place="/etc/nix/netrc" text />
                <NeedsToken right="pull" />
            </Way>
        }
    });
    view! {
        <section class="min-w-0" aria-labelledby="use">
            <h2 id="use" class="mb-3 text-lg font-semibold">
                "Use this cache"
            </h2>
            <fieldset class="choices">
                <legend class="sr-only">"Way to use this cache"</legend>
                <Way id="cachix" word="cachix" first=true>
                    <Say text="Pull: writes this cache and its key into the Nix configuration." />
                    <Code id="snippet-cachix-use" place="shell" text=use_text />
                    {by_hand
                        .then(|| {
                            view! { <Say text="cachix cannot write the password for this address: take the netrc lines too." /> }
                        })}
                    <Say text="Push: a result and everything that it needs." />
                    {client_signed
                        .then(|| {
                            view! {
                                <Say text="This cache takes only what a registered key signed: set CACHIX_SIGNING_KEY, or make a key once with cachix generate-keypair." />
                            }
                        })}
                    <Code id="snippet-cachix-push" place="shell" text=push_text />
                    <NeedsToken right="push" />
                </Way>
                <Way id="attic" word="attic">
                    <Say text="The same commands as for an attic server: log in once, use, push." />
                    <Code id="snippet-attic" place="shell" text=attic_text />
                    <NeedsToken right="push" />
                </Way>
                <Way id="nix-conf" word="nix.conf">
                    <Say text="For every Nix that reads a configuration file. Restart the Nix daemon afterwards." />
                    <Code id="snippet-nix-conf" place="/etc/nix/nix.conf" text=nix_conf_text />
                    {netrc_too()}
                </Way>
                <Way id="flake" word="flake">
                    <Say text="Beside inputs and outputs. Nix asks each user once whether to trust it." />
                    <Code id="snippet-flake" place="flake.nix" text=flake_text />
                    {netrc_too()}
                </Way>
                <Way id="nixos" word="NixOS">
                    <Say text="As a module of its own, or its lines in configuration.nix. The usual cache stays." />
                    <Code id="snippet-nixos" place="iglu.nix" text=nixos_text />
                    {netrc_too()}
                </Way>
                {netrc}
                <Way id="nix-copy" word="nix copy">
                    <Say text=copy_text />
                    <Code id="snippet-nix-copy" place="shell" text=nix_copy_text />
                    <NeedsToken right="push" />
                </Way>
                <Way id="github" word="GitHub Actions">
                    <Say text="Pulls before the build and pushes after it." />
                    <Code id="snippet-github" place=".github/workflows/build.yaml" text=github_text />
                    <NeedsToken right="push" name="IGLU_TOKEN" />
                </Way>
            </fieldset>
        </section>
    }
}

/// One of the ways: a radio button, its word, and the panel that it shows.
#[component]
fn Way(id: &'static str, word: &'static str, #[prop(optional)] first: bool, children: Children) -> impl IntoView {
    let input = format!("way-{id}");
    view! {
        <input class="sr-only" r#type="radio" name="way" id=input.clone() checked=first />
        <label for=input>{word}</label>
        <div class="panel">
            <div class="flex flex-col gap-3">{children()}</div>
        </div>
    }
}

#[component]
fn Say(text: &'static str) -> impl IntoView {
    view! { <p class="max-w-prose text-soft">{text}</p> }
}

#[component]
fn NeedsToken(
    right: &'static str,
    /// What the text calls it.
    #[prop(default = snippet::TOKEN)]
    name: &'static str,
) -> impl IntoView {
    view! {
        <p class="flex items-center gap-2 text-sm text-soft">
            <Icon glyph=icon::TOKEN />
            <span>
                <code>{name}</code>
                {if name == snippet::TOKEN { " is" } else { " is a secret of the repository:" }}
                {format!(" a token with the right to {right}: ")}
                <a class="link" href="/tokens/new">
                    "make one"
                </a>
                "."
            </span>
        </p>
    }
}

#[component]
fn Facts(cache: CacheDetail) -> impl IntoView {
    let keys =
        cache.public_keys.iter().map(|key| view! { <Copied text=key.clone() what="public key" /> }).collect_view();
    view! {
        <aside class="card p-4" aria-labelledby="facts">
            <h2 id="facts" class="sr-only">
                "Facts"
            </h2>
            <dl class="flex flex-col gap-3 text-sm">
                <Fact word="Substituter">
                    <Copied text=cache.uri what="substituter URL" />
                </Fact>
                <Fact word=if cache.public_keys.len() == 1 { "Public key" } else { "Public keys" }>{keys}</Fact>
                <Fact word="Preferred compression">{cache.compression.as_str()}</Fact>
                <Fact word="Priority">
                    <span title="Nix asks caches with a lower number first">{cache.summary.priority}</span>
                </Fact>
                <Fact word="Created">
                    <Ago at=cache.summary.created_at />
                </Fact>
            </dl>
        </aside>
    }
}

#[component]
fn Fact(word: &'static str, children: Children) -> impl IntoView {
    view! {
        <div>
            <dt class="text-xs text-dim">{word}</dt>
            <dd>{children()}</dd>
        </div>
    }
}

#[component]
fn Copied(text: String, what: &'static str) -> impl IntoView {
    view! {
        <span class="flex items-start gap-1">
            <code class="min-w-0 flex-1 pt-1 text-xs break-all">{text.clone()}</code>
            <Copy text what />
        </span>
    }
}
