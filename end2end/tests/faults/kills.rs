//! The server killed at every step of a push, by each protocol.

use crate::world::{By, Item, World};
use iglu_end2end::server::Setup;

/// Bytes of an item: three parts of a cachix client.
const SIZE: usize = 150_000;

/// Kills in the middle of a push of what refers to a path that is there; then either protocol completes it.
async fn survives_at_each(by: By, places: &[&str]) {
    let mut world = World::new(Setup::default()).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    world.push(by, &lib).await;
    for (seed, place) in (0..).zip(places) {
        let app = Item::new(&format!("app-{by:?}").to_lowercase(), seed, SIZE, &[&lib]).await;
        world.tried(&app);
        let (pusher, pushed) = (world.pusher(), app.clone());
        world.killed_at(place, async move { pusher.push(by, &pushed).await }).await;
        world.again().await;
        world.is_whole(place).await;
        // What one client left another may finish.
        let other = By::ALL[seed as usize % 3];
        world.push(other, &app).await;
        assert!(world.shows(&app).await, "{place}");
    }
    world.is_whole("in the end").await;
    assert_eq!(world.check(&[]).1["unused_nars"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cachix_push_survives_at_each_place() {
    let places = [
        "upload.created",
        "part.received",
        "part.received@2",
        "part.kept",
        "part.kept@3",
        "part.noted",
        "part.noted@3",
        "complete.begun",
        "complete.verified",
        "publish.before",
        "publish.after",
        "commit.before",
        "commit.after",
        "complete.committed",
    ];
    survives_at_each(By::Cachix, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_by_put_survives_at_each_place() {
    let places = [
        "put.received",
        "publish.before",
        "publish.after",
        "put.noted",
        "narinfo.verified",
        "commit.before",
        "commit.after",
    ];
    survives_at_each(By::Put, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attic_push_survives_at_each_place() {
    let places =
        ["stream.begun", "stream.finished", "publish.before", "publish.after", "commit.before", "commit.after"];
    survives_at_each(By::Attic, &places).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_log_survives_at_each_place() {
    let mut world = World::new(Setup::default()).await;
    let log = "a line\n".repeat(1000);
    for (seed, place) in (0..).zip(["publish.before", "publish.after", "log.published", "log.committed"]) {
        let item = Item::new("built.drv", seed, 10, &[]).await;
        let name = format!("log/{}", item.object.path.trim_start_matches("/nix/store/"));
        let (putter, file, body) = (world.putter(), name.clone(), log.clone().into_bytes());
        world.killed_at(place, async move { putter.put(&file, "text/plain", body).await }).await;
        world.again().await;
        world.is_whole(place).await;
        let found = world.putter().get(&name).await.unwrap();
        assert!(found.status == 404 || found.text() == log, "{place}: {}", found.status);
        assert!(found.status == 200 || place != "log.committed");
        assert_eq!(world.putter().put(&name, "text/plain", log.clone().into_bytes()).await.unwrap().status, 200);
        assert_eq!(world.putter().get(&name).await.unwrap().text(), log);
    }
}

/// A referrer that came before what it refers to stays unseen through a kill, and appears with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_path_survives() {
    let mut world = World::new(Setup::default()).await;
    for (seed, place) in (0..).zip(["commit.before", "commit.after"]) {
        let lib = Item::new("held-lib", seed, SIZE, &[]).await;
        let app = Item::new("held-app", seed, SIZE, &[&lib]).await;
        world.tried(&app);
        world.pusher().push(By::Cachix, &app).await.unwrap();
        assert!(!world.shows(&app).await);
        let (pusher, pushed) = (world.pusher(), lib.clone());
        world.tried(&lib);
        world.killed_at(place, async move { pusher.push(By::Attic, &pushed).await }).await;
        world.again().await;
        world.is_whole(place).await;
        assert_eq!(world.shows(&app).await, world.shows(&lib).await, "{place}");
        world.push(By::Put, &lib).await;
        assert!(world.shows(&app).await, "{place}");
    }
    world.is_whole("in the end").await;
}
