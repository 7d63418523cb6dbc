//! The same story on a folder and on two S3 servers, chosen by settings alone: every client pushes, real Nix pulls, what is damaged is
//! found and healed, what rules take out goes. And the ways between storages.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::Method;
use iglu_end2end::attic;
use iglu_end2end::cachix::PushOptions;
use iglu_end2end::digest;
use iglu_end2end::disk::Disk;
use iglu_end2end::http::{Credentials, Http, request};
use iglu_end2end::nix::{self, FreshStore, Nix, NixRelease, said};
use iglu_end2end::object::Object;
use iglu_end2end::put::Draft;
use iglu_end2end::s3::S3Server;
use iglu_end2end::scene::Scene;
use iglu_end2end::server::{Scope, Server, Setup};

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}

fn is_clean(server: &Server) {
    let (report, status) = server.json(&["check", "--full"]).unwrap();
    assert!(status.success() && report["clean"] == true, "{report}");
}

async fn status_of(http: &Http, url: &str) -> u16 {
    http.get(url).await.unwrap().status.as_u16()
}

/// Everything that a cache is for. `break_file` damages the stored file of this hash.
async fn story(server: Server, mut break_file: impl AsyncFnMut(&str)) {
    let scene = Scene::on(server, NixRelease::Host, false).unwrap();
    let server = &scene.server;
    let token = server.token("main", Scope::Push).unwrap();
    let url = format!("{}/main", server.url());

    // Real Nix in, real Nix out.
    let (top, closure) = nix::chain("storage").await.unwrap();
    scene.push("?compression=zstd", &[&top]).await.unwrap();
    let store = FreshStore::new().unwrap();
    let got = Nix::new().unwrap().substitute(&store, scene.uri(), scene.key(), &[&top]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
    store.holds(&closure).unwrap();

    // cachix in several parts, attic in one stream.
    let large = Object::synthetic("large", 20 << 20, 3);
    let report = server.cachix(Some(&token)).push_one("main", &large, &PushOptions::default()).await.unwrap();
    assert!(!report.pushed.is_empty());
    let streamed = Object::synthetic("streamed", 12 << 20, 4);
    scene
        .attic(attic::Flavour::Attic)
        .unwrap()
        .push_one("main", &streamed, &attic::PushOptions::default())
        .await
        .unwrap();
    let putter = server.putter("main", &token);
    for object in [&large, &streamed] {
        let narinfo = putter.narinfo(object.hash()).await.unwrap().unwrap();
        putter.check(&narinfo).await.unwrap();
    }

    // A piece of a NAR, its head, and a build log.
    let narinfo = putter.narinfo(large.hash()).await.unwrap().unwrap();
    let nar = format!("{url}/{}", narinfo.get("URL").unwrap());
    let ask = async |method, headers: &[(&str, &str)]| {
        let request = request(method, &nar, &Credentials::None, headers, "").unwrap();
        server.http().send(request).await.unwrap()
    };
    let whole = ask(Method::GET, &[]).await;
    let piece = ask(Method::GET, &[("range", "bytes=9000000-9000999")]).await;
    assert_eq!((piece.status.as_u16(), &piece.body[..]), (206, &whole.body[9_000_000..9_001_000]));
    let head = ask(Method::HEAD, &[]).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, narinfo.get("FileSize")));
    let log = "log/00bgd045z0d4icpbc2yyz4gx48ak44la-hello.drv";
    assert_eq!(putter.put(log, "text/plain", b"built".to_vec()).await.unwrap().status.as_u16(), 200);
    assert_eq!(putter.get(log).await.unwrap().text(), "built");
    is_clean(server);

    // A file breaks; it is found, out of sight, missing, and healed by the next push.
    let file = narinfo.get("FileHash").unwrap().strip_prefix("sha256:").unwrap().to_owned();
    break_file(&file).await;
    let (report, status) = server.json(&["check", "--full", "--repair"]).unwrap();
    assert_eq!((status.code(), report["report"]["damaged_count"].as_u64()), (Some(2), Some(1)), "{report}");
    let address = format!("{url}/{}.narinfo", large.hash());
    until("the damaged path is gone", async || status_of(server.http(), &address).await == 404).await;
    server.cachix(Some(&token)).push_one("main", &large, &PushOptions::default()).await.unwrap();
    let narinfo = putter.narinfo(large.hash()).await.unwrap().unwrap();
    putter.check(&narinfo).await.unwrap();
    is_clean(server);

    // People take it out, and put it back.
    let args = ["admin", "path", "remove", "main", large.hash()];
    let (removal, status) = server.json(&args).unwrap();
    assert!(status.success(), "{removal}");
    until("the removed path is gone", async || status_of(server.http(), &address).await == 404).await;
    let id = removal["removal"]["id"].to_string();
    assert!(server.json(&["admin", "path", "undo", "main", &id]).unwrap().1.success());
    until("the path is back", async || status_of(server.http(), &address).await == 200).await;
    is_clean(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_folder() {
    let server = Server::start().await.unwrap();
    let nars = server.data().join("storage/nar");
    story(server, async |file| {
        let path = nars.join(&file[..2]).join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5000] ^= 1;
        std::fs::write(path, bytes).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_s3s() {
    let s3 = S3Server::s3s_fs().await.unwrap();
    let server = Setup::default().with_bucket(&s3, &s3.endpoint()).start().await.unwrap();
    story(server, async |file| s3.flip_bit(&format!("nix/nar/{}/{file}", &file[..2]), 5000).await.unwrap()).await;
    assert_eq!(s3.uploads().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_moto() {
    let s3 = S3Server::moto().await.unwrap();
    let server = Setup::default().with_bucket(&s3, &s3.endpoint()).start().await.unwrap();
    story(server, async |file| s3.flip_bit(&format!("nix/nar/{}/{file}", &file[..2]), 5000).await.unwrap()).await;
}

/// Clients put parts straight into the bucket, and are led to it for NARs.
#[tokio::test(flavor = "multi_thread")]
async fn past_the_server() {
    let s3 = S3Server::s3s_fs().await.unwrap();
    let setup = Setup::default().with_bucket(&s3, &s3.endpoint());
    let setup = setup.with_environment("IGLU_SERVE", "redirect").with_environment("IGLU_UPLOAD", "presigned");
    let server = setup.start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let object = Object::synthetic("past", 70 << 20, 5);
    let report = server.cachix(Some(&token)).push_one("main", &object, &PushOptions::default()).await.unwrap();
    assert!(report.pushed[0].parts > 1);
    let metrics = server.http().get(&format!("{}/metrics", server.ops_url())).await.unwrap().text();
    assert!(metrics.contains("iglu_push_bytes_received_total 0"), "the parts did not pass the server");

    let putter = server.putter("main", &token);
    let narinfo = putter.narinfo(object.hash()).await.unwrap().unwrap();
    let nar = server.http().get(&format!("{}/main/{}", server.url(), narinfo.get("URL").unwrap())).await.unwrap();
    assert_eq!(nar.status.as_u16(), 307);
    let location = nar.header("location").unwrap().to_owned();
    assert!(location.starts_with(&s3.endpoint()) && location.contains("X-Amz-Signature"), "{location}");
    let bytes = server.http().get(&location).await.unwrap().body;
    assert_eq!(format!("sha256:{}", digest::sha256_nix32(&bytes)), narinfo.get("FileHash").unwrap());
    let store = FreshStore::new().unwrap();
    let got = Nix::new().unwrap().substitute(&store, &cache.uri, &cache.public_keys[0], &[&object.path]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));

    is_clean(&server);
}

fn nix_archive(content: &[u8]) -> Vec<u8> {
    iglu_end2end::nar::archive(&iglu_end2end::nar::regular(content))
}

/// From disk to S3 and back, while the server runs, with the last step when it is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn moves_while_it_runs() {
    let s3 = S3Server::s3s_fs().await.unwrap();
    let mut server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let mut drafts = Vec::new();
    for i in 0..30 {
        drafts.push(Draft::new("move", i, nix_archive(format!("content {i}").as_bytes()), "zstd", &[]).await.unwrap());
    }
    for draft in &drafts[..20] {
        server.putter("main", &token).push(draft).await.unwrap();
    }
    let bucket = |setup: Setup| setup.with_bucket(&s3, &s3.endpoint());
    let to = format!("s3://{}/nix", s3.bucket());
    let copy = |server: &Server, to: &str, last: bool| {
        let mut command = server.command(&["storage", "move", "--to", to, "--json"]).unwrap();
        command.args(last.then_some("--final")).env("IGLU_S3_ENDPOINT", s3.endpoint());
        command.env("IGLU_S3_ACCESS_KEY_ID", s3.access_key()).env("IGLU_S3_SECRET_ACCESS_KEY", s3.secret_key());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default(), output.status, said)
    };
    let (moved, status, said) = copy(&server, &to, false);
    assert!(status.success() && moved["copied"] == 20 && moved["complete"] == false, "{moved} {said}");
    for draft in &drafts[20..] {
        server.putter("main", &token).push(draft).await.unwrap();
    }
    let (_, status, said) = copy(&server, &to, true);
    assert!(!status.success() && said.contains("another server"), "{said}");
    server.kill().unwrap();
    let (moved, status, said) = copy(&server, &to, true);
    assert!(status.success() && moved["copied"] == 10 && moved["complete"] == true, "{moved} {said}");

    let folder = server.data().join("storage");
    std::fs::rename(&folder, server.data().join("old")).unwrap();
    server.restart_with(bucket).await.unwrap();
    is_clean(&server);
    for draft in &drafts {
        let narinfo = server.putter("main", &token).narinfo(draft.hash()).await.unwrap().unwrap();
        server.putter("main", &token).check(&narinfo).await.unwrap();
    }
    // And back.
    server.kill().unwrap();
    let back = server.data().join("back");
    let (moved, status, said) = copy(&server, back.to_str().unwrap(), true);
    assert!(status.success() && moved["copied"] == 30 && moved["complete"] == true, "{moved} {said}");
    let place = back.to_str().unwrap().to_owned();
    server.restart_with(|setup| setup.with_environment("IGLU_STORAGE", &place)).await.unwrap();
    s3.empty().await.unwrap();
    is_clean(&server);
    // A place that is not complete is not served from.
    let half = server.data().join("half");
    let (moved, ..) = copy(&server, half.to_str().unwrap(), false);
    assert_eq!(moved["complete"], false);
    let half = half.to_str().unwrap().to_owned();
    let status = server.command(&["storage", "status"]).unwrap().env("IGLU_STORAGE", &half).output().unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(!status.status.success() && said.contains("is not complete"), "{said}");
}

/// A volume that goes away takes nothing with it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unmounted_volume_is_waited_for() {
    let Some(disk) = Disk::required(Disk::folder()) else { return };
    let storage = disk.path().join("storage");
    std::fs::create_dir_all(&storage).unwrap();
    let place = storage.to_str().unwrap().to_owned();
    let server = Setup::default().with_environment("IGLU_STORAGE", &place).start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let putter = server.putter("main", &token);
    let draft = Draft::new("volume", 1, nix_archive(b"volume"), "zstd", &[]).await.unwrap();
    putter.push(&draft).await.unwrap();
    let narinfo = putter.narinfo(draft.hash()).await.unwrap().unwrap();
    let nar = format!("{}/main/{}", server.url(), narinfo.get("URL").unwrap());
    assert_eq!(status_of(server.http(), &nar).await, 200);

    disk.unmount().unwrap();
    let ready = format!("{}/ready", server.ops_url());
    until("the server says that it is not ready", async || status_of(server.http(), &ready).await == 503).await;
    let said = server.http().get(&ready).await.unwrap().text();
    assert!(said.contains("mounted"), "{said}");
    assert_eq!(status_of(server.http(), &nar).await, 503, "not 404: it is not gone");
    assert!(putter.narinfo(draft.hash()).await.unwrap().is_some(), "what is known is served");
    let other = Draft::new("volume", 2, nix_archive(b"other"), "zstd", &[]).await.unwrap();
    assert_eq!(putter.put_file(&other).await.unwrap().status.as_u16(), 503);
    assert!(!server.command(&["check", "--full", "--repair"]).unwrap().output().unwrap().status.success());
    assert!(!storage.join("nar").exists(), "nothing is written where the volume is not");

    disk.mount().unwrap();
    until("the server is ready again", async || status_of(server.http(), &ready).await == 200).await;
    assert_eq!(status_of(server.http(), &nar).await, 200);
    putter.push(&other).await.unwrap();
    is_clean(&server);
}
