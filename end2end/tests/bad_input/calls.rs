//! The calls behind the pages, made without the pages: by nobody, by tokens, by members who administer nothing, and with
//! arguments that no form sends.

use crate::probe::Memory;
use crate::{Door, door};
use http::Method;
use iglu_end2end::http::{Credentials, Reply};

const FORM: &str = "application/x-www-form-urlencoded";

async fn call(
    door: &Door,
    function: &str,
    body: impl Into<bytes::Bytes>,
    cookie: &str,
    credentials: &Credentials,
) -> Reply {
    let origin = door.server.url();
    let mut headers = vec![
        ("Content-Type", FORM),
        ("Sec-Fetch-Site", "same-origin"),
        ("Origin", &origin),
        ("Accept", "application/json"),
    ];
    if !cookie.is_empty() {
        headers.push(("Cookie", cookie));
    }
    door.send_as(credentials, Method::POST, &format!("/api/ui/{function}"), &headers, body).await
}

/// A session of a person who may push to one cache and administers nothing.
async fn member(door: &Door) -> String {
    door.server.admin(&["user", "create", "root", "--password-stdin", "--admin"], "a long password here\n").unwrap();
    door.server.admin(&["user", "create", "ada", "--password-stdin"], "another long password\n").unwrap();
    door.server.admin(&["member", "set", "main", "ada", "pusher"], "").unwrap();
    let reply =
        call(door, "session_create", "name=ada&password=another+long+password&next=/", "", &Credentials::None).await;
    let cookie = reply.header("set-cookie").unwrap_or_else(|| panic!("{}", reply.text()));
    cookie.split(';').next().unwrap().to_owned()
}

fn refused(reply: &Reply, status: u16, what: &str) {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert!(reply.body.len() < 1024, "{what}: {} bytes of refusal", reply.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_pages_by_the_wrong_ones() {
    let door = door().await;
    let cookie = member(&door).await;
    door.server.cache("other", true).unwrap();
    let pusher = door.putter.credentials.clone();
    let before = door.send(Method::GET, "/api/v1/cache/main", &[], "").await.text();
    for (function, body, by_token) in [
        ("key_add", "cache=main", 403),
        ("key_add", "cache=other", 403),
        ("key_import", "cache=main&secret=x", 403),
        ("key_retire", "cache=main&name=x", 403),
        ("key_register", "cache=main&public_key=x", 403),
        ("cache_create", "name=mine&visibility=public&priority=1&compression=zstd&signing=server", 403),
        ("token_create", "name=x&cache=&scope=admin&expires_days=&owner=cache", 401),
        ("token_create", "name=x&cache=&scope=pull&expires_days=&owner=cache", 401),
        ("token_create", "name=x&cache=main&scope=admin&expires_days=", 401),
    ] {
        let what = format!("{function} {body}");
        refused(&call(&door, function, body, "", &Credentials::None).await, 401, &format!("{what} by nobody"));
        refused(
            &call(&door, function, body, "iglu_session=made-up", &Credentials::None).await,
            401,
            &format!("{what} by a made-up session"),
        );
        // What they are not in is as if it were not there.
        let status = if body.starts_with("cache=other") { 404 } else { 403 };
        refused(
            &call(&door, function, body, &cookie, &Credentials::None).await,
            status,
            &format!("{what} by a pusher"),
        );
        let reply = call(&door, function, body, "", &pusher).await;
        assert!(
            reply.status == by_token || (by_token == 403 && reply.status == 401),
            "{what} by a token: {}",
            reply.status
        );
    }
    refused(&call(&door, "token_revoke", "id=1", &cookie, &Credentials::None).await, 404, "another's token");
    assert_eq!(door.send(Method::GET, "/api/v1/user", &[], "").await.status, 200, "the token was revoked");
    assert_eq!(door.send(Method::GET, "/api/v1/cache/main", &[], "").await.text(), before);
    assert!(door.server.cache_show("mine").is_err());
    // From a page of somebody else.
    let headers = [
        ("Content-Type", FORM),
        ("Sec-Fetch-Site", "cross-site"),
        ("Origin", "https://evil.example"),
        ("Cookie", &cookie),
    ];
    let body = "name=x&cache=main&scope=push&expires_days=";
    let reply = door.send_as(&Credentials::None, Method::POST, "/api/ui/token_create", &headers, body).await;
    assert_eq!(reply.status, 403, "cross-site: {}", reply.text());
    door.is_calm("calls of pages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_pages_with_odd_arguments() {
    let door = door().await;
    let cookie = member(&door).await;
    let long = format!("cache={}", "x".repeat(100_000));
    for (what, body, status) in [
        ("nothing", Vec::new(), 400),
        ("no text", b"cache=main&secret=\xff".to_vec(), 400),
        ("another type", b"cache[a]=1".to_vec(), 400),
        ("one twice", b"cache=main&cache=other".to_vec(), 400),
        ("deep", format!("cache{}=1", "[a]".repeat(5000)).into(), 400),
        ("an unknown cache", b"cache=nowhere".to_vec(), 404),
        ("an odd cache", b"cache=..%2f%00%ff%1b".to_vec(), 404),
        ("a long cache", long.into(), 404),
    ] {
        refused(&call(&door, "key_add", body, &cookie, &Credentials::None).await, status, what);
    }
    for query in [
        "key_list?cache=%ff",
        "key_list",
        "path_list?cache=main",
        "path_list?cache=main&search=&sort=&page=99999999999999999999",
        "cache_get?name=../main",
        "nothing",
        "..%2fkey_list?cache=main",
    ] {
        let headers = [("Cookie", cookie.as_str()), ("Accept", "application/json")];
        let reply = door.send_as(&Credentials::None, Method::GET, &format!("/api/ui/{query}"), &headers, "").await;
        assert!((400..500).contains(&reply.status.as_u16()), "{query}: {}: {}", reply.status, reply.text());
    }
    // A body without end ends somewhere, also for nobody in particular.
    for path in ["/api/ui/session_create", "/nothing/at/all"] {
        let memory = Memory::watch(&door.server);
        let url = format!("{}{path}", door.server.url());
        let headers = [("Content-Type", FORM), ("Sec-Fetch-Site", "same-origin")];
        let request =
            iglu_end2end::http::request(Method::POST, &url, &Credentials::None, &headers, vec![b'a'; 100 << 20]);
        // The answer may be lost to a sender who does not listen.
        let _ = iglu_end2end::http::Http::new().send(request.unwrap()).await;
        memory.must_be_flat(&door.server, path);
    }
    door.is_calm("odd arguments").await;
}
