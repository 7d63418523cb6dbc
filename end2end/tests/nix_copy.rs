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
