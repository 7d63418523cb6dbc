//! The log of a run. Without JavaScript its end is there, and the whole as a file. With it, lines come as they are written, and of a
//! million of them only those that are looked at are on the page.

use crate::ui::icon::{self, Icon};
use iglu_api::{
    ansi::{self, Style},
    format,
    run::{LogLine, LogPart},
};
use leptos::{html, prelude::*};
use std::collections::BTreeMap;

/// Where somebody wants to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// The last line of a derivation, or of the log.
    Failure(Option<u32>),
    /// The first line of a derivation.
    Derivation(u32),
}

/// Height of a line in CSS pixels, as the style sheet has it. A million of them is what browsers can scroll.
#[cfg(feature = "hydrate")]
const LINE: f64 = 17.0;
/// Lines on the page before and behind those that are seen.
#[cfg(feature = "hydrate")]
const AROUND: u64 = 60;
/// Lines that are asked for at a time, and kept at most.
#[cfg(feature = "hydrate")]
const BLOCK: u64 = 1000;
#[cfg(feature = "hydrate")]
const MOST_KEPT: usize = 30_000;

/// The state of a view of a log.
#[derive(Clone, Copy)]
struct Log {
    #[cfg_attr(not(feature = "hydrate"), allow(dead_code))]
    id: u64,
    lines: StoredValue<BTreeMap<u64, LogLine>>,
    /// Counts changes of `lines`.
    version: RwSignal<u64>,
    count: RwSignal<u64>,
    /// The first and the last line, exclusive, that are on the page.
    window: RwSignal<(u64, u64)>,
    follows: RwSignal<bool>,
    is_over: RwSignal<bool>,
    /// The line that was jumped to.
    chosen: RwSignal<Option<u64>>,
    scroller: NodeRef<html::Div>,
    before: NodeRef<html::Div>,
    behind: NodeRef<html::Div>,
}

#[component]
pub fn LogView(
    id: u64,
    /// Its end.
    log: LogPart,
    is_over: bool,
    jump: RwSignal<Option<Jump>>,
    /// Called some times a second at most, as long as something happens.
    news: impl Fn() + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let first = log.first;
    let window = (first, first + log.lines.len() as u64);
    let lines: BTreeMap<u64, LogLine> = (first..).zip(log.lines).collect();
    let log = Log {
        id,
        lines: StoredValue::new(lines),
        version: RwSignal::new(0),
        count: RwSignal::new(log.line_count),
        window: RwSignal::new(window),
        follows: RwSignal::new(!is_over),
        is_over: RwSignal::new(is_over),
        chosen: RwSignal::new(None),
        scroller: NodeRef::new(),
        before: NodeRef::new(),
        behind: NodeRef::new(),
    };
    #[cfg(feature = "hydrate")]
    live::start(log, jump, news);
    #[cfg(not(feature = "hydrate"))]
    let _ = (jump, news);
    let counted = move || {
        let count = log.count.get();
        match count {
            0 if log.is_over.get() => "It wrote nothing.".to_owned(),
            0 => "Nothing yet.".to_owned(),
            1 => "1 line".to_owned(),
            _ => format!("{} lines", format::count(count)),
        }
    };
    let rows = move || {
        log.version.track();
        let (from, to) = log.window.get();
        let chosen = log.chosen.get();
        log.lines.with_value(|lines| {
            (from..to).map(|number| line(number, lines.get(&number), chosen == Some(number))).collect_view()
        })
    };
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="log">
            <div class="flex flex-wrap items-center gap-x-4 gap-y-2">
                <h2 id="log" class="text-lg font-semibold">
                    "Log"
                </h2>
                <p class="text-dim" role="status">
                    {counted}
                </p>
                <div class="ml-auto flex flex-wrap items-center gap-2">
                    <Search log />
                    <button
                        r#type="button"
                        class="button button-quiet button-small needs-live"
                        aria-pressed=move || if log.follows.get() { "true" } else { "false" }
                        on:click=move |_| log.follows.update(|follows| *follows = !*follows)
                    >
                        {move || if log.follows.get() { "Following" } else { "Follow" }}
                    </button>
                    <a class="button button-quiet button-small" href=format!("/runs/{id}/log.txt") download rel="external">
                        <Icon glyph=icon::SAVE />
                        "Download"
                    </a>
                </div>
            </div>
            <div
                node_ref=log.scroller
                class="log"
                tabindex="0"
                role="region"
                aria-labelledby="log"
                data-testid="log"
            >
                <div node_ref=log.before></div>
                <ol class="log-lines">{rows}</ol>
                <div node_ref=log.behind></div>
            </div>
        </section>
    }
}

