//! Who may do what in a cache, and the links that bring people in.

use crate::{CacheName, Timestamp, UserName, cache::Permission, token::TokenRow};
use serde::{Deserialize, Serialize};

/// What a person is in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks and pulls.
    Viewer,
    /// Also pushes and pins.
    Pusher,
    /// Also sets keys, rules, limits and settings, and makes tokens for the cache.
    Maintainer,
    /// Also says who is in it, and may remove the cache.
    Owner,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Pusher, Role::Maintainer, Role::Owner];

    pub fn permission(self) -> Permission {
        match self {
            Role::Viewer => Permission::Pull,
            Role::Pusher => Permission::Push,
            Role::Maintainer => Permission::Admin,
            Role::Owner => Permission::Own,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Pusher => "pusher",
            Role::Maintainer => "maintainer",
            Role::Owner => "owner",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A person in a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemberRow {
    pub name: UserName,
    pub role: Role,
    pub since: Timestamp,
}

/// What somebody gets who follows an invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// An account on the server.
    Account { is_admin: bool },
    /// A role in a cache, and an account where there is none.
    Cache { cache: CacheName, role: Role },
    /// A new password for an account that is there.
    Password { name: UserName },
}

/// An invitation that nobody followed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationRow {
    pub id: i64,
    pub grant: Grant,
    /// Whom it is for, in the words of who made it.
    pub note: String,
    pub invited_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A new invitation with its link, which is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedInvitation {
    pub note: String,
    pub link: String,
}

/// People and tokens of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Members {
    pub members: Vec<MemberRow>,
    /// For owners; empty for others.
    pub invitations: Vec<InvitationRow>,
    /// Live tokens of this cache alone.
    pub tokens: Vec<TokenRow>,
}

/// Somebody with an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserRow {
    pub name: UserName,
    pub is_admin: bool,
    pub created_at: Timestamp,
    /// The last time that a session of theirs was used, as far as sessions are kept.
    pub last_seen_at: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    /// Caches that they have a role in.
    pub cache_count: u64,
}

/// Everybody with an account, and who is invited to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Users {
    pub users: Vec<UserRow>,
    pub invitations: Vec<InvitationRow>,
}

/// What is to change of a person; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    pub is_admin: Option<bool>,
    /// Disabled people are let in no more, nor are their tokens; nothing of theirs is removed.
    pub is_disabled: Option<bool>,
}

/// What a person is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberRole {
    pub role: Role,
}

/// Whom a link into a cache is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberInvite {
    pub role: Role,
    /// Whom it is for, in your words.
    pub note: String,
}

/// Whom a link to an account is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserInvite {
    #[serde(default)]
    pub is_admin: bool,
    /// Whom it is for, in your words.
    pub note: String,
}

/// What an account is made from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: UserName,
    pub password: String,
    #[serde(default)]
    pub is_admin: bool,
}
