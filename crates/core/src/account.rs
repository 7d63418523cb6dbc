//! People: accounts, passwords, sessions.

use crate::{
    Core,
    caller::{Caller, Client, Person, Rights},
    db::NewSession,
    error::{Error, Result},
    secret,
};
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use iglu_api::{Timestamp, UserName, account::SessionRow};
use std::{collections::HashMap, sync::Arc};
use zeroize::Zeroizing;

/// Shortest password taken, in characters.
pub const MIN_PASSWORD: usize = 10;
/// Longest, in bytes: more would only cost the server time.
const MAX_PASSWORD: usize = 1024;

/// What a browser shows to be known again.
pub struct SessionSecret(Zeroizing<String>);

impl SessionSecret {
    pub const LIFETIME_SECONDS: u32 = 30 * 24 * 3600;

    /// For the cookie only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The methods of the noun.
pub struct Accounts<'a>(pub(crate) &'a Core);

impl Accounts<'_> {
    /// Makes a person who can log in.
    pub async fn create(&self, caller: &Caller, name: &UserName, password: &str, is_admin: bool) -> Result<()> {
        caller.require_instance_admin("creating a user")?;
        let password_hash = self.hash_password("password", password).await?;
        let audit = self.0.audit(caller, "user.create", name.as_str());
        self.0.db.account_insert(name.as_str(), &password_hash, is_admin, &audit).await.map(drop)
    }

    /// Logs in. Every failure sounds the same and takes the same time, whether the name exists or not.
    pub async fn session_create(&self, name: &str, password: &str, client: &Client) -> Result<SessionSecret> {
        let wrong = || {
            metrics::counter!("iglu_authentication_failures_total", "kind" => "password").increment(1);
            Error::invalid("password", "the name or the password is wrong")
        };
        self.0.login_try(name.trim(), &client.address).await?;
        let account = match UserName::parse(name.trim()) {
            Ok(name) => self.0.db.account_find(name.as_str()).await?,
            Err(_) => None,
        };
        let known_hash = account.as_ref().map(|account| account.password_hash.clone());
        if !self.check_password(password, known_hash).await? {
            return Err(wrong());
        }
        let account = account.filter(|account| !account.is_disabled).ok_or_else(wrong)?;
        self.session_for(account.id, &account.name, client).await
    }

    pub(crate) async fn session_for(&self, account_id: i64, name: &str, client: &Client) -> Result<SessionSecret> {
        let core = self.0;
        let session = SessionSecret(secret::fresh(""));
        let now = core.now();
        let new = NewSession {
            account_id,
            secret_hash: &secret::hash(session.expose()),
            now: now.0,
            expires_at: now.plus(i64::from(SessionSecret::LIFETIME_SECONDS) * Timestamp::SECOND).0,
            address: &client.address,
            agent: &client.agent.chars().take(200).collect::<String>(),
        };
        let audit = core.audit_as(name.to_owned(), "session.create", name, &client.address);
        core.db.session_insert(&new, &audit).await?;
        Ok(session)
    }

    /// The person behind a cookie; anonymous for a session that ended.
    pub async fn caller_by_session(&self, session: &str, address: &str) -> Result<Caller> {
        let core = self.0;
        let found = core.db.session_find(&secret::hash(session)).await?.filter(|found| found.expires_at > core.now().0);
        let Some(found) = found else {
            return Ok(Caller::Anonymous { problem: None, address: address.to_owned() });
        };
        core.activity.session_seen(found.id, core.now());
        Ok(Caller::Person(Arc::new(Person {
            account_id: found.account_id,
            session_id: found.id,
            name: UserName::parse(&found.name)
                .map_err(|error| Error::internal(format!("a user in the database: {error}")))?,
            rights: self.rights(found.account_id, found.is_admin).await?,
            address: address.to_owned(),
        })))
    }

    /// What somebody may do.
    pub(crate) async fn rights(&self, account_id: i64, is_admin: bool) -> Result<Rights> {
        let roles = if is_admin { HashMap::new() } else { self.0.db.member_roles(account_id).await? };
        Ok(Rights { is_admin, roles })
    }

    pub async fn session_end(&self, caller: &Caller) -> Result<()> {
        match caller {
            Caller::Person(person) => self.session_revoke(caller, person.session_id).await,
            _ => Ok(()),
        }
    }

    pub async fn session_list(&self, caller: &Caller) -> Result<Vec<SessionRow>> {
        let person = caller.require_person()?;
        let mut sessions = self.0.db.session_list(person.account_id, self.0.now().0).await?;
        for session in &mut sessions {
            session.current = session.id == person.session_id;
        }
        Ok(sessions)
    }

    /// Ends one of the caller's own sessions.
    pub async fn session_revoke(&self, caller: &Caller, id: i64) -> Result<()> {
        let person = caller.require_person()?;
        let audit = self.0.audit(caller, "session.end", person.name.as_str());
        match self.0.db.session_delete(id, person.account_id, &audit).await? {
            true => Ok(()),
            false => Err(Error::NotFound("that session has ended already".to_owned())),
        }
    }

    /// Changes the caller's password and ends all other sessions.
    pub async fn password_change(&self, caller: &Caller, current: &str, new: &str) -> Result<()> {
        let person = caller.require_person()?;
        let account = self.0.db.account_get(person.account_id).await?;
        let account = account.ok_or_else(|| Error::Unauthenticated("this account is gone".to_owned()))?;
        if !self.check_password(current, Some(account.password_hash)).await? {
            return Err(Error::invalid("current", "this is not the current password"));
        }
        let password_hash = self.hash_password("new", new).await?;
        let audit = self.0.audit(caller, "password.change", person.name.as_str());
        self.0.db.password_set(person.account_id, &password_hash, person.session_id, &audit).await
    }

    /// Hashes a new password off the async threads, two at a time at most: each takes 19 MiB.
    pub(crate) async fn hash_password(&self, field: &'static str, password: &str) -> Result<String> {
        if password.chars().count() < MIN_PASSWORD {
            return Err(Error::invalid(field, format!("a password has at least {MIN_PASSWORD} characters")));
        }
        if password.len() > MAX_PASSWORD {
            return Err(Error::invalid(field, format!("a password has at most {MAX_PASSWORD} bytes")));
        }
        let password = Zeroizing::new(password.to_owned());
        let _permit = self.0.password_permits.acquire().await;
        let hashed = tokio::task::spawn_blocking(move || {
            Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
        });
        hashed.await?.map_err(|error| Error::internal(format!("hashing a password: {error}")))
    }

    /// Whether the password makes the hash. Without a hash the same work is done for nothing, so that time tells no names.
    async fn check_password(&self, password: &str, hash: Option<String>) -> Result<bool> {
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        let password = Zeroizing::new(password.to_owned());
        let _permit = self.0.password_permits.acquire().await;
        let checked = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            None => {
                let _ = Argon2::default().hash_password(password.as_bytes());
                false
            }
        });
        Ok(checked.await?)
    }
}
