//! Dialogs as native popovers: they open and close without JavaScript.

use super::{
    button::Look,
    icon::{self, Icon},
};
use leptos::prelude::*;

/// A button that opens the dialog with this id.
#[component]
pub fn DialogOpener(
    #[prop(into)] dialog: String,
    #[prop(into)] label: Oco<'static, str>,
    /// Says more than the label where several of them stand on a page.
    #[prop(optional, into)]
    describes: Option<String>,
    #[prop(default = Look::Quiet)] look: Look,
    /// As high as the buttons beside it; otherwise small, for rows.
    #[prop(optional)]
    full: bool,
) -> impl IntoView {
    let size = if full { "" } else { "button-small" };
    view! {
        <button
            r#type="button"
            class=format!("{} {size}", look.class())
            popovertarget=dialog
            aria-label=describes
        >
            {label}
        </button>
    }
}

#[component]
pub fn Dialog(
    #[prop(into)] id: String,
    #[prop(into)] title: String,
    /// Whether the keyboard goes to a field inside, which has `autofocus`.
    #[prop(optional)]
    focus_inside: bool,
    children: Children,
) -> impl IntoView {
    let heading = format!("{id}-title");
    view! {
        <div id=id class="dialog" popover="auto" role="dialog" aria-labelledby=heading>
            <div class="mb-3 flex items-start justify-between gap-4">
                <h2 id=heading.clone() class="text-lg font-semibold">
                    {title}
                </h2>
                <button
                    r#type="button"
                    class="button button-plain button-small -mt-1 -mr-2 px-1.5"
                    popovertarget=id.clone()
                    popovertargetaction="hide"
                    autofocus=!focus_inside
                    aria-label="Close"
                >
                    <Icon glyph=icon::CLOSE />
                </button>
            </div>
            {children()}
        </div>
    }
}

/// Closes an open dialog or drawer; nothing on the server.
#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
pub fn close(id: &str) {
    #[cfg(feature = "hydrate")]
    if let Some(element) = element(id) {
        // Refused when it is not open, which is what was wanted.
        _ = element.hide_popover();
    }
}

/// Opens a dialog; nothing on the server.
#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
pub fn open(id: &str) {
    #[cfg(feature = "hydrate")]
    if let Some(element) = element(id) {
        _ = element.show_popover();
    }
}

#[cfg(feature = "hydrate")]
fn element(id: &str) -> Option<leptos::web_sys::HtmlElement> {
    use wasm_bindgen::JsCast;
    document().get_element_by_id(id)?.dyn_into().ok()
}
