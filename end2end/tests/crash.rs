//! `kill -9` in the middle of pushes: what a client was told is done stays, and what is visible is whole.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use iglu_end2end::cachix::{Profile, PushOptions};
use iglu_end2end::digest::Random;
use iglu_end2end::nar;
use iglu_end2end::object::Object;
use iglu_end2end::put::{Draft, Putter};
use iglu_end2end::server::{Scope, Server};

/// One of twenty pushers: half speak cachix, half PUT.
enum Load {
    Cachix(Vec<Object>),
    Put(Vec<Draft>),
}

async fn loads() -> Vec<Load> {
    let mut loads = Vec::new();
    for pusher in 0..20_u64 {
        let mut random = Random::new(pusher);
        if pusher % 2 == 0 {
            let mut objects: Vec<Object> = Vec::new();
            for i in 0..6 {
                let size = 100_000 + random.below(1_500_000) as u64;
                let object = Object::synthetic(&format!("crash-{pusher}"), size, pusher * 100 + i);
                objects.push(match objects.last() {
                    Some(before) => object.referring_to(&before.path),
                    None => object,
                });
            }
            loads.push(Load::Cachix(objects));
        } else {
            let mut drafts: Vec<Draft> = Vec::new();
            for i in 0..6 {
                let size = 100_000 + random.below(1_500_000);
                let before: Vec<&str> = drafts.last().map(|draft| draft.path.as_str()).into_iter().collect();
                let content = [before.concat().into_bytes(), random.bytes(size)].concat();
                let nar = nar::archive(&nar::regular(&content));
                let draft = Draft::new(&format!("crash-{pusher}"), i, nar, "zstd", &before).await.unwrap();
                drafts.push(draft);
            }
            loads.push(Load::Put(drafts));
        }
    }
    loads
}

fn hashes(loads: &[Load]) -> Vec<String> {
    let of = |load: &Load| -> Vec<String> {
        match load {
            Load::Cachix(objects) => objects.iter().map(|object| object.hash().to_owned()).collect(),
            Load::Put(drafts) => drafts.iter().map(|draft| draft.hash().to_owned()).collect(),
        }
    };
    loads.iter().flat_map(of).collect()
}

/// Pushes one after the other until the server is gone; gives the hashes that were confirmed.
async fn push(
    load: Arc<Vec<Load>>,
    which: usize,
    server: (String, String),
    confirmed: Arc<AtomicUsize>,
) -> (Vec<String>, bool) {
    let (url, token) = server;
    let mut done = Vec::new();
    match &load[which] {
        Load::Cachix(objects) => {
            let profile = Profile::v1_7_5().without_path_repeats().with_chunk_size(128 * 1024);
            let profile = Profile { backoff: iglu_end2end::cachix::Backoff::Doubling(0), ..profile };
            let client = iglu_end2end::cachix::Client::new(profile, &url, Some(&token));
            for object in objects {
                if client.push_one("main", object, &PushOptions::default()).await.is_err() {
                    return (done, false);
                }
                confirmed.fetch_add(1, Ordering::Relaxed);
                done.push(object.hash().to_owned());
            }
        }
        Load::Put(drafts) => {
            let putter = Putter::new(&format!("{url}/main"), &token);
            for draft in drafts {
                if putter.push(draft).await.is_err() {
                    return (done, false);
                }
                confirmed.fetch_add(1, Ordering::Relaxed);
                done.push(draft.hash().to_owned());
            }
        }
    }
    (done, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pushes_survive_kill_9() {
    let mut server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let loads = Arc::new(loads().await);
    let all = hashes(&loads);
    let mut ever_confirmed: Vec<String> = Vec::new();
    let mut interrupted = 0;

    // Killed three times, each time after some more paths were confirmed; the fourth round may finish.
    for round in 0..4 {
        let confirmed = Arc::new(AtomicUsize::new(0));
        let pushers: Vec<_> = (0..loads.len())
            .map(|which| tokio::spawn(push(loads.clone(), which, (server.url(), token.clone()), confirmed.clone())))
            .collect();
        if round < 3 {
            while confirmed.load(Ordering::Relaxed) < 10 + 15 * round {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            server.kill().unwrap();
        }
        for pusher in pushers {
            let (done, finished) = pusher.await.unwrap();
            ever_confirmed.extend(done);
            interrupted += usize::from(!finished);
            assert!(finished || round < 3, "pushing again does not complete");
        }
        if round < 3 {
            server.restart().await.unwrap();
        }
        let reader = server.putter("main", &token);
        let mut visible = 0;
        for hash in &all {
            match reader.narinfo(hash).await.unwrap() {
                Some(narinfo) => {
                    reader.check(&narinfo).await.unwrap_or_else(|error| panic!("round {round}: visible, but {error}"));
                    for reference in narinfo.get("References").unwrap().split_ascii_whitespace() {
                        let reference = reader.narinfo(&reference[..32]).await.unwrap();
                        assert!(reference.is_some(), "round {round}: {hash} is visible without what it refers to");
                    }
                    visible += 1;
                }
                None => assert!(!ever_confirmed.contains(hash), "round {round}: {hash} was confirmed and is lost"),
            }
        }
        assert!(round < 3 || visible == all.len(), "{visible} of {} in the end", all.len());
    }
    assert!(interrupted >= 20, "the kills came too late to interrupt anything: {interrupted}");
    let missing = server.cachix(Some(&token)).missing("main", &all).await.unwrap();
    assert!(missing.is_empty());
}
