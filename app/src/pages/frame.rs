//! The frame around the pages: navigation, the cache switcher, who is logged in.

use super::{loaded::part_when_loaded, palette::Palette, problem::login_address};
use crate::{
    calls::{
        UiError,
        account::SessionEnd,
        frame::{Frame, frame_get},
    },
    live::Live,
    ui::{
        button::{LinkButton, Look},
        dialog,
        icon::{self, Glyph, Icon},
        keys::{self, KeysDialog},
        logo::Logo,
        theme::ThemeToggle,
    },
};
use iglu_api::CacheName;
use leptos::prelude::*;
use leptos_router::{components::Outlet, hooks::use_location};

const SIDEBAR: &str = "sidebar";

/// The frame's data, for pages that show something only to some.
#[derive(Clone, Copy)]
pub struct FrameData {
    resource: Resource<Result<Frame, UiError>>,
    version: RwSignal<u32>,
}

impl FrameData {
    /// A part of a page that depends on who looks at it.
    pub fn part(self, part: impl Fn(Frame) -> AnyView + Clone + Send + Sync + 'static) -> AnyView {
        part_when_loaded(self.resource, move |frame| Some(part(frame)))
    }

    /// Fetches again, after something that the frame shows has changed.
    pub fn refresh(self) {
        self.version.update(|version| *version += 1);
    }
}

#[component]
pub fn FramedPages() -> impl IntoView {
    let version = RwSignal::new(0);
    let resource = Resource::new_blocking(move || version.get(), |_| frame_get());
    provide_context(FrameData { resource, version });
    Live::provide();
    let path = use_location().pathname;
    // The drawer closes and the keyboard starts at the new page's beginning.
    Effect::new(move |before: Option<String>| {
        let here = path.get();
        if before.is_some_and(|before| before != here) {
            dialog::close(SIDEBAR);
            focus_main();
        }
        here
    });
    view! {
        <div class="lg:flex">
            <header class="sticky top-0 z-10 flex h-14 items-center gap-2 border-b border-line bg-snow px-3 lg:hidden">
                <button
                    r#type="button"
                    class="button button-plain px-2"
                    popovertarget=SIDEBAR
                    aria-label="Open the menu"
                >
                    <Icon glyph=icon::MENU class="size-5" />
                </button>
                <a href="/" class="flex items-center gap-2 font-semibold">
                    <Logo class="size-6" />
                    "Iglu"
                </a>
            </header>
            <nav id=SIDEBAR class="sidebar" popover="auto" aria-label="Main">
                <a href="/" class="flex h-16 shrink-0 items-center gap-2.5 px-5 text-lg font-semibold tracking-tight">
                    <Logo />
                    "Iglu"
                </a>
                {part_when_loaded(resource, move |frame| Some(view! { <Navigation frame path /> }.into_any()))}
            </nav>
            <main id="main" tabindex="-1" class="min-w-0 flex-1 outline-none">
                {part_when_loaded(resource, |frame| frame.is_demo.then(|| view! { <DemoNotice /> }.into_any()))}
                <div class="mx-auto max-w-[80rem] px-4 py-6 sm:px-8 lg:py-8">
                    <Outlet />
                </div>
            </main>
        </div>
        {part_when_loaded(
            resource,
            |frame| frame.me.is_some().then(|| view! { <Palette frame /> }.into_any()),
        )}
        <KeysDialog />
    }
}

#[component]
fn Navigation(frame: Frame, path: Memo<String>) -> impl IntoView {
    let logged_in = frame.me.is_some();
    let is_admin = frame.me.as_ref().is_some_and(|me| me.is_admin);
    let pages = logged_in.then(|| {
        view! {
            <Switcher caches=frame.caches path />
            <button
                r#type="button"
                class="needs-live mx-3 mb-3 flex min-h-9 items-center gap-2 rounded-md border border-line px-2.5 text-soft"
                popovertarget=keys::PALETTE
            >
                <Icon glyph=icon::SEARCH />
                <span class="flex-1 text-start">"Go to…"</span>
                <kbd class="text-xs text-dim">"⌘K"</kbd>
            </button>
            <ul class="flex flex-col gap-0.5 px-3">
                <NavLink href="/" word="Overview" glyph=icon::OVERVIEW path exact=true />
                <NavLink href="/caches" word="Caches" glyph=icon::CACHE path />
                <NavLink href="/builders" word="Builders" glyph=icon::BUILDER path also=&["/runs", "/queue", "/nodes"] />
                <NavLink href="/tokens" word="Tokens" glyph=icon::TOKEN path />
                {is_admin.then(|| view! { <NavLink href="/admin" word="Admin" glyph=icon::SERVER path /> })}
            </ul>
        }
    });
    let person = match frame.me {
        Some(me) => view! {
            <ul class="min-w-0 flex-1">
                <NavLink href="/account" word=me.name.to_string() glyph=icon::PERSON path />
            </ul>
            <LogOut />
        }
        .into_any(),
        None => {
            let login = move || login_address(&path.get());
            view! {
                <a class="nav-link flex-1" href=login>
                    <Icon glyph=icon::PERSON />
                    "Log in"
                </a>
            }
            .into_any()
        }
    };
    view! {
        {pages}
        <div class="mt-auto flex flex-col gap-1 border-t border-line p-3">
            <div class="flex items-center gap-1">{person}</div>
            <div class="flex items-center gap-1 pl-1">
                <ThemeToggle />
                <a
                    class="button button-plain button-small px-1.5"
                    href="/docs"
                    rel="external"
                    aria-label="Documentation"
                    title="Documentation"
                >
                    <Icon glyph=icon::BOOK />
                </a>
                <button
                    r#type="button"
                    class="button button-plain button-small needs-live px-1.5"
                    aria-label="Show the keys"
                    title="Show the keys"
                    on:click=move |_| {
                        dialog::close(SIDEBAR);
                        dialog::open(keys::DIALOG);
                    }
                >
                    <Icon glyph=icon::KEYBOARD />
                </button>
            </div>
        </div>
    }
}

