//! The server for its administrators: storage, background work, version; and the tabs of what else they see.

use super::loaded::when_loaded;
use crate::{
    calls::instance::instance_get,
    live::reload_on,
    ui::{
        badge::{Badge, Tone},
        fact::Fact,
        form::sentence,
        icon::{self, Icon},
        number::{Size, counted},
        page::PageHead,
        tab::{Tab, Tabs},
        table::{Cell, Column, Row, Table, numbers, words},
        time::{AgoOr, When},
    },
};
use iglu_api::{
    event::LiveEvent,
    format,
    instance::{Instance, Replica, Setting},
    work::{StorageStatus, Work},
};
use leptos::prelude::*;
use leptos_router::components::Outlet;

#[component]
pub fn AdminPage() -> impl IntoView {
    view! {
        <PageHead title="Admin" />
        <Tabs label="Pages of the server">
            <Tab word="Server" href="/admin" is_root=true />
            <Tab word="Users" href="/admin/users" />
            <Tab word="Audit log" href="/admin/audit" />
        </Tabs>
        <Outlet />
    }
}

#[component]
pub fn AdminServer() -> impl IntoView {
    let instance = Resource::new_blocking(|| (), |_| instance_get());
    reload_on(|event| matches!(event, LiveEvent::WorkChanged), move || instance.refetch());
    when_loaded(instance, |instance| view! { <Server instance /> }.into_any())
}

#[component]
fn Server(instance: Instance) -> impl IntoView {
    let Instance { version, database, public_url, storage, work, replicas, configuration } = instance;
    view! {
        <div class="flex flex-col gap-8">
            <section class="flex flex-col gap-3" aria-labelledby="server">
                <h2 id="server" class="text-lg font-semibold">
                    "Server"
                </h2>
                <dl class="card facts">
                    <Fact word="Version">{format!("Iglu {version}")}</Fact>
                    <Fact word="Database">{database}</Fact>
                    <Fact word="Public URL">
                        <span class="break-all">{public_url}</span>
                    </Fact>
                </dl>
            </section>
            <Storage storage />
            {(!replicas.is_empty()).then(|| view! { <Replicas replicas /> })}
            <section class="flex flex-col gap-3" aria-labelledby="work">
                <h2 id="work" class="text-lg font-semibold">
                    "Background work"
                </h2>
                <WorkTable work />
            </section>
            <section class="flex flex-col gap-3" aria-labelledby="configuration">
                <h2 id="configuration" class="text-lg font-semibold">
                    "Configuration"
                </h2>
                <dl class="card facts">{configuration.into_iter().map(setting).collect_view()}</dl>
                <p class="text-sm text-dim">"Set by flags, environment or the settings file, when the server starts."</p>
            </section>
        </div>
    }
}

fn setting(setting: Setting) -> impl IntoView {
    let value = match (setting.value, setting.default) {
        (Some(value), _) => view! { <code class="text-xs break-all">{value}</code> }.into_any(),
        (None, Some(default)) => view! { <span class="text-dim break-words">"default: " {default}</span> }.into_any(),
        (None, None) => view! { <span class="text-dim">"not set"</span> }.into_any(),
    };
    view! {
        <div>
            <dt>
                <code class="text-xs">{setting.name}</code>
            </dt>
            <dd>{value}</dd>
        </div>
    }
}

#[component]
fn Storage(storage: StorageStatus) -> impl IntoView {
    let state = match storage.trouble {
        None => view! { <Badge tone=Tone::Done glyph=icon::CHECK word="works" /> }.into_any(),
        Some(why) => view! {
            <p class="flex items-start gap-2 rounded-md bg-fail-ground px-3 py-2 text-fail">
                <Icon glyph=icon::CROSSED class="mt-1 size-4" />
                <span class="min-w-0 break-words">{sentence(&why)} " Nothing is stored and nothing removed."</span>
            </p>
        }
        .into_any(),
    };
    let space = storage.free_bytes.zip(storage.total_bytes).map(|(free, total)| {
        view! { <Fact word="Free">{format!("{} of {}", format::bytes(free), format::bytes(total))}</Fact> }
    });
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="storage">
            <h2 id="storage" class="text-lg font-semibold">
                "Storage"
            </h2>
            <dl class="card facts">
                <Fact word="Place">
                    <span class="break-all">{storage.place}</span>
                </Fact>
                <Fact word="State">{state}</Fact>
                {space}
                <Fact word="Out of sight because damaged">{counted(storage.damaged_paths, "path", "paths")}</Fact>
                <Fact word="Taken out, still readable">
                    {counted(storage.departed_paths, "path", "paths")}
                    ", "
                    <Size bytes=storage.departed_bytes />
                </Fact>
                <Fact word="About to be removed">
                    {counted(storage.dead_files, "file", "files")}
                    ", "
                    <Size bytes=storage.dead_bytes />
                </Fact>
            </dl>
        </section>
    }
}

