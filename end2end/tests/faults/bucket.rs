//! Storage in a bucket that errs, is slow, breaks off, forgets who we are, lost objects, or was emptied.

use std::time::{Duration, Instant};

use crate::is_full;
use crate::world::{By, CACHE, Item, World, said, until};
use http::Method;
use iglu_end2end::fault_proxy::{Fault, FaultProxy, Rule};
use iglu_end2end::s3::S3Server;
use iglu_end2end::server::Setup;

const SIZE: usize = 200_000;

async fn before(endpoint: &str, bucket: &S3Server) -> World {
    let place = format!("s3://{}/nix", bucket.bucket());
    let setup = Setup::default()
        .with_settings(&["--storage", &place, "--s3-endpoint", endpoint])
        .with_environment("IGLU_S3_ACCESS_KEY_ID", bucket.access_key())
        .with_environment("IGLU_S3_SECRET_ACCESS_KEY", bucket.secret_key());
    World::new(setup).await
}

/// The key of a path's NAR, and the URL that clients ask for.
async fn names(world: &World, item: &Item) -> (String, String) {
    let narinfo = world.putter().narinfo(item.hash()).await.unwrap().unwrap();
    let hash = narinfo.get("FileHash").unwrap().trim_start_matches("sha256:");
    (format!("nix/nar/{}/{hash}", &hash[..2]), narinfo.get("URL").unwrap().to_owned())
}

/// Pushes by each client while requests break: each completes or fails in so many words. How many completed.
async fn pushes(world: &mut World, name: &str, seed: u64, lib: &Item, size: usize) -> (usize, Vec<Item>) {
    let mut tried = Vec::new();
    for (number, by) in (0..).zip(By::ALL) {
        let item = Item::new(name, 10 * seed + number, size, &[lib]).await;
        world.tried(&item);
        let (pusher, pushed) = (world.pusher(), item.clone());
        tried.push((by, item, tokio::spawn(async move { pusher.push(by, &pushed).await })));
    }
    let (mut done, mut items) = (0, Vec::new());
    for (by, item, push) in tried {
        match push.await.unwrap() {
            Ok(()) => {
                done += 1;
                world.promised.insert(item.hash().to_owned());
            }
            Err(error) => {
                let told = format!("{error:#}");
                assert!(told.contains("503") && told.contains("not available"), "{name}: {by:?}: {told}");
            }
        }
        items.push(item);
    }
    (done, items)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_break_now_and_then() {
    let bucket = S3Server::s3s_fs().await.unwrap();
    let proxy = FaultProxy::start(&bucket.address()).unwrap();
    let mut world = before(&proxy.url(), &bucket).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    world.push(By::Put, &lib).await;
    let rules: Vec<(&str, Vec<Rule>)> = vec![
        ("internal-error", vec![Rule::new(Fault::INTERNAL_ERROR).chance(0.3)]),
        ("slow-down", vec![Rule::new(Fault::SLOW_DOWN).chance(0.3)]),
        ("reset", vec![Rule::new(Fault::Reset).chance(0.3)]),
        ("swallow", vec![Rule::new(Fault::Swallow).chance(0.3)]),
        ("cut-answer", vec![Rule::new(Fault::CutAnswer(70_000)).method(Method::GET).chance(0.5)]),
        ("cut-request", vec![Rule::new(Fault::CutRequest(70_000)).method(Method::PUT).chance(0.3)]),
        ("slow", vec![Rule::new(Fault::Delay(Duration::from_secs(5))).target("/nar/").method(Method::PUT).times(2)]),
        (
            "everything",
            vec![
                Rule::new(Fault::INTERNAL_ERROR).chance(0.1),
                Rule::new(Fault::Reset).chance(0.1),
                Rule::new(Fault::Swallow).chance(0.1),
                Rule::new(Fault::CutAnswer(100_000)).chance(0.1),
            ],
        ),
    ];
    let (mut all, mut tried) = (0, 0);
    for (seed, (name, rules)) in (0..).zip(rules) {
        let ids: Vec<_> = rules.into_iter().map(|rule| proxy.add(rule)).collect();
        // More than a part of a multipart upload to the bucket, once.
        let size = if name == "everything" { 9 << 20 } else { SIZE };
        let mut items = Vec::new();
        // Which requests break is left to chance.
        for again in 0..10 {
            let (done, some) = pushes(&mut world, name, 10 * seed + again, &lib, size).await;
            all += done;
            tried += some.len();
            items.extend(some);
            if ids.iter().any(|id| proxy.count(*id).fired > 0) {
                break;
            }
        }
        // While requests break, what is read is right or breaks off.
        for item in &items {
            if let Ok(Some(narinfo)) = world.putter().narinfo(item.hash()).await
                && let Ok(reply) = world.putter().get(narinfo.get("URL").unwrap()).await
                && reply.status == 200
            {
                assert_eq!(reply.body.len().to_string(), narinfo.get("FileSize").unwrap(), "{name}");
            }
        }
        assert!(ids.iter().any(|id| proxy.count(*id).fired > 0), "{name}: nothing broke");
        proxy.clear();
        world.is_whole(name).await;
        for (item, by) in items.iter().zip(By::ALL.into_iter().rev().cycle()) {
            world.push(by, item).await;
        }
        assert_eq!(world.storage()["damaged_paths"], 0, "{name}: trouble was taken for damage");
    }
    // The store is asked again for half a minute.
    assert!(all >= tried - 4, "only {all} of {tried} pushes completed");
    world.again().await;
    world.is_whole("in the end").await;
}

/// Keys that are taken away in the middle of pushes and given back.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_and_go() {
    let bucket = S3Server::s3s_fs().await.unwrap();
    let proxy = FaultProxy::start(&bucket.address()).unwrap();
    let mut world = before(&proxy.url(), &bucket).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    world.push(By::Put, &lib).await;
    let (_, url) = names(&world, &lib).await;
    for (seed, skip) in (0..).zip([0, 1, 2, 4, 7]) {
        let denied = proxy.add(Rule::new(Fault::ACCESS_DENIED).skip(skip));
        let (_, items) = pushes(&mut world, "denied", seed, &lib, SIZE).await;
        assert!(proxy.count(denied).fired > 0);
        assert_eq!(world.nar_status(&url).await, 503);
        let (status, why) = world.ready().await;
        assert!(status == 503 && why.contains("does not answer"), "{status} {why}");
        // Those who come now are told before they send.
        let told = world.push_refused(By::Put, &items[0]).await;
        assert!(told.contains("503"), "{told}");
        let check = world.server.run(&["check", "--full", "--repair"]).unwrap();
        assert_eq!(check.status.code(), Some(1), "{}", said(&check));
        proxy.clear();
        until("the server does not come back", || async { world.ready().await.0 == 200 }).await;
        world.is_whole("given back").await;
        for item in &items {
            world.push(By::Cachix, item).await;
        }
        assert_eq!(world.storage()["damaged_paths"], 0, "trouble was taken for damage");
    }
    world.is_whole("in the end").await;
}

