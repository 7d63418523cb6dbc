//! What several pages show of runs: their state, how long they took, tables of them, the trend of a builder.

use crate::ui::{
    badge::{Badge, Tone},
    icon::{self, Glyph},
    tab::{Tab, Tabs},
    table::{Cell, Column, Row, Table, numbers, words},
    time::{Ago, Now},
};
use iglu_api::{
    format,
    run::{DerivationState, RunRow, RunState, Trigger},
};
use leptos::prelude::*;

/// The pages about building; nodes are for administrators.
#[component]
pub fn BuildTabs(is_admin: bool) -> impl IntoView {
    view! {
        <Tabs label="Pages about building">
            <Tab word="Builders" href="/builders" />
            <Tab word="Queue" href="/queue" />
            {is_admin.then(|| view! { <Tab word="Nodes" href="/nodes" /> })}
        </Tabs>
    }
}

fn look(state: RunState) -> (Tone, Glyph) {
    match state {
        RunState::Queued => (Tone::Plain, icon::CLOCK),
        RunState::Starting | RunState::Running => (Tone::Accent, icon::RUNNING),
        RunState::Succeeded => (Tone::Done, icon::CHECK),
        RunState::Failed | RunState::TimedOut => (Tone::Fail, icon::CROSSED),
        RunState::Cancelled => (Tone::Plain, icon::CLOSE),
    }
}

#[component]
pub fn RunBadge(state: RunState) -> impl IntoView {
    let (tone, glyph) = look(state);
    view! { <Badge tone glyph word=state.word() /> }
}

#[component]
pub fn DerivationBadge(state: DerivationState) -> impl IntoView {
    let (tone, glyph, word) = match state {
        DerivationState::Queued => (Tone::Plain, icon::CLOCK, "queued"),
        DerivationState::Building => (Tone::Accent, icon::RUNNING, "building"),
        DerivationState::Built => (Tone::Done, icon::CHECK, "built"),
        DerivationState::Substituted => (Tone::Done, icon::SAVE, "substituted"),
        DerivationState::Failed => (Tone::Fail, icon::CROSSED, "failed"),
        DerivationState::FailedBefore => (Tone::Fail, icon::CROSSED, "failed before"),
        DerivationState::Skipped => (Tone::Plain, icon::CLOSE, "skipped"),
    };
    view! { <Badge tone glyph word /> }
}

/// How long a run took, or takes until now.
pub fn took(run: &RunRow) -> String {
    let now = use_context::<Now>().map_or(run.queued_at, Now::untracked);
    run.duration(now).map(format::duration).unwrap_or_default()
}

/// Why there is this run: `by ada`, `on schedule`.
pub fn triggered(run: &RunRow) -> String {
    match run.trigger {
        Trigger::Manual => format!("by {}", run.triggered_by),
        Trigger::Schedule => "on schedule".to_owned(),
        Trigger::Poll => "by a new commit".to_owned(),
        Trigger::Webhook => format!("by {}", run.triggered_by),
    }
}

/// A commit as people write it.
pub fn short(commit: &str) -> String {
    commit.chars().take(10).collect()
}

/// The newest runs of a builder as bars, the newest to the right: as high as they took, in the colour of how they ended.
#[component]
pub fn Trend(runs: Vec<RunRow>) -> impl IntoView {
    const BARS: usize = 12;
    const WIDTH: usize = 7;
    const HEIGHT: i64 = 20;
    let longest = runs.iter().filter_map(|run| Some(run.ended_at?.0 - run.started_at?.0)).max().unwrap_or(0).max(1);
    let count = runs.len().min(BARS);
    let title = format!("The newest {count} runs");
    let bars = runs
        .iter()
        .take(BARS)
        .enumerate()
        .map(|(age, run)| {
            let took = run.ended_at.zip(run.started_at).map_or(0, |(ended, started)| ended.0 - started.0);
            let height = 4 + (HEIGHT - 4) * took.clamp(0, longest) / longest;
            let class = match look(run.state).0 {
                Tone::Done => "fill-done",
                Tone::Fail => "fill-fail",
                Tone::Accent => "fill-accent",
                Tone::Plain | Tone::Warn => "fill-edge",
            };
            view! {
                <rect
                    class=class
                    x=((count - 1 - age) * WIDTH).to_string()
                    y=(HEIGHT - height).to_string()
                    width="5"
                    height=height.to_string()
                    rx="1"
                />
            }
        })
        .collect_view();
    view! {
        <svg
            class="h-5"
            viewBox=format!("0 0 {} {HEIGHT}", BARS * WIDTH - 2)
            width=(BARS * WIDTH - 2).to_string()
            height=HEIGHT.to_string()
            role="img"
            aria-label=title
        >
            {bars}
        </svg>
    }
}

const RUNS: [Column; 5] = [words("Run"), words("State"), words("What"), numbers("Took"), numbers("Queued")];

/// Runs in rows; of which builder, where they are of several.
#[component]
pub fn RunTable(caption: &'static str, runs: Vec<RunRow>, #[prop(optional)] of_several: bool) -> impl IntoView {
    let rows = runs.into_iter().map(|run| view! { <Line run of_several /> }).collect_view();
    view! {
        <Table caption columns=&RUNS>
            {rows}
        </Table>
    }
}

#[component]
fn Line(run: RunRow, of_several: bool) -> impl IntoView {
    let id = run.id;
    let name = if of_several { format!("{} {id}", run.builder) } else { format!("Run {id}") };
    let commit = run.commit.as_deref().map(short);
    let what = match (&commit, run.subject.is_empty()) {
        (Some(_), false) => run.subject.clone(),
        _ => run.reference.to_string(),
    };
    let reason = (!run.reason.is_empty() && run.state != RunState::Succeeded).then(|| run.reason.clone());
    let duration = took(&run);
    let node = run.node.clone().filter(|_| !run.state.is_over()).map(|node| format!(" on {node}"));
    let why = triggered(&run);
    view! {
        <Row>
            <Cell class="wide whole">
                <a class="link font-medium" href=format!("/runs/{id}")>
                    {name}
                </a>
            </Cell>
            <Cell label="State" class="whole">
                <RunBadge state=run.state />
                <span class="text-dim">{node}</span>
            </Cell>
            <Cell class="wide roomy">
                <span class="block truncate">
                    {commit.map(|commit| view! { <code class="mr-2 text-dim">{commit}</code> })} {what}
                    <span class="ml-2 text-dim">{why}</span>
                </span>
                {reason.map(|reason| view! { <span class="block truncate text-fail" title=reason.clone()>{reason.clone()}</span> })}
            </Cell>
            <Cell label="Took" class="number">
                {duration}
            </Cell>
            <Cell label="Queued" class="number">
                <Ago at=run.queued_at />
            </Cell>
        </Row>
    }
}
