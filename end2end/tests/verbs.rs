//! The verbs of `iglu` at a server: somebody's terminal with a token, nothing of the server's but its URL.

#![allow(clippy::unwrap_used)]

use iglu_end2end::{
    cachix::PushOptions,
    object::Object,
    server::{self, Scope, Server},
};
use serde_json::Value;
use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// Where somebody works.
struct Terminal {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Terminal {
    fn new() -> Terminal {
        Terminal { home: TempDir::new().unwrap(), variables: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Terminal {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn run(&self, args: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(server::binary().unwrap());
        command.args(args).env_clear().env("HOME", self.home.path()).envs(self.variables.iter().cloned());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Whoever refuses does not read.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn says(&self, args: &[&str], stdin: &str) -> String {
        let output = self.run(args, stdin);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[args, &["--json"]].concat(), "")).unwrap()
    }

    /// What is said when it is refused.
    fn refused(&self, args: &[&str], stdin: &str) -> String {
        let output = self.run(args, stdin);
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?} {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn kept(&self) -> PathBuf {
        self.home.path().join(".config/iglu/login.toml")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_at_a_server() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let all = server.token_named("all", None, Scope::Admin, None).unwrap();
    let terminal = Terminal::new();
    let url = server.url();

    // Without a server, with one that is none, and with a token that is none.
    assert!(terminal.refused(&["cache", "list"], "").contains("iglu login URL"));
    assert!(terminal.refused(&["login", "example.org"], &all).contains("no http(s) URL"));
    assert!(terminal.refused(&["login", "http://127.0.0.1:1"], &all).contains("asking http://127.0.0.1:1"));
    assert!(terminal.refused(&["login", &url], "iglu_nonsense\n").contains("token"));
    assert!(terminal.refused(&["login", &url], "").contains("no token came"));
    assert!(!terminal.kept().exists());

    assert_eq!(
        terminal.says(&["login", &format!("{url}/")], &all),
        format!("{url}: the token is good, 1 caches can be seen")
    );
    assert_eq!(terminal.kept().metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // Caches and keys.
    assert_eq!(terminal.says(&["cache", "list"], ""), "main  public  0 paths, 0 B");
    let made = terminal.json(&["cache", "create", "team", "--private", "--priority", "30"]);
    assert_eq!((&made["visibility"], &made["priority"]), (&"private".into(), &30.into()));
    assert_eq!(terminal.json(&["cache", "set", "team", "--closures", "lenient"])["closures"], "lenient");
    assert_eq!(terminal.json(&["key", "add", "team"])["keys"].as_array().unwrap().len(), 2);
    assert!(terminal.refused(&["cache", "create", "team"], "").contains("team"));
    let said = terminal.refused(&["cache", "show", "../tokens"], "");
    assert!(said.contains("no such cache"), "{said}");
    assert_eq!(terminal.json(&["cache", "remove", "team", "--yes"])["removed"], "team");

    // Paths.
    let lib = Object::synthetic("lib", 4000, 1);
    let app = Object::synthetic("app", 3000, 2).referring_to(&lib.path);
    let pushing = terminal.json(&["token", "create", "ci", "--cache", "main", "--scope", "push", "--expires", "1d"]);
    let pushing = pushing["token"].as_str().unwrap();
    server.cachix(Some(pushing)).push("main", &[lib.clone(), app.clone()], &PushOptions::default()).await.unwrap();
    let listed = terminal.json(&["path", "list", "main", "lib", "--sort", "name", "--pushed-by", "token ci"]);
    assert_eq!(listed["rows"].as_array().unwrap().len(), 1);
    assert!(terminal.says(&["path", "list", "main"], "").contains(&lib.path));
    let shown = terminal.says(&["path", "show", "main", &app.path], "");
    assert!(shown.contains(&format!("refers to {}", lib.path)) && shown.contains("closure of 2 paths"), "{shown}");
    assert!(terminal.says(&["path", "why", "main", &lib.path], "").starts_with('✓'));
    assert!(terminal.says(&["path", "why", "main", &Object::synthetic("x", 9, 9).path], "").contains('✗'));
    assert_eq!(terminal.json(&["path", "damaged", "main"])["damaged"].as_array().unwrap().len(), 0);
    assert!(terminal.refused(&["path", "remove", "main", &lib.path], "").contains("refer"));
    let removal = terminal.json(&["path", "remove", "main", &lib.path, &app.path])["removal"]["id"].to_string();
    assert_eq!(terminal.says(&["path", "list", "main"], ""), "");
    assert_eq!(terminal.json(&["path", "undo", "main", &removal])["removal"]["state"], "undone");

    // What stays.
    let pinned = terminal.says(&["pin", "create", "main", "release/1", &app.path, "--keep-revisions", "2"], "");
    assert!(pinned.starts_with(&format!("release/1 1 {}", app.path)), "{pinned}");
    let rules = terminal.json(&["retention", "set", "main", "--used-days", "30"]);
    assert_eq!(rules["retention"]["used_days"], 30);
    assert_eq!(terminal.json(&["retention", "preview", "main"])["preview"]["paths"], 0);
    assert_eq!(terminal.json(&["retention", "run", "main"])["removal"]["asked_by"], "token all");
    assert_eq!(terminal.json(&["limits", "set", "main", "--upload-bytes", "1GiB"])["limits"]["upload_bytes"], 1 << 30);
    assert_eq!(terminal.json(&["pin", "remove", "main", "release/1"])["pins"].as_array().unwrap().len(), 0);

    // People.
    let made = terminal.run(&["user", "create", "mira", "--password-stdin", "--json"], "a long enough password\n");
    assert!(made.status.success(), "{made:?}");
    assert_eq!(terminal.says(&["member", "set", "main", "mira", "pusher"], ""), "mira  pusher");
    assert!(terminal.says(&["user", "password-link", "mira"], "").starts_with(&format!("{url}/invite/")));
    assert!(terminal.says(&["user", "list"], "").contains("mira  member"));
    let tokens = terminal.json(&["token", "list"]);
    let ci = tokens["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "ci").unwrap()["id"].to_string();
    assert!(terminal.says(&["token", "revoke", &ci], "").contains("ci  push main, revoked"));

    // A token goes only to the server that it was kept for, and can come from elsewhere.
    let other = Server::start().await.unwrap();
    other.cache("other", true).unwrap();
    assert_eq!(terminal.says(&["cache", "list", "--server", &other.url()], ""), "");
    let with = Terminal::new().with("IGLU_SERVER", &url).with("IGLU_TOKEN", pushing);
    assert!(with.refused(&["cache", "list"], "").contains("revoked"));
    let with = Terminal::new().with("IGLU_SERVER", &url).with("IGLU_TOKEN", &all);
    assert_eq!(with.json(&["cache", "list"])["caches"][0]["name"], "main");
    let file = with.home.path().join("token");
    std::fs::write(&file, format!("{all}\n")).unwrap();
    let listed = terminal.says(&["cache", "list", "--token-file", file.to_str().unwrap()], "");
    assert!(listed.starts_with("main  public  2 paths"), "{listed}");

    // What is of the data here is not taken in silence.
    assert!(terminal.refused(&["cache", "list", "--data", "/tmp"], "").contains("data"));
    std::fs::write(terminal.kept(), format!("token = {all}")).unwrap();
    let said = terminal.refused(&["cache", "list"], "");
    assert!(said.contains("log in again") && !said.contains(&all), "{said}");
    assert!(terminal.says(&["logout"], "").starts_with("forgotten"));
    assert!(terminal.says(&["logout"], "").starts_with("nothing"));
}
