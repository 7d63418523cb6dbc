//! Uploads as cachix before 1.3 makes them: a file without a name, then words about it. What is wrong with either.

use crate::probe::{FLAT, Memory, files_below, refused};
use crate::{Door, door, small};
use http::{Method, Request};
use iglu_end2end::body::{Broken, streamed};
use iglu_end2end::cachix::wire::NarInfoCreate;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Http, Reply};
use iglu_end2end::nar;
use iglu_end2end::put::compress;
use iglu_end2end::server::Scope;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

const NAR: &str = "/api/v1/cache/main/nar";

async fn post_nar(door: &Door, compression: &str, file: impl Into<bytes::Bytes>) -> Reply {
    door.send(Method::POST, &format!("{NAR}?compression={compression}"), &[], file).await
}

async fn post_narinfo(door: &Door, hash: &str, claims: &Value) -> Reply {
    let path = format!("/api/v1/cache/main/{hash}.narinfo");
    door.send(Method::POST, &path, &[("content-type", "application/json;charset=utf-8")], claims.to_string()).await
}

fn claims(path: &str, nar: &[u8], file: &[u8]) -> Value {
    serde_json::to_value(NarInfoCreate::of(path, nar, file)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_words_that_are_wrong() {
    let door = door().await;
    let nar = small(1);
    let file = compress("xz", &nar).await.unwrap();
    assert_eq!(post_nar(&door, "xz", file.clone()).await.status, 200);
    type Spoil = fn(&mut Value);
    let spoils: Vec<(&str, Spoil)> = vec![
        ("wrong NAR hash", |v| v["cNarHash"] = format!("sha256:{}", "0".repeat(52)).into()),
        ("wrong NAR size", |v| v["cNarSize"] = (v["cNarSize"].as_u64().unwrap() + 8).into()),
        ("NAR size too small", |v| v["cNarSize"] = 96.into()),
        ("NAR size of 2^64-1", |v| v["cNarSize"] = u64::MAX.into()),
        ("NAR size 0", |v| v["cNarSize"] = 0.into()),
        ("wrong file size", |v| v["cFileSize"] = (v["cFileSize"].as_u64().unwrap() + 1).into()),
        ("another file", |v| v["cFileHash"] = "0".repeat(64).into()),
        ("no file hash", |v| drop(v.as_object_mut().unwrap().remove("cFileHash"))),
        ("file hash null", |v| v["cFileHash"] = Value::Null),
        ("hash part of no form", |v| v["cStoreHash"] = "x".into()),
        ("name with a slash", |v| v["cStoreSuffix"] = "../x".into()),
        ("name with control characters", |v| v["cStoreSuffix"] = "\u{1b}[31m\n".into()),
        ("name beyond ASCII", |v| v["cStoreSuffix"] = "\u{e9}".into()),
        ("an endless name", |v| v["cStoreSuffix"] = "n".repeat(1_000_000).into()),
        ("a reference of no form", |v| v["cReferences"] = json!(["x"])),
        ("an endless reference", |v| v["cReferences"] = json!(["\u{e9}\n".repeat(100_000)])),
        ("a reference that does not occur", |v| v["cReferences"] = json!([format!("{}-absent", "1".repeat(32))])),
        ("a deriver of no form", |v| v["cDeriver"] = "x".into()),
        ("a signature of no form", |v| v["cSig"] = "x".into()),
        ("a signature with a key's name", |v| v["cSig"] = format!("main-1:{}==", "A".repeat(86)).into()),
    ];
    for (seed, (what, spoil)) in spoils.into_iter().enumerate() {
        let path = digest::made_up_path("legacy", seed as u64);
        let mut words = claims(&path, &nar, &file);
        spoil(&mut words);
        refused(&post_narinfo(&door, digest::hash_part(&path), &words).await, 400, what);
        door.has_not(digest::hash_part(&path), what).await;
    }
    let path = digest::made_up_path("legacy", 100);
    let good = claims(&path, &nar, &file);
    refused(&post_narinfo(&door, &"0".repeat(32), &good).await, 400, "the address of another");
    for (odd, status) in [("x", 400), ("..%2fx", 400), ("%00", 400), ("%C3%A9", 400)] {
        refused(&post_narinfo(&door, odd, &good).await, status, odd);
    }
    for body in ["", "[]", "null", "{", "\u{feff}{}"] {
        let path = format!("/api/v1/cache/main/{}.narinfo", "0".repeat(32));
        refused(&door.send(Method::POST, &path, &[], body).await, 400, body);
    }
    let memory = Memory::watch(&door.server);
    let empties = format!(r#"{{"cReferences":[{}""]}}"#, r#""","#.repeat(5_400_000));
    let path_of = format!("/api/v1/cache/main/{}.narinfo", "0".repeat(32));
    refused(&door.send(Method::POST, &path_of, &[], empties).await, 400, "millions of empty references");
    assert!(memory.grown(&door.server) < FLAT, "memory grew by {} bytes", memory.grown(&door.server));
    refused(&door.send(Method::POST, &path_of, &[], vec![b' '; 20 << 20]).await, 413, "20 MiB of words");
    // The truth is taken, twice too.
    for _ in 0..2 {
        assert_eq!(post_narinfo(&door, digest::hash_part(&path), &good).await.status, 200);
    }
    door.has(digest::hash_part(&path)).await;
    door.is_calm("legacy words").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_files_that_are_wrong() {
    let door = door().await;
    let nar = small(1);
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("nothing", "xz", Vec::new()),
        ("no xz", "xz", b"hello".to_vec()),
        ("zstd called xz", "xz", compress("zstd", &nar).await.unwrap()),
        ("xz called zst", "zst", compress("xz", &nar).await.unwrap()),
        ("no compression at all", "zst", nar.clone()),
        ("no NAR", "zst", compress("zstd", b"hello").await.unwrap()),
        ("cut off", "zst", compress("zstd", &nar).await.unwrap().split_last_chunk::<5>().unwrap().0.to_vec()),
    ];
    for (seed, (what, compression, file)) in cases.into_iter().enumerate() {
        let path = digest::made_up_path("file", seed as u64);
        let put = post_nar(&door, compression, file.clone()).await;
        assert!(put.status == 200 || put.status == 400, "{what}: {}", put.status);
        refused(&post_narinfo(&door, digest::hash_part(&path), &claims(&path, &nar, &file)).await, 400, what);
        door.has_not(digest::hash_part(&path), what).await;
    }
    for (seed, (what, nar)) in nar::malformed().into_iter().enumerate() {
        let path = digest::made_up_path("malformed", seed as u64);
        let file = compress("zstd", &nar).await.unwrap();
        post_nar(&door, "zst", file.clone()).await;
        let mut words = claims(&path, &nar, &file);
        words["cNarSize"] = nar.len().max(96).into();
        refused(&post_narinfo(&door, digest::hash_part(&path), &words).await, 400, what);
        door.has_not(digest::hash_part(&path), what).await;
    }
    for word in ["zstd", "gz", "", "XZ", "xz%00", "%C3%A9", &"x".repeat(20_000)] {
        refused(&post_nar(&door, word, "x").await, 400, word);
    }
    refused(&door.send(Method::POST, &format!("{NAR}?compression=xz&compression=zst"), &[], "x").await, 400, "twice");
    door.is_calm("legacy files").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_uploads_that_break_or_may_not_be() {
    let door = door().await;
    door.server.cache("other", true).unwrap();
    let (nar, url) = (small(1), format!("{}{NAR}?compression=zst", door.server.url()));
    let file = compress("zstd", &nar).await.unwrap();
    let stored = || files_below(&door.server.data().join("storage/nar"));
    // The client dies in the middle.
    let (body, _) = streamed(std::io::Cursor::new(file[..file.len() / 2].to_vec()).chain(Broken));
    let request = Request::post(&url).header("Authorization", format!("Bearer {}", door.token)).body(body).unwrap();
    Http::new().send_body(request).await.unwrap_err();
    door.is_calm("broken off").await;
    assert_eq!(stored(), 0, "half a file is stored");

    let reader = door.server.token("main", Scope::Pull).unwrap();
    let foreign = door.server.token("other", Scope::Push).unwrap();
    for (what, credentials, cache, status) in [
        ("nobody", Credentials::None, "main", 401),
        ("an empty token", Credentials::Bearer(String::new()), "main", 401),
        ("a bad token", Credentials::Bearer("iglu_bad".to_owned()), "main", 401),
        ("a reader", Credentials::Bearer(reader), "main", 403),
        ("another's pusher", Credentials::Bearer(foreign), "main", 403),
        ("a pusher to a private cache", Credentials::Bearer(door.token.clone()), "other", 401),
        ("a pusher to no cache", Credentials::Bearer(door.token.clone()), "nowhere", 401),
    ] {
        let path = format!("/api/v1/cache/{cache}/nar?compression=zst");
        refused(&door.send_as(&credentials, Method::POST, &path, &[], file.clone()).await, status, what);
        let path = format!("/api/v1/cache/{cache}/{}.narinfo", "0".repeat(32));
        refused(&door.send_as(&credentials, Method::POST, &path, &[], "{}").await, status, what);
    }
    assert_eq!(stored(), 0);
    // A file that came to another cache is none of this one.
    let all = door.server.token_named("all", None, Scope::Push, None).unwrap();
    let path = "/api/v1/cache/other/nar?compression=zst";
    let sent = door.send_as(&Credentials::Bearer(all), Method::POST, path, &[], file.clone()).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let path = digest::made_up_path("claimed", 1);
    let reply = post_narinfo(&door, digest::hash_part(&path), &claims(&path, &nar, &file)).await;
    refused(&reply, 400, "claimed by its hash");
    door.has_not(digest::hash_part(&path), "claimed by its hash").await;
    door.is_calm("legacy callers").await;
}
