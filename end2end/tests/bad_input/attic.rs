//! Attic and celler uploads: metadata of wrong form, sizes that lie, NARs that are not what was told.

use std::time::Instant;

use crate::probe::{Memory, files_below, refused_json, within};
use crate::{Door, door, mentioning, pack, small};
use http::{HeaderValue, Method, Request};
use iglu_end2end::attic::{Client, Error, Faults, Preamble};
use iglu_end2end::body;
use iglu_end2end::digest;
use iglu_end2end::http::{Http, Reply};
use iglu_end2end::object::Object;
use iglu_end2end::server::Scope;
use nix_compat::signing::SigningKey;
use serde_json::{Value, json};

const UPLOAD: &str = "/_api/v1/upload-path";

/// What is true of a path with this NAR.
fn info(path: &str, nar: &[u8]) -> Value {
    json!({
        "cache": "main", "store_path_hash": digest::hash_part(path), "store_path": path, "references": [],
        "system": null, "deriver": null, "sigs": [], "ca": null,
        "nar_hash": format!("sha256:{}", digest::sha256_hex(nar)), "nar_size": nar.len(),
    })
}

/// The upload with its metadata before the NAR, whatever bytes they are, and any size told of them.
async fn upload(door: &Door, header: &str, told: &str, info: &[u8], nar: &[u8]) -> Reply {
    door.send(Method::PUT, UPLOAD, &[(header, told)], [info, nar].concat()).await
}

async fn upload_info(door: &Door, info: &Value, nar: &[u8]) -> Reply {
    let info = info.to_string();
    upload(door, "X-Attic-Nar-Info-Preamble-Size", &info.len().to_string(), info.as_bytes(), nar).await
}

fn client(door: &Door) -> Client {
    Client::new(&format!("{}/", door.server.url()), Some(&door.token)).unwrap()
}

