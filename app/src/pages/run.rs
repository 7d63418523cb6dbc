//! A run: its state, what became of each derivation, what was pushed, and its log. All of it moves while the run does.

use super::{
    loaded::when_loaded,
    run_log::{Jump, LogView},
    run_parts::{DerivationBadge, RunBadge, short, took, triggered},
};
use crate::{
    calls::run::{RunBegun, RunCancel, RunStart, run_get, run_page},
    ui::{
        button::{Look, Submit},
        confirm::{Confirm, Hidden},
        form::{Refusal, refusal},
        icon::{self, Icon},
        number::counted,
        page::PageHead,
        store_path::StorePath,
        table::{Cell, Column, Row, Table, numbers, words},
        time::Ago,
    },
};
use iglu_api::{
    cache::Permission,
    format,
    run::{Derivation, DerivationState, PushedPath, RunDetail, RunState},
};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

/// Derivations and paths that are shown; the rest is counted.
const SHOWN: usize = 300;

#[component]
pub fn RunPage() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").and_then(|id| id.parse().ok()).unwrap_or(0)));
    let begun = Resource::new_blocking(move || id.get(), run_page);
    when_loaded(begun, |begun| view! { <Run begun /> }.into_any())
}

#[component]
fn Run(begun: RunBegun) -> impl IntoView {
    let RunBegun { detail, log } = begun;
    let id = detail.run.id;
    let is_over = detail.run.state.is_over();
    let shown = RwSignal::new(detail);
    let cancel = ServerAction::<RunCancel>::new();
    let start = ServerAction::<RunStart>::new();
    let jump = RwSignal::new(None::<Jump>);
    // What a log's news is about has changed too.
    let refresh = move || {
        leptos::task::spawn_local(async move {
            if let Ok(now) = run_get(id).await {
                shown.try_set(now);
            }
        });
    };
    Effect::new(move |_| {
        if cancel.value().with(|answer| matches!(answer, Some(Ok(())))) {
            refresh();
        }
    });
    view! {
        {move || shown.with(|detail| view! { <Head detail=detail.clone() cancel start /> })}
        <Refusal error=refusal(cancel) />
        <Refusal error=refusal(start) />
        <div class="flex flex-col gap-8">
            {move || shown.with(|detail| view! { <Reason detail=detail.clone() jump /> })}
            {move || shown.with(|detail| view! { <Facts detail=detail.clone() /> })}
            <LogView id log is_over jump news=refresh />
            {move || shown.with(|detail| view! { <Derivations all=detail.derivations.clone() jump /> })}
            {move || {
                shown.with(|detail| view! { <Pushed paths=detail.pushed.clone() cache=detail.run.cache.to_string() /> })
            }}
        </div>
    }
}

#[component]
fn Head(detail: RunDetail, cancel: ServerAction<RunCancel>, start: ServerAction<RunStart>) -> impl IntoView {
    let run = detail.run;
    let builder = run.builder.to_string();
    let may_run = detail.permission >= Some(Permission::Push);
    let (id, state, is_ending) = (run.id, run.state, detail.is_ending);
    let (subject, why, queued_at) = (run.subject.clone(), triggered(&run), run.queued_at);
    let commit = run.commit.as_deref().map(short);
    let reference = run.reference.to_string();
    let again = builder.clone();
    view! {
        <PageHead
            title=format!("Run {id}")
            tab=format!("Run {id} of {builder}")
            trail=vec![
                ("Builders".to_owned(), "/builders".to_owned()),
                (builder.clone(), format!("/builders/{builder}")),
            ]
            about=move || {
                view! {
                    <p class="flex flex-wrap items-center gap-x-2 gap-y-1 text-soft">
                        <RunBadge state />
                        {(is_ending && !state.is_over()).then_some("is ending")}
                        {commit.clone().map(|commit| view! { <code>{commit}</code> })}
                        <span class="font-medium text-ink break-words">
                            {if subject.is_empty() { reference.clone() } else { subject.clone() }}
                        </span>
                        <span>{why.clone()} ", " <Ago at=queued_at /></span>
                    </p>
                }
            }
            action=move || {
                let (builder, reference) = (again.clone(), run.reference.to_string());
                if !may_run {
                    ().into_any()
                } else if state.is_over() {
                    view! {
                        <ActionForm action=start>
                            <Hidden name="builder" value=builder />
                            <Hidden name="reference" value=reference />
                            <Submit label="Run again" pending=start.pending() />
                        </ActionForm>
                    }
                        .into_any()
                } else if is_ending {
                    ().into_any()
                } else {
                    view! {
                        <Confirm
                            id="cancel-run"
                            opener="Cancel"
                            describes=format!("Cancel run {id}")
                            title=format!("Cancel run {id}?")
                            text="Everything that it started ends. What it pushed so far stays."
                            submit="Cancel run"
                            look=Look::Danger
                            action=cancel
                            hidden=vec![("id", id.to_string())]
                        />
                    }
                        .into_any()
                }
            }
        />
    }
}

