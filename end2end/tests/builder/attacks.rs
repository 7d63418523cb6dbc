//! What hostile repositories try, and how far they come.

use crate::{reason, state};
use http::Method;
use iglu_end2end::{
    builder::{Node, Workshop},
    server::Scope,
};
use serde_json::{Value, json};

async fn shop() -> (Workshop, Node) {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let node = shop.node_at("one", &shop.server.url(), &["--node-capacity", "3"]).await.unwrap();
    (shop, node)
}

/// Runs a command and gives the lines that it wrote.
async fn said(shop: &Workshop, name: &str, command: &str) -> Vec<String> {
    let run = shop.once(name, &json!({ "what": { "kind": "command", "command": command } })).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    let mut log = shop.log(run["run"]["id"].as_u64().unwrap()).await.unwrap();
    // What the node says before it.
    log.drain(..2);
    log
}

#[tokio::test]
async fn a_run_sees_neither_the_server_nor_other_runs_nor_the_nodes_environment() {
    let (shop, node) = shop().await;
    let data = shop.server.data().display().to_string();
    let root = node.state().display().to_string();
    let own = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let command = format!(
        "for place in {data} {data}/iglu.db {data}/master.key {root}/runs {root}/lock {own} /work /var/tmp /credential /proc/1/root/work; do \
           if ls $place >/dev/null 2>&1; then echo sees $place; fi; done; \
         env | cut -d= -f1 | sort | tr '\\n' ' '; echo; id -u; ls /build; cat /proc/*/environ | tr '\\0' '\\n' | grep -c IGLU; \
         touch /usr/x /nix/x 2>&1 | wc -l; ls /dev | grep -cE 'sd|vd|mem|kmsg'; true"
    );
    let lines = said(&shop, "look", &command).await;
    assert!(!lines.iter().any(|line| line.starts_with("sees")), "{lines:?}");
    assert!(!lines[0].contains("IGLU") && !lines[0].contains("TOKEN"), "{lines:?}");
    assert_eq!(lines[1], if rustix_is_root() { "65534".to_owned() } else { lines[1].clone() });
    assert_eq!(lines[2..], ["home", "roots", "src", "0", "2", "0"].map(str::to_owned), "{lines:?}");
}

fn rustix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
}

#[tokio::test]
async fn nothing_of_a_run_lives_longer_than_it() {
    let (shop, node) = shop().await;
    let command = "(setsid sh -c 'trap \"\" TERM HUP; sleep 1000' >/dev/null 2>&1 &) ; (setsid nohup sleep 1001 >/dev/null 2>&1 &); sleep 0.3; ps ax | grep -c 'sleep 100'";
    let lines = said(&shop, "leave", command).await;
    assert!(lines[0].parse::<u32>().unwrap() >= 2, "{lines:?}");
    assert_eq!(node.processes(), Vec::<String>::new());
    node.tidy().await.unwrap();
}

#[tokio::test]
async fn the_token_of_a_run_reads_one_cache_and_dies_with_it() {
    let (shop, _node) = shop().await;
    shop.server.cache("other", true).unwrap();
    let token = said(&shop, "print", "cut -d' ' -f6 /build/home/netrc; sleep 1").await.remove(0);
    assert!(token.starts_with("iglu_runpull_"), "{token}");
    // Over: the token opens nothing, and says why.
    let refused = shop.server.http().send(with(&shop, &token, Method::GET, "/api/v1/caches/main")).await.unwrap();
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("the run that this token was for is over"), "{}", refused.text());
    // While it lasts it reads its cache, pushes nothing, and knows no other one.
    shop.builder(
        "long",
        &json!({ "what": { "kind": "command", "command": "cut -d' ' -f6 /build/home/netrc; sleep 100" } }),
    )
    .await
    .unwrap();
    let run = shop.run("long").await.unwrap();
    shop.wait(run, "telling", |now| now["line_count"].as_u64() >= Some(3)).await.unwrap();
    let token = shop.log(run).await.unwrap()[2].clone();
    for (method, path, status) in [
        (Method::GET, "/api/v1/caches/main", 200),
        (Method::GET, "/api/v1/caches/other", 401),
        (Method::POST, "/api/v1/caches/main/paths/remove", 403),
        (Method::DELETE, "/api/v1/builders/long", 403),
        (Method::GET, "/api/v1/nodes", 403),
        (Method::POST, "/api/v1/node/claim", 401),
    ] {
        let reply = shop.server.http().send(with(&shop, &token, method, path)).await.unwrap();
        assert_eq!(reply.status, status, "{path} {}", reply.text());
    }
    let drv = "0123456789abcdfghijklmnpqrsvwxyz-x.drv";
    let put = shop.server.http().send(with(&shop, &token, Method::PUT, &format!("/main/log/{drv}"))).await.unwrap();
    assert_eq!(put.status, 403, "{}", put.text());
    shop.call(Method::POST, &format!("runs/{run}/cancel"), &json!({})).await.unwrap();
    shop.ended(run).await.unwrap();
}

