//! What a cache keeps: its rules, a preview of what they would take out now, and what was taken out.

use super::{cache::ThisCache, cache_removals::Removals, loaded::when_loaded};
use crate::{
    calls::{
        UiError,
        retention::{PREVIEW_ROWS, RemovalUndo, RetentionPage, RetentionRun, RetentionSet, RulesText, retention_get},
    },
    ui::{
        button::{Look, Submit},
        dialog::{Dialog, DialogOpener, close},
        field::{Checkbox, Field},
        form::{Refusal, Saved, done, refusal},
        number::{Size, counted},
        stat::{Stat, Stats},
        store_path::StorePath,
        table::{Cell, Column, Row, Table, numbers, words},
        time::{Ago, Now},
    },
};
use iglu_api::{
    Timestamp, format,
    retention::{PlannedPath, Preview, Retention},
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_navigate, use_query_map};

const FIELDS: [&str; 4] = ["pushed_days", "used_days", "bytes", "revisions"];

/// What can be done here; each looks at all of it again.
#[derive(Clone, Copy)]
struct Actions {
    set: ServerAction<RetentionSet>,
    run: ServerAction<RetentionRun>,
    undo: ServerAction<RemovalUndo>,
}

/// The rules that the address asks a preview of.
fn asked() -> Memo<Option<RulesText>> {
    let query = use_query_map();
    Memo::new(move |_| {
        query.with(|query| {
            let [pushed_days, used_days, bytes, revisions] =
                FIELDS.map(|field| query.get_str(field).unwrap_or_default().trim().to_owned());
            let is_asked = query.get_str("pushed_days").is_some();
            is_asked.then_some(RulesText { pushed_days, used_days, bytes, revisions })
        })
    })
}

#[component]
pub fn CacheRetention() -> impl IntoView {
    let actions = Actions { set: ServerAction::new(), run: ServerAction::new(), undo: ServerAction::new() };
    let Actions { set, run, undo } = actions;
    let cache = expect_context::<ThisCache>();
    let asked = asked();
    let (set_done, run_done, undo_done) = (done(set), done(run), done(undo));
    let changes = move || (set_done.get(), run_done.get(), undo_done.get());
    let page = Resource::new_blocking(
        move || (cache.name.get(), asked.get(), changes()),
        |(name, asked, _)| retention_get(name, asked),
    );
    view! {
        {move || view! { <Title text=format!("Retention of {}", cache.name.get()) /> }}
        {when_loaded(
            page,
            move |page| {
                let name = cache.name.get_untracked();
                view! { <Loaded page asked=asked.get_untracked() cache=name actions /> }.into_any()
            },
        )}
    }
}

/// Said to who comes from the page of a path that was removed.
#[component]
fn JustRemoved(can_undo: bool) -> impl IntoView {
    let query = use_query_map();
    move || {
        (can_undo && query.with(|query| query.get_str("removed").is_some())).then(|| {
            view! {
                <p class="card flex flex-wrap gap-x-2 px-4 py-3" role="status">
                    "The path is taken out of the cache. For a day it can be put back:"
                    <a class="link" href="#removals">
                        "What was removed"
                    </a>
                </p>
            }
        })
    }
}

#[component]
fn Loaded(page: RetentionPage, asked: Option<RulesText>, cache: String, actions: Actions) -> impl IntoView {
    let RetentionPage { rules, previewed, preview, removals, refused } = page;
    let takes_all = preview.as_ref().is_some_and(|preview| preview.paths > 0 && preview.paths == preview.all_paths);
    let text = asked.unwrap_or_else(|| RulesText::of(&rules));
    let is_saved = previewed == rules;
    let now = use_context::<Now>().map_or(Timestamp(0), Now::untracked);
    let can_undo = removals.first().is_some_and(|newest| newest.can_undo(now));
    let of = cache.clone();
    let preview = match preview {
        Some(preview) => view! { <Previewed preview is_saved takes_all cache=of run=actions.run /> }.into_any(),
        None => view! {
            <p class="max-w-prose text-soft">
                "No rule takes anything out: every path stays until somebody removes it. Type a rule and look at its preview."
            </p>
        }
        .into_any(),
    };
    view! {
        <div class="flex flex-col gap-8">
            <JustRemoved can_undo />
            <Rules text refused seen=rules takes_all cache=cache.clone() set=actions.set />
            <section class="flex flex-col gap-3" aria-labelledby="preview">
                <h2 id="preview" class="text-lg font-semibold">
                    "Preview"
                </h2>
                {preview}
            </section>
            <section class="flex flex-col gap-3" aria-labelledby="removals">
                <h2 id="removals" class="text-lg font-semibold">
                    "What was removed"
                </h2>
                <Removals removals cache undo=actions.undo />
            </section>
        </div>
    }
}

