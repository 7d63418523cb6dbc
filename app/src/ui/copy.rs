//! The copy button. Offered only after hydration; without JavaScript the text beside it can be selected.

use super::icon::{self, Icon};
use leptos::prelude::*;

#[component]
pub fn Copy(
    #[prop(into)] text: String,
    /// What is copied, for readers that see no picture: "store path", "nix.conf lines".
    #[prop(into)]
    what: String,
    /// With the word beside the icon.
    #[prop(optional)]
    worded: bool,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let text = StoredValue::new(text);
    let class = if worded { "button button-quiet button-small" } else { "button button-plain button-small px-1.5" };
    view! {
        <button
            r#type="button"
            class=format!("{class} needs-live")
            aria-label=format!("Copy {what}")
            title=format!("Copy {what}")
            on:click=move |_| to_clipboard(text.get_value(), copied)
        >
            {move || {
                let glyph = if copied.get() { icon::CHECK } else { icon::COPY };
                view! { <Icon glyph class="size-3.5" /> }
            }}
            {worded.then_some(move || if copied.get() { "Copied" } else { "Copy" })}
        </button>
    }
}

#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
fn to_clipboard(text: String, copied: RwSignal<bool>) {
    #[cfg(feature = "hydrate")]
    {
        use super::toast::Toasts;
        use leptos::{__reexports::wasm_bindgen_futures::JsFuture, task::spawn_local};
        use std::time::Duration;
        let toasts = use_context::<Toasts>();
        // Browsers hide the clipboard from pages that came over plain HTTP from another machine.
        let clipboard = leptos::web_sys::js_sys::Reflect::get(&window().navigator(), &"clipboard".into());
        let reachable = clipboard.is_ok_and(|clipboard| !clipboard.is_undefined());
        spawn_local(async move {
            let done = if reachable {
                JsFuture::from(window().navigator().clipboard().write_text(&text)).await.is_ok()
            } else {
                copy_by_selection(&text)
            };
            if done {
                copied.set(true);
                set_timeout(move || _ = copied.try_set(false), Duration::from_secs(2));
            }
            if let Some(toasts) = toasts {
                toasts.say(if done { "Copied." } else { "The browser refused to copy; select the text instead." });
            }
        });
    }
}

/// The old way: select a text nobody sees and tell the document to copy.
#[cfg(feature = "hydrate")]
fn copy_by_selection(text: &str) -> bool {
    use leptos::web_sys::{HtmlDocument, HtmlTextAreaElement};
    use wasm_bindgen::JsCast;
    let document = document();
    let Some(area) =
        document.create_element("textarea").ok().and_then(|area| area.dyn_into::<HtmlTextAreaElement>().ok())
    else {
        return false;
    };
    area.set_value(text);
    area.set_class_name("sr-only");
    let Some(body) = document.body() else { return false };
    if body.append_child(&area).is_err() {
        return false;
    }
    area.select();
    let done = document.unchecked_ref::<HtmlDocument>().exec_command("copy").unwrap_or(false);
    area.remove();
    done
}
