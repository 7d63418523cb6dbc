//! A builder: its runs, and its settings.

use super::{
    builder_form::{FIELDS, SpecFields},
    loaded::{part_when_loaded, when_loaded},
    run_parts::{RunTable, Trend},
};
use crate::{
    calls::{
        UiError,
        builder::{BuilderChange, BuilderRemove, BuilderSwitch, builder_get},
        run::{RunStart, RunsShown, run_list},
    },
    live::reload_on,
    ui::{
        badge::{Badge, Tone},
        button::{Look, Submit},
        confirm::{Confirm, Hidden},
        empty::Empty,
        fact::Fact,
        field::Field,
        form::{Refusal, Saved, done, refusal},
        icon,
        number::counted,
        page::PageHead,
        pagination::Older,
        tab::{Tab, Tabs},
        time::{Ago, When},
    },
};
use iglu_api::{
    builder::{BuilderDetail, Triggers, What},
    cache::Permission,
    event::LiveEvent,
};
use leptos::prelude::*;
use leptos_router::{
    components::Outlet,
    hooks::{use_params_map, use_query_map},
};

/// The builder whose pages are open, for the page below the tabs.
#[derive(Clone, Copy)]
pub struct ThisBuilder {
    detail: Resource<Result<BuilderDetail, UiError>>,
    switch: ServerAction<BuilderSwitch>,
    change: ServerAction<BuilderChange>,
}

#[component]
pub fn BuilderPage() -> impl IntoView {
    let params = use_params_map();
    let name = Memo::new(move |_| params.with(|params| params.get("name").unwrap_or_default()));
    let (switch, change) = (ServerAction::<BuilderSwitch>::new(), ServerAction::<BuilderChange>::new());
    let switched = done(switch);
    let detail = Resource::new_blocking(move || (name.get(), switched.get()), |(name, _)| builder_get(name));
    reload_on(|event| matches!(event, LiveEvent::RunsChanged), move || detail.refetch());
    provide_context(ThisBuilder { detail, switch, change });
    view! {
        // Why there is none, the page below says.
        {part_when_loaded(detail, |builder| Some(view! { <Head builder /> }.into_any()))}
        <Outlet />
    }
}

#[component]
fn Head(builder: BuilderDetail) -> impl IntoView {
    let start = ServerAction::<RunStart>::new();
    let name = builder.name.to_string();
    let may_run = builder.permission >= Some(Permission::Push) && builder.is_enabled;
    let may_change = builder.permission >= Some(Permission::Admin);
    let base = format!("/builders/{name}");
    let (repository, reference) = (builder.spec.repository.to_string(), builder.spec.reference.to_string());
    let cache = builder.cache.to_string();
    let is_enabled = builder.is_enabled;
    let hears = builder.spec.triggers.webhook.is_some();
    let of = name.clone();
    view! {
        <PageHead
            title=name.clone()
            tab=format!("Builder {name}")
            trail=vec![("Builders".to_owned(), "/builders".to_owned())]
            about=move || {
                view! {
                    <p class="flex flex-wrap items-center gap-x-2 gap-y-1 text-soft">
                        {(!is_enabled)
                            .then(|| view! { <Badge tone=Tone::Warn glyph=icon::CROSSED word="switched off" /> })}
                        <span class="break-all">{repository.clone()}</span>
                        <span>"at " <code>{reference.clone()}</code></span>
                        "into cache"
                        <a class="link" href=format!("/caches/{cache}")>
                            {cache.clone()}
                        </a>
                    </p>
                }
            }
            action=move || {
                let builder = of.clone();
                may_run
                    .then(|| {
                        view! {
                            <ActionForm action=start>
                                <Hidden name="builder" value=builder />
                                <Submit label="Run now" pending=start.pending() />
                            </ActionForm>
                        }
                    })
            }
        />
        <Refusal error=refusal(start) />
        <Tabs label=format!("Pages of {name}")>
            <Tab word="Runs" href=base.clone() is_root=true />
            {may_change
                .then(|| {
                    view! {
                        {hears.then(|| view! { <Tab word="Webhook" href=format!("{base}/webhook") /> })}
                        <Tab word="Settings" href=format!("{base}/settings") />
                    }
                })}
        </Tabs>
    }
}

/// What is built, in a few words.
fn what(what: &What) -> String {
    match what {
        What::Flake { outputs, .. } => outputs.join(", "),
        What::File { file, attributes } if attributes.is_empty() => file.clone(),
        What::File { file, attributes } => format!("{} of {file}", attributes.join(", ")),
        What::Command { command } => command.clone(),
    }
}

/// What starts it, in a few words.
fn triggers(triggers: &Triggers) -> String {
    let mut words = vec!["by hand".to_owned()];
    words.extend(triggers.webhook.as_ref().map(|_| "when the forge calls".to_owned()));
    words.extend(
        triggers
            .poll_minutes
            .map(|minutes| format!("by a look every {}", counted(minutes.into(), "minute", "minutes"))),
    );
    words.extend(triggers.schedule.as_ref().map(|schedule| {
        format!("at {} {}", schedule.cron, if schedule.time_zone.is_empty() { "UTC" } else { &schedule.time_zone })
    }));
    words.join(", ")
}