/// Why it failed, or why it waits: what one came for stands first.
#[component]
fn Reason(detail: RunDetail, jump: RwSignal<Option<Jump>>) -> impl IntoView {
    let run = detail.run;
    if run.reason.is_empty() || run.state == RunState::Succeeded {
        return ().into_any();
    }
    let is_failure = matches!(run.state, RunState::Failed | RunState::TimedOut);
    let class = if is_failure { "bg-fail-ground text-fail" } else { "bg-queued-ground text-soft" };
    let glyph = if is_failure { icon::CROSSED } else { icon::CLOCK };
    let failed = detail.derivations.iter().find(|one| one.state == DerivationState::Failed).map(|one| one.number);
    view! {
        <div class=format!("flex flex-wrap items-start gap-x-3 gap-y-2 rounded-lg px-4 py-3 {class}") data-testid="reason">
            <Icon glyph class="mt-1 size-4 shrink-0" />
            <p class="min-w-0 flex-1 break-words">{run.reason.clone()}</p>
            {is_failure
                .then(|| {
                    view! {
                        <button
                            r#type="button"
                            class="button button-quiet button-small needs-live"
                            on:click=move |_| jump.set(Some(Jump::Failure(failed)))
                        >
                            "Jump to failure"
                        </button>
                    }
                })}
        </div>
    }
    .into_any()
}

#[component]
fn Facts(detail: RunDetail) -> impl IntoView {
    let run = &detail.run;
    let mut earlier = detail.earlier.clone();
    earlier.sort_unstable();
    let usual = earlier.get(earlier.len() / 2).map(|millis| format!("usually {}", format::duration(*millis)));
    let built = detail.derivations.iter().filter(|one| one.state == DerivationState::Built).count() as u64;
    let pushed: u64 = detail.pushed.iter().map(|path| path.nar_size).sum();
    let facts = [
        ("Took", if run.started_at.is_some() { took(run) } else { "not begun".to_owned() }, usual),
        ("Built", counted(built, "derivation", "derivations"), None),
        ("Pushed", counted(detail.pushed.len() as u64, "path", "paths"), (pushed > 0).then(|| format::bytes(pushed))),
        ("Node", run.node.clone().unwrap_or_else(|| "none yet".to_owned()), attempt(run.attempt)),
    ];
    let cells = facts
        .into_iter()
        .map(|(word, value, more)| {
            view! {
                <div class="min-w-0 bg-surface px-4 py-3">
                    <dt class="text-sm text-dim">{word}</dt>
                    <dd>
                        <span class="font-medium break-words">{value}</span>
                        {more.map(|more| view! { <span class="block text-sm text-dim">{more}</span> })}
                    </dd>
                </div>
            }
        })
        .collect_view();
    view! { <dl class="card grid grid-cols-2 gap-px overflow-hidden bg-line lg:grid-cols-4">{cells}</dl> }
}

