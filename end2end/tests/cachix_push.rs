//! The emulated cachix client: the same closure, and every accident that the protocol allows for.

#![allow(clippy::unwrap_used)]

use iglu_end2end::cachix::wire::{Compression, Permission};
use iglu_end2end::cachix::{Client, Faults, Profile, PushOptions, Signer};
use iglu_end2end::digest;
use iglu_end2end::http::Credentials;
use iglu_end2end::nix::{self, FreshStore, Nix, said};
use iglu_end2end::object::Object;
use iglu_end2end::put::Putter;
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::{Scope, Server};

const MIB: u64 = 1024 * 1024;

fn with(faults: Faults) -> PushOptions {
    PushOptions { faults, ..PushOptions::default() }
}

/// Pushed, visible, and every byte and number of it right.
async fn is_served(reader: &Putter, object: &Object, client: &Client, cache: &str) {
    let narinfo = reader.narinfo(object.hash()).await.unwrap().unwrap_or_else(|| panic!("{} is missing", object.path));
    assert_eq!(narinfo.get("StorePath"), Some(object.path.as_str()));
    assert!(!narinfo.all("Sig").is_empty());
    reader.check(&narinfo).await.unwrap();
    assert!(client.missing(cache, &[object.hash().to_owned()]).await.unwrap().is_empty());
}