#[component]
pub fn BuilderRuns() -> impl IntoView {
    let builder = expect_context::<ThisBuilder>();
    let (params, query) = (use_params_map(), use_query_map());
    let name = Memo::new(move |_| params.with(|params| params.get("name").unwrap_or_default()));
    let before = Memo::new(move |_| query.with(|query| query.get_str("before").and_then(|before| before.parse().ok())));
    let shown = Resource::new_blocking(move || (name.get(), before.get()), |(name, before)| run_list(name, before));
    reload_on(|event| matches!(event, LiveEvent::RunsChanged), move || shown.refetch());
    // Why there is no builder, the runs say.
    let facts = part_when_loaded(builder.detail, |builder| Some(view! { <Facts builder /> }.into_any()));
    let runs = when_loaded(shown, move |RunsShown { runs, has_more }| {
        let base = format!("/builders/{}", name.get_untracked());
        let is_later = before.get_untracked().is_some();
        let Some(last) = runs.last().map(|run| run.id) else {
            let sentence = match is_later {
                true => "There are no older runs.",
                false => {
                    "It has not run yet. Run it now, or from a terminal: iglu run start, with its name and --follow."
                }
            };
            let view = view! {
                <div class="card">
                    <Empty sentence />
                </div>
            };
            return view.into_any();
        };
        let newest = is_later.then(|| base.clone());
        let older = has_more.then(|| format!("{base}?before={last}"));
        let view = view! {
            <div>
                <RunTable caption="Runs" runs />
                <Older label="Parts of the runs" newest older />
            </div>
        };
        view.into_any()
    });
    view! { <div class="flex flex-col gap-6">{facts} {runs}</div> }
}

#[component]
fn Facts(builder: BuilderDetail) -> impl IntoView {
    let systems =
        if builder.spec.systems.is_empty() { "that of the node".to_owned() } else { builder.spec.systems.join(", ") };
    view! {
            <dl class="facts card p-4">
                <Fact word="Builds">
                    <span class="line-clamp-3 break-words">{what(&builder.spec.what)}</span>
                </Fact>
                <Fact word="Systems">{systems}</Fact>
                <Fact word="Runs">
                    {triggers(&builder.spec.triggers)}
                    {builder.next_at.map(|at| view! { <span class="text-dim">", next " <When at /></span> })}
                </Fact>
                <Fact word="Trend">
                    <Trend runs=builder.runs />
                </Fact>
                <Fact word="Made">
                    <Ago at=builder.created_at />
                    " by "
                    {builder.created_by}
                </Fact>
            </dl>
    }
}

#[component]
pub fn BuilderSettings() -> impl IntoView {
    let builder = expect_context::<ThisBuilder>();
    let remove = ServerAction::<BuilderRemove>::new();
    // What is typed stays while runs come and go: the form is made of what the page began with, and of each change.
    let changed = done(builder.change);
    let params = use_params_map();
    let own = Resource::new_blocking(
        move || (params.with(|params| params.get("name").unwrap_or_default()), changed.get()),
        |(name, _)| builder_get(name),
    );
    when_loaded(own, move |detail| {
        if detail.permission < Some(Permission::Admin) {
            return view! { <p class="text-soft">"Whoever maintains the cache may change its builders."</p> }
                .into_any();
        }
        view! { <Settings detail change=builder.change switch=builder.switch remove /> }.into_any()
    })
}

#[component]
fn Settings(
    detail: BuilderDetail,
    change: ServerAction<BuilderChange>,
    switch: ServerAction<BuilderSwitch>,
    remove: ServerAction<BuilderRemove>,
) -> impl IntoView {
    let error = refusal(change);
    let name = detail.name.to_string();
    let about = |what: &str| format!("{what} {name}");
    let hidden = || ("builder", name.clone());
    let (whole, confirm) = (name.clone(), format!("Type {name}"));
    let (opener, text, to, look) = if detail.is_enabled {
        ("Switch off", "Nothing starts runs of it any more. Runs under way go on.", "off", Look::Danger)
    } else {
        ("Switch on", "It can be run again.", "on", Look::Primary)
    };
    let buttons = view! {
                <div class="flex flex-wrap gap-2">
                    <Confirm
                        id="switch"
                        opener
                        describes=about(opener)
                        title=format!("{}?", about(opener))
                        text
                        submit=opener
                        look
                        action=switch
                        hidden=vec![hidden(), ("to", to.to_owned())]
                    />
                    <Confirm
                        id="remove-builder"
                        opener="Remove"
                        describes=about("Remove")
                        title=format!("{}?", about("Remove"))
                        text="Its runs and their logs go with it. What it built stays in the cache. This cannot be undone."
                        submit="Remove builder"
                        action=remove
                        hidden=vec![hidden()]
                    >
                        <Field
                            name="confirm"
                            label=confirm
                            autocomplete="off"
                            error=refusal(remove)
                        />
                    </Confirm>
                </div>
    };
    let kept = (detail.name.to_string(), detail.cache.to_string());
    view! {
        <div class="flex max-w-2xl flex-col gap-8">
            <ActionForm action=change attr:class="flex flex-col gap-6">
                <Refusal error fields=&FIELDS />
                <Hidden name="builder" value=whole />
                <Hidden name="revision" value=detail.revision.to_string() />
                <SpecFields spec=Some(detail.spec) has_credential=detail.has_credential has_status_token=detail.has_status_token kept error />
                <div class="flex items-center gap-3">
                    <Submit label="Save" pending=change.pending() />
                    <Saved action=change />
                </div>
            </ActionForm>
            <section class="card flex flex-col gap-4 border-fail p-5" aria-labelledby="danger">
                <h2 id="danger" class="text-lg font-semibold">
                    "Switch off, or remove"
                </h2>
                <Refusal error=refusal(switch) />
                <Refusal error=refusal(remove) fields=&["confirm"] />
                {buttons}
            </section>
        </div>
    }
}
