//! Every release of the cachix client since 1.0, and the calls besides push: key, pin, doctor, HEAD.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use iglu_end2end::cachix::wire::{Compression, Keep, NarInfoCreate, Permission, Pin};
use iglu_end2end::cachix::{Client, Error, Profile, PushOptions, Signer, Upload};
use iglu_end2end::http::{Credentials, Http};
use iglu_end2end::object::Object;
use iglu_end2end::put::{Putter, compress};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::{Scope, Server, Setup};
use iglu_end2end::{digest, nar};

/// The public half of the key made of the bytes 0 to 31, and what the client keeps of it.
const KEY: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";

/// A server whose caches have host names of their own, reached without DNS.
struct Site {
    server: Server,
    token: String,
}

impl Site {
    /// With a public cache `main`.
    async fn open() -> Self {
        let server = Setup::default().with_cache_domain("cache.test").start().await.unwrap();
        server.cache("main", false).unwrap();
        let token = server.token("main", Scope::Push).unwrap();
        Self { server, token }
    }

    /// `http://HOST:PORT`.
    fn at(&self, host: &str) -> String {
        let address = self.server.address();
        format!("http://{host}:{}", address.split_once(':').unwrap().1)
    }

    fn client_of(&self, host: &str, profile: Profile, token: Option<&str>) -> Client {
        Client::new(profile, host, token).reaching(&self.server.address()).unwrap()
    }

    fn client(&self, profile: Profile) -> Client {
        self.client_of(&self.at("cache.test"), profile.without_path_repeats(), Some(&self.token))
    }

    fn newest(&self, token: Option<&str>) -> Client {
        self.client_of(&self.at("cache.test"), Profile::v1_11_1().without_repeats(), token)
    }

    fn reader(&self, cache: &str) -> Putter {
        let http = Http::new().reaching(&self.server.address()).unwrap();
        Putter { http, ..Putter::new(&self.at(&format!("{cache}.cache.test")), &self.token) }
    }

    /// Visible under the cache's own host, every number of it right; gives the compression.
    async fn serves(&self, object: &Object) -> String {
        let reader = self.reader("main");
        let narinfo = reader.narinfo(object.hash()).await.unwrap();
        let narinfo = narinfo.unwrap_or_else(|| panic!("{} is missing", object.path));
        assert_eq!(narinfo.get("StorePath"), Some(object.path.as_str()));
        assert!(!narinfo.all("Sig").is_empty());
        reader.check(&narinfo).await.unwrap();
        narinfo.get("Compression").unwrap().to_owned()
    }

    /// One path in the cache `main`.
    async fn pushed(&self, name: &str, seed: u64) -> Object {
        let object = Object::synthetic(name, 5000, seed);
        self.client(Profile::v1_11_1()).push_one("main", &object, &PushOptions::default()).await.unwrap();
        object
    }
}

