//! A cache's store paths: search, sort, pages; what is pushed meanwhile arrives by itself.

use super::{cache::ThisCache, loaded::when_loaded, path_table::PathTable};
use crate::{
    calls::path::path_list,
    live::listen,
    ui::{
        empty::Empty,
        encoded,
        icon::{self, Icon},
        number::counted,
        pagination::Pagination,
        toast::Toasts,
    },
};
use iglu_api::{
    event::LiveEvent,
    format,
    path::{PathFilter, PathPage, PathRow, PathSort},
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_navigate, use_query_map};

/// What the address asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    cache: String,
    search: String,
    sort: PathSort,
    /// Who pushed; empty for all.
    by: String,
    filter: PathFilter,
    page: u32,
}

impl Asked {
    /// The address that asks for this; pages are counted from 1 there.
    fn address(&self) -> String {
        let mut parts = Vec::new();
        if !self.search.is_empty() {
            parts.push(format!("q={}", encoded(&self.search)));
        }
        if self.sort != PathSort::default() {
            parts.push(format!("sort={}", self.sort.as_str()));
        }
        if !self.by.is_empty() {
            parts.push(format!("by={}", encoded(&self.by)));
        }
        if self.filter != PathFilter::default() {
            parts.push(format!("filter={}", self.filter.as_str()));
        }
        if self.page > 0 {
            parts.push(format!("page={}", self.page + 1));
        }
        let mark = if parts.is_empty() { "" } else { "?" };
        format!("/caches/{}/paths{mark}{}", self.cache, parts.join("&"))
    }

    fn with_page(&self, page: u32) -> Asked {
        Asked { page, ..self.clone() }
    }

    /// Whether a path pushed now would stand on top.
    fn shows_newest(&self) -> bool {
        self.shows_all() && self.sort == PathSort::Newest && self.page == 0
    }

    fn shows_all(&self) -> bool {
        self.search.is_empty() && self.by.is_empty() && self.filter == PathFilter::All
    }
}

#[component]
pub fn CachePaths() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let query = use_query_map();
    let asked = Memo::new(move |_| {
        query.with(|query| {
            let get = |key| query.get_str(key).unwrap_or_default();
            Asked {
                cache: cache.name.get(),
                search: get("q").trim().to_owned(),
                sort: PathSort::parse(get("sort")).unwrap_or_default(),
                by: get("by").trim().to_owned(),
                filter: PathFilter::parse(get("filter")).unwrap_or_default(),
                page: get("page").parse::<u32>().unwrap_or(1).saturating_sub(1),
            }
        })
    });
    let page = Resource::new_blocking(
        move || asked.get(),
        |asked| {
            let (sort, filter) = (asked.sort.as_str().to_owned(), asked.filter.as_str().to_owned());
            path_list(asked.cache, asked.search, sort, asked.page, asked.by, filter)
        },
    );
    let (arrived, set_arrived) = signal(Vec::<PathRow>::new());
    let (unseen, set_unseen) = signal(0_u64);
    let toasts = use_context::<Toasts>();
    // A new list holds what had arrived above the old one.
    Effect::new(move |_| {
        page.track();
        set_arrived.set(Vec::new());
        set_unseen.set(0);
    });
    Effect::new(move |_| {
        listen(move |event| match event {
            LiveEvent::PathPushed { cache: pushed, path }
                if cache.name.with_untracked(|name| name == pushed.as_str()) =>
            {
                let path = path.clone();
                if asked.with_untracked(Asked::shows_newest) {
                    if let Some(toasts) = toasts.filter(|_| arrived.with_untracked(Vec::is_empty)) {
                        toasts.say(format!("{} arrived.", path.name));
                    }
                    set_arrived.update(|arrived| {
                        arrived.retain(|other| other.hash != path.hash);
                        arrived.insert(0, path);
                        arrived.truncate(PathPage::ROWS as usize);
                    });
                } else {
                    set_unseen.update(|count| *count += 1);
                }
            }
            _ => {}
        });
    });
    view! {
        // The title's text is read when the page's own values may be gone already: it must be a text, not a closure.
        {move || view! { <Title text=format!("Paths of {}", cache.name.get()) /> }}
        <h2 class="sr-only">"Paths"</h2>
        <SearchForm asked />
        <p class="-mt-1 mb-4 text-sm">
            <a class="link" href=move || format!("/caches/{}/why", cache.name.get())>
                "Why was a path not substituted?"
            </a>
        </p>
        <div aria-live="polite">
            {move || {
                (unseen.get() > 0)
                    .then(|| {
                        let newest = Asked {
                            cache: asked.with_untracked(|asked| asked.cache.clone()),
                            ..Asked::default()
                        };
                        view! {
                            <p class="mb-3 text-sm text-soft">
                                {counted(unseen.get(), "path was", "paths were")} " pushed meanwhile. "
                                <a class="link" href=newest.address()>
                                    "Show the newest"
                                </a>
                            </p>
                        }
                    })
            }}
        </div>
        {when_loaded(page, move |page| view! { <Listing page asked arrived /> }.into_any())}
    }
}

