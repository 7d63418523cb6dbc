//! What happens to caches, tokens and paths, told once for both databases.

use super::*;
use crate::{Error, push::NarFileName, reconcile::Reconciler, setup::SetupFinish};
use iglu_api::{
    Timestamp,
    event::LiveEvent,
    key::KeyState,
    path::{PathFilter, PathQuery, PathSort},
    pin::{Keep, PinCreate},
    retention::PushLimits,
    token::TokenCreate,
};
use nix_compat::realisation::RealisationKey;

on_both! {
    set_up_once
    tokens_open_what_they_say
    a_push_is_seen_by_all_who_look
    a_path_waits_for_its_references
    nothing_false_is_stored
    uploads_can_be_repeated
    nix_puts_a_path
    caches_share_nars
    lists_and_searches
    every_way_of_searching_finds_the_same
    the_sweep_leaves_what_is_needed
    another_process_is_noticed
    reads_are_counted_and_written_later
    keys_rotate
    clients_stream_nars
    what_stands_beside_paths_is_kept
    pins_have_revisions
    a_cache_is_removed_with_what_only_it_had
}

async fn set_up_once(home: Home) {
    let core = &home.core;
    let first = core.setup().link_create().await.unwrap();
    let link = core.setup().link_replace().await.unwrap();
    let beside = core.setup().link_create().await.unwrap();
    let secret = |link: &str| link.rsplit('/').next().unwrap().to_owned();
    assert!(core.setup().check(&secret(&first)).await.is_err(), "a link that replaces ends the old one");
    core.setup().check(&secret(&beside)).await.unwrap();
    let finish = |password: &str, url: &str| SetupFinish {
        secret: secret(&link),
        name: UserName::parse("ada").unwrap(),
        password: password.to_owned(),
        public_url: url.to_owned(),
        cache: CacheName::parse("main").unwrap(),
        visibility: Visibility::Private,
    };
    let client = crate::Client::default();
    for (password, url, field) in
        [("short", "https://c.example.org", "password"), ("long enough", "nonsense", "public_url")]
    {
        let refused = core.setup().finish(&finish(password, url), &client).await.map(|_| ());
        assert!(matches!(refused, Err(Error::Invalid { field: named, .. }) if named == field), "{field}: {refused:?}");
    }
    let done = core.setup().finish(&finish("long enough", "https://c.example.org/"), &client).await.unwrap();
    assert_eq!(core.public_url(), "https://c.example.org");
    let again = core.setup().finish(&finish("long enough", "https://c.example.org/"), &client).await.map(|_| ());
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
    let late = SetupFinish { secret: secret(&beside), ..finish("long enough", "https://c.example.org/") };
    let late = core.setup().finish(&late, &client).await.map(|_| ());
    assert!(matches!(late, Err(Error::NotFound(_))), "set up is set up, by whichever link: {late:?}");
    assert!(matches!(core.setup().link_create().await, Err(Error::Conflict { .. })));

    let ada = core.account().caller_by_session(done.session.expose(), "").await.unwrap();
    assert!(ada.me().unwrap().is_admin);
    let cache = core.cache().get(&ada, "main").await.unwrap();
    assert_eq!(cache.uri, "https://c.example.org/main");
    assert!(cache.public_keys[0].starts_with("main.c.example.org-1:"), "{:?}", cache.public_keys);
    let pusher = core.token().caller(&done.token.token, "").await.unwrap();
    assert_eq!(push(core, &pusher, "main", &thing("first", &[])).await.unwrap(), Published::New { visible: true });

    assert!(core.account().session_create("ada", "wrong password", &client).await.is_err());
    assert!(core.account().session_create("nobody", "long enough", &client).await.is_err());
    let second = core.account().session_create("ada", "long enough", &client).await.unwrap();
    let second = core.account().caller_by_session(second.expose(), "").await.unwrap();
    core.account().password_change(&second, "wrong", "another password").await.unwrap_err();
    core.account().password_change(&second, "long enough", "another password").await.unwrap();
    let sessions = core.account().session_list(&second).await.unwrap();
    assert_eq!(sessions.len(), 1, "a new password ends the other sessions");
    assert!(sessions[0].current);
    assert!(core.account().caller_by_session(done.session.expose(), "").await.unwrap().me().is_none());
    home.clock.advance(31 * Timestamp::DAY);
    assert!(core.account().session_list(&second).await.unwrap().is_empty(), "sessions end by themselves");
}

