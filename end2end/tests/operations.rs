//! What an operator sees: liveness, readiness, metrics, the command line, an orderly end.

#![allow(clippy::unwrap_used)]

use iglu_end2end::{
    cachix::PushOptions,
    object::Object,
    server::{Scope, Server, Setup},
};
use std::{collections::BTreeMap, process::Command, time::Duration};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let client = server.cachix(Some(&token));
    let object = Object::synthetic("counted", 100_000, 1);
    client.push("main", std::slice::from_ref(&object), &PushOptions::default()).await.unwrap();
    let hash = object.hash();
    for name in [format!("{hash}.narinfo"), format!("{hash}.narinfo"), format!("{}.narinfo", "0".repeat(32))] {
        server.http().get(&format!("{}/main/{name}", server.url())).await.unwrap();
    }
    let narinfo = server.http().get(&format!("{}/main/{hash}.narinfo", server.url())).await.unwrap().text();
    let nar = narinfo.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap();
    let sent = server.http().get(&format!("{}/main/{nar}", server.url())).await.unwrap().body.len();

    let scrape = server.http().get(&format!("{}/metrics", server.ops_url())).await.unwrap();
    assert_eq!(scrape.status, 200);
    let text = scrape.text();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("iglu_narinfo_hits_total{cache=\"main\"}"), 3.0);
    assert_eq!(value("iglu_narinfo_misses_total{cache=\"main\"}"), 1.0);
    assert_eq!(value("iglu_nar_bytes_sent_total{cache=\"main\"}"), sent as f64);
    assert_eq!(value("iglu_push_bytes_received_total"), sent as f64);
    assert_eq!(value("iglu_cache_paths{cache=\"main\"}"), 1.0);
    assert_eq!(value("iglu_cache_derivation_count{cache=\"main\"}"), 1.0);
    assert_eq!(value("iglu_cache_size{cache=\"main\"}"), sent as f64);
    assert_eq!(value("iglu_cache_requests_total{cache=\"main\"}"), 5.0);
    assert_eq!(value("iglu_uploads_open"), 0.0);
    assert_eq!(value("iglu_http_requests_total{route=\"/{cache}/{hash}.narinfo\",status=\"404\"}"), 1.0);
    assert_eq!(value("iglu_http_requests_total{route=\"/api/v1/cache/{cache}/multipart-nar\",status=\"200\"}"), 1.0);
    assert!(value("iglu_database_seconds_count{kind=\"write\"}") > 0.0);
    assert!(value("iglu_storage_seconds_count{operation=\"publish\"}") >= 1.0);

    // Every metric that is shown says what it is.
    let described: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    for line in text.lines().filter(|line| line.starts_with("iglu_")) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(described.contains_key(name) || described.contains_key(base), "{name} is not described");
    }
    assert!(described.len() >= 18, "{described:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_in_order_and_keeps_its_counts() {
    let mut server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    for _ in 0..7 {
        server.http().get(&format!("{}/main/{}.narinfo", server.url(), "1".repeat(32))).await.unwrap();
    }
    for probe in ["live", "serving"] {
        assert_eq!(server.http().get(&format!("{}/{probe}", server.ops_url())).await.unwrap().status, 200, "{probe}");
    }
    let ended = Command::new("kill").arg(server.pid().unwrap().to_string()).status().unwrap();
    assert!(ended.success());
    let status = tokio::time::timeout(Duration::from_secs(20), server.ended()).await.expect("ends in time").unwrap();
    assert!(status.success(), "{status}");
    server.restart().await.unwrap();
    let cache = server.http().get(&format!("{}/caches/main", server.url())).await.unwrap();
    assert_eq!(cache.status, 200);
    // The misses of the first run were written when it ended.
    let answer = server.http().get(&format!("{}/api/ui/cache_get?name=main", server.url())).await.unwrap();
    assert!(answer.text().contains("\"narinfo_misses\":7"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_explains_itself() {
    let server = Server::start().await.unwrap();
    server.admin(&["user", "create", "ada", "--password-stdin", "--admin"], "long enough\n").unwrap();
    let twice = server.admin(&["user", "create", "ada", "--password-stdin"], "long enough\n").unwrap_err().to_string();
    assert!(twice.contains("there is a user \"ada\" already"), "{twice}");
    let short = server.admin(&["user", "create", "bob", "--password-stdin"], "short\n").unwrap_err().to_string();
    assert!(short.contains("at least 10 characters"), "{short}");
    let link = server.admin(&["setup-link"], "").unwrap_err().to_string();
    assert!(link.contains("set up already"), "{link}");
    server.cache("main", true).unwrap();
    let twice = server.admin(&["cache", "create", "main"], "").unwrap_err().to_string();
    assert!(twice.contains("there is a cache \"main\" already"), "{twice}");
    let unknown = server.admin(&["cache", "show", "absent"], "").unwrap_err().to_string();
    assert!(unknown.contains("there is no cache \"absent\""), "{unknown}");
    let foreign = server.admin(&["token", "create", "t", "--cache", "absent", "--scope", "push"], "");
    assert!(foreign.unwrap_err().to_string().contains("there is no cache \"absent\""));
    // Who reads no further, as `head` does, is no failure.
    let (nobody, to_nobody) = std::io::pipe().unwrap();
    drop(nobody);
    let mut unread = Command::new(iglu_end2end::server::binary().unwrap());
    let unread =
        unread.args(["admin", "cache", "list", "--data"]).arg(server.data()).stdout(to_nobody).output().unwrap();
    assert!(unread.status.success() && unread.stderr.is_empty(), "{unread:?}");
    let version = Command::new(iglu_end2end::server::binary().unwrap()).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("iglu "));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_logged_without_what_is_secret() {
    let setup = iglu_end2end::server::Setup::default().with_serve(&["--access-log", "true", "--log-format", "json"]);
    let server = setup.start_alone().await.unwrap();
    server.cache("main", true).unwrap();
    let token = server.token("main", Scope::Pull).unwrap();
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let url = format!("{}{path}", server.url());
        server
            .http()
            .call(http::Method::GET, &url, &iglu_end2end::http::Credentials::None, headers, Vec::new())
            .await
            .unwrap()
    };
    let bearer = format!("Bearer {token}");
    let named = [("authorization", bearer.as_str()), ("x-request-id", "job-42"), ("user-agent", "curl/8")];
    let reply = get(&format!("/main/{}.narinfo?token={token}", "0".repeat(32)), &named).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-request-id")), (404, Some("job-42")));
    let fresh = get("/setup/1vzr6fryxfxlra6cfpc3kbsgl94p9mnd9c05i3rai6b5fxbq7zd6", &[]).await;
    assert_eq!(fresh.header("x-request-id").unwrap().len(), 16);
    // From memory.
    get("/main/nix-cache-info", &named).await;
    let log = server.log();
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |path: &str| {
        let found = lines.iter().find(|line| line["fields"]["path"] == path);
        found.unwrap_or_else(|| panic!("{path} is not in\n{log}"))["fields"].clone()
    };
    let missed = of(&format!("/main/{}.narinfo", "0".repeat(32)));
    assert_eq!((&missed["id"], &missed["status"], &missed["method"]), (&"job-42".into(), &404.into(), &"GET".into()));
    assert_eq!((&missed["from"], &missed["agent"]), (&"127.0.0.1".into(), &"curl/8".into()));
    assert!(missed["milliseconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(of("/setup/…")["id"], *fresh.header("x-request-id").unwrap());
    assert_eq!(of("/main/nix-cache-info")["status"], 200);
    assert!(!log.contains(&token) && !log.contains("1vzr6fry"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_to_tell_of_a_hole() {
    let flags = ["--security-contact", "mailto:security@example.org"];
    let server = iglu_end2end::server::Setup::default().with_serve(&flags).start_alone().await.unwrap();
    let get =
        async |server: &Server| server.http().get(&format!("{}/.well-known/security.txt", server.url())).await.unwrap();
    let reply = get(&server).await;
    assert_eq!((reply.status.as_u16(), reply.media_type()), (200, Some("text/plain")));
    let text = reply.text();
    assert!(text.starts_with("Contact: mailto:security@example.org\nExpires: 20"), "{text}");
    let expires = text.lines().find_map(|line| line.strip_prefix("Expires: ")).unwrap();
    assert!(expires.len() == 20 && expires.ends_with('Z'), "{expires}");
    assert!(text.contains(&format!("Canonical: {}/", server.url())), "{text}");
    let nobody = Server::start().await.unwrap();
    assert_eq!(get(&nobody).await.status, 404);
    for odd in ["security@example.org", "mailto:a b@example.org", "https://x\nExpires: never"] {
        let output = nobody.run(&["serve", "--security-contact", odd]).unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("write mailto:security@example.org"), "{odd}");
    }
}

/// Somebody who asks twice does not want to wait for downloads.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_twice_to_end_ends_at_once() {
    let mut server = Setup::default().with_serve(&["--drain", "10m"]).start_alone().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    // An upload that takes its time holds the first request to end up.
    let mut upload = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "PUT /main/nar/{}.nar HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\nslow",
        "0".repeat(52)
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.terminate().unwrap();
    tokio::time::timeout(Duration::from_secs(3), server.ended()).await.expect_err("the upload is waited for");
    server.terminate().unwrap();
    let status = tokio::time::timeout(Duration::from_secs(5), server.ended()).await.expect("ends at once").unwrap();
    assert_eq!(status.code(), Some(1));
    server.restart().await.unwrap();
}

/// Whoever looks at a folder that has no database means another: none is made there.
#[test]
fn what_cannot_be_meant_is_told_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let said = |args: &[&str]| {
        let mut command = Command::new(iglu_end2end::server::binary().unwrap());
        command.args(args).args(["--data", nowhere.to_str().unwrap()]);
        command.env("IGLU_S3_ACCESS_KEY_ID", "x").env("IGLU_S3_SECRET_ACCESS_KEY", "y");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for args in [&["check"][..], &["check", "--full", "--repair"], &["storage", "status"], &["gc", "main", "--dry-run"]]
    {
        let told = said(args);
        assert!(told.starts_with("iglu: there is no database ") && told.lines().count() == 1, "{args:?}: {told}");
        assert!(!nowhere.exists(), "{args:?}");
    }
    for (args, about) in [
        (["--storage", "s3://b", "--s3-endpoint", "127.0.0.1:9000"], "--s3-endpoint \"127.0.0.1:9000\" is no address"),
        (["--storage", "s3://b", "--s3-endpoint", "nonsense"], "--s3-endpoint \"nonsense\" is no address"),
        (["--storage", "s3://b", "--s3-public-endpoint", "http://"], "--s3-public-endpoint \"http://\" is no address"),
        (["--storage", "s3://b b", "--s3-endpoint", "http://127.0.0.1:9"], "a bucket's name has letters"),
        (["--storage", "/proc/nowhere", "--drain", "1s"], "/proc/nowhere: No such file"),
        (["--scratch", "/tmp/somewhere", "--drain", "1s"], "--scratch is for storage in a bucket"),
    ] {
        let told = said(&[&["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"], &args[..]].concat());
        let last = told.lines().last().unwrap_or_default();
        assert!(last.contains(about) && !told.contains("panicked"), "{args:?}: {told}");
    }
}

/// Without its master key a server says so, and makes no other that looks like it; where it is lost for good there is a way on.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_master_key() {
    let mut server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let object = Object::synthetic("kept", 1000, 1);
    let pushed = std::slice::from_ref(&object);
    server.cachix(Some(&token)).push("main", pushed, &PushOptions::default()).await.unwrap();
    let signers = async |server: &Server| {
        let narinfo = server.http().get(&format!("{}/main/{}.narinfo", server.url(), object.hash())).await.unwrap();
        let narinfo = narinfo.text();
        narinfo.lines().filter(|line| line.starts_with("Sig: ")).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let before = signers(&server).await;
    assert_eq!(before.len(), 1);
    let refused = String::from_utf8(server.run(&["admin", "replace-keys", "--yes"]).unwrap().stderr).unwrap();
    assert!(refused.contains("another server"), "{refused}");
    server.kill().unwrap();

    let key = server.data().join("master.key");
    std::fs::remove_file(&key).unwrap();
    let refused = server.run(&["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]).unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("put it back from where a copy is kept"), "{said}");
    // Where there is no key at all, the right one may be given to the server alone.
    for args in [&["admin", "replace-keys"][..], &["admin", "replace-keys", "--yes"]] {
        let refused = server.run(args).unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains("openssl rand -hex 32"), "{said}");
        assert!(!key.exists(), "none is made");
    }
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    let found = String::from_utf8(server.run(&["admin", "replace-keys"]).unwrap().stdout).unwrap();
    assert!(found.contains("does not open:\nmain: main.127.0.0.1-1\n") && found.contains("--yes"), "{found}");
    let done = String::from_utf8(server.run(&["admin", "replace-keys", "--yes"]).unwrap().stdout).unwrap();
    assert!(done.contains("machines have to trust main.127.0.0.1-2:"), "{done}");
    server.restart().await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let now = signers(&server).await;
        assert!(now.contains(&before[0]), "what was signed stays signed: {now:?}");
        if now.iter().any(|line| line.starts_with("Sig: main.127.0.0.1-2:")) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "nothing is signed again: {now:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