/// A few paths, of which each but the first refers to the one before and to itself.
fn closure(tag: &str, seed: u64) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for i in 0..6 {
        let object = Object::synthetic(&format!("{tag}-{i}"), 60_000 * i + 100, seed * 100 + i);
        let itself = object.path.clone();
        objects.push(match objects.last() {
            Some(before) => object.referring_to(&before.path).referring_to(&itself),
            None => object,
        });
    }
    objects
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    Refusal::of_call(result).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_release_pushes_a_closure() {
    let site = Site::open().await;
    for (seed, profile) in Profile::all().into_iter().enumerate() {
        let release = profile.release().to_owned();
        let in_parts = profile.upload == Upload::Parts;
        let always_xz = profile.upload == (Upload::Whole { names_compression: false });
        let client = site.client(profile.with_chunk_size(64 * 1024));
        let objects = closure(&format!("release-{release}"), seed as u64);
        let report = client.push("main", &objects, &PushOptions::default()).await;
        let report = report.unwrap_or_else(|error| panic!("release {release}: {error}"));
        assert_eq!((report.missing.len(), report.pushed.len()), (objects.len(), objects.len()), "release {release}");
        assert_eq!(report.pushed.iter().any(|pushed| pushed.parts > 1), in_parts, "release {release}");
        let preferred = client.cache("main").await.unwrap().preferred_compression_method;
        let compression = if always_xz || preferred == Compression::Xz { "xz" } else { "zstd" };
        for object in &objects {
            assert_eq!(site.serves(object).await, compression, "release {release}");
        }
        let again = client.push("main", &objects, &PushOptions::default()).await.unwrap();
        assert!(again.missing.is_empty() && again.pushed.is_empty(), "release {release}: {again:?}");
        let nothing = client.push("main", &[], &PushOptions::default()).await.unwrap();
        assert!(nothing.missing.is_empty(), "release {release}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_narinfo_before_its_nar_is_refused_and_can_be_sent_again() {
    let site = Site::open().await;
    for (seed, (profile, name)) in
        [(Profile::v1_0(), "xz"), (Profile::v1_1(), "xz"), (Profile::v1_1(), "zstd")].into_iter().enumerate()
    {
        let compression = if name == "xz" { Compression::Xz } else { Compression::Zstd };
        let client = site.client(profile.without_repeats());
        let nar = nar::archive(&nar::regular(&digest::Random::new(seed as u64).bytes(3000)));
        let file = compress(name, &nar).await.unwrap();
        let object = Object::bytes("order", seed as u64, nar.clone());
        let claims = NarInfoCreate::of(&object.path, &nar, &file);

        assert_eq!(refused(client.post_narinfo("main", &claims).await).status, 400);
        client.post_nar("main", compression, nar.len() as u64, Cursor::new(file.clone())).await.unwrap();
        assert_eq!(site.reader("main").narinfo(object.hash()).await.unwrap(), None, "visible without a narinfo");
        let spoilt = [
            NarInfoCreate { file_hash: digest::sha256_hex(b"other"), ..claims.clone() },
            NarInfoCreate { file_size: claims.file_size + 1, ..claims.clone() },
            NarInfoCreate { nar_hash: format!("sha256:{}", digest::sha256_nix32(b"other")), ..claims.clone() },
            NarInfoCreate { nar_size: claims.nar_size - 8, ..claims.clone() },
        ];
        for spoilt in spoilt {
            // The client starts again with the NAR, and so may the server.
            client.post_nar("main", compression, nar.len() as u64, Cursor::new(file.clone())).await.unwrap();
            assert_eq!(refused(client.post_narinfo("main", &spoilt).await).status, 400, "{spoilt:?}");
            assert_eq!(site.reader("main").narinfo(object.hash()).await.unwrap(), None, "{spoilt:?}");
        }
        client.post_nar("main", compression, nar.len() as u64, Cursor::new(file.clone())).await.unwrap();
        client.post_narinfo("main", &claims).await.unwrap();
        site.serves(&object).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_nar_of_one_cache_is_none_of_another() {
    let site = Site::open().await;
    site.server.cache("other", false).unwrap();
    let token = site.server.token_named("all", None, Scope::Push, None).unwrap();
    let client = site.client_of(&site.at("cache.test"), Profile::v1_1().without_repeats(), Some(&token));
    let nar = nar::archive(&nar::regular(b"one cache's own"));
    let file = compress("xz", &nar).await.unwrap();
    let object = Object::bytes("foreign", 1, nar.clone());
    let claims = NarInfoCreate::of(&object.path, &nar, &file);
    client.post_nar("main", Compression::Xz, 0, Cursor::new(file)).await.unwrap();
    assert_eq!(refused(client.post_narinfo("other", &claims).await).status, 400);
    client.post_narinfo("main", &claims).await.unwrap();
    site.serves(&object).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_readers_push_with_no_release() {
    let site = Site::open().await;
    let reader = site.server.token("main", Scope::Pull).unwrap();
    let nar = nar::archive(&nar::regular(b"x"));
    let file = compress("xz", &nar).await.unwrap();
    let claims = NarInfoCreate::of(&digest::made_up_path("unwanted", 1), &nar, &file);
    for profile in Profile::all() {
        let release = profile.release().to_owned();
        for (token, status) in [(None, 401), (Some(reader.as_str()), 403)] {
            let client = site.client_of(&site.at("cache.test"), profile.clone().without_repeats(), token);
            if profile.upload == Upload::Parts {
                let created = client.create("main", Compression::Xz).await;
                assert_eq!(refused(created).status, status, "release {release}");
            } else {
                let sent = client.post_nar("main", Compression::Xz, 0, Cursor::new(file.clone())).await;
                assert_eq!(refused(sent).status, status, "release {release}");
                assert_eq!(refused(client.post_narinfo("main", &claims).await).status, status, "release {release}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_doctor_tell_what_is_there() {
    let site = Site::open().await;
    site.server.cache("closed", true).unwrap();
    let present = site.pushed("present", 1).await;
    let absent = digest::hash_part(&digest::made_up_path("absent", 1)).to_owned();
    for (token, permission) in [(None, Permission::Read), (Some(site.token.as_str()), Permission::Write)] {
        let client = site.newest(token);
        assert!(client.head_narinfo("main", present.hash()).await.unwrap());
        assert!(!client.head_narinfo("main", &absent).await.unwrap());
        assert_eq!(client.doctor("main", Some(present.hash())).await.unwrap().present, Some(true));
        assert_eq!(client.doctor("main", Some(&absent)).await.unwrap().present, Some(false));
        let healthy = client.doctor("main", None).await.unwrap();
        assert_eq!((healthy.cache.permission, healthy.present), (permission, None));
    }
    let nobody = site.newest(None);
    assert_eq!(nobody.head_narinfo("closed", &absent).await.unwrap_err().status(), Some(401));
    assert_eq!(refused(nobody.doctor("closed", Some(&absent)).await).status, 401);
    let everywhere = site.server.token_named("everything", None, Scope::Admin, None).unwrap();
    assert_eq!(refused(site.newest(Some(&everywhere)).doctor("nowhere", None).await).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_clients_are_listed_under_the_name_of_the_cache() {
    let site = Site::open().await;
    let admin = site.server.token("main", Scope::Admin).unwrap();
    let client = site.newest(Some(&admin));
    // The second time is the same key again.
    for _ in 0..2 {
        client.key("main", KEY).await.unwrap();
        let keys = client.cache("main").await.unwrap().public_signing_keys;
        let listed: Vec<_> = keys.iter().filter(|key| key.ends_with(&format!(":{KEY}"))).collect();
        assert_eq!(listed.len(), 1, "{keys:?}");
        assert!(listed[0].starts_with("main.cache.test-"), "{keys:?}");
    }
    let other = nix_compat::signing::SigningKey::from_seed("other", [9; 32]).unwrap().verifying_key();
    let other = STANDARD.encode(other.as_bytes());
    match client.key("main", &other).await {
        Ok(()) => {
            let keys = client.cache("main").await.unwrap().public_signing_keys;
            let names: std::collections::BTreeSet<_> = keys.iter().map(|key| key.split_once(':').unwrap().0).collect();
            assert_eq!(names.len(), keys.len(), "two keys of one name: {keys:?}");
            assert!(keys.iter().any(|key| key.ends_with(&other)), "{keys:?}");
        }
        failed => assert!(matches!(refused(failed).status, 400 | 409)),
    }

    let signer = Some(Signer::parse(SECRET).unwrap());
    for (seed, profile) in Profile::all().into_iter().enumerate() {
        let object = Object::synthetic("signed", 5000, seed as u64);
        let options = PushOptions { signer: signer.clone(), ..PushOptions::default() };
        site.client(profile).push_one("main", &object, &options).await.unwrap();
        site.serves(&object).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_bad_form_and_of_strangers_are_refused() {
    let site = Site::open().await;
    let token = |scope| site.server.token_named(&format!("{scope:?}"), Some("main"), scope, None).unwrap();
    let admin = site.newest(Some(&token(Scope::Admin)));
    let before = admin.cache("main").await.unwrap().public_signing_keys;
    let bytes = |len: usize| STANDARD.encode(vec![7; len]);
    for bad in [String::new(), "x".to_owned(), "!".repeat(44), bytes(31), bytes(33), bytes(64), format!("main-1:{KEY}")]
    {
        assert_eq!(refused(admin.key("main", &bad).await).status, 400, "{bad}");
    }
    let url = format!("{}/api/v1/cache/main/key", site.server.url());
    let credentials = Credentials::Bearer(token(Scope::Admin));
    for body in ["", "{", "{}", "[]", r#"{"publicKey":5}"#, r#"{"publicKey":null}"#] {
        let headers = [("content-type", "application/json;charset=utf-8")];
        let reply = site.server.http().call(Method::POST, &url, &credentials, &headers, body).await.unwrap();
        assert_eq!(Refusal::of(&reply).unwrap().status, 400, "{body}");
    }
    assert_eq!(refused(site.newest(None).key("main", KEY).await).status, 401);
    assert_eq!(refused(site.newest(Some(&token(Scope::Pull))).key("main", KEY).await).status, 403);
    assert_eq!(admin.cache("main").await.unwrap().public_signing_keys, before);
}

fn pin(name: &str, path: &str, keep: Option<Keep>) -> Pin {
    Pin { name: name.to_owned(), store_path: path.to_owned(), artifacts: Vec::new(), keep }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pins_are_refused_with_a_sentence() {
    let site = Site::open().await;
    site.server.cache("other", false).unwrap();
    let object = site.pushed("pinned", 1).await;
    let client = site.newest(Some(&site.token));
    let unknown = pin("a", &digest::made_up_path("absent", 1), None);
    let refusal = refused(client.pin("main", &unknown).await);
    assert!(matches!(refusal.status, 400 | 404), "{refusal:?}");
    for path in ["", "/", "x", "/nix/store/", "/nix/store/short-x", &object.path[11..], &format!("{}/bin", object.path)]
    {
        let refusal = refused(client.pin("main", &pin("a", path, Some(Keep::Forever))).await);
        assert!(matches!(refusal.status, 400 | 404), "{path}: {refusal:?}");
    }
    let url = format!("{}/api/v1/cache/main/pin", site.server.url());
    let credentials = Credentials::Bearer(site.token.clone());
    let with = |keep: &str| format!(r#"{{"name":"a","storePath":"{}","artifacts":[],"keep":{keep}}}"#, object.path);
    for body in [
        String::new(),
        "{}".to_owned(),
        with(r#"{"tag":"Sometimes"}"#),
        with(r#"{"tag":"Days"}"#),
        with(r#"{"tag":"Days","contents":"3"}"#),
        with(r#"{"tag":"Days","contents":-1}"#),
        with(r#""Forever""#),
        with("5"),
    ] {
        let headers = [("content-type", "application/json;charset=utf-8")];
        let reply = site.server.http().call(Method::POST, &url, &credentials, &headers, body.clone()).await.unwrap();
        assert_eq!(Refusal::of(&reply).unwrap().status, 400, "{body}");
    }
    let good = pin("a", &object.path, None);
    let token = |cache, scope| site.server.token(cache, scope).unwrap();
    assert_eq!(refused(site.newest(None).pin("main", &good).await).status, 401);
    assert_eq!(refused(site.newest(Some(&token("main", Scope::Pull))).pin("main", &good).await).status, 403);
    assert_eq!(refused(site.newest(Some(&token("other", Scope::Push))).pin("main", &good).await).status, 403);
    assert!(client.pins("main").await.unwrap().is_empty());
    client.pin("main", &good).await.unwrap();
}
