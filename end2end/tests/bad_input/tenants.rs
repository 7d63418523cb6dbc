//! What one cache's people can learn of, take from or leave in another: nothing.

use std::time::Duration;

use crate::probe::{refused, refused_json};
use crate::{Door, door, small};
use http::Method;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Http, Reply};
use iglu_end2end::nar;
use iglu_end2end::put::{Draft, Putter};
use iglu_end2end::server::{Scope, Setup};
use serde_json::{Value, json};

const DRV: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-top-a.drv";
const BUILD_ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// The public cache of the door and a private one, `other`, with a path and everything beside it.
struct Tenants {
    door: Door,
    other: Putter,
    secret: Draft,
}

async fn tenants() -> Tenants {
    let door = door().await;
    door.server.cache("other", true).unwrap();
    let other = door.server.putter("other", &door.server.token("other", Scope::Push).unwrap());
    let folder = |name: &[u8], node| nar::directory(&[(name, node)]);
    let debug = nar::regular(b"\x7fELF");
    let debug = folder(format!("{}.debug", &BUILD_ID[2..]).as_bytes(), debug);
    let debug = folder(b"debug", folder(b".build-id", folder(&BUILD_ID.as_bytes()[..2], debug)));
    let root = nar::directory(&[(b"file".as_slice(), nar::regular(b"secret")), (b"lib", debug)]);
    let secret = Draft::new("secret", 1, nar::archive(&root), "zstd", &[]).await.unwrap();
    other.push(&secret).await.unwrap();
    for (name, body) in [
        (format!("log/{DRV}"), "secret".to_owned()),
        (
            format!("build-trace-v2/{DRV}/out.doi"),
            json!({"outPath": digest::base_name(&secret.path), "signatures": []}).to_string(),
        ),
    ] {
        let reply = other.put(&name, "text/plain", body.into_bytes()).await.unwrap();
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
    Tenants { door, other, secret }
}

impl Tenants {
    fn files(&self) -> Vec<String> {
        let hash = self.secret.hash();
        let file = self.secret.url.strip_prefix("nar/").unwrap();
        vec![
            format!("{hash}.narinfo"),
            self.secret.url.clone(),
            format!("narurl/{file}"),
            format!("{hash}.ls"),
            format!("log/{DRV}"),
            format!("build-trace-v2/{DRV}/out.doi"),
            format!("debuginfo/{BUILD_ID}"),
            format!("debuginfo/{BUILD_ID}.debug"),
            format!("serve/{hash}/file"),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_private_caches() {
    let tenants = tenants().await;
    let door = &tenants.door;
    let reader = door.server.token("main", Scope::Admin).unwrap();
    for name in tenants.files() {
        let own = tenants.other.get(&name).await.unwrap();
        assert_eq!(own.status, 200, "{name}: {}", own.text());
        for base in ["", "/api/v1/cache"] {
            for method in [Method::GET, Method::HEAD] {
                for (who, credentials, status) in [
                    ("nobody", Credentials::None, 401),
                    ("a bad token", Credentials::Bearer("iglu_bad".to_owned()), 401),
                    ("another's pusher", Credentials::Bearer(door.token.clone()), 403),
                    ("another's administrator", Credentials::Basic("x".to_owned(), reader.clone()), 403),
                ] {
                    let what = format!("{method} {base}/other/{name} by {who}");
                    let reply =
                        door.send_as(&credentials, method.clone(), &format!("{base}/other/{name}"), &[], "").await;
                    assert_eq!(reply.status, status, "{what}: {}", reply.text());
                    assert!(
                        !reply.text().contains("secret") || reply.text().contains("iglu") || reply.body.len() < 300,
                        "{what}"
                    );
                    // By the own cache's name it is not there, also for those who may push to it.
                    let reply =
                        door.send_as(&credentials, method.clone(), &format!("{base}/main/{name}"), &[], "").await;
                    assert_eq!(reply.status, 404, "{what}, by way of main: {}", reply.text());
                }
            }
        }
        // A bare question with conditions and ranges tells no more.
        for header in [("Range", "bytes=0-1"), ("If-None-Match", "*"), ("Accept", "application/json")] {
            let reply = door.send(Method::GET, &format!("/main/{name}"), &[header], "").await;
            assert_eq!(reply.status, 404, "{name} with {header:?}");
            let reply = door.send(Method::GET, &format!("/other/{name}"), &[header], "").await;
            assert_eq!(reply.status, 403, "{name} with {header:?}");
        }
    }
    door.is_calm("private files").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_private_caches() {
    let tenants = tenants().await;
    let (door, hash) = (&tenants.door, tenants.secret.hash());
    let hashes = json!([hash]).to_string();
    let pin = |path: &str| json!({"name": "p", "storePath": path, "artifacts": [], "keep": null}).to_string();
    let upload = door.client.create("main", iglu_end2end::cachix::wire::Compression::Zstd).await.unwrap();
    let id = &upload.nar_id.0;
    let calls: Vec<(Method, String, String)> = vec![
        (Method::GET, String::new(), String::new()),
        (Method::GET, "/contents".to_owned(), String::new()),
        (Method::GET, "/pin".to_owned(), String::new()),
        (Method::POST, "/pin".to_owned(), pin(&tenants.secret.path)),
        (Method::POST, "/narinfo".to_owned(), hashes.clone()),
        (Method::POST, "/key".to_owned(), json!({"publicKey": format!("{}=", "A".repeat(43))}).to_string()),
        (Method::POST, "/multipart-nar?compression=zst".to_owned(), String::new()),
        (
            Method::POST,
            format!("/multipart-nar/{id}?uploadId={id}&partNumber=1"),
            json!({"contentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}).to_string(),
        ),
        (Method::POST, format!("/multipart-nar/{id}/abort?uploadId={id}"), String::new()),
        (Method::POST, "/nar?compression=zst".to_owned(), "x".to_owned()),
        (Method::POST, format!("/{hash}.narinfo"), "{}".to_owned()),
    ];
    for (method, path, body) in calls {
        let mut texts = Vec::new();
        for cache in ["other", "nowhere"] {
            for credentials in [Credentials::None, Credentials::Bearer(door.token.clone())] {
                let what = format!("{method} {cache}{path}");
                let reply = door
                    .send_as(&credentials, method.clone(), &format!("/api/v1/cache/{cache}{path}"), &[], body.clone())
                    .await;
                let refusal = refused(&reply, 401, &what);
                texts.push(refusal.text.replace(cache, "CACHE"));
            }
        }
        // Whether there is such a cache is not to be seen.
        assert_eq!((&texts[0], &texts[1]), (&texts[2], &texts[3]), "{path}");
    }
    // A path of another cache is none of the own, even for those who know its name.
    refused(&door.send(Method::POST, "/api/v1/cache/main/pin", &[], pin(&tenants.secret.path)).await, 404, "pin");
    let reply = door.send(Method::POST, "/api/v1/cache/main/narinfo", &[], hashes).await;
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), json!([hash]), "tells what another cache has");
    let question = json!({"cache": "main", "store_path_hashes": [hash]}).to_string();
    let reply = door.send(Method::POST, "/_api/v1/get-missing-paths", &[], question).await;
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), json!({"missing_paths": [hash]}));
    let realisation = json!({"outPath": digest::base_name(&tenants.secret.path), "signatures": []}).to_string();
    let reply = door
        .putter
        .put(&format!("build-trace-v2/{DRV}/out.doi"), "application/json", realisation.into())
        .await
        .unwrap();
    refused(&reply, 400, "a realisation of another's path");
    // The upload is as it was.
    let md5 = digest::md5_base64(b"x");
    door.client.part("main", &upload, 1, &md5).await.unwrap();
    door.is_calm("calls on private caches").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knowing_a_hash_is_not_having_the_bytes() {
    let tenants = tenants().await;
    let (door, secret) = (&tenants.door, &tenants.secret);
    let path = digest::made_up_path("thief", 1);
    let info = json!({
        "cache": "main", "store_path_hash": digest::hash_part(&path), "store_path": path, "references": [], "system": null,
        "deriver": null, "sigs": [], "ca": null,
        "nar_hash": format!("sha256:{}", digest::sha256_hex(&secret.nar)), "nar_size": secret.nar.len(),
    })
    .to_string();
    let upload = async |nar: Vec<u8>| -> Reply {
        let size = info.len().to_string();
        let headers = [("X-Attic-Nar-Info-Preamble-Size", size.as_str())];
        door.send(Method::PUT, "/_api/v1/upload-path", &headers, [info.as_bytes(), &nar].concat()).await
    };
    let mut other = secret.nar.clone();
    let end = other.len() - 40;
    other[end] ^= 1;
    for (what, nar) in [
        ("no body", Vec::new()),
        ("half of it", secret.nar[..secret.nar.len() / 2].to_vec()),
        ("all but a byte", secret.nar[..secret.nar.len() - 1].to_vec()),
        ("one bit of another", other),
    ] {
        refused_json(&upload(nar).await, 400, what);
        door.has_not(digest::hash_part(&path), what).await;
    }
    // By narinfo and by the old way alike.
    let draft = Draft::of(path.clone(), secret.nar.clone(), secret.file.clone(), "zstd", &[]);
    refused(&door.putter.put_narinfo(&draft, &draft.narinfo).await.unwrap(), 400, "narinfo alone");
    let words = serde_json::to_string(&iglu_end2end::cachix::wire::NarInfoCreate::of(&path, &secret.nar, &secret.file))
        .unwrap();
    let address = format!("/api/v1/cache/main/{}.narinfo", digest::hash_part(&path));
    refused(&door.send(Method::POST, &address, &[], words).await, 400, "words alone");
    door.has_not(digest::hash_part(&path), "by its hash").await;
    // Who has the bytes has them.
    assert_eq!(upload(secret.nar.clone()).await.status, 200);
    door.has(digest::hash_part(&path)).await;
    // The other cache's owner takes it away; this one keeps its own.
    door.server.admin(&["cache", "remove", "other", "--yes"], "").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    door.has(digest::hash_part(&path)).await;
    door.is_calm("hashes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_removed_caches_bring_nothing_back() {
    let tenants = tenants().await;
    let door = &tenants.door;
    let upload = door.server.token_named("all", None, Scope::Push, None).unwrap();
    let all = door.server.cachix(Some(&upload));
    let begun = all.create("other", iglu_end2end::cachix::wire::Compression::Zstd).await.unwrap();
    let md5 = digest::md5_base64(b"bytes");
    let url = all.part("other", &begun, 1, &md5).await.unwrap().upload_url;
    let waiting = Draft::new("waiting", 1, small(9), "zstd", &[]).await.unwrap();
    assert!(tenants.other.put_file(&waiting).await.unwrap().status.is_success());
    let old_key = door.server.cache_show("other").unwrap().public_keys;
    let pin = json!({"name": "p", "storePath": tenants.secret.path, "artifacts": [], "keep": null}).to_string();
    let everywhere = Credentials::Bearer(upload.clone());
    assert_eq!(door.send_as(&everywhere, Method::POST, "/api/v1/cache/other/pin", &[], pin).await.status, 200);

    door.server.admin(&["cache", "remove", "other", "--yes"], "").unwrap();
    door.server.cache("other", false).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for name in tenants.files() {
        for credentials in [Credentials::None, everywhere.clone(), tenants.other.credentials.clone()] {
            let reply = door.send_as(&credentials, Method::GET, &format!("/other/{name}"), &[], "").await;
            assert_eq!(reply.status, 404, "{name}: {}", reply.text());
        }
    }
    // The old token has no right on the new cache, nor has what was begun with the old one.
    refused(&tenants.other.put_file(&waiting).await.unwrap(), 403, "the old token");
    let new = door.server.putter("other", &upload);
    refused(&new.put_narinfo(&waiting, &waiting.narinfo).await.unwrap(), 400, "a file put before");
    let put = all.put_once(&url, &md5, b"bytes".to_vec().into()).await;
    assert!(put.unwrap_err().status().is_some_and(|status| matches!(status, 403 | 404 | 410)));
    assert_eq!(all.part("other", &begun, 1, &md5).await.unwrap_err().status(), Some(404));
    assert_eq!(all.pins("other").await.unwrap(), []);
    assert_ne!(door.server.cache_show("other").unwrap().public_keys, old_key);
    new.push(&waiting).await.unwrap();
    door.is_calm("removed caches").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_becomes_private_is_private_at_once() {
    let door = door().await;
    let draft = Draft::new("was-public", 1, small(1), "zstd", &[]).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    let admin = Credentials::Bearer(door.server.token("main", Scope::Admin).unwrap());
    let names = [
        format!("{}.narinfo", draft.hash()),
        draft.url.clone(),
        "nix-cache-info".to_owned(),
        format!("{}.ls", draft.hash()),
    ];
    for name in &names {
        assert_eq!(door.send_as(&Credentials::None, Method::GET, &format!("/main/{name}"), &[], "").await.status, 200);
    }
    let patch = json!({"is_public": false}).to_string();
    assert_eq!(door.send_as(&admin, Method::PATCH, "/_api/v1/cache-config/main", &[], patch).await.status, 200);
    for name in &names {
        for base in ["", "/api/v1/cache"] {
            let reply = door.send_as(&Credentials::None, Method::GET, &format!("{base}/main/{name}"), &[], "").await;
            refused(&reply, 401, name);
            let etag = [("If-None-Match", "*")];
            refused(
                &door.send_as(&Credentials::None, Method::GET, &format!("{base}/main/{name}"), &etag, "").await,
                401,
                name,
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_names_open_no_other_doors() {
    let server = Setup::default().with_cache_domain("cache.test").start().await.unwrap();
    server.cache("main", false).unwrap();
    server.cache("other", true).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let http = Http::new().reaching(&server.address()).unwrap();
    let get = async |host: &str, path: &str| {
        let credentials = Credentials::Bearer(token.clone());
        http.call(Method::GET, &format!("http://{host}{path}"), &credentials, &[], "").await.unwrap().status.as_u16()
    };
    for (host, path, status) in [
        ("main.cache.test", "/nix-cache-info", 200),
        ("MAIN.CACHE.TEST", "/nix-cache-info", 200),
        ("other.cache.test", "/nix-cache-info", 403),
        ("other.cache.test", "/main/nix-cache-info", 403),
        ("main.cache.test", "/other/nix-cache-info", 404),
        ("main.other.cache.test", "/nix-cache-info", 404),
        ("nowhere.cache.test", "/nix-cache-info", 404),
        ("main.cache.test.evil.example", "/nix-cache-info", 404),
        ("xmain.cache.test", "/nix-cache-info", 404),
        ("..cache.test", "/nix-cache-info", 404),
        ("main.cache.test", "/api/v1/cache/other/nix-cache-info", 403),
        ("main.cache.test", "//other/nix-cache-info", 404),
    ] {
        let Ok(_) = format!("http://{host}{path}").parse::<http::Uri>() else { continue };
        assert_eq!(get(host, path).await, status, "{host}{path}");
    }
}
