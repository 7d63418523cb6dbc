//! `iglu doctor` beside servers that are well, and beside those that are not: what it finds, and what it says helps.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use iglu_end2end::balancer::Balancer;
use iglu_end2end::server::{Setup, binary, free_port};
use iglu_end2end::static_server::StaticServer;
use serde_json::Value;

/// What it finds of the data in a folder, for a server that should be at a URL; and whether all is well.
fn examine(data: &Path, url: &str, more: &[&str], variables: &[(&str, &str)]) -> (Vec<Value>, bool) {
    let mut command = Command::new(binary().unwrap());
    command.args(["doctor", "--json", "--public-url", url]).arg("--data").arg(data).args(more);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(found["healthy"], output.status.success(), "{found}");
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    (found["findings"].as_array().unwrap().clone(), output.status.success())
}

#[track_caller]
fn finding<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["what"] == what);
    found.unwrap_or_else(|| panic!("{what} was not looked at: {findings:?}"))
}

#[track_caller]
fn is_bad(findings: &[Value], what: &str, told: &str, cure: &str) {
    let finding = finding(findings, what);
    let said = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    assert!(finding["verdict"] == "bad" && said("told").contains(told) && said("cure").contains(cure), "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_well() {
    let server = Setup::default().start_alone().await.unwrap();
    server.cache("main", false).unwrap();
    let (findings, is_well) = examine(server.data(), &server.url(), &[], &[]);
    assert!(is_well, "{findings:?}");
    for what in ["database", "master key", "way", "clock", "push and pull", "clients"] {
        assert_eq!(finding(&findings, what)["verdict"], "good", "{findings:?}");
    }
    // The disk of a machine that runs tests may well be nearly full, which is no fault of the server.
    let storage = finding(&findings, "storage");
    assert!(storage["verdict"] == "good" || storage["told"].as_str().unwrap().ends_with("are free"), "{storage}");
    // It is for this machine alone, which is said.
    assert_eq!(finding(&findings, "name")["verdict"], "odd");
    // Nothing is left behind.
    let caches: Value = serde_json::from_str(&server.admin(&["cache", "list"], "").unwrap()).unwrap();
    assert_eq!(caches["caches"].as_array().unwrap().len(), 1, "{caches}");
    let output = server.run(&["doctor"]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("good  push and pull: 2 MiB went in and out, signed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not() {
    let mut server = Setup::default().start_alone().await.unwrap();
    let other = Setup::default().start_alone().await.unwrap();
    let (findings, is_well) = examine(server.data(), &other.url(), &[], &[]);
    assert!(!is_well);
    is_bad(&findings, "push and pull", "does not know a cache that was made a moment ago", "another database");
    let (findings, _) = examine(server.data(), "http://no-such-name.invalid", &[], &[]);
    is_bad(&findings, "name", "no-such-name.invalid leads nowhere", "DNS record");
    let (findings, _) = examine(server.data(), &server.url(), &["--cache-domain", "caches.invalid"], &[]);
    is_bad(&findings, "cache domain", ".caches.invalid leads nowhere", "wildcard DNS record: *.caches.invalid");
    let (findings, _) = examine(Path::new("/nowhere/at/all"), &server.url(), &[], &[]);
    is_bad(&findings, "database", "/nowhere/at/all/iglu.db", "start `iglu serve`");
    server.cache("main", false).unwrap();
    let another = "ab".repeat(32);
    let (findings, _) = examine(server.data(), &server.url(), &[], &[("IGLU_MASTER_KEY", another.as_str())]);
    is_bad(&findings, "database and storage", "the master key does not open signing key", "the same ones");
    let key = server.data().join("master.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    server.kill().unwrap();
    let (findings, _) = examine(server.data(), &server.url(), &[], &[]);
    is_bad(&findings, "way", "nothing answers at", "is the server running");
    let open = finding(&findings, "master key");
    assert!(open["verdict"] == "odd" && open["cure"].as_str().unwrap().contains("chmod 600"), "{open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_little() {
    let server = Setup::default().start_alone().await.unwrap();
    let proxy = Balancer::with_small_bodies(free_port().unwrap(), &server.address()).await.unwrap();
    let (findings, _) = examine(server.data(), &format!("http://{}", proxy.address()), &[], &[]);
    is_bad(&findings, "push and pull", "too large for the proxy", "client_max_body_size 0");
    // What answers there is no Iglu at all.
    let folder = tempfile::tempdir().unwrap();
    let web = StaticServer::start(folder.path()).unwrap();
    let (findings, _) = examine(server.data(), &web.url(), &[], &[]);
    is_bad(&findings, "way", "not as Iglu would", "proxy");
}
