//! Where a forge calls a builder, how that is set up there, and what came of the last calls.

use super::loaded::when_loaded;
use crate::{
    calls::builder::{DeliveryRepeat, WebhookRenew, webhook_get},
    ui::{
        badge::{Badge, Tone},
        button::Look,
        code::Code,
        confirm::Confirm,
        empty::Empty,
        form::{Refusal, done, refusal},
        icon,
        table::{Cell, Column, Row, Table, numbers, words},
        time::Ago,
    },
};
use iglu_api::builder::{DeliveryRow, WebhookDetail};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

#[component]
pub fn BuilderWebhook() -> impl IntoView {
    let params = use_params_map();
    let name = Memo::new(move |_| params.with(|params| params.get("name").unwrap_or_default()));
    let (renew, repeat) = (ServerAction::<WebhookRenew>::new(), ServerAction::<DeliveryRepeat>::new());
    let (renewed, repeated) = (done(renew), done(repeat));
    let webhook =
        Resource::new_blocking(move || (name.get(), renewed.get(), repeated.get()), |(name, ..)| webhook_get(name));
    when_loaded(webhook, move |webhook| view! { <Page webhook name=name.get_untracked() renew repeat /> }.into_any())
}

const COLUMNS: [Column; 5] = [words("Call"), words("Answer"), words("What came of it"), numbers("When"), numbers("")];

#[component]
fn Page(
    webhook: WebhookDetail,
    name: String,
    renew: ServerAction<WebhookRenew>,
    repeat: ServerAction<DeliveryRepeat>,
) -> impl IntoView {
    let generic = format!(
        "body='{{\"reference\": \"main\"}}'\nsignature=$(printf %s \"$body\" | openssl dgst -sha256 -hmac '{}' -r | cut -d' ' -f1)\ncurl -d \"$body\" -H \"X-Iglu-Signature: sha256=$signature\" {}",
        webhook.secret, webhook.url
    );
    let deliveries = if webhook.deliveries.is_empty() {
        view! {
            <div class="card">
                <Empty sentence="No call has come yet. Forges have a button that sends a test." />
            </div>
        }
        .into_any()
    } else {
        let rows = webhook
            .deliveries
            .into_iter()
            .map(|delivery| view! { <Delivery delivery builder=name.clone() repeat /> })
            .collect_view();
        view! {
            <Table caption="Deliveries" columns=&COLUMNS>
                {rows}
            </Table>
        }
        .into_any()
    };
    view! {
        <div class="flex flex-col gap-8">
            <section class="flex max-w-3xl flex-col gap-4" aria-labelledby="set-up">
                <h2 id="set-up" class="text-lg font-semibold">
                    "Set up in the forge"
                </h2>
                <p class="text-soft">
                    "GitHub, GitLab, Gitea and Forgejo: add a webhook with this address and secret, of content type application/json, for pushes and, where the builder takes them, for pull or merge requests."
                </p>
                <Code id="webhook-url" place="address" text=webhook.url />
                <Code id="webhook-secret" place="secret" text=webhook.secret />
                <details>
                    <summary class="cursor-pointer font-medium">"From anywhere else"</summary>
                    <div class="mt-3">
                        <Code id="webhook-generic" place="shell" text=generic />
                    </div>
                </details>
                <Refusal error=refusal(renew) />
                <div>
                    <Confirm
                        id="renew-webhook"
                        opener="Make another secret"
                        describes="Make another secret"
                        title="Make another secret?"
                        text="Calls that are signed with the old one are refused from then on."
                        submit="Make another secret"
                        action=renew
                        hidden=vec![("builder", name.clone())]
                    />
                </div>
            </section>
            <section class="flex flex-col gap-3" aria-labelledby="deliveries">
                <h2 id="deliveries" class="text-lg font-semibold">
                    "Deliveries"
                </h2>
                <Refusal error=refusal(repeat) />
                {deliveries}
            </section>
        </div>
    }
}

#[component]
fn Delivery(delivery: DeliveryRow, builder: String, repeat: ServerAction<DeliveryRepeat>) -> impl IntoView {
    let id = delivery.id;
    let (tone, glyph) = match (delivery.status, delivery.run) {
        (200..300, Some(_)) => (Tone::Done, icon::CHECK),
        (200..300, None) => (Tone::Plain, icon::CHECK),
        _ => (Tone::Fail, icon::CROSSED),
    };
    let commit = delivery.commit.map(|commit| commit.chars().take(10).collect::<String>());
    let again = delivery.can_repeat.then(|| {
        view! {
            <Confirm
                id=format!("repeat-{id}")
                opener="Take again"
                describes=format!("Take again: delivery {id}")
                title="Take this delivery again?"
                text="It is looked at as if the forge had just sent it."
                submit="Take again"
                look=Look::Primary
                action=repeat
                hidden=vec![("builder", builder), ("delivery", id.to_string())]
            />
        }
    });
    view! {
        <Row>
            <Cell class="wide whole">
                <span class="font-medium">{delivery.forge}</span>
                " "
                {delivery.event}
            </Cell>
            <Cell label="Answer" class="whole">
                <Badge tone glyph word=delivery.status.to_string() />
            </Cell>
            <Cell class="wide roomy">
                <span class="block truncate">
                    {commit.map(|commit| view! { <code class="mr-2 text-dim">{commit}</code> })} {delivery.reference} " "
                    <span class="text-soft">{delivery.message}</span>
                    {delivery
                        .run
                        .map(|run| {
                            view! {
                                " "
                                <a class="link" href=format!("/runs/{run}")>
                                    {format!("run {run}")}
                                </a>
                            }
                        })}
                </span>
            </Cell>
            <Cell label="When" class="number">
                <Ago at=delivery.at />
            </Cell>
            <Cell class="wide sm:text-end">{again}</Cell>
        </Row>
    }
}