#[component]
fn SearchForm(asked: Memo<Asked>) -> impl IntoView {
    let navigate = use_navigate();
    let search = NodeRef::<leptos::html::Input>::new();
    let sort = NodeRef::<leptos::html::Select>::new();
    let filter = NodeRef::<leptos::html::Select>::new();
    let go = move || {
        let fields = (search.get_untracked(), sort.get_untracked(), filter.get_untracked());
        let (Some(search), Some(sort), Some(filter)) = fields else { return };
        let asked = Asked {
            cache: asked.with_untracked(|asked| asked.cache.clone()),
            search: search.value().trim().to_owned(),
            sort: PathSort::parse(&sort.value()).unwrap_or_default(),
            by: asked.with_untracked(|asked| asked.by.clone()),
            filter: PathFilter::parse(&filter.value()).unwrap_or_default(),
            page: 0,
        };
        navigate(&asked.address(), Default::default());
    };
    let (changed, filtered) = (go.clone(), go.clone());
    let filters = PathFilter::ALL
        .map(|one| {
            let word = match one {
                PathFilter::All => "All paths",
                PathFilter::Pinned => "Pinned",
                PathFilter::NeverPulled => "Never pulled",
                PathFilter::Held => "Waiting",
            };
            view! {
                <option value=one.as_str() selected=move || asked.with(|asked| asked.filter == one)>
                    {word}
                </option>
            }
        })
        .collect_view();
    let sorts = PathSort::ALL
        .map(|way| {
            let word = match way {
                PathSort::Newest => "Newest first",
                PathSort::Name => "By name",
                PathSort::Largest => "Largest first",
            };
            view! {
                <option value=way.as_str() selected=move || asked.with(|asked| asked.sort == way)>
                    {word}
                </option>
            }
        })
        .collect_view();
    view! {
        <form
            class="mb-4 flex flex-wrap gap-2"
            role="search"
            method="get"
            on:submit=move |event| {
                event.prevent_default();
                go();
            }
        >
            <div class="relative min-w-0 flex-1 basis-64">
                <span class="pointer-events-none absolute top-2.5 left-2.5 text-dim">
                    <Icon glyph=icon::SEARCH />
                </span>
                <input
                    node_ref=search
                    class="input pl-8"
                    r#type="search"
                    name="q"
                    value=move || asked.with(|asked| asked.search.clone())
                    placeholder="Name, version or hash"
                    aria-label="Search paths by name, version or hash"
                    autocapitalize="none"
                    spellcheck="false"
                />
            </div>
            {move || {
                let asked = asked.get();
                (!asked.by.is_empty())
                    .then(|| {
                        let all = Asked { by: String::new(), page: 0, ..asked.clone() }.address();
                        view! {
                            <input r#type="hidden" name="by" value=asked.by.clone() />
                            <a class="button button-quiet" href=all aria-label=format!("Not only by {}", asked.by)>
                                {format!("by {}", asked.by)}
                                <Icon glyph=icon::CLOSE class="size-3.5" />
                            </a>
                        }
                    })
            }}
            <select
                node_ref=filter
                class="input w-auto"
                name="filter"
                aria-label="Which paths"
                on:change=move |_| filtered()
            >
                {filters}
            </select>
            <select
                node_ref=sort
                class="input w-auto"
                name="sort"
                aria-label="Order"
                on:change=move |_| changed()
            >
                {sorts}
            </select>
            <button r#type="submit" class="button button-quiet">
                "Search"
            </button>
        </form>
    }
}

#[component]
fn Listing(page: PathPage, asked: Memo<Asked>, arrived: ReadSignal<Vec<PathRow>>) -> impl IntoView {
    let here = asked.get_untracked();
    let first = u64::from(here.page) * u64::from(PathPage::ROWS) + 1;
    let last = first + page.rows.len() as u64 - u64::from(!page.rows.is_empty());
    let range = match (here.shows_all(), page.rows.is_empty()) {
        (_, true) => String::new(),
        (true, false) => {
            format!("{}–{} of {}", format::count(first), format::count(last), counted(page.path_count, "path", "paths"))
        }
        (false, false) => format!("Matches {}–{}", format::count(first), format::count(last)),
    };
    let earlier = (here.page > 0).then(|| here.with_page(here.page - 1).address());
    let later = page.has_next.then(|| here.with_page(here.page + 1).address());
    let nothing = page.rows.is_empty();
    let table = page.rows;
    let cache = here.cache.clone();
    let here_cache = cache.clone();
    let empty = move || {
        let cache = cache.clone();
        if here.shows_all() && here.page == 0 {
            view! {
                <Empty sentence="Nothing has been pushed to this cache yet.">
                    <a class="button button-quiet" href=format!("/caches/{cache}/first-push")>
                        "Push the first path"
                    </a>
                </Empty>
            }
            .into_any()
        } else {
            let all = Asked { cache: cache.clone(), ..Asked::default() }.address();
            view! {
                <Empty sentence="No path here. A search finds the beginning of a hash, or of a word of a name.">
                    <a class="button button-quiet" href=all>
                        "Show all paths"
                    </a>
                </Empty>
            }
            .into_any()
        }
    };
    view! {
        <Show
            when=move || !nothing || arrived.with(|arrived| !arrived.is_empty())
            fallback=move || { let empty = empty(); view! { <div class="card">{empty}</div> } }
        >
            <PathTable rows=table.clone() cache=here_cache.clone() arrived />
        </Show>
        <Pagination earlier later range />
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_only_what_differs() {
        let asked = Asked { cache: "main".to_owned(), ..Asked::default() };
        assert_eq!(asked.address(), "/caches/main/paths");
        let asked = Asked { search: "g++ 12".to_owned(), sort: PathSort::Largest, page: 1, ..asked };
        assert_eq!(asked.address(), "/caches/main/paths?q=g%2B%2B%2012&sort=largest&page=2");
        let asked = Asked { by: "token ci".to_owned(), filter: PathFilter::NeverPulled, page: 0, ..asked };
        assert_eq!(asked.address(), "/caches/main/paths?q=g%2B%2B%2012&sort=largest&by=token%20ci&filter=never_pulled");
    }
}
