//! A hundred queued runs and one node: their order, who gets how much, and the limits.

use crate::state;
use http::Method;
use iglu_end2end::builder::Workshop;
use serde_json::{Value, json};

/// Runs of each builder, and how many of them it has at a time.
const BUILDERS: [(&str, usize, i64); 4] = [("alone", 20, 1), ("pair", 30, 2), ("many", 40, 8), ("late", 10, 8)];
const CAPACITY: i64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_runs_keep_their_order_their_share_and_their_limits() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let mut runs = Vec::new();
    for (name, count, most) in BUILDERS {
        let what = json!({ "kind": "command", "command": "echo done" });
        shop.builder(name, &json!({ "what": what, "limits": { "runs": most } })).await.unwrap();
        for at in 0..count {
            // The last one of all is the first one to go.
            let priority = if name == "late" && at == count - 1 { 10 } else { 0 };
            let body = json!({ "priority": priority });
            let started = shop.call(Method::POST, &format!("builders/{name}/runs"), &body).await.unwrap();
            runs.push(started["id"].as_u64().unwrap());
        }
    }
    let queue = shop.call(Method::GET, "queue", &Value::Null).await.unwrap();
    assert_eq!(queue.as_array().unwrap().len(), 100);
    let urgent = *runs.last().unwrap();
    assert_eq!(queue[0]["id"], urgent);

    let _node = shop.node_at("one", &shop.server.url(), &["--node-capacity", "4"]).await.unwrap();
    let mut ended = Vec::new();
    for run in &runs {
        let run = shop.ended(*run).await.unwrap();
        assert_eq!((state(&run), &run["run"]["attempt"]), ("succeeded", &json!(1)), "{run}");
        ended.push(run["run"].clone());
    }
    let number = |run: &Value, name: &str| run[name].as_i64().unwrap();
    let overlap = |run: &Value, name: Option<&str>| {
        let at = number(run, "started_at");
        let others = ended.iter().filter(|other| name.is_none_or(|name| other["builder"] == name));
        i64::try_from(
            others.filter(|other| number(other, "started_at") <= at && at < number(other, "ended_at")).count(),
        )
        .unwrap()
    };
    let mut most = 0;
    for run in &ended {
        let name = run["builder"].as_str().unwrap();
        let (_, _, limit) = BUILDERS.into_iter().find(|(other, ..)| *other == name).unwrap();
        assert!(overlap(run, Some(name)) <= limit, "{name} had more than {limit} at a time");
        most = most.max(overlap(run, None));
    }
    assert_eq!(most, CAPACITY, "the node was never idle, and never had more than it takes");

    let mut order = ended.clone();
    order.sort_by_key(|run| (number(run, "started_at"), number(run, "id")));
    assert_eq!(order[0]["id"], urgent);
    // Within a builder and a priority, who came first goes first.
    for (name, ..) in BUILDERS {
        let ids: Vec<i64> = order
            .iter()
            .filter(|run| run["builder"] == name && run["id"] != urgent)
            .map(|run| number(run, "id"))
            .collect();
        assert!(ids.is_sorted(), "{name}: {ids:?}");
    }
    // While all of them had some left, nobody got twice as much as another: 8 of the first 32 would be the exact share.
    for (name, ..) in BUILDERS {
        let got = order[..32].iter().filter(|run| run["builder"] == name).count();
        assert!((5..=11).contains(&got), "{name} got {got} of the first 32");
    }
}
