//! Pushes with the attic client and its fork: sizes, accidents, claims that are not true.

use std::collections::BTreeSet;

use anyhow::ensure;
use iglu_end2end::attic::wire::UploadKind;
use iglu_end2end::attic::{Faults, Flavour, Preamble, PushOptions};
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::nar;
use iglu_end2end::nix::{self, FreshStore, NixRelease};
use iglu_end2end::object::Object;
use iglu_end2end::scene::{Scene, ok};
use iglu_end2end::server::Scope;
use nix_compat::signing::SigningKey;

use crate::{MIB, is_absent, is_full, is_served, open, small};

fn with(faults: Faults) -> PushOptions {
    PushOptions { faults, ..PushOptions::default() }
}

/// A wide closure with some depth, in no order: what refers comes before what it refers to as often as after.
fn closure(tag: &str, count: u64) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for seed in 0..count {
        let path = digest::made_up_path(tag, seed);
        let mut text = format!("{tag} {seed} ");
        let mut references = Vec::new();
        if let Some(before) = objects.last().filter(|_| seed % 10 != 0) {
            text += &before.path;
            references.push(digest::base_name(&before.path).to_owned());
        }
        objects.push(Object {
            path,
            references,
            ..Object::bytes(tag, seed, nar::archive(&nar::regular(text.as_bytes())))
        });
    }
    digest::Random::new(count).shuffle(&mut objects);
    objects
}

