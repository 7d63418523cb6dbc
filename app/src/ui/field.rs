//! Fields of forms: label, input, help, and what is wrong with it.

use super::{
    form::sentence,
    icon::{self, Icon},
};
use crate::calls::UiError;
use leptos::{html, prelude::*};

/// What to begin a field with: `value`, or what was typed when the form was refused and its page comes back without JavaScript.
#[cfg_attr(not(feature = "ssr"), allow(unused_variables))]
fn begun(name: &str, error: Signal<Option<UiError>>, value: Option<String>) -> Option<String> {
    #[cfg(feature = "ssr")]
    if error.with_untracked(Option::is_some)
        && let Some(call) = use_context::<crate::calls::context::Call>()
        && !call.typed.is_empty()
    {
        return call.typed.into_iter().find_map(|(field, typed)| (field == name).then_some(typed));
    }
    value
}

/// A line of text.
#[component]
pub fn Field(
    name: &'static str,
    /// Where several fields of one name stand on a page.
    #[prop(optional, into)]
    id: Option<String>,
    #[prop(into)] label: Oco<'static, str>,
    #[prop(default = "text")] kind: &'static str,
    #[prop(optional, into)] value: String,
    #[prop(optional)] help: &'static str,
    error: Signal<Option<UiError>>,
    #[prop(optional)] autocomplete: Option<&'static str>,
    #[prop(optional)] placeholder: Option<&'static str>,
    #[prop(optional)] inputmode: Option<&'static str>,
    #[prop(default = true)] required: bool,
    #[prop(optional)] autofocus: bool,
    #[prop(optional)] readonly: bool,
    #[prop(optional)] minlength: Option<u32>,
    #[prop(optional)] maxlength: Option<u32>,
    #[prop(optional)] min: Option<i64>,
    #[prop(optional)] max: Option<i64>,
) -> impl IntoView {
    let wrong = Memo::new(move |_| error.with(|error| error.as_ref().and_then(|error| error.about(name))));
    // Without JavaScript the refused page comes back whole: the browser then goes to the wrong field by itself.
    let focus = autofocus || wrong.with_untracked(Option::is_some);
    let value = begun(name, error, Some(value)).unwrap_or_default();
    // Names are written small and without a phone's help.
    let spoken = kind == "text";
    let id = id.unwrap_or_else(|| format!("field-{name}"));
    let input = html::input()
        .id(id.clone())
        .name(name)
        .r#type(kind)
        .class("input")
        .value(value)
        .required(required)
        .readonly(readonly)
        .autofocus(focus)
        .attr("autocomplete", autocomplete)
        .attr("placeholder", placeholder)
        .attr("inputmode", inputmode)
        .attr("autocapitalize", spoken.then_some("none"))
        .attr("spellcheck", spoken.then_some("false"))
        .attr("minlength", minlength.map(|n| n.to_string()))
        .attr("maxlength", maxlength.map(|n| n.to_string()))
        .attr("min", min.map(|n| n.to_string()))
        .attr("max", max.map(|n| n.to_string()))
        .attr("aria-invalid", move || wrong.with(Option::is_some).then_some("true"))
        .attr("aria-describedby", described(name, help, wrong));
    view! {
        <div class="flex flex-col gap-1">
            <label class="font-medium" for=id>
                {label}
                {(!required).then(|| view! { <span class="font-normal text-dim">" (optional)"</span> })}
            </label>
            {input}
            <Notes name help wrong />
        </div>
    }
}

/// Several lines of text.
#[component]
pub fn TextArea(
    name: &'static str,
    #[prop(into)] label: Oco<'static, str>,
    #[prop(optional, into)] value: String,
    #[prop(optional)] help: &'static str,
    #[prop(optional)] placeholder: &'static str,
    #[prop(default = 3)] rows: u32,
    error: Signal<Option<UiError>>,
) -> impl IntoView {
    let wrong = Memo::new(move |_| error.with(|error| error.as_ref().and_then(|error| error.about(name))));
    let area = html::textarea()
        .id(format!("field-{name}"))
        .name(name)
        .class("input font-mono")
        .rows(rows.to_string())
        .attr("placeholder", placeholder)
        .attr("autocapitalize", "none")
        .attr("spellcheck", "false")
        .attr("aria-invalid", move || wrong.with(Option::is_some).then_some("true"))
        .attr("aria-describedby", described(name, help, wrong))
        .child(area_text(&begun(name, error, Some(value)).unwrap_or_default()));
    view! {
        <div class="flex flex-col gap-1">
            <label class="font-medium" for=format!("field-{name}")>
                {label}
                <span class="font-normal text-dim">" (optional)"</span>
            </label>
            {area}
            <Notes name help wrong />
        </div>
    }
}

/// The text of a text area. Leptos does not escape it when it renders on the server; there, a browser drops a line break that comes
/// first, and would drop one of the text.
fn area_text(text: &str) -> String {
    match cfg!(feature = "ssr") {
        true => format!("\n{}", text.replace('&', "&amp;").replace('<', "&lt;")),
        false => text.to_owned(),
    }
}