#[component]
fn DemoNotice() -> impl IntoView {
    view! {
        <p class="bg-warn-ground px-4 py-1.5 text-center text-sm text-warn">
            "A demo: the people, paths and numbers here are made up."
        </p>
    }
}

#[component]
fn NavLink(
    href: &'static str,
    #[prop(into)] word: String,
    glyph: Glyph,
    path: Memo<String>,
    /// Only the address itself, not what lies below it.
    #[prop(optional)]
    exact: bool,
    /// Other addresses that belong to it.
    #[prop(default = &[])]
    also: &'static [&'static str],
) -> impl IntoView {
    let current = move || {
        path.with(|path| {
            if path == href {
                Some("page")
            } else {
                let below = !exact && path.strip_prefix(href).is_some_and(|rest| rest.starts_with('/'));
                (below || also.iter().any(|also| path.starts_with(also))).then_some("true")
            }
        })
    };
    view! {
        <li class="min-w-0">
            <a class="nav-link" href=href aria-current=current>
                <Icon glyph />
                <span class="truncate">{word}</span>
            </a>
        </li>
    }
}

/// The cache whose pages are open, of those that can be chosen.
fn current_cache(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/caches/")?;
    let name = rest.split('/').next().unwrap_or_default();
    (!name.is_empty() && name != "new").then_some(name)
}

#[component]
fn Switcher(caches: Vec<CacheName>, path: Memo<String>) -> impl IntoView {
    if caches.is_empty() {
        return ().into_any();
    }
    let node = NodeRef::<leptos::html::Details>::new();
    Effect::new(move |_| {
        path.track();
        if let Some(details) = node.get() {
            details.set_open(false);
        }
    });
    let names: Vec<String> = caches.iter().map(CacheName::to_string).collect();
    let rows = caches
        .into_iter()
        .map(|cache| {
            let name = cache.to_string();
            let href = format!("/caches/{name}");
            let current = move || path.with(|path| current_cache(path) == Some(cache.as_str())).then_some("true");
            view! {
                <li>
                    <a class="nav-link" href=href aria-current=current>
                        <span class="truncate">{name}</span>
                    </a>
                </li>
            }
        })
        .collect_view();
    let shown = move || {
        path.with(|path| match current_cache(path) {
            Some(name) if names.iter().any(|known| known == name) => name.to_owned(),
            _ => "Choose a cache".to_owned(),
        })
    };
    view! {
        <details node_ref=node class="group mx-3 mb-3 rounded-md border border-line bg-surface">
            <summary class="flex min-h-9 list-none items-center gap-2 rounded-md px-2.5 font-medium [&::-webkit-details-marker]:hidden">
                <span class="sr-only">"Cache: "</span>
                <span class="min-w-0 flex-1 truncate">{shown}</span>
                <Icon glyph=icon::DOWN class="size-3.5 group-open:rotate-180" />
            </summary>
            <ul class="max-h-64 overflow-y-auto border-t border-line p-1">{rows}</ul>
        </details>
    }
    .into_any()
}

#[component]
fn LogOut() -> impl IntoView {
    let action = ServerAction::<SessionEnd>::new();
    view! {
        <ActionForm action>
            <button
                r#type="submit"
                class="button button-plain button-small px-1.5"
                aria-label="Log out"
                title="Log out"
            >
                <Icon glyph=icon::LEAVE />
            </button>
        </ActionForm>
    }
}

/// The way to a new cache, for those who may make one.
#[component]
pub fn NewCache(#[prop(default = Look::Primary)] look: Look) -> impl IntoView {
    let frame = expect_context::<FrameData>();
    part_when_loaded(frame.resource, move |frame| {
        let may = frame.me.is_some_and(|me| me.is_admin);
        may.then(|| view! { <LinkButton href="/caches/new" label="New cache" look glyph=icon::PLUS /> }.into_any())
    })
}

#[cfg(not(feature = "hydrate"))]
fn focus_main() {}

#[cfg(feature = "hydrate")]
fn focus_main() {
    use wasm_bindgen::JsCast;
    let main =
        document().get_element_by_id("main").and_then(|main| main.dyn_into::<leptos::web_sys::HtmlElement>().ok());
    if let Some(main) = main {
        let options = leptos::web_sys::FocusOptions::new();
        // The router scrolls.
        options.set_prevent_scroll(true);
        _ = main.focus_with_options(&options);
    }
}

#[cfg(test)]
mod tests {
    use super::current_cache;

    #[test]
    fn finds_the_cache_of_an_address() {
        assert_eq!(current_cache("/caches/main/paths"), Some("main"));
        assert_eq!(current_cache("/caches/main"), Some("main"));
        for path in ["/caches/new", "/caches", "/", "/caches/"] {
            assert_eq!(current_cache(path), None, "{path}");
        }
    }
}