fn line(number: u64, line: Option<&LogLine>, is_chosen: bool) -> AnyView {
    let spans = line.map(|line| ansi::spans(&line.text)).unwrap_or_default();
    let spans = spans
        .into_iter()
        .map(|span| {
            let class = class(span.style);
            view! { <span class=class>{span.text}</span> }
        })
        .collect_view();
    let class = if is_chosen { "log-line log-chosen" } else { "log-line" };
    view! {
        <li class=class data-line=number.to_string()>
            <span class="log-number" aria-hidden="true">
                {(number + 1).to_string()}
            </span>
            <span class="log-text">{spans}</span>
        </li>
    }
    .into_any()
}

fn class(style: Style) -> String {
    const COLOURS: [&str; 8] =
        ["ansi-black", "ansi-red", "ansi-green", "ansi-yellow", "ansi-blue", "ansi-magenta", "ansi-cyan", "ansi-white"];
    let Style { is_bold, is_dim, is_italic, is_underlined, colour } = style;
    let mut classes = Vec::new();
    classes.extend(is_bold.then_some("font-semibold"));
    classes.extend(is_dim.then_some("text-dim"));
    classes.extend(is_italic.then_some("italic"));
    classes.extend(is_underlined.then_some("underline"));
    classes.extend(colour.and_then(|colour| COLOURS.get(usize::from(colour % 8))).copied());
    classes.join(" ")
}

/// Looks for text in the whole log, on the server.
#[component]
fn Search(log: Log) -> impl IntoView {
    let text = RwSignal::new(String::new());
    let found = RwSignal::new(None::<iglu_api::run::LogFound>);
    let at = RwSignal::new(0_usize);
    #[cfg(not(feature = "hydrate"))]
    let _ = log;
    let go = move |step: isize| {
        #[cfg(feature = "hydrate")]
        live::search(log, text, found, at, step);
        #[cfg(not(feature = "hydrate"))]
        let _ = step;
    };
    let said = move || {
        found.with(|found| {
            found.as_ref().map(|found| match found.lines.len() {
                0 => "not found".to_owned(),
                count => format!("{} of {count}{}", at.get() + 1, if found.is_more { "+" } else { "" }),
            })
        })
    };
    view! {
        <form
            class="needs-live flex items-center gap-2"
            role="search"
            on:submit=move |event| {
                event.prevent_default();
                go(1);
            }
        >
            <span class="text-sm text-dim" role="status">
                {said}
            </span>
            <input
                class="input min-h-7 w-44 py-0.5 text-sm"
                r#type="search"
                aria-label="Search the log"
                placeholder="Search the log"
                maxlength="200"
                on:input=move |event| {
                    text.set(event_target_value(&event));
                    found.set(None);
                }
            />
            <button
                r#type="button"
                class="button button-plain button-small px-1.5"
                aria-label="Find the one before"
                on:click=move |_| go(-1)
            >
                <Icon glyph=icon::UP />
            </button>
            <button r#type="submit" class="button button-plain button-small px-1.5" aria-label="Find the next">
                <Icon glyph=icon::DOWN />
            </button>
        </form>
    }
}

#[cfg(feature = "hydrate")]
mod live {
    use super::{AROUND, BLOCK, Jump, LINE, Log, MOST_KEPT};
    use crate::{
        calls::run::{run_find, run_log},
        live::follow,
    };
    use iglu_api::run::{LogFound, LogLine, RunNews};
    use leptos::prelude::*;
    use std::time::Duration;