#[component]
fn Rules(
    text: RulesText,
    /// Why there is no preview of the text.
    refused: Option<UiError>,
    seen: Retention,
    takes_all: bool,
    cache: String,
    set: ServerAction<RetentionSet>,
) -> impl IntoView {
    let of_save = refusal(set);
    let error = Signal::derive(move || of_save.get().or_else(|| refused.clone()));
    let address = format!("/caches/{cache}/retention");
    let target = address.clone();
    let navigate = use_navigate();
    let preview = move |event: leptos::ev::MouseEvent| {
        event.prevent_default();
        let typed = FIELDS.map(|field| format!("{field}={}", crate::ui::form::typed(field)));
        navigate(&format!("{target}?{}", typed.join("&")), Default::default());
    };
    let seen = serde_json::to_string(&seen).unwrap_or_default();
    let asks = move || takes_all || error.with(|error| error.as_ref().is_some_and(|e| e.about("confirm").is_some()));
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="rules">
            <h2 id="rules" class="text-lg font-semibold">
                "Rules"
            </h2>
            <p class="max-w-prose text-soft">
                "Each rule takes paths out by itself, and never one that something kept refers to. What a pin needs stays, and so does what is younger than a day. Downloads of what went still work for a while."
            </p>
            <ActionForm action=set attr:class="card flex max-w-3xl flex-col gap-5 p-5">
                <Refusal
                    error
                    fields=&["pushed_days", "used_days", "bytes", "revisions", "confirm"]
                />
                <input r#type="hidden" name="cache" value=cache />
                <input r#type="hidden" name="seen" value=seen />
                <div class="grid gap-5 sm:grid-cols-2">
                    <Field
                        name="pushed_days"
                        label="Days since the last push"
                        value=text.pushed_days
                        inputmode="numeric"
                        required=false
                        help="Removes paths that were not pushed for so many days."
                        error
                    />
                    <Field
                        name="used_days"
                        label="Days since the last use"
                        value=text.used_days
                        inputmode="numeric"
                        required=false
                        help="Removes paths that were neither pulled nor pushed for so many days."
                        error
                    />
                    <Field
                        name="bytes"
                        label="Size of the cache"
                        value=text.bytes
                        placeholder="50 GiB"
                        required=false
                        help="Removes the least recently used closures until the rest fits."
                        error
                    />
                    <Field
                        name="revisions"
                        label="Revisions of each pin"
                        value=text.revisions
                        inputmode="numeric"
                        required=false
                        help="The newest so many of each pin protect what they pin; older ones do not."
                        error
                    />
                </div>
                <Show when=asks>
                    <Checkbox
                        name="confirm"
                        label="Yes, these rules may remove every path of this cache"
                        error
                    />
                </Show>
                <div class="flex flex-wrap items-center gap-2">
                    <Submit label="Save rules" pending=set.pending() />
                    <button
                        r#type="submit"
                        class=Look::Quiet.class()
                        formmethod="get"
                        formaction=address
                        on:click=preview
                    >
                        "Preview"
                    </button>
                    <Saved action=set />
                </div>
            </ActionForm>
        </section>
    }
}

const COLUMNS: [Column; 5] = [words("Store path"), words("Why"), numbers("Stored"), numbers("Pushed"), numbers("Used")];

