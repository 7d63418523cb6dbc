//! Files in the documents, each read by the program that it is for.

use std::path::Path;
use std::process::{Command, Output};

use iglu_end2end::certificate;
use iglu_end2end::postgres::Postgres;
use iglu_end2end::server::binary;

use crate::block::{Block, blocks, root};

fn of(language: &str) -> Vec<Block> {
    let found: Vec<Block> =
        blocks().into_iter().filter(|block| block.language == language && block.not_run().is_none()).collect();
    assert!(!found.is_empty(), "no block is {language}");
    found
}

#[track_caller]
fn accepts(block: &Block, output: &Output) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{block}: {said}");
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Iglu's own settings: an unknown one is refused before anything is done.
#[test]
fn settings_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let asked = |text: &str| {
        let file = written(folder.path(), "iglu.toml", text);
        let output = Command::new(binary().unwrap())
            .args(["health", "--config", &file])
            .env("IGLU_OPS_LISTEN", "127.0.0.1:1")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for block in of("toml") {
        let said = asked(&block.text);
        assert!(said.contains("no server answers at http://127.0.0.1:1"), "{block}: {said}");
    }
    assert!(asked("publicurl = \"x\"\n").contains("publicurl"), "unknown settings are refused");
}

#[test]
fn yaml_is_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    for block in of("yaml") {
        if block.page.ends_with("monitoring.md") {
            let alerts = root().join("deploy/helm/iglu/files/alerts.yaml");
            let text = block.text.replace("/etc/prometheus/iglu-alerts.yaml", &alerts.display().to_string());
            let file = written(folder.path(), "prometheus.yml", &text);
            accepts(&block, &Command::new("promtool").args(["check", "config", &file]).output().unwrap());
        } else {
            let read: Result<serde_json::Value, _> = serde_saphyr::from_str(&block.text);
            assert!(read.as_ref().is_ok_and(|value| !value.is_null()), "{block}: {read:?}");
        }
    }
}

#[test]
fn json_is_json() {
    for block in of("json") {
        let read: Result<serde_json::Value, _> = serde_json::from_str(&block.text);
        assert!(read.is_ok(), "{block}: {read:?}");
    }
}

/// A role and a database, made as the page says, are enough for Iglu.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_makes_a_database() {
    let postgres = Postgres::start().unwrap();
    let admin = sqlx::PgPool::connect(&postgres.url()).await.unwrap();
    for block in of("sql") {
        for statement in block.text.split_inclusive(';').filter(|statement| statement.contains(';')) {
            // The test's own administrator has the role's name.
            let statement = statement.replace("ROLE iglu", "ROLE cache").replace("OWNER iglu", "OWNER cache");
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&admin).await.unwrap();
        }
    }
    let url = postgres.url().replace("/postgres?", "/iglu?").replace("user=iglu", "user=cache&password=choose-one");
    let output = Command::new(binary().unwrap()).args(["migrate", "--database-url", &url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn nginx_takes_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    certificate::authority(folder.path()).unwrap();
    certificate::for_localhost(folder.path(), 2).unwrap();
    let blocks = of("nginx");
    let text_of = |page: &str, begins: &str| {
        let found = blocks.iter().find(|block| block.page.ends_with(page) && block.text.starts_with(begins));
        found.unwrap_or_else(|| panic!("{page} has no {begins}")).text.clone()
    };
    let server = text_of("reverse-proxy.md", "server {");
    let upstream = text_of("replicas.md", "# within http");
    let within = text_of("replicas.md", "# within the server's location");
    assert_eq!(blocks.len(), 3);
    for several in [false, true] {
        let mut server = server
            .replace("/etc/ssl/cache.example.org.pem", &folder.path().join("server.pem").display().to_string())
            .replace("/etc/ssl/cache.example.org.key", &folder.path().join("server.key").display().to_string())
            .replace("443", "8443");
        if several {
            server = server.replace("proxy_pass http://127.0.0.1:8080;\n", &within);
            assert!(server.contains("proxy_connect_timeout"));
        }
        let place = folder.path().display();
        let upstream = if several { &upstream } else { "" };
        let text = format!(
            "pid {place}/pid;\nerror_log {place}/error;\nevents {{}}\nhttp {{\naccess_log off;\n{upstream}{server}}}\n"
        );
        let file = written(folder.path(), "nginx.conf", &text);
        let output = Command::new("nginx")
            .args(["-t", "-c", &file])
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        accepts(&blocks[0], &output);
    }
}

#[test]
fn caddy_takes_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    for block in of("caddyfile") {
        let file = written(folder.path(), "Caddyfile", &block.text);
        let output = Command::new("caddy")
            .args(["adapt", "--adapter", "caddyfile", "--config", &file])
            .env("HOME", folder.path())
            .output()
            .unwrap();
        accepts(&block, &output);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("\"flush_interval\":-1") && text.contains("127.0.0.1:8080"), "{text}");
    }
}

#[test]
fn nix_reads_its_expressions() {
    let folder = tempfile::tempdir().unwrap();
    for block in of("nix") {
        let is_whole = block.text.starts_with('{');
        let text = if is_whole { block.text.clone() } else { format!("{{ lib, ... }}: {{\n{}}}\n", block.text) };
        let file = written(folder.path(), "block.nix", &text);
        accepts(&block, &Command::new("nix-instantiate").args(["--parse", &file]).output().unwrap());
    }
}

/// What is written over the unit is known to systemd.
#[test]
fn systemd_knows_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(root().join("deploy/systemd/iglu.service")).unwrap();
    let unit = unit.replace("/usr/bin/iglu", "/bin/true");
    for block in of("ini") {
        let file = written(folder.path(), "iglu.service", &format!("{unit}\n{}", block.text));
        let output = Command::new("systemd-analyze").args(["verify", "--man=no", &file]).output().unwrap();
        accepts(&block, &output);
        assert!(output.stderr.is_empty(), "{block}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
