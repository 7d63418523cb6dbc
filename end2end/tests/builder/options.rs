//! Each option of a builder acts.

use crate::{derivations, pushed, reason, state};
use http::Method;
use iglu_end2end::builder::Workshop;
use serde_json::{Value, json};

fn command(text: &str) -> Value {
    json!({ "kind": "command", "command": text })
}

async fn log(shop: &Workshop, run: &Value) -> Vec<String> {
    shop.log(run["run"]["id"].as_u64().unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_is_built_may_be_a_file_a_command_or_a_flake_in_a_folder() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let flake = include_str!("../../nix/demo/flake.nix");
    let hello = include_str!("../../nix/demo/hello.sh");
    shop.forge.commit("demo", &[("deep/flake.nix", flake), ("deep/hello.sh", hello)], "deeper").unwrap();
    let _node = shop.node("one").await.unwrap();
    let run = shop.once("all", &json!({ "what": { "kind": "file", "file": "default.nix" } })).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    assert_eq!(pushed(&run), ["one", "two"]);
    let run = shop
        .once("attribute", &json!({ "what": { "kind": "file", "file": "default.nix", "attributes": ["one"] } }))
        .await
        .unwrap();
    assert_eq!(derivations(&run), [("one", "substituted")], "{run}");
    let run = shop
        .once(
            "folder",
            &json!({ "what": { "kind": "flake", "folder": "deep", "outputs": ["packages"] }, "keep_going": true }),
        )
        .await
        .unwrap();
    assert_eq!(reason(&run), "broken-demo failed with exit code 3");
    assert!(pushed(&run).contains(&"cores-demo") && pushed(&run).contains(&"hello-demo"), "{run}");
    // A link that it leaves, and a path that it prints.
    let text = "nix-build default.nix -A two --out-link result-x >/dev/null && nix build --no-link .#smoke && nix path-info .#smoke";
    let text = text.replace(".#smoke", ".#checks.x86_64-linux.smoke");
    let run = shop.once("command", &json!({ "what": command(&text) })).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    assert_eq!(pushed(&run), ["smoke-check"], "{run}");
    shop.forge.commit("demo", &[("default.nix", "derivation { name = \"linked\"; system = builtins.currentSystem; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > $out\" ]; }")], "another").unwrap();
    let run =
        shop.once("linked", &json!({ "what": command("nix-build --out-link result-x >/dev/null") })).await.unwrap();
    assert_eq!(pushed(&run), ["linked"], "{run}");
}

#[tokio::test]
async fn limits_end_runs() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let node = shop.node_at("one", &shop.server.url(), &["--node-capacity", "4"]).await.unwrap();
    let with = |text: &str, limits: Value| json!({ "what": command(text), "limits": limits });
    shop.builder("timeout", &with("sleep 1000", json!({ "timeout_minutes": 1 }))).await.unwrap();
    let timeout = shop.run("timeout").await.unwrap();
    // `tail` holds what it may have to print.
    let memory = with("head -c 300M /dev/zero | tail -n 1 | wc -c", json!({ "memory_mib": 64 }));
    let run = shop.once("memory", &memory).await.unwrap();
    assert_eq!((state(&run), reason(&run)), ("failed", "it used more than 64 MiB of memory"));
    let evaluation = json!({
        "repository": shop.forge.repository("greedy"),
        "what": { "kind": "file", "file": "default.nix" },
        "limits": { "memory_mib": 200 },
    });
    let greedy = "derivation { name = toString (builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 60000000)); system = \"x\"; builder = \"x\"; }";
    shop.forge.commit("greedy", &[("default.nix", greedy)], "much").unwrap();
    let run = shop.once("evaluation", &evaluation).await.unwrap();
    assert_eq!((state(&run), reason(&run)), ("failed", "it used more than 200 MiB of memory"), "{run}");
    let run = shop.once("log", &with("yes some words | head -c 3M", json!({ "log_mib": 1 }))).await.unwrap();
    assert_eq!((state(&run), reason(&run)), ("failed", "it wrote more than 1 MiB into its log"));
    let lines = run["line_count"].as_u64().unwrap();
    assert!((90_000..110_000).contains(&lines), "{lines}");
    // What only just fits is whole.
    let run = shop.once("fits", &with("yes some words | head -c 1M", json!({ "log_mib": 2 }))).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    let run = shop.ended(timeout).await.unwrap();
    assert_eq!((state(&run), reason(&run)), ("timed_out", "it took longer than 1 minutes"));
    assert_eq!(node.processes(), Vec::<String>::new());
}

