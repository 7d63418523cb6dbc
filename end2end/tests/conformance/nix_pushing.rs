//! What the server takes by PUT, and what it must not.

use std::time::{Duration, Instant};

use http::Method;
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Raw};
use iglu_end2end::nar;
use iglu_end2end::nix::FreshStore;
use iglu_end2end::put::{Draft, Narinfo};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::scene::{Scene, ok};

use crate::{is_absent, is_served, open, small};

/// The head of a PUT with the token that may push.
fn head(scene: &Scene, name: &str, length: u64, more: &str) -> String {
    format!(
        "PUT /main/{name} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: {length}\r\n{more}\r\n",
        scene.server.address(),
        scene.putter().credentials.header().unwrap()
    )
}

/// A narinfo that must be refused for good; gives why.
async fn refused(scene: &Scene, draft: &Draft, narinfo: &Narinfo, what: &str) -> Refusal {
    let reply = scene.putter().put_narinfo(draft, narinfo).await.unwrap();
    let refusal = Refusal::of(&reply).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!((400..500).contains(&refusal.status), "{what}: {refusal:?}");
    assert!(!matches!(refusal.status, 408 | 429), "{what}: a client would try again: {refusal:?}");
    is_absent(scene, &draft.path, what).await;
    refusal
}

#[tokio::test]
async fn nix_23_continue_comes_at_once() {
    let check =
        Check::new("nix 17.23", "Expect: 100-continue is answered with 100 within 100 ms, then with 200 or 201");
    check
        .over_http(async {
            let scene = open().await;
            let draft = Draft::new("continued", 1, small(1), "none", &[]).await.unwrap();
            let file = format!("{}.narinfo", draft.hash());
            for (name, body) in [(&draft.url, draft.file.clone()), (&file, draft.narinfo.text().into_bytes())] {
                let mut fastest = Duration::MAX;
                // Other tests share the machine: one of a few tries has to be on time.
                for _ in 0..5 {
                    let mut raw = Raw::connect(&scene.server.address()).await.unwrap();
                    let begun = Instant::now();
                    raw.write(head(&scene, name, body.len() as u64, "Expect: 100-continue\r\n")).await.unwrap();
                    let interim = raw.head(Duration::from_secs(5)).await.unwrap();
                    fastest = fastest.min(begun.elapsed());
                    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
                    raw.write(&body).await.unwrap();
                    let answer = raw.head(Duration::from_secs(5)).await.unwrap();
                    assert!(matches!(&answer["HTTP/1.1 ".len()..][..3], "200" | "201"), "{answer}");
                }
                assert!(fastest < Duration::from_millis(100), "{name}: {fastest:?}");
            }
            is_served(&scene, &draft.path).await;
        })
        .await;
}

#[tokio::test]
async fn nix_24_file_that_is_not_what_its_name_says_is_refused() {
    let check = Check::new("nix 17.24", "a NAR file whose hash is not its name is 4xx, and is not there");
    check
        .over_http(async {
            let scene = open().await;
            let draft = Draft::new("other", 1, small(1), "zstd", &[]).await.unwrap();
            let bodies = [b"other bytes".to_vec(), draft.file[..draft.file.len() - 1].to_vec(), Vec::new()];
            for body in bodies {
                let reply = scene.putter().put(&draft.url, "application/x-nix-nar", body).await.unwrap();
                let refusal = Refusal::of(&reply).unwrap();
                assert!((400..500).contains(&refusal.status) && refusal.status != 408, "{refusal:?}");
                for method in [Method::HEAD, Method::GET] {
                    let credentials = scene.putter().credentials;
                    let reply = scene.ask(method, &draft.url, &credentials, &[], "").await.unwrap();
                    assert_eq!(reply.status, 404);
                }
            }
            for name in ["nar/x.nar", "nar/..%2fx.nar", &format!("nar/{}.nar.zst", "e".repeat(52)), "nar/"] {
                let reply = scene.putter().put(name, "application/x-nix-nar", draft.file.clone()).await.unwrap();
                assert!((400..500).contains(&reply.status.as_u16()), "{name}: {}", reply.status);
            }
            scene.putter().push(&draft).await.unwrap();
            is_served(&scene, &draft.path).await;
        })
        .await;
}

#[tokio::test]
async fn nix_25_narinfo_before_its_nar_is_refused() {
    let check = Check::new("nix 17.25", "a narinfo before its NAR is 4xx, and is not there");
    check
        .over_http(async {
            let scene = open().await;
            let draft = Draft::new("early", 1, small(1), "zstd", &[]).await.unwrap();
            let refusal = refused(&scene, &draft, &draft.narinfo, "before its NAR").await;
            assert!(refusal.says(&["nar"]), "{refusal:?}");
            scene.putter().push(&draft).await.unwrap();
            is_served(&scene, &draft.path).await;
        })
        .await;
}

