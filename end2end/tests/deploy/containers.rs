//! The recipe of the images and the compose files: no container program is at hand, so what they say is held against the program and
//! against itself.

use std::process::Command;

use serde_json::Value;

use crate::{root, run, said};
use iglu_end2end::server::{Server, binary};

fn yaml(file: &str) -> Value {
    let made = Command::new(root().join("scripts/python-env.sh")).arg("kubernetes").output().unwrap();
    let python = format!("{}/python", String::from_utf8(made.stdout).unwrap().trim());
    let program = "import sys, json, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new(python).args(["-c", program, file]).current_dir(root()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

/// Variables that only the environment sets.
const SECRET: [&str; 3] = ["IGLU_MASTER_KEY", "IGLU_S3_ACCESS_KEY_ID", "IGLU_S3_SECRET_ACCESS_KEY"];

#[test]
fn every_variable_is_a_setting() {
    let (_, help) = run(binary().unwrap().to_str().unwrap(), &["serve", "--help"]);
    let recipe = std::fs::read_to_string(root().join("deploy/oci/Dockerfile")).unwrap();
    let mut names: Vec<String> = Vec::new();
    let words = recipe.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    names.extend(words.filter(|word| word.starts_with("IGLU_")).map(str::to_owned));
    for file in ["deploy/oci/compose.yaml", "deploy/oci/compose.replicas.yaml"] {
        let composed = yaml(file);
        names.extend(composed["services"]["iglu"]["environment"].as_object().unwrap().keys().cloned());
        let iglu = &composed["services"]["iglu"];
        assert_eq!((iglu["read_only"].as_bool(), iglu["cap_drop"][0].as_str()), (Some(true), Some("ALL")), "{file}");
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        assert!(!text.contains("9464:"), "{file}: metrics are private");
    }
    assert!(names.len() > 10);
    for name in names {
        assert!(SECRET.contains(&name.as_str()) || help.contains(&format!("[env: {name}")), "{name} is no setting");
    }
}

#[test]
fn the_recipe_is_of_a_small_image_of_nobody() {
    let recipe = std::fs::read_to_string(root().join("deploy/oci/Dockerfile")).unwrap();
    let server = recipe.split("AS base").nth(1).unwrap();
    for needed in ["USER 65532:65532", "STOPSIGNAL SIGTERM", "HEALTHCHECK", "ca-certificates", "ENTRYPOINT"] {
        assert!(server.contains(needed), "{needed}");
    }
    // What ends up in an image comes from the build alone, and no later layer is root's.
    assert!(!server.contains("COPY . "));
    for stage in server.split("\nFROM ") {
        let users: Vec<&str> = stage.lines().filter_map(|line| line.strip_prefix("USER ")).collect();
        assert!(users.is_empty() || users.last() == Some(&"65532:65532"), "{users:?}");
    }
    // The compiler is the one that the project asks for.
    let wanted = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let wanted = wanted
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .unwrap()
        .trim_end_matches('"')
        .to_owned();
    assert!(recipe.contains(&format!("FROM rust:{wanted}-")));
}

/// What is in flight can be larger than memory, and two servers never share it.
#[test]
fn what_is_in_flight_is_on_the_disk() {
    let composed = yaml("deploy/oci/compose.replicas.yaml");
    let iglu = &composed["services"]["iglu"];
    assert_eq!(iglu["volumes"], serde_json::json!(["/var/lib/iglu"]));
    assert_eq!(iglu["tmpfs"], serde_json::json!(["/tmp"]));
}

#[test]
fn nginx_takes_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join("deploy/oci/nginx.conf")).unwrap();
    // Servers are looked up while it runs; the path goes on as it came, and what a client says of its address does not.
    for line in [
        "resolver 127.0.0.11 valid=5s ipv6=off;",
        "set $iglu http://iglu:8080;",
        "proxy_pass $iglu;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
    ] {
        assert!(text.lines().any(|one| one.trim() == line), "{line}");
    }
    let text = text.replace("listen 8080", "listen 127.0.0.1:18080");
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, format!("pid {}/pid;\n{text}", folder.path().display())).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut nginx = Command::new("nginx");
    nginx.env("PATH", format!("{path}:/usr/sbin")).args(["-t", "-p"]).arg(folder.path()).arg("-c").arg(&file);
    let output = nginx.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_says_how_the_server_is() {
    let mut server = Server::start().await.unwrap();
    let ops = server.ops_url().trim_start_matches("http://").to_owned();
    let ask = || Command::new(binary().unwrap()).arg("health").env("IGLU_OPS_LISTEN", &ops).output().unwrap();
    let output = ask();
    assert!(output.status.success() && said(&output) == "ready\n", "{}", said(&output));
    server.kill().unwrap();
    let output = ask();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("no server answers at http://{ops}/ready")), "{}", said(&output));
}
