//! The storage's disk full, and away.

use crate::world::{By, CACHE, Item, World, said, until};
use iglu_end2end::disk::Disk;
use iglu_end2end::server::Setup;
use std::fs;

const SIZE: usize = 1_000_000;

fn on(disk: &Disk) -> Setup {
    Setup::default().with_settings(&["--storage", disk.path().to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk() {
    let Some(disk) = Disk::required(Disk::tmpfs(64)) else { return };
    let mut world = World::new(on(&disk)).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    world.push(By::Put, &lib).await;
    // Room for a part of a file, for a file but no second, for nothing.
    for (seed, room) in (0..).zip([300_000, SIZE as u64 + 200_000, 0]) {
        disk.fill(room).unwrap();
        let mut refused = Vec::new();
        for by in By::ALL {
            // Whatever goes in, sooner or later there is no room.
            for number in 0..4 {
                let item = Item::new(&format!("full-{by:?}").to_lowercase(), 10 * seed + number, SIZE, &[&lib]).await;
                world.tried(&item);
                match world.pusher().push(by, &item).await {
                    Ok(()) => drop(world.promised.insert(item.hash().to_owned())),
                    Err(error) => {
                        let told = format!("{error:#}");
                        assert!(told.contains("503") && told.contains("room in the storage is not"), "{by:?}: {told}");
                        refused.push((by, item));
                        break;
                    }
                }
            }
        }
        assert_eq!(refused.len(), 3, "the disk is not full");
        world.is_whole("full").await;
        assert_eq!(world.ready().await.0, 200);
        // What did not fit leaves nothing behind but parts that may still be completed.
        assert_eq!(fs::read_dir(disk.path().join("scratch")).unwrap().count(), 0);
        // A server that starts like this serves.
        world.again().await;
        world.is_whole("started full").await;
        disk.relieve().unwrap();
        for (by, item) in &refused {
            world.push(*by, item).await;
        }
        world.is_whole("relieved").await;
    }
    assert_eq!(world.storage()["damaged_paths"], 0);
}

/// All that is to be so while the storage is away.
async fn away(world: &mut World, url: &str, disk: &Disk, when: &str) {
    let (status, why) = world.ready().await;
    assert!(status == 503 && why.contains("iglu-store"), "{when}: {status} {why}");
    // Nothing is gone: clients would remember a 404.
    assert_eq!(world.nar_status(url).await, 503, "{when}");
    for by in By::ALL {
        let item = Item::new(&format!("away-{by:?}").to_lowercase(), 1, SIZE, &[]).await;
        let told = world.push_refused(by, &item).await;
        assert!(told.contains("503") && told.contains("storage is not available"), "{when}: {by:?}: {told}");
    }
    for command in [["check", "--json"].as_slice(), &["check", "--full", "--repair"], &["gc", CACHE, "--yes"]] {
        let output = world.server.run(command).unwrap();
        assert_eq!(output.status.code(), Some(1), "{when}: {command:?}: {}", said(&output));
    }
    let path = world.known[world.promised.first().unwrap()].object.path.clone();
    assert!(world.server.admin(&["path", "remove", CACHE, &path], "").is_err(), "{when}");
    assert_eq!(world.storage()["damaged_paths"], 0, "{when}");
    assert!(world.storage()["trouble"].as_str().unwrap().contains("iglu-store"), "{when}");
    assert_eq!(
        fs::read_dir(disk.path()).unwrap().count(),
        0,
        "{when}: something was written into the empty mount point"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_volume() {
    let Some(disk) = Disk::required(Disk::folder()) else { return };
    let mut world = World::new(on(&disk)).await;
    let items = [Item::new("there", 1, SIZE, &[]).await, Item::new("there", 2, SIZE, &[]).await];
    for (item, by) in items.iter().zip(By::ALL) {
        world.push(by, item).await;
    }
    // Rules that would take one of them, if anybody listened.
    world.admin(&["retention", "set", CACHE, "--bytes", &(SIZE * 3 / 2).to_string(), "--yes"]);
    let narinfo = world.putter().narinfo(items[0].hash()).await.unwrap().unwrap();
    let url = narinfo.get("URL").unwrap();
    world.is_whole("before").await;

    disk.unmount().unwrap();
    away(&mut world, url, &disk, "under a running server").await;
    // Known narinfos are served: who has the NAR from elsewhere needs no more.
    assert!(world.shows(&items[0]).await);
    world.again_unready().await;
    away(&mut world, url, &disk, "at the start").await;

    disk.mount().unwrap();
    until("the server does not see the volume", || async { world.ready().await.0 == 200 }).await;
    world.is_whole("mounted").await;
    for by in By::ALL {
        let item = Item::new(&format!("away-{by:?}").to_lowercase(), 1, SIZE, &[]).await;
        world.push(by, &item).await;
    }
    world.is_whole("in the end").await;
}

/// Unmounted and mounted again while three clients push.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_goes_and_comes_while_clients_push() {
    let Some(disk) = Disk::required(Disk::folder()) else { return };
    let mut world = World::new(on(&disk)).await;
    for round in 0..4_u64 {
        let mut pushes = Vec::new();
        for (seed, by) in (0..).zip(By::ALL) {
            let mut items = Vec::new();
            for number in 0..8 {
                items.push(Item::new("busy", 100 * round + 10 * seed + number, 200_000, &[]).await);
            }
            items.iter().for_each(|item| world.tried(item));
            let pusher = world.pusher();
            pushes.push(tokio::spawn(async move {
                let mut done = Vec::new();
                for item in items {
                    if pusher.push(by, &item).await.is_ok() {
                        done.push(item.hash().to_owned());
                    }
                }
                done
            }));
        }
        tokio::time::sleep(std::time::Duration::from_millis(60 + 40 * round)).await;
        disk.unmount().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let left: Vec<_> = fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        disk.mount().unwrap();
        assert!(left.is_empty(), "{left:?} was written into the empty mount point");
        for push in pushes {
            world.promised.extend(push.await.unwrap());
        }
        until("the server does not see the volume", || async { world.ready().await.0 == 200 }).await;
        world.is_whole("mounted").await;
    }
    assert!(!world.promised.is_empty());
    assert_eq!(world.storage()["damaged_paths"], 0);
}