/// A box to tick; it sends `true`, or nothing.
#[component]
pub fn Checkbox(
    name: &'static str,
    label: &'static str,
    #[prop(optional)] checked: bool,
    #[prop(optional)] required: bool,
    #[prop(optional)] help: &'static str,
    error: Signal<Option<UiError>>,
) -> impl IntoView {
    let wrong = Memo::new(move |_| error.with(|error| error.as_ref().and_then(|error| error.about(name))));
    let checked = begun(name, error, checked.then(String::new)).is_some();
    view! {
        <div class="flex flex-col gap-1">
            <label class="flex items-start gap-2">
                <input
                    class="mt-1 size-4 shrink-0 accent-(--color-button)"
                    r#type="checkbox"
                    name=name
                    value="true"
                    checked=checked
                    required=required
                    aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                    aria-describedby=described(name, help, wrong)
                />
                <span class="font-medium">{label}</span>
            </label>
            <Notes name help wrong />
        </div>
    }
}

/// A choice from a list of (value, words).
#[component]
pub fn Select(
    name: &'static str,
    /// Where several fields of one name stand on a page.
    #[prop(optional, into)]
    id: Option<String>,
    #[prop(into)] label: Oco<'static, str>,
    options: Vec<(String, String)>,
    #[prop(optional, into)] value: String,
    #[prop(optional)] help: &'static str,
    error: Signal<Option<UiError>>,
) -> impl IntoView {
    let wrong = Memo::new(move |_| error.with(|error| error.as_ref().and_then(|error| error.about(name))));
    let id = id.unwrap_or_else(|| format!("field-{name}"));
    let value = begun(name, error, Some(value)).unwrap_or_default();
    let options = options
        .into_iter()
        .map(|(key, words)| {
            let chosen = key == value;
            view! {
                <option value=key selected=chosen>
                    {words}
                </option>
            }
        })
        .collect_view();
    view! {
        <div class="flex flex-col gap-1">
            <label class="font-medium" for=id.clone()>
                {label}
            </label>
            <select
                id=id
                name=name
                class="input"
                aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                aria-describedby=described(name, help, wrong)
            >
                {options}
            </select>
            <Notes name help wrong />
        </div>
    }
}

/// One of a few ways, each with a word on what it means.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub value: &'static str,
    pub label: &'static str,
    pub help: &'static str,
}

#[component]
pub fn Choices(
    name: &'static str,
    legend: &'static str,
    choices: &'static [Choice],
    value: &'static str,
    error: Signal<Option<UiError>>,
) -> impl IntoView {
    let wrong = Memo::new(move |_| error.with(|error| error.as_ref().and_then(|error| error.about(name))));
    let value = begun(name, error, Some(value.to_owned())).unwrap_or_default();
    let options = choices
        .iter()
        .map(|choice| {
            view! {
                <label class="option">
                    <input
                        r#type="radio"
                        name=name
                        value=choice.value
                        checked=choice.value == value
                        required=true
                    />
                    <span>
                        <span class="block font-medium">{choice.label}</span>
                        <span class="block text-sm text-soft">{choice.help}</span>
                    </span>
                </label>
            }
        })
        .collect_view();
    view! {
        <fieldset class="flex flex-col gap-1" aria-describedby=described(name, "", wrong)>
            <legend class="mb-1 font-medium">{legend}</legend>
            <div class="grid gap-2 sm:grid-cols-[repeat(auto-fit,minmax(9rem,1fr))]">{options}</div>
            <Notes name help="" wrong />
        </fieldset>
    }
}

fn described(
    name: &'static str,
    help: &'static str,
    wrong: Memo<Option<String>>,
) -> impl Fn() -> Option<String> + Send {
    move || match (wrong.with(Option::is_some), help.is_empty()) {
        (true, true) => Some(format!("wrong-{name}")),
        (true, false) => Some(format!("wrong-{name} help-{name}")),
        (false, false) => Some(format!("help-{name}")),
        (false, true) => None,
    }
}

#[component]
fn Notes(name: &'static str, help: &'static str, wrong: Memo<Option<String>>) -> impl IntoView {
    view! {
        {move || {
            wrong
                .get()
                .map(|message| {
                    view! {
                        <p id=format!("wrong-{name}") class="flex items-start gap-1.5 text-sm text-fail">
                            <Icon glyph=icon::CROSSED class="mt-0.5 size-4" />
                            {sentence(&message)}
                        </p>
                    }
                })
        }}
        {(!help.is_empty())
            .then(|| {
                view! {
                    <p id=format!("help-{name}") class="text-sm text-dim">
                        {help}
                    </p>
                }
            })}
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_area_stays_in_it() {
        let owner = Owner::new();
        let html = owner.with(|| {
            let error = Signal::derive(|| None);
            view! { <TextArea name="urls" label="URLs" value="a&lt;</textarea><script>b" error /> }.to_html()
        });
        assert!(html.contains("a&amp;lt;&lt;/textarea>&lt;script>b</textarea>"), "{html}");
    }
}
