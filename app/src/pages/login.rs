//! Logging in.

use super::problem::lead_to;
use crate::{
    calls::account::{SessionCreate, me_get},
    ui::{
        button::Submit,
        field::Field,
        form::{Refusal, refusal},
        logo::Logo,
        theme::ThemeToggle,
    },
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

#[component]
pub fn Login() -> impl IntoView {
    let query = use_query_map();
    let next = move || query.with(|query| local(query.get_str("next").unwrap_or_default()));
    let known = Resource::new_blocking(|| (), |_| me_get());
    let action = ServerAction::<SessionCreate>::new();
    let error = refusal(action);
    view! {
        <Title text="Log in" />
        <main id="main" tabindex="-1" class="flex min-h-dvh flex-col items-center justify-center gap-6 px-4 py-10 outline-none">
            <Suspense>
                {move || Suspend::new(async move {
                    if let Ok(Some(_)) = known.await {
                        lead_to(&next());
                    }
                })}
            </Suspense>
            <div class="flex flex-col items-center gap-3">
                <Logo class="size-12" />
                <h1 class="text-xl font-semibold tracking-tight">"Log in to Iglu"</h1>
            </div>
            <div class="card w-full max-w-sm p-6">
                <ActionForm action attr:class="flex flex-col gap-4">
                    <Refusal error fields=&["name", "password"] />
                    <input r#type="hidden" name="next" value=next />
                    <Field name="name" label="Name" autocomplete="username" autofocus=true error />
                    <Field name="password" label="Password" kind="password" autocomplete="current-password" error />
                    <Submit label="Log in" pending=action.pending() />
                </ActionForm>
            </div>
            <p class="max-w-sm text-center text-sm text-dim">
                "First time here? Open the set-up link that the server printed when it started; "
                <code class="text-soft">"iglu admin setup-link"</code> " prints it again."
            </p>
            <ThemeToggle />
        </main>
    }
}

/// A path of this site, or the overview: a link to the login page must not lead anywhere else.
fn local(next: &str) -> String {
    let second = next.as_bytes().get(1);
    let inside = next.starts_with('/')
        && !matches!(second, Some(b'/' | b'\\'))
        && next.bytes().all(|b| (0x21..0x7f).contains(&b));
    if inside { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn leads_nowhere_else() {
        assert_eq!(local("/caches/main?q=a"), "/caches/main?q=a");
        for bad in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\r\nSet-Cookie: x", "/ü"]
        {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
    }
}
