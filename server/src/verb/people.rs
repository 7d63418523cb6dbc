//! `user`, `member` and `token`: who is let in, and who may do what.

use super::{
    Said,
    api::{Api, segment},
};
use crate::settings::Span;
use anyhow::Context;
use clap::{ArgAction, Subcommand, ValueEnum};
use iglu_api::{
    CacheName, UserName,
    cache::Permission,
    member::{
        CreatedInvitation, MemberInvite, MemberRole, Members, Role, UserChange, UserCreate, UserInvite, UserRow, Users,
    },
    token::{CreatedToken, TokenCreate, TokenRow},
};
use iglu_core::clock::Clock;
use serde_json::json;
use std::io::Read;

#[derive(Subcommand)]
pub enum UserCommand {
    /// Make a user
    Create {
        /// Name of the person
        name: UserName,
        /// Read the password from standard input, to its end or the first line break
        #[arg(long, required = true)]
        password_stdin: bool,
        /// May change everything
        #[arg(long)]
        admin: bool,
    },
    /// Print a link that makes an account, once
    Invite {
        /// Whom it is for
        note: String,
        /// May change everything
        #[arg(long)]
        admin: bool,
    },
    /// Print everybody with an account
    List,
    /// Change what is named, and nothing else; one administrator stays
    Set {
        /// Name of the person
        name: String,
        /// May change everything
        #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
        admin: Option<bool>,
        /// Let in no more; nothing of theirs is removed
        #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
        disabled: Option<bool>,
    },
    /// Print a link by which somebody chooses a new password, once
    PasswordLink {
        /// Name of the person
        name: String,
    },
    /// Remove an account with its roles and own tokens
    Remove {
        /// Name of the person
        name: String,
        /// It cannot be undone
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub enum MemberCommand {
    /// Print who is in a cache
    List {
        /// Name of the cache
        cache: String,
    },
    /// Give somebody with an account a role, in place of the one they had
    Set {
        /// Name of the cache
        cache: String,
        /// Name of the person
        name: String,
        /// What they may do
        role: RoleWord,
    },
    /// Take somebody out of a cache
    Remove {
        /// Name of the cache
        cache: String,
        /// Name of the person
        name: String,
    },
    /// Print a link into a cache, for somebody with or without an account
    Invite {
        /// Name of the cache
        cache: String,
        /// What they may do
        role: RoleWord,
        /// Whom it is for
        note: String,
    },
}

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        /// What lists call the token
        name: String,
        /// The one cache that it opens
        #[arg(long, required_unless_present = "all_caches", conflicts_with = "all_caches")]
        cache: Option<CacheName>,
        /// Opens every cache
        #[arg(long)]
        all_caches: bool,
        /// The highest right; each includes the ones before it
        #[arg(long)]
        scope: Scope,
        /// When it ends: a number with d, h, m or s, such as 90d
        #[arg(long)]
        expires: Option<Span>,
    },
    /// Print all tokens, without their secrets
    List,
    /// End a token, by the number that the list has
    Revoke {
        /// Number of the token, as `list` has it
        id: i64,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Scope {
    Pull,
    Push,
    Admin,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum RoleWord {
    /// Looks and pulls
    Viewer,
    /// Also pushes and pins
    Pusher,
    /// Also keys, rules, settings and tokens
    Maintainer,
    /// Also members and removing the cache
    Owner,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Role {
        match word {
            RoleWord::Viewer => Role::Viewer,
            RoleWord::Pusher => Role::Pusher,
            RoleWord::Maintainer => Role::Maintainer,
            RoleWord::Owner => Role::Owner,
        }
    }
}

fn printed_link(created: CreatedInvitation) -> Said {
    Ok((json!({ "link": created.link }), created.link))
}

pub async fn user(api: &Api, command: UserCommand) -> Said {
    match command {
        UserCommand::Create { name, admin, .. } => {
            let mut password = String::new();
            std::io::stdin().take(4096).read_to_string(&mut password).context("reading the password")?;
            let password = password.lines().next().unwrap_or_default().to_owned();
            let create = UserCreate { name: name.clone(), password, is_admin: admin };
            let _: Users = api.post("users", create).await?;
            return Ok((json!({ "name": name, "admin": admin }), format!("user {name} can log in")));
        }
        UserCommand::Invite { note, admin } => {
            return printed_link(api.post("invitations", UserInvite { is_admin: admin, note }).await?);
        }
        UserCommand::PasswordLink { name } => {
            return printed_link(api.post(&format!("users/{}/password-link", segment(&name)), ()).await?);
        }
        UserCommand::Set { name, admin, disabled } => {
            let change = UserChange { is_admin: admin, is_disabled: disabled };
            let _: Users = api.patch(&format!("users/{}", segment(&name)), change).await?;
        }
        UserCommand::Remove { name, .. } => {
            let () = api.delete(&format!("users/{}", segment(&name))).await?;
        }
        UserCommand::List => {}
    }
    let Users { users, .. } = api.get("users").await?;
    let line = |user: &UserRow| {
        let role = if user.is_admin { "administrator" } else { "member" };
        let disabled = if user.disabled_at.is_some() { ", disabled" } else { "" };
        format!("{}  {role}{disabled}", user.name)
    };
    Ok((json!({ "users": users }), users.iter().map(line).collect::<Vec<_>>().join("\n")))
}

pub async fn member(api: &Api, command: MemberCommand) -> Said {
    let of = |cache: &str| format!("caches/{}/members", segment(cache));
    let cache = match command {
        MemberCommand::List { cache } => cache,
        MemberCommand::Set { cache, name, role } => {
            let role = MemberRole { role: role.into() };
            let _: Members = api.put(&format!("{}/{}", of(&cache), segment(&name)), role).await?;
            cache
        }
        MemberCommand::Remove { cache, name } => {
            let () = api.delete(&format!("{}/{}", of(&cache), segment(&name))).await?;
            cache
        }
        MemberCommand::Invite { cache, role, note } => {
            let invite = MemberInvite { role: role.into(), note };
            return printed_link(api.post(&format!("caches/{}/invitations", segment(&cache)), invite).await?);
        }
    };
    let Members { members, .. } = api.get(&of(&cache)).await?;
    let lines = members.iter().map(|member| format!("{}  {}", member.name, member.role.as_str()));
    Ok((json!({ "members": members }), lines.collect::<Vec<_>>().join("\n")))
}

pub async fn token(api: &Api, command: TokenCommand) -> Said {
    match command {
        TokenCommand::Create { name, cache, scope, expires, .. } => {
            let create = TokenCreate {
                name,
                cache,
                scope: match scope {
                    Scope::Pull => Permission::Pull,
                    Scope::Push => Permission::Push,
                    Scope::Admin => Permission::Admin,
                },
                expires_at: expires.map(|Span(millis)| Clock::default().now().plus(millis)),
                is_of_cache: true,
            };
            let created: CreatedToken = api.post("tokens", create).await?;
            return Ok((json!({ "token": created.token }), created.token));
        }
        TokenCommand::Revoke { id } => {
            let () = api.delete(&format!("tokens/{id}")).await?;
        }
        TokenCommand::List => {}
    }
    let tokens: Vec<TokenRow> = api.get("tokens").await?;
    let line = |token: &TokenRow| {
        let opens = token.cache.as_ref().map_or("every cache", CacheName::as_str);
        let state = if token.revoked_at.is_some() { ", revoked" } else { "" };
        format!("{}  {}  {} {opens}{state}", token.id, token.name, token.scope.as_str())
    };
    Ok((json!({ "tokens": tokens }), tokens.iter().map(line).collect::<Vec<_>>().join("\n")))
}
