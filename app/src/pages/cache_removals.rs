//! What was taken out of a cache, by rules and by people, and the way back.

use crate::{
    calls::retention::RemovalUndo,
    ui::{
        badge::{Badge, Tone},
        button::{Look, Submit},
        form::{Refusal, refusal},
        icon,
        number::Size,
        table::{Cell, Column, Row, Table, numbers, words},
        time::{Ago, Now},
    },
};
use iglu_api::{
    Timestamp, format,
    retention::{Removal, RemovalState},
};
use leptos::prelude::*;

const COLUMNS: [Column; 6] =
    [words("Removal"), words("State"), numbers("Paths"), numbers("Size"), numbers("Asked"), numbers("")];

#[component]
pub fn Removals(removals: Vec<Removal>, cache: String, undo: ServerAction<RemovalUndo>) -> impl IntoView {
    let error = refusal(undo);
    if removals.is_empty() {
        return view! { <p class="text-soft">"Nothing was removed from this cache yet."</p> }.into_any();
    }
    let rows =
        removals.into_iter().map(|removal| view! { <RemovalRow removal cache=cache.clone() undo /> }).collect_view();
    view! {
        <Refusal error />
        <Table caption="Removals" columns=&COLUMNS>
            {rows}
        </Table>
    }
    .into_any()
}

#[component]
fn RemovalRow(removal: Removal, cache: String, undo: ServerAction<RemovalUndo>) -> impl IntoView {
    let now = use_context::<Now>().map_or(Timestamp(0), Now::untracked);
    let who = match removal.is_collection {
        true if removal.asked_by == "rules" => "By the rules".to_owned(),
        true => format!("By the rules, asked by {}", removal.asked_by),
        false => format!("By {}", removal.asked_by),
    };
    let (tone, glyph) = match removal.state {
        RemovalState::Asked => (Tone::Plain, icon::CLOCK),
        RemovalState::Running => (Tone::Accent, icon::CLOCK),
        RemovalState::Done => (Tone::Done, icon::CHECK),
        RemovalState::Failed => (Tone::Fail, icon::CROSSED),
        RemovalState::Undone => (Tone::Plain, icon::LEFT),
    };
    let back = removal.can_undo(now).then(|| {
        view! {
            <ActionForm action=undo>
                <input r#type="hidden" name="cache" value=cache />
                <input r#type="hidden" name="id" value=removal.id />
                <Submit label="Undo" look=Look::Quiet class="button-small" pending=undo.pending() />
            </ActionForm>
        }
    });
    let planned = format!("{} were planned", format::count(removal.planned_paths));
    view! {
        <Row>
            <Cell class="wide">
                <span class="break-words">{who}</span>
                {(!removal.note.is_empty())
                    .then(|| view! { <span class="block text-dim whitespace-normal">{removal.note}</span> })}
            </Cell>
            <Cell label="State">
                <Badge tone glyph word=removal.state.as_str() />
            </Cell>
            <Cell label="Paths" class="number">
                <span title=planned>{format::count(removal.paths)}</span>
            </Cell>
            <Cell label="Size" class="number">
                <Size bytes=removal.bytes />
            </Cell>
            <Cell label="Asked" class="number">
                <Ago at=removal.asked_at />
            </Cell>
            <Cell class="wide sm:text-end">{back}</Cell>
        </Row>
    }
}
