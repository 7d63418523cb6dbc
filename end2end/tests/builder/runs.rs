//! What becomes of a run: in the cache, in its log, at its end.

use crate::{derivations, path, pushed, reason, state};
use http::Method;
use iglu_end2end::{
    builder::Workshop,
    nix::{FreshStore, Nix},
};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn outputs(names: &[&str]) -> Value {
    json!({ "what": { "kind": "flake", "outputs": names } })
}

#[tokio::test]
async fn a_run_fills_the_cache() {
    let shop = Workshop::start().await.unwrap();
    let commit = shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    let run = shop.once("demo", &outputs(&["report", "checks"])).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    assert_eq!(run["run"]["commit"], commit.as_str());
    assert_eq!(run["run"]["subject"], "Say hello");
    assert_eq!(run["run"]["node"], "one");
    assert_eq!(derivations(&run), [("hello-demo", "built"), ("report-demo", "built"), ("smoke-check", "built")]);
    assert_eq!(pushed(&run), ["hello-demo", "report-demo", "report-demo-doc", "smoke-check"]);
    let log = shop.log(run["run"]["id"].as_u64().unwrap()).await.unwrap();
    assert!(log.iter().any(|line| line == "built for x86_64-linux"), "{log:?}");

    // Somebody who trusts the cache's key, and nothing else, gets it.
    let nix = Nix::new().unwrap();
    let store = FreshStore::new().unwrap();
    let report = path(&run, "-report-demo");
    let fetched = nix.substitute(&store, &shop.cache.uri, &shop.cache.public_keys[0], &[&report]).await.unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    let greeting = std::fs::read_to_string(store.locate(&report).join("greeting")).unwrap();
    assert_eq!(greeting, "hello from demo\n");

    // The build's log is where Nix looks for it.
    let drv = run["derivations"].as_array().unwrap().iter().find(|one| one["name"] == "hello-demo").unwrap();
    let url = format!("{}/main/log/{}", shop.server.url(), drv["drv"].as_str().unwrap());
    assert_eq!(shop.server.http().get(&url).await.unwrap().text(), "built for x86_64-linux\n");

    // Again: nothing is left to build or to push.
    let again = shop.ended(shop.run("demo").await.unwrap()).await.unwrap();
    assert_eq!(state(&again), "succeeded");
    assert_eq!(derivations(&again), [("report-demo", "substituted"), ("smoke-check", "substituted")]);
    assert!(pushed(&again).is_empty(), "{again}");
    assert_eq!(again["earlier"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_another_node_built_is_fetched_and_not_built_again() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let first = shop.node("first").await.unwrap();
    let run = shop.once("demo", &outputs(&["report"])).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    drop(first);
    let _second = shop.node("second").await.unwrap();
    let run = shop.ended(shop.run("demo").await.unwrap()).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    assert_eq!(run["run"]["node"], "second");
    assert_eq!(derivations(&run), [("report-demo", "substituted")]);
}

#[tokio::test]
async fn a_failed_run_leaves_what_it_built() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    let mut spec = outputs(&["broken", "hello"]);
    spec["keep_going"] = true.into();
    let run = shop.once("demo", &spec).await.unwrap();
    assert_eq!((state(&run), reason(&run)), ("failed", "broken-demo failed with exit code 3"));
    assert_eq!(derivations(&run), [("broken-demo", "failed"), ("hello-demo", "built")]);
    assert_eq!(pushed(&run), ["hello-demo"]);
    let log = shop.log(run["run"]["id"].as_u64().unwrap()).await.unwrap();
    let oops = log.iter().position(|line| line == "oops").unwrap();
    assert_eq!(log[oops - 1], "about to fail");
}

#[tokio::test]
async fn what_cannot_be_built_is_told_in_a_line() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    shop.forge
        .commit(
            "bad",
            &[("flake.nix", "{ outputs = { self }: { packages.x86_64-linux.a = throw \"not today\"; }; }")],
            "bad",
        )
        .unwrap();
    shop.forge.commit("secret", &[("a", "b")], "locked").unwrap();
    shop.forge.lock("secret", "robot", "right");
    let _node = shop.node("one").await.unwrap();
    let repository = |name: &str| json!({ "repository": shop.forge.repository(name) });
    for (name, spec, told) in [
        ("attribute", outputs(&["nosuch"]), "does not provide attribute"),
        ("reference", json!({ "reference": "nosuch" }), "couldn't find remote ref nosuch"),
        ("absent", repository("nosuch"), "not found"),
        ("unreachable", json!({ "repository": "http://127.0.0.1:9/x.git" }), "unable to access"),
        ("locked", repository("secret"), "could not read Username"),
        ("no-flake", json!({ "what": { "kind": "flake", "outputs": ["a"], "folder": "nosuch" } }), "nosuch"),
        (
            "throws",
            json!({ "repository": shop.forge.repository("bad"), "what": { "kind": "flake", "outputs": ["a"] } }),
            "error: not today",
        ),
        ("no-file", json!({ "what": { "kind": "file", "file": "nosuch.nix" } }), "nosuch.nix"),
        ("command", json!({ "what": { "kind": "command", "command": "exit 7" } }), "exit status: 7"),
    ] {
        let run = shop.once(name, &spec).await.unwrap();
        assert_eq!(state(&run), "failed", "{name} {run}");
        assert!(reason(&run).contains(told), "{name}: {}", reason(&run));
    }
    // A password that was right once.
    let password = |password: &str| json!({ "kind": "password", "user": "robot", "password": password });
    let spec =
        json!({ "repository": shop.forge.repository("secret"), "what": { "kind": "command", "command": "cat a" } });
    shop.builder_with("secret", &spec, &password("right")).await.unwrap();
    let run = shop.ended(shop.run("secret").await.unwrap()).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    shop.forge.lock("secret", "robot", "changed");
    let run = shop.ended(shop.run("secret").await.unwrap()).await.unwrap();
    assert_eq!(state(&run), "failed");
    assert!(reason(&run).contains("Authentication failed"), "{}", reason(&run));
}

