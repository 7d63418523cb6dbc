//! The program killed while paths and files go: collections, removals by hand, purges, files, uploads, damage, moves, backups.

use std::fs;
use std::path::PathBuf;

use crate::world::{By, CACHE, DAY, Item, World, said, until};
use iglu_end2end::server::Setup;
use serde_json::Value;

const SIZE: usize = 20_000;

/// Some paths, each of which refers to the one before.
async fn chain(name: &str, seed: u64, length: usize) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..length {
        let item = Item::new(&format!("{name}-{}", items.len()), seed, SIZE, items.last().as_slice()).await;
        items.push(item);
    }
    items
}

async fn push_all(world: &mut World, items: &[Item]) {
    for (item, by) in items.iter().zip(By::ALL.into_iter().cycle()) {
        world.push(by, item).await;
    }
}

/// Waits until nothing is to be collected any more. The states of the removals.
async fn collected(world: &World) -> Vec<String> {
    let states = || {
        let shown = world.admin(&["retention", "show", CACHE]);
        let removals = shown["removals"].as_array().unwrap().clone();
        removals.iter().map(|removal| removal["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("a collection does not end", || async {
        !states().is_empty() && states().iter().all(|state| state != "asked" && state != "running")
    })
    .await;
    states()
}

fn number(status: &Value, name: &str) -> u64 {
    status[name].as_u64().unwrap()
}

/// Files below a folder of the storage.
fn files(world: &World, kind: &str) -> Vec<PathBuf> {
    let shards = fs::read_dir(world.server.data().join("storage").join(kind)).into_iter().flatten().flatten();
    let files = shards.flat_map(|shard| fs::read_dir(shard.path()).into_iter().flatten().flatten());
    files.map(|file| file.path()).collect()
}

fn file_of(world: &World, narinfo: &iglu_end2end::put::Narinfo) -> PathBuf {
    let hash = narinfo.get("FileHash").unwrap().trim_start_matches("sha256:");
    world.server.data().join("storage/nar").join(&hash[..2]).join(hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_survives_at_each_place() {
    let mut world = World::new(Setup::default()).await;
    world.server.admin(&["retention", "set", CACHE, "--pushed-days", "30"], "").unwrap();
    let places =
        ["collect.planned", "collect.batch", "collect.applied", "collect.done", "collect.ended", "collect.batch@2"];
    for (seed, place) in (0..).zip(places) {
        let length = if place.ends_with("@2") { 70 } else { 5 };
        let old = chain("old", seed, length).await;
        push_all(&mut world, &old).await;
        world.set_ahead(world.ahead() + 20 * DAY);
        world.again().await;
        let young = Item::new("young", seed, SIZE, &[]).await;
        world.push(By::Put, &young).await;
        world.set_ahead(world.ahead() + 11 * DAY);
        world.released(&old.iter().collect::<Vec<_>>());
        // The rules are looked at when the server starts.
        world.killed_by_itself_at(place).await;
        world.again().await;
        world.is_whole(place).await;
        // Pushes go on while nobody works on what was left.
        let late = Item::new("late", seed, SIZE, &[&young]).await;
        world.push(By::Cachix, &late).await;
        // Somebody takes it over when nobody was seen working on it for a while.
        world.later(3 * 60).await;
        collected(&world).await;
        world.is_whole(place).await;
        for item in &old {
            assert!(!world.shows(item).await, "{place}: {} is still there", item.object.path);
        }
        assert!(world.shows(&young).await, "{place}");
        // What went comes back with whoever pushes it again.
        world.push(By::Attic, &old[0]).await;
        world.released(&[&young, &late, &old[0]]);
        world.server.admin(&["path", "remove", CACHE, &late.object.path, &young.object.path], "").unwrap();
        world.server.admin(&["path", "remove", CACHE, &old[0].object.path, "--with-referrers"], "").unwrap();
        // Nothing would be left otherwise, and nothing would go.
        push_all(&mut world, &chain("kept", seed, 1).await).await;
        let kept: Vec<String> = world.promised.iter().cloned().collect();
        world.promised.clear();
        assert_eq!(kept.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_and_removing_survive_at_each_place() {
    let mut world = World::new(Setup::default()).await;
    let kept = Item::new("kept", 0, SIZE, &[]).await;
    world.push(By::Put, &kept).await;
    let places = ["purge.batch", "purge.purged", "remove.taken", "remove.one", "remove.one@2", "remove.removed"];
    for (seed, place) in (0..).zip(places) {
        let gone = chain("gone", seed, 3).await;
        push_all(&mut world, &gone).await;
        let paths: Vec<&str> = gone.iter().map(|item| item.object.path.as_str()).collect();
        world.server.admin(&[&["path", "remove", CACHE], &paths[..]].concat(), "").unwrap();
        world.released(&gone.iter().collect::<Vec<_>>());
        world.set_ahead(world.ahead() + 2 * DAY);
        if place.starts_with("remove.") {
            world.again().await;
            until("nothing is forgotten", || async { number(&world.storage(), "departed_paths") == 0 }).await;
            assert!(number(&world.storage(), "dead_files") >= 3);
            world.set_ahead(world.ahead() + 2 * 3600);
        }
        world.killed_by_itself_at(place).await;
        // Whoever pushes it at this moment gets it, sooner or later.
        world.again().await;
        world.is_whole(place).await;
        for item in &gone[..2] {
            world.push(By::ALL[seed as usize % 3], item).await;
        }
        world.is_whole(place).await;
        world.released(&gone.iter().collect::<Vec<_>>());
        world.server.admin(&[&["path", "remove", CACHE], &paths[..2]].concat(), "").unwrap();
        world.later(2 * DAY).await;
        until("nothing is forgotten", || async { number(&world.storage(), "departed_paths") == 0 }).await;
        world.later(2 * 3600).await;
        until("nothing is removed", || async { number(&world.storage(), "dead_files") == 0 }).await;
        assert!(world.shows(&kept).await);
    }
    // The kept one, and files that clients put by name, which may be read for a month.
    world.later(40 * DAY).await;
    until("nothing is swept", || async {
        number(&world.storage(), "dead_files") > 0 || files(&world, "nar").len() == 1
    })
    .await;
    world.later(2 * 3600).await;
    until("files are left", || async { files(&world, "nar").len() == 1 }).await;
    world.is_whole("in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_by_hand_survives_at_each_place() {
    let mut world = World::new(Setup::default()).await;
    for (seed, place) in (0..).zip(["chosen.planned", "collect.batch", "collect.applied", "chosen.done"]) {
        let items = chain("chosen", seed, 3).await;
        push_all(&mut world, &items).await;
        let remove = ["admin", "path", "remove", CACHE, &items[1].object.path, "--with-referrers", "--json"];
        // The server has all of it in memory.
        world.serves_whole(place).await;
        world.command_killed_at(place, &remove);
        let went = matches!(place, "collect.applied" | "chosen.done");
        if went {
            world.released(&[&items[1], &items[2]]);
            until("the server does not hear of it", || async { !world.shows(&items[1]).await }).await;
        }
        world.is_whole(place).await;
        assert_eq!(world.shows(&items[1]).await, !went, "{place}");
        // Nobody else takes paths out meanwhile, and then it can be done again.
        assert!(!world.server.run(&remove).unwrap().status.success() || went);
        world.later(3 * 60).await;
        collected(&world).await;
        if went {
            push_all(&mut world, &items[1..]).await;
        }
        let removed = world.server.run(&remove).unwrap();
        assert!(removed.status.success(), "{place}: {}", said(&removed));
        world.released(&[&items[1], &items[2]]);
        until("the server does not hear of it", || async { !world.shows(&items[2]).await }).await;
        assert!(world.shows(&items[0]).await);
        world.is_whole(place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_given_up_survive() {
    let mut world = World::new(Setup::default()).await;
    let item = Item::new("given-up", 1, 200_000, &[]).await;
    let (pusher, pushed) = (world.pusher(), item.clone());
    world.killed_at("part.noted@2", async move { pusher.push(By::Cachix, &pushed).await }).await;
    let staging = world.server.data().join("storage/staging");
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 1);
    world.set_ahead(2 * DAY);
    world.killed_by_itself_at("sweep.upload").await;
    world.again().await;
    let scratch = world.server.data().join("storage/scratch");
    until("parts are left", || async {
        [&staging, &scratch].iter().all(|folder| fs::read_dir(folder).unwrap().count() == 0)
    })
    .await;
    world.push(By::Cachix, &item).await;
    world.is_whole("in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_damage_aside_and_healing_survive_at_each_place() {
    let mut world = World::new(Setup::default()).await;
    let (lib, other) = (Item::new("lib", 1, SIZE, &[]).await, Item::new("other", 1, SIZE, &[]).await);
    world.push(By::Put, &lib).await;
    world.push(By::Put, &other).await;
    let narinfo = world.putter().narinfo(lib.hash()).await.unwrap().unwrap();
    let file = file_of(&world, &narinfo);
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[1000] ^= 1;
    world.released(&[&lib]);
    for place in ["damage.before", "damage.after", "commit.before", "commit.after", "whole.before", "whole.after"] {
        fs::write(&file, &damaged).unwrap();
        let repair = ["check", "--full", "--repair", "--json"];
        if place.starts_with("damage.") {
            world.command_killed_at(place, &repair);
            world.again().await;
            let (_, report) = world.check(&["--repair"]);
            assert_eq!(report["damaged_count"].as_u64().unwrap() + report["known_damaged"].as_u64().unwrap(), 1);
        } else {
            assert_eq!(world.check(&["--repair"]).1["damaged_count"], 1);
        }
        until("the damage is shown", || async { !world.shows(&lib).await }).await;
        world.is_whole(place).await;
        if place.starts_with("whole.") {
            // Somebody brings the disk's file back.
            fs::write(&file, &whole).unwrap();
            world.command_killed_at(place, &repair);
            world.check(&["--repair"]);
            until("what is whole is not shown", || async { world.shows(&lib).await }).await;
        } else {
            if place.starts_with("commit.") {
                let (pusher, pushed) = (world.pusher(), lib.clone());
                world.killed_at(place, async move { pusher.push(By::Attic, &pushed).await }).await;
                world.again().await;
            }
            world.pusher().push(By::Put, &lib).await.unwrap();
            assert!(world.shows(&lib).await, "{place}");
            // Another protocol makes another file.
            fs::write(&file, &whole).unwrap();
        }
        world.check(&["--repair"]);
        world.is_whole(place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_the_storage_survives_at_each_place() {
    let mut world = World::new(Setup::default()).await;
    push_all(&mut world, &chain("moved", 1, 6).await).await;
    let log = "a line\n".repeat(100);
    let log_name =
        format!("log/{}.drv", Item::new("built", 1, 1, &[]).await.object.path.trim_start_matches("/nix/store/"));
    world.putter().put(&log_name, "text/plain", log.clone().into_bytes()).await.unwrap();
    let target = world.server.data().join("moved");
    let to = target.to_str().unwrap().to_owned();
    let storage = ["storage", "move", "--to", &to, "--json"];
    for place in ["move.begun", "move.file", "move.copied", "move.copied@3", "move.passed"] {
        world.command_killed_at(place, &storage);
        world.is_whole(place).await;
    }
    assert!(world.server.run(&storage).unwrap().status.success());
    push_all(&mut world, &chain("late", 1, 3).await).await;
    let last = [&storage[..], &["--final"]].concat();
    // Not while a server runs.
    let beside = world.server.run(&last).unwrap();
    assert!(!beside.status.success() && said(&beside).contains("another server"), "{}", said(&beside));
    world.server.kill().unwrap();
    // Nor is what is not complete taken for the storage.
    let unfinished = world.server.command(&["check", "--json", "--storage", &to]).unwrap().output().unwrap();
    assert!(!unfinished.status.success(), "{}", said(&unfinished));
    for place in ["move.copied", "move.passed", "move.marked"] {
        world.command_killed_at(place, &last);
    }
    let moved = world.server.run(&last).unwrap();
    assert!(moved.status.success(), "{}", said(&moved));
    assert!(said(&moved).contains("\"complete\":true"), "{}", said(&moved));
    // The old place is gone, and nobody misses it.
    fs::remove_dir_all(world.server.data().join("storage")).unwrap();
    world.server.set_settings(&["--storage", &to]);
    world.again().await;
    world.is_whole("moved").await;
    assert_eq!(world.putter().get(&log_name).await.unwrap().text(), log);
    push_all(&mut world, &chain("after", 1, 3).await).await;
    world.is_whole("in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_survives_at_each_place() {
    let mut world = World::new(Setup::default()).await;
    push_all(&mut world, &chain("kept", 1, 3).await).await;
    let folder = world.server.data().join("backup");
    let backup = ["backup", folder.to_str().unwrap(), "--json"];
    let again = [&backup[..], &["--force"]].concat();
    for place in ["backup.table", "backup.table@5", "backup.written"] {
        world.command_killed_at(place, &again);
        // What ended too soon is no backup, and is not written over by accident.
        let twice = world.server.run(&backup).unwrap();
        assert!(!twice.status.success() && said(&twice).contains("--force"), "{place}: {}", said(&twice));
        assert!(!folder.join("backup.json").exists());
    }
    world.command_killed_at("backup.described", &again);
    let whole = world.server.run(&again).unwrap();
    assert!(!whole.status.success() && said(&whole).contains("whole backup"), "{}", said(&whole));
    world.is_whole("in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_survives() {
    let mut world = World::new(Setup::default()).await;
    world.server.kill().unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let data = fresh.path().to_str().unwrap();
    let begun = |place: Option<&str>| {
        let mut command = std::process::Command::new(iglu_end2end::server::binary().unwrap());
        command.args(["admin", "cache", "list", "--data", data]);
        command.envs(place.map(|place| ("IGLU_KILL_AT", place))).output().unwrap()
    };
    assert!(begun(Some("storage.marked")).status.code().is_none());
    let second = begun(None);
    assert!(second.status.success(), "{}", said(&second));
}
