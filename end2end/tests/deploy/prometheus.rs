//! The alert rules by promtool; every query of the dashboard and of the alerts against what Prometheus itself scraped from a server.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{root, run};
use iglu_end2end::cachix::PushOptions;
use iglu_end2end::http::Http;
use iglu_end2end::nar;
use iglu_end2end::object::Object;
use iglu_end2end::server::{Scope, Server, free_port};

const RULES: &str = "deploy/helm/iglu/files/alerts.yaml";
const DASHBOARD: &str = "deploy/helm/iglu/files/dashboard.json";

#[test]
fn each_alert_fires_and_none_without_reason() {
    let (is_well, said) = run("promtool", &["check", "rules", RULES]);
    assert!(is_well, "{said}");
    let folder = tempfile::tempdir().unwrap();
    let test = std::fs::read_to_string(root().join("end2end/tests/deploy/alerts.test.yaml")).unwrap();
    let rules = std::fs::read_to_string(root().join(RULES)).unwrap();
    for line in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(test.contains(&format!("alertname=\"{line}\"")), "no test of {line}");
    }
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, test.replace("RULES", root().join(RULES).to_str().unwrap())).unwrap();
    let (is_well, said) = run("promtool", &["test", "rules", file.to_str().unwrap()]);
    assert!(is_well, "{said}");
    std::fs::write(
        &file,
        test.replace("RULES", root().join(RULES).to_str().unwrap())
            .replace("\"0+60x300\" }\n      - { series: 'iglu_work", "\"0x300\" }\n      - { series: 'iglu_work"),
    )
    .unwrap();
    assert!(!run("promtool", &["test", "rules", file.to_str().unwrap()]).0, "the judge sleeps");
}

/// Prometheus, which scrapes one server every second.
struct Prometheus {
    port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: iglu\n    static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let mut command = Command::new("prometheus");
        command.current_dir(folder.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Prometheus { port, child, _folder: folder }
    }

    /// The samples of a query now.
    async fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = format!("http://127.0.0.1:{}/api/v1/query?query={encoded}", self.port);
        let reply = Http::new().get(&url).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        match answer["data"]["result"].as_array() {
            Some(samples) => Ok(samples.clone()),
            None => Err(answer.to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_an_answer() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let prometheus = Prometheus::start(&server.ops_url()["http://".len()..]);
    // Something of everything, while it is scraped.
    let started = Instant::now();
    let mut seed = 0;
    while started.elapsed() < Duration::from_secs(8) {
        seed += 1;
        let object = Object::bytes("scraped", seed, nar::archive(&nar::regular(&seed.to_le_bytes())));
        server.cachix(Some(&token)).push_one("main", &object, &PushOptions::default()).await.unwrap();
        let narinfo = server.putter("main", &token).narinfo(object.hash()).await.unwrap().unwrap();
        server.putter("main", &token).check(&narinfo).await.unwrap();
        server.http().get(&format!("{}/main/{}.narinfo", server.url(), "0".repeat(32))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(root().join(DASHBOARD)).unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap().replace("$job", ".*").replace("$__rate_interval", "30s");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 30);
    for (panel, query) in queries {
        let samples = prometheus.ask(&query).await.unwrap_or_else(|error| panic!("{panel}: {query}: {error}"));
        assert!(!samples.is_empty(), "{panel} shows nothing: {query}");
    }
    // Alerts speak of series that there are.
    let rules = std::fs::read_to_string(root().join(RULES)).unwrap();
    let spoken = ["description: ", "summary: "];
    let asked = rules.lines().filter(|line| !spoken.iter().any(|word| line.contains(word)));
    let rules: String = asked.flat_map(|line| [line, "\n"]).collect();
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_series = |word: &&str| word.starts_with("iglu_") || word.starts_with("process_");
    let mut names: Vec<&str> = words.filter(is_series).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 10);
    for name in names {
        // Work that runs by the hour has not run yet where the server is new.
        assert!(!prometheus.ask(name).await.unwrap().is_empty(), "no series {name}");
    }
    assert_eq!(prometheus.ask("up").await.unwrap()[0]["value"][1], "1");
}
