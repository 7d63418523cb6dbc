//! What is seen at one server of what was done at another.

use std::time::{Duration, Instant};

use iglu_end2end::cluster::Cluster;
use iglu_end2end::load::{CACHE, until};
use iglu_end2end::nar;
use iglu_end2end::put::Draft;
use iglu_end2end::server::{Scope, Server, Setup};

async fn draft(name: &str) -> Draft {
    Draft::new(name, 1, nar::archive(&nar::regular(name.as_bytes())), "zstd", &[]).await.unwrap()
}

/// The value of a series without labels.
async fn metric(server: &Server, name: &str) -> f64 {
    let text = server.http().get(&format!("{}/metrics", server.ops_url())).await.unwrap().text();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_everywhere_at_once() {
    let cluster = Cluster::start(Setup::default(), 3).await.unwrap();
    let [one, two, three] = &cluster.replicas[..] else { unreachable!() };
    one.cache(CACHE, false).unwrap();
    let token = one.token(CACHE, Scope::Admin).unwrap();
    for number in 0..20 {
        let draft = draft(&format!("seen-{number}")).await;
        // Asked for in vain everywhere first: a server that remembered that would be wrong in a moment.
        for server in [one, two, three] {
            for _ in 0..3 {
                assert!(server.putter(CACHE, &token).narinfo(draft.hash()).await.unwrap().is_none());
            }
        }
        let pusher = [one, two, three][number % 3];
        pusher.putter(CACHE, &token).push(&draft).await.unwrap();
        for server in [one, two, three] {
            let narinfo = server.putter(CACHE, &token).narinfo(draft.hash()).await.unwrap();
            assert!(narinfo.is_some(), "push {number} is not seen");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_know_of_each_other() {
    let mut cluster = Cluster::start(Setup::default(), 3).await.unwrap();
    async fn leaders(cluster: &Cluster) -> Vec<usize> {
        let mut leaders = Vec::new();
        for (number, server) in cluster.replicas.iter().enumerate() {
            if metric(server, "iglu_leader").await == 1.0 {
                leaders.push(number);
            }
        }
        leaders
    }
    for server in &cluster.replicas {
        until("all three are heard", || async { metric(server, "iglu_replicas").await == 3.0 }).await;
    }
    let first = leaders(&cluster).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let killed = Instant::now();
    cluster.replicas[first[0]].kill().unwrap();
    let rest: Vec<&Server> =
        cluster.replicas.iter().enumerate().filter(|(at, _)| *at != first[0]).map(|(_, it)| it).collect();
    until("another one leads", || async {
        let mut leading = 0.0;
        for server in &rest {
            leading += metric(server, "iglu_leader").await;
        }
        leading == 1.0
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    for server in rest {
        until("who died is not heard", || async { metric(server, "iglu_replicas").await == 2.0 }).await;
    }
    // It comes back and leads nobody.
    cluster.replicas[first[0]].restart().await.unwrap();
    until("it is heard again", || async { metric(&cluster.replicas[first[0]], "iglu_replicas").await == 3.0 }).await;
    let now = leaders(&cluster).await;
    assert!(now.len() == 1 && now != first, "{now:?}");
}