async fn tokens_open_what_they_say(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    home.cache("other", Visibility::Private).await;
    let create = |cache: Option<&str>, scope, expires_at| TokenCreate {
        name: "ci-push".to_owned(),
        cache: cache.map(|name| CacheName::parse(name).unwrap()),
        scope,
        expires_at,
        is_of_cache: false,
    };
    let soon = core.now().plus(Timestamp::DAY);
    let made =
        core.token().create(&Caller::Operator, &create(Some("main"), Permission::Pull, Some(soon))).await.unwrap();
    let caller = core.token().caller(&made.token, "").await.unwrap();
    core.cache().open(&caller, "main", Permission::Pull, Discretion::Hide).await.unwrap();
    let refused = refusal(core.cache().open(&caller, "main", Permission::Push, Discretion::Hide).await);
    assert_eq!(
        refused,
        "token \"ci-push\" may only pull here; pushing to cache \"main\" needs a token with push for it"
    );
    let foreign = core.cache().open(&caller, "other", Permission::Pull, Discretion::Hide).await;
    assert!(matches!(foreign, Err(Error::Unauthenticated(_))));
    let unknown = core.cache().open(&caller, "absent", Permission::Pull, Discretion::Hide).await;
    assert_eq!(
        refusal(foreign).replace("other", "absent"),
        refusal(unknown),
        "what one may not know looks the same, there or not"
    );
    let told = core.cache().open(&caller, "absent", Permission::Pull, Discretion::Tell).await;
    assert!(matches!(told, Err(Error::NotFound(_))));

    home.clock.advance(2 * Timestamp::DAY);
    let expired = core.token().caller(&made.token, "").await.unwrap();
    let message = refusal(core.cache().open(&expired, "main", Permission::Pull, Discretion::Hide).await);
    assert!(
        message.starts_with("token \"ci-push\" expired on 20") && message.contains("cache \"main\" needs"),
        "{message}"
    );

    let all = core.token().create(&Caller::Operator, &create(None, Permission::Push, None)).await.unwrap();
    let caller = core.token().caller(&all.token, "").await.unwrap();
    core.cache().open(&caller, "other", Permission::Push, Discretion::Hide).await.unwrap();
    let row = core.token().list(&Caller::Operator).await.unwrap().into_iter().find(|row| row.cache.is_none()).unwrap();
    assert!(all.token.starts_with(&row.prefix));
    core.token().revoke(&Caller::Operator, row.id).await.unwrap();
    let revoked = core.token().caller(&all.token, "").await.unwrap();
    let message = refusal(core.cache().open(&revoked, "main", Permission::Pull, Discretion::Hide).await);
    assert!(message.starts_with("token \"ci-push\" was revoked; pulling from"), "{message}");
    assert!(core.token().revoke(&Caller::Operator, row.id).await.is_err(), "twice");
    let late = core.token().create(&Caller::Operator, &create(None, Permission::Pull, Some(core.now()))).await;
    assert!(matches!(late, Err(Error::Invalid { field: "expires_days", .. })));
}

