//! Clocks that jump between two starts: forward in the middle of pushes, far forward with rules, and back.

use crate::world::{By, CACHE, DAY, Item, World, said, until};
use iglu_end2end::cachix::{Client, Faults, Profile, PushOptions};
use iglu_end2end::server::Setup;

const SIZE: usize = 150_000;

/// Begins an upload and leaves it after two parts.
async fn begun(world: &World, item: &Item) {
    let profile = Profile::v1_11_1().without_repeats().with_chunk_size(64 * 1024);
    let client = Client::new(profile, &world.server.url(), Some(&world.token));
    let faults = Faults { stop_after: Some(2), ..Faults::default() };
    client.push_one(CACHE, &item.object, &PushOptions { faults, ..PushOptions::default() }).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_in_the_middle_of_pushes() {
    let mut world = World::new(Setup::default()).await;
    for (seed, days) in [(1, 2), (2, 40)] {
        let (lib, kept) = (Item::new("lib", seed, SIZE, &[]).await, Item::new("kept", seed, SIZE, &[]).await);
        let (half, put) = (Item::new("half", seed, SIZE, &[]).await, Item::new("put", seed, SIZE, &[]).await);
        let held = Item::new("held", seed, SIZE, &[&lib]).await;
        for item in [&lib, &half, &put, &held] {
            world.tried(item);
        }
        world.push(By::Attic, &kept).await;
        begun(&world, &half).await;
        assert_eq!(world.putter().put_file(&put.draft).await.unwrap().status, 200);
        world.pusher().push(By::Cachix, &held).await.unwrap();
        world.later(days * DAY).await;
        world.is_whole("after the jump").await;

        // The file that nobody came for is gone, and its client is told so.
        world.has_done("sweep").await;
        let told = world.putter().put_narinfo(&put.draft, &put.draft.narinfo).await.unwrap();
        assert!(told.status == 400 && told.text().contains("push again"), "{} {}", told.status, told.text());
        for (item, by) in [(&half, By::Cachix), (&put, By::Put), (&lib, By::Put)] {
            world.push(by, item).await;
        }
        // What waited for its reference waits for a month.
        assert_eq!(world.shows(&held).await, days < 30);
        world.push(By::Attic, &held).await;
        assert!(world.shows(&held).await);
        world.later(2 * 3600).await;
        world.is_whole("in the end").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn far_forward_with_rules_and_back() {
    let mut world = World::new(Setup::default()).await;
    let (old, used) = (Item::new("old", 1, SIZE, &[]).await, Item::new("used", 1, SIZE, &[]).await);
    let pinned = Item::new("pinned", 1, SIZE, &[&used]).await;
    for item in [&old, &used, &pinned] {
        world.push(By::Put, item).await;
    }
    let pin = iglu_end2end::cachix::wire::Pin {
        name: "release".to_owned(),
        store_path: pinned.object.path.clone(),
        artifacts: Vec::new(),
        keep: None,
    };
    world.server.cachix(Some(&world.token)).pin(CACHE, &pin).await.unwrap();
    world.admin(&["retention", "set", CACHE, "--pushed-days", "30"]);
    let narinfo = world.putter().narinfo(old.hash()).await.unwrap().unwrap();
    let nar = narinfo.get("URL").unwrap();

    // Nothing goes at once that somebody pushes after the jump.
    let young = Item::new("young", 1, SIZE, &[]).await;
    world.set_ahead(40 * DAY);
    world.released(&[&old]);
    world.again().await;
    world.push(By::Cachix, &young).await;
    until("what is old stays", || async { !world.shows(&old).await }).await;
    world.is_whole("forward").await;
    // Clients that remember its narinfo find it.
    assert_eq!(world.nar_status(nar).await, 200);

    // Back again: nothing is younger than now, and nothing goes.
    world.set_ahead(0);
    world.again().await;
    world.is_whole("back").await;
    let back = Item::new("back", 1, SIZE, &[&young]).await;
    for by in By::ALL {
        world.push(by, &back).await;
    }
    let collected = world.server.run(&["gc", CACHE, "--json"]).unwrap();
    assert!(collected.status.success() && said(&collected).contains("\"paths\":0"), "{}", said(&collected));
    world.is_whole("collected").await;
    assert_eq!(world.nar_status(nar).await, 200);
    // What went comes back.
    world.push(By::Attic, &old).await;
    world.is_whole("in the end").await;
}

/// What was begun in a future that is over is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn back_after_a_kill() {
    let mut world = World::new(Setup::default()).await;
    let kept = Item::new("kept", 1, SIZE, &[]).await;
    for (seed, place) in (0..).zip(["collect.applied", "remove.taken"]) {
        let gone = [Item::new("gone", 2 * seed, SIZE, &[]).await, Item::new("gone", 2 * seed + 1, SIZE, &[]).await];
        for item in [&kept, &gone[0], &gone[1]] {
            world.push(By::Put, item).await;
        }
        world.released(&[&gone[0], &gone[1]]);
        let remove = ["admin", "path", "remove", CACHE, &gone[0].object.path, &gone[1].object.path, "--json"];
        world.later(40 * DAY).await;
        if place == "collect.applied" {
            world.command_killed_at(place, &remove);
        } else {
            assert!(world.server.run(&remove).unwrap().status.success());
            world.later(2 * DAY).await;
            until("nothing is forgotten", || async { world.storage()["departed_paths"] == 0 }).await;
            world.set_ahead(world.ahead() + 2 * 3600);
            world.killed_by_itself_at(place).await;
        }
        world.set_ahead(0);
        world.again().await;
        world.is_whole("back").await;
        // Two minutes later somebody else may take paths out, and files come back.
        world.later(3 * 60).await;
        until("the removal is never over", || async {
            let removals = world.admin(&["retention", "show", CACHE])["removals"].clone();
            removals.as_array().unwrap().iter().all(|removal| removal["state"] == "done")
        })
        .await;
        world.push(By::Put, &gone[0]).await;
        world.push(By::Attic, &gone[1]).await;
        let removed = world.server.run(&remove).unwrap();
        assert!(removed.status.success(), "{place}: {}", said(&removed));
        world.released(&[&gone[0], &gone[1]]);
        until("the server does not hear of it", || async { !world.shows(&gone[1]).await }).await;
        world.is_whole("in the end").await;
        world.set_ahead(0);
    }
}