async fn closure_is_pulled_by_nix(profile: Profile, options: PushOptions, tag: &str) {
    let (top, closure) = nix::many(tag).await.unwrap();
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let client = Client::new(profile, &server.url(), Some(&token));
    let objects: Vec<Object> = closure.iter().map(Object::stored).collect();

    let report = client.push("main", &objects, &options).await.unwrap();
    assert_eq!(report.pushed.len(), closure.len());
    let again = client.push("main", &objects, &options).await.unwrap();
    assert!(again.missing.is_empty() && again.pushed.is_empty(), "{again:?}");

    let store = FreshStore::new().unwrap();
    let key = cache.public_keys.first().unwrap();
    let got = Nix::new().unwrap().substitute(&store, &cache.uri, key, &[&top]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
    let verified = Nix::new().unwrap().verify(&store, key, &top).await.unwrap();
    assert!(verified.status.success(), "{}", said(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_of_release_1_7_5_without_signature() {
    closure_is_pulled_by_nix(Profile::v1_7_5(), PushOptions::default(), "cachix").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_of_release_1_11_1_with_signature() {
    let key = nix_compat::signing::SigningKey::from_seed("client-1", [3; 32]).unwrap();
    let signer = Some(Signer::parse(&key.to_secret_text()).unwrap());
    let compression = Some(Compression::Xz);
    closure_is_pulled_by_nix(
        Profile::v1_11_1(),
        PushOptions { signer, compression, ..PushOptions::default() },
        "cachix",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_in_pieces_out_of_order_twice_and_without_etags() {
    let faults = Faults {
        shuffle_parts: Some(1),
        repeat_put: true,
        repeat_complete: true,
        ignore_etags: true,
        ..Faults::default()
    };
    closure_is_pulled_by_nix(Profile::v1_11_1().with_chunk_size(100), with(faults), "cachix").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_32_mib_in_parallel_and_out_of_order() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let (client, reader) = (server.cachix(Some(&token)), server.putter("main", &token));
    for (seed, shuffle_parts) in [(1, None), (2, Some(2))] {
        let object = Object::synthetic("parts", 70 * MIB, seed);
        let faults = Faults { shuffle_parts, ..Faults::default() };
        let report = client.push_one("main", &object, &with(faults)).await.unwrap();
        assert_eq!(report.pushed[0].parts, 3, "the content must not compress");
        is_served(&reader, &object, &client, "main").await;
    }
    assert!(server.peak_rss().unwrap() < 200 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_accident_alone_is_survived() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let reader = server.putter("main", &token);
    let client =
        server.cachix(Some(&token)).with_profile(Profile::v1_11_1().without_path_repeats().with_chunk_size(64 * 1024));
    let accidents = [
        ("none", Faults::default()),
        ("a PUT twice", Faults { repeat_put: true, ..Faults::default() }),
        ("complete twice", Faults { repeat_complete: true, ..Faults::default() }),
        ("another order", Faults { shuffle_parts: Some(7), ..Faults::default() }),
        ("no ETag", Faults { ignore_etags: true, ..Faults::default() }),
        ("bad bytes at first", Faults { spoil_first_put: Some(2), ..Faults::default() }),
        ("a part after the end", Faults { late_put: true, ..Faults::default() }),
    ];
    for compression in [Compression::Zstd, Compression::Xz] {
        for (seed, (what, faults)) in accidents.iter().enumerate() {
            let object = Object::synthetic(&format!("accident-{}", compression.query()), 400_000, seed as u64);
            let options = PushOptions { compression: Some(compression), ..with(faults.clone()) };
            let report = client.push_one("main", &object, &options).await;
            let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(report.pushed[0].parts, 7, "{what}");
            if let Some(answer) = &report.pushed[0].late_put {
                assert!(!answer.contains("status 5"), "a client would repeat this for ever: {answer}");
            }
            is_served(&reader, &object, &client, "main").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_parts_make_one_nar() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let (client, reader) = (server.cachix(Some(&token)), server.putter("main", &token));
    let object = Object::synthetic("crumbs", 300_000, 1);
    let crumbs = client.with_profile(Profile { parts_at_once: 16, ..Profile::v1_11_1().with_chunk_size(300) });
    let options = with(Faults { shuffle_parts: Some(3), ..Faults::default() });
    let report = crumbs.push_one("main", &object, &options).await.unwrap();
    assert!(report.pushed[0].parts > 1000);
    is_served(&reader, &object, &client, "main").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_under_two_paths_and_in_two_caches() {
    let server = Server::start().await.unwrap();
    for name in ["one", "two"] {
        server.cache(name, false).unwrap();
    }
    let token = server.token_named("all", None, Scope::Push, None).unwrap();
    let client = server.cachix(Some(&token));
    for (name, cache) in [("a", "one"), ("b", "one"), ("a", "two")] {
        let content = Object::synthetic("content", 100_000, 1);
        let object = Object { path: digest::made_up_path(name, 0), ..content };
        client.push_one(cache, &object, &PushOptions::default()).await.unwrap();
        is_served(&server.putter(cache, &token), &object, &client, cache).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_record_for_each_caller() {
    let server = Server::start().await.unwrap();
    let shown = server.cache("open", false).unwrap();
    server.cache("closed", true).unwrap();
    server.cache("other", true).unwrap();
    let token = |cache, scope| server.token(cache, scope).unwrap();
    let permission = |cache: &'static str, token: Option<String>| {
        let client = server.cachix(token.as_deref());
        async move { client.cache(cache).await.unwrap().permission }
    };

    let record = server.cachix(None).cache("open").await.unwrap();
    assert_eq!((record.name.as_str(), record.uri.as_str()), ("open", shown.uri.as_str()));
    assert_eq!(record.public_signing_keys, shown.public_keys);
    assert!(record.is_public);
    assert_eq!(record.permission, Permission::Read);
    assert_eq!(permission("open", Some(token("open", Scope::Push))).await, Permission::Write);
    assert_eq!(permission("open", Some(token("open", Scope::Admin))).await, Permission::Admin);
    assert_eq!(permission("closed", Some(token("closed", Scope::Pull))).await, Permission::Read);
    assert_eq!(permission("closed", Some(token("closed", Scope::Push))).await, Permission::Write);
    // One token for another cache still reads what everybody may read.
    assert_eq!(
        permission("open", Some(server.token_named("x", Some("closed"), Scope::Push, None).unwrap())).await,
        Permission::Read
    );
    assert!(!server.cachix(Some(&token("other", Scope::Pull))).cache("other").await.unwrap().is_public);

    let refused = |cache: &'static str, token: Option<String>| {
        let client = server.cachix(token.as_deref());
        async move { Refusal::of_call(client.cache(cache).await).unwrap() }
    };
    let private = refused("closed", None).await;
    let unknown = refused("nowhere", None).await;
    assert_eq!((private.status, unknown.status), (401, 401));
    assert_eq!(
        private.text.replace("closed", "NAME"),
        unknown.text.replace("nowhere", "NAME"),
        "the text tells strangers which caches exist"
    );
    for cache in ["open", "closed", "nowhere"] {
        assert_eq!(refused(cache, Some("iglu_no-such-token".to_owned())).await.status, 401, "{cache}");
    }
    let foreign = server.token_named("foreign", Some("open"), Scope::Push, None).unwrap();
    let private = refused("closed", Some(foreign.clone())).await;
    let unknown = refused("nowhere", Some(foreign)).await;
    assert_eq!(private.status, unknown.status);
    assert_eq!(private.text.replace("closed", "NAME"), unknown.text.replace("nowhere", "NAME"));
    let everything = server.token_named("everything", None, Scope::Admin, None).unwrap();
    assert_eq!(refused("nowhere", Some(everything)).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_taken_in_every_form() {
    let server = Server::start().await.unwrap();
    server.cache("open", false).unwrap();
    server.cache("closed", true).unwrap();
    let token = server.token("closed", Scope::Pull).unwrap();
    let status = |cache: &str, path: &str, credentials: Credentials| {
        let url = match path {
            "" => format!("{}/api/v1/cache/{cache}", server.url()),
            path => format!("{}/{cache}/{path}", server.url()),
        };
        let http = server.http().clone();
        async move { http.call(http::Method::GET, &url, &credentials, &[], "").await.unwrap().status.as_u16() }
    };
    let basic = |user: &str, password: &str| Credentials::Basic(user.to_owned(), password.to_owned());
    for path in ["", "nix-cache-info"] {
        for good in
            [Credentials::Bearer(token.clone()), basic("", &token), basic("who.ever", &token), basic(&token, "")]
        {
            assert_eq!(status("closed", path, good.clone()).await, 200, "{path} {good:?}");
        }
        for nobody in [Credentials::None, Credentials::Bearer(String::new()), basic("", ""), basic("user", "")] {
            assert_eq!(status("closed", path, nobody.clone()).await, 401, "{path} {nobody:?}");
            // A user name alone may be taken for a token, and a bad token is refused at the API.
            if nobody != basic("user", "") {
                assert_eq!(status("open", path, nobody.clone()).await, 200, "{path} {nobody:?}");
            }
        }
    }
    // A stale line in netrc must not cut off public caches.
    assert_eq!(status("open", "nix-cache-info", basic("x", "iglu_stale")).await, 200);
    assert_eq!(status("open", "nix-cache-info", basic("user", "")).await, 200);
    // Any letter case of the scheme.
    let url = format!("{}/closed/nix-cache-info", server.url());
    let header = format!("bEARER {token}");
    let headers = [("authorization", header.as_str())];
    let reply = server.http().call(http::Method::GET, &url, &Credentials::None, &headers, "").await.unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_query_of_every_kind() {
    let server = Server::start().await.unwrap();
    server.cache("open", false).unwrap();
    server.cache("closed", true).unwrap();
    let token = server.token("open", Scope::Push).unwrap();
    let client = server.cachix(Some(&token));
    let present = Object::synthetic("present", 1000, 1);
    client.push_one("open", &present, &PushOptions::default()).await.unwrap();
    let here = present.hash().to_owned();
    let absent = |seed| digest::hash_part(&digest::made_up_path("absent", seed)).to_owned();

    let anonymous = server.cachix(None);
    assert!(anonymous.missing_once("open", &[]).await.unwrap().is_empty());
    assert_eq!(anonymous.missing_once("open", &[here.clone(), absent(1)]).await.unwrap(), [absent(1)]);
    let twice = [absent(1), here.clone(), absent(1), here.clone(), absent(1)];
    assert_eq!(anonymous.missing_once("open", &twice).await.unwrap(), [absent(1)]);
    for junk in
        ["", "x", "../../etc/passwd", "EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE", "u0000000000000000000000000000000", "\u{fc}"]
    {
        match anonymous.missing_once("open", &[here.clone(), junk.to_owned()]).await {
            Ok(missing) => assert_eq!(missing, [junk], "{junk}"),
            refused => assert_eq!(Refusal::of_call(refused).unwrap().status, 400, "{junk}"),
        }
    }
    let mut lots: Vec<String> = (0..40_000).map(absent).collect();
    lots.push(here.clone());
    let missing = anonymous.missing("open", &lots).await.unwrap();
    assert_eq!(missing.len(), 40_000);
    assert!(!missing.contains(&here));
    // Older releases send everything at once.
    assert_eq!(anonymous.missing_once("open", &lots).await.unwrap().len(), 40_000);

    let refused = Refusal::of_call(anonymous.missing_once("closed", std::slice::from_ref(&here)).await).unwrap();
    assert_eq!(refused.status, 401);
    let url = format!("{}/api/v1/cache/open/narinfo", server.url());
    for (body, media_type) in
        [("{}", "application/json"), ("[1]", "application/json"), ("[", "application/json"), ("", "application/json")]
    {
        let headers = [("content-type", media_type)];
        let reply = server.http().call(http::Method::POST, &url, &Credentials::None, &headers, body).await.unwrap();
        assert_eq!(Refusal::of(&reply).unwrap().status, 400, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_is_always_answered() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let client = server.cachix(Some(&token));
    let upload = client.create("main", Compression::Zstd).await.unwrap();
    let url = client.part("main", &upload, 1, &digest::md5_base64(b"abc")).await.unwrap().upload_url;
    client.put(&url, &digest::md5_base64(b"abc"), "abc".into()).await.unwrap();
    client.abort("main", &upload).await.unwrap();
    client.abort("main", &upload).await.unwrap();
    let late = Refusal::of_call(client.put_once(&url, &digest::md5_base64(b"abc"), "abc".into()).await).unwrap();
    assert!(late.status < 500, "{late:?}");
    let refused = client.part("main", &upload, 2, &digest::md5_base64(b"abc")).await;
    assert_eq!(Refusal::of_call(refused).unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_and_readers_cannot_begin_an_upload() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    server.cache("other", false).unwrap();
    let create = |token: Option<String>| {
        let client = server.cachix(token.as_deref());
        async move { Refusal::of_call(client.create("main", Compression::Zstd).await).unwrap() }
    };
    assert_eq!(create(None).await.status, 401);
    let reader = create(Some(server.token_named("laptop", Some("main"), Scope::Pull, None).unwrap())).await;
    assert_eq!(reader.status, 403);
    assert!(reader.says(&["laptop", "main", "push"]), "{}", reader.text);
    let foreign = create(Some(server.token_named("ci-other", Some("other"), Scope::Push, None).unwrap())).await;
    assert_eq!(foreign.status, 403);
    assert!(foreign.says(&["ci-other", "main", "push"]), "{}", foreign.text);
}