    /// News of the run itself is fetched so often at most.
    const SOON: Duration = Duration::from_millis(700);

    pub fn start(log: Log, jump: RwSignal<Option<Jump>>, news: impl Fn() + Copy + Send + Sync + 'static) {
        let fetching = StoredValue::new(false);
        let waiting = StoredValue::new(false);
        let missed = StoredValue::new(false);
        let was_at = StoredValue::new(0);
        // The page's own lines are taken over first; then it scrolls.
        Effect::new(move |_| {
            let Some(scroller) = log.scroller.get() else { return };
            let on_scroll = wasm_bindgen::closure::Closure::<dyn Fn()>::new(move || {
                if let Some(scroller) = log.scroller.try_get_untracked().flatten() {
                    // Upwards is the reader's doing; that the end moved away behind a jump to it is the log's.
                    let (top, before) = (scroller.scroll_top(), was_at.get_value());
                    let left = scroller.scroll_height() - top - scroller.client_height();
                    was_at.set_value(top);
                    if top < before && left > 60 {
                        log.follows.set(false);
                    }
                    look(log, fetching);
                }
            });
            use wasm_bindgen::JsCast;
            _ = scroller.add_event_listener_with_callback("scroll", on_scroll.as_ref().unchecked_ref());
            // Lives as long as the page's owner; the element goes with it.
            StoredValue::new_local(on_scroll);
            look(log, fetching);
            if let Some(number) = anchor() {
                go_to(log, number);
            } else if log.follows.get_untracked() {
                to_end(log);
            } else {
                // Where an ended run's log ends is what one wants to see.
                to_end(log);
            }
        });
        Effect::new(move |_| {
            let (from, to) = log.window.get();
            let count = log.count.get();
            set_height(log.before, from);
            set_height(log.behind, count.saturating_sub(to));
        });
        Effect::new(move |_| {
            log.version.track();
            if log.follows.get() {
                to_end(log);
            }
        });
        Effect::new(move |_| match jump.get() {
            None => {}
            Some(Jump::Failure(None)) => {
                let last = log.count.get_untracked().saturating_sub(1);
                go_to(log, last);
                show(log);
            }
            Some(Jump::Failure(Some(derivation))) => find(log, Some(derivation), true),
            Some(Jump::Derivation(derivation)) => find(log, Some(derivation), false),
        });
        if log.is_over.get_untracked() {
            return;
        }
        let next = log.count.get_untracked();
        follow(&format!("/runs/{}/news?first={next}", log.id), move |heard: RunNews| {
            if log.id == 0 || log.count.is_disposed() {
                return false;
            }
            let RunNews { log: part, is_over } = heard;
            keep(log, part.first, part.lines);
            log.count.set(part.line_count);
            log.version.update(|version| *version += 1);
            if is_over {
                log.is_over.set(true);
            }
            look(log, fetching);
            // At once, and then once more for whatever came meanwhile.
            if waiting.get_value() {
                missed.set_value(true);
            } else {
                waiting.set_value(true);
                news();
                set_timeout(
                    move || {
                        if waiting.is_disposed() {
                            return;
                        }
                        waiting.set_value(false);
                        if missed.get_value() {
                            missed.set_value(false);
                            news();
                        }
                    },
                    SOON,
                );
            }
            if is_over {
                news();
            }
            !is_over
        });
    }

    /// The line that the address names: `#L120`.
    fn anchor() -> Option<u64> {
        let hash = window().location().hash().ok()?;
        hash.strip_prefix("#L")?.parse::<u64>().ok()?.checked_sub(1)
    }

    fn set_height(node: NodeRef<leptos::html::Div>, lines: u64) {
        if let Some(node) = node.get() {
            let style = web_sys::HtmlElement::style(&node);
            _ = style.set_property("height", &format!("{}px", lines as f64 * LINE));
        }
    }

    fn to_end(log: Log) {
        request_animation_frame(move || {
            if let Some(scroller) = log.scroller.try_get_untracked().flatten() {
                scroller.set_scroll_top(scroller.scroll_height());
            }
        });
    }