#[tokio::test]
async fn nix_26_untrue_hashes_and_sizes_are_refused() {
    let check = Check::new(
        "nix 17.26",
        "a narinfo with a wrong NarHash, NarSize, FileHash or FileSize is 4xx, and is not there",
    );
    check
        .over_http(async {
            let scene = open().await;
            for (seed, compression) in ["none", "zstd", "xz"].into_iter().enumerate() {
                let seed = seed as u64;
                let draft = Draft::new("untrue", seed, small(seed), compression, &[]).await.unwrap();
                scene.putter().put_file(&draft).await.unwrap();
                let other = format!("sha256:{}", digest::sha256_nix32(b"other"));
                let more = |field: &str, by: usize| {
                    (draft.narinfo.get(field).unwrap().parse::<usize>().unwrap() + by).to_string()
                };
                let less = (draft.nar.len() - 8).to_string();
                let wrong = [
                    ("NarHash", other.clone()),
                    ("NarSize", more("NarSize", 8)),
                    ("NarSize", less),
                    ("NarSize", "0".to_owned()),
                    ("FileHash", other),
                    ("FileSize", more("FileSize", 1)),
                    ("FileSize", "1".to_owned()),
                ];
                for (field, value) in wrong {
                    let refusal = refused(&scene, &draft, &draft.narinfo.clone().with(field, &value), field).await;
                    let words = if field.starts_with("Nar") { ["nar"] } else { ["file"] };
                    assert!(refusal.says(&words), "{field} {value}: {refusal:?}");
                }
                assert_eq!(scene.putter().put_narinfo(&draft, &draft.narinfo).await.unwrap().status, 200);
                is_served(&scene, &draft.path).await;
            }
        })
        .await;
}

#[tokio::test]
async fn nix_27_narinfo_under_another_hash_is_refused() {
    let check = Check::new("nix 17.27", "a narinfo whose store path has another hash than its URL is 4xx");
    check
        .over_http(async {
            let scene = open().await;
            let draft = Draft::new("moved", 1, small(1), "zstd", &[]).await.unwrap();
            scene.putter().put_file(&draft).await.unwrap();
            let elsewhere = Draft { path: digest::made_up_path("elsewhere", 1), ..draft.clone() };
            refused(&scene, &elsewhere, &draft.narinfo, "another hash").await;
            is_absent(&scene, &draft.path, "sent under another hash").await;
            for path in
                ["/nix/store/x", "/gnu/store/00bgd045z0d4icpbc2yyz4gx48ak44la-x", digest::base_name(&draft.path)]
            {
                refused(&scene, &draft, &draft.narinfo.clone().with("StorePath", path), path).await;
            }
        })
        .await;
}

