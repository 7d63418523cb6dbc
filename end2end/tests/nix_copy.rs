//! The real Nix pushes with `nix copy` and pulls as a substituter, trusting nothing but the cache's key.

#![allow(clippy::unwrap_used)]

use iglu_end2end::digest;
use iglu_end2end::nix::{self, FreshStore, Nix, PathInfo, said};
use iglu_end2end::put::Narinfo;
use iglu_end2end::server::{Scope, Server};
use nix_compat::signing::{SigningKey, VerifyingKey};

fn netrc(token: &str) -> String {
    format!("machine 127.0.0.1 login ci password {token}\n")
}

/// The public key of another secret key with the same name.
fn other_key(key: &str) -> String {
    let name = key.split_once(':').unwrap().0;
    SigningKey::from_seed(name, [9; 32]).unwrap().verifying_key().to_string()
}

fn same_files(store: &FreshStore, closure: &[PathInfo]) {
    store.holds(closure).unwrap();
}

fn signed_by(narinfo: &Narinfo, info: &PathInfo, key: &str) -> bool {
    let references: Vec<String> = info.references.iter().map(|base| format!("/nix/store/{base}")).collect();
    let text = format!("1;{};sha256:{};{};{}", info.path, info.nar_hash, info.nar_size, references.join(","));
    let key = VerifyingKey::parse(key).unwrap();
    narinfo.all("Sig").iter().any(|sig| {
        let sig = nix_compat::signing::Signature::parse(sig).unwrap();
        sig.key_name == key.name() && key.verify(&text, &sig)
    })
}

