//! The authorisation matrix: every method that decides a right, as every kind of caller.

use super::*;
use crate::{Client, Error, setup::SetupFinish};
use iglu_api::{
    builder::BuilderChange,
    cache::CacheChange,
    instance::AuditQuery,
    member::{Role, UserChange},
    path::PathQuery,
    pin::{Keep, PinCreate},
    retention::{PushLimits, Retention},
    run::RunStart,
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
    /// 404: the cache is as if it were not there.
    Gone,
}
use Heard::{Gone, No, Who, Yes};

fn heard<T>(result: Result<T>) -> Heard {
    match result {
        Err(Error::Unauthenticated(_)) => Who,
        Err(Error::Forbidden(_)) => No,
        Err(Error::NotFound(message))
            if ["cache", "builder", "run"].iter().any(|noun| message.starts_with(&format!("there is no {noun} "))) =>
        {
            Gone
        }
        _ => Yes,
    }
}

fn with_role(name: &str, cache_id: Option<i64>, role: Role) -> Caller {
    let roles = HashMap::from([(cache_id.unwrap(), role)]);
    person_with(name, Rights { is_admin: false, roles })
}

/// Rows are methods; columns are anonymous, a pull, push and admin token for the cache, a push token for another cache, an admin
/// token for all, somebody without a role in it, a viewer, pusher, maintainer and owner, an administrator, the operator.
#[tokio::test]
async fn every_method_as_every_caller() {
    let home = Home::sqlite().await;
    let core = &home.core;
    home.cache("private", Visibility::Private).await;
    home.cache("open", Visibility::Public).await;
    home.cache("other", Visibility::Private).await;
    let id = |name: &str| Some(core.cache_remembered(name).unwrap().id);

    // What each kind of caller hears from a method that needs so much of the cache.
    let heard_of = |name: &str, needed: Permission| match (name, needed) {
        ("private", Permission::Pull) => [Who, Yes, Yes, Yes, Who, Yes, Gone, Yes, Yes, Yes, Yes, Yes, Yes],
        ("private", Permission::Push) => [Who, No, Yes, Yes, Who, Yes, Gone, No, Yes, Yes, Yes, Yes, Yes],
        ("private", Permission::Admin) => [Who, No, No, Yes, Who, Yes, Gone, No, No, Yes, Yes, Yes, Yes],
        ("private", Permission::Own) => [Who, No, No, No, Who, Yes, Gone, No, No, No, Yes, Yes, Yes],
        (_, Permission::Pull) => [Yes; 13],
        (_, Permission::Push) => [Who, No, Yes, Yes, No, Yes, No, No, Yes, Yes, Yes, Yes, Yes],
        (_, Permission::Admin) => [Who, No, No, Yes, No, Yes, No, No, No, Yes, Yes, Yes, Yes],
        (_, Permission::Own) => [Who, No, No, No, No, Yes, No, No, No, No, Yes, Yes, Yes],
    };
    for name in ["private", "open"] {
        super::runs::builder(core, &format!("of-{name}"), name, super::runs::spec()).await;
        let of = format!("of-{name}");
        let run = core.run().start(&Caller::Operator, &of, &RunStart::default()).await.unwrap();
        let callers = [
            Caller::ANONYMOUS,
            token(1, id(name), Permission::Pull),
            token(2, id(name), Permission::Push),
            token(3, id(name), Permission::Admin),
            token(4, id("other"), Permission::Push),
            token(5, None, Permission::Admin),
            person("member", false),
            with_role("viewer", id(name), Role::Viewer),
            with_role("pusher", id(name), Role::Pusher),
            with_role("maintainer", id(name), Role::Maintainer),
            with_role("owner", id(name), Role::Owner),
            person("admin", true),
            Caller::Operator,
        ];
        for (column, caller) in callers.iter().enumerate() {
            let upload = UploadId::parse("7b1c2f1e-3c9d-4b8a-9a53-0f1f6f2f9f10").unwrap();
            let make = |scope, is_of_cache| TokenCreate {
                name: "t".to_owned(),
                cache: CacheName::parse(name).ok(),
                scope,
                expires_at: None,
                is_of_cache,
            };
            let pin = PinCreate {
                name: "p".to_owned(),
                store_path: "/nix/store".to_owned(),
                artifacts: Vec::new(),
                keep: Keep::Forever,
            };
            let (push, keeping) = (core.push(), core.retention());
            let md5 = STANDARD.encode([0; 16]);
            use Permission::{Admin, Own, Pull, Push};
            let answers = [
                ("cache.get", Pull, heard(core.cache().get(caller, name).await)),
                ("builder.get", Pull, heard(core.builder().get(caller, &of).await)),
                ("builder.change", Admin, heard(core.builder().change(caller, &of, &BuilderChange::default()).await)),
                ("run.start", Push, heard(core.run().start(caller, &of, &RunStart::default()).await)),
                ("builder.probe", Admin, heard(core.builder().probe(caller, &super::runs::probe(name)).await)),
                ("run.get", Pull, heard(core.run().get(caller, run).await)),
                ("run.log", Pull, heard(core.run().log(caller, run, 0, 1).await)),
                ("run.cancel", Push, heard(core.run().cancel(caller, run).await)),
                ("path.list", Pull, heard(core.path().list(caller, name, &PathQuery::default()).await)),
                ("push.multipart_create", Push, heard(push.multipart_create(caller, name, Compression::Zstd).await)),
                ("push.part_url", Push, heard(push.part_url(caller, name, upload, 1, &md5).await)),
                ("push.complete", Push, heard(push.complete(caller, name, upload, None, thing("x", &[]).claim).await)),
                ("push.abort", Push, heard(push.abort(caller, name, upload).await)),
                // The fixed persons of this test have no account to own a token: only the refusal is looked at.
                ("token.create push", Push, heard(core.token().create(caller, &make(Permission::Push, false)).await)),
                (
                    "token.create admin",
                    Admin,
                    heard(core.token().create(caller, &make(Permission::Admin, false)).await),
                ),
                (
                    "token.create of the cache",
                    Admin,
                    heard(core.token().create(caller, &make(Permission::Pull, true)).await),
                ),
                ("cache.change", Admin, heard(core.cache().change(caller, name, &CacheChange::default()).await)),
                ("key.list", Pull, heard(core.key().list(caller, name).await)),
                ("key.add", Admin, heard(core.key().add(caller, name).await)),
                ("key.import", Admin, heard(core.key().import(caller, name, "no key").await)),
                ("key.retire", Admin, heard(core.key().retire(caller, name, "no key").await)),
                ("key.register", Admin, heard(core.key().register(caller, name, "no key").await)),
                ("pin.create", Push, heard(core.pin().create(caller, name, &pin).await)),
                ("pin.list", Pull, heard(core.pin().list(caller, name).await)),
                ("pin.remove", Push, heard(core.pin().remove(caller, name, "p", None).await)),
                ("path.damaged", Pull, heard(core.path().damaged(caller, name).await)),
                (
                    "path.detail",
                    Pull,
                    heard(core.path().detail(caller, name, thing("x", &[]).claim.store_path.hash()).await),
                ),
                (
                    "path.folder",
                    Pull,
                    heard(core.path().folder(caller, name, thing("x", &[]).claim.store_path.hash(), "").await),
                ),
                ("path.why", Pull, heard(core.path().why(caller, name, "x").await)),
                ("statistics.of_cache", Pull, heard(core.statistics().of_cache(caller, name, Span::Day).await)),
                ("retention.get", Pull, heard(keeping.get(caller, name).await)),
                ("retention.set", Admin, heard(keeping.set(caller, name, &Retention::default(), false).await)),
                ("retention.check", Admin, heard(keeping.check(caller, name, &Retention::default(), false).await)),
                ("retention.limits_set", Admin, heard(keeping.limits_set(caller, name, &PushLimits::default()).await)),
                ("retention.preview", Admin, heard(keeping.preview(caller, name, None, 1).await)),
                ("retention.ask", Admin, heard(keeping.ask(caller, name, false).await)),
                ("retention.removals", Admin, heard(keeping.removals(caller, name).await)),
                ("retention.removal", Admin, heard(keeping.removal(caller, name, 1_000).await)),
                ("retention.remove", Admin, heard(keeping.remove(caller, name, &[], false).await)),
                ("retention.undo", Admin, heard(keeping.undo(caller, name, 1_000).await)),
                ("member.list", Admin, heard(core.member().list(caller, name).await)),
                ("member.set", Own, heard(core.member().set(caller, name, "nobody", Role::Viewer).await)),
                ("member.remove", Own, heard(core.member().remove(caller, name, "nobody").await)),
                (
                    "invitation.create",
                    Own,
                    heard(core.invitation().create_for_cache(caller, name, Role::Owner, "").await),
                ),
                (
                    "instance.audit_of_cache",
                    Admin,
                    heard(core.instance().audit_of_cache(caller, name, &AuditQuery::default()).await),
                ),
            ];
            for (method, needed, answer) in answers {
                let mut expected = heard_of(name, needed)[column];
                // A token makes no other, unless it may do everything.
                if method.starts_with("token.create") && column < 5 {
                    expected = Who;
                }
                assert_eq!(answer, expected, "{method} on {name} by {}", caller.label());
            }
        }
    }

    // Removing is last: what may be removed is gone.
    for (caller, expected) in [
        (Caller::ANONYMOUS, Who),
        (token(2, id("other"), Permission::Push), No),
        (token(3, id("private"), Permission::Admin), Who),
        (token(4, id("other"), Permission::Admin), No),
        (person("member", false), Gone),
        (with_role("maintainer", id("other"), Role::Maintainer), No),
        (person("admin", true), Yes),
    ] {
        assert_eq!(heard(core.cache().remove(&caller, "other").await), expected, "{}", caller.label());
    }
    assert!(core.cache_remembered("other").is_none());

    let account = core.account();
    let everywhere = TokenCreate {
        name: "t".to_owned(),
        cache: None,
        scope: Permission::Pull,
        expires_at: None,
        is_of_cache: false,
    };
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
        [Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who, Who],
        [No, No, Who, Who, Who, Who, Who, Who, No, No, Who, No, No, No, No, No, No, Who],
        [No, No, Yes, Yes, Yes, Yes, Yes, Yes, No, No, Yes, No, No, No, No, No, No, Yes],
        [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes],
        [Yes, Yes, Yes, Yes, Yes, Who, Who, Who, Yes, Yes, Who, Yes, Yes, Yes, Yes, Yes, Yes, Who],
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
            heard(core.user().list(caller).await),
            heard(core.user().change(caller, "nobody", &UserChange::default()).await),
            heard(core.user().remove(caller, "nobody").await),
            heard(core.invitation().create_for_server(caller, true, "").await),
            heard(core.invitation().create_for_password(caller, "nobody").await),
            heard(core.invitation().revoke(caller, 1_000).await),
            heard(core.invitation().accept(caller, "guess").await),
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

fn at(caller: &Caller, from: &str) -> Caller {
    let mut caller = caller.clone();
    match &mut caller {
        Caller::Anonymous { address, .. } => *address = from.to_owned(),
        Caller::Token(token) => Arc::make_mut(token).address = from.to_owned(),
        Caller::Person(person) => Arc::make_mut(person).address = from.to_owned(),
        Caller::Operator => {}
    }
    caller
}

on_both! { networks }

/// Who is outside the networks of a cache hears that where there was a right to lose, and otherwise what strangers hear.
async fn networks(home: Home) {
    let core = &home.core;
    home.cache("open", Visibility::Public).await;
    home.cache("private", Visibility::Private).await;
    let only = |networks: &[&str]| CacheChange {
        networks: Some(networks.iter().map(|&network| network.to_owned()).collect()),
        ..CacheChange::default()
    };
    let set =
        async |caller: &Caller, name: &str, networks: &[&str]| core.cache().change(caller, name, &only(networks)).await;
    for name in ["open", "private"] {
        set(&Caller::Operator, name, &["10.1.2.3/8", "2001:db8::7"]).await.unwrap();
        let detail = core.cache().get(&Caller::Operator, name).await.unwrap();
        assert_eq!(detail.networks, ["10.0.0.0/8", "2001:db8::7/128"]);
    }
    let id = core.cache_remembered("private").unwrap().id;
    let pull = token(1, Some(id), Permission::Pull);
    let run = token(-1, Some(id), Permission::Push);
    let viewer = with_role("viewer", Some(id), Role::Viewer);
    for (caller, open, private) in [
        (at(&Caller::ANONYMOUS, "10.9.9.9"), Yes, Who),
        (at(&Caller::ANONYMOUS, "192.0.2.1"), No, Who),
        (Caller::ANONYMOUS, No, Who),
        (at(&pull, "2001:db8::7"), Yes, Yes),
        (at(&pull, "2001:db8::8"), No, No),
        (at(&viewer, "10.0.0.1"), Yes, Yes),
        (at(&viewer, "192.0.2.1"), No, No),
        (at(&person("member", false), "192.0.2.1"), No, Gone),
        (at(&person("admin", true), "192.0.2.1"), Yes, Yes),
        (at(&run, "192.0.2.1"), Yes, Yes),
        (Caller::Operator, Yes, Yes),
    ] {
        let heard_of = async |name: &str| heard(core.cache().get(&caller, name).await);
        assert_eq!((heard_of("open").await, heard_of("private").await), (open, private), "{caller:?}");
    }
    let said = refusal(core.cache().get(&at(&pull, "192.0.2.1"), "private").await);
    assert_eq!(said, "cache \"private\" may be used from certain networks only, and 192.0.2.1 is in none of them");
    // What a stranger hears of it is what is heard of one that is not there.
    let stranger = at(&Caller::ANONYMOUS, "192.0.2.1");
    let told = async |name: &str| refusal(core.cache().get(&stranger, name).await).replace(name, "…");
    assert_eq!(told("private").await, told("absent").await);

    // Nobody shuts themself out, whoever can let themself in again may.
    let maintainer = at(&with_role("maintainer", Some(id), Role::Maintainer), "10.0.0.1");
    let said = refusal(set(&maintainer, "private", &["192.0.2.0/24"]).await);
    assert!(said.contains("10.0.0.1, is in none of these networks"), "{said}");
    set(&maintainer, "private", &["10.0.0.0/24"]).await.unwrap();
    set(&at(&person("admin", true), "198.51.100.1"), "private", &["192.0.2.0/24"]).await.unwrap();
    assert_eq!(heard(core.cache().get(&maintainer, "private").await), No);
    for wrong in ["10.0.0.0/40", "example.org"] {
        let said = refusal(set(&Caller::Operator, "private", &[wrong]).await);
        assert!(said.contains("is no network, such as 10.0.0.0/8"), "{said}");
    }
    // Another process has the same rule.
    let beside = home.beside().await;
    assert_eq!(heard(beside.cache().get(&maintainer, "private").await), No);
    set(&Caller::Operator, "private", &[]).await.unwrap();
    assert_eq!(heard(core.cache().get(&maintainer, "private").await), Yes);
}
