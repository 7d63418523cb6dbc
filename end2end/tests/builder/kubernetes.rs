//! Runs as Jobs: a real node asks a cluster for them, and their pods are real nodes for one run. The cluster is the tests' own: it has
//! the API, and starts processes; what a real one adds is in the schemas and in the calls of the builder's own tests.

use crate::{path, reason, state};
use http::Method;
use iglu_end2end::{
    builder::{Cluster, Node, Workshop},
    http::{Credentials, request},
    server::Setup,
};
use serde_json::json;
use std::time::Duration;

async fn emptied(cluster: &Cluster) {
    for _ in 0..200 {
        if cluster.counts() == (0, 0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("jobs, secrets and pods that stay: {:?}", cluster.counts());
}

async fn log_has(shop: &Workshop, run: u64, text: &str) {
    for _ in 0..600 {
        if shop.log(run).await.unwrap().iter().any(|line| line.contains(text)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("run {run} does not say {text:?}");
}

/// Builds what ticks for twelve seconds.
async fn slow(shop: &Workshop) -> u64 {
    let spec = json!({ "what": { "kind": "flake", "outputs": ["slow"] } });
    shop.builder("slow", &spec).await.unwrap();
    shop.run("slow").await.unwrap()
}

async fn shop() -> (Workshop, Cluster) {
    let shop = Workshop::with(Setup::default().with_serve(&["--run-lease", "8s"])).await.unwrap();
    shop.forge.demo("demo").unwrap();
    (shop, Cluster::start().unwrap())
}

#[tokio::test]
async fn a_run_is_a_job_that_pushes_what_it_builds() {
    let (shop, cluster) = shop().await;
    let _node = shop.node_of("cluster", &cluster, &[]).await.unwrap();
    let spec = json!({ "limits": { "cores": 1, "memory_mib": 2048 } });
    let run = shop.once("demo", &spec).await.unwrap();
    assert_eq!((state(&run), &run["run"]["node"]), ("succeeded", &json!("cluster")), "{run}");
    let made = path(&run, "-hello-demo");
    let hash = made.trim_start_matches("/nix/store/").split('-').next().unwrap();
    let url = format!("{}/main/{hash}.narinfo", shop.server.url());
    let request = request(Method::GET, &url, &Credentials::None, &[], String::new()).unwrap();
    let narinfo = shop.server.http().send(request).await.unwrap();
    assert!(narinfo.status == 200 && narinfo.text().contains("\nSig: main"), "signed, and there");
    emptied(&cluster).await;
    let asked = cluster.asked();
    assert_eq!(asked.len(), 1);
    let container = &asked[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example/iglu:1");
    assert_eq!(container["resources"]["limits"], json!({ "cpu": "1", "memory": "2560Mi" }));
    let nodes = shop.server.admin(&["nodes", "list"], "").unwrap();
    assert!(nodes.contains("kubernetes"), "{nodes}");
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_with_all_that_it_started() {
    let (shop, cluster) = shop().await;
    let node = shop.node_of("cluster", &cluster, &[]).await.unwrap();
    let run = slow(&shop).await;
    log_has(&shop, run, "tick 2").await;
    shop.call(Method::POST, &format!("runs/{run}/cancel"), &json!({})).await.unwrap();
    let ended = shop.ended(run).await.unwrap();
    assert_eq!(state(&ended), "cancelled");
    emptied(&cluster).await;
    // The node says so when the Job is gone.
    let started = std::time::Instant::now();
    while !node.log().contains("ended") {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // One whose pod never began.
    cluster.fill(true);
    let run = shop.run("slow").await.unwrap();
    let waits =
        |now: &serde_json::Value| reason(now) == "the cluster has no pod for it yet" && state(now) == "starting";
    shop.wait(run, "waiting", waits).await.unwrap();
    // Longer than the lease: the node keeps it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let now = shop.get(run).await.unwrap();
    assert!(waits(&now) && now["run"]["attempt"] == 1, "{now}");
    shop.call(Method::POST, &format!("runs/{run}/cancel"), &json!({})).await.unwrap();
    assert_eq!(state(&shop.ended(run).await.unwrap()), "cancelled");
    emptied(&cluster).await;
}

#[tokio::test]
async fn jobs_go_on_while_the_node_that_made_them_is_away() {
    let (shop, cluster) = shop().await;
    let mut node: Node = shop.node_of("cluster", &cluster, &[]).await.unwrap();
    let run = slow(&shop).await;
    log_has(&shop, run, "tick 2").await;
    node.kill().unwrap();
    log_has(&shop, run, "tick 5").await;
    node.restart().unwrap();
    let ended = shop.ended(run).await.unwrap();
    assert_eq!((state(&ended), &ended["run"]["attempt"]), ("succeeded", &json!(1)), "{ended}");
    emptied(&cluster).await;
    assert_eq!(cluster.asked().len(), 1);
}

#[tokio::test]
async fn the_run_of_a_pod_that_is_lost_is_tried_again() {
    let (shop, cluster) = shop().await;
    let _node = shop.node_of("cluster", &cluster, &[]).await.unwrap();
    let run = slow(&shop).await;
    log_has(&shop, run, "tick 1").await;
    cluster.kill_pods();
    let ended = shop.ended(run).await.unwrap();
    assert_eq!((state(&ended), &ended["run"]["attempt"]), ("succeeded", &json!(2)), "{ended}");
    emptied(&cluster).await;
    assert_eq!(cluster.asked().len(), 2);
}

#[tokio::test]
async fn a_pod_that_cannot_execute_runs_fails_them_with_its_last_words() {
    let (shop, cluster) = shop().await;
    let _node = shop.node_of("cluster", &cluster, &["--node-nix-options", "no option at all"]).await.unwrap();
    let run = shop.once("demo", &json!({})).await.unwrap();
    assert_eq!(state(&run), "failed", "{run}");
    assert!(reason(&run).starts_with("its pod cannot execute runs: "), "{}", reason(&run));
    assert!(reason(&run).contains("illegal configuration line 'no option at all'"), "{}", reason(&run));
    emptied(&cluster).await;
}

/// What a pod is told opens its own run and nothing else.
#[tokio::test]
async fn the_token_of_a_run_tells_of_that_run_only() {
    let (shop, cluster) = shop().await;
    let _node = shop.node_of("cluster", &cluster, &[]).await.unwrap();
    let run = slow(&shop).await;
    log_has(&shop, run, "tick 1").await;
    let (token, lease) = cluster.assignment().unwrap();
    let told = |path: String, token: String, lease: String| {
        let body = json!({ "lease": lease, "first": 0, "events": [] });
        let url = format!("{}/api/v1/node/{path}", shop.server.url());
        let bearer = Credentials::Bearer(token);
        let request = request(Method::POST, &url, &bearer, &[], body.to_string()).unwrap();
        async { shop.server.http().send(request).await.unwrap().status.as_u16() }
    };
    assert_eq!(told(format!("runs/{run}/report"), token.clone(), lease.clone()).await, 200);
    assert_eq!(told(format!("runs/{}/report", run + 1), token.clone(), lease.clone()).await, 401);
    assert_eq!(told(format!("runs/{run}/report"), token.clone(), "another".to_owned()).await, 409);
    assert_eq!(told("claim".to_owned(), token.clone(), lease.clone()).await, 401, "it takes no other run");
    shop.call(Method::POST, &format!("runs/{run}/cancel"), &json!({})).await.unwrap();
    shop.ended(run).await.unwrap();
    assert_eq!(told(format!("runs/{run}/report"), token, lease).await, 401, "and dies with it");
}