#[tokio::test]
async fn no_node_for_a_system_is_said_while_the_run_waits() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    shop.builder("demo", &json!({ "systems": ["aarch64-linux"] })).await.unwrap();
    let run = shop.run("demo").await.unwrap();
    assert!(reason(&shop.get(run).await.unwrap()).contains("no node takes work"));
    let _node = shop.node("one").await.unwrap();
    let now = shop.wait(run, "hinted", |now| reason(now).contains("no node can build aarch64-linux")).await.unwrap();
    assert_eq!(state(&now), "queued");
    shop.call(Method::POST, &format!("runs/{run}/cancel"), &json!({})).await.unwrap();
    assert_eq!(state(&shop.get(run).await.unwrap()), "cancelled");
}

#[tokio::test]
async fn lines_come_as_they_are_written_and_cancelling_ends_everything() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let node = shop.node("one").await.unwrap();
    shop.builder("demo", &outputs(&["slow"])).await.unwrap();
    let run = shop.run("demo").await.unwrap();
    let mut delays = Vec::new();
    let mut known = 0;
    while delays.len() < 4 {
        let part = shop.call(Method::GET, &format!("runs/{run}/log?first={known}"), &Value::Null).await.unwrap();
        #[allow(clippy::disallowed_methods, reason = "what a build wrote is the machine's time")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        for line in part["lines"].as_array().unwrap() {
            known += 1;
            if let Some(at) = line["text"].as_str().unwrap().strip_prefix("tick ") {
                let written = Duration::from_millis(at.split(' ').nth(1).unwrap().parse().unwrap());
                delays.push(now.saturating_sub(written));
            }
        }
        assert!(!shop.get(run).await.unwrap()["run"]["state"].as_str().unwrap().contains("fail"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Typically some 200 ms; a loaded machine is given time, and a line a second apart still tells them from a log at the end.
    assert!(delays.iter().all(|delay| *delay < Duration::from_secs(2)), "{delays:?}");
    eprintln!("from written to readable: {delays:?}");
    assert!(!node.processes().is_empty());
    shop.call(Method::POST, &format!("runs/{run}/cancel"), &json!({})).await.unwrap();
    let ended = shop.ended(run).await.unwrap();
    assert_eq!(state(&ended), "cancelled");
    assert!(reason(&ended).contains("cancelled by"), "{}", reason(&ended));
    assert_eq!(derivations(&ended), [("slow-demo", "skipped")]);
    assert_eq!(node.processes(), Vec::<String>::new());
    node.tidy().await.unwrap();
}
