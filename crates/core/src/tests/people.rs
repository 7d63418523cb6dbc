//! People: roles in caches, invitations, and what becomes of tokens when their people go.

use super::*;
use crate::{Client, Error};
use iglu_api::{
    instance::AuditQuery,
    member::{Grant, Role, UserChange},
    token::TokenCreate,
};

on_both! { people_come_and_go tokens_follow_their_people links_work_once one_administrator_stays }

const PASSWORD: &str = "correct horse battery";

fn client() -> Client {
    Client { address: "192.0.2.7".to_owned(), agent: "test".to_owned() }
}

fn secret(link: &str) -> &str {
    link.rsplit_once("/invite/").unwrap().1
}

fn name(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

/// Somebody with an account who is logged in.
async fn user(core: &Core, who: &str, is_admin: bool) -> Caller {
    core.account().create(&Caller::Operator, &name(who), PASSWORD, is_admin).await.unwrap();
    logged_in(core, who).await
}

async fn logged_in(core: &Core, who: &str) -> Caller {
    let account = core.user().get(who).await.unwrap();
    let session = core.account().session_for(account.id, who, &client()).await.unwrap();
    core.account().caller_by_session(session.expose(), "192.0.2.7").await.unwrap()
}

fn of(cache: &str, scope: Permission, is_of_cache: bool) -> TokenCreate {
    let cache = CacheName::parse(cache).ok();
    TokenCreate { name: "t".to_owned(), cache, scope, expires_at: None, is_of_cache }
}

async fn may(core: &Core, caller: &Caller, cache: &str) -> Option<Permission> {
    core.cache().get(caller, cache).await.ok().and_then(|detail| detail.permission)
}

async fn people_come_and_go(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    home.cache("other", Visibility::Private).await;
    let ada = user(core, "ada", true).await;
    let bob = user(core, "bob", false).await;
    assert_eq!(may(core, &bob, "main").await, None, "an account alone opens nothing");
    assert!(core.cache().list(&bob).await.unwrap().is_empty());

    let unknown = refusal(core.member().set(&ada, "main", "eve", Role::Viewer).await);
    assert_eq!(unknown, "nobody has an account of this name; people without one are invited by a link");
    for role in Role::ALL {
        core.member().set(&ada, "main", "bob", role).await.unwrap();
        let bob = logged_in(core, "bob").await;
        assert_eq!(may(core, &bob, "main").await, Some(role.permission()));
        assert_eq!(may(core, &bob, "other").await, None);
    }
    // An owner brings others in, in this cache only.
    let bob = logged_in(core, "bob").await;
    let link = core.invitation().create_for_cache(&bob, "main", Role::Pusher, "Carol of CI").await.unwrap().link;
    assert!(core.invitation().create_for_cache(&bob, "other", Role::Pusher, "Carol").await.is_err());
    assert_eq!(core.member().list(&bob, "main").await.unwrap().invitations.len(), 1);
    let shown = core.invitation().get(secret(&link)).await.unwrap();
    assert_eq!(shown.grant, Grant::Cache { cache: CacheName::parse("main").unwrap(), role: Role::Pusher });
    assert_eq!((shown.note.as_str(), shown.invited_by.as_str()), ("Carol of CI", "bob"));
    core.invitation().accept_new(secret(&link), &name("carol"), PASSWORD, &client()).await.unwrap();
    let carol = logged_in(core, "carol").await;
    assert_eq!(may(core, &carol, "main").await, Some(Permission::Push));
    assert_eq!(core.cache().list(&carol).await.unwrap().len(), 1, "what one is in, and nothing else");

    // People leave by themselves, and are sent away.
    core.member().remove(&carol, "main", "carol").await.unwrap();
    assert_eq!(may(core, &logged_in(core, "carol").await, "main").await, None);
    assert!(matches!(core.member().remove(&bob, "main", "carol").await, Err(Error::NotFound(_))));
    core.member().remove(&bob, "main", "bob").await.unwrap();
    assert!(core.member().list(&logged_in(core, "bob").await, "main").await.is_err());

    // All of it is in the log, with the address.
    let log = core.instance().audit_of_cache(&ada, "main", &AuditQuery::default()).await.unwrap().rows;
    let lines: Vec<_> = log.iter().map(|row| format!("{} {} {}", row.actor, row.action, row.object)).collect();
    for line in [
        "carol member.remove carol of main",
        "carol invitation.accept Carol of CI",
        "bob invitation.create Carol of CI as pusher of main",
        "ada member.set bob is owner of main",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line}: {lines:?}");
    }
    assert!(log.iter().filter(|row| row.actor != "operator").all(|row| row.address == "192.0.2.7"), "{log:?}");
    assert!(core.instance().audit_of_cache(&ada, "other", &AuditQuery::default()).await.unwrap().rows.len() < 3);
}

