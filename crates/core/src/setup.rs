//! The first run: a one-time link makes the first administrator and the first cache.

use crate::{
    Core,
    account::SessionSecret,
    caller::{Caller, Client, Person, Rights},
    error::{Error, Result},
    secret,
};
use iglu_api::{
    CacheName, Timestamp, UserName,
    cache::{CacheCreate, Permission, Visibility},
    token::{CreatedToken, TokenCreate},
};
use std::sync::Arc;

/// How long a set-up link lives, in milliseconds.
const LINK_LIFETIME: i64 = Timestamp::DAY;

/// What the set-up form gives.
pub struct SetupFinish {
    pub secret: String,
    pub name: UserName,
    pub password: String,
    pub public_url: String,
    pub cache: CacheName,
    pub visibility: Visibility,
}

/// What set-up leaves the browser with.
pub struct SetupDone {
    pub session: SessionSecret,
    /// A token to push the first path with.
    pub token: CreatedToken,
}

/// The methods of the noun.
pub struct Setup<'a>(pub(crate) &'a Core);

impl Setup<'_> {
    /// Whether nobody can log in yet.
    pub async fn is_needed(&self) -> Result<bool> {
        Ok(self.0.db.account_count().await? == 0)
    }

    /// Makes a link beside those that are good: each of several servers that start prints one. Refused once there is a user.
    pub async fn link_create(&self) -> Result<String> {
        self.link_create_ending(self.0.now()).await
    }

    /// Makes the only link; every earlier one ends. Refused once there is a user.
    pub async fn link_replace(&self) -> Result<String> {
        self.link_create_ending(Timestamp(i64::MAX)).await
    }

    async fn link_create_ending(&self, until: Timestamp) -> Result<String> {
        if !self.is_needed().await? {
            return Err(Error::Conflict {
                field: "",
                message: "Iglu is set up already; make more users with `iglu admin user create`".to_owned(),
            });
        }
        let secret = secret::fresh("");
        let expires_at = self.0.now().plus(LINK_LIFETIME);
        self.0.db.setup_link_add(&secret::hash(&secret), expires_at.0, until.0).await?;
        Ok(format!("{}/setup/{}", self.0.public_url(), secret.as_str()))
    }

    /// Whether the link is good now.
    pub async fn check(&self, secret: &str) -> Result<()> {
        let expires_at = self.0.db.setup_link_expiry(&secret::hash(secret)).await?;
        if expires_at.is_some_and(|at| at > self.0.now().0) && self.is_needed().await? {
            Ok(())
        } else {
            Err(bad_link())
        }
    }

    /// Uses the link up.
    pub async fn finish(&self, finish: &SetupFinish, client: &Client) -> Result<SetupDone> {
        let core = self.0;
        self.check(&finish.secret).await?;
        let address = core.address_for(&finish.public_url)?;
        let password_hash = core.account().hash_password("password", &finish.password).await?;
        let fixed = core.public_url_is_fixed();
        let public_url = address.public_url();
        let audit = core.audit_as(finish.name.to_string(), "setup.finish", finish.name.as_str(), &client.address);
        let account_id = core
            .db
            .setup_finish(
                &secret::hash(&finish.secret),
                finish.name.as_str(),
                &password_hash,
                (!fixed).then_some(public_url.as_str()),
                &audit,
            )
            .await?
            .ok_or_else(bad_link)?;
        core.load_settings().await?;

        let caller = Caller::Person(Arc::new(Person {
            account_id,
            session_id: 0,
            name: finish.name.clone(),
            rights: Rights::admin(),
            address: client.address.clone(),
        }));
        let create = CacheCreate::new(finish.cache.clone(), finish.visibility);
        match core.cache().create_unchecked(&caller, &create).await {
            // A script made it before the person came: it is theirs all the same.
            Ok(()) | Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        let token = TokenCreate {
            name: "first-push".to_owned(),
            cache: Some(finish.cache.clone()),
            scope: Permission::Push,
            expires_at: None,
            is_of_cache: true,
        };
        let token = core.token().create(&caller, &token).await?;
        let session = core.account().session_for(account_id, finish.name.as_str(), client).await?;
        Ok(SetupDone { session, token })
    }
}

fn bad_link() -> Error {
    Error::NotFound(
        "this set-up link was used or has expired; `iglu admin setup-link` prints a new one while nobody is set up"
            .to_owned(),
    )
}
