//! Pushes with the cachix client: sizes, accidents, order, old releases.

use std::io::Cursor;
use std::time::Duration;

use anyhow::ensure;
use iglu_end2end::cachix::wire::{Complete, Compression, NarInfoCreate};
use iglu_end2end::cachix::{Faults, Profile, PushOptions, Upload};
use iglu_end2end::conformance::Check;
use iglu_end2end::digest::{self, Random};
use iglu_end2end::nar;
use iglu_end2end::nix::FreshStore;
use iglu_end2end::object::Object;
use iglu_end2end::put::{Draft, compress};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::scene::{Scene, ok};

use crate::relay::{Fate, Relay};
use crate::{MIB, is_absent, is_full, is_served, open, small};

fn with(faults: Faults) -> PushOptions {
    PushOptions { faults, ..PushOptions::default() }
}

/// The releases that upload in parts.
fn in_parts() -> Vec<Profile> {
    Profile::all().into_iter().filter(|profile| profile.upload == Upload::Parts).collect()
}

/// A server whose host names every release reaches, and a client of it.
async fn site(profile: Profile) -> anyhow::Result<(Scene, iglu_end2end::cachix::Client)> {
    let scene = Scene::with_host_names().await?;
    let client = scene.cachix_at("cache.test", profile)?;
    Ok((scene, client))
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_of_one_path() {
    let check = Check::new("cachix 15.3.9", "a push of one path; the second time nothing is missing");
    check
        .with_cachix(Profile::all(), async |profile| {
            let (scene, client) = site(profile).await?;
            let object = Object::synthetic("one", 100_000, 1);
            ensure!(client.push_one("main", &object, &PushOptions::default()).await?.pushed.len() == 1);
            is_served(&scene, &object.path).await;
            let again = client.push_one("main", &object, &PushOptions::default()).await?;
            ensure!(again.missing.is_empty() && again.pushed.is_empty(), "{again:?}");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_of_5000_paths() {
    let check = Check::new("cachix 15.3.10", "a push of 5000 paths (1000 in everyday runs)");
    check
        .with_cachix(vec![Profile::v1_11_1()], async |profile| {
            let scene = open().await;
            let count = if is_full() { 5000 } else { 1000 };
            let client = scene.cachix(profile);
            let mut objects: Vec<Object> = Vec::new();
            for seed in 0..count {
                let path = digest::made_up_path("many", seed);
                let mut text = format!("{seed} ");
                let mut references = Vec::new();
                // Some depth, too.
                if let Some(before) = objects.last().filter(|_| seed % 10 != 0) {
                    text += &before.path;
                    references.push(digest::base_name(&before.path).to_owned());
                }
                let nar = nar::archive(&nar::regular(text.as_bytes()));
                objects.push(Object { path, references, ..Object::bytes("many", seed, nar) });
            }
            let report = client.push("main", &objects, &PushOptions::default()).await?;
            ensure!(report.pushed.len() as u64 == count);
            let hashes: Vec<String> = objects.iter().map(|object| object.hash().to_owned()).collect();
            ensure!(client.missing("main", &hashes).await?.is_empty());
            for object in objects.iter().step_by(100) {
                is_served(&scene, &object.path).await;
            }
            let url = format!("{}/api/v1/cache/main/contents", scene.server.url());
            let listed = scene.server.http().get(&url).await?;
            ensure!(
                serde_json::from_slice::<Vec<String>>(&listed.body)?.len() as u64 == count,
                "not all are published"
            );
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_of_exactly_two_chunks() {
    let check = Check::new("cachix 15.3.11", "a file of exactly two chunks, with an empty third part");
    check
        .with_cachix(in_parts(), async |profile| {
            let (scene, client) = site(profile.clone()).await?;
            for compression in [Compression::Xz, Compression::Zstd] {
                // The first push tells the compressed size; then the same content goes under another path.
                let mut seed = 1;
                let (first, size) = loop {
                    let mut random = Random::new(seed);
                    let text: String = (0..10_000).map(|_| random.next_u64().to_string()).collect();
                    let nar = nar::archive(&nar::regular(text.as_bytes()));
                    let first = Object::bytes(&format!("measured-{}", compression.query()), seed, nar);
                    let options = PushOptions { compression: Some(compression), ..PushOptions::default() };
                    let size = client.push_one("main", &first, &options).await?.pushed[0].file_size;
                    if size.is_multiple_of(2) {
                        break (first, size);
                    }
                    seed += 1;
                    ensure!(seed < 50, "no file of even size");
                };
                let half = usize::try_from(size / 2)?;
                let exact = scene.cachix_at("cache.test", profile.clone().with_chunk_size(half))?;
                for (name, ignore_etags) in [("etags", false), ("no-etags", true)] {
                    let object = Object { path: digest::made_up_path(name, seed + size), ..first.clone() };
                    let faults = Faults { ignore_etags, ..Faults::default() };
                    let options = PushOptions { compression: Some(compression), ..with(faults) };
                    let report = exact.push_one("main", &object, &options).await?;
                    ensure!(report.pushed[0].parts == 3, "{report:?}");
                    is_served(&scene, &object.path).await;
                }
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_of_more_than_10000_parts() {
    let check = Check::new("cachix 15.3.12", "part 10000 is taken, and part 10001 refused with a line that says why");
    check
        .with_cachix(in_parts(), async |profile| {
            let (_scene, client) = site(profile.without_repeats()).await?;
            let upload = client.create("main", Compression::Zstd).await?;
            let md5 = digest::md5_base64(b"x");
            let url = client.part("main", &upload, 10_000, &md5).await?.upload_url;
            client.put_once(&url, &md5, "x".into()).await?;
            let refusal = Refusal::of_call(client.part("main", &upload, 10_001, &md5).await)?;
            ensure!(refusal.status == 400 && refusal.says(&["10000"]), "{refusal:?}");
            Ok(())
        })
        .await;
}

/// A push in seven parts with an accident.
async fn accident(profile: Profile, faults: Faults) -> anyhow::Result<()> {
    let (scene, client) = site(profile.with_chunk_size(64 * 1024)).await?;
    for compression in [Compression::Zstd, Compression::Xz] {
        let object = Object::synthetic(&format!("accident-{}", compression.query()), 400_000, 1);
        let options = PushOptions { compression: Some(compression), ..with(faults.clone()) };
        let report = client.push_one("main", &object, &options).await?;
        ensure!(report.pushed[0].parts == 7 || client.profile.upload != Upload::Parts, "{report:?}");
        let late = report.pushed[0].late_put.as_deref().unwrap_or_default();
        ensure!(!late.contains("status 5"), "a client would repeat a late part for ever: {late}");
        is_served(&scene, &object.path).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_without_etags() {
    let check = Check::new("cachix 15.3.13", "`\"parts\": null` in complete, as when no answer had an ETag");
    let faults = || Faults { ignore_etags: true, ..Faults::default() };
    check.with_cachix(in_parts(), |profile| accident(profile, faults())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_with_every_put_twice() {
    let check = Check::new("cachix 15.3.14", "every PUT sent twice, and the parts in another order");
    let faults = || Faults { repeat_put: true, shuffle_parts: Some(3), ..Faults::default() };
    check.with_cachix(in_parts(), |profile| accident(profile, faults())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_with_complete_twice() {
    let check = Check::new("cachix 15.3.15", "complete (before 1.3: the narinfo) sent twice, and a part after it");
    let faults = || Faults { repeat_complete: true, late_put: true, ..Faults::default() };
    check.with_cachix(Profile::all(), |profile| accident(profile, faults())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_two_clients_push_the_same_path() {
    let check = Check::new("cachix 15.3.16", "two clients push the same path at once: both succeed");
    check
        .with_cachix(Profile::all(), async |profile| {
            let (scene, client) = site(profile).await?;
            let object = Object::synthetic("twice", MIB, 1);
            let options = PushOptions::default();
            let upload = || client.upload("main", &object, Compression::Zstd, &options);
            let (first, second) = tokio::join!(upload(), upload());
            first?;
            second?;
            is_served(&scene, &object.path).await;
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_complete_of_an_existing_path() {
    let check = Check::new("cachix 15.3.17", "complete of a path that is there succeeds and replaces nothing");
    check
        .with_cachix(Profile::all(), async |profile| {
            let (scene, client) = site(profile).await?;
            let object = Object::synthetic("first", 10_000, 1);
            client.push_one("main", &object, &PushOptions::default()).await?;
            let before = is_served(&scene, &object.path).await;
            let other = Object { path: object.path.clone(), ..Object::synthetic("other", 20_000, 2) };
            for again in [&object, &other] {
                client.upload("main", again, Compression::Xz, &PushOptions::default()).await?;
                ensure!(is_served(&scene, &object.path).await == before, "replaced");
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_killed_client_pushes_again() {
    let check = Check::new("cachix 15.3.18", "a client killed in mid-push leaves nothing visible, and can push again");
    check
        .with_cachix(Profile::all(), async |profile| {
            let (scene, client) = site(profile.with_chunk_size(64 * 1024)).await?;
            let object = Object::synthetic("killed", 400_000, 1);
            for parts in [1, 3] {
                let stopped = with(Faults { stop_after: Some(parts), ..Faults::default() });
                ensure!(client.push_one("main", &object, &stopped).await.is_err());
                is_absent(&scene, &object.path, "killed").await;
                ensure!(client.missing("main", &[object.hash().to_owned()]).await? == [object.hash()]);
            }
            client.push_one("main", &object, &PushOptions::default()).await?;
            is_served(&scene, &object.path).await;
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_with_xz_and_zstd() {
    let check = Check::new("cachix 15.3.19", "xz and zstd, and the narinfo says `xz` and `zstd`");
    check
        .with_cachix(Profile::all(), async |profile| {
            let always_xz = profile.upload == (Upload::Whole { names_compression: false });
            let (scene, client) = site(profile).await?;
            for (seed, compression, name) in [(1, Compression::Xz, "xz"), (2, Compression::Zstd, "zstd")] {
                let object = Object::synthetic(&format!("by-{name}"), 20_000, seed);
                let options = PushOptions { compression: Some(compression), ..PushOptions::default() };
                client.push_one("main", &object, &options).await?;
                let narinfo = is_served(&scene, &object.path).await;
                let told = if always_xz { "xz" } else { name };
                ensure!(narinfo.get("Compression") == Some(told), "{narinfo:?}");
                let extension = if told == "xz" { ".nar.xz" } else { ".nar.zst" };
                ensure!(narinfo.get("URL").is_some_and(|url| url.ends_with(extension)), "{narinfo:?}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_push_with_extreme_levels() {
    let check = Check::new("cachix 15.3.20", "the lowest and the highest levels: xz 0 and 9, zstd 0 and 16");
    check
        .with_cachix(vec![Profile::v1_0(), Profile::v1_11_1()], async |profile| {
            let (scene, client) = site(profile).await?;
            let levels = [(Compression::Xz, 0), (Compression::Xz, 9), (Compression::Zstd, 0), (Compression::Zstd, 16)];
            for (seed, (compression, level)) in (0..).zip(levels) {
                // Half of it compresses.
                let content = [Random::new(seed).bytes(MIB as usize), vec![7; MIB as usize]].concat();
                let object = Object::bytes("level", seed, nar::archive(&nar::regular(&content)));
                let options =
                    PushOptions { compression: Some(compression), level: Some(level), ..PushOptions::default() };
                client.push_one("main", &object, &options).await?;
                is_served(&scene, &object.path).await;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_import_of_streams_in_several_members() {
    let check =
        Check::new("cachix 15.3.21", "`import`: files of several xz or zstd streams, NAR hashes as hex and SRI");
    check
        .with_cachix(vec![Profile::v1_7(), Profile::v1_11_1()], async |profile| {
            let scene = open().await;
            let client = scene.cachix(profile);
            for (seed, (name, compression)) in (0..).zip([("xz", Compression::Xz), ("zstd", Compression::Zstd)]) {
                let nar = small(seed);
                let (front, back) = nar.split_at(1000);
                let file = [compress(name, front).await?, compress(name, back).await?].concat();
                let sri = {
                    use base64::Engine as _;
                    use sha2::Digest as _;
                    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(&nar)))
                };
                let hex = format!("sha256:{}", digest::sha256_hex(&nar));
                for (spelling, nar_hash) in [("hex", hex), ("sri", sri)] {
                    let path = digest::made_up_path(&format!("imported-{name}-{spelling}"), seed);
                    ensure!(!client.head_narinfo("main", digest::hash_part(&path)).await?);
                    let claims = NarInfoCreate { nar_hash, ..NarInfoCreate::of(&path, &nar, &file) };
                    let upload = client.create("main", compression).await?;
                    let md5 = digest::md5_base64(&file);
                    let url = client.part("main", &upload, 1, &md5).await?.upload_url;
                    client.put(&url, &md5, file.clone().into()).await?;
                    client.complete("main", &upload, &Complete { parts: None, nar_info_create: claims }).await?;
                    let narinfo = is_served(&scene, &path).await;
                    let canonical = format!("sha256:{}", digest::sha256_nix32(&nar));
                    ensure!(narinfo.get("NarHash") == Some(canonical.as_str()), "{narinfo:?}");
                    ensure!(client.head_narinfo("main", digest::hash_part(&path)).await?);
                }
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_references_that_come_later() {
    let check = Check::new("cachix 15.3.30", "a path whose references are missing is held back until they are there");
    check
        .with_cachix(Profile::all(), async |profile| {
            let (scene, client) = site(profile).await?;
            let bottom = Object::synthetic("bottom", 5000, 1);
            let middle = Object::synthetic("middle", 5000, 2).referring_to(&bottom.path);
            let top = Object::synthetic("top", 5000, 3);
            let top = top.clone().referring_to(&middle.path).referring_to(&top.path);
            for object in [&top, &middle] {
                client.push_one("main", object, &PushOptions::default()).await?;
                for held in [&top, &middle] {
                    is_absent(&scene, &held.path, "too early").await;
                }
            }
            client.push_one("main", &bottom, &PushOptions::default()).await?;
            for object in [&bottom, &middle, &top] {
                is_served(&scene, &object.path).await;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_legacy_upload_in_both_orders() {
    let check = Check::new(
        "cachix 15.3.31",
        "before 1.3: NAR and then narinfo; the narinfo first is refused and can come again",
    );
    check
        .with_cachix(vec![Profile::v1_0(), Profile::v1_1()], async |profile| {
            let (scene, client) = site(profile.without_repeats()).await?;
            let nar = small(1);
            let file = compress("xz", &nar).await?;
            let path = digest::made_up_path("order", 1);
            let claims = NarInfoCreate::of(&path, &nar, &file);
            let early = Refusal::of_call(client.post_narinfo("main", &claims).await)?;
            ensure!(early.status == 400, "{early:?}");
            client.post_nar("main", Compression::Xz, nar.len() as u64, Cursor::new(file)).await?;
            is_absent(&scene, &path, "without a narinfo").await;
            client.post_narinfo("main", &claims).await?;
            is_served(&scene, &path).await;
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_legacy_upload_by_the_api_host() {
    let check = Check::new("cachix 15.3.32", "before 1.3: a NAR of more than 100 MiB by `api.HOST`");
    check
        .with_cachix(vec![Profile::v1_0(), Profile::v1_1()], async |profile| {
            let (scene, client) = site(profile).await?;
            let nar = nar::archive(&nar::regular(&vec![0; usize::try_from(101 * MIB)?]));
            let object = Object::bytes("big", 1, nar);
            client.push_one("main", &object, &PushOptions::default()).await?;
            let narinfo = is_served(&scene, &object.path).await;
            let size = (101 * MIB).next_multiple_of(8) + 112;
            ensure!(narinfo.get("NarSize") == Some(size.to_string().as_str()), "{narinfo:?}");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_overload_is_waited_for() {
    let check =
        Check::new("cachix 15.3.51", "429 and 503 with Retry-After are waited for; the server's own 503 has it");
    check
        .with_cachix(vec![Profile::v1_11_1()], async |profile| {
            let scene = open().await;
            // The server limits no uploads, but a proxy before it may: each kind of call is refused once.
            let answers = std::sync::Mutex::new(std::collections::HashMap::from([
                ("POST /api/v1/cache/main/narinfo", "429 Too Many Requests"),
                ("POST /api/v1/cache/main/multipart-nar?", "503 Service Unavailable"),
                ("GET /api/v1/cache/main ", "429 Too Many Requests"),
            ]));
            let relay = Relay::start(&scene.server.address(), "", move |head| {
                let mut answers = answers.lock().unwrap();
                let Some(call) = answers.keys().copied().find(|call| head.starts_with(call)) else { return Fate::Pass };
                Fate::Answer(match answers.remove(call) {
                    Some("429 Too Many Requests") => {
                        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    }
                    _ => {
                        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    }
                })
            })
            .await;
            let client = iglu_end2end::cachix::Client::new(profile.clone(), &relay.url(), Some(&scene.push));
            let object = Object::synthetic("patient", 5000, 1);
            let begun = std::time::Instant::now();
            client.push_one("main", &object, &PushOptions::default()).await?;
            ensure!(begun.elapsed() >= Duration::from_secs(3), "the client did not wait: {:?}", begun.elapsed());
            is_served(&scene, &object.path).await;

            let client = scene.cachix(profile);
            let upload = client.create("main", Compression::Zstd).await?;
            let md5 = digest::md5_base64(b"right");
            let url = client.part("main", &upload, 1, &md5).await?.upload_url;
            match client.put_once(&url, &md5, "wrong".into()).await {
                Err(iglu_end2end::cachix::Error::Status { status: 503, retry_after: Some(seconds), .. }) => {
                    ensure!(seconds <= 120, "{seconds}");
                }
                other => anyhow::bail!("{other:?}"),
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_upload_goes_on_after_a_restart() {
    let check =
        Check::new("cachix 15.3.52", "an upload goes on after a restart of the server: same URLs, complete once more");
    check
        .with_cachix(in_parts(), async |profile| {
            let (mut scene, client) = site(profile).await?;
            let nar = nar::archive(&nar::regular(&Random::new(1).bytes(500_000)));
            let file = compress("zstd", &nar).await?;
            let (front, back) = file.split_at(file.len() / 2);
            let upload = client.create("main", Compression::Zstd).await?;
            let part = async |number, bytes: &[u8]| -> anyhow::Result<(String, String)> {
                let md5 = digest::md5_base64(bytes);
                Ok((client.part("main", &upload, number, &md5).await?.upload_url, md5))
            };
            let (url, md5) = part(1, front).await?;
            client.put_once(&url, &md5, front.to_vec().into()).await?;
            let (url, md5) = part(2, back).await?;
            scene.server.kill()?;
            scene.server.restart().await?;
            // The same URL works: the client does not ask for another.
            client.put(&url, &md5, back.to_vec().into()).await?;
            let path = digest::made_up_path("survivor", 1);
            let body = Complete { parts: None, nar_info_create: NarInfoCreate::of(&path, &nar, &file) };
            client.complete("main", &upload, &body).await?;
            scene.server.kill()?;
            scene.server.restart().await?;
            // The answer may have been lost with the server: the client asks again.
            client.complete("main", &upload, &body).await?;
            is_served(&scene, &path).await;
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_narinfo_without_references_suits_nix() {
    let check = Check::new("cachix 15.3.53", "the narinfo of a path without references, pushed by cachix, suits Nix");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let nar = nar::archive(&nar::regular(b"hello\n"));
            let draft = Draft::new("lonely", 1, nar.clone(), "none", &[]).await?;
            let object = Object { path: draft.path, ..Object::bytes("lonely", 1, nar) };
            scene.cachix(Profile::v1_11_1()).push_one("main", &object, &PushOptions::default()).await?;
            let store = FreshStore::of(&scene.release)?;
            ok(scene.stranger()?.substitute(&store, scene.uri(), scene.key(), &[&object.path]).await?)?;
            ensure!(std::fs::read(store.locate(&object.path))? == b"hello\n");
            Ok(())
        })
        .await;
}