async fn tokens_follow_their_people(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    let ada = user(core, "ada", true).await;
    user(core, "bob", false).await;
    core.member().set(&ada, "main", "bob", Role::Maintainer).await.unwrap();
    let bob = logged_in(core, "bob").await;
    let own = core.token().create(&bob, &of("main", Permission::Push, false)).await.unwrap().token;
    let everywhere = TokenCreate { cache: None, ..of("main", Permission::Admin, false) };
    let everywhere = core.token().create(&bob, &everywhere).await.unwrap().token;
    let of_cache = core.token().create(&bob, &of("main", Permission::Pull, true)).await.unwrap().token;
    let caller = async |token: &str| core.token().caller(token, "").await.unwrap();
    assert_eq!(may(core, &caller(&own).await, "main").await, Some(Permission::Push));
    assert_eq!(may(core, &caller(&everywhere).await, "main").await, Some(Permission::Admin), "no more than bob may");
    assert!(
        core.cache()
            .create(&caller(&everywhere).await, &CacheCreate::new(CacheName::parse("x").unwrap(), Visibility::Public))
            .await
            .is_err()
    );
    assert_eq!(core.member().list(&bob, "main").await.unwrap().tokens.len(), 2);

    // Less for bob is less for his tokens at once, and the cache's own goes on.
    core.member().set(&ada, "main", "bob", Role::Viewer).await.unwrap();
    assert_eq!(may(core, &caller(&own).await, "main").await, Some(Permission::Pull));
    assert_eq!(may(core, &caller(&everywhere).await, "main").await, Some(Permission::Pull));
    let refused = core.token().create(&logged_in(core, "bob").await, &of("main", Permission::Push, false)).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))));

    let disable = UserChange { is_disabled: Some(true), ..UserChange::default() };
    core.user().change(&ada, "bob", &disable).await.unwrap();
    let message = refusal(core.cache().open(&caller(&own).await, "main", Permission::Pull, Discretion::Hide).await);
    assert!(message.starts_with("the person whom token \"t\" stands for is disabled"), "{message}");
    assert!(core.account().session_create("bob", PASSWORD, &client()).await.is_err(), "nor can he log in");
    assert!(may(core, &caller(&of_cache).await, "main").await.is_some());
    let enable = UserChange { is_disabled: Some(false), ..UserChange::default() };
    core.user().change(&ada, "bob", &enable).await.unwrap();
    assert!(may(core, &caller(&own).await, "main").await.is_some());

    core.user().remove(&ada, "bob").await.unwrap();
    assert_eq!(may(core, &caller(&own).await, "main").await, None);
    assert!(may(core, &caller(&of_cache).await, "main").await.is_some());
    let left = core.member().list(&ada, "main").await.unwrap();
    assert_eq!((left.members.len(), left.tokens.len()), (0, 1));
    assert_eq!(left.tokens[0].made_by, "bob");
    // Those who may change a cache end its tokens.
    core.token().revoke(&ada, left.tokens[0].id).await.unwrap();
    assert_eq!(may(core, &caller(&of_cache).await, "main").await, None);
}

