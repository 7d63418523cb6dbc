//! From where a cache is used, and how often: what those hear who are elsewhere, or ask too much.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::Method;
use iglu_end2end::cachix::PushOptions;
use iglu_end2end::http::{Credentials, Reply};
use iglu_end2end::nar;
use iglu_end2end::object::Object;
use iglu_end2end::put::Draft;
use iglu_end2end::server::{Scope, Server, Setup};

/// A request of somebody at an address, as a trusted proxy tells of it.
async fn asked(server: &Server, path: &str, from: &str, token: Option<&str>) -> Reply {
    let credentials = token.map_or(Credentials::None, |token| Credentials::Bearer(token.to_owned()));
    let url = format!("{}{path}", server.url());
    server.http().call(Method::GET, &url, &credentials, &[("x-forwarded-for", from)], Bytes::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_used_from_its_networks() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let draft = Draft::new("near", 1, nar::archive(&nar::regular(b"near")), "zstd", &[]).await.unwrap();
    server.putter("main", &token).push(&draft).await.unwrap();
    let narinfo = format!("/main/{}.narinfo", draft.hash());
    let before = asked(&server, &narinfo, "192.0.2.1", None).await;
    assert_eq!((before.status.as_u16(), before.header("cache-control")), (200, Some("public, max-age=60")));
    server.admin(&["cache", "set", "main", "--network", "10.0.0.0/8", "--network", "127.0.0.1"], "").unwrap();
    // A running server hears of it within a second.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while asked(&server, &narinfo, "192.0.2.1", None).await.status != 403 {
        assert!(tokio::time::Instant::now() < deadline, "the rule does not hold");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let file = format!("/main/{}", draft.url);
    for object in ["/main/nix-cache-info", &narinfo, &file, "/api/v1/cache/main", "/_api/v1/cache-config/main"] {
        for token in [None, Some(token.as_str())] {
            let far = asked(&server, object, "192.0.2.1", token).await;
            let said = far.text();
            assert_eq!(far.status, 403, "{object} {said}");
            assert!(
                said.contains("may be used from certain networks only, and 192.0.2.1 is in none of them"),
                "{said}"
            );
        }
        let near = asked(&server, object, "10.1.1.1", None).await;
        assert_eq!(near.status, 200, "{object} {}", near.text());
        // What a proxy kept would be given to those who are elsewhere.
        assert!(!near.header("cache-control").unwrap_or_default().contains("public"), "{object}");
    }
    // What a client writes before what the proxy writes hides nothing, text or not.
    for hostile in [&b"10.1.1.1, 192.0.2.1"[..], b"\xff, 192.0.2.1", b"127.0.0.1,192.0.2.1"] {
        let mut request = iglu_end2end::http::request(
            Method::GET,
            &format!("{}{narinfo}", server.url()),
            &Credentials::None,
            &[],
            "",
        )
        .unwrap();
        request.headers_mut().insert("x-forwarded-for", http::HeaderValue::from_bytes(hostile).unwrap());
        assert_eq!(server.http().send(request).await.unwrap().status, 403, "{hostile:?}");
    }
    let page = asked(&server, "/caches/main", "192.0.2.1", None).await;
    assert!(page.status == 403 && page.text().contains("certain networks only"), "{}", page.status);
    // Who is near pushes as ever.
    let draft = Draft::new("near", 2, nar::archive(&nar::regular(b"nearer")), "zstd", &[]).await.unwrap();
    server.putter("main", &token).push(&draft).await.unwrap();
    server.admin(&["cache", "set", "main", "--network", "none"], "").unwrap();
    let shown = server.admin(&["cache", "show", "main"], "").unwrap();
    assert!(shown.contains("\"networks\":[]"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_limited_one_by_one() {
    let flags = ["--anonymous-rate", "30", "--token-rate", "50"];
    let server = Setup::default().with_serve(&flags).start_alone().await.unwrap();
    server.cache("main", false).unwrap();
    let (one, other) = (server.token("main", Scope::Pull).unwrap(), server.token("main", Scope::Push).unwrap());
    let absent = format!("/main/{}.narinfo", "0".repeat(32));
    let passed = async |from: &str, token: Option<&str>| {
        let mut passed = 0;
        for _ in 0..60 {
            let reply = asked(&server, &absent, from, token).await;
            match reply.status.as_u16() {
                404 => passed += 1,
                429 => {
                    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
                    assert!((1..=3).contains(&seconds), "{seconds}");
                    let said = reply.text();
                    let who = if token.is_some() { "with token \"main-pull\"" } else { "without a token" };
                    assert!(said.contains(who) && said.ends_with(&format!("wait {seconds} seconds")), "{said}");
                }
                status => panic!("{status}: {}", reply.text()),
            }
        }
        passed
    };
    // A few come back while the others are sent.
    assert!((30..40).contains(&passed("192.0.2.1", None).await));
    assert!((30..40).contains(&passed("192.0.2.2", None).await), "another address");
    assert!((30..40).contains(&passed("2001:db8::1", None).await));
    assert!(passed("2001:db8::2", None).await < 10, "the same network");
    assert!((50..60).contains(&passed("192.0.2.1", Some(&one)).await), "with a token it is the token that is counted");
    assert_eq!(asked(&server, &absent, "192.0.2.1", Some(&other)).await.status, 404);
    passed("192.0.2.1", None).await;
    let attic = asked(&server, "/_api/v1/cache-config/main", "192.0.2.1", None).await;
    assert!(attic.status == 429 && attic.text().starts_with('{'), "{}", attic.text());
    // What is shown and is no good is counted as if nothing were shown.
    for (at, header) in [
        ("authorization", "Bearer"),
        ("authorization", "x"),
        ("authorization", "Bearer nope"),
        ("cookie", "iglu_session=x"),
    ]
    .into_iter()
    .enumerate()
    {
        let from = format!("192.0.2.{}", 10 + at);
        for path in [absent.as_str(), "/api/v1/caches", "/caches/main"] {
            let headers = [("x-forwarded-for", from.as_str()), header];
            let url = format!("{}{path}", server.url());
            let mut refused = false;
            for _ in 0..60 {
                let reply =
                    server.http().call(Method::GET, &url, &Credentials::None, &headers, Bytes::new()).await.unwrap();
                refused |= reply.status == 429;
            }
            assert!(refused, "{header:?} {path}");
        }
    }
    // Nor does it help where nobody looks who asks.
    let long = format!("iglu_session={}", "x".repeat(4200));
    for (at, (method, path, header)) in [
        (Method::GET, "/docs", ("cookie", "iglu_session=x")),
        (Method::GET, "/docs", ("authorization", "Bearer")),
        (Method::POST, "/hooks/some", ("authorization", "Bearer x")),
        (Method::PUT, "/main/zz", ("authorization", "Bearer x")),
        (Method::GET, "/login", ("cookie", long.as_str())),
    ]
    .into_iter()
    .enumerate()
    {
        let from = format!("192.0.2.{}", 20 + at);
        let headers = [("x-forwarded-for", from.as_str()), header];
        let url = format!("{}{path}", server.url());
        let mut refused = false;
        for _ in 0..60 {
            let reply =
                server.http().call(method.clone(), &url, &Credentials::None, &headers, Bytes::new()).await.unwrap();
            refused |= reply.status == 429;
        }
        assert!(refused, "{} {path}", header.0);
    }
    // Parts of uploads stand for the right to send them; the cachix client sends them without its token.
    passed("127.0.0.1", None).await;
    let pushed = Object::synthetic("pushed", 100_000, 1);
    server.cachix(Some(&other)).push_one("main", &pushed, &PushOptions::default()).await.unwrap();

    let scrape = server.http().get(&format!("{}/metrics", server.ops_url())).await.unwrap().text();
    for limit in ["anonymous", "token"] {
        let series = format!("iglu_rate_limited_total{{limit=\"{limit}\"}} ");
        let count = scrape.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
        assert!(count.parse::<u64>().unwrap() > 0, "{series}{count}");
    }
}

/// Who tries one secret after the other is told to wait; a token that was good goes on, and so do others at their addresses.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_limited() {
    let server = Setup::default().start_alone().await.unwrap();
    server.cache("main", true).unwrap();
    let good = server.token("main", Scope::Pull).unwrap();
    let absent = format!("/main/{}.narinfo", "0".repeat(32));
    let from = "192.0.2.1";
    assert_eq!(asked(&server, &absent, from, Some(&good)).await.status, 404);
    let mut statuses = std::collections::BTreeMap::new();
    let guesses: Vec<String> = (0..400).map(|guess| format!("iglu_guess{guess}")).collect();
    let replies = guesses.iter().map(|guess| asked(&server, &absent, from, Some(guess)));
    for reply in futures_util::future::join_all(replies).await {
        *statuses.entry(reply.status.as_u16()).or_insert(0) += 1;
    }
    assert!(statuses[&401] >= 290 && statuses.contains_key(&429), "{statuses:?}");
    assert_eq!(asked(&server, &absent, from, Some(&good)).await.status, 404);
    assert_eq!(asked(&server, &absent, "192.0.2.2", Some("iglu_guess")).await.status, 401);
    // The same wrong one again, as a machine with an old netrc asks a thousand times, counts once.
    for _ in 0..400 {
        assert_eq!(asked(&server, &absent, "192.0.2.3", Some("iglu_old")).await.status, 401);
    }
}
