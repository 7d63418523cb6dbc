//! HTTPS by the server itself: what clients agree with it on, and certificates that change while it runs.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use iglu_end2end::certificate;
use iglu_end2end::http::Raw;
use iglu_end2end::nix::{self, FreshStore, Nix, NixRelease, said};
use iglu_end2end::scene::Scene;
use iglu_end2end::server::{Server, Setup};

/// A server with a certificate in this folder.
async fn start(folder: &Path) -> Server {
    certificate::authority(folder).unwrap();
    certificate::for_localhost(folder, 30).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (chain, key) = (file("server.pem"), file("server.key"));
    Setup::default().with_serve(&["--tls-certificate", &chain, "--tls-key", &key]).start_alone().await.unwrap()
}

fn url(server: &Server) -> String {
    server.url().replace("http://", "https://")
}

fn curl(folder: &Path, args: &[&str]) -> Output {
    Command::new("curl")
        .arg("--silent")
        .arg("--show-error")
        .arg("--cacert")
        .arg(folder.join("ca.pem"))
        .args(args)
        .output()
        .unwrap()
}

/// What is served now, by its number.
fn serial(server: &Server, folder: &Path) -> String {
    let output = Command::new("sh")
        .args([
            "-c",
            "openssl s_client -connect \"$0\" -CAfile ca.pem </dev/null 2>/dev/null | openssl x509 -noout -serial",
        ])
        .arg(server.address())
        .current_dir(folder)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "not so after 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_within_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    server.cache("main", false).unwrap();
    let info = format!("{}/main/nix-cache-info", url(&server));
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let output = curl(folder.path(), &[flag, "--write-out", "%{http_version}", &info]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("StoreDir: /nix/store\n") && text.ends_with(version), "{text} {:?}", output.stderr);
    }
    // Who asks in the open is told, and who does not speak TLS as it should is not waited for.
    let mut plain = Raw::connect(&server.address()).await.unwrap();
    plain.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let told = plain.head(Duration::from_secs(5)).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    let mut odd = Raw::connect(&server.address()).await.unwrap();
    odd.write([22, 3, 1, 0, 1, 9, 9, 9]).await.unwrap();
    let told = odd.head(Duration::from_secs(15)).await.unwrap();
    assert!(!told.contains("HTTP"), "{told:?}");
    // Whoever asks for a head gets no body, whatever the answer is.
    for (name, status) in [("nix-cache-info", "200"), ("nar/none.nar", "404")] {
        let address = format!("{}/main/{name}", url(&server));
        let output = curl(folder.path(), &["--http2", "--head", "--write-out", "%{http_code}", &address]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.ends_with(status),
            "{text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("content-length: "), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_pushes_and_pulls_within_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let authority = std::fs::read_to_string(folder.path().join("ca.pem")).unwrap();
    let mut scene = Scene::on(server, NixRelease::Host, true).unwrap();
    scene.cache.uri = scene.cache.uri.replace("http://", "https://");
    let (top, _) = nix::chain("tls").await.unwrap();
    let pusher = scene.holder(&scene.push).unwrap().with_certificates(&authority).unwrap();
    let pushed = pusher.copy_to(&format!("{}?compression=zstd", scene.uri()), &[&top]).await.unwrap();
    assert!(pushed.status.success(), "{}", said(&pushed));
    let store = FreshStore::new().unwrap();
    let puller = scene.holder(&scene.pull).unwrap().with_certificates(&authority).unwrap();
    let got = puller.substitute(&store, scene.uri(), scene.key(), &[&top]).await.unwrap();
    assert!(got.status.success(), "{}", said(&got));
    let stranger: Nix = scene.holder(&scene.pull).unwrap();
    let refused = stranger.substitute(&FreshStore::new().unwrap(), scene.uri(), scene.key(), &[&top]).await.unwrap();
    assert!(!refused.status.success(), "a certificate of an unknown authority was good enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let first = serial(&server, folder.path());
    assert!(first.starts_with("serial="), "{first}");
    let expiry = async || {
        let text = server.http().get(&format!("{}/metrics", server.ops_url())).await.unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix("iglu_certificate_expiry_timestamp_seconds "));
        line.unwrap().parse::<f64>().unwrap()
    };
    let before = expiry().await;
    // Half of it is new: the one before goes on, and that is said.
    let old = std::fs::read(folder.path().join("server.key")).unwrap();
    certificate::for_localhost(folder.path(), 3).unwrap();
    let new = std::fs::read(folder.path().join("server.key")).unwrap();
    std::fs::write(folder.path().join("server.key"), &old).unwrap();
    until("the half is noticed", || server.log().contains("the one before it goes on")).await;
    assert_eq!(serial(&server, folder.path()), first);
    // Now it is whole.
    std::fs::write(folder.path().join("server.key"), &new).unwrap();
    until("it is taken over", || serial(&server, folder.path()) != first).await;
    assert!(serial(&server, folder.path()).starts_with("serial="));
    assert!(server.log().contains("the certificate was read again"));
    until("its end is near, and that is said", || server.log().contains("the certificate expires in 2 days")).await;
    let near = expiry().await;
    assert!((before - near - 27.0 * 86400.0).abs() < 120.0, "{before} {near}");
    // Files whose times are all the same, as packages have them, and a link that leads from one to the other.
    let second = serial(&server, folder.path());
    for (name, days) in [("one", 30), ("two", 30)] {
        certificate::for_localhost(folder.path(), days).unwrap();
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        for file in ["server.pem", "server.key"] {
            std::fs::rename(folder.path().join(file), place.join(file)).unwrap();
            let opened = std::fs::File::open(place.join(file)).unwrap();
            opened.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        }
    }
    let lead = |name: &str| {
        std::fs::remove_file(folder.path().join("current")).ok();
        std::os::unix::fs::symlink(name, folder.path().join("current")).unwrap();
    };
    lead("one");
    for file in ["server.pem", "server.key"] {
        std::os::unix::fs::symlink(Path::new("current").join(file), folder.path().join(file)).unwrap();
    }
    until("the first of the links is taken over", || serial(&server, folder.path()) != second).await;
    let third = serial(&server, folder.path());
    lead("two");
    until("the second is taken over", || serial(&server, folder.path()) != third).await;
    let after = expiry().await;
    assert!((before - after).abs() < 120.0, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    certificate::authority(folder.path()).unwrap();
    certificate::for_localhost(folder.path(), 30).unwrap();
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let server = Server::start().await.unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (chain, key, why) in [
        ("none.pem", "server.key", "none.pem"),
        ("empty.pem", "server.key", "there is none in this file"),
        ("server.pem", "ca.pem", "the key"),
        ("server.pem", "ca.key", "with the key"),
    ] {
        let output = server.run(&["serve", "--tls-certificate", &file(chain), "--tls-key", &file(key)]).unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(why) && told.lines().count() == 1, "{chain} {key}: {told}");
    }
    let settings = folder.path().join("iglu.toml");
    std::fs::write(&settings, format!("tls_certificate = {:?}\n", file("server.pem"))).unwrap();
    let output = server.run(&["serve", "--config", settings.to_str().unwrap()]).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("a certificate needs its key"), "{output:?}");
    let output = server.run(&["serve", "--tls-certificate", &file("server.pem")]).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--tls-key"), "{output:?}");
}
