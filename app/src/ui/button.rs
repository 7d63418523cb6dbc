//! Buttons, and links that look like them.

use super::icon::{Glyph, Icon};
use leptos::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Primary,
    Quiet,
    Danger,
    Plain,
}

impl Look {
    pub fn class(self) -> &'static str {
        match self {
            Look::Primary => "button button-primary",
            Look::Quiet => "button button-quiet",
            Look::Danger => "button button-danger",
            Look::Plain => "button button-plain",
        }
    }
}

#[component]
pub fn LinkButton(
    #[prop(into)] href: String,
    #[prop(into)] label: Oco<'static, str>,
    #[prop(default = Look::Primary)] look: Look,
    #[prop(optional)] glyph: Option<Glyph>,
) -> impl IntoView {
    view! {
        <a class=look.class() href=href>
            {glyph.map(|glyph| view! { <Icon glyph /> })}
            {label}
        </a>
    }
}

/// The button that sends a form. It keeps its name while the form is on its way and says so beside it.
#[component]
pub fn Submit(
    #[prop(into)] label: Oco<'static, str>,
    #[prop(default = Look::Primary)] look: Look,
    #[prop(default = "")] class: &'static str,
    #[prop(into)] pending: Signal<bool>,
) -> impl IntoView {
    view! {
        <button
            r#type="submit"
            class=format!("{} {class}", look.class())
            aria-disabled=move || pending.get().then_some("true")
        >
            {label}
            {move || pending.get().then_some("…")}
        </button>
    }
}