#[tokio::test]
async fn cores_jobs_and_history_are_as_the_builder_says() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    shop.forge.commit("demo", &[("more", "more")], "Second").unwrap();
    let _node = shop.node("one").await.unwrap();
    let cores = json!({ "what": { "kind": "flake", "outputs": ["cores"] }, "limits": { "cores": 3 } });
    let run = shop.once("cores", &cores).await.unwrap();
    assert!(log(&shop, &run).await.contains(&"cores 3".to_owned()), "{run}");
    let count = json!({ "what": command("git rev-list --count HEAD; nix show-config | grep ^max-jobs; nix show-config | grep -E '^(substituters|trusted-public-keys)'") });
    let run = shop.once("shallow", &count).await.unwrap();
    assert_eq!(log(&shop, &run).await[2..4], ["1", "max-jobs = 1"]);
    let mut whole = count.clone();
    whole["full_history"] = true.into();
    whole["limits"] = json!({ "jobs": 5 });
    whole["substituters"] = json!(["http://127.0.0.1:9/other"]);
    whole["trusted_keys"] = json!([shop.cache.public_keys[0].replace("main", "other")]);
    let run = shop.once("whole", &whole).await.unwrap();
    let log = log(&shop, &run).await;
    assert_eq!(log[2..4], ["2", "max-jobs = 5"]);
    let all = log.join("\n");
    assert!(all.contains("http://127.0.0.1:9/other") && all.contains("/main"), "{all}");
    assert!(all.contains("other.") && all.contains(&shop.cache.public_keys[0]), "{all}");
}

#[tokio::test]
async fn the_newest_runs_stay_pinned() {
    let shop = Workshop::start().await.unwrap();
    let _node = shop.node("one").await.unwrap();
    shop.forge.demo("demo").unwrap();
    shop.builder("demo", &json!({ "keep_runs": 2, "what": { "kind": "flake", "outputs": ["hello", "report"] } }))
        .await
        .unwrap();
    for text in ["one", "two", "three"] {
        shop.forge.commit("demo", &[("hello.sh", &format!("#!/bin/sh\necho {text}\n"))], text).unwrap();
        let run = shop.ended(shop.run("demo").await.unwrap()).await.unwrap();
        assert_eq!(state(&run), "succeeded", "{run}");
    }
    let pins = shop.call(Method::GET, "caches/main/pins", &Value::Null).await.unwrap();
    let pins = pins.as_array().unwrap();
    let names: Vec<&str> = pins.iter().map(|pin| pin["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "demo/packages.x86_64-linux.hello",
            "demo/packages.x86_64-linux.report",
            "demo/packages.x86_64-linux.report.doc"
        ]
    );
    assert!(pins.iter().all(|pin| pin["revisions"].as_array().unwrap().len() == 2), "{pins:?}");
}

#[tokio::test]
async fn a_builder_that_is_off_starts_nothing_and_two_runs_wait_for_each_other() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _node = shop.node_at("one", &shop.server.url(), &["--node-capacity", "3"]).await.unwrap();
    shop.builder("demo", &json!({ "what": command("sleep 2") })).await.unwrap();
    let set = |on: bool| json!({ "is_enabled": on });
    shop.call(Method::PATCH, "builders/demo", &set(false)).await.unwrap();
    let refused = shop.run("demo").await.unwrap_err().to_string();
    assert!(refused.starts_with("409") && refused.contains("switched off"), "{refused}");
    shop.call(Method::PATCH, "builders/demo", &set(true)).await.unwrap();
    let runs = [shop.run("demo").await.unwrap(), shop.run("demo").await.unwrap()];
    let first = shop.ended(runs[0]).await.unwrap();
    let second = shop.ended(runs[1]).await.unwrap();
    assert!(second["run"]["started_at"].as_i64() >= first["run"]["ended_at"].as_i64(), "{first} {second}");
    // With room for two they run together.
    let spec = shop.spec(&json!({ "what": command("sleep 2"), "limits": { "runs": 2 } })).unwrap();
    shop.call(Method::PATCH, "builders/demo", &json!({ "spec": spec })).await.unwrap();
    let runs = [shop.run("demo").await.unwrap(), shop.run("demo").await.unwrap()];
    let first = shop.ended(runs[0]).await.unwrap();
    let second = shop.ended(runs[1]).await.unwrap();
    assert!(second["run"]["started_at"].as_i64() < first["run"]["ended_at"].as_i64(), "{first} {second}");
}
