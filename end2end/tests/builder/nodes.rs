//! Nodes that share work, and nodes, servers and networks that go away in the middle of it.

use crate::{reason, state};
use http::Method;
use iglu_end2end::{
    builder::Workshop,
    fault_proxy::{Fault, FaultProxy, Rule},
    server::Setup,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, time::Duration};

/// Counts to so many, a second each.
fn counting(to: u32) -> Value {
    let text = format!("i=0; while [ $i -lt {to} ]; do i=$((i+1)); echo count $i; sleep 1; done");
    json!({ "what": { "kind": "command", "command": text }, "limits": { "runs": 4 } })
}

/// The counts in a log.
async fn counted(shop: &Workshop, run: u64) -> Vec<u32> {
    let log = shop.log(run).await.unwrap();
    log.iter().filter_map(|line| line.strip_prefix("count ")?.parse().ok()).collect()
}

async fn counted_to(shop: &Workshop, run: u64, to: u32) {
    for _ in 0..300 {
        if counted(shop, run).await.contains(&to) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("run {run} does not count to {to}");
}

#[tokio::test]
async fn two_nodes_share_the_work() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _nodes = [shop.node("one").await.unwrap(), shop.node("two").await.unwrap()];
    shop.builder("demo", &counting(2)).await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(shop.run("demo").await.unwrap());
    }
    let mut by = Vec::new();
    for run in runs {
        let run = shop.ended(run).await.unwrap();
        assert_eq!(state(&run), "succeeded", "{run}");
        by.push(run["run"]["node"].as_str().unwrap().to_owned());
    }
    assert_eq!(by.iter().collect::<BTreeSet<_>>().len(), 2, "{by:?}");
}

#[tokio::test]
async fn a_killed_node_loses_its_run_to_another() {
    let shop = Workshop::with(Setup::default().with_serve(&["--run-lease", "6s"])).await.unwrap();
    shop.forge.demo("demo").unwrap();
    let mut one = shop.node("one").await.unwrap();
    shop.builder("demo", &counting(6)).await.unwrap();
    let run = shop.run("demo").await.unwrap();
    counted_to(&shop, run, 2).await;
    let _two = shop.node("two").await.unwrap();
    one.kill().unwrap();
    // Whatever it had started ends with it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(one.processes(), Vec::<String>::new());
    let ended = shop.ended(run).await.unwrap();
    assert_eq!(
        (state(&ended), &ended["run"]["node"], &ended["run"]["attempt"]),
        ("succeeded", &json!("two"), &json!(2))
    );
    let log = shop.log(run).await.unwrap().join("\n");
    assert!(log.contains("node one was lost; queued again"), "{log}");
    assert!(counted(&shop, run).await.ends_with(&[1, 2, 3, 4, 5, 6]));
}

