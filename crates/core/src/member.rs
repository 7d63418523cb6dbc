//! People: who is in which cache, and everybody with an account, for administrators.

use crate::{
    Core,
    caller::{Caller, Discretion},
    db::AccountRow,
    error::{Error, Result},
};
use iglu_api::{
    UserName,
    cache::Permission,
    member::{Members, Role, UserChange, Users},
};

/// The methods of the noun.
pub struct MembersOf<'a>(pub(crate) &'a Core);

/// The methods of the noun.
pub struct UsersOf<'a>(pub(crate) &'a Core);

impl Core {
    /// People in caches.
    pub fn member(&self) -> MembersOf<'_> {
        MembersOf(self)
    }

    /// People with an account.
    pub fn user(&self) -> UsersOf<'_> {
        UsersOf(self)
    }
}

impl MembersOf<'_> {
    /// People, tokens and, for owners, invitations of a cache.
    pub async fn list(&self, caller: &Caller, cache: &str) -> Result<Members> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        let now = core.now();
        let is_live = |token: &iglu_api::token::TokenRow| {
            token.revoked_at.is_none() && token.expires_at.is_none_or(|expires_at| expires_at > now)
        };
        let tokens = core.db.token_list(None, Some(cache.id)).await?.into_iter().filter(is_live).collect();
        let invitations = match caller.permission(&cache) {
            Some(Permission::Own) => core.invitation().of(Some(cache.id)).await?,
            _ => Vec::new(),
        };
        Ok(Members { members: core.db.member_list(cache.id).await?, invitations, tokens })
    }

    /// Gives somebody with an account a role, in place of the one they had.
    pub async fn set(&self, caller: &Caller, cache: &str, name: &str, role: Role) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Own, Discretion::Hide).await?;
        let account = core.user().find(name).await?.ok_or_else(|| {
            Error::invalid("name", "nobody has an account of this name; people without one are invited by a link")
        })?;
        let object = format!("{} is {} of {}", account.name, role.as_str(), cache.name);
        let audit = core.audit(caller, "member.set", &object).of(cache.id);
        core.db.member_put(cache.id, account.id, role, &audit).await?;
        core.refresh().await
    }

    /// Takes somebody out of a cache. People may leave by themselves.
    pub async fn remove(&self, caller: &Caller, cache: &str, name: &str) -> Result<()> {
        let core = self.0;
        let leaves = matches!(caller, Caller::Person(person) if person.name.as_str() == name);
        let needed = if leaves { Permission::Pull } else { Permission::Own };
        let cache = core.cache().open(caller, cache, needed, Discretion::Hide).await?;
        let absent = || Error::NotFound(format!("there is no such person in cache \"{}\"", cache.name));
        let account = core.user().find(name).await?.ok_or_else(absent)?;
        let audit = core.audit(caller, "member.remove", &format!("{} of {}", account.name, cache.name)).of(cache.id);
        if !core.db.member_delete(cache.id, account.id, &audit).await? {
            return Err(absent());
        }
        core.refresh().await
    }
}

impl UsersOf<'_> {
    /// Everybody with an account, and who is invited to the server.
    pub async fn list(&self, caller: &Caller) -> Result<Users> {
        caller.require_instance_admin("looking at users")?;
        Ok(Users { users: self.0.db.user_list().await?, invitations: self.0.invitation().of(None).await? })
    }

    /// Makes somebody an administrator or none, lets them in or not. One administrator stays.
    pub async fn change(&self, caller: &Caller, name: &str, change: &UserChange) -> Result<()> {
        let core = self.0;
        caller.require_instance_admin("changing a user")?;
        let account = self.get(name).await?;
        let is_admin = change.is_admin.unwrap_or(account.is_admin);
        let is_disabled = change.is_disabled.unwrap_or(account.is_disabled);
        let words = match (is_disabled, is_admin) {
            (true, _) => "is disabled",
            (false, true) => "is an administrator",
            (false, false) => "is a member",
        };
        let audit = core.audit(caller, "user.change", &format!("{name} {words}"));
        if !core.db.user_change(account.id, is_admin, is_disabled, &audit).await? {
            return Err(last_admin(name));
        }
        core.refresh().await
    }

    /// Removes somebody's account with their sessions, roles and own tokens. What they pushed stays, and so do tokens of caches.
    pub async fn remove(&self, caller: &Caller, name: &str) -> Result<()> {
        let core = self.0;
        caller.require_instance_admin("removing a user")?;
        let account = self.get(name).await?;
        if !core.db.user_delete(account.id, &core.audit(caller, "user.remove", name)).await? {
            return Err(last_admin(name));
        }
        core.refresh().await
    }

    pub(crate) async fn find(&self, name: &str) -> Result<Option<AccountRow>> {
        match UserName::parse(name.trim()) {
            Ok(name) => self.0.db.account_find(name.as_str()).await,
            Err(_) => Ok(None),
        }
    }

    pub(crate) async fn get(&self, name: &str) -> Result<AccountRow> {
        self.find(name).await?.ok_or_else(|| Error::NotFound("there is no such user".to_owned()))
    }
}

fn last_admin(name: &str) -> Error {
    let message = format!("account {name} is the last administrator of this server: make another one first");
    Error::Conflict { field: "", message }
}