async fn all_published(scene: &Scene, count: usize) -> anyhow::Result<()> {
    let listed = scene.server.http().get(&format!("{}/api/v1/cache/main/contents", scene.server.url())).await?;
    let listed: BTreeSet<String> = serde_json::from_slice(&listed.body)?;
    ensure!(listed.len() == count, "{} of {count} paths are published", listed.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_push_of_one_path() {
    let check = Check::new("attic 7.4", "a push of one path, pulled by Nix");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let object = Object::bytes("one", 1, nar::archive(&nar::regular(b"hello\n")));
            let report = scene.attic(flavour)?.push_one("main", &object, &PushOptions::default()).await?;
            let result = report.pushed[0].result.clone();
            ensure!(result.as_ref().is_some_and(|result| result.kind == UploadKind::Uploaded), "{result:?}");
            is_served(&scene, &object.path).await;
            let store = FreshStore::new()?;
            ok(scene.stranger()?.substitute(&store, scene.uri(), scene.key(), &[&object.path]).await?)?;
            ensure!(std::fs::read(store.locate(&object.path))? == b"hello\n");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_push_of_500_paths() {
    let check = Check::new("attic 7.5", "a push of 500 paths in any order; and of a closure that Nix then pulls");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let client = scene.attic(flavour)?;
            let objects = closure("five-hundred", 500);
            let report = client.push("main", &objects, &PushOptions::default()).await?.whole()?;
            ensure!(report.pushed.len() == 500);
            all_published(&scene, 500).await?;
            for object in objects.iter().step_by(25) {
                is_served(&scene, &object.path).await;
            }
            let (top, stored) = nix::many_of(&NixRelease::Host, "mixed").await?;
            let objects: Vec<Object> = stored.iter().map(Object::stored).collect();
            client.push("main", &objects, &PushOptions::default()).await?.whole()?;
            scene.pulls_back(&scene.stranger()?, scene.uri(), &[&top], &stored).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_push_of_20000_paths() {
    let check =
        Check::new("attic 7.6", "a push of 20000 paths, asked for in one request (everyday runs upload 1000 of them)");
    check
        .with("attic", async {
            let scene = open().await;
            let mut client = scene.attic(Flavour::Attic)?;
            client.uploads_at_once = 32;
            let objects = closure("twenty-thousand", 20_000);
            let hashes: Vec<String> = objects.iter().map(|object| object.hash().to_owned()).collect();
            ensure!(client.get_missing_paths("main", &hashes).await?.len() == 20_000);
            let objects = if is_full() { objects } else { closure("twenty-thousand", 1000) };
            let report = client.push("main", &objects, &PushOptions::default()).await?.whole()?;
            ensure!(report.missing.len() == objects.len() && report.pushed.len() == objects.len());
            all_published(&scene, objects.len()).await?;
            ensure!(client.get_missing_paths("main", &hashes).await?.len() == 20_000 - objects.len());
            for object in objects.iter().step_by(objects.len() / 10) {
                is_served(&scene, &object.path).await;
            }
            ensure!(scene.server.peak_rss()? < 400 * MIB, "{} MiB of memory", scene.server.peak_rss()? / MIB);
            Ok(()) as anyhow::Result<()>
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_push_with_long_metadata() {
    let check = Check::new("attic 7.7", "metadata of more than 4 KiB, before the NAR; also by force where it is short");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let client = scene.attic(flavour)?;
            let leaves: Vec<Object> = (0..120).map(|seed| Object::bytes("leaf", seed, small(seed))).collect();
            client.push("main", &leaves, &PushOptions::default()).await?.whole()?;
            let top = leaves.iter().fold(Object::synthetic("top", 100, 1), |top, leaf| top.referring_to(&leaf.path));
            client.push_one("main", &top, &PushOptions::default()).await?;
            let narinfo = is_served(&scene, &top.path).await;
            ensure!(narinfo.get("References").is_some_and(|told| told.split(' ').count() == 120), "{narinfo:?}");

            let short = Object::synthetic("short", 70_000, 2);
            let forced = PushOptions { preamble: Preamble::Always, ..PushOptions::default() };
            client.push_one("main", &short, &forced).await?;
            is_served(&scene, &short.path).await;
            for (seed, faults) in (10..).zip([
                Faults { preamble_off_by: -1, ..Faults::default() },
                Faults { preamble_off_by: 8, ..Faults::default() },
                Faults { preamble_off_by: i64::from(u32::MAX), ..Faults::default() },
                Faults { preamble_size: Some("many".to_owned()), ..Faults::default() },
                Faults { preamble_size: Some("-1".to_owned()), ..Faults::default() },
                Faults { preamble_size: Some(u64::MAX.to_string()), ..Faults::default() },
            ]) {
                let object = Object::synthetic("bad-preamble", 5000, seed);
                let refused = client.push_one("main", &object, &with(faults.clone())).await.unwrap_err();
                ensure!(matches!(refused.status(), Some(400 | 413)), "{faults:?}: {refused}");
                is_absent(&scene, &object.path, "bad preamble").await;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_push_of_an_empty_file() {
    let check = Check::new("attic 7.9", "the NARs of an empty file, an empty folder and a link");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let client = scene.attic(flavour)?;
            let nodes = [nar::regular(b""), nar::executable(b""), nar::directory(&[]), nar::symlink(b"x")];
            for (seed, node) in (0..).zip(nodes) {
                let object = Object::bytes("empty", seed, nar::archive(&node));
                client.push_one("main", &object, &PushOptions::default()).await?;
                is_served(&scene, &object.path).await;
                let store = FreshStore::new()?;
                ok(scene.stranger()?.substitute(&store, scene.uri(), scene.key(), &[&object.path]).await?)?;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_push_again() {
    let check = Check::new(
        "attic 7.10",
        "the second push finds all of it there; the upload made again is 2xx and changes nothing",
    );
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let client = scene.attic(flavour)?;
            let objects = closure("again", 20);
            client.push("main", &objects, &PushOptions::default()).await?.whole()?;
            let again = client.push("main", &objects, &PushOptions::default()).await?;
            ensure!(again.missing.is_empty() && again.pushed.is_empty(), "{again:?}");
            let before = is_served(&scene, &objects[0].path).await;
            let twice = client.upload_path("main", &objects[0], Preamble::IfLong, &Faults::default()).await?;
            ensure!(twice.is_some_and(|result| result.kind == UploadKind::Deduplicated));
            let other = Object { path: objects[0].path.clone(), ..Object::bytes("other", 1, small(9)) };
            client.upload_path("main", &other, Preamble::IfLong, &Faults::default()).await?;
            ensure!(is_served(&scene, &objects[0].path).await == before, "replaced");
            // What a key of the upstream signed is not even asked for.
            let upstream = SigningKey::from_seed("cache.nixos.org-1", [1; 32])?.sign("x").to_string();
            let theirs = Object::synthetic("theirs", 5000, 1).signed(&upstream);
            let report = client.push_one("main", &theirs, &PushOptions::default()).await?;
            ensure!(report.upstream == [theirs.path.clone()] || report.pushed.len() == 1, "{report:?}");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_same_nar_under_two_paths_and_in_two_caches() {
    let check =
        Check::new("attic 7.11", "the same NAR under two store paths and in two caches, sent each time, kept once");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            scene.server.cache("other", true)?;
            let all = scene.server.token_named("all", None, Scope::Push, None)?;
            let client = scene.attic_as(flavour, Some(&all))?;
            let nar = nar::archive(&nar::regular(&digest::Random::new(1).bytes(MIB as usize)));
            let mut sizes = Vec::new();
            for (name, cache) in [("a", "main"), ("b", "main"), ("a", "other")] {
                let object = Object::bytes(name, 1, nar.clone());
                client.push_one(cache, &object, &PushOptions::default()).await?;
                let reader = scene.server.putter(cache, &all);
                let narinfo = reader.narinfo(object.hash()).await?;
                reader.check(&narinfo.ok_or_else(|| anyhow::anyhow!("{name} is missing in {cache}"))?).await?;
                sizes.push(scene.server.data_size());
            }
            ensure!(sizes[2] < sizes[0] + MIB / 2, "the NAR is kept more than once: {sizes:?}");
            // A hash alone gives no access: the file of one cache is not there in another.
            let object = Object::bytes("a", 2, small(7));
            client.push_one("other", &object, &PushOptions::default()).await?;
            let reader = scene.server.putter("other", &all);
            let url = reader.narinfo(object.hash()).await?.and_then(|narinfo| narinfo.get("URL").map(str::to_owned));
            let url = url.ok_or_else(|| anyhow::anyhow!("not published"))?;
            ensure!(scene.get(&url).await?.status == 404, "{url} of a private cache is served by a public one");
            Ok(())
        })
        .await;
}

/// An upload that is refused with 400 and leaves nothing; then the same path is taken.
async fn spoilt(flavour: Flavour, all: Vec<Faults>, words: &[&str]) -> anyhow::Result<()> {
    let scene = open().await;
    let client = scene.attic(flavour)?;
    for (seed, faults) in (0..).zip(all) {
        for preamble in [Preamble::IfLong, Preamble::Always] {
            let object = Object::synthetic(&format!("spoilt-{preamble:?}"), 300_000, seed);
            let options = PushOptions { preamble, ..with(faults.clone()) };
            let error = client.push_one("main", &object, &options).await.unwrap_err();
            ensure!(error.status() == Some(400) && error.name() == Some("RequestError"), "{faults:?}: {error:?}");
            let text = error.message().to_lowercase();
            ensure!(words.iter().any(|word| text.contains(word)), "{words:?}: {text}");
            is_absent(&scene, &object.path, "spoilt").await;
            ensure!(client.get_missing_paths("main", &[object.hash().to_owned()]).await? == [object.hash()]);
            client.push_one("main", &object, &PushOptions::default()).await?;
            is_served(&scene, &object.path).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_wrong_hash() {
    let check = Check::new("attic 7.12", "a wrong nar_hash is 400 and leaves nothing");
    let faults = || vec![Faults { wrong_nar_hash: true, ..Faults::default() }];
    check.with_attic_and_celler(|flavour| spoilt(flavour, faults(), &["hash"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_wrong_size() {
    let check = Check::new("attic 7.13", "a wrong nar_size, and bytes behind the NAR, are 400 and leave nothing");
    let faults = || {
        vec![
            Faults { nar_size_off_by: 8, ..Faults::default() },
            Faults { nar_size_off_by: -8, ..Faults::default() },
            Faults { extra: b"more".to_vec(), ..Faults::default() },
        ]
    };
    check.with_attic_and_celler(|flavour| spoilt(flavour, faults(), &["size", "bytes", "long", "short", "end"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_short_body() {
    let check = Check::new("attic 7.14", "a body that ends early in good order is 400 and leaves nothing");
    let faults = || [0, 8, 1000, 299_999].map(|size| Faults { end_after: Some(size), ..Faults::default() }).to_vec();
    check.with_attic_and_celler(|flavour| spoilt(flavour, faults(), &["nar", "body"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_aborted_body() {
    let check = Check::new(
        "attic 7.15",
        "a connection that breaks in the body leaves nothing, and the path can be pushed again",
    );
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let client = scene.attic(flavour)?;
            for (seed, bytes) in (0..).zip([0, 1000, 250_000]) {
                let object = Object::synthetic("aborted", 300_000, seed);
                let faults = Faults { break_after: Some(bytes), ..Faults::default() };
                ensure!(client.push_one("main", &object, &with(faults)).await.is_err());
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                is_absent(&scene, &object.path, "aborted").await;
                ensure!(client.get_missing_paths("main", &[object.hash().to_owned()]).await? == [object.hash()]);
                client.push_one("main", &object, &PushOptions::default()).await?;
                is_served(&scene, &object.path).await;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_two_clients_push_the_same_path() {
    let check = Check::new("attic 7.16", "two clients push the same path at once: both succeed");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let (one, other) = (scene.attic(flavour)?, scene.attic(Flavour::Attic)?);
            for seed in 0..5 {
                let object = Object::synthetic("twice", MIB, seed);
                let none = Faults::default();
                let (first, second) = tokio::join!(
                    one.upload_path("main", &object, Preamble::IfLong, &none),
                    other.upload_path("main", &object, Preamble::Always, &none)
                );
                first?;
                second?;
                is_served(&scene, &object.path).await;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_headers_of_celler() {
    let check =
        Check::new("attic 7.26", "celler's names of the headers, with the metadata in a header and before the NAR");
    check
        .with("celler", async {
            let scene = open().await;
            let client = scene.attic(Flavour::Celler)?;
            ensure!(client.flavour.nar_info_header() == "X-Celler-Nar-Info");
            for (seed, preamble) in (0..).zip([Preamble::IfLong, Preamble::Always]) {
                let object = Object::synthetic("celler", 100_000, seed);
                client.push_one("main", &object, &PushOptions { preamble, ..PushOptions::default() }).await?;
                is_served(&scene, &object.path).await;
            }
            // What celler has pushed attic does not push again.
            let object = Object::synthetic("celler", 100_000, 0);
            let report = scene.attic(Flavour::Attic)?.push_one("main", &object, &PushOptions::default()).await?;
            ensure!(report.missing.is_empty(), "{report:?}");
            Ok(()) as anyhow::Result<()>
        })
        .await;
}
