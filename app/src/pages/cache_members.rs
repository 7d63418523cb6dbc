//! Who may do what in a cache: people with their roles, invitations by link, tokens of this cache.

use super::{
    cache::ThisCache,
    invitations::{CreatedLink, Invitations, NewInvitation},
    loaded::when_loaded,
    tokens::TokenTable,
};
use crate::{
    calls::{
        member::{InvitationRevoke, MemberInvite, MemberPage, MemberRemove, MemberSet, member_list},
        token::TokenRevoke,
    },
    ui::{
        badge::{Badge, Tone},
        button::{LinkButton, Look, Submit},
        confirm::{Confirm, Hidden},
        empty::Empty,
        field::{Field, Select},
        form::{Refusal, done, refusal},
        icon,
        table::{Cell, Column, Row, Table, numbers, words},
        time::Ago,
    },
};
use iglu_api::{
    cache::Permission,
    member::{CreatedInvitation, MemberRow, Role},
};
use leptos::prelude::*;
use leptos_meta::Title;

/// The actions of the page.
#[derive(Clone, Copy)]
struct Acts {
    set: ServerAction<MemberSet>,
    remove: ServerAction<MemberRemove>,
    invite: ServerAction<MemberInvite>,
    end: ServerAction<InvitationRevoke>,
    revoke: ServerAction<TokenRevoke>,
}

#[component]
pub fn CacheMembers() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let acts = Acts {
        set: ServerAction::new(),
        remove: ServerAction::new(),
        invite: ServerAction::new(),
        end: ServerAction::new(),
        revoke: ServerAction::new(),
    };
    let changes = (done(acts.set), done(acts.remove), done(acts.invite), done(acts.end), done(acts.revoke));
    let (set, removed, invited, ended, revoked) = changes;
    let members = Resource::new_blocking(
        move || (cache.name.get(), set.get(), removed.get(), invited.get(), ended.get(), revoked.get()),
        |(name, ..)| member_list(name),
    );
    // The server tells the link once; it stays on the page while the list is fetched again.
    let kept = StoredValue::new(None::<CreatedInvitation>);
    view! {
        {move || view! { <Title text=format!("Members of {}", cache.name.get()) /> }}
        {when_loaded(
            members,
            move |page| {
                if page.created.is_some() {
                    kept.set_value(page.created.clone());
                }
                let detail = cache.detail.get_untracked().and_then(Result::ok);
                let owns = detail.is_some_and(|detail| detail.permission == Some(Permission::Own));
                let name = cache.name.get_untracked();
                view! { <Page page created=kept.get_value() cache=name owns acts /> }.into_any()
            },
        )}
    }
}

/// The roles with what each may do, for a choice.
pub fn role_options() -> Vec<(String, String)> {
    let words = |role| match role {
        Role::Viewer => "Viewer: looks and pulls",
        Role::Pusher => "Pusher: also pushes and pins",
        Role::Maintainer => "Maintainer: also keys, rules, settings, tokens",
        Role::Owner => "Owner: also members and removing the cache",
    };
    Role::ALL.map(|role| (role.as_str().to_owned(), words(role).to_owned())).to_vec()
}

#[component]
fn Page(page: MemberPage, created: Option<CreatedInvitation>, cache: String, owns: bool, acts: Acts) -> impl IntoView {
    let tokens = page.members.tokens;
    let invitations = page.members.invitations;
    let new_token = format!("/tokens/new?cache={cache}");
    let no_tokens = tokens.is_empty();
    view! {
        <div class="flex flex-col gap-8">
            {created.map(|created| view! { <CreatedLink created /> })}
            <section class="flex flex-col gap-3" aria-labelledby="people">
                <h2 id="people" class="text-lg font-semibold">
                    "People"
                </h2>
                <Refusal error=refusal(acts.remove) />
                <People members=page.members.members cache=cache.clone() owns acts />
                <p class="text-sm text-dim">"Administrators of the server are owners of every cache."</p>
            </section>
            {owns
                .then(|| {
                    view! {
                        <div class="grid items-start gap-6 lg:grid-cols-2">
                            <Known cache=cache.clone() acts />
                            <NewInvitation
                                action=acts.invite
                                options=role_options()
                                chosen=Role::Pusher.as_str()
                                sentence="For people without an account here. The link works once, for seven days."
                            >
                                <Hidden name="cache" value=cache.clone() />
                            </NewInvitation>
                        </div>
                        <Invitations rows=invitations end=acts.end />
                    }
                })}
            <section class="flex flex-col gap-3" aria-labelledby="tokens">
                <div class="flex flex-wrap items-center justify-between gap-3">
                    <h2 id="tokens" class="text-lg font-semibold">
                        "Tokens of this cache"
                    </h2>
                    <LinkButton href=new_token label="New token" look=Look::Quiet glyph=icon::PLUS />
                </div>
                <Refusal error=refusal(acts.revoke) />
                {if no_tokens {
                    view! {
                        <div class="card">
                            <Empty sentence="No token opens this cache alone. Machines and scripts show a token instead of a password." />
                        </div>
                    }
                        .into_any()
                } else {
                    view! { <TokenTable tokens revoke=acts.revoke /> }.into_any()
                }}
            </section>
        </div>
    }
}

