//! One NAR far larger than the server's memory may grow, in by each door and out again.
//! 256 MiB unless `IGLU_BIG=1` asks for 5 GiB, which takes minutes and as much room on disk several times over.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http_body_util::BodyExt as _;
use iglu_end2end::attic;
use iglu_end2end::cachix::PushOptions;
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, request};
use iglu_end2end::nix::{self, FreshStore, Nix, NixRelease, said};
use iglu_end2end::object::Object;
use iglu_end2end::s3::S3Server;
use iglu_end2end::scene::Scene;
use iglu_end2end::server::{Scope, Server, Setup};
use sha2::Digest as _;

const MIB: u64 = 1024 * 1024;
const LIMIT: u64 = 200 * MIB;

fn size() -> u64 {
    if std::env::var("IGLU_BIG").is_ok_and(|value| value == "1") { 5 * 1024 * MIB } else { 256 * MIB }
}

fn memory_is_bounded(server: &Server, when: &str) {
    let peak = server.peak_rss().unwrap();
    println!("peak resident memory {when}: {} MiB", peak / MIB);
    assert!(peak < LIMIT, "{when}: {} MiB resident", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_nar_by_cachix_parts() {
    by_cachix_parts(Server::start().await.unwrap()).await;
}

/// Through the server into a bucket and out of it: parts, assembly, verification and download.
#[tokio::test(flavor = "multi_thread")]
async fn large_nar_through_a_bucket() {
    let s3 = S3Server::s3s_fs().await.unwrap();
    by_cachix_parts(Setup::default().with_bucket(&s3, &s3.endpoint()).start().await.unwrap()).await;
}

async fn by_cachix_parts(server: Server) {
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let object = Object::synthetic("large", size(), 1);
    let report = server.cachix(Some(&token)).push_one("main", &object, &PushOptions::default()).await.unwrap();
    memory_is_bounded(&server, "after the push");
    let pushed = &report.pushed[0];
    assert!(pushed.parts as u64 >= size() / (32 * MIB), "the content must not compress");

    let reader = server.putter("main", &token);
    let narinfo = reader.narinfo(object.hash()).await.unwrap().unwrap();
    assert_eq!(narinfo.get("NarHash"), Some(pushed.nar_hash.as_str()));
    let get =
        request(http::Method::GET, &reader.url(narinfo.get("URL").unwrap()), &Credentials::None, &[], "").unwrap();
    let response = server.http().stream(get).await.unwrap();
    assert_eq!(response.headers()["content-length"], narinfo.get("FileSize").unwrap());
    let (mut body, mut sha256) = (response.into_body(), sha2::Sha256::new());
    while let Some(frame) = body.frame().await {
        sha256.update(frame.unwrap().into_data().unwrap());
    }
    assert_eq!(format!("sha256:{}", digest::nix32(&sha256.finalize())), narinfo.get("FileHash").unwrap());
    memory_is_bounded(&server, "after the download");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_nar_by_nix_copy() {
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let patience = Duration::from_secs(1800);
    let nix = Nix::new().unwrap().patience(patience);
    let bytes = size().to_string();
    let tag = format!("of-{bytes}");
    let built = nix.build(&nix::expression("large.nix"), None, &[("size", &bytes), ("tag", &tag)]).await.unwrap();
    let path = built.first().unwrap();
    let target = format!("{}?compression=zstd", cache.uri);
    let netrc = format!("machine 127.0.0.1 login x password {token}\n");
    let pusher = Nix::new().unwrap().patience(patience).with_netrc(&netrc).unwrap();
    let copied = pusher.copy_to(&target, &[path]).await.unwrap();
    assert!(copied.status.success(), "{}", said(&copied));
    memory_is_bounded(&server, "after nix copy");

    let store = FreshStore::new().unwrap();
    let puller = Nix::new().unwrap().patience(patience);
    let got = puller.substitute(&store, &cache.uri, &cache.public_keys[0], &[path]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
    assert_eq!(std::fs::metadata(store.locate(path)).unwrap().len(), size());
    memory_is_bounded(&server, "after substitution");
    // It would stay on this machine otherwise.
    nix.must("nix-store", &["--delete", path]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_nar_by_attic() {
    let check = Check::new("attic 7.8", "a NAR of 256 MiB, of 5 GiB in `make test-big`, in bounded memory");
    check
        .with("attic", async {
            let scene = Scene::new(NixRelease::Host).await.unwrap();
            let object = Object::synthetic("large", size(), 2);
            let client = scene.attic(attic::Flavour::Attic).unwrap();
            client.push_one("main", &object, &attic::PushOptions::default()).await.unwrap();
            memory_is_bounded(&scene.server, "after attic push");
            let narinfo = scene.putter().narinfo(object.hash()).await.unwrap().unwrap();
            let (sha256, nar_size) = object.measure().await.unwrap();
            assert_eq!(narinfo.get("NarHash"), Some(format!("sha256:{}", digest::nix32(&sha256)).as_str()));
            assert_eq!(narinfo.get("NarSize"), Some(nar_size.to_string().as_str()));

            let store = FreshStore::new().unwrap();
            let puller = scene.stranger().unwrap().patience(Duration::from_secs(1800));
            let got = puller.substitute(&store, scene.uri(), scene.key(), &[&object.path]).await.unwrap();
            assert!(got.status.success(), "{}", said(&got));
            assert_eq!(std::fs::metadata(store.locate(&object.path)).unwrap().len(), size());
            memory_is_bounded(&scene.server, "after substitution");
        })
        .await;
}
