//! Links that bring people in: into a cache, onto the server, or back to an account whose password is lost. Each can be used once.

use crate::{
    Core,
    account::SessionSecret,
    caller::{Caller, Client, Discretion},
    db::{self, InvitationFound, NewInvitation},
    error::{Error, Result},
    secret,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use iglu_api::{
    Timestamp, UserName,
    cache::Permission,
    member::{CreatedInvitation, Grant, InvitationRow, Role},
};

/// How long an invitation can be followed, in milliseconds.
const LIFETIME: i64 = 7 * Timestamp::DAY;
/// How long a link for a new password can be followed, in milliseconds.
const PASSWORD_LIFETIME: i64 = Timestamp::DAY;
const LONGEST_NOTE: usize = 60;
const CREATED_PURPOSE: &str = "created invitation";

/// The methods of the noun.
pub struct Invitations<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn invitation(&self) -> Invitations<'_> {
        Invitations(self)
    }
}

impl Invitations<'_> {
    /// A link into a cache. `note` says whom it is for.
    pub async fn create_for_cache(
        &self,
        caller: &Caller,
        cache: &str,
        role: Role,
        note: &str,
    ) -> Result<CreatedInvitation> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Own, Discretion::Hide).await?;
        let object = format!("{note} as {} of {}", role.as_str(), cache.name);
        self.insert(caller, note, Some(cache.id), None, role.as_str(), &object).await
    }

    /// A link to an account on this server, as a member or an administrator.
    pub async fn create_for_server(&self, caller: &Caller, is_admin: bool, note: &str) -> Result<CreatedInvitation> {
        caller.require_instance_admin("inviting somebody to this server")?;
        let role = if is_admin { "admin" } else { "member" };
        self.insert(caller, note, None, None, role, &format!("{note} as {role}")).await
    }

    /// A link by which somebody chooses a new password.
    pub async fn create_for_password(&self, caller: &Caller, name: &str) -> Result<CreatedInvitation> {
        caller.require_instance_admin("making a link for a new password")?;
        let account = self.0.user().get(name).await?;
        self.insert(caller, &account.name, None, Some(account.id), "password", &account.name).await
    }

    async fn insert(
        &self,
        caller: &Caller,
        note: &str,
        cache_id: Option<i64>,
        account_id: Option<i64>,
        role: &str,
        object: &str,
    ) -> Result<CreatedInvitation> {
        let core = self.0;
        let note = note.trim();
        if note.is_empty() || note.chars().count() > LONGEST_NOTE || note.contains(char::is_control) {
            return Err(Error::invalid("note", format!("say in 1 to {LONGEST_NOTE} letters whom it is for")));
        }
        let secret = secret::fresh("");
        let lifetime = if account_id.is_some() { PASSWORD_LIFETIME } else { LIFETIME };
        let new = NewInvitation {
            secret_hash: &secret::hash(&secret),
            cache_id,
            account_id,
            role,
            note,
            invited_by: &caller.label(),
            expires_at: core.now().plus(lifetime).0,
        };
        let mut audit = core.audit(caller, "invitation.create", object);
        audit.cache_id = cache_id;
        core.db.invitation_insert(&new, &audit).await?;
        Ok(CreatedInvitation { note: note.to_owned(), link: format!("{}/invite/{}", core.public_url(), &*secret) })
    }

    /// Those of one cache, or all that are not of a cache.
    pub(crate) async fn of(&self, cache_id: Option<i64>) -> Result<Vec<InvitationRow>> {
        let core = self.0;
        let mut rows = Vec::new();
        for found in core.db.invitation_list(core.now().0).await? {
            if found.cache_id == cache_id
                && let Some(row) = self.row(found).await?
            {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// `None` when what it gives is gone.
    async fn row(&self, found: InvitationFound) -> Result<Option<InvitationRow>> {
        let core = self.0;
        let grant = match (found.cache_id, found.account_id) {
            (Some(cache_id), _) => core
                .directory
                .get_by_id(cache_id)
                .map(|cache| Grant::Cache { cache: cache.name.clone(), role: db::role(&found.role) }),
            (None, Some(account_id)) => core
                .db
                .account_get(account_id)
                .await?
                .and_then(|account| UserName::parse(&account.name).ok())
                .map(|name| Grant::Password { name }),
            (None, None) => Some(Grant::Account { is_admin: found.role == "admin" }),
        };
        Ok(grant.map(|grant| InvitationRow {
            id: found.id,
            grant,
            note: found.note,
            invited_by: found.invited_by,
            created_at: Timestamp(found.created_at),
            expires_at: Timestamp(found.expires_at),
        }))
    }

    /// Ends an invitation that nobody followed: of a cache as its owner, of the server as an administrator.
    pub async fn revoke(&self, caller: &Caller, id: i64) -> Result<()> {
        let core = self.0;
        let absent = || Error::NotFound("there is no such invitation; it was used, or has ended".to_owned());
        let found = core.db.invitation_list(core.now().0).await?.into_iter().find(|found| found.id == id);
        let cache = found.as_ref().and_then(|found| core.directory.get_by_id(found.cache_id?));
        match &cache {
            Some(cache) if caller.permission(cache) == Some(Permission::Own) => {}
            _ => caller.require_instance_admin("ending an invitation")?,
        }
        let found = found.ok_or_else(absent)?;
        let mut audit = core.audit(caller, "invitation.revoke", &found.note);
        audit.cache_id = found.cache_id;
        if core.db.invitation_delete(id, &audit).await? { Ok(()) } else { Err(absent()) }
    }

    /// What the link gives; whoever has it may know.
    pub async fn get(&self, secret: &str) -> Result<InvitationRow> {
        let found = self.find(secret).await?;
        self.row(found).await?.ok_or_else(bad_link)
    }

    async fn find(&self, secret: &str) -> Result<InvitationFound> {
        let core = self.0;
        core.db.invitation_find(&secret::hash(secret), core.now().0).await?.ok_or_else(bad_link)
    }

    /// Follows a link as somebody new, who is logged in then.
    pub async fn accept_new(
        &self,
        secret: &str,
        name: &UserName,
        password: &str,
        client: &Client,
    ) -> Result<SessionSecret> {
        let core = self.0;
        let found = self.find(secret).await?;
        if found.account_id.is_some() {
            return Err(bad_link());
        }
        let password_hash = core.account().hash_password("password", password).await?;
        let mut audit = core.audit_as(name.to_string(), "invitation.accept", &found.note, &client.address);
        audit.cache_id = found.cache_id;
        let account_id = core.db.invitation_take_new(&found, name.as_str(), &password_hash, &audit).await?;
        let account_id = account_id.ok_or_else(bad_link)?;
        core.refresh().await?;
        core.account().session_for(account_id, name.as_str(), client).await
    }

    /// Follows a link into a cache as somebody who is here. A higher role that they have stays.
    pub async fn accept(&self, caller: &Caller, secret: &str) -> Result<()> {
        let core = self.0;
        let person = caller.require_person()?;
        let found = self.find(secret).await?;
        let Some(cache_id) = found.cache_id else {
            return Err(Error::invalid("", "this link is for somebody without an account here; you have one"));
        };
        if person.rights.is_admin || person.rights.roles.get(&cache_id) >= Some(&db::role(&found.role)) {
            return Err(Error::invalid("", "you may do all that already; leave the link to whom it is for"));
        }
        let audit = core.audit(caller, "invitation.accept", &found.note).of(cache_id);
        if !core.db.invitation_take(&found, person.account_id, &audit).await? {
            return Err(bad_link());
        }
        core.refresh().await
    }

    /// Follows a link for a new password. All other sessions of that person end.
    pub async fn accept_password(&self, secret: &str, password: &str, client: &Client) -> Result<SessionSecret> {
        let core = self.0;
        let found = self.find(secret).await?;
        let Some(account) = core.db.account_get(found.account_id.ok_or_else(bad_link)?).await? else {
            return Err(bad_link());
        };
        let password_hash = core.account().hash_password("password", password).await?;
        let audit = core.audit_as(account.name.clone(), "password.change", &account.name, &client.address);
        if !core.db.invitation_take_password(&found, &password_hash, &audit).await? {
            return Err(bad_link());
        }
        core.account().session_for(account.id, &account.name, client).await
    }

    /// A new invitation sealed into a short text for the browser's next request.
    pub fn seal_created(&self, created: &CreatedInvitation) -> String {
        let plain = format!("{}\n{}", created.note, created.link);
        URL_SAFE_NO_PAD.encode(self.0.master.seal(CREATED_PURPOSE, plain.as_bytes()))
    }

    pub fn open_created(&self, sealed: &str) -> Option<CreatedInvitation> {
        let plain = self.0.master.open(CREATED_PURPOSE, &URL_SAFE_NO_PAD.decode(sealed).ok()?)?;
        let (note, link) = std::str::from_utf8(&plain).ok()?.split_once('\n')?;
        Some(CreatedInvitation { note: note.to_owned(), link: link.to_owned() })
    }
}

fn bad_link() -> Error {
    Error::NotFound("this link was used or has ended; ask who sent it for another one".to_owned())
}