async fn a_push_is_seen_by_all_who_look(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let leaf = thing("leaf", &[]);
    let path = &leaf.claim.store_path;
    assert!(narinfo(core, "main", path).await.is_none(), "and remembered as absent");
    let mut events = core.events.subscribe();
    push(core, &Caller::Operator, "main", &leaf).await.unwrap();

    let narinfo = narinfo(core, "main", path).await.unwrap();
    let cache = core.cache().get(&Caller::ANONYMOUS, "main").await.unwrap();
    let key = nix_compat::signing::VerifyingKey::parse(&cache.public_keys[0]).unwrap();
    assert!(key.verify(&narinfo.fingerprint(), &narinfo.signatures[0]));
    assert_eq!(narinfo.file_size, Some(leaf.nar.len() as u64));
    let event = events.try_recv().unwrap();
    let LiveEvent::PathPushed { path: row, .. } = &*event else { panic!("{event:?}") };
    assert_eq!((row.hash, row.name.as_str(), row.held), (path.hash(), "leaf", false));
    assert_eq!(row.pushed_by, "operator");

    let opened = core.cache_remembered("main").unwrap();
    let nar = core.fetch().nar(&opened, &narinfo.file_hash.unwrap()).await.unwrap().unwrap();
    assert_eq!(std::io::read_to_string(nar.stored.reader(0).unwrap()).unwrap().as_bytes(), &leaf.nar[..]);
    let listing = core.path().listing(&opened, path.hash()).await.unwrap().unwrap();
    assert!(listing.starts_with(br#"{"version":1,"root":{"type":"regular""#), "{listing:?}");
    assert_eq!((cache.summary.path_count, cache.summary.stored_bytes), (1, leaf.nar.len() as u64));
    let overview = core.overview(&Caller::ANONYMOUS).await.unwrap();
    assert_eq!(overview.recent_pushes.len(), 1);
    assert_eq!(overview.stored_bytes, leaf.nar.len() as u64);
}

async fn a_path_waits_for_its_references(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let (leaf, mid, top) = (thing("leaf", &[]), thing("mid", &["leaf"]), thing("top", &["leaf", "mid", "top"]));
    assert_eq!(push(core, &Caller::Operator, "main", &top).await.unwrap(), Published::New { visible: false });
    assert_eq!(push(core, &Caller::Operator, "main", &mid).await.unwrap(), Published::New { visible: false });
    for waiting in [&top, &mid] {
        assert!(narinfo(core, "main", &waiting.claim.store_path).await.is_none());
    }
    let cache = core.cache_remembered("main").unwrap();
    let hashes = [&top, &mid, &leaf, &leaf].map(|thing| thing.claim.store_path.hash());
    let missing = core.path().missing(&cache, hashes.to_vec()).await.unwrap();
    assert_eq!(missing, [hashes[2]], "the bytes of held paths are here, and each is named once");
    let overview = core.overview(&Caller::Operator).await.unwrap();
    assert!(matches!(&overview.attention[..], [.., iglu_api::overview::Attention::HeldPaths { count: 2, .. }]));

    assert_eq!(push(core, &Caller::Operator, "main", &leaf).await.unwrap(), Published::New { visible: true });
    for there in [&top, &mid, &leaf] {
        assert!(narinfo(core, "main", &there.claim.store_path).await.is_some());
    }
    assert_eq!(narinfo(core, "main", &top.claim.store_path).await.unwrap().references.len(), 3);
}

async fn nothing_false_is_stored(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let good = thing("good", &["good"]);
    let another = Sha256::digest(b"another");
    type Falsify = fn(&mut Claim, Sha256);
    let lies: [(&str, Falsify); 7] = [
        ("file hash", |claim, another| claim.file_hash = Some(another)),
        ("file size", |claim, _| claim.file_size = Some(1)),
        ("NAR hash", |claim, another| claim.nar_hash = another),
        ("NAR size", |claim, _| claim.nar_size += 8),
        ("NAR size", |claim, _| claim.nar_size -= 8),
        ("references", |claim, _| claim.references.push(path_named("unmentioned"))),
        ("content address", |claim, another| {
            claim.ca = Some(nix_compat::content_address::ContentAddress::Text { sha256: another });
        }),
    ];
    for (about, falsify) in lies {
        let id = upload(core, &Caller::Operator, "main", &[&good.nar]).await.unwrap();
        let mut claim = good.claim.clone();
        falsify(&mut claim, another);
        let refused = core.push().complete(&Caller::Operator, "main", id, None, claim).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{about}: {refused:?}");
        let message = refusal(refused);
        assert!(message.starts_with(about) && message.contains("-good") && message.is_ascii(), "{about}: {message}");
        core.push().abort(&Caller::Operator, "main", id).await.unwrap();
    }
    assert!(narinfo(core, "main", &good.claim.store_path).await.is_none());
    assert_eq!((home.stored_files(), home.staged_files()), (0, 0));
    assert_eq!(core.totals.verification_failures.get(), 7);
    push(core, &Caller::Operator, "main", &good).await.unwrap();
}

async fn uploads_can_be_repeated(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let caller = &Caller::Operator;
    let made = thing("parts", &[]);
    let (first, rest) = made.nar.split_at(50);
    let id = upload(core, caller, "main", &[first, rest, b""]).await.unwrap();
    let url = core.push().part_url(caller, "main", id, 2, &STANDARD.encode(Md5::digest(rest))).await.unwrap().0;
    let (md5, proof) = capability(&url);
    let damaged = core.push().part_put(id, 2, &md5, &proof, body(b"damaged")).await;
    assert!(matches!(damaged, Err(Error::Interrupted(_))), "{damaged:?}");
    let forged = core.push().part_put(id, 1, &md5, &proof, body(rest)).await;
    assert!(matches!(forged, Err(Error::Forbidden(_))), "{forged:?}");
    core.push().part_put(id, 2, &md5, &proof, body(rest)).await.unwrap();
    let wrong_list = Some(vec![crate::push::CompletedPart { number: 1, etag: "\"x\"".to_owned() }]);
    assert!(core.push().complete(caller, "main", id, wrong_list, made.claim.clone()).await.is_err());
    let again = async || core.push().complete(caller, "main", id, None, made.claim.clone()).await.unwrap();
    let (one, two) = tokio::join!(again(), again());
    let mut both = [one, two];
    both.sort_by_key(|published| *published == Published::Existing);
    assert_eq!(both, [Published::New { visible: true }, Published::Existing], "completed twice at once");
    assert_eq!(again().await, Published::Existing);
    assert!(matches!(core.push().part_put(id, 2, &md5, &proof, body(rest)).await, Err(Error::NotFound(_))), "too late");
    assert_eq!(push(core, caller, "main", &made).await.unwrap(), Published::Existing);
    assert_eq!((home.stored_files(), home.staged_files()), (1, 0));

    let gap = core.push().multipart_create(caller, "main", Compression::None).await.unwrap();
    assert!(refusal(core.push().complete(caller, "main", gap, None, made.claim.clone()).await).contains("no part"));
    home.cache("elsewhere", Visibility::Public).await;
    let other_cache = core.push().complete(caller, "elsewhere", gap, None, made.claim.clone()).await;
    assert!(matches!(other_cache, Err(Error::NotFound(_))));
}

async fn nix_puts_a_path(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let top = thing("top", &["leaf"]);
    let leaf = thing("leaf", &[]);
    let text = |thing: &Thing| {
        let Claim { store_path, nar_hash, nar_size, references, .. } = thing.claim.clone();
        let url = format!("nar/{}.nar", nar_hash.to_nix32());
        let mut narinfo = NarInfo::new(store_path, url, Compression::None, nar_hash, nar_size);
        narinfo.references = references;
        narinfo.to_text()
    };
    let put = async |thing: &Thing| {
        let name = NarFileName { file_hash: thing.claim.nar_hash };
        core.push().nar_put(&cache, name, body(&thing.nar)).await
    };
    let put_narinfo = async |thing: &Thing, text: String| {
        core.push().narinfo_put(&Caller::Operator, &cache, thing.claim.store_path.hash(), text.into()).await
    };

    assert!(refusal(put_narinfo(&leaf, text(&leaf)).await).contains("is not in cache \"main\""));
    let wrong_name = core.push().nar_put(&cache, NarFileName { file_hash: top.claim.nar_hash }, body(&leaf.nar)).await;
    assert!(refusal(wrong_name).contains("not what the name says"));
    put(&leaf).await.unwrap();
    put(&top).await.unwrap();
    put(&top).await.unwrap();
    let name = NarFileName { file_hash: top.claim.nar_hash };
    assert!(core.push().nar_head(&cache, name).await.unwrap());
    assert!(core.fetch().nar(&cache, &top.claim.nar_hash).await.unwrap().is_none(), "unseen before its narinfo");
    let message = refusal(put_narinfo(&top, text(&top)).await);
    assert!(message.contains(&leaf.claim.store_path.to_string()), "{message}");
    assert!(refusal(put_narinfo(&top, text(&leaf)).await).contains("was put under the name"));
    assert_eq!(put_narinfo(&leaf, text(&leaf)).await.unwrap(), Published::New { visible: true });
    assert_eq!(put_narinfo(&top, text(&top)).await.unwrap(), Published::New { visible: true });

    let foreign = nix_compat::signing::SigningKey::from_seed("foreign-1", [9; 32]).unwrap();
    let signed = text(&leaf) + &format!("Sig: {}\n", foreign.sign(&leaf.claim.fingerprint()));
    assert_eq!(put_narinfo(&leaf, signed).await.unwrap(), Published::Existing);
    let names = |narinfo: NarInfo| narinfo.signatures.into_iter().map(|one| one.key_name).collect::<Vec<_>>();
    let kept = narinfo(core, "main", &leaf.claim.store_path).await.unwrap();
    assert_eq!(names(kept), ["foreign-1", "main.127.0.0.1-1"], "both signatures are kept");
    let forged = nix_compat::signing::SigningKey::from_seed("main.127.0.0.1-1", [9; 32]).unwrap();
    let forged = text(&leaf) + &format!("Sig: {}\n", forged.sign(&leaf.claim.fingerprint()));
    assert!(refusal(put_narinfo(&leaf, forged).await).starts_with("signature by main.127.0.0.1-1 is wrong"));
}

async fn caches_share_nars(home: Home) {
    let core = &home.core;
    home.cache("one", Visibility::Public).await;
    home.cache("two", Visibility::Public).await;
    let shared = thing("shared", &[]);
    push(core, &Caller::Operator, "one", &shared).await.unwrap();
    let two = core.cache_remembered("two").unwrap();
    assert!(core.fetch().nar(&two, &shared.claim.nar_hash).await.unwrap().is_none(), "knowing a hash opens nothing");
    assert!(!core.push().nar_head(&two, NarFileName { file_hash: shared.claim.nar_hash }).await.unwrap());
    push(core, &Caller::Operator, "two", &shared).await.unwrap();
    assert!(core.fetch().nar(&two, &shared.claim.nar_hash).await.unwrap().is_some());
    assert_eq!(home.stored_files(), 1);
    assert_eq!(core.overview(&Caller::Operator).await.unwrap().stored_bytes, shared.nar.len() as u64);
    let keys =
        [narinfo(core, "one", &shared.claim.store_path).await, narinfo(core, "two", &shared.claim.store_path).await]
            .map(|narinfo| narinfo.unwrap().signatures[0].key_name.clone());
    assert_eq!(keys, ["one.127.0.0.1-1", "two.127.0.0.1-1"], "each cache signs with its own key");
}

async fn lists_and_searches(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    for name in ["hello-2.12", "Hello-lib", "x_pure", "xapure-1.3.1-a-rather-long-name"] {
        home.clock.advance(1000);
        push(core, &Caller::Operator, "main", &thing(name, &[])).await.unwrap();
    }
    let list = async |search: &str, sort, page| {
        let query = PathQuery { search: search.to_owned(), sort, page, ..PathQuery::default() };
        let page = core.path().list(&Caller::Operator, "main", &query).await.unwrap();
        assert_eq!(page.path_count, 4);
        page.rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    let all = ["xapure-1.3.1-a-rather-long-name", "x_pure", "Hello-lib", "hello-2.12"];
    assert_eq!(list("", PathSort::Newest, 0).await, all);
    assert_eq!(list("", PathSort::Largest, 0).await[0], all[0]);
    assert_eq!(list("HELLO", PathSort::Name, 0).await, ["Hello-lib", "hello-2.12"]);
    assert_eq!(list("x_p", PathSort::Newest, 0).await, ["x_pure"]);
    assert_eq!(list(&path_named("Hello-lib").hash().to_string()[..10], PathSort::Newest, 0).await, ["Hello-lib"]);
    assert!(list("", PathSort::Newest, 1).await.is_empty());
    // Words in any order, each from its beginning; a name as it stands; a whole store path.
    assert_eq!(list("rather xap", PathSort::Newest, 0).await, all[..1]);
    assert!(list("ather", PathSort::Newest, 0).await.is_empty());
    assert_eq!(list("2.12", PathSort::Newest, 0).await, ["hello-2.12"]);
    assert_eq!(list("hello-2", PathSort::Newest, 0).await, ["hello-2.12"]);
    let whole = path_named("x_pure").to_absolute();
    assert_eq!(list(&whole, PathSort::Newest, 0).await, ["x_pure"]);
    let filtered = async |pushed_by: &str, filter| {
        let query = PathQuery { pushed_by: pushed_by.to_owned(), filter, ..PathQuery::default() };
        core.path().list(&Caller::Operator, "main", &query).await.unwrap().rows.len()
    };
    assert_eq!(filtered("operator", PathFilter::All).await, 4);
    assert_eq!(filtered("somebody", PathFilter::All).await, 0);
    assert_eq!(filtered("", PathFilter::NeverPulled).await, 4);
    assert_eq!((filtered("", PathFilter::Pinned).await, filtered("", PathFilter::Held).await), (0, 0));
    let pin = PinCreate { name: "p".to_owned(), store_path: whole, artifacts: Vec::new(), keep: Keep::Forever };
    core.pin().create(&Caller::Operator, "main", &pin).await.unwrap();
    assert_eq!(filtered("operator", PathFilter::Pinned).await, 1);
    let long = PathQuery { search: "x".repeat(301), ..PathQuery::default() };
    assert!(core.path().list(&Caller::Operator, "main", &long).await.is_err());
    assert!(core.path().list(&Caller::ANONYMOUS, "main", &PathQuery::default()).await.is_err());
}

/// Rare words, frequent ones, frequent ones that are rare together or at the end of the list: found by different statements, and
/// always the same as a plain look at each name.
async fn every_way_of_searching_finds_the_same(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let mut names = Vec::new();
    for i in 0..180 {
        let mut name = format!("n{i}");
        for (word, has) in [
            ("even", i % 2 == 0),
            ("odd", i % 2 == 1),
            ("third", i % 3 == 0),
            ("rare", i % 60 == 7),
            ("early", i < 20),
            ("seldom", i % 30 == 0),
        ] {
            if has {
                name = format!("{name}-{word}");
            }
        }
        home.clock.advance(1000);
        push(core, &Caller::Operator, "main", &thing(&name, &[])).await.unwrap();
        names.push(name);
    }
    for search in [
        "even",
        "odd",
        "even odd",
        "third even",
        "rare",
        "early",
        "early odd",
        "seldom even",
        "ev od",
        "e o",
        "n1",
        "no",
    ] {
        for sort in [PathSort::Newest, PathSort::Name] {
            let words: Vec<&str> = search.split(' ').collect();
            let has = |name: &&String| words.iter().all(|word| format!("-{name}").contains(&format!("-{word}")));
            let mut expected: Vec<&String> = names.iter().rev().filter(has).collect();
            if sort == PathSort::Name {
                expected.sort();
            }
            let (mut found, mut page) = (Vec::new(), 0);
            loop {
                let query = PathQuery { search: search.to_owned(), sort, page, ..PathQuery::default() };
                let listed = core.path().list(&Caller::Operator, "main", &query).await.unwrap();
                found.extend(listed.rows.into_iter().map(|row| row.name));
                if !listed.has_next {
                    break;
                }
                page += 1;
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{search} by {sort:?}");
        }
    }
}

async fn the_sweep_leaves_what_is_needed(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let kept = thing("kept", &[]);
    push(core, &Caller::Operator, "main", &kept).await.unwrap();
    let cache = core.cache_remembered("main").unwrap();
    let begun = thing("begun", &[]);
    let id = upload(core, &Caller::Operator, "main", &[&begun.nar]).await.unwrap();
    let put = thing("put", &[]);
    core.push().nar_put(&cache, NarFileName { file_hash: put.claim.nar_hash }, body(&put.nar)).await.unwrap();
    Reconciler::Sweep.tick(core).await.unwrap();
    assert_eq!((home.stored_files(), home.staged_files()), (2, 1), "what may still be finished stays");
    core.push().complete(&Caller::Operator, "main", id, None, begun.claim.clone()).await.unwrap();
    upload(core, &Caller::Operator, "main", &[b"given up"]).await.unwrap();

    home.clock.advance(2 * Timestamp::DAY);
    home.tidy().await;
    assert_eq!((home.stored_files(), home.staged_files()), (2, 0), "what nobody finished is gone");
    for there in [&kept, &begun] {
        assert!(core.fetch().nar(&cache, &there.claim.nar_hash).await.unwrap().is_some());
    }
    assert_eq!(core.push().open_uploads().await.unwrap(), (0, None));
}

async fn another_process_is_noticed(home: Home) {
    let core = &home.core;
    let beside = home.beside().await;
    home.cache("main", Visibility::Public).await;
    let seen = beside.cache().open(&Caller::ANONYMOUS, "main", Permission::Pull, Discretion::Tell).await;
    assert!(seen.is_ok(), "a cache made elsewhere is found at its first request");
    let create = TokenCreate {
        name: "x".to_owned(),
        cache: None,
        scope: Permission::Push,
        expires_at: None,
        is_of_cache: false,
    };
    let made = core.token().create(&Caller::Operator, &create).await.unwrap();
    assert!(matches!(beside.token().caller(&made.token, "").await.unwrap(), Caller::Token(_)));
    let row = &core.token().list(&Caller::Operator).await.unwrap()[0];
    core.token().revoke(&Caller::Operator, row.id).await.unwrap();
    Reconciler::DirectoryRefresh.tick(&beside).await.unwrap();
    assert!(matches!(
        beside.token().caller(&made.token, "").await.unwrap(),
        Caller::Anonymous { problem: Some(_), .. }
    ));
}

async fn reads_are_counted_and_written_later(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let leaf = thing("leaf", &[]);
    push(core, &Caller::Operator, "main", &leaf).await.unwrap();
    let cache = core.cache_remembered("main").unwrap();
    for _ in 0..3 {
        core.path().narinfo(&cache, leaf.claim.store_path.hash()).await.unwrap().unwrap();
    }
    assert!(core.path().narinfo(&cache, path_named("absent").hash()).await.unwrap().is_none());
    core.fetch().nar(&cache, &leaf.claim.nar_hash).await.unwrap().unwrap();
    let traffic = async || core.cache().get(&Caller::ANONYMOUS, "main").await.unwrap().summary.traffic;
    let counted = traffic().await;
    assert_eq!((counted.narinfo_hits, counted.narinfo_misses, counted.pushed_paths), (3, 1, 1));
    let last_pulled = async || {
        let page = core.path().list(&Caller::ANONYMOUS, "main", &PathQuery::default()).await.unwrap();
        page.rows[0].last_pulled_at
    };
    assert_eq!(last_pulled().await, None, "a read writes nothing");
    for _ in 0..2 {
        Reconciler::ActivityFlush.tick(core).await.unwrap();
        assert_eq!(traffic().await, counted, "the same before and after it is written");
    }
    assert!(last_pulled().await.is_some());
    home.clock.advance(31 * Timestamp::DAY);
    assert_eq!(traffic().await.narinfo_hits, 0, "older than 30 days");
}

async fn keys_rotate(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let old = thing("old", &[]);
    push(core, &Caller::Operator, "main", &old).await.unwrap();
    let signers = async |path: &StorePath| {
        let narinfo = narinfo(core, "main", path).await.unwrap();
        narinfo.signatures.into_iter().map(|signature| signature.key_name).collect::<Vec<_>>()
    };
    let (first, second) = ("main.127.0.0.1-1", "main.127.0.0.1-2");
    assert_eq!(signers(&old.claim.store_path).await, [first]);
    core.key().add(&Caller::Operator, "main").await.unwrap();
    assert!(core.key().retire(&Caller::Operator, "main", first).await.is_err(), "nothing is signed by the other yet");

    Reconciler::Resign.tick(core).await.unwrap();
    assert_eq!(signers(&old.claim.store_path).await, [first, second]);
    let states = async || {
        let keys = core.key().list(&Caller::Operator, "main").await.unwrap();
        keys.into_iter().map(|key| key.state).collect::<Vec<_>>()
    };
    assert_eq!(states().await, [KeyState::Active, KeyState::Signing { paths_left: 0 }]);
    // Others may have signed with the first alone for a moment: the end is noted a little later.
    home.clock.advance(11 * Timestamp::SECOND);
    Reconciler::Resign.tick(core).await.unwrap();
    assert_eq!(states().await, [KeyState::Active, KeyState::Active]);
    core.key().retire(&Caller::Operator, "main", first).await.unwrap();
    let new = thing("new", &[]);
    push(core, &Caller::Operator, "main", &new).await.unwrap();
    assert_eq!(signers(&new.claim.store_path).await, [second]);
    assert_eq!(signers(&old.claim.store_path).await, [first, second]);
    assert!(core.key().retire(&Caller::Operator, "main", second).await.is_err(), "the last one stays");
}

async fn clients_stream_nars(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let stream = async |thing: &Thing, nar: &[u8]| {
        let claim = Claim { file_hash: None, file_size: None, ..thing.claim.clone() };
        core.push().nar_stream(&Caller::Operator, &cache, claim, body(nar)).await
    };
    let whole = thing("whole", &[]);
    for (nar, why) in [
        (&whole.nar[..whole.nar.len() - 8], "cut short"),
        (&[&whole.nar[..], &[0; 8]].concat()[..], "too long"),
        (&thing("other", &[]).nar[..], "another"),
    ] {
        assert!(matches!(stream(&whole, nar).await, Err(Error::Invalid { .. })), "{why}");
    }
    assert_eq!((home.stored_files(), home.staged_files()), (0, 0));
    let streamed = stream(&whole, &whole.nar).await.unwrap();
    assert_eq!((streamed.published, streamed.is_deduplicated), (Published::New { visible: true }, false));
    assert!(narinfo(core, "main", &whole.claim.store_path).await.unwrap().file_size.is_some());
    let again = stream(&whole, &whole.nar).await.unwrap();
    assert_eq!((again.published, again.is_deduplicated, again.file_size), (Published::Existing, true, None));
    assert_eq!((home.stored_files(), home.staged_files()), (1, 0));

    // A file that went away comes back with the next push of the same bytes.
    let file = narinfo(core, "main", &whole.claim.store_path).await.unwrap().file_hash.unwrap();
    let file = home.folder.path().join("storage").join(format!("nar/{}/{}", &file.to_nix32()[..2], file.to_nix32()));
    std::fs::remove_file(&file).unwrap();
    let again = stream(&whole, &whole.nar).await.unwrap();
    assert!(!again.is_deduplicated && again.file_size.is_some() && file.exists(), "{again:?}");
    assert!(narinfo(core, "main", &whole.claim.store_path).await.is_some());

    // What refers to a path that is still to come waits for it.
    let referrer = thing("referrer", &["late"]);
    assert_eq!(stream(&referrer, &referrer.nar).await.unwrap().published, Published::New { visible: false });
    assert!(narinfo(core, "main", &referrer.claim.store_path).await.is_none());
    let late = thing("late", &[]);
    stream(&late, &late.nar).await.unwrap();
    assert!(narinfo(core, "main", &referrer.claim.store_path).await.is_some());

    // What it becomes packed is what counts.
    let limits = PushLimits { cache_bytes: None, upload_bytes: Some(64) };
    core.retention().limits_set(&Caller::Operator, "main", &limits).await.unwrap();
    let large = thing("large", &[]);
    let cache = core.cache_remembered("main").unwrap();
    let claim = Claim { file_hash: None, file_size: None, ..large.claim.clone() };
    let refused = core.push().nar_stream(&Caller::Operator, &cache, claim, body(&large.nar)).await;
    assert!(matches!(&refused, Err(Error::TooLarge(message)) if message.contains("64 bytes")), "{refused:?}");
    assert_eq!(home.staged_files(), 0);
}

async fn what_stands_beside_paths_is_kept(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let drv = path_named("hello.drv");
    core.build_log().put(&Caller::Operator, &cache, &drv, body(b"first")).await.unwrap();
    core.build_log().put(&Caller::Operator, &cache, &drv, body(b"second log")).await.unwrap();
    let log = core.build_log().get(&cache, &drv).await.unwrap().unwrap();
    assert_eq!(log.size, 10);
    let text: Vec<_> = futures_util::StreamExt::collect(log.plain().await.unwrap()).await;
    assert_eq!(text.into_iter().map(|bytes| bytes.unwrap()).collect::<Vec<_>>().concat(), b"second log");
    assert!(core.build_log().put(&Caller::Operator, &cache, &path_named("hello"), body(b"")).await.is_err());
    home.clock.advance(2 * Timestamp::DAY);
    home.tidy().await;
    assert!(core.build_log().get(&cache, &drv).await.unwrap().is_some(), "the sweep leaves the newest");
    assert_eq!(files_below(&home.folder.path().join("storage/log")), 1);

    let output = thing("output", &[]);
    let key = RealisationKey::parse_build_trace(&format!("{drv}/out.doi")).unwrap();
    let json = format!(r#"{{"outPath":"{}","signatures":[]}}"#, output.claim.store_path);
    let put = core.realisation().put(&Caller::Operator, &cache, &key, json.as_bytes()).await;
    assert!(matches!(put, Err(Error::Invalid { .. })), "its path is not here");
    push(core, &Caller::Operator, "main", &output).await.unwrap();
    core.realisation().put(&Caller::Operator, &cache, &key, json.as_bytes()).await.unwrap();
    assert!(core.realisation().get(&cache, &key).await.unwrap().unwrap().contains("output"));
}

async fn pins_have_revisions(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let path = thing("release", &[]);
    push(core, &Caller::Operator, "main", &path).await.unwrap();
    let pin = async |keep| {
        home.clock.advance(1000);
        let create = PinCreate {
            name: "stable".to_owned(),
            store_path: path.claim.store_path.to_absolute(),
            artifacts: vec!["bin/app".to_owned()],
            keep,
        };
        core.pin().create(&Caller::Operator, "main", &create).await
    };
    let revisions = async || {
        let pins = core.pin().list(&Caller::ANONYMOUS, "main").await.unwrap();
        pins.iter().flat_map(|pin| pin.revisions.iter().map(|revision| revision.number)).collect::<Vec<_>>()
    };
    pin(Keep::Forever).await.unwrap();
    pin(Keep::Forever).await.unwrap();
    assert_eq!(revisions().await, [2, 1]);
    pin(Keep::Revisions(2)).await.unwrap();
    assert_eq!(revisions().await, [3, 2]);
    pin(Keep::Days(1)).await.unwrap();
    assert_eq!(revisions().await, [4, 3, 2]);
    home.clock.advance(Timestamp::DAY);
    assert_eq!(revisions().await, [3, 2], "a day is over");
    Reconciler::Sweep.tick(core).await.unwrap();
    pin(Keep::Forever).await.unwrap();
    assert_eq!(revisions().await[0], 4, "numbers go on from what is kept");
    for keep in [Keep::Days(0), Keep::Revisions(0)] {
        assert!(pin(keep).await.is_err());
    }
}

async fn a_cache_is_removed_with_what_only_it_had(home: Home) {
    let core = &home.core;
    home.cache("gone", Visibility::Public).await;
    home.cache("stays", Visibility::Public).await;
    let (own, shared) = (thing("own", &[]), thing("shared", &[]));
    push(core, &Caller::Operator, "gone", &own).await.unwrap();
    push(core, &Caller::Operator, "gone", &shared).await.unwrap();
    push(core, &Caller::Operator, "stays", &shared).await.unwrap();
    core.cache().remove(&Caller::Operator, "gone").await.unwrap();
    assert!(core.cache().get(&Caller::Operator, "gone").await.is_err());
    assert_eq!(core.cache().list(&Caller::Operator).await.unwrap().len(), 1);
    // The name is free at once, for a cache that has nothing of the old one.
    home.cache("gone", Visibility::Public).await;
    assert!(narinfo(core, "gone", &own.claim.store_path).await.is_none());

    home.clock.advance(3 * Timestamp::DAY);
    home.tidy().await;
    assert_eq!(home.stored_files(), 1);
    assert!(narinfo(core, "stays", &shared.claim.store_path).await.is_some());
}
