//! The database held by somebody else, full, or away for a while.

use std::time::{Duration, Instant};

use crate::world::{By, Item, World, until};
use iglu_end2end::disk::Disk;
use iglu_end2end::postgres::Postgres;
use iglu_end2end::server::{Server, Setup};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, sqlite::SqliteConnectOptions};

const SIZE: usize = 100_000;

/// Holds the only right to write for as long as it lives.
async fn held(server: &Server) -> sqlx::SqliteConnection {
    let options = SqliteConnectOptions::new().filename(server.data().join("iglu.db"));
    let mut held = options.busy_timeout(Duration::from_secs(10)).connect().await.unwrap();
    held.execute("BEGIN IMMEDIATE").await.unwrap();
    held
}

/// Whether the client was told to come again.
fn says_again(told: &str) -> bool {
    told.contains("503") && told.contains("not available")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_somebody_holds() {
    let mut world = World::new(Setup::default()).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    world.push(By::Put, &lib).await;

    // For less time than writers wait: they are late.
    let connection = held(&world.server).await;
    let mut late = Vec::new();
    for (seed, by) in (0..).zip(By::ALL) {
        let item = Item::new("late", seed, SIZE, &[&lib]).await;
        world.tried(&item);
        let (pusher, pushed) = (world.pusher(), item.clone());
        late.push((item, tokio::spawn(async move { pusher.push(by, &pushed).await })));
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        world.serves_whole("held").await;
        assert_eq!(world.ready().await.0, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(late.iter().all(|(_, push)| !push.is_finished()), "the database was not held");
    connection.close().await.unwrap();
    for (item, push) in late {
        push.await.unwrap().unwrap();
        world.promised.insert(item.hash().to_owned());
    }
    world.is_whole("late").await;

    // For more time: they are told to come again, and reading goes on.
    let connection = held(&world.server).await;
    let refused = Item::new("refused", 1, SIZE, &[&lib]).await;
    let (pusher, pushed) = (world.pusher(), refused.clone());
    let push = tokio::spawn(async move { pusher.push(By::Put, &pushed).await });
    let by_attic = Item::new("refused", 2, SIZE, &[&lib]).await;
    let told = world.push_refused(By::Attic, &by_attic).await;
    assert!(says_again(&told), "{told}");
    world.tried(&refused);
    let told = format!("{:#}", push.await.unwrap().unwrap_err());
    assert!(says_again(&told), "{told}");
    world.serves_whole("held for long").await;
    connection.close().await.unwrap();
    world.push(By::Cachix, &refused).await;
    world.push(By::Attic, &by_attic).await;
    world.is_whole("in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_on_a_full_disk() {
    let Some(disk) = Disk::required(Disk::tmpfs(64)) else { return };
    let storage = tempfile::tempdir().unwrap();
    let place = storage.path().to_str().unwrap();
    let setup = Setup::default().with_data_in(&disk.path()).with_settings(&["--storage", place]);
    let mut world = World::new(setup).await;
    // Nobody needs a link to set it up.
    world.server.admin(&["user", "create", "ada", "--password-stdin", "--admin"], "long enough\n").unwrap();
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    world.push(By::Put, &lib).await;
    disk.fill(0).unwrap();
    let mut refused = Vec::new();
    // The log of the database may have a little room of its own left.
    for seed in 0..200 {
        let item = Item::new("refused", seed, 2000, &[&lib]).await;
        let by = By::ALL[seed as usize % 3];
        world.tried(&item);
        match world.pusher().push(by, &item).await {
            Ok(()) => drop(world.promised.insert(item.hash().to_owned())),
            Err(error) => {
                let told = format!("{error:#}");
                assert!(told.contains("room for the database is not available"), "{by:?}: {told}");
                refused.push(item);
            }
        }
        if refused.len() >= 9 {
            break;
        }
    }
    assert!(refused.len() >= 9, "the disk is not full");
    world.serves_whole("full").await;
    disk.relieve().unwrap();
    for (item, by) in refused.iter().zip(By::ALL.into_iter().cycle()) {
        world.push(by, item).await;
    }
    world.is_whole("relieved").await;
    // The same while it was killed.
    disk.fill(0).unwrap();
    world.again().await;
    world.serves_whole("started full").await;
    disk.relieve().unwrap();
    world.push(By::Put, &Item::new("after", 1, SIZE, &[&lib]).await).await;
    world.is_whole("in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stops_and_starts() {
    let mut postgres = Postgres::start().unwrap();
    let mut world = World::new(Setup::default().with_settings(&["--database-url", &postgres.url()])).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    for (seed, by) in (0..).zip(By::ALL) {
        let before = Item::new("before", seed, SIZE, &[]).await;
        world.push(by, &before).await;
    }
    world.push(By::Put, &lib).await;
    world.is_whole("before").await;
    let url = world.putter().narinfo(lib.hash()).await.unwrap().unwrap().get("URL").unwrap().to_owned();
    postgres.stop().unwrap();

    let item = Item::new("refused", 1, SIZE, &[&lib]).await;
    let refused = tokio::time::timeout(Duration::from_secs(30), world.push_refused(By::Put, &item)).await;
    let refused = refused.expect("a refusal takes longer than clients wait");
    assert!(says_again(&refused), "{refused}");
    let (status, why) = world.ready().await;
    assert!(status == 503 && why.contains("database"), "{status} {why}");
    // What memory knows is served; the rest is not 404, which clients would remember.
    assert_eq!(world.nar_status(&url).await, 200);
    let unknown = world.putter().get(&format!("{}.narinfo", item.hash())).await.unwrap();
    assert_eq!(unknown.status, 503, "{}", unknown.text());

    postgres.restart().unwrap();
    until("the server does not come back", || async { world.ready().await.0 == 200 }).await;
    for by in By::ALL {
        world.push(by, &item).await;
    }
    world.is_whole("in the end").await;

    // A crash in the middle of pushes.
    for seed in 0..3 {
        let items = [Item::new("busy", 3 * seed, SIZE, &[]).await, Item::new("busy", 3 * seed + 1, SIZE, &[]).await];
        let pushes: Vec<_> = (items.iter().cloned().zip([By::Cachix, By::Attic]))
            .map(|(item, by)| {
                let pusher = world.pusher();
                tokio::spawn(async move { pusher.push(by, &item).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(15 * seed)).await;
        postgres.stop().unwrap();
        postgres.restart().unwrap();
        for (item, push) in items.iter().zip(pushes) {
            world.tried(item);
            if push.await.unwrap().is_ok() {
                world.promised.insert(item.hash().to_owned());
            }
        }
        until("the server does not come back", || async { world.ready().await.0 == 200 }).await;
        world.is_whole("busy").await;
        for item in &items {
            world.push(By::Put, item).await;
        }
    }
    world.is_whole("after crashes").await;
}
