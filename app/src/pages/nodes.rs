//! The nodes: who executes runs, and how to add one.

use super::{loaded::when_loaded, run_parts::BuildTabs};
use crate::{
    calls::run::{NodeCreate, NodeDrain, NodePage, NodeRemove, node_list},
    live::reload_on,
    ui::{
        badge::{Badge, Tone},
        button::{Look, Submit},
        code::Code,
        confirm::Confirm,
        empty::Empty,
        field::Field,
        form::{Refusal, done, refusal},
        icon::{self, Icon},
        page::PageHead,
        table::{Cell, Column, Row, Table, numbers, words},
        time::{Ago, Now},
    },
};
use iglu_api::{
    event::LiveEvent,
    member::CreatedInvitation,
    node::{AWAY, NodeKind, NodeRow},
};
use leptos::prelude::*;

#[derive(Clone, Copy)]
struct Acts {
    drain: ServerAction<NodeDrain>,
    remove: ServerAction<NodeRemove>,
}

#[component]
pub fn NodesPage() -> impl IntoView {
    let create = ServerAction::<NodeCreate>::new();
    let acts = Acts { drain: ServerAction::new(), remove: ServerAction::new() };
    let (created, drained, removed) = (done(create), done(acts.drain), done(acts.remove));
    let nodes = Resource::new_blocking(move || (created.get(), drained.get(), removed.get()), |_| node_list());
    reload_on(|event| matches!(event, LiveEvent::RunsChanged), move || nodes.refetch());
    // The server tells the secret once; it stays on the page while the list is fetched again.
    let kept = StoredValue::new(None::<CreatedInvitation>);
    view! {
        <PageHead
            title="Nodes"
            about=|| view! { <p class="text-soft">"Machines that execute runs. They ask this server; it never calls them."</p> }
        />
        <BuildTabs is_admin=true />
        {when_loaded(
            nodes,
            move |page| {
                if page.created.is_some() {
                    kept.set_value(page.created.clone());
                }
                view! { <Page page created=kept.get_value() create acts /> }.into_any()
            },
        )}
    }
}

const COLUMNS: [Column; 6] =
    [words("Node"), words("State"), words("Builds for"), words("Versions").quiet(), numbers("Seen"), numbers("")];

#[component]
fn Page(
    page: NodePage,
    created: Option<CreatedInvitation>,
    create: ServerAction<NodeCreate>,
    acts: Acts,
) -> impl IntoView {
    let error = refusal(create);
    let list = if page.nodes.is_empty() {
        view! {
            <div class="card">
                <Empty sentence="No node executes runs. The server brings its own where Nix, git and bubblewrap are installed beside it; its log says what is missing. Others are added below." />
            </div>
        }
        .into_any()
    } else {
        let rows = page.nodes.into_iter().map(|node| view! { <Line node acts /> }).collect_view();
        view! {
            <Table caption="Nodes" columns=&COLUMNS>
                {rows}
            </Table>
        }
        .into_any()
    };
    let server = page.server;
    view! {
        <div class="flex flex-col gap-8">
            {created.map(|created| view! { <Created created server=server.clone() /> })}
            <section class="flex flex-col gap-3" aria-label="Nodes">
                <Refusal error=refusal(acts.drain) />
                <Refusal error=refusal(acts.remove) />
                {list}
            </section>
            <section class="flex max-w-xl flex-col gap-3" aria-labelledby="add">
                <h2 id="add" class="text-lg font-semibold">
                    "Add a node"
                </h2>
                <ActionForm action=create attr:class="card flex flex-col gap-5 p-5">
                    <p class="text-soft">
                        "Any Linux machine with Nix, git and bubblewrap that reaches this server. It needs no open port and no root."
                    </p>
                    <Refusal error fields=&["name"] />
                    <Field name="name" label="Name" maxlength=60 placeholder="big-arm-1" error />
                    <Submit label="Add node" class="self-start" pending=create.pending() />
                </ActionForm>
            </section>
        </div>
    }
}

