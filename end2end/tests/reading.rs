//! What a reader may rely on: headers, ranges, HEAD, caching, and the addresses under which a cache answers.

#![allow(clippy::unwrap_used)]

use http::Method;
use iglu_end2end::cachix::PushOptions;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Http, Reply};
use iglu_end2end::object::Object;
use iglu_end2end::put::{Draft, Narinfo};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::{Scope, Server, Setup};

const LIKE_NIX: &str = "zstd, br, gzip, deflate, bzip2, xz";

async fn ask(method: Method, url: &str, headers: &[(&str, &str)]) -> Reply {
    Http::new().call(method, url, &Credentials::None, headers, "").await.unwrap()
}

/// A public cache `main` with one path; its server, base URL and narinfo.
async fn one_path() -> (Server, String, Draft, Narinfo) {
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let putter = server.putter("main", &token);
    let content = digest::Random::new(1).bytes(300_000);
    let nar = iglu_end2end::nar::archive(&iglu_end2end::nar::regular(&content));
    let draft = Draft::new("read-me", 1, nar, "zstd", &[]).await.unwrap();
    putter.push(&draft).await.unwrap();
    let narinfo = putter.narinfo(draft.hash()).await.unwrap().unwrap();
    (server, cache.uri, draft, narinfo)
}

