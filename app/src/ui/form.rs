//! What a form says when it was refused: beside the field, and above the form where no field is to blame.

use crate::calls::UiError;
use leptos::{prelude::*, server_fn::ServerFn};

use super::icon::{self, Icon};

/// The last answer of an action, if it was an error. Without JavaScript it came through the address.
pub fn refusal<S>(action: ServerAction<S>) -> Signal<Option<UiError>>
where
    S: ServerFn<Error = UiError> + Clone + Send + Sync + 'static,
    S::Output: Send + Sync + 'static,
{
    Signal::derive(move || {
        action.value().with(|answer| answer.as_ref().and_then(|answer| answer.as_ref().err().cloned()))
    })
}

/// How often an action was done, for what must be fetched again then. A refusal is no reason: the form keeps what was typed.
pub fn done<S>(action: ServerAction<S>) -> Memo<usize>
where
    S: ServerFn<Error = UiError> + Clone + Send + Sync + 'static,
    S::Output: Send + Sync + 'static,
{
    Memo::new(move |before: Option<&usize>| {
        let before = before.copied().unwrap_or_default();
        before + usize::from(action.value().with(|answer| matches!(answer, Some(Ok(_)))))
    })
}

/// Says that a form was taken, beside its button.
#[component]
pub fn Saved<S>(action: ServerAction<S>) -> impl IntoView
where
    S: ServerFn<Error = UiError> + Clone + Send + Sync + 'static,
    S::Output: Send + Sync + 'static,
{
    let is_saved = move || !action.pending().get() && action.value().with(|answer| matches!(answer, Some(Ok(_))));
    view! {
        <p role="status" class="text-sm text-done">
            {move || is_saved().then_some("Saved.")}
        </p>
    }
}

/// What stands in a field at this moment, as a query's value; nothing on the server.
pub fn typed(name: &str) -> String {
    super::encoded(&value_of(name))
}

/// What stands in a field at this moment, of any kind that holds text; nothing on the server.
#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
pub fn value_of(name: &str) -> String {
    #[cfg(feature = "hydrate")]
    if let Some(field) = field(name) {
        return field.value();
    }
    String::new()
}

/// Writes into a field, as if it had been typed.
#[cfg_attr(not(feature = "hydrate"), allow(unused_variables))]
pub fn put_value(name: &str, value: &str) {
    #[cfg(feature = "hydrate")]
    if let Some(field) = field(name) {
        field.set_value(value);
    }
}

/// Selects and text areas hold their text under the same name as inputs do.
#[cfg(feature = "hydrate")]
fn field(name: &str) -> Option<leptos::web_sys::HtmlInputElement> {
    use wasm_bindgen::JsCast;
    Some(document().get_element_by_id(&format!("field-{name}"))?.unchecked_into())
}

/// The form's own line of refusal. Takes the keyboard to the first wrong field, or to itself.
#[component]
pub fn Refusal(
    error: Signal<Option<UiError>>,
    /// The fields of the form that show their own refusal.
    #[prop(default = &[])]
    fields: &'static [&'static str],
) -> impl IntoView {
    let elsewhere = move |error: &UiError| !fields.iter().any(|field| error.about(field).is_some());
    let node = NodeRef::<leptos::html::Div>::new();
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        if error.with(Option::is_some) {
            // After the marks of this refusal are on the page.
            request_animation_frame(move || focus_first_wrong(node));
        }
    });
    view! {
        <div node_ref=node role="alert" tabindex="-1" class="outline-none empty:hidden">
            {move || {
                error
                    .get()
                    .filter(|error| elsewhere(error))
                    .map(|error| {
                        let login = (error == UiError::LoginNeeded)
                            .then(|| view! { <a class="link" href="/login">"Log in"</a> });
                        view! {
                            <p class="flex items-start gap-2 rounded-md bg-fail-ground px-3 py-2 text-fail">
                                <Icon glyph=icon::CROSSED class="mt-1 size-4" />
                                <span class="min-w-0 break-words">{sentence(&error.to_string())} " " {login}</span>
                            </p>
                        }
                    })
            }}
        </div>
    }
}

/// A message as a sentence: core's messages begin small and end without a stop.
pub fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let Some(first) = letters.next() else { return String::new() };
    let stop = if message.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

#[cfg(feature = "hydrate")]
fn focus_first_wrong(fallback: NodeRef<leptos::html::Div>) {
    use wasm_bindgen::JsCast;
    let wrong = document().query_selector("form [aria-invalid='true']").ok().flatten();
    if let Some(wrong) = wrong.and_then(|element| element.dyn_into::<leptos::web_sys::HtmlElement>().ok()) {
        _ = wrong.focus();
    } else if let Some(fallback) = fallback.try_get_untracked().flatten() {
        // Gone when the form was made anew before this frame was painted.
        _ = fallback.focus();
    }
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn messages_become_sentences() {
        assert_eq!(sentence("a cache name is missing"), "A cache name is missing.");
        assert_eq!(sentence("Done."), "Done.");
        assert_eq!(sentence(""), "");
    }
}
