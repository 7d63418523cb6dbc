//! A cache on top of another: what the other has need not be pushed, and counts as present.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use iglu_end2end::attic;
use iglu_end2end::cachix::PushOptions;
use iglu_end2end::object::Object;
use iglu_end2end::put::Draft;
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::{Scope, Server};

/// What a running server takes over from the command line.
async fn taken_over() {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

#[tokio::test]
async fn what_the_upstream_has_is_neither_asked_for_nor_waited_for() {
    let upstream = Server::start().await.unwrap();
    upstream.cache("base", false).unwrap();
    let libc = Object::synthetic("libc", 3_000, 1);
    let theirs = upstream.cachix(Some(&upstream.token("base", Scope::Push).unwrap()));
    theirs.push_one("base", &libc, &PushOptions::default()).await.unwrap();

    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let client = server.cachix(Some(&token));
    let app = Object::synthetic("app", 3_000, 2).referring_to(&libc.path);
    let hashes = [libc.hash().to_owned(), app.hash().to_owned()];

    // Off by default: the closure is to be complete here.
    let missing = client.missing("main", &hashes).await.unwrap();
    assert_eq!(missing.len(), 2);

    let url = format!("{}/base/", upstream.url());
    server.admin(&["cache", "set", "main", "--upstream", &url], "").unwrap();
    taken_over().await;
    assert_eq!(client.missing("main", &hashes).await.unwrap(), [app.hash()]);
    let report = client.push("main", &[libc.clone(), app.clone()], &PushOptions::default()).await.unwrap();
    assert_eq!(report.pushed.len(), 1);
    let putter = server.putter("main", &token);
    assert!(putter.narinfo(app.hash()).await.unwrap().is_some(), "shown without its reference, which the upstream has");
    assert!(putter.narinfo(libc.hash()).await.unwrap().is_none(), "the upstream's paths are not ours");

    // By PUT and by attic alike.
    let nar = iglu_end2end::nar::archive(&iglu_end2end::nar::regular(libc.path.as_bytes()));
    let base = iglu_end2end::digest::base_name(&libc.path).to_owned();
    putter.push(&Draft::new("tool", 3, nar, "zstd", &[&base]).await.unwrap()).await.unwrap();
    let attic = attic::Client::new(&server.url(), Some(&token)).unwrap();
    let lib = Object::synthetic("lib", 3_000, 4).referring_to(&libc.path);
    let report = attic.push("main", &[libc.clone(), lib.clone()], &attic::PushOptions::default()).await.unwrap();
    assert_eq!(report.missing, [lib.hash()]);
    assert!(putter.narinfo(lib.hash()).await.unwrap().is_some());

    // An upstream that is gone costs a short wait; what it had is missing then.
    drop(upstream);
    taken_over().await;
    let other = Object::synthetic("other", 100, 9);
    let started = Instant::now();
    assert_eq!(client.missing("main", &[other.hash().to_owned()]).await.unwrap(), [other.hash()]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());

    server.admin(&["cache", "set", "main", "--upstream", "none"], "").unwrap();
    taken_over().await;
    assert_eq!(client.missing("main", &hashes[..1]).await.unwrap(), hashes[..1]);
}

#[tokio::test]
async fn what_waits_is_shown_once_an_upstream_is_named() {
    let upstream = Server::start().await.unwrap();
    upstream.cache("base", false).unwrap();
    let libc = Object::synthetic("libc", 3_000, 1);
    let theirs = upstream.cachix(Some(&upstream.token("base", Scope::Push).unwrap()));
    theirs.push_one("base", &libc, &PushOptions::default()).await.unwrap();
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let app = Object::synthetic("app", 3_000, 2).referring_to(&libc.path);
    server.cachix(Some(&token)).push_one("main", &app, &PushOptions::default()).await.unwrap();
    let putter = server.putter("main", &token);
    assert!(putter.narinfo(app.hash()).await.unwrap().is_none());

    server.admin(&["cache", "set", "main", "--upstream", &format!("{}/base", upstream.url())], "").unwrap();
    for tries in 0.. {
        if putter.narinfo(app.hash()).await.unwrap().is_some() {
            break;
        }
        assert!(tries < 300, "still waiting after 30 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn upstreams_of_wrong_form_are_refused() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    for wrong in [
        "",
        "cache.nixos.org",
        "file:///nix",
        "https://",
        "https://a b",
        "https://u:p@x",
        "https://x/?q",
        &server.url(),
    ] {
        let refused = server.admin(&["cache", "set", "main", "--upstream", wrong], "").unwrap_err().to_string();
        assert!(refused.contains("upstream") && refused.lines().count() == 1, "{wrong:?}: {refused}");
    }
}

#[tokio::test]
async fn a_lenient_cache_shows_paths_without_their_references() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let (client, putter) = (server.cachix(Some(&token)), server.putter("main", &token));
    let absent = Object::synthetic("absent", 100, 1);
    let held = Object::synthetic("held", 3_000, 2).referring_to(&absent.path);
    client.push_one("main", &held, &PushOptions::default()).await.unwrap();
    assert!(putter.narinfo(held.hash()).await.unwrap().is_none(), "strict by default");

    server.admin(&["cache", "set", "main", "--closures", "lenient"], "").unwrap();
    taken_over().await;
    assert!(putter.narinfo(held.hash()).await.unwrap().is_some(), "what waited is shown");
    let base = iglu_end2end::digest::base_name(&absent.path).to_owned();
    let nar = iglu_end2end::nar::archive(&iglu_end2end::nar::regular(absent.path.as_bytes()));
    let draft = Draft::new("put", 3, nar.clone(), "zstd", &[&base]).await.unwrap();
    putter.push(&draft).await.unwrap();

    server.admin(&["cache", "set", "main", "--closures", "strict"], "").unwrap();
    taken_over().await;
    let draft = Draft::new("late", 4, nar, "zstd", &[&base]).await.unwrap();
    putter.put_file(&draft).await.unwrap();
    let refused = Refusal::of(&putter.put_narinfo(&draft, &draft.narinfo).await.unwrap()).unwrap();
    assert!(refused.status == 400 && refused.says(&[&base]), "{refused:?}");
}
