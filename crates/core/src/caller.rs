//! Who is asking, and whether they may. The one place that decides a right on a cache.

use crate::{
    directory::Cache,
    error::{Error, Result},
    network::Networks,
};
use iglu_api::{CacheName, Timestamp, UserName, account::Me, cache::Permission, member::Role};
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody, or somebody whose credentials are no good; then `problem` says why, as a whole sentence part.
    Anonymous {
        problem: Option<String>,
        /// The client's address, where it is known.
        address: String,
    },
    /// A script or client with a token.
    Token(Arc<Token>),
    /// A person in a browser.
    Person(Arc<Person>),
    /// The operator at the server's own command line.
    Operator,
}

/// A token that was found good when the request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: i64,
    pub name: String,
    /// The cache that it opens; `None` for all.
    pub cache_id: Option<i64>,
    pub scope: Permission,
    /// What the person may do whom it stands for; `None` for a token of a cache or of the server.
    pub owner: Option<Arc<Rights>>,
    /// The client's address, where it is known.
    pub address: String,
}

/// A person with a live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub account_id: i64,
    pub session_id: i64,
    pub name: UserName,
    pub rights: Rights,
    /// The client's address, where it is known.
    pub address: String,
}

/// What a person may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Of the server: then of every cache an owner.
    pub is_admin: bool,
    /// By the cache's id.
    pub roles: HashMap<i64, Role>,
}

impl Rights {
    /// Of an administrator of the server.
    pub fn admin() -> Rights {
        Rights { is_admin: true, roles: HashMap::new() }
    }

    fn on(&self, cache: &Cache) -> Option<Permission> {
        let role = || self.roles.get(&cache.id).map(|role| role.permission());
        if self.is_admin { Some(Permission::Own) } else { role().max(anyone(cache)) }
    }
}

/// What everybody may do.
fn anyone(cache: &Cache) -> Option<Permission> {
    cache.is_public().then_some(Permission::Pull)
}

impl Token {
    /// Whether a run pushes or pulls with it, for as long as it lasts: runs and tokens are counted apart.
    pub(crate) fn is_of_run(&self) -> bool {
        self.id < 0
    }

    /// Whether it may do what administrators of the server do.
    fn is_admin(&self) -> bool {
        let opens_all = self.cache_id.is_none() && self.scope == Permission::Admin;
        opens_all && self.owner.as_ref().is_none_or(|owner| owner.is_admin)
    }

    fn on(&self, cache: &Cache) -> Option<Permission> {
        if self.cache_id.is_some_and(|id| id != cache.id) {
            return anyone(cache);
        }
        // Whoever may do everything may do what only owners may.
        let scope =
            if self.cache_id.is_none() && self.scope == Permission::Admin { Permission::Own } else { self.scope };
        match &self.owner {
            Some(owner) => owner.on(cache).map(|has| has.min(scope)),
            None => Some(scope),
        }
    }
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
    pub const ANONYMOUS: Caller = Caller::Anonymous { problem: None, address: String::new() };

    /// The highest right on `cache`, from where the caller is.
    pub fn permission(&self, cache: &Cache) -> Option<Permission> {
        if self.is_let_in(&cache.networks) { self.right(cache) } else { None }
    }

    /// Whether somebody in these networks is meant. Whoever could change the rule is let in from everywhere, so that a wrong one can be
    /// mended; and runs are, whose nodes the server chose.
    pub(crate) fn is_let_in(&self, networks: &Networks) -> bool {
        let is_exempt = match self {
            Caller::Operator => true,
            Caller::Person(person) => person.rights.is_admin,
            Caller::Token(token) => token.is_of_run(),
            Caller::Anonymous { .. } => false,
        };
        is_exempt || networks.contains(self.address().parse::<IpAddr>().ok())
    }

    /// The highest right on `cache`, wherever the caller is.
    fn right(&self, cache: &Cache) -> Option<Permission> {
        match self {
            Caller::Anonymous { .. } => anyone(cache),
            Caller::Token(token) => token.on(cache),
            Caller::Person(person) => person.rights.on(cache),
            Caller::Operator => Some(Permission::Own),
        }
    }

    /// Whether the caller may know which caches there are.
    pub fn sees_all_caches(&self) -> bool {
        match self {
            Caller::Anonymous { .. } => false,
            Caller::Token(token) => token.cache_id.is_none() && token.owner.as_ref().is_none_or(|owner| owner.is_admin),
            Caller::Person(person) => person.rights.is_admin,
            Caller::Operator => true,
        }
    }

