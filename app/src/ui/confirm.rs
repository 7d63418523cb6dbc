//! A dialog that asks before something is done: what will happen in words, and one button.

use super::{
    button::{Look, Submit},
    dialog::{Dialog, DialogOpener, close},
};
use crate::calls::UiError;
use leptos::{
    prelude::*,
    server_fn::{Http, ServerFn, client::Client, codec::PostUrl, request::ClientReq},
    web_sys::FormData,
};
use serde::de::DeserializeOwned;

/// An opener, and the dialog with the form of `action`.
#[component]
pub fn Confirm<S, Output>(
    /// Names the dialog; once on a page.
    #[prop(into)]
    id: String,
    #[prop(into)] opener: Oco<'static, str>,
    /// Says more than the opener where several of them stand on a page.
    #[prop(into)]
    describes: String,
    #[prop(into)] title: String,
    /// What will happen.
    #[prop(into)]
    text: String,
    #[prop(into)] submit: Oco<'static, str>,
    #[prop(default = Look::Danger)] look: Look,
    action: ServerAction<S>,
    /// What the form sends along.
    hidden: Vec<(&'static str, String)>,
    /// Fields.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView
where
    S: DeserializeOwned + ServerFn<Protocol = Http<PostUrl, Output>, Error = UiError> + Clone + Send + Sync + 'static,
    S::Client: Client<UiError>,
    <<S::Client as Client<UiError>>::Request as ClientReq<UiError>>::FormData: From<FormData>,
    S::Output: Send + Sync + 'static,
    Output: 'static,
{
    let closing = id.clone();
    let pending = action.pending();
    view! {
        <DialogOpener dialog=id.clone() label=opener describes />
        <Dialog id title>
            <p class="mb-4 text-start whitespace-normal text-soft">{text}</p>
            <ActionForm action attr:class="flex flex-col gap-4 text-start" on:submit=move |_| close(&closing)>
                {hidden.into_iter().map(|(name, value)| view! { <Hidden name value /> }).collect_view()}
                {children.map(|children| children())}
                <Submit label=submit look class="self-end" pending />
            </ActionForm>
        </Dialog>
    }
}

/// A value that a form sends along.
#[component]
pub fn Hidden(name: &'static str, #[prop(into)] value: String) -> impl IntoView {
    view! { <input r#type="hidden" name=name value=value /> }
}