/// More than 120 paths in, and out into a store that trusts only the cache's key; and only then.
async fn closure_round_trip(compression: &str) {
    let (top, closure) = nix::many(compression).await.unwrap();
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let key = cache.public_keys.first().unwrap();
    let push = server.token("main", Scope::Push).unwrap();
    let pull = server.token("main", Scope::Pull).unwrap();
    let target = format!("{}?compression={compression}", cache.uri);

    let copied = Nix::new().unwrap().with_netrc(&netrc(&push)).unwrap().copy_to(&target, &[&top]).await.unwrap();
    assert!(copied.status.success(), "{}", said(&copied));

    // A token that may not write succeeds exactly if there is nothing left to upload.
    let again = Nix::new().unwrap().with_netrc(&netrc(&pull)).unwrap().copy_to(&target, &[&top]).await.unwrap();
    assert!(again.status.success(), "the second push uploads something: {}", said(&again));

    let reader = server.putter("main", &pull);
    for info in &closure {
        let narinfo = reader.narinfo(digest::hash_part(&info.path)).await.unwrap().unwrap();
        assert_eq!(narinfo.get("StorePath"), Some(info.path.as_str()));
        assert_eq!(narinfo.get("Compression"), Some(compression));
        assert_eq!(narinfo.get("NarHash"), Some(format!("sha256:{}", info.nar_hash).as_str()));
        assert_eq!(narinfo.get("NarSize"), Some(info.nar_size.to_string().as_str()));
        assert_eq!(narinfo.get("References"), Some(info.references.join(" ").as_str()));
        assert_eq!(narinfo.get("Deriver"), info.deriver.as_deref());
        assert!(signed_by(&narinfo, info, key), "{narinfo:?}");
        reader.check(&narinfo).await.unwrap();
    }

    let store = FreshStore::new().unwrap();
    let got = Nix::new().unwrap().substitute(&store, &cache.uri, key, &[&top]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
    same_files(&store, &closure);
    let verified = Nix::new().unwrap().verify(&store, key, &top).await.unwrap();
    assert!(verified.status.success(), "{}", said(&verified));

    let wary = FreshStore::new().unwrap();
    let refused = Nix::new().unwrap().substitute(&wary, &cache.uri, &other_key(key), &[&top]).await.unwrap();
    assert!(!refused.status.success(), "another key of the same name was good enough");
    assert!(!wary.locate(&top).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_round_trip_with_xz() {
    closure_round_trip("xz").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_round_trip_with_zstd() {
    closure_round_trip("zstd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_round_trip_uncompressed() {
    closure_round_trip("none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_cache_opens_through_netrc_only() {
    let (top, closure) = nix::many("private").await.unwrap();
    let server = Server::start().await.unwrap();
    let cache = server.cache("secret", true).unwrap();
    let key = cache.public_keys.first().unwrap();
    let push = server.token("secret", Scope::Push).unwrap();
    let pull = server.token("secret", Scope::Pull).unwrap();
    let target = format!("{}?compression=zstd", cache.uri);

    for nix in [Nix::new().unwrap(), Nix::new().unwrap().with_netrc(&netrc("iglu_nonsense")).unwrap()] {
        let refused = nix.copy_to(&target, &[&top]).await.unwrap();
        assert!(!refused.status.success(), "pushed without a token: {}", said(&refused));
    }
    let copied = Nix::new().unwrap().with_netrc(&netrc(&push)).unwrap().copy_to(&target, &[&top]).await.unwrap();
    assert!(copied.status.success(), "{}", said(&copied));

    let store = FreshStore::new().unwrap();
    let nix = Nix::new().unwrap().with_netrc(&netrc(&pull)).unwrap();
    let got = nix.substitute(&store, &cache.uri, key, &[&top]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
    same_files(&store, &closure);

    for nix in [Nix::new().unwrap(), Nix::new().unwrap().with_netrc(&netrc("iglu_nonsense")).unwrap()] {
        let store = FreshStore::new().unwrap();
        let refused = nix.substitute(&store, &cache.uri, key, &[&top]).await.unwrap();
        assert!(!refused.status.success(), "pulled without a token");
        assert!(!store.locate(&top).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netrc_works_in_each_of_its_forms() {
    let (top, _) = nix::chain("netrc").await.unwrap();
    let server = Server::start().await.unwrap();
    let cache = server.cache("secret", true).unwrap();
    let key = cache.public_keys.first().unwrap();
    let push = server.token("secret", Scope::Push).unwrap();
    let pull = server.token("secret", Scope::Pull).unwrap();
    let copied = Nix::new().unwrap().with_netrc(&netrc(&push)).unwrap().copy_to(&cache.uri, &[&top]).await.unwrap();
    assert!(copied.status.success(), "{}", said(&copied));

    for netrc in [
        format!("machine 127.0.0.1 login x password {pull}\n"),
        format!("machine 127.0.0.1\n  password {pull}\n"),
        format!("default login someone@example.org password {pull}\n"),
    ] {
        let store = FreshStore::new().unwrap();
        let nix = Nix::new().unwrap().with_netrc(&netrc).unwrap();
        let got = nix.substitute(&store, &cache.uri, key, &[&top]).await.unwrap();
        assert!(got.status.success(), "{}: {}", netrc.replace(&pull, "TOKEN"), said(&got));
    }
    let store = FreshStore::new().unwrap();
    let with_user = cache.uri.replacen("://", &format!("://anyone:{pull}@"), 1);
    let got = Nix::new().unwrap().substitute(&store, &with_user, key, &[&top]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_commands_read_the_cache() {
    let (top, closure) = nix::chain("commands").await.unwrap();
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let key = cache.public_keys.first().unwrap();
    let push = server.token("main", Scope::Push).unwrap();
    let nix = Nix::new().unwrap().with_netrc(&netrc(&push)).unwrap();
    let copied = nix.copy_to(&format!("{}?write-nar-listing=true", cache.uri), &[&top]).await.unwrap();
    assert!(copied.status.success(), "with a listing: {}", said(&copied));

    // The same with and without a slash at the end.
    for uri in [cache.uri.clone(), format!("{}/", cache.uri)] {
        let json =
            Nix::new().unwrap().must("nix", &["path-info", "--store", &uri, "--json", "-r", &top]).await.unwrap();
        let infos: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(infos.len(), closure.len());
        for info in &closure {
            let told = infos.iter().find(|told| told["path"] == info.path.as_str()).unwrap();
            assert_eq!(told["narSize"], info.nar_size);
            let signatures = told["signatures"].as_array().unwrap();
            assert!(signatures.iter().any(|sig| sig.as_str().unwrap().starts_with(key.split(':').next().unwrap())));
        }
    }

    let root = FreshStore::new().unwrap();
    let to = root.path().display().to_string();
    let line = ["copy", "--from", &cache.uri, "--to", &to, &top, "--option", "trusted-public-keys"];
    let refused = Nix::new().unwrap().run("nix", &[&line[..], &[&other_key(key)]].concat()).await.unwrap();
    assert!(said(&refused).contains("signature"), "{}", said(&refused));
    assert!(!refused.status.success());
    Nix::new().unwrap().must("nix", &[&line[..], &[key]].concat()).await.unwrap();
    same_files(&root, &closure);

    let listed = Nix::new().unwrap().must("nix", &["store", "ls", "-lR", "--store", &cache.uri, &top]).await.unwrap();
    for name in ["./run", "./zeros", "./self"] {
        assert!(listed.contains(name), "{listed}");
    }
    let file = format!("{top}/self");
    let text = Nix::new().unwrap().must("nix", &["store", "cat", "--store", &cache.uri, &file]).await.unwrap();
    assert_eq!(text, format!("I am {top}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn signature_of_the_pusher_stays_beside_that_of_the_cache() {
    let (top, closure) = nix::chain("signed").await.unwrap();
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let push = server.token("main", Scope::Push).unwrap();
    let keys = tempfile::tempdir().unwrap();
    let secret = SigningKey::from_seed("builder-1", [5; 32]).unwrap();
    let file = keys.path().join("secret");
    std::fs::write(&file, secret.to_secret_text().as_str()).unwrap();

    let target = format!("{}?secret-key={}", cache.uri, file.display());
    let copied = Nix::new().unwrap().with_netrc(&netrc(&push)).unwrap().copy_to(&target, &[&top]).await.unwrap();
    assert!(copied.status.success(), "{}", said(&copied));

    let reader = server.putter("main", &push);
    let theirs = secret.verifying_key().to_string();
    for info in &closure {
        let narinfo = reader.narinfo(digest::hash_part(&info.path)).await.unwrap().unwrap();
        for key in [&theirs, &cache.public_keys[0]] {
            assert!(signed_by(&narinfo, info, key), "{key} has not signed {narinfo:?}");
        }
    }
    for key in [&theirs, &cache.public_keys[0]] {
        let store = FreshStore::new().unwrap();
        let got = Nix::new().unwrap().substitute(&store, &cache.uri, key, &[&top]).await.unwrap();
        assert!(got.status.success(), "{key}: {}", said(&got));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_push_overlapping_closures_at_once() {
    let (one, _) = nix::many("one").await.unwrap();
    let (two, _) = nix::chain("one").await.unwrap();
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let push = server.token("main", Scope::Push).unwrap();
    let client = || Nix::new().unwrap().with_netrc(&netrc(&push)).unwrap();
    let target = format!("{}?compression=zstd", cache.uri);
    let (first, second) = (client(), client());
    let (these, those) = ([one.as_str(), &two], [two.as_str(), &one]);
    let (first, second) = tokio::join!(first.copy_to(&target, &these), second.copy_to(&target, &those));
    for copied in [first.unwrap(), second.unwrap()] {
        assert!(copied.status.success(), "{}", said(&copied));
    }
    let store = FreshStore::new().unwrap();
    let got = Nix::new().unwrap().substitute(&store, &cache.uri, &cache.public_keys[0], &[&one, &two]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
}
