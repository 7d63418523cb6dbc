//! The authorisation matrix: every method that decides a right, as every kind of caller.

use super::*;
use crate::{Client, Error, setup::SetupFinish};
use iglu_api::{
    cache::CacheChange,
    instance::AuditQuery,
    path::PathQuery,
    pin::{Keep, PinCreate},
    retention::{PushLimits, Retention},
    statistics::Span,
    token::TokenCreate,
};

/// What a caller heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The caller may; what else may be wrong with the request is not the matter here.
    Yes,
    /// 401.
    Who,
    /// 403.
    No,
}
use Heard::{No, Who, Yes};

fn heard<T>(result: Result<T>) -> Heard {
    match result {
        Err(Error::Unauthenticated(_)) => Who,
        Err(Error::Forbidden(_)) => No,
        _ => Yes,
    }
}

/// Rows are methods; columns are anonymous, a pull, push and admin token for the cache, a push token for another cache, an admin
/// token for all, a member, an administrator, the operator.
#[tokio::test]
async fn every_method_as_every_caller() {
    let home = Home::sqlite().await;
    let core = &home.core;
    home.cache("private", Visibility::Private).await;
    home.cache("open", Visibility::Public).await;
    home.cache("other", Visibility::Private).await;
    let id = |name: &str| Some(core.cache_remembered(name).unwrap().id);

    for (name, expected) in [
        (
            "private",
            [
                ("cache.get", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("path.list", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("push.multipart_create", [Who, No, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("push.part_url", [Who, No, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("push.complete", [Who, No, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("push.abort", [Who, No, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("token.create push", [Who, Who, Who, Who, Who, Who, Yes, Yes, Yes]),
                ("token.create admin", [Who, Who, Who, Who, Who, Who, No, Yes, Yes]),
                ("cache.change", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("key.list", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("key.add", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("key.import", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("key.retire", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("key.register", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("pin.create", [Who, No, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("pin.list", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("pin.remove", [Who, No, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("path.damaged", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("path.detail", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("path.folder", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("path.why", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("statistics.of_cache", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("retention.get", [Who, Yes, Yes, Yes, Who, Yes, Yes, Yes, Yes]),
                ("retention.set", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.check", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.limits_set", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.preview", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.ask", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.removals", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.removal", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.remove", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
                ("retention.undo", [Who, No, No, Yes, Who, Yes, No, Yes, Yes]),
            ],
        ),
        (
            "open",
            [
                ("cache.get", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("path.list", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("push.multipart_create", [Who, No, Yes, Yes, No, Yes, Yes, Yes, Yes]),
                ("push.part_url", [Who, No, Yes, Yes, No, Yes, Yes, Yes, Yes]),
                ("push.complete", [Who, No, Yes, Yes, No, Yes, Yes, Yes, Yes]),
                ("push.abort", [Who, No, Yes, Yes, No, Yes, Yes, Yes, Yes]),
                ("token.create push", [Who, Who, Who, Who, Who, Who, Yes, Yes, Yes]),
                ("token.create admin", [Who, Who, Who, Who, Who, Who, No, Yes, Yes]),
                ("cache.change", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("key.list", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("key.add", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("key.import", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("key.retire", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("key.register", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("pin.create", [Who, No, Yes, Yes, No, Yes, Yes, Yes, Yes]),
                ("pin.list", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("pin.remove", [Who, No, Yes, Yes, No, Yes, Yes, Yes, Yes]),
                ("path.damaged", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("path.detail", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("path.folder", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("path.why", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("statistics.of_cache", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("retention.get", [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
                ("retention.set", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.check", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.limits_set", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.preview", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.ask", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.removals", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.removal", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.remove", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
                ("retention.undo", [Who, No, No, Yes, No, Yes, No, Yes, Yes]),
            ],
        ),
    ] {
        let callers = [
            Caller::ANONYMOUS,
            token(1, id(name), Permission::Pull),
            token(2, id(name), Permission::Push),
            token(3, id(name), Permission::Admin),
            token(4, id("other"), Permission::Push),
            token(5, None, Permission::Admin),
            person("member", false),
            person("admin", true),
            Caller::Operator,
        ];
        for (column, caller) in callers.iter().enumerate() {
            let upload = UploadId::parse("7b1c2f1e-3c9d-4b8a-9a53-0f1f6f2f9f10").unwrap();
            let make = |scope| TokenCreate {
                name: "t".to_owned(),
                cache: CacheName::parse(name).ok(),
                scope,
                expires_at: None,
            };
            let pin = PinCreate {
                name: "p".to_owned(),
                store_path: "/nix/store".to_owned(),
                artifacts: Vec::new(),
                keep: Keep::Forever,
            };
            let (push, keeping) = (core.push(), core.retention());
            let md5 = STANDARD.encode([0; 16]);
            let answers = [
                heard(core.cache().get(caller, name).await),
                heard(core.path().list(caller, name, &PathQuery::default()).await),
                heard(push.multipart_create(caller, name, Compression::Zstd).await),
                heard(push.part_url(caller, name, upload, 1, &md5).await),
                heard(push.complete(caller, name, upload, None, thing("x", &[]).claim).await),
                heard(push.abort(caller, name, upload).await),
                // The fixed persons of this test have no account to own a token: only the refusal is looked at.
                heard(core.token().create(caller, &make(Permission::Push)).await),
                heard(core.token().create(caller, &make(Permission::Admin)).await),
                heard(core.cache().change(caller, name, &CacheChange::default()).await),
                heard(core.key().list(caller, name).await),
                heard(core.key().add(caller, name).await),
                heard(core.key().import(caller, name, "no key").await),
                heard(core.key().retire(caller, name, "no key").await),
                heard(core.key().register(caller, name, "no key").await),
                heard(core.pin().create(caller, name, &pin).await),
                heard(core.pin().list(caller, name).await),
                heard(core.pin().remove(caller, name, "p", None).await),
                heard(core.path().damaged(caller, name).await),
                heard(core.path().detail(caller, name, thing("x", &[]).claim.store_path.hash()).await),
                heard(core.path().folder(caller, name, thing("x", &[]).claim.store_path.hash(), "").await),
                heard(core.path().why(caller, name, "x").await),
                heard(core.statistics().of_cache(caller, name, Span::Day).await),
                heard(keeping.get(caller, name).await),
                heard(keeping.set(caller, name, &Retention::default(), false).await),
                heard(keeping.check(caller, name, &Retention::default(), false).await),
                heard(keeping.limits_set(caller, name, &PushLimits::default()).await),
                heard(keeping.preview(caller, name, None, 1).await),
                heard(keeping.ask(caller, name, false).await),
                heard(keeping.removals(caller, name).await),
                heard(keeping.removal(caller, name, 1_000).await),
                heard(keeping.remove(caller, name, &[], false).await),
                heard(keeping.undo(caller, name, 1_000).await),
            ];
            for (answer, (method, row)) in answers.into_iter().zip(expected) {
                assert_eq!(answer, row[column], "{method} on {name} by {}", caller.label());
            }
        }
    }

    // Removing is last: what may be removed is gone.
    for (caller, expected) in [
        (Caller::ANONYMOUS, Who),
        (token(2, id("other"), Permission::Push), No),
        (token(3, id("private"), Permission::Admin), Who),
        (person("member", false), No),
        (person("admin", true), Yes),
    ] {
        assert_eq!(heard(core.cache().remove(&caller, "other").await), expected, "{}", caller.label());
    }
    assert!(core.cache_remembered("other").is_none());

    let account = core.account();
    let everywhere = TokenCreate { name: "t".to_owned(), cache: None, scope: Permission::Pull, expires_at: None };
    let create = CacheCreate::new(CacheName::parse("fresh").unwrap(), Visibility::Public);
    let callers = [
        Caller::ANONYMOUS,
        token(1, id("private"), Permission::Admin),
        person("member", false),
        person("admin", true),
        Caller::Operator,
    ];
    let name = UserName::parse("new").unwrap();
    for (caller, row) in callers.iter().zip([
        [Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who],
        [No, No, Who, Who, Who, Who, Who, Who, No, No, Who],
        [No, No, No, Yes, Yes, Yes, Yes, Yes, No, No, Yes],
        [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes],
        [Yes, Yes, Yes, Yes, Yes, Who, Who, Who, Yes, Yes, Who],
    ]) {
        let answers = [
            heard(core.cache().create(caller, &create).await),
            heard(account.create(caller, &name, "short", false).await),
            heard(core.token().create(caller, &everywhere).await),
            heard(core.token().list(caller).await),
            heard(core.token().revoke(caller, 1_000).await),
            heard(account.session_list(caller).await),
            heard(account.session_revoke(caller, 1_000).await),
            heard(account.password_change(caller, "wrong", "wrong").await.map_err(|error| match error {
                Error::Unauthenticated(message) if message == "this account is gone" => Error::NotFound(message),
                error => error,
            })),
            heard(core.instance().get(caller).await),
            heard(core.instance().audit(caller, &AuditQuery::default()).await),
            heard(core.statistics().of_all(caller, Span::Day).await),
        ];
        assert_eq!(answers, row, "{}", caller.label());
    }
    assert_eq!(
        core.cache().list(&Caller::ANONYMOUS).await.unwrap().len(),
        2,
        "public, and fresh, which the admin made"
    );
    let finish = SetupFinish {
        secret: "guess".to_owned(),
        name,
        password: "long enough".to_owned(),
        public_url: "http://x".to_owned(),
        cache: CacheName::parse("mine").unwrap(),
        visibility: Visibility::Public,
    };
    assert!(core.setup().finish(&finish, &Client::default()).await.is_err(), "set-up needs its link");
}