fn nars(door: &Door) -> usize {
    files_below(&door.server.data().join("storage/nar"))
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_claims_that_are_not_true() {
    let door = door().await;
    let faults = [
        ("hash", Faults { wrong_nar_hash: true, ..Faults::default() }),
        ("size too small", Faults { nar_size_off_by: -8, ..Faults::default() }),
        ("size too big", Faults { nar_size_off_by: 8, ..Faults::default() }),
        ("short body", Faults { end_after: Some(1000), ..Faults::default() }),
        ("empty body", Faults { end_after: Some(0), ..Faults::default() }),
        ("bytes behind", Faults { extra: vec![0; 8], ..Faults::default() }),
        ("much behind", Faults { extra: vec![0; 3 << 20], ..Faults::default() }),
    ];
    for (seed, (what, faults)) in faults.into_iter().enumerate() {
        for client in [client(&door), client(&door).celler()] {
            for preamble in [Preamble::IfLong, Preamble::Always] {
                let object = Object::synthetic("untrue", 600_000, seed as u64);
                let error = client.upload_path("main", &object, preamble, &faults).await.unwrap_err();
                let Error::Refused { status, message, .. } = &error else { panic!("{what}: {error}") };
                assert_eq!(*status, 400, "{what}: {message}");
                assert!(message.to_lowercase().contains("nar"), "{what}: {message}");
                door.has_not(object.hash(), what).await;
            }
        }
    }
    let broken = Faults { break_after: Some(100_000), ..Faults::default() };
    let object = Object::synthetic("broken", 600_000, 1);
    client(&door).upload_path("main", &object, Preamble::Always, &broken).await.unwrap_err();
    door.has_not(object.hash(), "aborted").await;
    assert_eq!(nars(&door), 0, "files of refused uploads are stored");
    door.is_calm("untrue uploads").await;
    // The truth is taken afterwards.
    client(&door).upload_path("main", &object, Preamble::Always, &Faults::default()).await.unwrap();
    door.has(object.hash()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_sizes_of_the_preamble_that_lie() {
    let door = door().await;
    let (path, nar) = (digest::made_up_path("lie", 1), small(1));
    let info = info(&path, &nar).to_string();
    let len = info.len() as i64;
    for prefix in ["X-Attic-Nar-Info", "X-Celler-Nar-Info"] {
        let header = format!("{prefix}-Preamble-Size");
        for (told, status) in [
            ("0".to_owned(), 400),
            ("1".to_owned(), 400),
            ((len - 1).to_string(), 400),
            ((len + 1).to_string(), 400),
            ((len + nar.len() as i64).to_string(), 400),
            ((len + nar.len() as i64 + 1).to_string(), 400),
            ("1000000".to_owned(), 400),
            ("-1".to_owned(), 400),
            ("12x".to_owned(), 400),
            (String::new(), 400),
            ("0x40".to_owned(), 400),
            ("1e3".to_owned(), 400),
            (format!("{len}, {len}"), 400),
            ("99999999999999999999999999".to_owned(), 400),
            ("18446744073709551615".to_owned(), 413),
            ("1073741824".to_owned(), 413),
        ] {
            let memory = Memory::watch(&door.server);
            let reply = upload(&door, &header, &told, info.as_bytes(), &nar).await;
            refused_json(&reply, status, &format!("{header}: {told}"));
            memory.must_be_flat(&door.server, &told);
        }
        // One of another kind and a header with everything: the preamble is what counts.
        let both = [(header.as_str(), "7"), (prefix, info.as_str())];
        refused_json(&door.send(Method::PUT, UPLOAD, &both, nar.clone()).await, 400, "both headers");
    }
    door.has_not(digest::hash_part(&path), "lying preamble").await;
    door.is_calm("lying preambles").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_metadata_of_wrong_form() {
    let door = door().await;
    type Spoil = fn(&mut Value);
    let long = || "x".repeat(3000);
    let spoils: Vec<(&str, Spoil)> = vec![
        ("no cache", |v| drop(v.as_object_mut().unwrap().remove("cache"))),
        ("no store path", |v| drop(v.as_object_mut().unwrap().remove("store_path"))),
        ("no hash part", |v| drop(v.as_object_mut().unwrap().remove("store_path_hash"))),
        ("no NAR hash", |v| drop(v.as_object_mut().unwrap().remove("nar_hash"))),
        ("no NAR size", |v| drop(v.as_object_mut().unwrap().remove("nar_size"))),
        ("cache as a number", |v| v["cache"] = 1.into()),
        ("cache null", |v| v["cache"] = Value::Null),
        ("references as text", |v| v["references"] = "x".into()),
        ("references with null", |v| v["references"] = json!([null])),
        ("references as an object", |v| v["references"] = json!({"a": 1})),
        ("signatures as text", |v| v["sigs"] = "x".into()),
        ("NAR size as text", |v| v["nar_size"] = "120".into()),
        ("NAR size 0", |v| v["nar_size"] = 0.into()),
        ("NAR size negative", |v| v["nar_size"] = (-1).into()),
        ("NAR size with a fraction", |v| v["nar_size"] = 1.5.into()),
        ("NAR size of 2^64-1", |v| v["nar_size"] = u64::MAX.into()),
        ("path elsewhere", |v| v["store_path"] = v["store_path"].as_str().unwrap().replace("/nix/", "/gnu/").into()),
        ("path without directory", |v| v["store_path"] = v["store_path"].as_str().unwrap()[11..].into()),
        ("path with dots", |v| v["store_path"] = format!("/nix/store/../store/{}-x", "0".repeat(32)).into()),
        ("path below a path", |v| v["store_path"] = format!("{}/bin", v["store_path"].as_str().unwrap()).into()),
        ("path with a blank", |v| v["store_path"] = format!("{} x", v["store_path"].as_str().unwrap()).into()),
        ("path with NUL", |v| v["store_path"] = format!("{}\0", v["store_path"].as_str().unwrap()).into()),
        ("path with letters of no kind", |v| v["store_path"] = format!("/nix/store/{}-x", "e".repeat(32)).into()),
        ("name of 212", |v| v["store_path"] = format!("/nix/store/{}-{}", "0".repeat(32), "n".repeat(212)).into()),
        ("endless path", |v| v["store_path"] = format!("/nix/store/{}", "n".repeat(100_000)).into()),
        ("another hash part", |v| v["store_path_hash"] = "0".repeat(32).into()),
        ("short hash part", |v| v["store_path_hash"] = "0".into()),
        ("hash part with text", |v| v["store_path_hash"] = "\u{1b}[31m\u{e9}\n".into()),
        ("NAR hash of md5", |v| v["nar_hash"] = format!("md5:{}", "0".repeat(32)).into()),
        ("NAR hash without algorithm", |v| v["nar_hash"] = "0".repeat(64).into()),
        ("NAR hash with text", |v| v["nar_hash"] = "sha256:\u{1b}[31m\u{e9}".into()),
        ("reference elsewhere", |v| v["references"] = json!(["/gnu/store/x"])),
        ("reference of no form", |v| v["references"] = json!(["x"])),
        ("reference empty", |v| v["references"] = json!([""])),
        ("reference with a slash", |v| v["references"] = json!([format!("{}-a/b", "0".repeat(32))])),
        ("reference that does not occur", |v| v["references"] = json!([format!("{}-absent", "1".repeat(32))])),
        ("deriver of no form", |v| v["deriver"] = "x".into()),
        ("deriver as a number", |v| v["deriver"] = 1.into()),
        ("content address of no form", |v| v["ca"] = "what".into()),
        ("content address git", |v| v["ca"] = format!("fixed:git:sha1:{}", "0".repeat(40)).into()),
        ("content address of another", |v| v["ca"] = format!("fixed:r:{}", v["nar_hash"].as_str().unwrap()).into()),
    ];
    for (seed, (what, spoil)) in spoils.into_iter().enumerate() {
        let (path, nar) = (digest::made_up_path("spoilt", seed as u64), small(seed as u64));
        let mut claims = info(&path, &nar);
        spoil(&mut claims);
        refused_json(&upload_info(&door, &claims, &nar).await, 400, what);
        door.has_not(digest::hash_part(&path), what).await;
    }
    let nar = small(1);
    let good = info(&digest::made_up_path("text", 1), &nar).to_string();
    let deep = "[".repeat(200_000);
    let twice = good.replacen('{', r#"{"cache":"main","#, 1);
    let texts: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("no JSON", b"hello".to_vec()),
        ("an array", b"[]".to_vec()),
        ("cut off", good.as_bytes()[..good.len() - 1].to_vec()),
        ("two objects", format!("{good}{good}").into()),
        ("a field twice", twice.into()),
        ("deep", deep.into()),
        ("not UTF-8", good.replace("main", "\u{1}").bytes().map(|b| if b == 1 { 0xff } else { b }).collect()),
        ("byte order mark", format!("\u{feff}{good}").into()),
        ("long", format!(r#"{{"cache":1{}}}"#, long()).into()),
    ];
    for (what, text) in texts {
        let reply = upload(&door, "X-Attic-Nar-Info-Preamble-Size", &text.len().to_string(), &text, &nar).await;
        refused_json(&reply, 400, what);
        // The same in a header, where it can stand in one.
        let Ok(value) = HeaderValue::from_bytes(&text) else { continue };
        if text.len() > 8000 {
            continue;
        }
        let request = Request::put(format!("{}{UPLOAD}", door.server.url()))
            .header("Authorization", format!("bearer {}", door.token))
            .header("X-Attic-Nar-Info", value)
            .body(body::full(nar.clone().into()))
            .unwrap();
        refused_json(&Http::new().send_body(request).await.unwrap(), 400, what);
    }
    refused_json(&door.send(Method::PUT, UPLOAD, &[], nar).await, 400, "no metadata at all");
    assert_eq!(nars(&door), 0);
    door.is_calm("metadata of wrong form").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_many_references() {
    let door = door().await;
    let client = client(&door);
    let reference = |seed| digest::base_name(&digest::made_up_path("r", seed)).to_owned();
    let names: Vec<String> = (0..20_000).map(reference).collect();
    // They do not occur.
    let (path, nar) = (digest::made_up_path("claims-many", 1), small(1));
    let mut claims = info(&path, &nar);
    claims["references"] = json!(names);
    let memory = Memory::watch(&door.server);
    let message = refused_json(&upload_info(&door, &claims, &nar).await, 400, "20 000 that do not occur");
    assert!(message.contains("does not occur"), "{message}");
    door.has_not(digest::hash_part(&path), "20 000 that do not occur").await;
    // They do.
    let mut object = Object::bytes(
        "has-many",
        1,
        iglu_end2end::nar::archive(&iglu_end2end::nar::regular(names.join(" ").as_bytes())),
    );
    object.references = names;
    object.references.sort();
    client.upload_path("main", &object, Preamble::IfLong, &Faults::default()).await.unwrap();
    door.has_not_shown(object.hash()).await;
    memory.must_be_flat(&door.server, "20 000 references");
    // A list of nothing, as long as a body may be.
    let memory = Memory::watch(&door.server);
    let empties = format!(r#"{{"cache":"main","references":[{}""]}}"#, r#""","#.repeat(5_400_000));
    let reply =
        upload(&door, "X-Attic-Nar-Info-Preamble-Size", &empties.len().to_string(), empties.as_bytes(), b"").await;
    refused_json(&reply, 400, "millions of empty references");
    memory.must_be_flat(&door.server, "millions of empty references");
    door.is_calm("many references").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_signatures() {
    let door = door().await;
    let name = door.key.split_once(':').unwrap().0.to_owned();
    let (path, nar) = (digest::made_up_path("signed", 1), small(1));
    let mut claims = info(&path, &nar);
    let fingerprint = format!("1;{path};sha256:{};{};", digest::sha256_nix32(&nar), nar.len());
    // In the name of the cache's own key, by another.
    let forged = SigningKey::from_seed(&name, [8; 32]).unwrap().sign(&fingerprint).to_string();
    claims["sigs"] = json!([forged]);
    let message = refused_json(&upload_info(&door, &claims, &nar).await, 400, "forged");
    assert!(message.contains("signature") && message.contains(&name), "{message}");
    door.has_not(digest::hash_part(&path), "forged").await;
    // What is none is left out, what a stranger made is kept.
    let stranger = SigningKey::from_seed("builder-1", [7; 32]).unwrap().sign(&fingerprint).to_string();
    claims["sigs"] = json!([
        "",
        "nonsense",
        ":",
        "a:",
        ":AAAA",
        "key-1:AAAA",
        format!("key-1:{}", "*".repeat(88)),
        "k\n1:AAAA",
        "\u{e9}:AAAA",
        format!("two words:{}", stranger.split_once(':').unwrap().1),
        stranger,
    ]);
    assert_eq!(upload_info(&door, &claims, &nar).await.status, 200);
    let served = door.putter.narinfo(digest::hash_part(&path)).await.unwrap().unwrap();
    assert_eq!(served.all("Sig").len(), 2, "{served:?}");
    assert!(served.all("Sig").contains(&stranger.as_str()));
    door.is_calm("attic signatures").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_uploads_by_nobody_in_particular() {
    let door = door().await;
    door.server.cache("other", true).unwrap();
    let reader = door.server.token("main", Scope::Pull).unwrap();
    let foreign = door.server.token("other", Scope::Push).unwrap();
    let (path, nar) = (digest::made_up_path("unwelcome", 1), small(1));
    let truth = info(&path, &nar);
    let mut elsewhere = truth.clone();
    elsewhere["cache"] = "nowhere".into();
    let mut odd = truth.clone();
    odd["cache"] = "../main\u{1b}[31m".into();
    let size = truth.to_string().len().to_string();
    for (what, token, claims, status) in [
        ("anonymous", "", &truth, 401),
        ("unknown token", "iglu_bad", &truth, 401),
        ("reader", &reader, &truth, 403),
        ("token of another private cache", &foreign, &elsewhere, 401),
        ("pusher, unknown cache", &door.token, &elsewhere, 401),
        ("pusher, odd cache", &door.token, &odd, 404),
    ] {
        let credentials = iglu_end2end::http::Credentials::Bearer(token.to_owned());
        let text = claims.to_string();
        let headers = [("X-Attic-Nar-Info-Preamble-Size", text.len().to_string())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = [text.as_bytes(), &nar].concat();
        let message =
            refused_json(&door.send_as(&credentials, Method::PUT, UPLOAD, &headers, body).await, status, what);
        assert!(token.is_empty() || !message.contains(token), "{message}");
    }
    // Nobody's metadata is read.
    let memory = Memory::watch(&door.server);
    let anonymous = iglu_end2end::http::Credentials::None;
    let reply = door.send_as(&anonymous, Method::PUT, UPLOAD, &[("X-Attic-Nar-Info-Preamble-Size", &size)], "").await;
    refused_json(&reply, 401, "anonymous and short");
    memory.must_be_flat(&door.server, "anonymous");
    door.has_not(digest::hash_part(&path), "unwelcome").await;
    door.is_calm("unwelcome uploads").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_bombs() {
    let door = door().await;
    for (seed, coding) in ["zstd", "gzip"].into_iter().enumerate() {
        let (path, nar) = (digest::made_up_path("bomb", seed as u64), small(1));
        let info = info(&path, &nar).to_string();
        let size = if coding == "zstd" { 50 << 30 } else { 5 << 30 };
        let head = [info.as_bytes(), &pack::nar_head(size)].concat();
        let body = pack::flood(coding, &head, size).await;
        let (memory, begun) = (Memory::watch(&door.server), Instant::now());
        let headers = [("X-Attic-Nar-Info-Preamble-Size", info.len().to_string())];
        let headers = [(headers[0].0, headers[0].1.as_str()), ("Content-Encoding", coding)];
        let reply = door.send(Method::PUT, UPLOAD, &headers, body).await;
        refused_json(&reply, 400, coding);
        within(begun, 3, coding);
        memory.must_be_flat(&door.server, coding);
        door.has_not(digest::hash_part(&path), coding).await;
        // The metadata itself.
        let body = pack::flood(coding, b"{\"cache\":\"", 5 << 30).await;
        let (memory, begun) = (Memory::watch(&door.server), Instant::now());
        let headers = [("X-Attic-Nar-Info-Preamble-Size", "16000000"), ("Content-Encoding", coding)];
        refused_json(&door.send(Method::PUT, UPLOAD, &headers, body).await, 400, coding);
        within(begun, 3, coding);
        memory.must_be_flat(&door.server, coding);
    }
    refused_json(&door.send(Method::PUT, UPLOAD, &[("Content-Encoding", "compress")], "x").await, 400, "compress");
    refused_json(&door.send(Method::PUT, UPLOAD, &[("Content-Encoding", "gzip, gzip")], "x").await, 400, "gzip twice");
    // References that occur are no reason to take what is not there.
    let nar = mentioning(&["a", "b"], 1);
    let path = digest::made_up_path("mentions", 1);
    let mut claims = info(&path, &nar);
    claims["references"] = json!([digest::base_name(&digest::made_up_path("a", 1))]);
    assert_eq!(upload_info(&door, &claims, &nar).await.status, 200);
    door.has_not_shown(digest::hash_part(&path)).await;
    door.is_calm("attic bombs").await;
}
