//! The verbs about builders, runs and nodes.

use iglu_end2end::{
    builder::Workshop,
    server::{self, Scope},
};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

fn iglu(shop: &Workshop, token: &str, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(server::binary().unwrap());
    command.args(args).env_clear().env("HOME", "/nonexistent").env("IGLU_SERVER", shop.server.url());
    command.env("IGLU_TOKEN", token).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn builders_runs_and_nodes_at_a_terminal() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let token = shop.server.token_named("terminal", Some("main"), Scope::Admin, None).unwrap();
    let says = |args: &[&str], stdin: &str| {
        let output = iglu(&shop, &token, args, stdin);
        assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let spec = shop.spec(&json!({})).unwrap().to_string();
    assert!(
        says(&["builder", "create", "demo", "main", "--spec", "-"], &spec).contains("/git/demo.git main into main")
    );
    assert!(says(&["builder", "list"], "").contains("demo: "));
    // Without a node it waits, in the queue.
    says(&["run", "start", "demo", "--reference", "main"], "");
    let queue: Value = serde_json::from_str(&says(&["run", "list", "--json"], "")).unwrap();
    assert_eq!(queue["runs"][0]["state"], "queued");
    assert!(says(&["run", "cancel", "1"], "").contains("run 1 ends"));
    assert!(
        says(&["run", "list", "demo"], "")
            .contains("run 1 of demo: cancelled, main, manual by token terminal: cancelled by token terminal")
    );
    let _node = shop.node("one").await.unwrap();
    let followed = says(&["run", "start", "demo", "--follow"], "");
    assert!(followed.contains("built for x86_64-linux\n"), "{followed}");
    assert!(says(&["run", "show", "2"], "").contains("built hello-demo"));
    assert!(says(&["run", "log", "2"], "").contains("built for x86_64-linux\n"));
    // What was shown can be sent back.
    let mut shown: Value = serde_json::from_str(&says(&["builder", "show", "demo", "--json"], "")).unwrap();
    shown["builder"]["spec"]["what"]["outputs"] = json!(["broken"]);
    says(&["builder", "set", "demo", "--spec", "-"], &shown.to_string());
    let failed = iglu(&shop, &token, &["run", "start", "demo", "--follow"], "");
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(said.ends_with("iglu: run 3 is failed: broken-demo failed with exit code 3\n"), "{said}");
    says(&["builder", "set", "demo", "--enabled", "false"], "");
    assert!(says(&["builder", "list"], "").contains("switched off"));
    assert!(says(&["builder", "remove", "demo"], "").contains("what it built stays"));
    let refused = iglu(&shop, &token, &["nodes", "list"], "");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("seeing the nodes"), "{:?}", refused.status);
}
