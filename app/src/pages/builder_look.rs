//! A look at the repository that a form names, before anything is saved: whether nodes can fetch it, and what its flake offers.

use super::run_parts::short;
use crate::{
    calls::{
        UiError,
        builder::{builder_probe, builder_probed},
    },
    ui::{
        button::Look,
        form::{put_value, sentence, value_of},
        icon::{self, Icon},
    },
};
use iglu_api::probe::ProbeAnswer;
use leptos::prelude::*;

/// How often is asked for the answer, each time for a while.
const TRIES: usize = 8;
/// Outputs of a kind that are shown; whoever has more writes the others.
const SHOWN: usize = 60;
/// The field that outputs are picked into.
const OUTPUTS: &str = "spec[outputs]";

/// What the form says.
#[derive(Clone, Debug)]
struct Asked {
    cache: String,
    builder: String,
    repository: String,
    reference: String,
    folder: String,
    user: String,
    password: String,
    key: String,
}

impl Asked {
    fn now(of: Option<(String, String)>) -> Asked {
        let (builder, cache) = of.unwrap_or_else(|| (String::new(), value_of("cache")));
        Asked {
            cache,
            builder,
            repository: value_of("spec[repository]"),
            reference: value_of("spec[reference]"),
            folder: value_of("spec[folder]"),
            user: value_of("user"),
            password: value_of("password"),
            key: value_of("key"),
        }
    }
}

async fn look(asked: Asked) -> Result<ProbeAnswer, UiError> {
    let Asked { cache, builder, repository, reference, folder, user, password, key } = asked;
    let probe = builder_probe(cache, builder, repository, reference, folder, user, password, key).await?;
    for _ in 0..TRIES {
        if let Some(answer) = builder_probed(probe).await? {
            return Ok(answer);
        }
    }
    Ok(ProbeAnswer::Failed { reason: "no node answered in time".to_owned() })
}

/// A button that lets a node look, and what it saw. `of` is the builder and its cache, where there is one already.
#[component]
pub fn RepositoryLook(of: Option<(String, String)>) -> impl IntoView {
    let action = Action::new(|asked: &Asked| look(asked.clone()));
    let pending = action.pending();
    let press = move |_| {
        if !pending.get_untracked() {
            action.dispatch(Asked::now(of.clone()));
        }
    };
    let answer = move || {
        let answer = action.value().get()?;
        Some(match answer {
            Ok(ProbeAnswer::Found { commit, subject, outputs, trouble }) => {
                let short = short(&commit);
                view! {
                    <p class="flex items-start gap-2">
                        <span class="mt-0.5 text-done">
                            <Icon glyph=icon::CHECK />
                        </span>
                        <span class="min-w-0 break-words">
                            "A node can fetch it. The newest commit is " <code>{short}</code> ", “" {subject} "”."
                        </span>
                    </p>
                    {(!trouble.is_empty()).then(|| view! { <p class="min-w-0 break-words text-soft">{sentence(&trouble)}</p> })}
                    <Picker outputs />
                }
                    .into_any()
            }
            Ok(ProbeAnswer::Failed { reason }) => wrong(&reason).into_any(),
            Err(error) => wrong(&error.to_string()).into_any(),
        })
    };
    view! {
        <div class="needs-live flex flex-col gap-3 border-t border-line pt-5">
            <div class="flex flex-wrap items-center gap-3">
                <button
                    type="button"
                    class=Look::Quiet.class()
                    aria-disabled=move || pending.get().then_some("true")
                    on:click=press
                >
                    "Test connection"
                </button>
                <p role="status" class="text-soft">
                    {move || {
                        if pending.get() { "A node fetches it …" } else { "Fetches it once, and lists what its flake offers." }
                    }}
                </p>
            </div>
            <div aria-live="polite" class="flex flex-col gap-3">
                {move || (!pending.get()).then(answer).flatten()}
            </div>
        </div>
    }
}

fn wrong(reason: &str) -> impl IntoView {
    view! {
        <p class="flex items-start gap-2">
            <span class="mt-0.5 text-fail">
                <Icon glyph=icon::CROSSED />
            </span>
            <span class="min-w-0 break-words">{sentence(reason)}</span>
        </p>
    }
}

/// The outputs by kind and system; those in the field are pressed.
#[component]
fn Picker(outputs: Vec<String>) -> impl IntoView {
    let picked = RwSignal::new(lines());
    let mut groups: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for output in outputs {
        let parts: Vec<&str> = output.splitn(3, '.').collect();
        let (group, name) = match parts.as_slice() {
            [kind, system, name] => (format!("{kind} for {system}"), (*name).to_owned()),
            [kind, name] => ((*kind).to_owned(), (*name).to_owned()),
            _ => continue,
        };
        match groups.iter_mut().find(|(other, _)| *other == group) {
            Some((_, members)) => members.push((name, output)),
            None => groups.push((group, vec![(name, output)])),
        }
    }
    let groups = groups.into_iter().map(|(group, members)| {
        let kind = group.split(' ').next().unwrap_or_default().to_owned();
        let count = members.len();
        let more = count.saturating_sub(SHOWN);
        let chips = members.into_iter().take(SHOWN).map(|(name, output)| view! { <Pick label=name output picked /> });
        view! {
            <div class="flex flex-col gap-2" role="group" aria-label=group.clone()>
                <p class="text-sm text-soft">{group.clone()} {(more > 0).then(|| format!(", of which {SHOWN} are shown here"))}</p>
                <div class="flex flex-wrap gap-2">
                    <Pick label=format!("all {kind}") output=kind picked /> {chips.collect_view()}
                </div>
            </div>
        }
    });
    let groups = groups.collect_view();
    view! { <div class="flex flex-col gap-4" data-testid="picker">{groups}</div> }
}

/// An output that a press puts into the field, or takes out again.
#[component]
fn Pick(#[prop(into)] label: String, output: String, picked: RwSignal<Vec<String>>) -> impl IntoView {
    let kept = output.clone();
    let is_picked = move || picked.with(|picked| picked.contains(&kept));
    let glyph = {
        let is_picked = is_picked.clone();
        move || is_picked().then(|| view! { <Icon glyph=icon::CHECK /> })
    };
    let press = move |_| {
        // What was typed meanwhile counts.
        let mut now = lines();
        match now.iter().position(|line| *line == output) {
            Some(at) => drop(now.remove(at)),
            None => now.push(output.clone()),
        }
        put_value(OUTPUTS, &now.join("\n"));
        picked.set(now);
    };
    view! {
        <button
            type="button"
            class="button button-quiet button-small"
            aria-pressed=move || if is_picked() { "true" } else { "false" }
            on:click=press
        >
            {glyph}
            {label}
        </button>
    }
}

fn lines() -> Vec<String> {
    let text = value_of(OUTPUTS);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
