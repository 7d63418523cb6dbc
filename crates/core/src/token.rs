//! Tokens: make, list, revoke, and the way from a secret to a caller.

use crate::{
    Core,
    caller::{self, Caller, Discretion, Rights, Token},
    db::{self, NewToken},
    error::{Error, Result},
    secret,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use iglu_api::{
    Timestamp,
    cache::Permission,
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

/// What was found of a secret lately.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    /// The token, or why the secret is no good.
    token: std::result::Result<KnownToken, String>,
    checked_at: Timestamp,
}

/// A token remembered between requests.
#[derive(Clone, Debug)]
struct KnownToken {
    id: i64,
    name: String,
    cache_id: Option<i64>,
    scope: Permission,
    owner: Option<Arc<Rights>>,
    expires_at: Option<Timestamp>,
}

/// The methods of the noun.
pub struct Tokens<'a>(pub(crate) &'a Core);

impl Tokens<'_> {
    /// Makes a token; the secret in the answer is kept nowhere. For people and
    /// administrators: another token makes none, which would outlive it. People make tokens that may do what they may themselves, now and later; those who change a cache make
    /// tokens of the cache.
    pub async fn create(&self, caller: &Caller, create: &TokenCreate) -> Result<CreatedToken> {
        let core = self.0;
        let account_id = match caller {
            Caller::Person(person) => Some(person.account_id),
            _ if caller.require_instance_admin("making a token").is_ok() => None,
            _ => Some(caller.require_person()?.account_id),
        };
        let is_of_cache = create.is_of_cache || account_id.is_none();
        check_label(&create.name)?;
        if create.scope == Permission::Own {
            return Err(Error::invalid("scope", "a token has pull, push or admin"));
        }
        let cache_id = match &create.cache {
            Some(name) => {
                let needed = if is_of_cache { Permission::Admin } else { create.scope };
                Some(core.cache().open(caller, name.as_str(), needed, Discretion::Hide).await?.id)
            }
            None if is_of_cache => {
                caller.require_instance_admin("making a token of the server")?;
                None
            }
            None => None,
        };
        let account_id = account_id.filter(|_| !is_of_cache);
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
            made_by: &caller.label(),
            expires_at: create.expires_at.map(|at| at.0),
        };
        let object = match &create.cache {
            Some(cache) => format!("{} ({} for {cache})", create.name, create.scope.as_str()),
            None => format!("{} ({} for every cache)", create.name, create.scope.as_str()),
        };
        let mut audit = core.audit(caller, "token.create", &object);
        audit.cache_id = cache_id;
        core.db.token_insert(&new, &audit).await?;
        Ok(CreatedToken { name: create.name.clone(), token: secret.to_string() })
    }

    /// The tokens that the caller made; an administrator sees all.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<TokenRow>> {
        self.0.db.token_list(owner_filter(caller)?, None).await
    }

    /// Ends a token: one's own, one of a cache that one may change, or any as an administrator.
    pub async fn revoke(&self, caller: &Caller, id: i64) -> Result<()> {
        let core = self.0;
        let own = owner_filter(caller)?;
        let token = core.db.token_get(id).await?.filter(|token| {
            let cache = token.cache_id.and_then(|id| core.directory.get_by_id(id));
            let changes = cache.is_some_and(|cache| caller.permission(&cache) >= Some(Permission::Admin));
            changes || own.is_none_or(|account_id| token.account_id == Some(account_id))
        });
        let absent = || Error::NotFound("there is no such token to revoke".to_owned());
        let token = token.ok_or_else(absent)?;
        let mut audit = core.audit(caller, "token.revoke", &token.name);
        audit.cache_id = token.cache_id;
        if !core.db.token_revoke(id, &audit).await? {
            return Err(absent());
        }
        core.known_tokens.clear();
        Ok(())
    }

    /// Who shows this secret from `address`. A secret that is no good makes an anonymous caller with the reason.
    pub async fn caller(&self, secret: &str, address: &str) -> Result<Caller> {
        let core = self.0;
        if let Some(run) = core.run().caller(secret, address).await? {
            if matches!(run, Caller::Anonymous { .. }) {
                core.guess_try(address)?;
            }
            return Ok(run);
        }
        let now = core.now();
        let secret_hash = secret::hash(secret);
        let found = match core.known_tokens.get(&secret_hash) {
            Some(Remembered { token, checked_at }) if now.since(checked_at) < REMEMBERED => token,
            _ => {
                // Who tries one secret after the other does not keep the database busy; nor are others at their address kept out.
                if core.once_good_tokens.get(&secret_hash).is_none() {
                    core.guess_try(address)?;
                }
                let token = self.find(&secret_hash).await?;
                if token.is_ok() {
                    core.once_good_tokens.insert(secret_hash, ());
                }
                core.known_tokens.insert(secret_hash, Remembered { token: token.clone(), checked_at: now });
                token
            }
        };
        let found = found.and_then(|known| match known.expires_at.filter(|at| *at <= now) {
            Some(at) => Err(caller::expired(&known.name, at)),
            None => Ok(known),
        });
        let known = match found {
            Ok(known) => known,
            Err(problem) => {
                metrics::counter!("iglu_authentication_failures_total", "kind" => "token").increment(1);
                return Ok(Caller::Anonymous { problem: Some(problem), address: address.to_owned() });
            }
        };
        core.token_try(known.id, &known.name)?;
        core.activity.token_used(known.id, now);
        Ok(Caller::Token(Arc::new(Token {
            id: known.id,
            name: known.name,
            cache_id: known.cache_id,
            scope: known.scope,
            owner: known.owner,
            address: address.to_owned(),
        })))
    }

    /// The token with this secret, or why there is none that may be used.
    async fn find(&self, secret_hash: &[u8; 32]) -> Result<std::result::Result<KnownToken, String>> {
        let core = self.0;
        let Some(row) = core.db.token_find(secret_hash).await? else {
            return Ok(Err("the token is not known to this server".to_owned()));
        };
        if row.revoked_at.is_some() {
            return Ok(Err(caller::revoked(&row.name)));
        }
        if row.is_owner_disabled == Some(true) {
            return Ok(Err(format!("the person whom token \"{}\" stands for is disabled", row.name)));
        }
        let owner = match (row.account_id, row.is_owner_admin) {
            (Some(account_id), is_admin) => {
                Some(Arc::new(core.account().rights(account_id, is_admin == Some(true)).await?))
            }
            (None, _) => None,
        };
        Ok(Ok(KnownToken {
            id: row.id,
            name: row.name,
            cache_id: row.cache_id,
            scope: db::scope(&row.scope),
            owner,
            expires_at: row.expires_at.map(Timestamp),
        }))
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
        Caller::Person(person) if !person.rights.is_admin => Ok(Some(person.account_id)),
        _ if caller.require_instance_admin("seeing all tokens").is_ok() => Ok(None),
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