#[tokio::test]
async fn nix_28_missing_reference_is_named() {
    let check = Check::new("nix 17.28", "a narinfo with a missing reference is 4xx and names the reference");
    check
        .over_http(async {
            let scene = open().await;
            let leaf = Draft::new("leaf", 1, small(1), "zstd", &[]).await.unwrap();
            let nar = nar::archive(&nar::regular(leaf.path.as_bytes()));
            let top = Draft::new("top", 2, nar, "zstd", &[&leaf.path]).await.unwrap();
            scene.putter().put_file(&top).await.unwrap();
            let refusal = refused(&scene, &top, &top.narinfo, "without its reference").await;
            assert!(refusal.says(&[digest::base_name(&leaf.path)]), "{refusal:?}");
            scene.putter().push(&leaf).await.unwrap();
            assert_eq!(scene.putter().put_narinfo(&top, &top.narinfo).await.unwrap().status, 200);
            is_served(&scene, &top.path).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_32_interrupted_upload_leaves_nothing() {
    let check = Check::new("nix 17.32", "an upload that breaks off leaves nothing, and can be made again");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let draft = Draft::new("broken", 1, small(1), "zstd", &[]).await?;
            let mut raw = Raw::connect(&scene.server.address()).await?;
            raw.write(head(&scene, &draft.url, draft.file.len() as u64, "")).await?;
            raw.write(&draft.file[..1000]).await?;
            drop(raw);

            // The client is killed while 24 MB are on their way.
            let (bulky, closure) = scene.shape("bulky").await?;
            let pusher = scene.holder(&scene.push)?;
            let target = format!("{}?compression=none", scene.uri());
            let before = scene.server.data_size();
            let mut client = pusher.command("nix").args(["copy", "--to", &target, &bulky]).spawn()?;
            while scene.server.data_size() < before + 500_000 && client.try_wait()?.is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            client.kill().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;

            let reader = scene.putter();
            for (url, path) in [(draft.url.clone(), &draft.path), (String::new(), &bulky)] {
                is_absent(&scene, path, "broken off").await;
                if !url.is_empty() {
                    let reply = scene.ask(Method::HEAD, &url, &reader.credentials, &[], "").await?;
                    anyhow::ensure!(reply.status == 404, "{url}: {}", reply.status);
                }
            }
            reader.push(&draft).await?;
            is_served(&scene, &draft.path).await;
            ok(scene.holder(&scene.push)?.copy_to(&target, &[&bulky]).await?)?;
            let store = FreshStore::of(&scene.release)?;
            ok(scene.stranger()?.substitute(&store, scene.uri(), scene.key(), &[&bulky]).await?)?;
            store.holds(&closure)
        })
        .await;
}

#[tokio::test]
async fn nix_35_too_large_is_413_without_reading() {
    let check = Check::new("nix 17.35", "a PUT larger than the limit is 413 without reading its body");
    check
        .over_http(async {
            let scene = open().await;
            let draft = Draft::new("large", 1, small(1), "none", &[]).await.unwrap();
            let names = [
                (draft.url.clone(), 200 << 30),
                (format!("{}.narinfo", draft.hash()), 64 << 20),
                (format!("{}.ls", draft.hash()), 1 << 40),
                ("log/00bgd045z0d4icpbc2yyz4gx48ak44la-large.drv".to_owned(), 1 << 40),
                ("nix-cache-info".to_owned(), 1 << 20),
            ];
            for (name, length) in names {
                for expect in ["Expect: 100-continue\r\n", ""] {
                    let mut raw = Raw::connect(&scene.server.address()).await.unwrap();
                    raw.write(head(&scene, &name, length, expect)).await.unwrap();
                    let answer = raw.head(Duration::from_secs(2)).await.unwrap();
                    assert!(answer.starts_with("HTTP/1.1 413"), "{name} {expect:?}: {answer}");
                }
            }
        })
        .await;
}

#[tokio::test]
async fn nix_36_cache_info_is_not_for_strangers_to_write() {
    let check = Check::new(
        "nix 17.36",
        "an anonymous PUT of nix-cache-info is 401 or 403 and changes nothing, nor makes a cache",
    );
    check
        .over_http(async {
            let scene = open().await;
            let before = scene.get("nix-cache-info").await.unwrap().body;
            let put = async |credentials: Credentials, body: &'static str| {
                scene.ask(Method::PUT, "nix-cache-info", &credentials, &[], body).await.unwrap().status.as_u16()
            };
            for nobody in [Credentials::None, Credentials::Bearer("iglu_bad".to_owned())] {
                for body in ["StoreDir: /nix/store", "StoreDir: /evil\n"] {
                    assert!(matches!(put(nobody.clone(), body).await, 401 | 403), "{nobody:?}");
                }
            }
            let pusher = scene.putter().credentials;
            assert_eq!(put(pusher.clone(), "StoreDir: /nix/store").await, 200);
            assert_eq!(put(pusher.clone(), "StoreDir: /evil\n").await, 400);
            assert_eq!(scene.get("nix-cache-info").await.unwrap().body, before);

            // A client that finds no cache tries to make one.
            let nowhere = format!("{}/nowhere/nix-cache-info", scene.server.url());
            for credentials in [Credentials::None, pusher] {
                let http = scene.server.http();
                let found = http.call(Method::GET, &nowhere, &credentials, &[], "").await.unwrap().status.as_u16();
                assert!(matches!(found, 401 | 404), "{found}");
                let made = http.call(Method::PUT, &nowhere, &credentials, &[], "StoreDir: /nix/store\n").await.unwrap();
                assert!(matches!(made.status.as_u16(), 401 | 403 | 404 | 405), "{}", made.status);
            }
        })
        .await;
}

#[tokio::test]
async fn nix_37_malformed_nars_are_refused() {
    let check =
        Check::new("nix 17.37", "malformed NARs in a truthful file are refused with the narinfo: 4xx, not there");
    check
        .over_http(async {
            let scene = open().await;
            for (seed, (what, nar)) in nar::malformed().into_iter().enumerate() {
                let draft = Draft::new("malformed", seed as u64, nar.clone(), "zstd", &[]).await.unwrap();
                let file = scene.putter().put_file(&draft).await.unwrap();
                assert!(file.status.is_success() || file.status == 400, "{what}: {}", file.status);
                // A size of 0 would be refused for being 0.
                let size = nar.len().max(96).to_string();
                refused(&scene, &draft, &draft.narinfo.clone().with("NarSize", &size), what).await;
            }
        })
        .await;
}