#[tokio::test]
async fn a_node_that_starts_again_gives_its_run_back_at_once() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let mut one = shop.node("one").await.unwrap();
    shop.builder("demo", &counting(4)).await.unwrap();
    let run = shop.run("demo").await.unwrap();
    for attempt in 1..=3 {
        shop.wait(run, "begun", |now| now["run"]["attempt"] == attempt && state(now) == "running").await.unwrap();
        one.kill().unwrap();
        one.restart().unwrap();
    }
    let ended = shop.ended(run).await.unwrap();
    assert_eq!((state(&ended), reason(&ended)), ("failed", "node one was lost; that was attempt 3 of 3"));
    one.tidy().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_killed_in_mid_run_hears_the_rest() {
    let mut shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _one = shop.node("one").await.unwrap();
    shop.builder("demo", &counting(8)).await.unwrap();
    let run = shop.run("demo").await.unwrap();
    counted_to(&shop, run, 2).await;
    shop.server.kill().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    shop.server.restart().await.unwrap();
    let ended = shop.ended(run).await.unwrap();
    assert_eq!((state(&ended), &ended["run"]["attempt"]), ("succeeded", &json!(1)), "{ended}");
    assert_eq!(counted(&shop, run).await, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_network_that_is_away_for_a_minute_loses_nothing() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let proxy = FaultProxy::start(&shop.server.address()).unwrap();
    let _one = shop.node_at("one", &proxy.url(), &[]).await.unwrap();
    // Pushes something while nobody can be reached.
    let text = "echo count 1; sleep 2; echo count 2; nix-build default.nix --out-link result >/dev/null; echo count 3; sleep 1; echo count 4";
    shop.builder("demo", &json!({ "what": { "kind": "command", "command": text } })).await.unwrap();
    let run = shop.run("demo").await.unwrap();
    counted_to(&shop, run, 1).await;
    proxy.add(Rule::new(Fault::Reset));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(counted(&shop, run).await, [1]);
    proxy.clear();
    // Then answers get lost behind what was done.
    proxy.add(Rule::new(Fault::Swallow).target("/report").chance(0.5));
    let ended = shop.ended(run).await.unwrap();
    assert_eq!((state(&ended), &ended["run"]["attempt"]), ("succeeded", &json!(1)), "{ended}");
    assert_eq!(counted(&shop, run).await, [1, 2, 3, 4]);
    assert_eq!(crate::pushed(&ended), ["one", "two"]);
}

#[tokio::test]
async fn nodes_are_drained_and_removed() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let one = shop.node_at("one", &shop.server.url(), &["--node-capacity", "2"]).await.unwrap();
    shop.builder("demo", &counting(2)).await.unwrap();
    let nodes = || -> Value { serde_json::from_str(&shop.server.admin(&["nodes", "list"], "").unwrap()).unwrap() };
    let row = nodes()["nodes"][0].clone();
    assert_eq!((&row["name"], &row["kind"], &row["capacity"]), (&json!("one"), &json!("remote"), &json!(2)));
    assert_eq!(row["systems"][0], "x86_64-linux");
    assert_eq!(row["nix_version"], "2.8.0");
    assert_eq!(row["version"], env!("CARGO_PKG_VERSION"));
    shop.server.admin(&["nodes", "drain", "one"], "").unwrap();
    let run = shop.run("demo").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let waits = shop.get(run).await.unwrap();
    assert_eq!(state(&waits), "queued");
    assert!(reason(&waits).contains("no node takes work"), "{}", reason(&waits));
    shop.server.admin(&["nodes", "resume", "one"], "").unwrap();
    assert_eq!(state(&shop.ended(run).await.unwrap()), "succeeded");
    shop.server.admin(&["nodes", "remove", "one"], "").unwrap();
    assert_eq!(nodes()["nodes"], json!([]));
    for _ in 0..300 {
        if one.log().contains("does not take this node") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the node goes on: {}", one.log());
}

#[tokio::test]
async fn the_servers_own_node_lives_and_dies_with_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let state_folder = folder.path().display().to_string();
    let setup = Setup::default().with_serve(&[
        "--embedded-node",
        "true",
        "--node-state",
        &state_folder,
        "--node-nix-options",
        "sandbox-paths = /bin /usr /lib /lib64",
    ]);
    let mut shop = Workshop::with(setup).await.unwrap();
    shop.forge.demo("demo").unwrap();
    let run = shop.once("demo", &json!({})).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    shop.builder("slow", &counting(30)).await.unwrap();
    let run = shop.run("slow").await.unwrap();
    counted_to(&shop, run, 1).await;
    shop.server.kill().unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    let left = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let sees = |file: &str, entry: &std::fs::DirEntry| {
            std::fs::read(entry.path().join(file)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(&name))
        };
        all.filter(|entry| sees("mountinfo", entry) || sees("cmdline", entry)).count()
    };
    for _ in 0..100 {
        if left() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(left(), 0);
    shop.server.restart().await.unwrap();
    let again =
        shop.wait(run, "taken again", |now| now["run"]["attempt"] == 2 && state(now) == "running").await.unwrap();
    assert_eq!(again["run"]["node"], json!(again["run"]["node"].as_str().unwrap()));
    shop.call(Method::POST, &format!("runs/{run}/cancel"), &json!({})).await.unwrap();
    assert_eq!(state(&shop.ended(run).await.unwrap()), "cancelled");
}

#[tokio::test]
async fn a_node_that_cannot_work_says_why() {
    let shop = Workshop::start().await.unwrap();
    let wrong = iglu_end2end::builder::Node::start("x", &shop.server.url(), "iglu_node_wrong", &[]).unwrap();
    // A folder that the user whom runs are cannot reach: only root has runs be somebody else.
    let closed = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(iglu_end2end::server::binary().unwrap());
    command.args(["node", "--server", &shop.server.url(), "--node-state"]).arg(closed.path().join("node"));
    command.env("IGLU_NODE_TOKEN", "iglu_node_wrong");
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("is closed to user 65534") || said.contains("no secret of a node"), "{said}");
    for _ in 0..100 {
        if wrong.log().contains("no secret of a node") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{}", wrong.log());
}