fn with(shop: &Workshop, token: &str, method: Method, path: &str) -> http::Request<bytes::Bytes> {
    let bearer = iglu_end2end::http::Credentials::Bearer(token.to_owned());
    let url = format!("{}{path}", shop.server.url());
    let body = if method == Method::GET { "" } else { r#"{"hashes":[]}"# };
    iglu_end2end::http::request(method, &url, &bearer, &[], body).unwrap()
}

#[tokio::test]
async fn credentials_are_gone_before_anything_of_the_repository_runs() {
    let (shop, node) = shop().await;
    shop.forge.commit("secret", &[("a", "b")], "locked").unwrap();
    shop.forge.lock("secret", "robot", "hunter2hunter2");
    let look = "git -C /build/src config --list; cat .git/config .git/FETCH_HEAD; grep -r hunter2 /build /tmp /proc/*/cmdline /proc/*/environ 2>/dev/null; ls /credential; true";
    let spec = json!({ "repository": shop.forge.repository("secret"), "what": { "kind": "command", "command": look } });
    let credential = json!({ "kind": "password", "user": "robot", "password": "hunter2hunter2" });
    shop.builder_with("secret", &spec, &credential).await.unwrap();
    let run = shop.ended(shop.run("secret").await.unwrap()).await.unwrap();
    assert_eq!(state(&run), "succeeded", "{run}");
    let log = shop.log(run["run"]["id"].as_u64().unwrap()).await.unwrap().join("\n");
    // The command itself names what it looks for.
    let told = log.lines().filter(|line| line.contains("hunter2") && !line.contains("grep -r hunter2")).count();
    assert_eq!(told, 0, "{log}");
    assert!(!node.log().contains("hunter2") && !shop.server.log().contains("hunter2"));
    let shown = shop.call(Method::GET, "builders/secret", &Value::Null).await.unwrap();
    assert_eq!(shown["has_credential"], true);
    // The words of its command apart.
    assert!(!shown.to_string().replace("grep -r hunter2", "").contains("hunter2"));
}

#[tokio::test]
async fn addresses_and_references_that_are_commands_are_refused() {
    let (shop, _node) = shop().await;
    for repository in [
        "file:///etc",
        "/etc",
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=touch /tmp/x",
        "https://user:password@example.org/x.git",
        "ssh://-oProxyCommand=touch/x",
        "-oProxyCommand=x@host:path",
        "http://",
    ] {
        let refused = shop.builder("bad", &json!({ "repository": repository })).await.unwrap_err().to_string();
        assert!(refused.starts_with("400"), "{repository}: {refused}");
    }
    shop.builder("demo", &json!({})).await.unwrap();
    for reference in ["--upload-pack=touch /tmp/x", "-x", "a..b", "a b", "x:y", "", "@{-1}"] {
        let refused = shop.builder("bad", &json!({ "reference": reference })).await.unwrap_err().to_string();
        assert!(refused.starts_with("400"), "{reference}: {refused}");
        let start = json!({ "reference": reference });
        let refused = shop.call(Method::POST, "builders/demo/runs", &start).await.unwrap_err().to_string();
        assert!(refused.starts_with("400"), "{reference}: {refused}");
    }
    for (name, what) in [
        ("folder", json!({ "kind": "flake", "folder": "../..", "outputs": ["a"] })),
        ("folder", json!({ "kind": "flake", "folder": "a?ref=x", "outputs": ["a"] })),
        ("output", json!({ "kind": "flake", "outputs": ["--impure"] })),
        ("output", json!({ "kind": "flake", "outputs": ["a b"] })),
        ("file", json!({ "kind": "file", "file": "/etc/passwd" })),
        ("attribute", json!({ "kind": "file", "file": "a.nix", "attributes": ["-E"] })),
    ] {
        let refused = shop.builder("bad", &json!({ "what": what })).await.unwrap_err().to_string();
        assert!(refused.starts_with("400"), "{name} {what}: {refused}");
    }
}

#[tokio::test]
async fn inputs_and_submodules_reach_no_file_of_the_machine_and_start_nothing() {
    let (shop, _node) = shop().await;
    let data = shop.server.data().display().to_string();
    let flake = |url: &str| {
        format!(
            "{{ inputs.x = {{ url = \"{url}\"; flake = false; }}; outputs = {{ self, x }}: {{ packages.x86_64-linux.a = throw (builtins.concatStringsSep \" \" (builtins.attrNames (builtins.readDir x))); }}; }}"
        )
    };
    let what = json!({ "kind": "flake", "outputs": ["a"] });
    for (name, url) in [
        ("path", format!("path:{data}")),
        ("file", format!("git+file://{data}")),
        ("ext", "git+ext::sh -c id".to_owned()),
        ("etc", "path:/etc".to_owned()),
    ] {
        shop.forge.commit(name, &[("flake.nix", &flake(&url))], "input").unwrap();
        let spec = json!({ "repository": shop.forge.repository(name), "what": what });
        let run = shop.once(name, &spec).await.unwrap();
        assert_eq!(state(&run), "failed", "{name} {run}");
        for secret in ["master.key", "iglu.db", "shadow", "uid="] {
            assert!(!reason(&run).contains(secret), "{name}: {}", reason(&run));
        }
    }
    let modules = "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c \"touch /build/owned\"\n[submodule \"y\"]\n\tpath = y\n\turl = file:///etc\n";
    shop.forge.commit("modules", &[(".gitmodules", modules)], "modules").unwrap();
    let spec = json!({ "repository": shop.forge.repository("modules"),
        "what": { "kind": "command", "command": "ls -A; ls /build; git submodule update --init 2>&1; ls /build" } });
    let run = shop.once("modules", &spec).await.unwrap();
    let log = shop.log(run["run"]["id"].as_u64().unwrap()).await.unwrap().join("\n");
    assert!(!log.contains("owned\n"), "{log}");
}

#[tokio::test]
async fn a_log_of_10_gib_ends_its_run_and_costs_nobody_memory() {
    let (shop, node) = shop().await;
    let spec = json!({ "what": { "kind": "command", "command": "yes 0123456789012345678901234567890123456789 | head -c 10G" }, "limits": { "log_mib": 8 } });
    let run = shop.once("flood", &spec).await.unwrap();
    assert_eq!((state(&run), reason(&run)), ("failed", "it wrote more than 8 MiB into its log"));
    let peak = node.peak_rss().unwrap();
    assert!(peak < 100 << 20, "{peak}");
    // One line without an end is cut.
    let spec = json!({ "what": { "kind": "command", "command": "head -c 100M /dev/zero | tr '\\0' x" }, "limits": { "log_mib": 8 } });
    let run = shop.once("line", &spec).await.unwrap();
    assert_eq!(state(&run), "failed", "{run}");
    assert!(node.peak_rss().unwrap() < 100 << 20);
    assert_eq!(node.processes(), Vec::<String>::new());
}

#[tokio::test]
async fn escape_sequences_and_html_reach_a_terminal_as_text() {
    let (shop, _node) = shop().await;
    let evil = r"printf '\033]0;owned\007\033[2J\033[31mred\033[0m<script>alert(1)</script>\n\033]52;c;aGk=\007clip\n10%%\r99%%\n'";
    let spec = json!({ "what": { "kind": "command", "command": evil } });
    let run = shop.once("evil", &spec).await.unwrap();
    let id = run["run"]["id"].as_u64().unwrap().to_string();
    let token = shop.server.token("main", Scope::Pull).unwrap();
    let mut command = std::process::Command::new(iglu_end2end::server::binary().unwrap());
    command.args(["run", "log", &id, "--server", &shop.server.url()]).env("IGLU_TOKEN", token);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().skip(2).collect();
    assert_eq!(lines, ["red<script>alert(1)</script>", "clip", "99%"]);
}
