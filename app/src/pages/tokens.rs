//! Tokens: what they open, whether they are used, and an end to them.

use super::loaded::when_loaded;
use crate::{
    calls::token::{TokenPage, TokenRevoke, token_list},
    ui::{
        badge::{Badge, Tone},
        button::{LinkButton, Look},
        code::Code,
        confirm::Confirm,
        empty::Empty,
        form::{Refusal, refusal},
        icon::{self, Icon},
        page::PageHead,
        table::{Cell, Column, Row, Table, numbers, words},
        time::{Ago, AgoOr, Now, When},
    },
};
use iglu_api::{
    Timestamp,
    cache::Permission,
    token::{CreatedToken, TokenRow},
};
use leptos::prelude::*;

#[component]
pub fn Tokens() -> impl IntoView {
    let revoke = ServerAction::<TokenRevoke>::new();
    let list = Resource::new_blocking(move || revoke.version().get(), |_| token_list());
    // The server tells the secret once; it stays on the page while the list is fetched again.
    let kept = StoredValue::new(None::<CreatedToken>);
    when_loaded(list, move |list| {
        if list.created.is_some() {
            kept.set_value(list.created.clone());
        }
        view! { <Loaded list created=kept.get_value() revoke /> }.into_any()
    })
}

const COLUMNS: [Column; 7] = [
    words("Token"),
    words("Access"),
    words("Belongs to"),
    numbers("Created"),
    numbers("Last used"),
    numbers("Expires"),
    numbers(""),
];

#[component]
fn Loaded(list: TokenPage, created: Option<CreatedToken>, revoke: ServerAction<TokenRevoke>) -> impl IntoView {
    let error = refusal(revoke);
    let rows = list.tokens;
    let table = if rows.is_empty() {
        view! {
            <div class="card">
                <Empty sentence="There is no token yet. Machines and scripts show a token instead of a password.">
                    <LinkButton href="/tokens/new" label="New token" look=Look::Quiet glyph=icon::PLUS />
                </Empty>
            </div>
        }
        .into_any()
    } else {
        view! { <TokenTable tokens=rows revoke /> }.into_any()
    };
    view! {
        <PageHead
            title="Tokens"
            about=|| view! { <p class="text-soft">"What machines and scripts show instead of a password."</p> }
            action=|| view! { <LinkButton href="/tokens/new" label="New token" glyph=icon::PLUS /> }
        />
        <div class="flex flex-col gap-6">
            <Refusal error />
            {created.map(|created| view! { <Created created /> })}
            {table}
        </div>
    }
}

#[component]
pub fn TokenTable(tokens: Vec<TokenRow>, revoke: ServerAction<TokenRevoke>) -> impl IntoView {
    let rows = tokens.into_iter().map(|token| view! { <TokenCells token revoke /> }).collect_view();
    view! {
        <Table caption="Tokens" columns=&COLUMNS>
            {rows}
        </Table>
    }
}

#[component]
fn Created(created: CreatedToken) -> impl IntoView {
    view! {
        <section class="card flex flex-col gap-3 border-done p-4" aria-labelledby="created">
            <h2 id="created" class="flex items-center gap-2 text-lg font-semibold">
                <span class="text-done">
                    <Icon glyph=icon::CHECK />
                </span>
                {format!("Token {} is made", created.name)}
            </h2>
            <p class="text-soft">"Copy it now. Iglu keeps only a fingerprint of it and cannot show it again."</p>
            <Code id="created-token" place="token" text=created.token />
        </section>
    }
}

/// What a token is good for at this moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Good,
    Expired,
    Revoked,
}

impl Life {
    fn of(token: &TokenRow, now: Timestamp) -> Life {
        match (token.revoked_at, token.expires_at) {
            (Some(_), _) => Life::Revoked,
            (None, Some(end)) if end <= now => Life::Expired,
            _ => Life::Good,
        }
    }
}

#[component]
fn TokenCells(token: TokenRow, revoke: ServerAction<TokenRevoke>) -> impl IntoView {
    let now = use_context::<Now>().map_or(Timestamp(0), Now::untracked);
    let life = Life::of(&token, now);
    let state = match life {
        Life::Good => ().into_any(),
        Life::Expired => view! { <Badge tone=Tone::Plain glyph=icon::CLOCK word="expired" /> }.into_any(),
        Life::Revoked => view! { <Badge tone=Tone::Fail glyph=icon::CROSSED word="revoked" /> }.into_any(),
    };
    let scope_tone = match token.scope {
        Permission::Pull => Tone::Plain,
        Permission::Push => Tone::Accent,
        Permission::Admin | Permission::Own => Tone::Warn,
    };
    let caches = match &token.cache {
        Some(cache) => view! {
            <a class="link-plain break-all" href=format!("/caches/{cache}")>
                {cache.to_string()}
            </a>
        }
        .into_any(),
        None => view! { <span>"every cache"</span> }.into_any(),
    };
    let ends = match token.expires_at {
        Some(at) => view! { <When at /> }.into_any(),
        None => view! { <span class="text-dim">"never"</span> }.into_any(),
    };
    let owner = belongs_to(&token);
    let revocation = (life == Life::Good).then(|| {
        view! {
            <Confirm
                id=format!("revoke-{}", token.id)
                opener="Revoke"
                describes=format!("Revoke token {}", token.name)
                title=format!("Revoke {}?", token.name)
                text="Whatever uses this token is refused from now on. This cannot be undone. What it pushed stays."
                submit="Revoke token"
                action=revoke
                hidden=vec![("id", token.id.to_string())]
/>
        }
    });
    view! {
        <Row>
            <Cell class="wide">
                <span class="flex flex-wrap items-center gap-x-2 gap-y-0.5">
                    <span class="font-medium break-words">{token.name.clone()}</span>
                    <code class="text-xs text-dim">{token.prefix} "…"</code>
                    {state}
                </span>
            </Cell>
            <Cell label="Access">
                <span class="inline-flex flex-wrap items-center gap-x-1.5 gap-y-1">
                    <Badge tone=scope_tone glyph=icon::KEY_ROUND word=token.scope.as_str() />
                    {caches}
                </span>
            </Cell>
            <Cell label="Belongs to">{owner}</Cell>
            <Cell label="Created" class="number">
                <Ago at=token.created_at />
            </Cell>
            <Cell label="Last used" class="number">
                <AgoOr at=token.last_used_at never="never" />
            </Cell>
            <Cell label="Expires" class="number">
                {ends}
            </Cell>
            <Cell class="wide sm:text-end">{revocation}</Cell>
        </Row>
    }
}

/// A person, a cache, or the server.
fn belongs_to(token: &TokenRow) -> String {
    match (&token.owner, &token.cache) {
        (Some(person), _) => person.clone(),
        (None, Some(_)) => "the cache".to_owned(),
        (None, None) => "the server".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_token_is_revoked_even_after_its_end() {
        let mut token = TokenRow {
            id: 1,
            name: "ci".to_owned(),
            prefix: "iglu_".to_owned(),
            cache: None,
            scope: Permission::Push,
            owner: None,
            made_by: "ada".to_owned(),
            created_at: Timestamp(0),
            expires_at: Some(Timestamp(10)),
            last_used_at: None,
            revoked_at: None,
        };
        assert!(Life::of(&token, Timestamp(9)) == Life::Good);
        assert!(Life::of(&token, Timestamp(10)) == Life::Expired);
        token.revoked_at = Some(Timestamp(5));
        assert!(Life::of(&token, Timestamp(20)) == Life::Revoked);
    }
}