async fn links_work_once(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    let ada = user(core, "ada", true).await;
    let bob = user(core, "bob", false).await;
    let (invitation, everybody) = (core.invitation(), client());
    let link = invitation.create_for_server(&ada, false, "Dora").await.unwrap().link;
    // A name that is taken does not use it up.
    let taken = invitation.accept_new(secret(&link), &name("bob"), PASSWORD, &everybody).await;
    assert!(matches!(taken, Err(Error::Conflict { field: "name", .. })));
    assert!(matches!(invitation.accept(&bob, secret(&link)).await, Err(Error::Invalid { .. })), "bob has an account");
    invitation.accept_new(secret(&link), &name("dora"), PASSWORD, &everybody).await.unwrap();
    let again = invitation.accept_new(secret(&link), &name("dora2"), PASSWORD, &everybody).await.map(drop);
    assert_eq!(refusal(again), "this link was used or has ended; ask who sent it for another one");
    let users = core.user().list(&ada).await.unwrap();
    assert_eq!(users.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ada", "bob", "dora"]);
    assert!(users.invitations.is_empty());

    // Somebody who is here joins by the same kind of link, and nothing is lost by a lower one.
    let link = invitation.create_for_cache(&ada, "main", Role::Pusher, "Bob").await.unwrap().link;
    invitation.accept(&bob, secret(&link)).await.unwrap();
    let bob = logged_in(core, "bob").await;
    let lower = invitation.create_for_cache(&ada, "main", Role::Viewer, "Bob").await.unwrap().link;
    assert!(invitation.accept(&bob, secret(&lower)).await.is_err());
    assert_eq!(may(core, &bob, "main").await, Some(Permission::Push));

    let pending = core.member().list(&ada, "main").await.unwrap().invitations;
    assert!(matches!(invitation.revoke(&bob, pending[0].id).await, Err(Error::Forbidden(_))));
    invitation.revoke(&ada, pending[0].id).await.unwrap();
    assert!(invitation.get(secret(&lower)).await.is_err());

    // A lost password: the newest link alone works, and other sessions end.
    let first = invitation.create_for_password(&ada, "bob").await.unwrap().link;
    let second = invitation.create_for_password(&ada, "bob").await.unwrap().link;
    assert!(invitation.get(secret(&first)).await.is_err());
    assert!(invitation.accept_new(secret(&second), &name("eve"), PASSWORD, &everybody).await.is_err());
    assert!(invitation.accept_password(secret(&second), "short", &everybody).await.is_err());
    invitation.accept_password(secret(&second), "another long one", &everybody).await.unwrap();
    assert!(core.account().session_create("bob", PASSWORD, &everybody).await.is_err());
    assert_eq!(core.account().session_list(&bob).await.unwrap().len(), 1, "the one that the link made");

    let late = invitation.create_for_server(&ada, true, "Late").await.unwrap().link;
    home.clock.advance(8 * Timestamp::DAY);
    assert!(invitation.get(secret(&late)).await.is_err());
    let sealed = invitation.seal_created(&iglu_api::member::CreatedInvitation { note: "n".into(), link: late.clone() });
    assert_eq!(invitation.open_created(&sealed).unwrap().link, late);
    assert!(core.token().open_created(&sealed).is_none(), "sealed for another purpose");
}

async fn one_administrator_stays(home: Home) {
    let core = &home.core;
    let [demote, disable] = [
        UserChange { is_admin: Some(false), is_disabled: None },
        UserChange { is_admin: None, is_disabled: Some(true) },
    ];
    // Where nobody is one, as long as the operator alone looks after the server, people are people.
    user(core, "eve", false).await;
    core.user().change(&Caller::Operator, "eve", &disable).await.unwrap();
    core.user().remove(&Caller::Operator, "eve").await.unwrap();
    let ada = user(core, "ada", true).await;
    for change in [&demote, &disable] {
        let message = refusal(core.user().change(&ada, "ada", change).await);
        assert_eq!(message, "account ada is the last administrator of this server: make another one first");
    }
    assert!(core.user().remove(&ada, "ada").await.is_err());
    user(core, "bob", true).await;
    core.user().change(&ada, "bob", &disable).await.unwrap();
    assert!(core.user().change(&ada, "ada", &demote).await.is_err(), "who is disabled does not count");
    core.user().change(&ada, "bob", &UserChange { is_admin: None, is_disabled: Some(false) }).await.unwrap();
    // Two of them cannot end each other at one moment.
    let bob = logged_in(core, "bob").await;
    let (users, others) = (core.user(), core.user());
    let (one, two) = tokio::join!(users.change(&ada, "bob", &demote), others.change(&bob, "ada", &demote));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
}
