//! The list of builders.

use super::{
    frame::FrameData,
    loaded::when_loaded,
    run_parts::{BuildTabs, RunBadge, Trend},
};
use crate::{
    calls::builder::builder_list,
    live::reload_on,
    ui::{
        badge::{Badge, Tone},
        button::{LinkButton, Look},
        empty::Empty,
        icon,
        page::PageHead,
        table::{Cell, Column, Row, Table, numbers, words},
        time::Ago,
    },
};
use iglu_api::{builder::BuilderRow, event::LiveEvent};
use leptos::prelude::*;

const COLUMNS: [Column; 6] =
    [words("Builder"), words("Last run"), words("Repository"), words("Cache"), words("Trend"), numbers("Ran")];

#[component]
pub fn BuildersPage() -> impl IntoView {
    let builders = Resource::new_blocking(|| (), |_| builder_list());
    reload_on(|event| matches!(event, LiveEvent::RunsChanged), move || builders.refetch());
    let frame = expect_context::<FrameData>();
    view! {
        <PageHead
            title="Builders"
            about=|| {
                view! { <p class="text-soft">"A builder builds a git repository and fills a cache with what comes of it."</p> }
            }
            action=|| view! { <LinkButton href="/builders/new" label="New builder" glyph=icon::PLUS /> }
        />
        {frame.part(|frame| {
            view! { <BuildTabs is_admin=frame.me.is_some_and(|me| me.is_admin) /> }.into_any()
        })}
        {when_loaded(builders, |builders| view! { <List builders /> }.into_any())}
    }
}

#[component]
fn List(builders: Vec<BuilderRow>) -> impl IntoView {
    if builders.is_empty() {
        return view! {
            <div class="card">
                <Empty sentence="There is no builder yet. Point one at a git repository: it builds on demand, pushes each derivation as soon as it is done, and keeps the log.">
                    <LinkButton href="/builders/new" label="Make a builder" look=Look::Quiet />
                </Empty>
            </div>
        }
        .into_any();
    }
    let rows = builders.into_iter().map(|builder| view! { <Line builder /> }).collect_view();
    view! {
        <Table caption="Builders" columns=&COLUMNS>
            {rows}
        </Table>
    }
    .into_any()
}

#[component]
fn Line(builder: BuilderRow) -> impl IntoView {
    let name = builder.name.to_string();
    let href = format!("/builders/{name}");
    let last = builder.runs.first().cloned();
    let state = match &last {
        Some(run) => {
            let href = format!("/runs/{}", run.id);
            view! {
                <a href=href aria-label=format!("Run {}: {}", run.id, run.state.word())>
                    <RunBadge state=run.state />
                </a>
            }
            .into_any()
        }
        None => view! { <span class="text-dim">"never run"</span> }.into_any(),
    };
    let off = (!builder.is_enabled).then(|| view! { <Badge tone=Tone::Warn glyph=icon::CROSSED word="off" /> });
    view! {
        <Row>
            <Cell class="wide whole">
                <a class="link font-medium" href=href>
                    {name}
                </a>
                " "
                {off}
            </Cell>
            <Cell label="Last run" class="whole">
                {state}
            </Cell>
            <Cell class="wide roomy">
                <span class="block truncate">
                    {builder.repository.to_string()} <span class="text-dim">" " {builder.reference.to_string()}</span>
                </span>
            </Cell>
            <Cell label="Cache" class="whole">
                <a class="link" href=format!("/caches/{}", builder.cache)>
                    {builder.cache.to_string()}
                </a>
            </Cell>
            <Cell label="Trend">
                <Trend runs=builder.runs />
            </Cell>
            <Cell label="Ran" class="number">
                {match last {
                    Some(run) => view! { <Ago at=run.queued_at /> }.into_any(),
                    None => view! { <span class="text-dim">"never"</span> }.into_any(),
                }}
            </Cell>
        </Row>
    }
}
