//! Tokens: make, list, revoke, and the way from a secret to a caller.

use crate::{
    Core,
    caller::{self, Caller, Client, Discretion, Token},
    db::{self, NewToken},
    error::{Error, Result},
    secret,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use iglu_api::{
    Timestamp,
    token::{CreatedToken, TokenCreate, TokenRow},
};
use std::sync::Arc;

/// What every secret begins with, so that scanners find a leaked one.
const PREFIX: &str = "iglu_";
/// Characters of a secret that lists show.
const SHOWN: usize = 11;
const CREATED_PURPOSE: &str = "created token";
/// How long a found token is believed without asking the database, in milliseconds. Revoking forgets it at once.
const REMEMBERED: i64 = 10 * Timestamp::SECOND;

/// A token remembered between requests.
#[derive(Clone, Debug)]
pub(crate) struct KnownToken {
    token: Arc<Token>,
    expires_at: Option<Timestamp>,
    checked_at: Timestamp,
}

/// The methods of the noun.
pub struct Tokens<'a>(pub(crate) &'a Core);

impl Tokens<'_> {
    /// Makes a token; the secret in the answer is kept nowhere. For people and the operator: a token cannot make another,
    /// which would outlive it. All-cache tokens are for administrators; others may make what they could do themselves.
    pub async fn create(&self, caller: &Caller, create: &TokenCreate) -> Result<CreatedToken> {
        let core = self.0;
        let account_id = match caller {
            Caller::Operator => None,
            _ => Some(caller.require_person()?.account_id),
        };
        check_label(&create.name)?;
        let cache_id = match &create.cache {
            Some(name) => Some(core.cache().open(caller, name.as_str(), create.scope, Discretion::Hide).await?.id),
            None => {
                caller.require_instance_admin("making a token for every cache")?;
                None
            }
        };
        if create.expires_at.is_some_and(|at| at <= core.now()) {
            return Err(Error::invalid("expires_days", "the token would have expired already"));
        }
        let secret = secret::fresh(PREFIX);
        let new = NewToken {
            name: &create.name,
            prefix: &secret[..SHOWN],
            secret_hash: &secret::hash(&secret),
            cache_id,
            scope: create.scope,
            account_id,
            expires_at: create.expires_at.map(|at| at.0),
        };
        let object = match &create.cache {
            Some(cache) => format!("{} ({} for {cache})", create.name, create.scope.as_str()),
            None => format!("{} ({} for every cache)", create.name, create.scope.as_str()),
        };
        core.db.token_insert(&new, &core.audit(caller, "token.create", &object, &Client::default())).await?;
        Ok(CreatedToken { name: create.name.clone(), token: secret.to_string() })
    }

    /// The tokens that the caller made; an administrator sees all.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<TokenRow>> {
        self.0.db.token_list(owner_filter(caller)?).await
    }

    pub async fn revoke(&self, caller: &Caller, id: i64) -> Result<()> {
        let core = self.0;
        let audit = core.audit(caller, "token.revoke", &id.to_string(), &Client::default());
        if !core.db.token_revoke(id, owner_filter(caller)?, &audit).await? {
            return Err(Error::NotFound("there is no such token to revoke".to_owned()));
        }
        core.known_tokens.clear();
        Ok(())
    }

    /// Who shows this secret. A secret that is no good makes an anonymous caller with the reason.
    pub async fn caller(&self, secret: &str) -> Result<Caller> {
        let core = self.0;
        let now = core.now();
        let secret_hash = secret::hash(secret);
        let known = core.known_tokens.get(&secret_hash).filter(|known| now.since(known.checked_at) < REMEMBERED);
        let known = match known {
            Some(known) => known,
            None => {
                let problem = |problem: String| Ok(Caller::Anonymous { problem: Some(problem) });
                let Some(row) = core.db.token_find(&secret_hash).await? else {
                    return problem("the token is not known to this server".to_owned());
                };
                if row.revoked_at.is_some() {
                    return problem(caller::revoked(&row.name));
                }
                let token = Token { id: row.id, name: row.name, cache_id: row.cache_id, scope: db::scope(&row.scope) };
                let known =
                    KnownToken { token: Arc::new(token), expires_at: row.expires_at.map(Timestamp), checked_at: now };
                core.known_tokens.insert(secret_hash, known.clone());
                known
            }
        };
        if let Some(at) = known.expires_at.filter(|at| *at <= now) {
            return Ok(Caller::Anonymous { problem: Some(caller::expired(&known.token.name, at)) });
        }
        core.activity.token_used(known.token.id, now);
        Ok(Caller::Token(known.token))
    }

    /// A new token sealed into a short text for the browser's next request; see [`Tokens::open_created`].
    pub fn seal_created(&self, created: &CreatedToken) -> String {
        let plain = format!("{}\n{}", created.name, created.token);
        URL_SAFE_NO_PAD.encode(self.0.master.seal(CREATED_PURPOSE, plain.as_bytes()))
    }

    pub fn open_created(&self, sealed: &str) -> Option<CreatedToken> {
        let plain = self.0.master.open(CREATED_PURPOSE, &URL_SAFE_NO_PAD.decode(sealed).ok()?)?;
        let (name, token) = std::str::from_utf8(&plain).ok()?.rsplit_once('\n')?;
        Some(CreatedToken { name: name.to_owned(), token: token.to_owned() })
    }
}

/// `None` for callers that see the tokens of all people.
fn owner_filter(caller: &Caller) -> Result<Option<i64>> {
    match caller {
        Caller::Operator => Ok(None),
        Caller::Person(person) if person.is_admin => Ok(None),
        Caller::Person(person) => Ok(Some(person.account_id)),
        _ => caller.require_person().map(|person| Some(person.account_id)),
    }
}

fn check_label(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ' | '@' | '/');
    if name.is_empty() || name.len() > 60 || name.trim() != name || !name.chars().all(plain) {
        return Err(Error::invalid("name", "a token name is 1 to 60 letters, digits, blanks or - _ . @ /"));
    }
    Ok(())
}
