//! Badges: a word with an icon in a state's colour.

use super::icon::{self, Glyph, Icon};
use iglu_api::cache::Visibility;
use leptos::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Accent,
    Done,
    Warn,
    Fail,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Plain => "bg-queued-ground text-queued",
            Tone::Accent => "bg-accent-ground text-accent",
            Tone::Done => "bg-done-ground text-done",
            Tone::Warn => "bg-warn-ground text-warn",
            Tone::Fail => "bg-fail-ground text-fail",
        }
    }
}

#[component]
pub fn Badge(tone: Tone, glyph: Glyph, #[prop(into)] word: Oco<'static, str>) -> impl IntoView {
    view! {
        <span class=format!(
            "inline-flex items-center gap-1 rounded-sm px-1.5 py-0.5 text-xs font-medium whitespace-nowrap {}",
            tone.class(),
        )>
            <Icon glyph class="size-3" />
            {word}
        </span>
    }
}

#[component]
pub fn VisibilityBadge(visibility: Visibility) -> impl IntoView {
    let glyph = if visibility.is_public() { icon::GLOBE } else { icon::LOCK };
    view! { <Badge tone=Tone::Plain glyph word=visibility.as_str() /> }
}
