//! The pages' door as a browser without JavaScript meets it: forms, cookies, headers, and who is kept out.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::Method;
use iglu_end2end::{
    browser::{Browser, leads_to, set_up, set_up_fields},
    cachix::PushOptions,
    http::{Credentials, Reply},
    object::Object,
    server::{Scope, Server},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_link_is_good_once() {
    let server = Server::start().await.unwrap();
    let wrong = Browser::new(&server).get("/setup/0000").await;
    assert_eq!(wrong.status, 404);
    let (mut browser, secret) = set_up(&server).await;
    let page = browser.get("/caches/main/first-push").await;
    assert_eq!(page.status, 200);
    let token =
        page.text().split("iglu_").nth(1).map(|rest| format!("iglu_{}", &rest[..52])).expect("the token is shown");
    let client = server.cachix(Some(&token));
    client.push("main", &[Object::synthetic("first", 1000, 7)], &PushOptions::default()).await.unwrap();
    let again = browser.get("/caches/main/first-push").await.text();
    assert!(!again.contains(&token), "a token is shown once");
    assert!(again.contains("first"), "the path that came is on the page");

    let twice = Browser::new(&server).post("setup_finish", &set_up_fields(&secret)).await;
    assert_ne!(twice.header("location"), Some("/caches/main/first-push"));
    assert_eq!(Browser::new(&server).get(&format!("/setup/{secret}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_and_out_and_being_kept_out() {
    let server = Server::start().await.unwrap();
    let (mut ada, _) = set_up(&server).await;
    let mut browser = Browser::new(&server);
    let closed = browser.get("/tokens").await;
    assert!(closed.header("location").is_some_and(|to| to.starts_with("/login")), "{:?}", closed.headers);
    let login = |password| [("name", "ada"), ("password", password), ("next", "/tokens")];
    let wrong = browser.post("session_create", &login("not the password")).await;
    assert!(!browser.is_logged_in(), "{:?}", wrong.headers);
    leads_to(&browser.post("session_create", &login("a long password")).await, "/tokens");
    assert_eq!(browser.get("/tokens").await.status, 200);
    let cookie = browser.send(Method::GET, "/", &[], "").await;
    assert_eq!(cookie.header("cache-control"), Some("no-store"));
    for evil in ["//evil.example", "https://evil.example", "/\\evil.example", "/%2f/evil.example"] {
        let mut browser = Browser::new(&server);
        let fields = [("name", "ada"), ("password", "a long password"), ("next", evil)];
        leads_to(&browser.post("session_create", &fields).await, "/");
    }

    leads_to(&browser.post("session_end", &[]).await, "/login");
    assert!(!browser.is_logged_in());
    let changed = [("current", "a long password"), ("new", "another password")];
    ada.post("password_change", &changed).await;
    assert_eq!(ada.get("/account").await.status, 200, "the session that changed it stays");
    let mut last = None;
    for _ in 0..8 {
        last = Some(Browser::new(&server).post("session_create", &login("guess")).await);
    }
    let limited = last.unwrap();
    let told = format!("{:?}{}", limited.headers, limited.text());
    assert!(told.contains("too") || told.contains("dG9v"), "login is limited: {told}");
    let mut right = Browser::new(&server);
    right.post("session_create", &[("name", "ada"), ("password", "another password")]).await;
    assert!(!right.is_logged_in(), "even the right password waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_work_and_other_sites_cannot_post() {
    let server = Server::start().await.unwrap();
    let (mut ada, _) = set_up(&server).await;
    let cache =
        [("name", "team"), ("visibility", "public"), ("priority", "30"), ("compression", "xz"), ("signing", "server")];
    let forged = ada.post_from("cross-site", "cache_create", &cache).await;
    assert_eq!(forged.status, 403);
    assert!(server.cache_show("team").is_err());
    leads_to(&ada.post("cache_create", &cache).await, "/caches/team");
    assert!(ada.get("/caches/team").await.text().contains("team.127.0.0.1-1:"));
    assert_eq!(ada.get("/caches").await.status, 200);
    assert_eq!(ada.get("/caches/team/paths?search=x").await.status, 200);
    let info = server.http().get(&format!("{}/team/nix-cache-info", server.url())).await.unwrap().text();
    assert!(info.contains("Priority: 30"), "{info}");
    let anonymous = Browser::new(&server).post("cache_create", &[cache[1], cache[2], cache[3], ("name", "mine")]).await;
    assert!(server.cache_show("mine").is_err(), "{:?}", anonymous.status);

    let token = [("name", "ci"), ("cache", "team"), ("scope", "push"), ("expires_days", "30")];
    leads_to(&ada.post("token_create", &token).await, "/tokens");
    let page = ada.get("/tokens").await.text();
    let secret =
        page.split("iglu_").find(|rest| rest.len() > 52 && rest[..52].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let secret = format!("iglu_{}", &secret.expect("the token is shown")[..52]);
    assert_eq!(server.cachix(Some(&secret)).cache("team").await.unwrap().name, "team");
    assert!(!ada.get("/tokens").await.text().contains(&secret), "and only once");
    let list = ada.get("/api/ui/token_list").await.text();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let id = list["tokens"].as_array().unwrap().iter().find(|row| row["name"] == "ci").unwrap()["id"].to_string();
    ada.post("token_revoke", &[("id", &id)]).await;
    let refused = server.cachix(Some(&secret)).cache("team").await.unwrap_err();
    assert_eq!(refused.status(), Some(401));
    assert!(refused.body().contains("was revoked"), "{}", refused.body());

    let sessions: serde_json::Value = serde_json::from_str(&ada.get("/api/ui/session_list").await.text()).unwrap();
    let id = sessions[0]["id"].to_string();
    ada.post("session_revoke", &[("id", &id)]).await;
    let me = ada.get("/api/ui/me_get").await.text();
    assert_eq!(me, "null", "a session that was ended is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_managed_on_their_page() {
    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
    let server = Server::start().await.unwrap();
    let (mut ada, _) = set_up(&server).await;
    server.cache("team", false).unwrap();
    let keys = |text: String| -> Vec<serde_json::Value> { serde_json::from_str(&text).unwrap() };
    let first = keys(ada.get("/api/ui/key_list?cache=team").await.text());
    assert_eq!(first.len(), 1);
    let name = first[0]["name"].as_str().unwrap().to_owned();
    assert!(ada.get("/caches/team/keys").await.text().contains(first[0]["public_key"].as_str().unwrap()));

    ada.post("key_add", &[("cache", "team")]).await;
    ada.post("key_import", &[("cache", "team"), ("secret", &format!("moved-1:{SECRET}"))]).await;
    ada.post("key_register", &[("cache", "team"), ("public_key", "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")])
        .await;
    let listed = keys(ada.get("/api/ui/key_list?cache=team").await.text());
    let names: Vec<&str> = listed.iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, [&name, &name.replace("-1", "-2"), "moved-1", &name.replace("-1", "-3")]);
    let page = ada.get("/caches/team/keys").await.text();
    assert!(page.contains("moved-1:A6EH") && !page.contains(SECRET));

    let refused = ada.post("key_import", &[("cache", "team"), ("secret", "nonsense")]).await;
    assert!(refused.header("location").is_some_and(|back| back.contains("__err")), "{:?}", refused.headers);
    let mut stranger = Browser::new(&server);
    stranger.post("key_add", &[("cache", "team")]).await;
    stranger.post("key_retire", &[("cache", "team"), ("name", &name)]).await;
    assert_eq!(keys(ada.get("/api/ui/key_list?cache=team").await.text()).len(), 4);

    // Once another has signed everything, the first may go.
    for _ in 0..200 {
        let listed = ada.get("/api/ui/key_list?cache=team").await.text();
        if !listed.contains("signing\":{") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ada.post("key_retire", &[("cache", "team"), ("name", &name)]).await;
    let listed = keys(ada.get("/api/ui/key_list?cache=team").await.text());
    assert!(listed[0]["state"]["retired"].is_object(), "{listed:?}");
    assert!(!server.cache_show("team").unwrap().public_keys.iter().any(|key| key.starts_with(&name)));
}

/// A server that ada set up, with paths in its cache `team`: `lib`, and `app` which refers to it.
async fn team(server: &Server) -> (Browser<'_>, Object, Object) {
    let (ada, _) = set_up(server).await;
    server.cache("team", true).unwrap();
    let client = server.cachix(Some(&server.token("team", Scope::Push).unwrap()));
    let lib = Object::synthetic("lib", 50_000, 1);
    let app = Object::synthetic("app", 30_000, 2).referring_to(&lib.path);
    client.push("team", &[lib.clone(), app.clone()], &PushOptions::default()).await.unwrap();
    (ada, lib, app)
}

fn refused_at(reply: &Reply, field: &str) {
    let back = reply.header("location").unwrap_or_default();
    let error = back.split("__err=").nth(1).unwrap_or_else(|| panic!("it was not refused: {:?}", reply.headers));
    // URL-safe base64 of the error's JSON.
    let error = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE, error.replace("%3D", "=")).unwrap();
    let error = String::from_utf8(error).unwrap();
    assert!(error.contains(&format!("\"field\":\"{field}\"")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_managed_on_their_page() {
    let server = Server::start().await.unwrap();
    let (mut ada, lib, app) = team(&server).await;
    let pin = [("cache", "team"), ("name", "release"), ("keep", "revisions"), ("count", "2")];
    for path in [&lib.path, &app.path] {
        ada.post("pin_create", &[&pin[..], &[("store_path", path)]].concat()).await;
    }
    let listed: serde_json::Value = serde_json::from_str(&ada.get("/api/ui/pin_list?cache=team").await.text()).unwrap();
    assert_eq!(listed[0]["name"], "release");
    assert_eq!(listed[0]["revisions"][0]["store_path"], app.path);
    assert_eq!(listed[0]["revisions"].as_array().unwrap().len(), 2);
    let page = ada.get("/caches/team/pins").await.text();
    assert!(page.contains("release") && page.contains(app.hash()), "{page}");

    let elsewhere = "/nix/store/00000000000000000000000000000000-elsewhere";
    let refused = ada.post("pin_create", &[&pin[..], &[("store_path", elsewhere)]].concat()).await;
    refused_at(&refused, "store_path");
    let wrong = [("cache", "team"), ("name", "r"), ("keep", "days"), ("count", "some"), ("store_path", &*lib.path)];
    refused_at(&ada.post("pin_create", &wrong).await, "count");
    // What a pin needs is not removed.
    let remove = [("cache", "team"), ("hash", lib.hash()), ("with_referrers", "true")];
    refused_at(&ada.post("path_remove", &remove).await, "paths");

    let mut stranger = Browser::new(&server);
    stranger.post("pin_remove", &[("cache", "team"), ("name", "release")]).await;
    assert!(ada.get("/api/ui/pin_list?cache=team").await.text().contains("release"));
    assert_ne!(stranger.get("/api/ui/pin_list?cache=team").await.status, 200);
    ada.post("pin_remove", &[("cache", "team"), ("name", "release")]).await;
    assert_eq!(ada.get("/api/ui/pin_list?cache=team").await.text(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_previewed_saved_and_run_on_their_page() {
    let server = Server::start().await.unwrap();
    let (mut ada, lib, app) = team(&server).await;
    let parsed =
        |text: String| -> serde_json::Value { serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")) };
    let rules = |bytes: &'static str| {
        [("cache", "team"), ("pushed_days", "90"), ("used_days", ""), ("bytes", bytes), ("revisions", "")]
    };
    // Asking about rules changes nothing.
    let preview = "/caches/team/retention?pushed_days=7&used_days=&bytes=1+KiB&revisions=";
    let page = ada.get(preview).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("paths stay"), "{}", page.text());
    let shown = parsed(ada.get("/api/ui/retention_get?cache=team").await.text());
    assert_eq!(
        (&shown["rules"]["pushed_days"], &shown["preview"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    let odd = ada.get("/caches/team/retention?pushed_days=x").await.text();
    assert!(odd.contains("whole number"), "{odd}");

    refused_at(&ada.post("retention_set", &rules("much")).await, "bytes");
    let seen = shown["rules"].to_string();
    ada.post("retention_set", &[&rules("10 GiB")[..], &[("seen", &*seen)]].concat()).await;
    let shown = parsed(ada.get("/api/ui/retention_get?cache=team").await.text());
    assert_eq!((&shown["rules"]["pushed_days"], &shown["rules"]["bytes"]), (&90.into(), &(10_u64 << 30).into()));
    // Whoever saw the old rules is told.
    refused_at(&ada.post("retention_set", &[&rules("1 KiB")[..], &[("seen", &*seen)]].concat()).await, "");
    assert_eq!(parsed(ada.get("/api/ui/retention_get?cache=team").await.text())["rules"]["bytes"], 10_u64 << 30);
    ada.post("retention_run", &[("cache", "team")]).await;
    for _ in 0..100 {
        if parsed(ada.get("/api/ui/retention_get?cache=team").await.text())["removals"][0]["state"] == "done" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown = parsed(ada.get("/api/ui/retention_get?cache=team").await.text());
    assert_eq!((&shown["removals"][0]["state"], &shown["removals"][0]["paths"]), (&"done".into(), &0.into()));

    // By hand: what refers to it is named, goes along, and comes back.
    let mut remove = vec![("cache", "team"), ("hash", lib.hash())];
    refused_at(&ada.post("path_remove", &remove).await, "paths");
    remove.push(("with_referrers", "true"));
    leads_to(&ada.post("path_remove", &remove).await, "/caches/team/retention?removed=1");
    assert!(ada.get("/caches/team/retention?removed=1").await.text().contains("For a day it can be put back"));
    assert_eq!(ada.get(&format!("/caches/team/paths/{}", app.hash())).await.status, 404);
    let shown = parsed(ada.get("/api/ui/retention_get?cache=team").await.text());
    assert_eq!(shown["removals"][0]["paths"], 2);
    let id = shown["removals"][0]["id"].to_string();
    Browser::new(&server).post("removal_undo", &[("cache", "team"), ("id", &id)]).await;
    assert_eq!(ada.get(&format!("/caches/team/paths/{}", app.hash())).await.status, 404);
    ada.post("removal_undo", &[("cache", "team"), ("id", &id)]).await;
    assert_eq!(ada.get(&format!("/caches/team/paths/{}", app.hash())).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_and_caches_end_on_their_page() {
    let server = Server::start().await.unwrap();
    let (mut ada, ..) = team(&server).await;
    let page = ada.get("/caches/team/settings").await;
    assert_eq!(page.status, 200);
    let html = page.text();
    let seen = html.split("name=\"seen\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let seen = seen.replace("&quot;", "\"");
    let change = |priority: &'static str| {
        [
            ("name", "team"),
            ("visibility", "public"),
            ("priority", priority),
            ("is_lenient", "true"),
            ("upstreams", "https://cache.nixos.org\n https://cache.example.org/"),
            ("client_filter_keys", "cache.nixos.org-1"),
        ]
    };
    refused_at(&ada.post("cache_change", &change("high")).await, "priority");
    ada.post("cache_change", &[&change("30")[..], &[("seen", &*seen)]].concat()).await;
    let detail: serde_json::Value = serde_json::from_str(&ada.get("/api/ui/cache_get?name=team").await.text()).unwrap();
    assert_eq!((&detail["summary"]["priority"], &detail["summary"]["visibility"]), (&30.into(), &"public".into()));
    assert_eq!(detail["upstreams"][1], "https://cache.example.org");
    assert_eq!(detail["is_lenient"], true);
    refused_at(&ada.post("cache_change", &[&change("31")[..], &[("seen", &*seen)]].concat()).await, "");
    Browser::new(&server).post("cache_change", &change("32")).await;

    refused_at(
        &ada.post("limits_set", &[("cache", "team"), ("cache_bytes", "x"), ("upload_bytes", "")]).await,
        "cache_bytes",
    );
    ada.post("limits_set", &[("cache", "team"), ("cache_bytes", "1 GiB"), ("upload_bytes", "")]).await;
    assert_eq!(
        ada.get("/api/ui/limits_get?cache=team").await.text(),
        r#"{"cache_bytes":1073741824,"upload_bytes":null}"#
    );

    refused_at(&ada.post("cache_remove", &[("name", "team"), ("confirm", "tem")]).await, "confirm");
    Browser::new(&server).post("cache_remove", &[("name", "team"), ("confirm", "team")]).await;
    assert_eq!(ada.get("/caches/team").await.status, 200);
    leads_to(&ada.post("cache_remove", &[("name", "team"), ("confirm", "team")]).await, "/caches");
    assert_eq!(ada.get("/caches/team").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_what_happened() {
    let server = Server::start().await.unwrap();
    let (mut ada, lib, _) = team(&server).await;
    let token = Credentials::Bearer(server.token("team", Scope::Pull).unwrap());
    let get = async |path: &str| {
        let url = format!("{}/team/{path}", server.url());
        server.http().call(Method::GET, &url, &token, &[], Bytes::new()).await.unwrap()
    };
    let narinfo = get(&format!("{}.narinfo", lib.hash())).await.text();
    for _ in 0..3 {
        assert_eq!(get("00000000000000000000000000000000.narinfo").await.status, 404);
    }
    let url = narinfo.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap();
    let file = get(url).await.body.len();
    for (span, points) in [("day", 24), ("week", 28), ("month", 30), ("year", 52)] {
        for cache in ["team", ""] {
            let text = ada.get(&format!("/api/ui/statistics_get?cache={cache}&span={span}")).await.text();
            let statistics: serde_json::Value = serde_json::from_str(&text).unwrap();
            let total = &statistics["total"];
            assert_eq!(statistics["points"].as_array().unwrap().len(), points);
            assert_eq!((&total["narinfo_misses"], &total["nar_bytes"]), (&3.into(), &file.into()), "{cache} {span}");
            assert_eq!(total["pushed_paths"], 2, "{cache} {span}");
            let last = &statistics["points"][points - 1];
            assert_eq!(last["traffic"], *total, "all of it was just now");
            assert_eq!(last["size"][0], 2, "{cache} {span}");
        }
    }
    let page = ada.get("/caches/team/statistics?span=day").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Show data"));
    assert!(ada.get("/").await.text().contains("Lookups"));
    let mut stranger = Browser::new(&server);
    for path in ["/api/ui/statistics_get?cache=team", "/api/ui/statistics_get"] {
        assert_ne!(stranger.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_path_is_not_substituted() {
    let server = Server::start().await.unwrap();
    let (mut ada, lib, app) = team(&server).await;
    async fn why(ada: &mut Browser<'_>, path: &str) -> Vec<(String, String)> {
        let text = ada.get(&format!("/api/ui/path_why?cache=team&path={}", path.replace('/', "%2F"))).await.text();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        answer["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| (text(&check["verdict"]), text(&check["finding"])))
            .collect()
    }
    let bad = |checks: &[(String, String)]| -> Vec<String> {
        checks.iter().filter(|(verdict, _)| verdict == "bad").map(|(_, finding)| finding.clone()).collect()
    };
    let served = why(&mut ada, &lib.path).await;
    assert_eq!(bad(&served), [""; 0], "{served:?}");
    for part in ["private", "signed it", "NAR file is there", "remembers", "priority 41"] {
        assert!(served.iter().any(|(_, finding)| finding.contains(part)), "{part}: {served:?}");
    }
    let renamed = why(&mut ada, &format!("/nix/store/{}-other", lib.hash())).await;
    assert!(bad(&renamed)[0].contains("another name"), "{renamed:?}");
    let absent = why(&mut ada, "/nix/store/00000000000000000000000000000000-absent").await;
    assert!(bad(&absent)[0].contains("is not in cache"), "{absent:?}");
    // What waits names what it waits for.
    let client = server.cachix(Some(&server.token("team", Scope::Push).unwrap()));
    let held = Object::synthetic("held", 1_000, 9).referring_to("/nix/store/11111111111111111111111111111111-gone");
    client.push("team", std::slice::from_ref(&held), &PushOptions::default()).await.unwrap();
    let held = why(&mut ada, &held.path).await;
    assert!(bad(&held)[0].contains("11111111111111111111111111111111-gone"), "{held:?}");
    // So does what went and what broke.
    let detail = ada.get(&format!("/api/ui/path_get?cache=team&hash={}", app.hash())).await.text();
    let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
    let file = detail["file_hash"].as_str().unwrap().trim_start_matches("sha256:");
    std::fs::remove_file(server.data().join("storage/nar").join(&file[..2]).join(file)).unwrap();
    let broken = why(&mut ada, &app.path).await;
    assert!(bad(&broken)[0].contains("NAR file is not there"), "{broken:?}");
    ada.post("path_remove", &[("cache", "team"), ("hash", lib.hash()), ("with_referrers", "true")]).await;
    let mut why =
        async |path: &str| ada.get(&format!("/caches/team/why?path={}", path.replace('/', "%2F"))).await.text();
    assert!(why(&lib.path).await.contains("Somebody removed it"));
    assert!(why("hello").await.contains("Paste a store path"));
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_the_server_and_who_changed_what() {
    let server = Server::start().await.unwrap();
    let (mut ada, ..) = team(&server).await;
    let instance: serde_json::Value = serde_json::from_str(&ada.get("/api/ui/instance_get").await.text()).unwrap();
    assert_eq!((&instance["database"], &instance["storage"]["trouble"]), (&"SQLite".into(), &serde_json::Value::Null));
    assert!(instance["work"].as_array().unwrap().iter().any(|work| work["name"] == "scrub"), "{instance}");
    let page = ada.get("/admin").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Background work"));

    let rows = |text: String| -> Vec<serde_json::Value> {
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        page["rows"].as_array().unwrap().clone()
    };
    for number in 0..60 {
        ada.post("limits_set", &[("cache", "team"), ("cache_bytes", &format!("{number} MiB")), ("upload_bytes", "")])
            .await;
    }
    let first = rows(ada.get("/api/ui/audit_list").await.text());
    assert_eq!((first.len(), &first[0]["action"], &first[0]["actor"]), (50, &"limits.set".into(), &"ada".into()));
    let older = rows(ada.get(&format!("/api/ui/audit_list?before={}", first[49]["id"])).await.text());
    assert!(older.iter().any(|row| row["action"] == "cache.create"), "{older:?}");
    let found = rows(ada.get("/api/ui/audit_list?search=CACHE.create").await.text());
    assert!(!found.is_empty() && found.iter().all(|row| row["action"] == "cache.create"), "{found:?}");
    assert_eq!(rows(ada.get("/api/ui/audit_list?search=100%25").await.text()).len(), 0, "a wild card is a letter");
    let page = ada.get("/admin/audit?q=limits").await.text();
    assert!(page.contains("limits.set") && page.contains("Older") && !page.contains("cache.create"));

    // All of it as a file, whatever is in it.
    let file = ada.get("/admin/audit.csv").await;
    assert_eq!((file.status.as_u16(), file.media_type()), (200, Some("text/csv")));
    let text = file.text();
    assert!(text.starts_with("time,who,did,to,from\r\n\"20"), "{text}");
    assert_eq!(text.matches("\"limits.set\"").count(), 60);
    assert!(text.contains(",\"ada\",\"limits.set\",\"team\",\"127.0.0.1\"\r\n"), "{text}");
    let settings = instance["configuration"].as_array().unwrap();
    assert!(settings.iter().any(|setting| setting["name"] == "listen" && setting["value"].is_string()), "{settings:?}");

    let mut stranger = Browser::new(&server);
    for path in ["/api/ui/instance_get", "/api/ui/audit_list", "/admin/audit.csv"] {
        assert_ne!(stranger.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_tried_out_as_its_users_would() {
    let server = Server::start().await.unwrap();
    let steps = async |ada: &mut Browser<'_>, name: &str| -> Vec<(bool, String)> {
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Accept", "application/json"),
        ];
        let reply = ada.send(Method::POST, "/api/ui/cache_try", &headers, &format!("name={name}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let steps: Vec<serde_json::Value> = serde_json::from_str(&reply.text()).unwrap();
        let read = |step: &serde_json::Value| (step["is_good"] == true, step["words"].as_str().unwrap().to_owned());
        steps.iter().map(read).collect()
    };
    server.admin(&["user", "create", "ada", "--password-stdin", "--admin"], "a long password").unwrap();
    server.cache("open", false).unwrap();
    server.cache("closed", true).unwrap();
    let mut ada = Browser::new(&server);
    ada.post("session_create", &[("name", "ada"), ("password", "a long password")]).await;
    let empty = steps(&mut ada, "open").await;
    assert!(empty.iter().all(|(good, _)| *good) && empty[1].1.contains("nothing has been pushed"), "{empty:?}");
    let client = server.cachix(Some(&server.token("open", Scope::Push).unwrap()));
    client.push("open", &[Object::synthetic("tried", 1000, 3)], &PushOptions::default()).await.unwrap();
    let tried = steps(&mut ada, "open").await;
    assert!(tried[1].0 && tried[1].1.contains("-tried is signed by open."), "{tried:?}");
    let closed = steps(&mut ada, "closed").await;
    assert!(closed.len() == 1 && closed[0].0 && closed[0].1.contains("asks for a token"), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_has_a_page_with_its_files() {
    let server = Server::start().await.unwrap();
    let (mut ada, lib, app) = team(&server).await;
    let page = ada.get(&format!("/caches/team/paths/{}", lib.hash())).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains(app.hash()), "what refers to it is named");
    for (path, status) in
        [("/caches/team/paths/nonsense", 404), ("/caches/team/paths/00000000000000000000000000000000", 404)]
    {
        assert_eq!(ada.get(path).await.status, status, "{path}");
    }
    let detail: serde_json::Value =
        serde_json::from_str(&ada.get(&format!("/api/ui/path_get?cache=team&hash={}", app.hash())).await.text())
            .unwrap();
    assert_eq!(detail["closure"]["paths"], 2);
    assert_eq!(detail["references"][0]["name"], "lib");

    let found: serde_json::Value = serde_json::from_str(&ada.get("/api/ui/path_find?search=li").await.text()).unwrap();
    assert_eq!((&found[0]["path"]["name"], &found[0]["cache"]), (&"lib".into(), &"team".into()), "{found}");
    assert_ne!(Browser::new(&server).get("/api/ui/path_find?search=li").await.status, 200);

    // Files come to people by their session, as text or to be saved.
    let file = format!("/caches/team/files/{}", lib.hash());
    let shown = ada.get(&file).await;
    assert_eq!((shown.status.as_u16(), shown.media_type()), (200, Some("text/plain")));
    assert!(shown.header("content-security-policy").unwrap().contains("sandbox"));
    assert_eq!(shown.header("x-content-type-options"), Some("nosniff"));
    let saved = ada.get(&format!("{file}?download")).await;
    assert_eq!((saved.header("content-disposition"), saved.body == shown.body), (Some("attachment"), true));
    let folder: serde_json::Value =
        serde_json::from_str(&ada.get(&format!("/api/ui/path_folder?cache=team&hash={}", lib.hash())).await.text())
            .unwrap();
    assert_eq!(folder["entries"][0]["kind"]["file"]["size"], shown.body.len());
    let mut stranger = Browser::new(&server);
    for path in [&*file, &format!("{file}/bin/x"), &format!("/caches/team/paths/{}", lib.hash())] {
        assert!(stranger.get(path).await.status.as_u16() >= 300, "{path}");
    }
    assert_eq!(ada.get(&format!("{file}/../../../etc/passwd")).await.status, 404);
    assert_eq!(ada.get(&format!("{file}/no/such/file")).await.status, 404);

    // So do build logs.
    let drv = "b6gvzjyb2pg0kjfwrjmg1vfhh54ad73z-lib.drv";
    assert_eq!(ada.get(&format!("/caches/team/log/{drv}")).await.status, 404);
    let token = server.token("team", Scope::Push).unwrap();
    let put = Credentials::Bearer(token.clone());
    let url = format!("{}/team/log/{drv}", server.url());
    let text = "<script>alert(1)</script>";
    let reply = server.http().call(Method::PUT, &url, &put, &[], Bytes::from_static(text.as_bytes())).await.unwrap();
    assert_eq!(reply.status, 200);
    let log = ada.get(&format!("/caches/team/log/{drv}")).await;
    assert_eq!((log.text().as_str(), log.media_type()), (text, Some("text/plain")));
    assert_eq!(stranger.get(&format!("/caches/team/log/{drv}")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_the_right_status_and_headers() {
    let server = Server::start().await.unwrap();
    let (mut ada, _) = set_up(&server).await;
    server.cache("open", false).unwrap();
    let mut stranger = Browser::new(&server);
    for (path, status) in [
        ("/login", 200),
        ("/caches/open", 200),
        ("/caches/open/paths", 200),
        ("/caches/open/keys", 200),
        ("/no/such/page", 404),
        ("/favicon.svg", 200),
        ("/robots.txt", 200),
        ("/assets/0/pkg/nothing.js", 404),
        ("/api/ui/no_such_function", 404),
    ] {
        assert_eq!(stranger.get(path).await.status, status, "{path}");
    }
    assert_eq!(ada.get("/caches/absent").await.status, 404);
    let short = stranger.get("/open").await;
    assert_eq!((short.status.as_u16(), short.header("location")), (303, Some("/caches/open")));
    let page = ada.get("/").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'nonce-") && !policy.contains("unsafe-inline"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let html = page.text();
    let style = html.split("href=\"").find(|rest| rest.starts_with("/assets/") && rest.contains(".css")).unwrap();
    let style = stranger.get(style.split('"').next().unwrap()).await;
    assert_eq!((style.status.as_u16(), style.media_type()), (200, Some("text/css")));
    assert!(style.header("cache-control").unwrap().contains("immutable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_pages_hear_of_pushes() {
    let server = Server::start().await.unwrap();
    let (mut ada, _) = set_up(&server).await;
    server.cache("open", false).unwrap();
    server.cache("secret", true).unwrap();
    let stream = async |cookie: &str| {
        let url = format!("{}/events", server.url());
        let headers = if cookie.is_empty() { Vec::new() } else { vec![("Cookie", cookie)] };
        let listen =
            iglu_end2end::http::request(Method::GET, &url, &Credentials::None, &headers, Bytes::new()).unwrap();
        let stream = server.http().stream(listen).await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        stream
    };
    let cookie = ada.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let mut anonymous = stream("").await;
    let mut of_ada = stream(&cookie).await;
    for cache in ["secret", "open"] {
        let client = server.cachix(Some(&server.token(cache, Scope::Push).unwrap()));
        client.push(cache, &[Object::synthetic(cache, 1000, 3)], &PushOptions::default()).await.unwrap();
    }
    /// What comes until something does.
    async fn heard(stream: &mut http::Response<hyper::body::Incoming>, until: &str) -> String {
        let mut text = String::new();
        let read = async {
            while !text.contains(until) {
                let frame = http_body_util::BodyExt::frame(stream.body_mut()).await.unwrap().unwrap();
                text += &String::from_utf8_lossy(frame.data_ref().unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(15), read).await.unwrap_or_else(|_| panic!("{until} in time"));
        text
    }
    let public = heard(&mut anonymous, "\"name\":\"open\"").await;
    assert!(public.starts_with("data: {\"kind\":\"hello\",\"assets\":\"/assets/"), "{public}");
    assert!(public.contains("\"kind\":\"path_pushed\"") && !public.contains("secret"), "{public}");
    let all = heard(&mut of_ada, "\"name\":\"open\"").await;
    assert!(all.contains("\"name\":\"secret\""), "{all}");
    heard(&mut of_ada, "counters_changed").await;
    // Work goes on all the time.
    heard(&mut of_ada, "work_changed").await;
    assert_eq!(ada.get("/").await.status, 200);
    // Who logs out hears nothing more, on whatever was open.
    ada.post("session_end", &[]).await;
    let end = async { while let Some(Ok(_)) = http_body_util::BodyExt::frame(of_ada.body_mut()).await {} };
    tokio::time::timeout(Duration::from_secs(15), end).await.expect("the stream ends with the session");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_asked_for_at_once_all_come() {
    let server = Server::start().await.unwrap();
    server.cache("open", false).unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..8 {
        let (http, url) = (server.http().clone(), server.url());
        readers.spawn(async move {
            for turn in 0..60 {
                let path =
                    ["/caches/open/paths", "/caches/open", "/login", "/caches/open/paths?q=x"][(reader + turn) % 4];
                let page = http.get(&format!("{url}{path}")).await.unwrap();
                assert_eq!(page.status, 200, "{path}: {}", page.text());
            }
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
