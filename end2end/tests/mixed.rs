//! Clients of every protocol at the same cache: what one pushes is the same object to all others.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use iglu_end2end::attic;
use iglu_end2end::cachix::{self, Profile, PushOptions};
use iglu_end2end::nix::{self, FreshStore, Nix};
use iglu_end2end::object::Object;
use iglu_end2end::put::Draft;
use iglu_end2end::server::{Scope, Server, Setup};

/// Files below the folder of NARs.
fn nar_files(server: &Server) -> usize {
    fn count(folder: &std::path::Path) -> usize {
        let entries =
            std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
        entries.iter().map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&server.data().join("storage/nar"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_pushes_overlapping_closures_at_once() {
    let server = Setup::default().with_cache_domain("cache.test").start().await.unwrap();
    let key = server.cache("main", false).unwrap().public_keys.remove(0);
    let token = server.token("main", Scope::Push).unwrap();
    let (top, closure) = nix::many("mixed").await.unwrap();
    assert!(closure.len() > 120, "{}", closure.len());
    let objects: Vec<Object> = closure.iter().map(Object::stored).collect();
    let by_path: BTreeMap<&str, &Object> = objects.iter().map(|object| (object.path.as_str(), object)).collect();
    let host = format!("http://cache.test:{}", server.address().rsplit(':').next().unwrap());

    let mut clients = tokio::task::JoinSet::new();
    let profiles: Vec<Profile> = Profile::all().into_iter().cycle().take(10).collect();
    for (number, profile) in profiles.into_iter().enumerate() {
        let release = profile.release().to_owned();
        let client = cachix::Client::new(profile, &host, Some(&token)).reaching(&server.address()).unwrap();
        // Each leaves out some leaves, so that closures overlap without being equal; all have the top.
        let share: Vec<Object> = objects
            .iter()
            .enumerate()
            .filter(|(n, object)| object.path == top || n % 10 != number)
            .map(|(_, o)| o.clone())
            .collect();
        clients.spawn(async move {
            let pushed = client.push("main", &share, &PushOptions::default()).await;
            pushed.map(drop).map_err(|error| format!("cachix {release}: {error}"))
        });
    }
    for celler in [false, true] {
        let client = attic::Client::new(&format!("{}/", server.url()), Some(&token)).unwrap();
        let client = if celler { client.celler() } else { client };
        let objects = objects.clone();
        clients.spawn(async move {
            let pushed = client.push("main", &objects, &attic::PushOptions::default()).await;
            pushed.and_then(attic::PushReport::whole).map(drop).map_err(|error| format!("attic: {error}"))
        });
    }
    let nix = Arc::new(Nix::new().unwrap().with_netrc(&format!("machine 127.0.0.1 password {token}\n")).unwrap());
    let (copier, url, path) = (nix.clone(), format!("{}/main?compression=zstd", server.url()), top.clone());
    clients.spawn(async move {
        let copied = copier.copy_to(&url, &[&path]).await.map_err(|error| error.to_string())?;
        if copied.status.success() { Ok(()) } else { Err(format!("nix copy: {}", nix::said(&copied))) }
    });
    let failures: Vec<String> = clients.join_all().await.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{failures:#?}");

    // One row for each path, whoever was first; every one is whole.
    let putter = server.putter("main", &token);
    for path in by_path.keys() {
        let narinfo = putter.narinfo(iglu_end2end::digest::hash_part(path)).await.unwrap();
        putter.check(&narinfo.unwrap_or_else(|| panic!("{path} is missing"))).await.unwrap();
    }
    let contents = server.http().get(&format!("{}/api/v1/cache/main/contents", server.url())).await.unwrap();
    let contents: Vec<String> = serde_json::from_slice(&contents.body).unwrap();
    assert_eq!(contents.len(), closure.len());

    let store = FreshStore::new().unwrap();
    let fresh = Nix::new().unwrap();
    let pulled = fresh.substitute(&store, &format!("{}/main", server.url()), &key, &[&top]).await.unwrap();
    assert!(pulled.status.success(), "{}", nix::said(&pulled));
    store.holds(&closure).unwrap();
}

#[tokio::test]
async fn one_nar_is_stored_once_whoever_brings_it() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let nar =
        iglu_end2end::nar::archive(&iglu_end2end::nar::regular(&iglu_end2end::digest::Random::new(5).bytes(90_000)));
    let object = |name: &str, seed| Object::bytes(name, seed, nar.clone());

    server.cachix(Some(&token)).push_one("main", &object("by-cachix", 1), &PushOptions::default()).await.unwrap();
    let stored = nar_files(&server);
    assert_eq!(stored, 1);
    let attic = attic::Client::new(&server.url(), Some(&token)).unwrap();
    let report = attic.push_one("main", &object("by-attic", 2), &attic::PushOptions::default()).await.unwrap();
    let result = report.pushed[0].result.clone().unwrap();
    assert_eq!((format!("{:?}", result.kind).as_str(), result.frac_deduplicated), ("Deduplicated", Some(1.0)));
    assert_eq!(nar_files(&server), stored);

    // A client that compresses otherwise puts another file; the path still shares the first.
    let draft = Draft::new("by-put", 3, nar.clone(), "xz", &[]).await.unwrap();
    let putter = server.putter("main", &token);
    putter.push(&draft).await.unwrap();
    let urls: Vec<String> = ["by-cachix", "by-attic", "by-put"]
        .iter()
        .zip(1..)
        .map(|(name, seed)| iglu_end2end::digest::made_up_path(name, seed))
        .map(|path| iglu_end2end::digest::hash_part(&path).to_owned())
        .collect();
    let mut files = Vec::new();
    for hash in &urls {
        let narinfo = putter.narinfo(hash).await.unwrap().unwrap();
        putter.check(&narinfo).await.unwrap();
        files.push(narinfo.get("URL").unwrap().to_owned());
    }
    files.dedup();
    assert_eq!(files.len(), 1, "{files:?}");
}