fn attempt(attempt: u32) -> Option<String> {
    (attempt > 1).then(|| format!("attempt {attempt}"))
}

const DERIVATIONS: [Column; 3] = [words("Derivation"), words("State"), numbers("Took")];

/// What one looks for first comes first.
fn rank(state: DerivationState) -> u8 {
    match state {
        DerivationState::Failed | DerivationState::FailedBefore => 0,
        DerivationState::Building => 1,
        DerivationState::Built => 2,
        DerivationState::Queued => 3,
        DerivationState::Substituted => 4,
        DerivationState::Skipped => 5,
    }
}

#[component]
fn Derivations(mut all: Vec<Derivation>, jump: RwSignal<Option<Jump>>) -> impl IntoView {
    if all.is_empty() {
        return ().into_any();
    }
    all.sort_by_key(|one| (rank(one.state), one.number));
    let more = all.len().saturating_sub(SHOWN);
    let rows = all
        .into_iter()
        .take(SHOWN)
        .map(|one| {
            let number = one.number;
            let took = one.started_at.zip(one.ended_at).map(|(began, ended)| format::duration(ended.0 - began.0));
            let has_log = one.started_at.is_some();
            let label = format!("Log of {}", one.name);
            view! {
                <Row>
                    <Cell class="wide roomy">
                        <span class="block truncate font-medium" title=one.drv>
                            {one.name}
                        </span>
                        {(!one.reason.is_empty())
                            .then(|| view! { <span class="block truncate text-fail">{one.reason.clone()}</span> })}
                    </Cell>
                    <Cell label="State" class="whole">
                        <DerivationBadge state=one.state />
                        {has_log
                            .then(|| {
                                view! {
                                    <button
                                        r#type="button"
                                        class="link needs-live ml-2"
                                        aria-label=label
                                        on:click=move |_| jump.set(Some(Jump::Derivation(number)))
                                    >
                                        "Log"
                                    </button>
                                }
                            })}
                    </Cell>
                    <Cell label="Took" class="number">
                        {took}
                    </Cell>
                </Row>
            }
        })
        .collect_view();
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="derivations">
            <h2 id="derivations" class="text-lg font-semibold">
                "Derivations"
            </h2>
            <Table caption="Derivations" columns=&DERIVATIONS>
                {rows}
            </Table>
            {(more > 0).then(|| view! { <p class="text-dim">{format!("And {}.", counted(more as u64, "more", "more"))}</p> })}
        </section>
    }
    .into_any()
}

const PUSHED: [Column; 2] = [words("Path"), numbers("Size")];

#[component]
fn Pushed(paths: Vec<PushedPath>, cache: String) -> impl IntoView {
    if paths.is_empty() {
        return ().into_any();
    }
    let more = paths.len().saturating_sub(SHOWN);
    let rows = paths
        .into_iter()
        .take(SHOWN)
        .map(|path| {
            let (hash, name) = path.path.split_once('-').unwrap_or((&path.path, ""));
            let href = format!("/caches/{cache}/paths/{hash}");
            let (hash, name) = (hash.to_owned(), name.to_owned());
            view! {
                <Row>
                    <Cell class="wide roomy">
                        <StorePath hash name href />
                    </Cell>
                    <Cell label="Size" class="number">
                        {format::bytes(path.nar_size)}
                    </Cell>
                </Row>
            }
        })
        .collect_view();
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="pushed">
            <h2 id="pushed" class="text-lg font-semibold">
                "Pushed"
            </h2>
            <Table caption="Pushed paths" columns=&PUSHED>
                {rows}
            </Table>
            {(more > 0).then(|| view! { <p class="text-dim">{format!("And {}.", counted(more as u64, "more", "more"))}</p> })}
        </section>
    }
    .into_any()
}
