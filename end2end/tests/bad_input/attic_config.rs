//! Attic's cache configuration and its question for missing paths, asked wrongly or by the wrong ones.

use crate::probe::{Memory, refused_json};
use crate::{Door, door};
use http::Method;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Reply};
use iglu_end2end::server::Scope;
use nix_compat::signing::SigningKey;
use serde_json::{Value, json};

const MISSING: &str = "/_api/v1/get-missing-paths";

async fn config(door: &Door, token: &str, method: Method, cache: &str, body: impl Into<bytes::Bytes>) -> Reply {
    let path = format!("/_api/v1/cache-config/{cache}");
    let credentials = if token.is_empty() { Credentials::None } else { Credentials::Bearer(token.to_owned()) };
    door.send_as(&credentials, method, &path, &[("content-type", "application/json")], body).await
}

fn creation() -> Value {
    json!({"keypair": "Generate", "is_public": true, "store_dir": "/nix/store", "priority": 41, "upstream_cache_key_names": []})
}

/// What a stranger and a pusher see of the cache: if any of it changes, something was stored.
async fn face(door: &Door) -> Vec<String> {
    let shown = config(door, &door.token, Method::GET, "main", "").await;
    let info = door.send_as(&Credentials::None, Method::GET, "/main/nix-cache-info", &[], "").await;
    vec![shown.text(), info.status.to_string(), info.text()]
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_caches_by_the_wrong_ones() {
    let door = door().await;
    door.server.cache("other", true).unwrap();
    let reader = door.server.token("main", Scope::Pull).unwrap();
    let admin = door.server.token("main", Scope::Admin).unwrap();
    let foreign = door.server.token("other", Scope::Admin).unwrap();
    let before = face(&door).await;
    let patch = json!({"is_public": false, "priority": 1}).to_string();
    for (who, token, cache, status) in [
        ("nobody", "", "main", 401),
        ("a bad token", "iglu_bad", "main", 401),
        ("a reader", reader.as_str(), "main", 403),
        ("a pusher", &door.token, "main", 403),
        ("another's administrator", &foreign, "main", 403),
        ("a pusher, of a private cache", &door.token, "other", 401),
        ("an administrator of one, of a private cache", &admin, "other", 401),
        ("a pusher, of no cache", &door.token, "nowhere", 401),
        ("nobody, of no cache", "", "nowhere", 401),
    ] {
        let what = format!("PATCH by {who}");
        refused_json(&config(&door, token, Method::PATCH, cache, patch.clone()).await, status, &what);
        refused_json(&config(&door, token, Method::DELETE, cache, "").await, status, &format!("DELETE by {who}"));
    }
    for (who, token, status) in [
        ("nobody", "", 401),
        ("a reader", reader.as_str(), 403),
        ("a pusher", &door.token, 403),
        ("one cache's administrator", &admin, 403),
    ] {
        for cache in ["fresh", "main", "other"] {
            let what = format!("POST {cache} by {who}");
            refused_json(&config(&door, token, Method::POST, cache, creation().to_string()).await, status, &what);
        }
    }
    for token in ["", door.token.as_str()] {
        refused_json(&config(&door, token, Method::GET, "other", "").await, 401, "GET of a private cache");
        refused_json(&config(&door, token, Method::GET, "nowhere", "").await, 401, "GET of no cache");
    }
    assert_eq!(face(&door).await, before);
    door.is_calm("changes by the wrong ones").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_caches_of_wrong_form_change_nothing() {
    let door = door().await;
    let admin = door.server.token("main", Scope::Admin).unwrap();
    let before = face(&door).await;
    let (own, _) = door.key.split_once(':').unwrap();
    let same_name = SigningKey::from_seed(own, [9; 32]).unwrap().to_secret_text().to_string();
    let secret = "S".repeat(88);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("no JSON", b"x".to_vec()),
        ("an array", b"[1]".to_vec()),
        ("nothing to change", b"{}".to_vec()),
        ("unknown fields alone", br#"{"colour":"red"}"#.to_vec()),
        ("public as text", br#"{"is_public":"true"}"#.to_vec()),
        ("priority as text", br#"{"priority":"41"}"#.to_vec()),
        ("priority of 2^31", br#"{"priority":2147483648}"#.to_vec()),
        ("priority with a fraction", br#"{"priority":1.5}"#.to_vec()),
        ("another store", br#"{"store_dir":"/gnu/store","priority":1}"#.to_vec()),
        ("store with a slash behind", br#"{"store_dir":"/nix/store/","priority":1}"#.to_vec()),
        ("key names as text", br#"{"upstream_cache_key_names":"x"}"#.to_vec()),
        ("key name with a colon", br#"{"upstream_cache_key_names":["a:b"],"priority":1}"#.to_vec()),
        ("key name with a line break", br#"{"upstream_cache_key_names":["a\nb"],"priority":1}"#.to_vec()),
        ("key name beyond ASCII", "{\"upstream_cache_key_names\":[\"\u{e9}\"]}".into()),
        ("a long key name", json!({"upstream_cache_key_names": ["k".repeat(100_000)]}).to_string().into()),
        (
            "too many key names",
            json!({"upstream_cache_key_names": vec!["a"; 10_000], "is_public": false}).to_string().into(),
        ),
        ("a retention of a century and more", br#"{"retention_period":{"Period":4294967295},"priority":1}"#.to_vec()),
        ("a retention of no form", br#"{"retention_period":60,"priority":1}"#.to_vec()),
        ("a negative retention", br#"{"retention_period":{"Period":-1}}"#.to_vec()),
        ("a key pair of no form", json!({"is_public": false, "keypair": {"Keypair": "garbage"}}).to_string().into()),
        ("a key pair of half a key", json!({"is_public": false, "keypair": {"Keypair": "a:AAAA"}}).to_string().into()),
        (
            "a key pair whose halves differ",
            json!({"priority": 1, "keypair": {"Keypair": format!("a:{}", "A".repeat(86) + "==")}}).to_string().into(),
        ),
        ("a key of a name that is taken", json!({"priority": 1, "keypair": {"Keypair": same_name}}).to_string().into()),
        ("a key pair by another word", json!({"priority": 1, "keypair": "Make"}).to_string().into()),
        (
            "a key where a word belongs",
            json!({"priority": 1, "keypair": format!("name-1:{secret}")}).to_string().into(),
        ),
        ("a word with control characters", br#"{"keypair":"\u001b[31m\u00e9"}"#.to_vec()),
        ("a long word", json!({"keypair": "x".repeat(10_000)}).to_string().into()),
        ("cut off", br#"{"priority":1"#.to_vec()),
        ("a field twice", br#"{"priority":1,"priority":2}"#.to_vec()),
        ("deep", "[".repeat(100_000).into()),
        ("not UTF-8", b"{\"keypair\":\"\xff\"}".to_vec()),
    ];
    for (what, body) in cases {
        let message = refused_json(&config(&door, &admin, Method::PATCH, "main", body).await, 400, what);
        assert!(!message.contains(&secret), "{what}: the secret comes back: {message}");
        assert_eq!(face(&door).await, before, "{what}: the cache changed");
    }
    let long = config(&door, &admin, Method::PATCH, "main", vec![b' '; 20 << 20]).await;
    refused_json(&long, 413, "20 MiB");
    assert_eq!(face(&door).await, before);
    assert!(!door.server.log().contains(&secret));
    door.is_calm("changes of wrong form").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_of_wrong_form_create_nothing() {
    let door = door().await;
    let admin = door.server.token_named("root", None, Scope::Admin, None).unwrap();
    let mut bodies: Vec<(String, String)> = Vec::new();
    for (field, wrong) in [
        ("keypair", json!("Make")),
        ("keypair", json!({"Keypair": "x"})),
        ("keypair", Value::Null),
        ("is_public", json!(1)),
        ("store_dir", json!("/gnu/store")),
        ("store_dir", json!("")),
        ("priority", json!("x")),
        ("priority", json!(1_i64 << 40)),
        ("upstream_cache_key_names", json!(["a b"])),
        ("upstream_cache_key_names", json!([1])),
    ] {
        let mut body = creation();
        body[field] = wrong.clone();
        bodies.push((format!("{field} {wrong}"), body.to_string()));
        let mut body = creation();
        if field != "upstream_cache_key_names" {
            body.as_object_mut().unwrap().remove(field);
            bodies.push((format!("no {field}"), body.to_string()));
        }
    }
    bodies.push(("nothing".to_owned(), String::new()));
    for (what, body) in bodies {
        refused_json(&config(&door, &admin, Method::POST, "fresh", body).await, 400, &what);
        refused_json(&config(&door, &admin, Method::GET, "fresh", "").await, 404, &what);
    }
    let long = "n".repeat(51);
    for name in [
        "UPPER", "_x", "-x", "a.b", "a%2fb", "a%20b", "%C3%A9", "a%00b", "..%2fx", "api", "log", "nar", "upload", &long,
    ] {
        let reply = config(&door, &admin, Method::POST, name, creation().to_string()).await;
        refused_json(&reply, 400, name);
    }
    let not_text = config(&door, &admin, Method::POST, "%ff", creation().to_string()).await;
    assert!(matches!(not_text.status.as_u16(), 400 | 404));
    refused_json(&not_text, not_text.status.as_u16(), "%ff");
    refused_json(&config(&door, &admin, Method::POST, "main", creation().to_string()).await, 400, "taken");
    refused_json(&config(&door, &admin, Method::DELETE, "nowhere", "").await, 404, "DELETE of none");
    refused_json(&config(&door, &admin, Method::PUT, "main", "").await, 405, "PUT");
    refused_json(&door.send(Method::GET, "/_api/v1/upload-path", &[], "").await, 405, "GET upload-path");
    refused_json(&door.send(Method::PUT, MISSING, &[], "").await, 405, "PUT get-missing-paths");
    refused_json(&door.send(Method::GET, "/_api/v2/x", &[], "").await, 404, "another API");
    door.is_calm("creations of wrong form").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_for_missing_paths() {
    let door = door().await;
    door.server.cache("other", true).unwrap();
    let reader = door.server.token("main", Scope::Pull).unwrap();
    let hash = digest::hash_part(&digest::made_up_path("x", 1)).to_owned();
    let question = |cache: &str| json!({"cache": cache, "store_path_hashes": [hash]}).to_string();
    let bearer = |token: &str| Credentials::Bearer(token.to_owned());
    for (what, who, body, status) in [
        ("anonymous", Credentials::None, question("main"), 401),
        ("bad token", bearer("iglu_bad"), question("main"), 401),
        ("reader", bearer(&reader), question("main"), 403),
        ("private cache of others", bearer(&door.token), question("other"), 401),
        ("unknown cache", bearer(&door.token), question("nowhere"), 401),
        ("odd cache", bearer(&door.token), question("../\u{e9}\u{1b}"), 404),
        ("endless cache", bearer(&door.token), question(&"x".repeat(100_000)), 404),
    ] {
        refused_json(&door.send_as(&who, Method::POST, MISSING, &[], body).await, status, what);
    }
    for (what, body) in [
        ("nothing", String::new()),
        ("no cache", json!({"store_path_hashes": []}).to_string()),
        ("no hashes", json!({"cache": "main"}).to_string()),
        ("hashes as text", json!({"cache": "main", "store_path_hashes": hash}).to_string()),
        ("no hash", json!({"cache": "main", "store_path_hashes": ["x"]}).to_string()),
        ("a path", json!({"cache": "main", "store_path_hashes": [digest::made_up_path("x", 1)]}).to_string()),
        ("upper case", json!({"cache": "main", "store_path_hashes": [hash.to_uppercase()]}).to_string()),
        ("null", json!({"cache": "main", "store_path_hashes": [null]}).to_string()),
        ("a long text", json!({"cache": "main", "store_path_hashes": ["\u{e9}\u{1b}".repeat(50_000)]}).to_string()),
        ("deep", "[".repeat(1_000_000)),
    ] {
        refused_json(&door.send(Method::POST, MISSING, &[], body).await, 400, what);
    }
    let memory = Memory::watch(&door.server);
    refused_json(&door.send(Method::POST, MISSING, &[], vec![b' '; 70 << 20]).await, 413, "70 MiB");
    memory.must_be_flat_but_for(&door.server, 96, "70 MiB");
    door.is_calm("missing paths").await;
}