    fn show(log: Log) {
        if let Some(scroller) = log.scroller.get_untracked() {
            scroller.scroll_into_view();
            _ = scroller.focus();
        }
    }

    /// Puts a line in the middle.
    fn go_to(log: Log, number: u64) {
        log.follows.set(false);
        log.chosen.set(Some(number));
        if let Some(scroller) = log.scroller.get_untracked() {
            let middle = f64::from(scroller.client_height()) / 2.0;
            scroller.set_scroll_top((number as f64 * LINE - middle).max(0.0) as i32);
        }
    }

    fn find(log: Log, derivation: Option<u32>, last: bool) {
        leptos::task::spawn_local(async move {
            if let Ok(found) = run_find(log.id, String::new(), derivation).await {
                let line = if last { found.lines.last() } else { found.lines.first() };
                if let Some(line) = line.copied() {
                    go_to(log, line);
                    show(log);
                }
            }
        });
    }

    pub fn search(
        log: Log,
        text: RwSignal<String>,
        found: RwSignal<Option<LogFound>>,
        at: RwSignal<usize>,
        step: isize,
    ) {
        let sought = text.get_untracked();
        if sought.trim().is_empty() {
            return;
        }
        if let Some(count) = found.with_untracked(|found| found.as_ref().map(|found| found.lines.len())) {
            if count > 0 {
                at.update(|at| *at = (*at as isize + step).rem_euclid(count as isize) as usize);
                let line = found.with_untracked(|found| {
                    found.as_ref().and_then(|found| found.lines.get(at.get_untracked()).copied())
                });
                if let Some(line) = line {
                    go_to(log, line);
                }
            }
            return;
        }
        leptos::task::spawn_local(async move {
            let answer = run_find(log.id, sought.clone(), None).await.unwrap_or_default();
            // An answer to what was typed before is none.
            if text.try_get_untracked().is_some_and(|text| text == sought) {
                at.set(0);
                if let Some(line) = answer.lines.first().copied() {
                    go_to(log, line);
                }
                found.set(Some(answer));
            }
        });
    }

    /// Shows the lines that are to be seen, and fetches those of them that are not here.
    fn look(log: Log, fetching: StoredValue<bool>) {
        let Some(scroller) = log.scroller.try_get_untracked().flatten() else { return };
        let count = log.count.get_untracked();
        let top = (f64::from(scroller.scroll_top()) / LINE) as u64;
        let rows = (f64::from(scroller.client_height()) / LINE) as u64 + 1;
        let from = top.saturating_sub(AROUND).min(count);
        let to = (top + rows + AROUND).min(count);
        if log.window.get_untracked() != (from, to) {
            log.window.set((from, to));
        }
        let missing = log.lines.with_value(|lines| (from..to).find(|number| !lines.contains_key(number)));
        let Some(missing) = missing.filter(|_| !fetching.get_value()) else { return };
        fetching.set_value(true);
        leptos::task::spawn_local(async move {
            let first = missing.saturating_sub(BLOCK / 4);
            let part = run_log(log.id, first, BLOCK).await;
            if fetching.is_disposed() {
                return;
            }
            fetching.set_value(false);
            if let Ok(part) = part {
                let came = part.lines.len();
                keep(log, part.first, part.lines);
                log.count.update(|count| *count = part.line_count.max(*count));
                log.version.update(|version| *version += 1);
                if came > 0 {
                    look(log, fetching);
                }
            }
        });
    }

    /// Keeps lines, and forgets those that are far from what is seen where they become too many.
    fn keep(log: Log, first: u64, lines: Vec<LogLine>) {
        let (from, to) = log.window.get_untracked();
        log.lines.update_value(|kept| {
            kept.extend((first..).zip(lines));
            if kept.len() > MOST_KEPT {
                let near = BLOCK * 5;
                let end = log.count.get_untracked().saturating_sub(BLOCK);
                kept.retain(|number, _| *number + near >= from && *number <= to + near || *number >= end);
            }
        });
    }
}
