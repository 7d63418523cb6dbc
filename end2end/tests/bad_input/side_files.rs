//! Logs, realisations, debug info and listings that are of the wrong form, under wrong names, or by the wrong ones.

use crate::probe::{Memory, files_below, refused};
use crate::{Door, door, small};
use http::{Method, Request};
use iglu_end2end::body::{Broken, streamed};
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Http};
use iglu_end2end::nar;
use iglu_end2end::put::Draft;
use iglu_end2end::server::Scope;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

const DRV: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-top-a.drv";

async fn refused_put(door: &Door, name: &str, body: impl Into<bytes::Bytes>, status: u16, what: &str) {
    refused(&door.send(Method::PUT, &format!("/main/{name}"), &[], body).await, status, what);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_wrong_form() {
    let door = door().await;
    for name in [
        "log/",
        "log/x.drv",
        "log/..",
        "log/%2e%2e%2fx.drv",
        "log/00bgd045z0d4icpbc2yyz4gx48ak44la-a",
        "log/00bgd045z0d4icpbc2yyz4gx48ak44la-.drv%00",
        "log/00bgd045z0d4icpbc2yyz4gx48ak44la-a%0a.drv",
        "log/00bgd045z0d4icpbc2yyz4gx48ak44la-a/b.drv",
        "log/%ff.drv",
        "log/00bgd045z0d4icpbc2yyz4gx48ak44la-%C3%A9.drv",
        "log/00bgd045z0d4icpbc2yyz4gx48ak44la-q?%ff.drv",
        "log/00bgd045z0d4icpbc2yyz4gx48ak44la-q?%00.drv",
    ] {
        refused_put(&door, name, "x", 400, name).await;
        refused(&door.putter.get(name).await.unwrap(), 404, name);
    }
    let endless = format!("log/00bgd045z0d4icpbc2yyz4gx48ak44la-{}.drv", "n".repeat(300));
    refused_put(&door, &endless, "x", 400, "a name of 300").await;
    // Broken off in the middle: the log before stays.
    let name = format!("log/{DRV}");
    assert_eq!(door.send(Method::PUT, &format!("/main/{name}"), &[], "first").await.status, 200);
    let (body, _) = streamed(std::io::Cursor::new(vec![b'x'; 700_000]).chain(Broken));
    let request = Request::put(door.putter.url(&name)).header("Authorization", format!("Bearer {}", door.token));
    Http::new().send_body(request.body(body).unwrap()).await.unwrap_err();
    door.is_calm("broken log").await;
    assert_eq!(door.putter.get(&name).await.unwrap().text(), "first");
    assert_eq!(files_below(&door.server.data().join("storage/log")), 1);
    // Control characters are what logs have; they go out as they came in, as text and nothing else.
    let colours = "\u{1b}[31mred\u{1b}[0m\r\n<script>alert(1)</script>";
    assert_eq!(door.send(Method::PUT, &format!("/main/{name}"), &[], colours).await.status, 200);
    let reply = door.putter.get(&name).await.unwrap();
    assert_eq!((reply.text().as_str(), reply.media_type()), (colours, Some("text/plain")));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test(flavor = "multi_thread")]
async fn realisations_of_wrong_form() {
    let door = door().await;
    let draft = Draft::new("here", 1, small(1), "none", &[]).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    let base = digest::base_name(&draft.path);
    let id = format!("sha256:{}!out", "0a".repeat(32));
    let good = json!({"id": id, "outPath": base, "signatures": [], "dependentRealisations": {}});
    let key = |doc: &Value| doc.to_string();
    let with = |field: &str, value: Value| {
        let mut doc = good.clone();
        doc[field] = value;
        doc.to_string()
    };
    let name = format!("realisations/{id}.doi");
    let many: Vec<String> = (0..2000).map(|n| format!("key-{n}:{}", "A".repeat(20))).collect();
    let dependent: Value =
        (0..520).map(|n| (format!("sha256:{n:064x}!out"), json!(base))).collect::<serde_json::Map<_, _>>().into();
    for (what, body) in [
        ("nothing", String::new()),
        ("no JSON", "x".to_owned()),
        ("an array", "[]".to_owned()),
        ("null", "null".to_owned()),
        ("deep", "[".repeat(60_000)),
        ("no path", json!({"id": id}).to_string()),
        ("path as a number", with("outPath", json!(1))),
        ("path of no form", with("outPath", json!("x"))),
        ("path that is whole", with("outPath", json!(draft.path))),
        ("path that climbs", with("outPath", json!("../x"))),
        ("path with control characters", with("outPath", json!(format!("{base}\n\u{1b}")))),
        ("path that is not here", with("outPath", json!(digest::base_name(&digest::made_up_path("absent", 1))))),
        ("path with the name of another", with("outPath", json!(format!("{}-other", draft.hash())))),
        ("the id of another", with("id", json!(id.replace("0a", "0b")))),
        ("id as a number", with("id", json!(1))),
        ("signatures as text", with("signatures", json!("x"))),
        ("signatures as numbers", with("signatures", json!([1]))),
        ("two thousand signatures", with("signatures", json!(many))),
        ("dependent as text", with("dependentRealisations", json!("x"))),
        ("520 dependent", with("dependentRealisations", dependent)),
        ("dependent of no form", with("dependentRealisations", json!({"x": "y"}))),
        ("cut off", key(&good)[..key(&good).len() - 1].to_owned()),
        ("two", key(&good).repeat(2)),
        ("byte order mark", format!("\u{feff}{}", key(&good))),
    ] {
        refused_put(&door, &name, body, 400, what).await;
        refused(&door.putter.get(&name).await.unwrap(), 404, what);
    }
    refused_put(&door, &name, b"{\"id\":\"\xff\"}".to_vec(), 400, "not UTF-8").await;
    let memory = Memory::watch(&door.server);
    refused_put(&door, &name, vec![b' '; 30 << 20], 413, "30 MiB").await;
    memory.must_be_flat(&door.server, "30 MiB");
    for name in [
        "realisations/",
        "realisations/x.doi",
        "realisations/..%2fx.doi",
        "realisations/%00.doi",
        "realisations/%ff.doi",
        "realisations/sha256:00!out.doi",
        "build-trace-v2/x",
        "build-trace-v2/../x.doi",
        "build-trace-v2/x/out.doi",
        &format!("realisations/sha256:{}.doi", "0a".repeat(32)),
        &format!("realisations/sha256:{}!.doi", "0a".repeat(32)),
        &format!("realisations/sha256:{}!out", "0a".repeat(32)),
        &format!("realisations/sha256:{}!out.doi", "0A".repeat(32)),
        &format!("realisations/md5:{}!out.doi", "0a".repeat(16)),
        &format!("realisations/sha256:{}!a%2fb.doi", "0a".repeat(32)),
        &format!("realisations/sha256:{}!{}.doi", "0a".repeat(32), "n".repeat(300)),
        &format!("build-trace-v2/{DRV}/.doi"),
        &format!("build-trace-v2/{DRV}/..%2fx.doi"),
        &format!("build-trace-v2/{DRV}/a%0ab.doi"),
    ] {
        refused_put(&door, name, key(&good), 400, name).await;
        refused(&door.putter.get(name).await.unwrap(), 404, name);
    }
    door.is_calm("realisations").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_info_and_listings_of_clients_are_worth_nothing() {
    let door = door().await;
    let draft = Draft::new("plain", 1, nar::archive(&nar::regular(b"x")), "none", &[]).await.unwrap();
    let evil = json!({"version": 1, "root": {"type": "regular", "size": 1_u64 << 40, "narOffset": 0}}).to_string();
    let listing = format!("{}.ls", draft.hash());
    assert_eq!(door.send(Method::PUT, &format!("/main/{listing}"), &[], evil.clone()).await.status, 200);
    refused(&door.putter.get(&listing).await.unwrap(), 404, "a listing without its path");
    door.putter.push(&draft).await.unwrap();
    assert_eq!(door.send(Method::PUT, &format!("/main/{listing}"), &[], evil).await.status, 200);
    let own: Value = serde_json::from_slice(&door.putter.get(&listing).await.unwrap().body).unwrap();
    assert_eq!(own["root"]["size"], 1, "{own}");
    let id = "0b".repeat(20);
    let name = format!("debuginfo/{id}.debug");
    for body in ["", "x", r#"{"archive":"http://evil.example/","member":"../../x"}"#] {
        assert_eq!(door.send(Method::PUT, &format!("/main/{name}"), &[], body).await.status, 200);
        refused(&door.putter.get(&name).await.unwrap(), 404, "made up");
    }
    let memory = Memory::watch(&door.server);
    refused_put(&door, &name, vec![b' '; 20 << 20], 413, "20 MiB of debug info").await;
    for name in [
        "debuginfo/",
        "debuginfo/x",
        "debuginfo/..%2fx",
        "debuginfo/%00",
        "debuginfo/%ff",
        &format!("debuginfo/{id}0"),
        &format!("debuginfo/{}.debug", "0g".repeat(20)),
        "x.ls",
        "%ff.ls",
        "%00.ls",
    ] {
        refused_put(&door, name, "{}", 400, name).await;
        refused(&door.putter.get(name).await.unwrap(), 404, name);
    }
    memory.must_be_flat(&door.server, "debug info");
    door.is_calm("debug info").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn side_files_by_the_wrong_ones() {
    let door = door().await;
    door.server.cache("other", true).unwrap();
    let reader = door.server.token("main", Scope::Pull).unwrap();
    let foreign = door.server.token("other", Scope::Push).unwrap();
    let names = [
        format!("log/{DRV}"),
        format!("realisations/sha256:{}!out.doi", "0a".repeat(32)),
        format!("build-trace-v2/{DRV}/out.doi"),
        format!("debuginfo/{}.debug", "0b".repeat(20)),
        format!("{}.ls", "0".repeat(32)),
        format!("nar/{}.nar", "0".repeat(52)),
        format!("{}.narinfo", "0".repeat(32)),
    ];
    for name in &names {
        for (what, credentials, status) in [
            ("nobody", Credentials::None, 401),
            ("a bad token", Credentials::Bearer("iglu_bad".to_owned()), 401),
            ("a reader", Credentials::Bearer(reader.clone()), 403),
            ("another's pusher", Credentials::Bearer(foreign.clone()), 403),
        ] {
            let reply = door.send_as(&credentials, Method::PUT, &format!("/main/{name}"), &[], "x").await;
            refused(&reply, status, &format!("{name} by {what}"));
        }
        let reply = door.send(Method::PUT, &format!("/other/{name}"), &[], "x").await;
        refused(&reply, 403, &format!("{name} of another private cache"));
        refused(&door.send(Method::PUT, &format!("/nowhere/{name}"), &[], "x").await, 404, name);
        for method in [Method::POST, Method::DELETE, Method::PATCH] {
            refused(
                &door.send(method.clone(), &format!("/main/{name}"), &[], "x").await,
                405,
                &format!("{method} {name}"),
            );
        }
    }
    assert_eq!(
        files_below(&door.server.data().join("storage/log")) + files_below(&door.server.data().join("storage/nar")),
        0
    );
    door.is_calm("side files by the wrong ones").await;
}
