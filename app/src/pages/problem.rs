//! Pages for what went wrong, each with the right status and what to do now.

use crate::{
    calls::UiError,
    ui::{
        button::{LinkButton, Look},
        form::sentence,
        logo::Logo,
    },
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;

/// The page for a refused call.
pub fn refused(error: UiError) -> AnyView {
    match error {
        UiError::LoginNeeded => view! { <ToLogin /> }.into_any(),
        UiError::NotFound(message) => view! { <Problem status=404 title="Not found" message /> }.into_any(),
        UiError::Forbidden(message) => view! { <Problem status=403 title="Not allowed" message /> }.into_any(),
        UiError::TooMany(message) => view! { <Problem status=429 title="Too many tries" message /> }.into_any(),
        UiError::Invalid { message, .. } => view! { <Problem status=400 title="Not understood" message /> }.into_any(),
        UiError::Server(message) => view! { <Problem status=500 title="The server failed" message /> }.into_any(),
        UiError::Connection(message) => {
            view! { <Problem status=503 title="The server does not answer" message /> }.into_any()
        }
    }
}

/// What can be done about a status, in one sentence.
fn advice(status: u16) -> &'static str {
    match status {
        404 => "Check the address, or start from the overview.",
        403 => "Ask an administrator for the right, or log in as somebody who has it.",
        429 => "Wait as long as it says, then try again.",
        500 => "The server's log says more. Trying again is safe.",
        503 => "It may be restarting. Trying again is safe.",
        _ => "Go back and try something else.",
    }
}

#[component]
pub fn Problem(status: u16, title: &'static str, #[prop(into)] message: String) -> impl IntoView {
    answer_with(status);
    let here = use_location().pathname.get_untracked();
    let again = matches!(status, 429 | 500 | 503);
    view! {
        <Title text=title />
        <div class="flex flex-col items-start gap-4 py-8">
            <p class="text-sm font-medium text-dim">{status}</p>
            <h1 class="text-2xl font-semibold tracking-tight">{title}</h1>
            <p class="max-w-prose text-soft break-words">{sentence(&message)} " " {advice(status)}</p>
            <div class="flex flex-wrap gap-2">
                {again
                    .then(|| {
                        view! {
                            // Not by the router, which would stay where it is.
                            <a class="button button-primary" rel="external" href=here>
                                "Try again"
                            </a>
                        }
                    })}
                <LinkButton
                    href="/"
                    label="To the overview"
                    look=if again { Look::Quiet } else { Look::Primary }
                />
            </div>
        </div>
    }
}

/// For addresses that no page has.
#[component]
pub fn UnknownPage() -> impl IntoView {
    view! {
        <main id="main" tabindex="-1" class="mx-auto flex min-h-dvh max-w-2xl flex-col justify-center px-6 outline-none">
            <a href="/" class="flex items-center gap-2 self-start text-lg font-semibold">
                <Logo />
                "Iglu"
            </a>
            <Problem status=404 title="There is no such page" message="nothing is at this address" />
        </main>
    }
}

/// Leads to the login page and from there back to here.
#[component]
pub fn ToLogin() -> impl IntoView {
    let location = use_location();
    let here = location.pathname.get_untracked();
    let search = location.search.get_untracked();
    let here = if search.is_empty() { here } else { format!("{here}?{search}") };
    let login = login_address(&here);
    lead_to(&login);
    view! {
        <p class="py-8 text-soft">
            <a class="link" href=login>
                "Log in"
            </a>
            " to see this page."
        </p>
    }
}

/// The login page's address, with the way back to a page of this site.
pub fn login_address(here: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let mut address = "/login?next=".to_owned();
    for byte in here.bytes() {
        if plain(byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    address
}

/// The status of the page being rendered; nothing in the browser.
#[cfg_attr(not(feature = "ssr"), allow(unused_variables))]
pub fn answer_with(status: u16) {
    #[cfg(feature = "ssr")]
    if let (Some(response), Ok(status)) =
        (use_context::<leptos_axum::ResponseOptions>(), http::StatusCode::from_u16(status))
    {
        response.set_status(status);
    }
}

/// Leads to another page of this site. `to` is encoded.
pub fn lead_to(to: &str) {
    #[cfg(feature = "ssr")]
    {
        leptos_axum::redirect(to);
        // Also for clients that did not say they take HTML.
        answer_with(302);
    }
    #[cfg(not(feature = "ssr"))]
    {
        let options = leptos_router::NavigateOptions { replace: true, ..Default::default() };
        leptos_router::hooks::use_navigate()(to, options);
    }
}

#[cfg(test)]
mod tests {
    use super::login_address;

    #[test]
    fn the_way_back_is_encoded_once() {
        assert_eq!(
            login_address("/caches/a+b/paths?q=x y&page=1"),
            "/login?next=/caches/a%2Bb/paths%3Fq%3Dx%20y%26page%3D1"
        );
    }
}