#[component]
fn Previewed(
    preview: Preview,
    /// Whether the rules of the preview are those of the cache.
    is_saved: bool,
    takes_all: bool,
    cache: String,
    run: ServerAction<RetentionRun>,
) -> impl IntoView {
    let stats = vec![
        Stat {
            value: format::bytes(preview.freed_bytes),
            word: "would become free",
            title: format!("{} bytes; what other paths share stays", format::count(preview.freed_bytes)),
        },
        Stat {
            value: format::count(preview.paths),
            word: "paths would go",
            title: format!("{} of compressed NARs", format::bytes(preview.bytes)),
        },
        Stat {
            value: format::count(preview.all_paths - preview.paths),
            word: "paths stay",
            title: format!("of {}", format::count(preview.all_paths)),
        },
        Stat {
            value: format::count(preview.pinned_paths),
            word: "are needed by pins",
            title: "They stay whatever the rules say".to_owned(),
        },
    ];
    let reasons: Vec<String> = preview
        .reasons
        .iter()
        .map(|(why, count)| format!("{}: {}", why.as_str(), counted(*count, "path", "paths")))
        .collect();
    let shown = preview.rows.len();
    let more = (preview.paths > shown as u64).then(|| {
        view! {
            <p class="text-sm text-dim">
                {format!("The first {PREVIEW_ROWS} in the order in which they go. All of them: ")}
                <code>{format!("iglu gc {cache} --dry-run")}</code>
            </p>
        }
    });
    let rows = preview.rows.into_iter().map(|path| view! { <PlannedRow path cache=cache.clone() /> }).collect_view();
    let table = (shown > 0).then(|| {
        view! {
            <Table caption="Paths that would go" columns=&COLUMNS>
                {rows}
            </Table>
        }
    });
    let paths = preview.paths;
    view! {
        <Stats stats />
        {(!reasons.is_empty()).then(|| view! { <p class="text-soft">"Why: " {reasons.join(", ")} "."</p> })}
        {(is_saved && paths > 0).then(|| view! { <RunNow paths bytes=preview.freed_bytes takes_all cache run /> })}
        {table}
        {more}
    }
}

#[component]
fn PlannedRow(path: PlannedPath, cache: String) -> impl IntoView {
    let hash = path.hash.to_string();
    let href = format!("/caches/{cache}/paths/{hash}");
    view! {
        <Row>
            <Cell class="wide roomy">
                <StorePath hash name=path.name href />
            </Cell>
            <Cell label="Why" class="whole">
                {path.why.as_str()}
            </Cell>
            <Cell label="Stored" class="number">
                <Size bytes=path.file_size />
            </Cell>
            <Cell label="Pushed" class="number">
                <Ago at=path.pushed_at />
            </Cell>
            <Cell label="Used" class="number">
                <Ago at=path.used_at />
            </Cell>
        </Row>
    }
}

#[component]
fn RunNow(paths: u64, bytes: u64, takes_all: bool, cache: String, run: ServerAction<RetentionRun>) -> impl IntoView {
    let error = refusal(run);
    view! {
        <div class="flex flex-col gap-3">
            <Refusal error />
            <div class="flex flex-wrap items-center gap-3">
                <DialogOpener dialog="run-now" label="Run now" full=true />
                <p class="text-sm text-dim">"The rules run by themselves every hour."</p>
            </div>
            <Dialog id="run-now" title=format!("Remove {}?", counted(paths, "path", "paths"))>
                <p class="mb-4 text-soft">
                    {format!(
                        "{} become free once nobody can be downloading them any more. What is pushed or pinned meanwhile stays.",
                        format::bytes(bytes),
                    )}
                </p>
                <ActionForm action=run attr:class="flex flex-col gap-4" on:submit=move |_| close("run-now")>
                    <input r#type="hidden" name="cache" value=cache />
                    {takes_all
                        .then(|| {
                            view! {
                                <Checkbox
                                    name="confirm"
                                    label="Yes, remove every path of this cache"
                                    required=true
                                    error
                                />
                            }
                        })}
                    <div class="flex justify-end">
                        <Submit label="Remove now" look=Look::Danger pending=run.pending() />
                    </div>
                </ActionForm>
            </Dialog>
        </div>
    }
}
