//! The palette: ⌘K or Ctrl-K, a few letters, Enter. Pages and caches from what the frame knows, store paths from the server.

use crate::{
    calls::{frame::Frame, path::path_find},
    ui::{
        dialog::{self, Dialog},
        icon::{self, Glyph, Icon},
        keys::PALETTE,
    },
};
use iglu_api::path::RecentPush;
use leptos::{ev::KeyboardEvent, html, prelude::*};
use leptos_router::hooks::use_navigate;

const LIST: &str = "palette-list";
/// Letters from which on store paths are looked for.
const SHORTEST: usize = 2;
const MOST: usize = 12;

/// Somewhere to go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Goal {
    words: String,
    /// What it is, beside it.
    kind: &'static str,
    glyph: Glyph,
    href: String,
}

impl Goal {
    fn new(words: impl Into<String>, kind: &'static str, glyph: Glyph, href: impl Into<String>) -> Goal {
        Goal { words: words.into(), kind, glyph, href: href.into() }
    }
}

/// Everything that needs no question to the server.
fn known(frame: &Frame) -> Vec<Goal> {
    let mut goals = vec![
        Goal::new("Overview", "page", icon::OVERVIEW, "/"),
        Goal::new("Caches", "page", icon::CACHE, "/caches"),
        Goal::new("Builders", "page", icon::BUILDER, "/builders"),
        Goal::new("Queue", "page", icon::BUILDER, "/queue"),
        Goal::new("New builder", "action", icon::PLUS, "/builders/new"),
        Goal::new("Tokens", "page", icon::TOKEN, "/tokens"),
        Goal::new("Account", "page", icon::PERSON, "/account"),
        Goal::new("New token", "action", icon::PLUS, "/tokens/new"),
        Goal::new("Documentation", "page", icon::BOOK, "/docs"),
        Goal::new("REST API", "page", icon::TERMINAL, "/docs/api"),
    ];
    if frame.me.as_ref().is_some_and(|me| me.is_admin) {
        goals.extend([
            Goal::new("New cache", "action", icon::PLUS, "/caches/new"),
            Goal::new("Server", "admin", icon::SERVER, "/admin"),
            Goal::new("Nodes", "admin", icon::SERVER, "/nodes"),
            Goal::new("Users", "admin", icon::PERSON, "/admin/users"),
            Goal::new("Audit log", "admin", icon::CLOCK, "/admin/audit"),
        ]);
    }
    for cache in &frame.caches {
        let base = format!("/caches/{cache}");
        goals.push(Goal::new(cache.to_string(), "cache", icon::CACHE, base.clone()));
        for (word, tab) in [
            ("paths", "paths"),
            ("pins", "pins"),
            ("keys", "keys"),
            ("statistics", "statistics"),
            ("retention", "retention"),
            ("members", "members"),
            ("settings", "settings"),
            ("why not substituted?", "why"),
        ] {
            goals.push(Goal::new(format!("{cache}: {word}"), "cache", icon::RIGHT, format!("{base}/{tab}")));
        }
    }
    goals
}

/// The goals that have every word of `text`, those first that begin with it.
fn matching(goals: &[Goal], text: &str) -> Vec<Goal> {
    let text = text.trim().to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut found: Vec<&Goal> = goals
        .iter()
        .filter(|goal| {
            let hay = format!("{} {}", goal.words, goal.kind).to_lowercase();
            words.iter().all(|word| hay.contains(word))
        })
        .collect();
    found.sort_by_key(|goal| !goal.words.to_lowercase().starts_with(&text));
    found.into_iter().take(MOST).cloned().collect()
}

fn path_goals(found: Vec<RecentPush>) -> impl Iterator<Item = Goal> {
    found.into_iter().map(|found| {
        let href = format!("/caches/{}/paths/{}", found.cache, found.path.hash);
        Goal::new(format!("{} in {}", found.path.name, found.cache), "path", icon::FILE, href)
    })
}

