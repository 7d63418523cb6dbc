//! Who is asking, and whether they may. The one place that decides a right on a cache.

use crate::{
    directory::Cache,
    error::{Error, Result},
};
use iglu_api::{CacheName, Timestamp, UserName, account::Me, cache::Permission};
use std::sync::Arc;

/// Who makes a call.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody, or somebody whose credentials are no good; then `problem` says why, as a whole sentence part.
    Anonymous { problem: Option<String> },
    /// A script or client with a token.
    Token(Arc<Token>),
    /// A person in a browser.
    Person(Arc<Person>),
    /// The operator at the server's own command line.
    Operator,
}

/// A token that was found good when the request came in.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: i64,
    pub name: String,
    /// The cache that it opens; `None` for all.
    pub cache_id: Option<i64>,
    pub scope: Permission,
}

/// A person with a live session.
#[derive(Clone, Debug)]
pub struct Person {
    pub account_id: i64,
    pub session_id: i64,
    pub name: UserName,
    pub is_admin: bool,
}

/// Where a request came from, for the lists and the audit log.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub address: String,
    pub agent: String,
}

/// How much a refusal tells about whether a cache exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discretion {
    /// An unknown cache and one that the caller has no right on look the same.
    Hide,
    /// An unknown cache is "not found" to everybody, as substituter clients need it.
    Tell,
}

impl Caller {
    pub const ANONYMOUS: Caller = Caller::Anonymous { problem: None };

    /// The highest right on `cache`.
    pub fn permission(&self, cache: &Cache) -> Option<Permission> {
        let anyone = cache.is_public().then_some(Permission::Pull);
        match self {
            Caller::Anonymous { .. } => anyone,
            Caller::Token(token) if token.cache_id.is_none_or(|id| id == cache.id) => Some(token.scope),
            Caller::Token(_) => anyone,
            Caller::Person(person) if person.is_admin => Some(Permission::Admin),
            Caller::Person(_) => Some(Permission::Push),
            Caller::Operator => Some(Permission::Admin),
        }
    }

    /// Whether the caller may know which caches there are.
    pub fn sees_all_caches(&self) -> bool {
        match self {
            Caller::Anonymous { .. } => false,
            Caller::Token(token) => token.cache_id.is_none(),
            Caller::Person(_) | Caller::Operator => true,
        }
    }

    /// Refuses unless the caller has `needed` on `cache`. The message names caller, cache and right.
    pub fn require(&self, cache: &Cache, needed: Permission, discretion: Discretion) -> Result<()> {
        let has = self.permission(cache);
        if has >= Some(needed) {
            return Ok(());
        }
        let reason = self.refusal(&cache.name, needed, has);
        match (self, has) {
            (Caller::Anonymous { .. }, _) => Err(Error::Unauthenticated(reason)),
            (_, None) if discretion == Discretion::Hide => Err(Error::Unauthenticated(reason)),
            _ => Err(Error::Forbidden(reason)),
        }
    }

    /// What a caller hears about a cache that does not exist.
    pub fn unknown_cache(&self, name: &str, needed: Permission, discretion: Discretion) -> Error {
        match CacheName::parse(name) {
            Ok(name) if discretion == Discretion::Hide && !self.sees_all_caches() => {
                Error::Unauthenticated(self.refusal(&name, needed, None))
            }
            Ok(name) => Error::NotFound(format!("there is no cache \"{name}\"")),
            Err(_) => Error::NotFound("there is no such cache: that is no name of one".to_owned()),
        }
    }

    fn refusal(&self, cache: &CacheName, needed: Permission, has: Option<Permission>) -> String {
        let doing = match needed {
            Permission::Pull => "pulling from",
            Permission::Push => "pushing to",
            Permission::Admin => "changing",
        };
        let needs = format!("{doing} cache \"{cache}\" needs a token with {} for it", needed.as_str());
        match self {
            Caller::Anonymous { problem: Some(problem) } => format!("{problem}; {needs}"),
            Caller::Anonymous { problem: None } => format!("no token was sent; {needs}"),
            Caller::Token(token) => match has {
                Some(has) => format!("token \"{}\" may only {} here; {needs}", token.name, has.as_str()),
                None => format!("token \"{}\" has no right on cache \"{cache}\"; {needs}", token.name),
            },
            Caller::Person(person) => format!("{} may not do this; it needs {}", person.name, needed.as_str()),
            Caller::Operator => needs,
        }
    }

    /// The person who must be an administrator for `doing`, or the operator.
    pub fn require_instance_admin(&self, doing: &str) -> Result<()> {
        match self {
            Caller::Operator => Ok(()),
            Caller::Person(person) if person.is_admin => Ok(()),
            Caller::Token(token) if token.cache_id.is_none() && token.scope == Permission::Admin => Ok(()),
            Caller::Anonymous { problem } => {
                let problem = problem.as_deref().unwrap_or("no token was sent");
                let needs = "an administrator who is logged in, or a token with admin for every cache";
                Err(Error::Unauthenticated(format!("{problem}; {doing} needs {needs}")))
            }
            _ => Err(Error::Forbidden(format!("{doing} needs an administrator, and {} is none", self.label()))),
        }
    }

    /// The logged-in person.
    pub fn require_person(&self) -> Result<&Person> {
        match self {
            Caller::Person(person) => Ok(person),
            _ => Err(Error::Unauthenticated("this needs a person who is logged in".to_owned())),
        }
    }

    /// How lists and the audit log call this caller.
    pub fn label(&self) -> String {
        match self {
            Caller::Anonymous { .. } => "anonymous".to_owned(),
            Caller::Token(token) => format!("token {}", token.name),
            Caller::Person(person) => person.name.to_string(),
            Caller::Operator => "operator".to_owned(),
        }
    }

    pub fn me(&self) -> Option<Me> {
        match self {
            Caller::Person(person) => Some(Me { name: person.name.clone(), is_admin: person.is_admin }),
            _ => None,
        }
    }
}

/// Why a token is no good, worded for its holder.
pub(crate) fn expired(name: &str, at: Timestamp) -> String {
    format!("token \"{name}\" expired on {}", &at.to_string()[..10])
}

pub(crate) fn revoked(name: &str) -> String {
    format!("token \"{name}\" was revoked")
}
