//! Invitations as the pages of caches and users show them: the new link, the form, and those that nobody followed yet.

use crate::{
    calls::{UiError, member::InvitationRevoke},
    ui::{
        button::Submit,
        code::Code,
        confirm::Confirm,
        field::{Field, Select},
        form::{Refusal, refusal},
        icon::{self, Icon},
        table::{Cell, Column, Row, Table, numbers, words},
        time::When,
    },
};
use iglu_api::member::{CreatedInvitation, Grant, InvitationRow};
use leptos::{
    prelude::*,
    server_fn::{Http, ServerFn, client::Client, codec::PostUrl, request::ClientReq},
    web_sys::FormData,
};
use serde::de::DeserializeOwned;

/// A new link, shown this once.
#[component]
pub fn CreatedLink(created: CreatedInvitation) -> impl IntoView {
    view! {
        <section class="card flex flex-col gap-3 border-done p-4" aria-labelledby="created">
            <h2 id="created" class="flex items-center gap-2 text-lg font-semibold">
                <span class="text-done">
                    <Icon glyph=icon::CHECK />
                </span>
                {format!("The link for {} is made", created.note)}
            </h2>
            <p class="text-soft">
                "Copy it now and send it to them alone. Whoever opens it first uses it up; it cannot be shown again."
            </p>
            <Code id="created-link" place="link" text=created.link />
        </section>
    }
}

/// The form that makes a link. The children are hidden fields.
#[component]
pub fn NewInvitation<S, Output>(
    action: ServerAction<S>,
    options: Vec<(String, String)>,
    chosen: &'static str,
    sentence: &'static str,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView
where
    S: DeserializeOwned + ServerFn<Protocol = Http<PostUrl, Output>, Error = UiError> + Clone + Send + Sync + 'static,
    S::Client: Client<UiError>,
    <<S::Client as Client<UiError>>::Request as ClientReq<UiError>>::FormData: From<FormData>,
    S::Output: Send + Sync + 'static,
    Output: 'static,
{
    let error = refusal(action);
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="invite">
            <h2 id="invite" class="text-lg font-semibold">
                "Invite by link"
            </h2>
            <ActionForm action attr:class="card flex flex-col gap-5 p-5">
                <p class="text-soft">{sentence}</p>
                <Refusal error fields=&["note"] />
                {children.map(|children| children())}
                <Field name="note" label="Whom it is for" maxlength=60 placeholder="Grace, infrastructure" error />
                <Select name="role" id="role-of-link" label="Role" options value=chosen error />
                <Submit label="Make a link" class="self-start" pending=action.pending() />
            </ActionForm>
        </section>
    }
}

const COLUMNS: [Column; 5] = [words("For"), words("Gives"), words("Invited by"), numbers("Ends"), numbers("")];

/// Nothing where nobody is invited.
#[component]
pub fn Invitations(rows: Vec<InvitationRow>, end: ServerAction<InvitationRevoke>) -> impl IntoView {
    let error = refusal(end);
    (!rows.is_empty()).then(|| {
        let rows = rows.into_iter().map(|row| view! { <Line row end /> }).collect_view();
        view! {
            <section class="flex flex-col gap-3" aria-labelledby="invited">
                <h2 id="invited" class="text-lg font-semibold">
                    "Invited"
                </h2>
                <Refusal error />
                <Table caption="Invitations" columns=&COLUMNS>
                    {rows}
                </Table>
            </section>
        }
    })
}

/// What a link gives, in a few words.
fn gives(grant: &Grant) -> String {
    match grant {
        Grant::Account { is_admin: true } => "an administrator's account".to_owned(),
        Grant::Account { is_admin: false } => "an account".to_owned(),
        Grant::Cache { cache, role } => format!("{} of {cache}", role.as_str()),
        Grant::Password { .. } => "a new password".to_owned(),
    }
}

#[component]
fn Line(row: InvitationRow, end: ServerAction<InvitationRevoke>) -> impl IntoView {
    let button = view! {
                    <Confirm
                        id=format!("end-invitation-{}", row.id)
                        opener="End"
                        describes=format!("End the invitation for {}", row.note)
                        title=format!("End the invitation for {}?", row.note)
                        text="The link stops working. Another one can be made."
                        submit="End invitation"
                        action=end
                        hidden=vec![("id", row.id.to_string())]
    />
        };
    view! {
        <Row>
            <Cell class="wide">
                <span class="font-medium break-words">{row.note}</span>
            </Cell>
            <Cell label="Gives" class="whole">
                {gives(&row.grant)}
            </Cell>
            <Cell label="Invited by" class="whole break-words">
                {row.invited_by}
            </Cell>
            <Cell label="Ends" class="number">
                <When at=row.expires_at />
            </Cell>
            <Cell class="wide sm:text-end">
                {button}
            </Cell>
        </Row>
    }
}