#[component]
pub fn Palette(frame: Frame) -> impl IntoView {
    let goals = StoredValue::new(known(&frame));
    let (text, set_text) = signal(String::new());
    let (chosen, set_chosen) = signal(0_usize);
    let (paths, set_paths) = signal(Vec::<RecentPush>::new());
    Effect::new(move |_| {
        let asked = text.get();
        if asked.trim().chars().count() < SHORTEST {
            set_paths.set(Vec::new());
            return;
        }
        leptos::task::spawn_local(async move {
            let found = path_find(asked.trim().to_owned()).await.unwrap_or_default();
            // An answer to what was typed before is none.
            if text.try_get_untracked().is_some_and(|text| text == asked) {
                set_paths.set(found);
            }
        });
    });
    let shown = Memo::new(move |_| {
        let text = text.get().trim().to_lowercase();
        let mut found = goals.with_value(|goals| matching(goals, &text));
        // The answer may be to what was typed before: nobody goes where they did not ask for.
        let is_meant = |goal: &Goal| {
            let hay = format!("{} {}", goal.words, goal.href).to_lowercase();
            text.contains('/') || text.split_whitespace().all(|word| hay.contains(word))
        };
        found.extend(path_goals(paths.get()).filter(is_meant));
        found
    });
    let navigate = use_navigate();
    let go = move |place: usize| {
        if let Some(goal) = shown.with_untracked(|shown| shown.get(place).cloned()) {
            dialog::close(PALETTE);
            set_text.set(String::new());
            // Pages that are not of the app.
            if goal.href.starts_with("/docs") {
                _ = window().location().set_href(&goal.href);
            } else {
                navigate(&goal.href, Default::default());
            }
        }
    };
    let by_key = go.clone();
    let choose = move |place: usize| {
        set_chosen.set(place);
        if let Some(row) = document().get_element_by_id(&format!("palette-{place}")) {
            row.scroll_into_view_with_bool(false);
        }
    };
    let on_key = move |event: KeyboardEvent| {
        let count = shown.with_untracked(Vec::len).max(1);
        match event.key().as_str() {
            "ArrowDown" => choose((chosen.get_untracked() + 1) % count),
            "ArrowUp" => choose((chosen.get_untracked() + count - 1) % count),
            "Enter" => by_key(chosen.get_untracked()),
            _ => return,
        }
        event.prevent_default();
    };
    let input = html::input()
        .id("palette-input")
        .class("input pl-8")
        .r#type("text")
        .attr("role", "combobox")
        .attr("aria-label", "Go to")
        .attr("aria-expanded", "true")
        .attr("aria-controls", LIST)
        .attr("aria-activedescendant", move || {
            let place = chosen.get();
            shown.with(|shown| shown.len() > place).then(|| format!("palette-{place}"))
        })
        .attr("placeholder", "A page, a cache, a store path")
        .attr("autocomplete", "off")
        .attr("autocapitalize", "none")
        .attr("spellcheck", "false")
        .autofocus(true)
        .prop("value", text)
        .on(leptos::ev::input, move |event| {
            set_text.set(event_target_value(&event));
            set_chosen.set(0);
        })
        .on(leptos::ev::keydown, on_key);
    let rows = move || {
        let go = go.clone();
        shown
            .get()
            .into_iter()
            .enumerate()
            .map(|(place, goal)| {
                let go = go.clone();
                view! {
                    <li
                        id=format!("palette-{place}")
                        role="option"
                        class="palette-goal"
                        aria-selected=move || if chosen.get() == place { "true" } else { "false" }
                        on:click=move |_| go(place)
                    >
                        <Icon glyph=goal.glyph />
                        <span class="min-w-0 flex-1 truncate">{goal.words}</span>
                        <span class="text-xs text-dim">{goal.kind}</span>
                    </li>
                }
            })
            .collect_view()
    };
    let nothing = move || {
        shown.with(Vec::is_empty).then(|| view! { <p class="px-2.5 py-3 text-dim">"Nothing of this name here."</p> })
    };
    view! {
        <Dialog id=PALETTE title="Go to" focus_inside=true>
            <div class="relative mb-2">
                <span class="pointer-events-none absolute top-2.5 left-2.5 text-dim">
                    <Icon glyph=icon::SEARCH />
                </span>
                {input}
            </div>
            <ul id=LIST role="listbox" aria-label="Goals" class="max-h-80 overflow-y-auto">
                {rows}
            </ul>
            <div role="status">{nothing}</div>
        </Dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iglu_api::{CacheName, UserName, account::Me};

    #[test]
    fn goals_are_what_one_may_see() {
        let me = |is_admin| Some(Me { name: UserName::parse("ada").unwrap(), is_admin });
        let caches = vec![CacheName::parse("main").unwrap()];
        let of = |is_admin| known(&Frame { me: me(is_admin), caches: caches.clone(), is_demo: false });
        assert!(of(true).iter().any(|goal| goal.href == "/admin"));
        assert!(!of(false).iter().any(|goal| goal.href.starts_with("/admin")));
        let found = matching(&of(false), "MAIN pa");
        assert_eq!(found.iter().map(|goal| goal.href.as_str()).collect::<Vec<_>>(), ["/caches/main/paths"]);
        assert_eq!(matching(&of(false), "t")[0].words, "Tokens", "those that begin with it come first");
        assert!(matching(&of(false), "no such thing").is_empty());
    }
}