#[component]
fn Created(created: CreatedInvitation, server: String) -> impl IntoView {
    let commands = format!(
        "install -m 600 /dev/null node-token\necho {} > node-token\niglu node --server {server} --token-file node-token",
        created.link
    );
    view! {
        <section class="card flex flex-col gap-3 border-done p-4" aria-labelledby="created">
            <h2 id="created" class="flex items-center gap-2 text-lg font-semibold">
                <span class="text-done">
                    <Icon glyph=icon::CHECK />
                </span>
                {format!("Node {} is added", created.note)}
            </h2>
            <p class="text-soft">"Start it there with these commands. The secret cannot be shown again."</p>
            <Code id="node-start" place="shell" text=commands />
        </section>
    }
}

#[component]
fn Line(node: NodeRow, acts: Acts) -> impl IntoView {
    let name = node.name.clone();
    let about = |what: &str| format!("{what} {name}");
    let hidden = || ("node", name.clone());
    let (drain_id, remove_id) = (format!("drain-{name}"), format!("remove-{name}"));
    let now = use_context::<Now>().map(Now::untracked);
    let is_away = node.last_seen_at.zip(now).is_none_or(|(seen, now)| now.0 - seen.0 > AWAY);
    let state = match (node.last_seen_at.is_some(), is_away, node.is_draining) {
        (false, ..) => view! { <Badge tone=Tone::Plain glyph=icon::CLOCK word="never seen" /> },
        (_, true, _) => view! { <Badge tone=Tone::Fail glyph=icon::CROSSED word="away" /> },
        (_, _, true) => view! { <Badge tone=Tone::Warn glyph=icon::CLOSE word="draining" /> },
        _ => view! { <Badge tone=Tone::Done glyph=icon::CHECK word="takes runs" /> },
    };
    let (word, text, to, look) = if node.is_draining {
        ("Resume", "It takes runs again.", "resume", Look::Primary)
    } else {
        ("Drain", "It takes no more runs, and goes on with those that it has.", "drain", Look::Primary)
    };
    let what = if node.kind == NodeKind::Embedded { "this server's own" } else { "" };
    let removed = if node.kind == NodeKind::Embedded {
        "It comes back when its server starts again. What it has goes to others."
    } else {
        "Its secret opens nothing any more, and what it has goes to others."
    };
    let versions = if node.version.is_empty() {
        String::new()
    } else {
        format!("Iglu {}, Nix {}", node.version, node.nix_version)
    };
    let buttons = view! {
                <div class="flex flex-wrap justify-end gap-2 sm:flex-nowrap">
                    <Confirm
                        id=drain_id
                        opener=word
                        describes=about(word)
                        title=format!("{}?", about(word))
                        text
                        submit=word
                        look
                        action=acts.drain
                        hidden=vec![hidden(), ("to", to.to_owned())]
                    />
                    <Confirm
                        id=remove_id
                        opener="Remove"
                        describes=about("Remove")
                        title=format!("{}?", about("Remove"))
                        text=removed
                        submit="Remove node"
                        action=acts.remove
                        hidden=vec![hidden()]
                    />
                </div>
    };
    view! {
        <Row>
            <Cell class="wide whole">
                <span class="font-medium">{node.name}</span>
                <span class="block text-dim">{what}</span>
            </Cell>
            <Cell label="State" class="whole">
                {state}
                <span class="text-dim">{format!(" {} of {}", node.running, node.capacity)}</span>
            </Cell>
            <Cell label="Builds for" class="roomy">
                <span class="block break-words">{node.systems.join(", ")}</span>
                <span class="block break-words text-dim">{node.features.join(", ")}</span>
            </Cell>
            <Cell label="Versions" class="whole quiet">
                {versions}
            </Cell>
            <Cell label="Seen" class="number">
                {node.last_seen_at.map(|at| view! { <Ago at /> })}
            </Cell>
            <Cell class="wide sm:text-end">
                {buttons}
            </Cell>
        </Row>
    }
}
