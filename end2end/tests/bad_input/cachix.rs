//! Multipart uploads whose words, parts or URLs are wrong.

use crate::{door, small};
use iglu_end2end::cachix::wire::{Complete, CompletedPart, Compression, NarInfoCreate};
use iglu_end2end::cachix::{Faults, PushOptions};
use iglu_end2end::digest::{self};
use iglu_end2end::http::{Credentials, Raw};
use iglu_end2end::object::Object;
use iglu_end2end::put::compress;
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::Scope;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn cachix_claims_that_are_not_true() {
    let door = door().await;
    let claims = [
        (Faults { wrong_file_hash: true, ..Faults::default() }, ["file", "hash"]),
        (Faults { wrong_file_size: true, ..Faults::default() }, ["file", "size"]),
        (Faults { wrong_nar_hash: true, ..Faults::default() }, ["nar", "hash"]),
        (Faults { wrong_nar_size: true, ..Faults::default() }, ["nar", "size"]),
    ];
    for (seed, (faults, words)) in claims.into_iter().enumerate() {
        for compression in [Compression::Zstd, Compression::Xz] {
            let object = Object::synthetic(&format!("untrue-{}", compression.query()), 300_000, seed as u64);
            let options =
                PushOptions { faults: faults.clone(), compression: Some(compression), ..PushOptions::default() };
            let refusal = Refusal::of_call(door.client.push_one("main", &object, &options).await).unwrap();
            assert_eq!(refusal.status, 400, "{words:?}: {}", refusal.text);
            assert!(refusal.says(&words), "{words:?}: {}", refusal.text);
            door.has_not(object.hash(), &refusal.text).await;
            // The client starts the path again, and then all is well.
            door.client.push_one("main", &object, &PushOptions::default()).await.unwrap();
            door.has(object.hash()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_words_of_wrong_form() {
    let door = door().await;
    type Spoil = fn(&mut serde_json::Value);
    let spoils: [(&str, Spoil); 22] = [
        ("store hash too short", |v| v["cStoreHash"] = "abc".into()),
        ("store hash with e", |v| v["cStoreHash"] = "e".repeat(32).into()),
        ("no name", |v| v["cStoreSuffix"] = "".into()),
        ("name with a slash", |v| v["cStoreSuffix"] = "../x".into()),
        ("name of 212 bytes", |v| v["cStoreSuffix"] = "n".repeat(212).into()),
        ("NAR hash without algorithm", |v| v["cNarHash"] = "0".repeat(52).into()),
        ("NAR hash of md5", |v| v["cNarHash"] = format!("md5:{}", "0".repeat(32)).into()),
        ("NAR hash that is none", |v| v["cNarHash"] = "sha256:xyz".into()),
        ("NAR size 0", |v| v["cNarSize"] = 0.into()),
        ("negative NAR size", |v| v["cNarSize"] = (-1).into()),
        ("NAR size as text", |v| v["cNarSize"] = "10".into()),
        ("file hash too short", |v| v["cFileHash"] = "00".into()),
        ("file hash that is none", |v| v["cFileHash"] = "z".repeat(64).into()),
        ("negative file size", |v| v["cFileSize"] = (-1).into()),
        ("reference as a full path", |v| v["cReferences"] = vec![digest::made_up_path("full", 1)].into()),
        ("reference that is none", |v| v["cReferences"] = vec!["x"].into()),
        ("references as text", |v| v["cReferences"] = "x".into()),
        ("deriver as a full path", |v| v["cDeriver"] = digest::made_up_path("x.drv", 1).into()),
        ("signature that is no base64", |v| v["cSig"] = "***".into()),
        ("signature of 3 bytes", |v| v["cSig"] = "AAAA".into()),
        ("no NAR hash", |v| drop(v.as_object_mut().unwrap().remove("cNarHash"))),
        ("null store hash", |v| v["cStoreHash"] = serde_json::Value::Null),
    ];
    for (seed, (what, spoil)) in spoils.into_iter().enumerate() {
        let seed = seed as u64;
        let (path, nar) = (digest::made_up_path("spoilt", seed), small(seed));
        let file = compress("zstd", &nar).await.unwrap();
        let upload = door.client.create("main", Compression::Zstd).await.unwrap();
        let md5 = digest::md5_base64(&file);
        let url = door.client.part("main", &upload, 1, &md5).await.unwrap().upload_url;
        let etag = door.client.put(&url, &md5, file.clone().into()).await.unwrap().unwrap();
        let mut claims = serde_json::to_value(NarInfoCreate::of(&path, &nar, &file)).unwrap();
        let good = claims.clone();
        spoil(&mut claims);
        assert_ne!(claims, good, "{what}");
        let send = async |claims: &serde_json::Value| {
            let body = serde_json::json!({"parts": [{"partNumber": 1, "eTag": etag}], "narInfoCreate": claims});
            let address = format!(
                "{}/api/v1/cache/main/multipart-nar/{}/complete?uploadId={}",
                door.server.url(),
                upload.nar_id.0,
                upload.upload_id
            );
            let credentials = Credentials::Bearer(door.token.clone());
            let headers = [("content-type", "application/json;charset=utf-8")];
            door.server
                .http()
                .call(http::Method::POST, &address, &credentials, &headers, body.to_string())
                .await
                .unwrap()
        };
        let reply = send(&claims).await;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
        Refusal::of(&reply).unwrap_or_else(|error| panic!("{what}: {error}"));
        door.has_not(digest::hash_part(&path), what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_parts_that_are_missing_or_made_up() {
    let door = door().await;
    let object = Object::synthetic("gap", 1000, 1);
    let put = async |upload: &_, number: u32, bytes: &[u8]| {
        let md5 = digest::md5_base64(bytes);
        let url = door.client.part("main", upload, number, &md5).await.unwrap().upload_url;
        door.client.put(&url, &md5, bytes.to_vec().into()).await.unwrap().unwrap()
    };
    let nar = small(1);
    let file = compress("zstd", &nar).await.unwrap();
    let complete = |parts: serde_json::Value| Complete {
        parts: serde_json::from_value::<Option<Vec<(u32, String)>>>(parts).unwrap().map(|parts| {
            let part = |(part_number, e_tag)| CompletedPart { part_number, e_tag };
            parts.into_iter().map(part).collect()
        }),
        nar_info_create: NarInfoCreate::of(&object.path, &nar, &file),
    };
    let refused = async |upload: &_, parts: serde_json::Value| {
        let result = door.client.complete("main", upload, &complete(parts.clone())).await;
        let refusal = Refusal::of_call(result).unwrap_or_else(|error| panic!("{parts}: {error}"));
        assert_eq!(refusal.status, 400, "{parts}: {}", refusal.text);
        door.has_not(object.hash(), &refusal.text).await;
    };
    // No part at all; only the second; a part that was never sent; another part's ETag.
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    refused(&upload, serde_json::Value::Null).await;
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    refused(&upload, serde_json::json!([])).await;
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    let etag = put(&upload, 2, &file).await;
    refused(&upload, serde_json::Value::Null).await;
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    put(&upload, 2, &file).await;
    refused(&upload, serde_json::json!([[2, etag]])).await;
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    let etag = put(&upload, 1, &file).await;
    refused(&upload, serde_json::json!([[1, etag], [2, "\"nothing\""]])).await;
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    put(&upload, 1, &file).await;
    refused(&upload, serde_json::json!([[1, "\"another\""]])).await;
    // Part numbers that no upload has.
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    let refusal = Refusal::of_call(door.client.part("main", &upload, 0, &digest::md5_base64(b"")).await).unwrap();
    assert_eq!(refusal.status, 400);
    for bad in ["", "abc", "AAAA"] {
        let refusal = Refusal::of_call(door.client.part("main", &upload, 1, bad).await).unwrap();
        assert_eq!(refusal.status, 400, "MD5 {bad:?}: {}", refusal.text);
    }
    // All is well with the right one.
    let etag = put(&upload, 1, &file).await;
    door.client.complete("main", &upload, &complete(serde_json::json!([[1, etag]]))).await.unwrap();
    door.has(object.hash()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_part_with_another_md5_or_cut_short_can_be_sent_again() {
    let door = door().await;
    let nar = small(2);
    let file = compress("zstd", &nar).await.unwrap();
    let md5 = digest::md5_base64(&file);
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    let url = door.client.part("main", &upload, 1, &md5).await.unwrap().upload_url;

    let refusal = Refusal::of_call(door.client.put_once(&url, &md5, b"other".to_vec().into()).await).unwrap();
    // 503 makes the client send the part again; 400 would cost the whole path.
    assert_eq!(refusal.status, 503, "{}", refusal.text);
    // A connection that breaks off in the middle.
    let path = url.split_once("//").unwrap().1.split_once('/').unwrap().1;
    let head = format!(
        "PUT /{path} HTTP/1.1\r\nHost: {}\r\nContent-MD5: {md5}\r\nContent-Length: {}\r\n\r\n",
        door.server.address(),
        file.len()
    );
    let mut raw = Raw::connect(&door.server.address()).await.unwrap();
    raw.write(head).await.unwrap();
    raw.write(&file[..file.len() / 2]).await.unwrap();
    drop(raw);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let object = Object::bytes("again", 2, nar);
    let claims = || NarInfoCreate::of(&object.path, &small(2), &file);
    let early = Complete { parts: None, nar_info_create: claims() };
    let refusal = Refusal::of_call(door.client.complete("main", &upload, &early).await).unwrap();
    assert_eq!(refusal.status, 400, "{}", refusal.text);
    door.has_not(object.hash(), "half a part").await;

    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    let url = door.client.part("main", &upload, 1, &md5).await.unwrap().upload_url;
    door.client.put_once(&url, &md5, b"other".to_vec().into()).await.unwrap_err();
    door.client.put_once(&url, &md5, file.clone().into()).await.unwrap();
    door.client.complete("main", &upload, &Complete { parts: None, nar_info_create: claims() }).await.unwrap();
    door.has(object.hash()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_urls_are_capabilities() {
    let door = door().await;
    let upload = door.client.create("main", Compression::Zstd).await.unwrap();
    let md5 = digest::md5_base64(b"bytes");
    let url = door.client.part("main", &upload, 1, &md5).await.unwrap().upload_url;
    let mut tampered = 0;
    // Any single character of what follows the host, by another of its kind.
    let start = url.split_once("//").unwrap().1.find('/').unwrap() + url.find("//").unwrap() + 3;
    for at in (start..url.len()).filter(|at| url.as_bytes()[*at].is_ascii_alphanumeric()) {
        let other = match url.as_bytes()[at] {
            b'a' => 'b',
            b'0'..=b'8' => '9',
            b'9' => '8',
            _ => 'a',
        };
        let changed: String = url.char_indices().map(|(i, c)| if i == at { other } else { c }).collect();
        let Err(error) = door.client.put_once(&changed, &md5, b"bytes".to_vec().into()).await else {
            panic!("{changed} was accepted in place of {url}");
        };
        let status = error.status().unwrap();
        assert!(matches!(status, 400 | 403 | 404 | 405), "{changed}: {status}");
        tampered += 1;
    }
    assert!(tampered > 20, "an unguessable URL is longer than {url}");
    door.client.put_once(&url, &md5, b"bytes".to_vec().into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_uploads_are_not_found() {
    let door = door().await;
    door.server.cache("other", false).unwrap();
    let known = door.client.create("main", Compression::Zstd).await.unwrap();
    let mut stranger = known.clone();
    stranger.nar_id.0 = "7b1c2f1e-3c9d-4b8a-9a53-0f1f6f2f9f10".to_owned();
    let md5 = digest::md5_base64(b"x");
    let refusal = Refusal::of_call(door.client.part("main", &stranger, 1, &md5).await).unwrap();
    assert_eq!(refusal.status, 404, "{}", refusal.text);
    let claims = NarInfoCreate::of(&digest::made_up_path("stranger", 1), &small(1), &small(1));
    let body = Complete { parts: None, nar_info_create: claims };
    assert_eq!(Refusal::of_call(door.client.complete("main", &stranger, &body).await).unwrap().status, 404);
    door.client.abort("main", &stranger).await.unwrap();
    // An upload belongs to its cache.
    let everywhere = door.server.token_named("all", None, Scope::Push, None).unwrap();
    let client = door.server.cachix(Some(&everywhere));
    assert_eq!(Refusal::of_call(client.part("other", &known, 1, &md5).await).unwrap().status, 404);
    let url = format!("{}/api/v1/cache/main/multipart-nar", door.server.url());
    let post = async |query: &str| {
        let credentials = Credentials::Bearer(door.token.clone());
        door.server.http().call(http::Method::POST, &format!("{url}{query}"), &credentials, &[], "").await.unwrap()
    };
    for query in ["?compression=zstd", "?compression=gz", "?compression="] {
        assert_eq!(Refusal::of(&post(query).await).unwrap().status, 400, "{query}");
    }
    assert_eq!(post("").await.status, 200, "without a parameter it is xz");
}