#[tokio::test]
async fn narinfo_is_canonical_and_cacheable() {
    let (_server, uri, draft, narinfo) = one_path().await;
    let fields: Vec<&str> = narinfo.0.iter().map(|(name, _)| name.as_str()).collect();
    let order = ["StorePath", "URL", "Compression", "FileHash", "FileSize", "NarHash", "NarSize", "References", "Sig"];
    assert_eq!(fields, order);
    assert_eq!(narinfo.get("References"), Some(""));
    assert_eq!(narinfo.get("NarHash"), draft.narinfo.get("NarHash"));
    let url = narinfo.get("URL").unwrap();
    let (name, _) = url.strip_prefix("nar/").unwrap().split_once(".nar").unwrap();
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{url}");

    let address = format!("{uri}/{}.narinfo", draft.hash());
    let get = ask(Method::GET, &address, &[("accept-encoding", LIKE_NIX)]).await;
    assert_eq!((get.status.as_u16(), get.media_type()), (200, Some("text/x-nix-narinfo")));
    assert_eq!(get.header("content-length"), Some(get.body.len().to_string().as_str()));
    assert_eq!(get.header("content-encoding"), None);
    let head = ask(Method::HEAD, &address, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    let etag = get.header("etag").unwrap();
    assert_eq!(head.header("etag"), Some(etag));
    let known = ask(Method::GET, &address, &[("if-none-match", etag)]).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let unknown = ask(Method::GET, &address, &[("if-none-match", "\"other\"")]).await;
    assert_eq!((unknown.status.as_u16(), unknown.body), (200, get.body.clone()));
}

#[tokio::test]
async fn missing_narinfos_are_missing_for_every_spelling() {
    let (_server, uri, ..) = one_path().await;
    let absent = digest::hash_part(&digest::made_up_path("absent", 1)).to_owned();
    let zeros = "0".repeat(32);
    let names = [
        absent.clone(),
        zeros.clone(),
        "e".repeat(32),
        "u".repeat(32),
        zeros[1..].to_owned(),
        format!("{zeros}0"),
        absent.to_uppercase(),
        "..%2f..%2fsecret".to_owned(),
        "%00".to_owned(),
        "%ff%fe".to_owned(),
        "a".repeat(5000),
        String::new(),
    ];
    for name in names {
        for method in [Method::GET, Method::HEAD] {
            let reply = ask(method.clone(), &format!("{uri}/{name}.narinfo"), &[]).await;
            assert_eq!(reply.status, 404, "{method} {name}");
            if method == Method::GET {
                let cached = reply.header("cache-control").unwrap_or("no-store");
                assert!(!cached.contains("immutable"), "{name}: {cached}");
            } else {
                assert!(reply.body.is_empty());
            }
        }
    }
    let file = "0".repeat(52);
    for name in [format!("nar/{file}.nar.zst"), "nar/x".to_owned(), "nar/".to_owned(), "nar/..%2f..".to_owned()] {
        let reply = ask(Method::GET, &format!("{uri}/{name}"), &[]).await;
        assert_eq!(reply.status, 404, "{name}");
    }
}

#[tokio::test]
async fn nars_come_in_ranges_and_never_encoded() {
    let (_server, uri, draft, narinfo) = one_path().await;
    let address = format!("{uri}/{}", narinfo.get("URL").unwrap());
    let size = narinfo.get("FileSize").unwrap();
    let whole = ask(Method::GET, &address, &[("accept-encoding", LIKE_NIX)]).await;
    assert_eq!(whole.status, 200);
    assert!(whole.body == draft.file, "not the bytes that were sent");
    assert_eq!(whole.header("content-length"), Some(size));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("content-encoding"), None);
    assert!(whole.header("cache-control").unwrap().contains("immutable"));
    assert!(matches!(whole.media_type(), Some("application/x-nix-nar" | "application/octet-stream")));
    let head = ask(Method::HEAD, &address, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for name in ["content-length", "accept-ranges", "etag", "content-type", "cache-control"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }

    let last = draft.file.len() - 1;
    let n = draft.file.len();
    let ranges = [
        ("bytes=100-".to_owned(), 100, last),
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=7-1000".to_owned(), 7, 1000),
        (format!("bytes=5-{}", n + 1000), 5, last),
        ("bytes=-10".to_owned(), n - 10, last),
        (format!("bytes={last}-"), last, last),
    ];
    for (range, from, to) in ranges {
        let part = ask(Method::GET, &address, &[("range", &range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), Some(format!("bytes {from}-{to}/{n}").as_str()), "{range}");
        assert_eq!(part.header("accept-ranges"), Some("bytes"), "{range}");
        assert!(part.body == draft.file[from..=to], "{range}: other bytes");
        assert_eq!(part.header("content-length"), Some((to - from + 1).to_string().as_str()), "{range}");
    }
    for range in [format!("bytes={n}-"), format!("bytes={}-", u64::MAX)] {
        let beyond = ask(Method::GET, &address, &[("range", &range)]).await;
        assert_eq!(beyond.status, 416, "{range}");
        assert_eq!(beyond.header("content-range"), Some(format!("bytes */{n}").as_str()), "{range}");
    }
    for nonsense in ["bytes=a-b", "bytes", "lines=1-2", "bytes=9-3", "bytes=99999999999999999999999-"] {
        let reply = ask(Method::GET, &address, &[("range", nonsense)]).await;
        assert!(matches!(reply.status.as_u16(), 200 | 416), "{nonsense}: {}", reply.status);
    }
    let etag = whole.header("etag").unwrap();
    assert_eq!(ask(Method::GET, &address, &[("if-none-match", etag)]).await.status, 304);
    assert_eq!(ask(Method::GET, &format!("{address}?x=1"), &[]).await.status, 200, "a query is ignored");
}

#[tokio::test]
async fn api_form_serves_the_same_bytes() {
    let (server, uri, draft, narinfo) = one_path().await;
    let api = format!("{}/api/v1/cache/main", server.url());
    let file = narinfo.get("URL").unwrap().to_owned();
    for name in ["nix-cache-info".to_owned(), format!("{}.narinfo", draft.hash()), file] {
        let (one, other) = (
            ask(Method::GET, &format!("{uri}/{name}"), &[]).await,
            ask(Method::GET, &format!("{api}/{name}"), &[]).await,
        );
        assert_eq!((other.status.as_u16(), &other.body), (200, &one.body), "{name}");
        assert_eq!(ask(Method::HEAD, &format!("{api}/{name}"), &[]).await.status, 200, "{name}");
    }
    let absent = digest::hash_part(&digest::made_up_path("absent", 1)).to_owned();
    assert_eq!(ask(Method::HEAD, &format!("{api}/{absent}.narinfo"), &[]).await.status, 404);
}

#[tokio::test]
async fn private_caches_show_strangers_nothing() {
    let server = Server::start().await.unwrap();
    let cache = server.cache("secret", true).unwrap();
    let token = server.token("secret", Scope::Push).unwrap();
    let putter = server.putter("secret", &token);
    let draft = Draft::new("hidden", 1, iglu_end2end::nar::archive(&iglu_end2end::nar::regular(b"x")), "zstd", &[])
        .await
        .unwrap();
    putter.push(&draft).await.unwrap();
    let narinfo = putter.narinfo(draft.hash()).await.unwrap().unwrap();
    let absent = digest::hash_part(&digest::made_up_path("absent", 1)).to_owned();
    let names = [
        "nix-cache-info".to_owned(),
        format!("{}.narinfo", draft.hash()),
        format!("{absent}.narinfo"),
        narinfo.get("URL").unwrap().to_owned(),
    ];
    let foreign = server.token_named("foreign", None, Scope::Pull, None);
    assert!(foreign.is_ok());
    for name in names {
        for method in [Method::GET, Method::HEAD] {
            let reply = ask(method.clone(), &format!("{}/{name}", cache.uri), &[]).await;
            assert_eq!(reply.status, 401, "{method} {name}");
            assert!(reply.header("www-authenticate").unwrap().starts_with("Basic "), "{method} {name}");
        }
    }
}

#[tokio::test]
async fn own_domain_per_cache() {
    let server = Setup::default().with_cache_domain("cache.test").start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    server.cache("secret", true).unwrap();
    assert!(cache.uri.starts_with("http://main.cache.test"), "{}", cache.uri);
    assert!(!cache.uri.ends_with('/'));
    assert!(cache.public_keys[0].starts_with("main.cache.test-1:"), "{}", cache.public_keys[0]);
    let token = server.token("main", Scope::Push).unwrap();
    let client = server.cachix(Some(&token));
    assert_eq!(client.cache("main").await.unwrap().uri, cache.uri);
    let object = Object::synthetic("domain", 10_000, 1);
    client.push_one("main", &object, &PushOptions::default()).await.unwrap();

    let at =
        async |host: &str, path: &str| ask(Method::GET, &format!("{}/{path}", server.url()), &[("host", host)]).await;
    let address = server.address();
    let port = address.split_once(':').unwrap().1;
    for host in ["main.cache.test".to_owned(), format!("main.cache.test:{port}"), "MAIN.Cache.Test".to_owned()] {
        assert_eq!(at(&host, "nix-cache-info").await.status, 200, "{host}");
        let reply = at(&host, &format!("{}.narinfo", object.hash())).await;
        assert_eq!(reply.status, 200, "{host}");
        let narinfo = Narinfo::parse(&reply.text()).unwrap();
        let file = at(&host, narinfo.get("URL").unwrap()).await;
        assert_eq!(format!("sha256:{}", digest::sha256_nix32(&file.body)), narinfo.get("FileHash").unwrap());
    }
    // The API means the same on every host.
    assert_eq!(at("main.cache.test", "api/v1/cache/main").await.status, 200);
    assert_eq!(at("nowhere.cache.test", "nix-cache-info").await.status, 404);
    assert_eq!(at("secret.cache.test", "nix-cache-info").await.status, 401);
    assert_eq!(at("main.elsewhere.test", "nix-cache-info").await.status, 404);
}

#[tokio::test]
async fn cache_names_that_would_shadow_routes_are_refused() {
    let server = Server::start().await.unwrap();
    for name in ["api", "app", "www", "ws", "pkg", "login", "setup", "metrics"] {
        assert!(server.cache(name, false).is_err(), "{name}");
    }
    for name in ["", ".", "..", "a/b", "A", "with space", "-x", "x\u{e9}", "nul\u{1}", &"x".repeat(300)] {
        assert!(server.cache(name, false).is_err(), "{name}");
    }
    server.cache("fine", false).unwrap();
    assert!(server.cache("fine", false).is_err(), "twice");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods() {
    let (server, uri, draft, narinfo) = one_path().await;
    let url = server.url();
    for path in
        ["api/v1/nothing", "api/v1/cache/main/nothing", "main/nothing.txt", "nowhere/nix-cache-info", "api/v9/x"]
    {
        assert_eq!(ask(Method::GET, &format!("{url}/{path}"), &[]).await.status, 404, "{path}");
    }
    let file = narinfo.get("URL").unwrap();
    let wrong = [
        (Method::DELETE, format!("{uri}/nix-cache-info")),
        (Method::DELETE, format!("{uri}/{}.narinfo", draft.hash())),
        (Method::POST, format!("{uri}/{file}")),
        (Method::PATCH, format!("{uri}/{file}")),
        (Method::DELETE, format!("{url}/api/v1/cache/main")),
        (Method::GET, format!("{url}/api/v1/cache/main/multipart-nar")),
    ];
    for (method, address) in wrong {
        let reply = ask(method.clone(), &address, &[]).await;
        assert_eq!(reply.status, 405, "{method} {address}");
        assert!(reply.header("allow").is_some(), "{method} {address}");
    }
}

#[tokio::test]
async fn unknown_caches_cannot_be_made_by_a_pushing_client() {
    let server = Server::start().await.unwrap();
    let address = format!("{}/nowhere/nix-cache-info", server.url());
    let reply = ask(Method::GET, &address, &[]).await;
    assert_eq!(Refusal::of(&reply).unwrap().status, 404);
    // A client that finds no cache tries to make one.
    let token = server.token_named("all", None, Scope::Push, None).unwrap();
    for credentials in [Credentials::None, Credentials::Basic("x".to_owned(), token)] {
        let put = server.http().call(Method::PUT, &address, &credentials, &[], "StoreDir: /nix/store\n").await.unwrap();
        assert!(matches!(put.status.as_u16(), 401 | 403 | 404 | 405), "{}", put.status);
    }
    assert_eq!(ask(Method::GET, &address, &[]).await.status, 404);
}
