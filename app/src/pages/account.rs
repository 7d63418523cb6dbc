//! One's own account: password, logins, looks.

use super::loaded::when_loaded;
use crate::{
    calls::{
        UiError,
        account::{PasswordChange, SessionRevoke, me_get, session_list},
    },
    ui::{
        badge::{Badge, Tone},
        button::Submit,
        field::Field,
        form::{Refusal, refusal},
        icon::{self, Icon},
        page::PageHead,
        table::{Cell, Column, Row, Table, numbers, words},
        theme::ThemeChoice,
        time::Ago,
    },
};
use iglu_api::account::{Me, SessionRow};
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

#[component]
pub fn Account() -> impl IntoView {
    let revoke = ServerAction::<SessionRevoke>::new();
    let change = ServerAction::<PasswordChange>::new();
    let account = Resource::new_blocking(
        move || (revoke.version().get(), change.version().get()),
        |_| async {
            let me = me_get().await?.ok_or(UiError::LoginNeeded)?;
            Ok((me, session_list().await?))
        },
    );
    let changed = use_query_map();
    let changed = move || changed.with(|query| query.get_str("changed") == Some("password"));
    let error = refusal(change);
    // Outside of what is fetched again: an open form keeps what was typed into it.
    let password = move || {
        view! {
            <Section id="password" title="Password" about="Changing it ends your other logins.">
                {move || {
                    (changed() && error.with(Option::is_none))
                        .then(|| {
                            view! {
                                <p role="status" class="mb-4 flex items-center gap-2 rounded-md bg-done-ground px-3 py-2 text-done">
                                    <Icon glyph=icon::CHECK />
                                    "The password is changed."
                                </p>
                            }
                        })
                }}
                <ActionForm action=change attr:class="flex max-w-md flex-col gap-4">
                    <Refusal error fields=&["current", "new"] />
                    <Field name="current" label="Current password" kind="password" autocomplete="current-password" error />
                    <Field
                        name="new"
                        label="New password"
                        kind="password"
                        autocomplete="new-password"
                        minlength=10
                        help="At least 10 characters."
                        error
                    />
                    <Submit label="Change password" class="self-start" pending=change.pending() />
                </ActionForm>
            </Section>
        }
    };
    when_loaded(account, move |(me, sessions)| {
        view! {
            <Who me />
            <div class="flex flex-col gap-8">
                {password()}
                <Section id="logins" title="Logins" about="Browsers in which you are logged in.">
                    <Sessions sessions revoke />
                </Section>
                <Section id="theme" title="Theme" about="Kept in this browser.">
                    <ThemeChoice />
                </Section>
            </div>
        }
        .into_any()
    })
}

#[component]
fn Who(me: Me) -> impl IntoView {
    let role = if me.is_admin { "Administrator" } else { "Member" };
    view! { <PageHead title=me.name.to_string() tab="Account" about=move || view! { <p class="text-soft">{role}</p> } /> }
}

#[component]
fn Section(id: &'static str, title: &'static str, about: &'static str, children: Children) -> impl IntoView {
    view! {
        <section class="grid gap-x-8 gap-y-3 lg:grid-cols-[14rem_minmax(0,1fr)]" aria-labelledby=id>
            <div>
                <h2 id=id class="text-lg font-semibold">
                    {title}
                </h2>
                <p class="text-sm text-dim">{about}</p>
            </div>
            <div class="min-w-0">{children()}</div>
        </section>
    }
}

const COLUMNS: [Column; 5] =
    [words("Browser"), words("Address"), numbers("Logged in"), numbers("Last seen"), numbers("")];

#[component]
fn Sessions(sessions: Vec<SessionRow>, revoke: ServerAction<SessionRevoke>) -> impl IntoView {
    let error = refusal(revoke);
    let rows = sessions
        .into_iter()
        .map(|session| {
            let browser = browser(&session.agent);
            let act = if session.current {
                view! { <Badge tone=Tone::Done glyph=icon::CHECK word="this one" /> }.into_any()
            } else {
                let label = format!("Log out {browser} at {}", session.address);
                view! {
                    <ActionForm action=revoke>
                        <input r#type="hidden" name="id" value=session.id />
                        <button
                            r#type="submit"
                            class="button button-quiet button-small"
                            aria-label=label
                        >
                            "Log out"
                        </button>
                    </ActionForm>
                }
                .into_any()
            };
            view! {
                <Row>
                    <Cell class="wide">
                        <span class="font-medium" title=session.agent>
                            {browser}
                        </span>
                    </Cell>
                    <Cell label="Address" class="break-all">
                        {session.address}
                    </Cell>
                    <Cell label="Logged in" class="number">
                        <Ago at=session.created_at />
                    </Cell>
                    <Cell label="Last seen" class="number">
                        <Ago at=session.last_seen_at />
                    </Cell>
                    <Cell class="number">{act}</Cell>
                </Row>
            }
        })
        .collect_view();
    view! {
        <div class="flex flex-col gap-3">
            <Refusal error />
            <Table caption="Logins" columns=&COLUMNS>
                {rows}
            </Table>
        </div>
    }
}

/// A browser's name and system from its User-Agent, as far as that says.
fn browser(agent: &str) -> String {
    // Browsers name the ones that they are like, too: the most particular comes first.
    let known =
        |names: &[(&str, &'static str)]| names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    let name = known(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = known(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (name, system) {
        (Some(name), Some(system)) => format!("{name} on {system}"),
        (Some(name), None) => name.to_owned(),
        (None, _) if agent.is_empty() => "unknown".to_owned(),
        (None, _) => agent.chars().take(40).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::browser;

    #[test]
    fn tells_browsers_that_name_each_other_apart() {
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0";
        assert_eq!(browser(edge), "Edge on Windows");
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile Safari/604.1";
        assert_eq!(browser(safari), "Safari on iPhone");
        assert_eq!(browser("curl/8.5.0"), "curl/8.5.0");
        assert_eq!(browser(""), "unknown");
    }
}
