//! Earlier and later pages as plain links: of lists with a number, and of those that only know what is older.

use super::icon::{self, Icon};
use leptos::prelude::*;

#[component]
pub fn Pagination(
    /// Where the earlier page is, if there is one.
    earlier: Option<String>,
    later: Option<String>,
    /// `1–50 of 12 431`
    #[prop(into)]
    range: String,
) -> impl IntoView {
    let none = earlier.is_none() && later.is_none();
    let earlier = earlier.map(|href| {
        view! {
            <a class="button button-quiet button-small" rel="prev" href=href>
                <Icon glyph=icon::LEFT class="size-3.5" />
                "Earlier page"
            </a>
        }
    });
    let later = later.map(|href| {
        view! {
            <a class="button button-quiet button-small" rel="next" href=href>
                "Next page"
                <Icon glyph=icon::RIGHT class="size-3.5" />
            </a>
        }
    });
    view! {
        <div class="mt-3 flex flex-wrap items-center justify-between gap-3 text-sm text-dim">
            <p>{range}</p>
            {(!none).then(|| view! { <nav aria-label="Pages" class="flex gap-2">{earlier} {later}</nav> })}
        </div>
    }
}

/// What is older than a list that begins with the newest, and the way back to its beginning.
#[component]
pub fn Older(
    /// What these are parts of, for readers.
    label: &'static str,
    /// Where the newest are, unless they are what is shown.
    newest: Option<String>,
    /// Where it goes on, if it does.
    older: Option<String>,
) -> impl IntoView {
    (newest.is_some() || older.is_some()).then(|| {
        view! {
            <nav class="mt-3 flex justify-end gap-2" aria-label=label>
                {newest
                    .map(|href| {
                        view! {
                            <a class="button button-quiet button-small" href=href>
                                "Newest"
                            </a>
                        }
                    })}
                {older
                    .map(|href| {
                        view! {
                            <a class="button button-quiet button-small" rel="next" href=href>
                                "Older"
                                <Icon glyph=icon::RIGHT class="size-3.5" />
                            </a>
                        }
                    })}
            </nav>
        }
    })
}
