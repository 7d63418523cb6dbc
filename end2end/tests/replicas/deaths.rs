//! Servers that die, end, and come back as a newer version, while others push and pull.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use iglu_end2end::cluster::Cluster;
use iglu_end2end::load::{CACHE, Clients, Load, until};
use iglu_end2end::server::{Scope, Setup};

async fn cluster(setup: Setup) -> (Cluster, Clients) {
    let cluster = Cluster::start(setup.with_environment("IGLU_SCRUB_RATE", "0"), 3).await.unwrap();
    cluster.replicas[0].cache(CACHE, false).unwrap();
    let token = cluster.replicas[0].token(CACHE, Scope::Admin).unwrap();
    let clients = Clients {
        url: cluster.url(),
        token,
        pushers: 8,
        pullers: 32,
        rest: Duration::ZERO,
        keep: None,
        servers_die: false,
    };
    (cluster, clients)
}

/// How long the servers are troubled, in seconds: `IGLU_REPLICA_SECONDS`, 300 where it is asked for.
fn seconds() -> u64 {
    std::env::var("IGLU_REPLICA_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Every file and row agrees.
fn is_clean(cluster: &Cluster) {
    let output = cluster.replicas[0].run(&["check", "--full", "--json"]).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_killed_after_the_other() {
    let (mut cluster, clients) = cluster(Setup::default()).await;
    let load = Load::start(Clients { servers_die: true, ..clients });
    let pause = Duration::from_secs((seconds() / 30).clamp(5, 10));
    let (started, mut kills) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(seconds()) {
        tokio::time::sleep(pause).await;
        let victim = &mut cluster.replicas[kills % 3];
        victim.kill().unwrap();
        victim.restart().await.unwrap();
        kills += 1;
    }
    let book = load.end().await;
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    eprintln!(
        "{kills} kills: {} pushes, {} pulls, {} requests repeated",
        count(&book.pushed),
        count(&book.pulled),
        count(&book.repeated)
    );
    assert!(kills >= 3 && book.promises() > 20 && count(&book.pulled) > 100);
    is_clean(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_comes_one_by_one() {
    let (mut cluster, clients) = cluster(Setup::default().with_serve(&["--drain-delay", "1s"])).await;
    let load = Load::start(clients);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let folder = tempfile::tempdir().unwrap();
    let migration = folder.path().join("later.sql");
    let sql = "ALTER TABLE cache ADD COLUMN colour TEXT; ALTER TABLE store_path ADD COLUMN weight BIGINT NOT NULL DEFAULT 0; \
               CREATE TABLE later (id BIGINT PRIMARY KEY)";
    std::fs::write(&migration, sql).unwrap();
    for replica in &mut cluster.replicas {
        let before = load.book.promises();
        replica.terminate().unwrap();
        let status = tokio::time::timeout(Duration::from_secs(40), replica.ended()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
        replica.set_environment("IGLU_TEST_MIGRATION", Some(migration.to_str().unwrap()));
        replica.restart().await.unwrap();
        until("pushes go on", || async { load.book.promises() > before + 5 }).await;
    }
    // Nobody was told anything but what they asked for: nothing is tried again here.
    let book = load.end().await;
    assert!(book.promises() > 20 && book.pulled.load(Ordering::Relaxed) > 100);
    is_clean(&cluster);
    // The version before does not start over the schema of the next one, and says why.
    let mut old = cluster.one_more().await.err().unwrap().to_string();
    old.retain(|letter| letter != '\n');
    assert!(old.contains("the database has schema 9000, of a newer Iglu"), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_outlives_the_order_to_end() {
    let (mut cluster, clients) = cluster(Setup::default().with_serve(&["--drain", "20s"])).await;
    // Slow enough to be under way for some seconds: read in pieces with pauses.
    let nar =
        iglu_end2end::nar::archive(&iglu_end2end::nar::regular(&iglu_end2end::digest::Random::new(5).bytes(24 << 20)));
    let draft = iglu_end2end::put::Draft::new("large", 1, nar, "none", &[]).await.unwrap();
    let replica = &mut cluster.replicas[0];
    let putter = replica.putter(CACHE, &clients.token);
    putter.push(&draft).await.unwrap();
    let narinfo = putter.narinfo(draft.hash()).await.unwrap().unwrap();
    let url = format!("{}/{CACHE}/{}", replica.url(), narinfo.get("URL").unwrap());
    let mut stream = tokio::net::TcpStream::connect(replica.address()).await.unwrap();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let path = url.strip_prefix(&replica.url()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", replica.address());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = vec![0; 100_000];
    stream.read_exact(&mut got).await.unwrap();
    replica.terminate().unwrap();
    // It takes no new connection soon, is alive all the while, and says that it ends.
    until("no new connections", || async { tokio::net::TcpStream::connect(replica.address()).await.is_err() }).await;
    let probe = async |name: &str| {
        let reply = replica.http().get(&format!("{}/{name}", replica.ops_url())).await.unwrap();
        (reply.status.as_u16(), reply.text())
    };
    assert_eq!(probe("live").await.0, 200);
    assert_eq!(probe("ready").await, (503, "stopping\n".to_owned()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let head = got.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let length: usize = narinfo.get("FileSize").unwrap().parse().unwrap();
    let mut rest = vec![0; head + length - got.len()];
    stream.read_exact(&mut rest).await.unwrap();
    got.extend(rest);
    assert!(got[head..] == *draft.nar, "the download is another one");
    let status = tokio::time::timeout(Duration::from_secs(10), replica.ended()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}