const COLUMNS: [Column; 4] = [words("Person"), words("Role"), numbers("Since"), numbers("")];

#[component]
fn People(members: Vec<MemberRow>, cache: String, owns: bool, acts: Acts) -> impl IntoView {
    if members.is_empty() {
        return view! {
            <div class="card">
                <Empty sentence="Nobody is in this cache yet but the server's administrators." />
            </div>
        }
        .into_any();
    }
    let rows =
        members.into_iter().map(|member| view! { <Person member cache=cache.clone() owns acts /> }).collect_view();
    view! {
        <Table caption="People" columns=&COLUMNS>
            {rows}
        </Table>
    }
    .into_any()
}

#[component]
fn Person(member: MemberRow, cache: String, owns: bool, acts: Acts) -> impl IntoView {
    let name = member.name.to_string();
    let tone = match member.role {
        Role::Viewer => Tone::Plain,
        Role::Pusher => Tone::Accent,
        Role::Maintainer | Role::Owner => Tone::Warn,
    };
    let select = format!("role-of-{name}");
    let buttons = owns.then(|| {
        view! {
            <div class="flex justify-end gap-2">
                <Confirm
                    id=format!("role-{name}")
                    opener="Change"
                    describes=format!("Change the role of {name}")
                    title=format!("Role of {name}")
                    text="It holds at once, for their own tokens too."
                    submit="Save role"
                    look=Look::Primary
                    action=acts.set
                    hidden=vec![("cache", cache.clone()), ("name", name.clone())]
>
<Select
                        name="role"
                        id=select
                        label="Role"
                        options=role_options()
                        value=member.role.as_str()
                        error=Signal::derive(|| None)
                    />
</Confirm>
                <Confirm
                    id=format!("remove-{name}")
                    opener="Remove"
                    describes=format!("Remove {name}")
                    title=format!("Remove {name} from {cache}?")
                    text="They and their own tokens are refused from now on. What they pushed stays, and so do tokens of the cache."
                    submit="Remove person"
                    action=acts.remove
                    hidden=vec![("cache", cache.clone()), ("name", name.clone())]
/>
            </div>
        }
    });
    view! {
        <Row>
            <Cell class="wide">
                <span class="font-medium break-words">{member.name.to_string()}</span>
            </Cell>
            <Cell label="Role">
                <Badge tone glyph=icon::PERSON word=member.role.as_str() />
            </Cell>
            <Cell label="Since" class="number">
                <Ago at=member.since />
            </Cell>
            <Cell class="wide sm:text-end">{buttons}</Cell>
        </Row>
    }
}

/// Somebody with an account joins at once.
#[component]
fn Known(cache: String, acts: Acts) -> impl IntoView {
    let error = refusal(acts.set);
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="add-person">
            <h2 id="add-person" class="text-lg font-semibold">
                "Add somebody with an account"
            </h2>
            <ActionForm action=acts.set attr:class="card flex flex-col gap-5 p-5">
                <Refusal error fields=&["name", "role"] />
                <Hidden name="cache" value=cache />
                <Field name="name" label="Name" maxlength=50 placeholder="ada" error />
                <Select name="role" label="Role" options=role_options() value=Role::Pusher.as_str() error />
                <Submit label="Add" class="self-start" pending=acts.set.pending() />
            </ActionForm>
        </section>
    }
}
