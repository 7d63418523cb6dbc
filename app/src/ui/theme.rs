//! Light, dark, or as the system has it: kept in the browser, set on the document before the first paint by the shell.

use super::icon::{self, Icon};
use leptos::prelude::*;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub const ALL: [Theme; 3] = [Theme::System, Theme::Light, Theme::Dark];

    pub fn word(self) -> &'static str {
        match self {
            Theme::System => "System",
            Theme::Light => "Light",
            Theme::Dark => "Dark",
        }
    }

    #[cfg(feature = "hydrate")]
    fn as_str(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }
}

/// The chosen theme of this browser.
#[derive(Clone, Copy)]
pub struct Chosen(RwSignal<Theme>);

impl Chosen {
    /// Provides the theme to every page. Called once, at the root.
    pub fn provide() {
        let chosen = Chosen(RwSignal::new(Theme::System));
        provide_context(chosen);
        #[cfg(feature = "hydrate")]
        Effect::new(move |_| chosen.0.set(kept()));
    }

    pub fn get(self) -> Theme {
        self.0.get()
    }

    pub fn choose(self, theme: Theme) {
        self.0.set(theme);
        #[cfg(feature = "hydrate")]
        keep(theme);
    }

    fn other(self) -> Theme {
        match self.0.get_untracked() {
            Theme::Dark => Theme::Light,
            Theme::Light => Theme::Dark,
            Theme::System if system_is_dark() => Theme::Light,
            Theme::System => Theme::Dark,
        }
    }
}

/// Switches between light and dark.
#[component]
pub fn ThemeToggle() -> impl IntoView {
    let chosen = expect_context::<Chosen>();
    view! {
        <button
            r#type="button"
            class="button button-plain button-small needs-live px-1.5"
            aria-label="Switch between light and dark"
            title="Switch between light and dark"
            on:click=move |_| chosen.choose(chosen.other())
        >
            <Icon glyph=icon::HALF_MOON />
        </button>
    }
}

/// The three ways, for the account page.
#[component]
pub fn ThemeChoice() -> impl IntoView {
    let chosen = expect_context::<Chosen>();
    let ways = Theme::ALL
        .map(|theme| {
            view! {
                <label class="option">
                    <input
                        r#type="radio"
                        name="theme"
                        prop:checked=move || chosen.get() == theme
                        on:change=move |_| chosen.choose(theme)
                    />
                    <span class="font-medium">{theme.word()}</span>
                </label>
            }
        })
        .collect_view();
    view! {
        <fieldset class="needs-live">
            <legend class="sr-only">"Theme"</legend>
            <div class="grid gap-2 sm:grid-cols-3">{ways}</div>
        </fieldset>
    }
}

fn system_is_dark() -> bool {
    #[cfg(feature = "hydrate")]
    return window().match_media("(prefers-color-scheme: dark)").ok().flatten().is_some_and(|query| query.matches());
    #[cfg(not(feature = "hydrate"))]
    false
}

#[cfg(feature = "hydrate")]
const KEY: &str = "iglu-theme";

#[cfg(feature = "hydrate")]
fn kept() -> Theme {
    let storage = window().local_storage().ok().flatten();
    let word = storage.and_then(|storage| storage.get_item(KEY).ok().flatten());
    Theme::ALL.into_iter().find(|theme| Some(theme.as_str()) == word.as_deref()).unwrap_or_default()
}

#[cfg(feature = "hydrate")]
fn keep(theme: Theme) {
    // A browser that keeps nothing still shows the theme until the page goes.
    if let Ok(Some(storage)) = window().local_storage() {
        _ = storage.set_item(KEY, theme.as_str());
    }
    if let Some(root) = document().document_element() {
        _ = match theme {
            Theme::System => root.remove_attribute("data-theme"),
            theme => root.set_attribute("data-theme", theme.as_str()),
        };
    }
}
