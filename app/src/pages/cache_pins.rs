//! The pins of a cache: names for paths that stay whatever the rules say.

use super::{cache::ThisCache, loaded::when_loaded};
use crate::{
    calls::pin::{PinCreate, PinRemove, pin_list},
    ui::{
        button::Submit,
        confirm::Confirm,
        empty::Empty,
        field::{Field, Select},
        form::{Refusal, done, refusal},
        number::counted,
        store_path::StorePath,
        table::{Cell, Column, Row, Table, numbers, words},
        time::{Ago, When},
    },
};
use iglu_api::{
    cache::Permission,
    pin::{Keep, PinRow},
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

#[component]
pub fn CachePins() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let (create, remove) = (ServerAction::<PinCreate>::new(), ServerAction::<PinRemove>::new());
    let (created, removed) = (done(create), done(remove));
    let pins =
        Resource::new_blocking(move || (cache.name.get(), created.get(), removed.get()), |(name, ..)| pin_list(name));
    let asked = use_query_map().with_untracked(|query| query.get("path").unwrap_or_default());
    view! {
        {move || view! { <Title text=format!("Pins of {}", cache.name.get()) /> }}
        <div class="flex flex-col gap-8">
            {when_loaded(
                pins,
                move |pins| {
                    let name = cache.name.get_untracked();
                    view! { <Pins pins cache=name remove /> }.into_any()
                },
            )}
            {when_loaded(
                cache.detail,
                move |detail| {
                    let may_pin = detail.permission >= Some(Permission::Push);
                    let (name, asked) = (detail.summary.name.to_string(), asked.clone());
                    may_pin.then(|| view! { <NewPin cache=name asked create /> }).into_any()
                },
            )}
        </div>
    }
}

const COLUMNS: [Column; 6] =
    [words("Pin"), words("Newest path"), words("Keeps"), words("By").quiet(), numbers("Pinned"), numbers("")];

#[component]
fn Pins(pins: Vec<PinRow>, cache: String, remove: ServerAction<PinRemove>) -> impl IntoView {
    let error = refusal(remove);
    let detail = expect_context::<ThisCache>().detail;
    let may_remove =
        detail.get_untracked().and_then(Result::ok).is_some_and(|d| d.permission >= Some(Permission::Push));
    let table = if pins.is_empty() {
        view! {
            <div class="card">
                <Empty sentence="Nothing is pinned. A pin gives a store path a name, and keeps it and all that it needs whatever the rules say." />
            </div>
        }
        .into_any()
    } else {
        let rows = pins
            .into_iter()
            .enumerate()
            .map(|(number, pin)| view! { <Pin number pin cache=cache.clone() may_remove remove /> })
            .collect_view();
        view! {
            <Table caption="Pins" columns=&COLUMNS>
                {rows}
            </Table>
        }
        .into_any()
    };
    view! {
        <section class="flex flex-col gap-3" aria-label="Pins">
            <Refusal error />
            {table}
        </section>
    }
}

/// How long a pin keeps what it names.
fn keeps(keep: Keep) -> String {
    match keep {
        Keep::Forever => "every revision".to_owned(),
        Keep::Days(days) => counted(days.into(), "day", "days"),
        Keep::Revisions(count) => format!("the newest {}", counted(count.into(), "revision", "revisions")),
    }
}

#[component]
fn Pin(number: usize, pin: PinRow, cache: String, may_remove: bool, remove: ServerAction<PinRemove>) -> impl IntoView {
    let count = pin.revisions.len() as u64;
    let Some(newest) = pin.revisions.into_iter().next() else { return ().into_any() };
    let base = newest.store_path.trim_start_matches("/nix/store/").to_owned();
    let (hash, name) = base.split_once('-').map(|(hash, name)| (hash.to_owned(), name.to_owned())).unwrap_or_default();
    let href = format!("/caches/{cache}/paths/{hash}");
    let revisions = (count > 1).then(|| {
        view! { <span class="block text-dim">{counted(count, "revision", "revisions")}</span> }
    });
    let ends = newest.expires_at.map(|at| view! { <span class="block text-dim">"ends " <When at /></span> });
    let end = may_remove.then(|| {
        let what = counted(count, "revision of it ends", "revisions of it end");
        view! {
                    <Confirm
                        id=format!("end-pin-{number}")
                        opener="Unpin"
                        describes=format!("Unpin {}", pin.name)
                        title=format!("Unpin {}?", pin.name)
                        text=format!("{what}. The paths stay until a rule takes them out.")
                        submit="Unpin"
                        action=remove
                        hidden=vec![("cache", cache), ("name", pin.name.clone())]
        />
                }
    });
    view! {
        <Row>
            <Cell class="wide min-w-28">
                <span class="font-medium break-words">{pin.name}</span>
                {revisions}
            </Cell>
            <Cell class="wide roomy">
                <StorePath hash name href />
            </Cell>
            <Cell label="Keeps" class="whole">
                {keeps(newest.keep)}
                {ends}
            </Cell>
            <Cell label="By" class="whole quiet break-words">
                {newest.created_by}
            </Cell>
            <Cell label="Pinned" class="number">
                <Ago at=newest.created_at />
            </Cell>
            <Cell class="wide sm:text-end">{end}</Cell>
        </Row>
    }
    .into_any()
}

#[component]
fn NewPin(cache: String, asked: String, create: ServerAction<PinCreate>) -> impl IntoView {
    let error = refusal(create);
    let keeps = [("forever", "every revision"), ("revisions", "the newest revisions"), ("days", "each for some days")];
    let options = keeps.map(|(value, word)| (value.to_owned(), word.to_owned())).to_vec();
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="new-pin">
            <h2 id="new-pin" class="text-lg font-semibold">
                "Pin a path"
            </h2>
            <ActionForm action=create attr:class="card flex max-w-xl flex-col gap-5 p-5">
                <Refusal error fields=&["name", "store_path", "count"] />
                <input r#type="hidden" name="cache" value=cache />
                <Field
                    name="name"
                    label="Name"
                    maxlength=255
                    placeholder="nixos-config"
                    help="A name that exists gets one more revision."
                    error
                />
                <Field
                    name="store_path"
                    label="Store path"
                    value=asked
                    placeholder="/nix/store/…-hello-2.12"
                    help="It must be in this cache."
                    error
                />
                <div class="grid gap-5 sm:grid-cols-2">
                    <Select name="keep" label="Keep" options value="forever" error />
                    <Field
                        name="count"
                        label="How many"
                        inputmode="numeric"
                        required=false
                        help="Revisions or days, where they are counted."
                        error
                    />
                </div>
                <Submit label="Pin" class="self-start" pending=create.pending() />
            </ActionForm>
        </section>
    }
}