const REPLICA_COLUMNS: [Column; 4] = [words("Server"), words("Work"), words("Version"), numbers("Started")];

#[component]
fn Replicas(replicas: Vec<Replica>) -> impl IntoView {
    let rows = replicas.into_iter().map(|replica| {
        let work = match replica.is_leader {
            true => view! { <Badge tone=Tone::Accent glyph=icon::CLOCK word="background work" /> }.into_any(),
            false => view! { <span class="text-dim">"requests only"</span> }.into_any(),
        };
        view! {
            <Row>
                <Cell class="wide roomy">
                    <span class="font-medium break-all">{replica.name}</span>
                    {replica.is_this.then(|| view! { <span class="text-dim">" answers you"</span> })}
                </Cell>
                <Cell label="Work" class="wide">
                    {work}
                </Cell>
                <Cell label="Version">{replica.version}</Cell>
                <Cell label="Started" class="number">
                    <When at=replica.started_at />
                </Cell>
            </Row>
        }
    });
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="servers">
            <h2 id="servers" class="text-lg font-semibold">
                "Servers of this database"
            </h2>
            <Table caption="Servers of this database" columns=&REPLICA_COLUMNS>
                {rows.collect_view()}
            </Table>
        </section>
    }
}

const COLUMNS: [Column; 4] = [words("Work"), words("State"), numbers("Last run"), numbers("Next run")];

#[component]
fn WorkTable(work: Vec<Work>) -> impl IntoView {
    let rows = work.into_iter().map(|work| view! { <WorkRow work /> }).collect_view();
    view! {
        <Table caption="Background work" columns=&COLUMNS>
            {rows}
        </Table>
    }
}

#[component]
fn WorkRow(work: Work) -> impl IntoView {
    let badge = match (work.is_running, work.last_error.is_some(), work.last_ended_at.is_some()) {
        (true, ..) => view! { <Badge tone=Tone::Accent glyph=icon::CLOCK word="running" /> },
        (false, true, _) => view! { <Badge tone=Tone::Fail glyph=icon::CROSSED word="failed" /> },
        (false, false, true) => view! { <Badge tone=Tone::Done glyph=icon::CHECK word="done" /> },
        (false, false, false) => view! { <Badge tone=Tone::Plain glyph=icon::CLOCK word="not yet" /> },
    };
    let progress = work
        .progress
        .filter(|_| work.is_running)
        .map(|(done, all)| format!("{} of {}", format::count(done), format::count(all)));
    let said = work.last_error.or((!work.note.is_empty()).then_some(work.note)).map(|text| sentence(&text));
    let (name, title, about) = (work.name, work.about.clone(), work.about);
    let next = work.next_at.map(|at| view! { <When at /> });
    view! {
        <Row>
            <Cell class="wide roomy">
                <span class="block sm:truncate" title=title>
                    <span class="font-medium">{name}</span>
                    <span class="text-dim">" " {about}</span>
                </span>
                {said.map(|said| view! { <span class="block break-words text-soft">{said}</span> })}
            </Cell>
            <Cell label="State" class="wide">
                <span class="inline-flex flex-wrap items-center gap-x-2 gap-y-1">
                    {badge} {progress.map(|progress| view! { <span class="text-dim">{progress}</span> })}
                </span>
            </Cell>
            <Cell label="Last run" class="number">
                <AgoOr at=work.last_ended_at never="not yet" />
            </Cell>
            <Cell label="Next run" class="number">
                {next}
            </Cell>
        </Row>
    }
}