    /// Refuses unless the caller has `needed` on `cache`. The message names caller, cache and right.
    pub fn require(&self, cache: &Cache, needed: Permission, discretion: Discretion) -> Result<()> {
        let has = self.permission(cache);
        if has >= Some(needed) {
            return Ok(());
        }
        if has.is_none() && self.right(cache) >= Some(needed) {
            metrics::counter!("iglu_authentication_failures_total", "kind" => "network").increment(1);
            let address = if self.address().is_empty() { "an unknown address" } else { self.address() };
            return Err(Error::Forbidden(format!(
                "cache \"{}\" may be used from certain networks only, and {address} is in none of them",
                cache.name
            )));
        }
        let reason = self.refusal(&cache.name, needed, has);
        match (self, has) {
            (Caller::Anonymous { .. }, _) => Err(Error::Unauthenticated(reason)),
            // Logging in again would not help.
            (Caller::Person(_), None) => Err(nothing_here(&cache.name)),
            (_, None) if discretion == Discretion::Hide => Err(Error::Unauthenticated(reason)),
            _ => Err(Error::Forbidden(reason)),
        }
    }

    /// What a caller hears about a cache that does not exist.
    pub fn unknown_cache(&self, name: &str, needed: Permission, discretion: Discretion) -> Error {
        match CacheName::parse(name) {
            Ok(name) if matches!(self, Caller::Person(person) if !person.rights.is_admin) => nothing_here(&name),
            Ok(name) if discretion == Discretion::Hide && !self.sees_all_caches() => {
                Error::Unauthenticated(self.refusal(&name, needed, None))
            }
            Ok(name) => Error::NotFound(format!("there is no cache \"{name}\"")),
            Err(_) => Error::NotFound("there is no such cache: that is no name of one".to_owned()),
        }
    }

    fn refusal(&self, cache: &CacheName, needed: Permission, has: Option<Permission>) -> String {
        let needs = |doing| format!("{doing} cache \"{cache}\" needs a token with {} for it", needed.as_str());
        let needs = match needed {
            Permission::Pull => needs("pulling from"),
            Permission::Push => needs("pushing to"),
            Permission::Admin => needs("changing"),
            Permission::Own => format!(
                "removing cache \"{cache}\", or saying who is in it, needs an owner or a token with admin for every cache"
            ),
        };
        match self {
            Caller::Anonymous { problem: Some(problem), .. } => format!("{problem}; {needs}"),
            Caller::Anonymous { problem: None, .. } => format!("no token was sent; {needs}"),
            Caller::Token(token) => match has {
                Some(has) => format!("token \"{}\" may only {} here; {needs}", token.name, has.as_str()),
                None => format!("token \"{}\" has no right on cache \"{cache}\"; {needs}", token.name),
            },
            Caller::Person(person) => {
                let role = Role::ALL.into_iter().find(|role| role.permission() >= needed).unwrap_or(Role::Owner);
                format!("{} may not do this; it needs a {} of cache \"{cache}\"", person.name, role.as_str())
            }
            Caller::Operator => needs,
        }
    }

    /// The person who must be an administrator for `doing`, or the operator.
    pub fn require_instance_admin(&self, doing: &str) -> Result<()> {
        match self {
            Caller::Operator => Ok(()),
            Caller::Person(person) if person.rights.is_admin => Ok(()),
            Caller::Token(token) if token.is_admin() => Ok(()),
            Caller::Anonymous { problem, .. } => {
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
            // Runs have their own words.
            Caller::Token(token) if token.is_of_run() => token.name.clone(),
            Caller::Token(token) => format!("token {}", token.name),
            Caller::Person(person) => person.name.to_string(),
            Caller::Operator => "operator".to_owned(),
        }
    }

    /// Where the request came from, where it is known.
    pub fn address(&self) -> &str {
        match self {
            Caller::Token(token) => &token.address,
            Caller::Person(person) => &person.address,
            Caller::Anonymous { address, .. } => address,
            Caller::Operator => "",
        }
    }

    pub fn me(&self) -> Option<Me> {
        match self {
            Caller::Person(person) => Some(Me { name: person.name.clone(), is_admin: person.rights.is_admin }),
            _ => None,
        }
    }
}

/// For people, a cache that they are not in and one that does not exist are the same.
fn nothing_here(cache: &CacheName) -> Error {
    Error::NotFound(format!("there is no cache \"{cache}\", or you are not in it"))
}

/// Why a token is no good, worded for its holder.
pub(crate) fn expired(name: &str, at: Timestamp) -> String {
    format!("token \"{name}\" expired on {}", &at.to_string()[..10])
}

pub(crate) fn revoked(name: &str) -> String {
    format!("token \"{name}\" was revoked")
}