/// A body that ends short is an error to who pulls it, and no damage.
#[tokio::test(flavor = "multi_thread")]
async fn pulls_break_rather_than_end_short() {
    let bucket = S3Server::s3s_fs().await.unwrap();
    let proxy = FaultProxy::start(&bucket.address()).unwrap();
    let mut world = before(&proxy.url(), &bucket).await;
    let item = Item::new("pulled", 1, 3 << 20, &[]).await;
    world.push(By::Put, &item).await;
    let (key, url) = names(&world, &item).await;
    let cut = proxy.add(Rule::new(Fault::CutAnswer(10_000)).method(Method::GET).target("/nar/"));
    let broken = world.putter().get(&url).await;
    assert!(broken.as_ref().is_err_and(|error| !error.to_string().is_empty()), "{broken:?}");
    assert!(proxy.count(cut).fired > 0);
    // The server looks at the file, cannot read it either, and does not judge.
    until("nobody looks at it", || async { proxy.count(cut).fired > 10 }).await;
    assert!(world.shows(&item).await);
    proxy.clear();
    world.is_whole("after cuts").await;

    // An object that grows shorter while it is there is damage, and is found when somebody asks for it.
    bucket.truncate(&key, 1_000_000).await.unwrap();
    assert_eq!(world.nar_status(&url).await, 404);
    until("damage is not found", || async { !world.shows(&item).await }).await;
    world.released(&[&item]);
    world.is_whole("truncated").await;
    world.push(By::Put, &item).await;
    world.is_whole("healed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_lost_or_damaged() {
    let bucket = S3Server::s3s_fs().await.unwrap();
    let mut world = before(&bucket.endpoint(), &bucket).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    let app = Item::new("app", 1, SIZE, &[&lib]).await;
    let other = Item::new("other", 1, SIZE, &[]).await;
    for item in [&lib, &app, &other] {
        world.push(By::Put, item).await;
    }
    let (key, url) = names(&world, &other).await;

    bucket.remove(&key).await.unwrap();
    let (clean, report) = world.check(&[]);
    assert!(!clean && report["damaged"][0]["why"] == "the file is not there", "{report}");
    assert_eq!(world.nar_status(&url).await, 404);
    until("a lost object is not found", || async { !world.shows(&other).await }).await;
    world.released(&[&other]);
    world.is_whole("set aside").await;
    let damaged = world.admin(&["path", "damaged", CACHE]);
    assert_eq!(damaged["damaged"][0]["name"], "other", "{damaged}");
    let missing = world.server.cachix(Some(&world.token)).missing(CACHE, &[other.hash().to_owned()]).await.unwrap();
    assert_eq!(missing, [other.hash()]);
    world.push(By::Attic, &other).await;
    world.is_whole("healed").await;

    // Nobody sees it until all is read.
    let (key, _) = names(&world, &other).await;
    bucket.flip_bit(&key, 1000).await.unwrap();
    let quick = world.server.run(&["check", "--json"]).unwrap();
    assert!(quick.status.success(), "{}", said(&quick));
    let (clean, report) = world.check(&["--repair"]);
    assert!(!clean && report["damaged_count"] == 1, "{report}");
    until("the server does not hear of it", || async { !world.shows(&other).await }).await;
    world.released(&[&other]);
    world.is_whole("set aside").await;
    world.push(By::Cachix, &other).await;
    world.is_whole("healed").await;

    // The scrubber finds it without being asked; what refers to it stays as it is.
    let (key, _) = names(&world, &lib).await;
    bucket.flip_bit(&key, 1000).await.unwrap();
    world.released(&[&lib]);
    world.server.set_environment("IGLU_SCRUB_RATE", Some("100"));
    world.set_ahead(8 * crate::world::DAY);
    world.again().await;
    until("the scrubber finds nothing", || async { !world.shows(&lib).await }).await;
    world.push(By::Put, &lib).await;
    world.is_whole("in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_bucket() {
    let bucket = S3Server::s3s_fs().await.unwrap();
    let mut world = before(&bucket.endpoint(), &bucket).await;
    let items = [Item::new("there", 1, SIZE, &[]).await, Item::new("there", 2, SIZE, &[]).await];
    for item in &items {
        world.push(By::Put, item).await;
    }
    let (_, url) = names(&world, &items[0]).await;
    world.set_ahead(40 * crate::world::DAY);
    world.admin(&["retention", "set", CACHE, "--pushed-days", "30", "--yes"]);
    bucket.empty().await.unwrap();
    world.again_unready().await;
    for when in ["at the start", "later"] {
        let (status, why) = world.ready().await;
        assert!(status == 503 && why.contains("the bucket was emptied"), "{when}: {status} {why}");
        assert_eq!(world.nar_status(&url).await, 503, "{when}");
        for by in By::ALL {
            let new = Item::new("refused", 1, SIZE, &[]).await;
            let told = world.push_refused(by, &new).await;
            assert!(told.contains("503") && told.contains("storage is not available"), "{when}: {by:?}: {told}");
        }
        for command in
            [["gc", CACHE, "--yes"].as_slice(), &["check", "--repair"], &["storage", "move", "--to", "/nowhere"]]
        {
            let output = world.server.run(command).unwrap();
            assert_eq!(output.status.code(), Some(1), "{when}: {command:?}: {}", said(&output));
        }
        // Nothing is collected, nothing set aside.
        for item in &items {
            assert!(world.shows(item).await, "{when}");
        }
        let status = world.storage();
        assert_eq!((&status["damaged_paths"], &status["departed_paths"]), (&0.into(), &0.into()), "{when}: {status}");
        assert_eq!(bucket.keys().await.unwrap(), [""; 0], "{when}: something was written");
    }
    // Its operator says that this is how it is: everything that is lost is named, and comes back by pushing.
    world.server.run(&["storage", "adopt"]).unwrap();
    until("the server does not see the bucket", || async { world.ready().await.0 == 200 }).await;
    let (clean, report) = world.check(&["--repair"]);
    assert!(!clean && report["damaged_count"] == 2, "{report}");
    world.released(&[&items[0], &items[1]]);
    until("lost paths are shown", || async { !world.shows(&items[0]).await }).await;
    world.is_whole("set aside").await;
    for (item, by) in items.iter().zip(By::ALL) {
        world.push(by, item).await;
    }
    world.is_whole("in the end").await;
}

/// Minutes of nothing but errors: clients are told within the time that they wait, and nothing is taken for damage.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_only_errs() {
    if !is_full() {
        return;
    }
    let bucket = S3Server::s3s_fs().await.unwrap();
    let proxy = FaultProxy::start(&bucket.address()).unwrap();
    let mut world = before(&proxy.url(), &bucket).await;
    let lib = Item::new("lib", 1, SIZE, &[]).await;
    world.push(By::Put, &lib).await;
    let (_, url) = names(&world, &lib).await;
    for (seed, fault) in (0..).zip([Fault::INTERNAL_ERROR, Fault::SLOW_DOWN, Fault::Reset, Fault::Swallow]) {
        proxy.add(Rule::new(fault.clone()));
        let started = Instant::now();
        let (done, items) = pushes(&mut world, "errs", seed, &lib, SIZE).await;
        assert_eq!(done, 0, "{fault:?}");
        assert_eq!(world.nar_status(&url).await, 503, "{fault:?}");
        assert!(started.elapsed() < Duration::from_secs(150), "{fault:?}: {:?}", started.elapsed());
        proxy.clear();
        until("the server does not come back", || async { world.ready().await.0 == 200 }).await;
        world.is_whole("errs").await;
        for item in &items {
            world.push(By::Attic, item).await;
        }
        assert_eq!(world.storage()["damaged_paths"], 0, "{fault:?}: trouble was taken for damage");
    }
}
