//! Everybody with an account, for administrators: who they are on this server, whether they are let in, and how others come in.

use super::{
    invitations::{CreatedLink, Invitations, NewInvitation},
    loaded::when_loaded,
};
use crate::{
    calls::member::{InvitationRevoke, UserChange, UserInvite, UserPage, UserPasswordLink, UserRemove, user_list},
    ui::{
        badge::{Badge, Tone},
        button::Look,
        confirm::Confirm,
        field::Field,
        form::{Refusal, done, refusal},
        icon,
        number::counted,
        table::{Cell, Column, Row, Table, numbers, words},
        time::{Ago, AgoOr},
    },
};
use iglu_api::member::{CreatedInvitation, UserRow};
use leptos::prelude::*;
use leptos_meta::Title;

/// The actions of the page.
#[derive(Clone, Copy)]
struct Acts {
    change: ServerAction<UserChange>,
    remove: ServerAction<UserRemove>,
    password: ServerAction<UserPasswordLink>,
    invite: ServerAction<UserInvite>,
    end: ServerAction<InvitationRevoke>,
}

#[component]
pub fn AdminUsers() -> impl IntoView {
    let acts = Acts {
        change: ServerAction::new(),
        remove: ServerAction::new(),
        password: ServerAction::new(),
        invite: ServerAction::new(),
        end: ServerAction::new(),
    };
    let changes = (done(acts.change), done(acts.remove), done(acts.password), done(acts.invite), done(acts.end));
    let (changed, removed, linked, invited, ended) = changes;
    let users = Resource::new_blocking(
        move || (changed.get(), removed.get(), linked.get(), invited.get(), ended.get()),
        |_| user_list(),
    );
    // The server tells the link once; it stays on the page while the list is fetched again.
    let kept = StoredValue::new(None::<CreatedInvitation>);
    view! {
        <Title text="Users" />
        {when_loaded(
            users,
            move |page| {
                if page.created.is_some() {
                    kept.set_value(page.created.clone());
                }
                view! { <Page page created=kept.get_value() acts /> }.into_any()
            },
        )}
    }
}

const COLUMNS: [Column; 6] =
    [words("User"), words("Role"), words("In"), numbers("Created").quiet(), numbers("Last seen"), numbers("")];

#[component]
fn Page(page: UserPage, created: Option<CreatedInvitation>, acts: Acts) -> impl IntoView {
    let roles = [("member", "Member: sees the caches that they are in"), ("admin", "Administrator: may do everything")];
    let options = roles.map(|(value, word)| (value.to_owned(), word.to_owned())).to_vec();
    let rows = page.users.users.into_iter().map(|user| view! { <User user acts /> }).collect_view();
    view! {
        <div class="flex flex-col gap-8">
            {created.map(|created| view! { <CreatedLink created /> })}
            <section class="flex flex-col gap-3" aria-labelledby="users">
                <h2 id="users" class="sr-only">
                    "Users"
                </h2>
                <Refusal error=refusal(acts.change) />
                <Refusal error=refusal(acts.remove) />
                <Refusal error=refusal(acts.password) />
                <Table caption="Users" columns=&COLUMNS>
                    {rows}
                </Table>
            </section>
            <div class="max-w-xl">
                <NewInvitation
                    action=acts.invite
                    options
                    chosen="member"
                    sentence="The link makes an account. It works once, for seven days. Owners of caches invite by themselves."
                />
            </div>
            <Invitations rows=page.users.invitations end=acts.end />
        </div>
    }
}

#[component]
fn User(user: UserRow, acts: Acts) -> impl IntoView {
    let name = user.name.to_string();
    let role = match (user.disabled_at, user.is_admin) {
        (Some(_), _) => view! { <Badge tone=Tone::Fail glyph=icon::CROSSED word="disabled" /> },
        (None, true) => view! { <Badge tone=Tone::Warn glyph=icon::PERSON word="administrator" /> },
        (None, false) => view! { <Badge tone=Tone::Plain glyph=icon::PERSON word="member" /> },
    };
    let caches = if user.is_admin { "every cache".to_owned() } else { counted(user.cache_count, "cache", "caches") };
    let (rank, rank_text, rank_to) = if user.is_admin {
        ("Make member", "They keep only the roles that caches give them.", "member")
    } else {
        ("Make administrator", "They may do everything on this server.", "admin")
    };
    let (access, access_text, access_to, access_look) = if user.disabled_at.is_some() {
        ("Enable", "They may log in again, and their tokens work again.", "enabled", Look::Primary)
    } else {
        (
            "Disable",
            "They are logged out, and their own tokens are refused. Nothing of theirs is removed.",
            "disabled",
            Look::Danger,
        )
    };
    let about = |what: &str| format!("{what}: {name}");
    let buttons = view! {
                    <div class="flex flex-wrap justify-end gap-2">
                        <Confirm
                            id=format!("rank-{name}")
                            opener=rank
                            describes=about(rank)
                            title=format!("{rank}: {name}?")
                            text=rank_text
                            submit=rank
                            look=Look::Primary
                            action=acts.change
                            hidden=vec![("name", name.clone()), ("to", rank_to.to_owned())]
    />
                        <Confirm
                            id=format!("password-{name}")
                            opener="New password"
                            describes=about("New password")
                            title=format!("A link for a new password of {name}?")
                            text="Send it to them alone. It works once, for a day. Until they use it, the old password goes on."
                            submit="Make a link"
                            look=Look::Primary
                            action=acts.password
                            hidden=vec![("name", name.clone())]
    />
                        <Confirm
                            id=format!("access-{name}")
                            opener=access
                            describes=about(access)
                            title=format!("{access} {name}?")
                            text=access_text
                            submit=access
                            look=access_look
                            action=acts.change
                            hidden=vec![("name", name.clone()), ("to", access_to.to_owned())]
    />
                        <Confirm
                            id=format!("remove-{name}")
                            opener="Remove"
                            describes=about("Remove")
                            title=format!("Remove {name}?")
                            text="The account goes with its roles and its own tokens. What they pushed stays. This cannot be undone."
                            submit="Remove account"
                            action=acts.remove
                            hidden=vec![("name", name.clone())]
    >
    <Field
                                name="confirm"
                                id=format!("confirm-{name}")
                                label=format!("Type {name}")
                                autocomplete="off"
                                error=Signal::derive(|| None)
                            />
    </Confirm>
                    </div>
        };
    view! {
        <Row>
            <Cell class="wide">
                <span class="font-medium break-words">{user.name.to_string()}</span>
            </Cell>
            <Cell label="Role">{role}</Cell>
            <Cell label="In">{caches}</Cell>
            <Cell label="Created" class="number quiet">
                <Ago at=user.created_at />
            </Cell>
            <Cell label="Last seen" class="number">
                <AgoOr at=user.last_seen_at never="never" />
            </Cell>
            <Cell class="wide sm:text-end">
                {buttons}
            </Cell>
        </Row>
    }
}
