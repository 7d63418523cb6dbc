//! A machine for somebody who follows a page: a home, the program in PATH, a folder with `./result`, and somebody who starts and stops
//! the service. Everything that a page says of `/var/lib/iglu`, `/etc` and the like lies below one folder.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use iglu_end2end::nix::{self, Nix};
use iglu_end2end::server::{binary, free_port};
use tempfile::TempDir;

use crate::block::root;

pub struct World {
    folder: TempDir,
    port: u16,
    ops_port: u16,
    /// The last token that a command printed.
    pub token: String,
    /// The public key of `main`, once it was printed.
    pub key: String,
    /// What `./result` leads to.
    pub result: String,
    background: Vec<Child>,
    /// From what a page says to what it is here; the first that fits.
    names: Vec<(String, String)>,
}

/// Stands in for systemd: starts and stops the one service, and knows besides only the timer that is installed.
const SYSTEMCTL: &str = r#"#!/bin/bash
set -eu
case "$*" in
  "start iglu" | "enable --now iglu")
    setsid iglu serve --data DATA >>ROOT/log 2>&1 </dev/null & echo $! >ROOT/pid
    for _ in $(seq 300); do iglu health >/dev/null 2>&1 && exit 0; sleep 0.1; done
    cat ROOT/log >&2; exit 1 ;;
  "stop iglu")
    pid=$(cat ROOT/pid); kill "$pid"
    # One that ended and that nobody asked after is gone, too.
    while grep -q "^State:[[:space:]]*[^ZX[:space:]]" "/proc/$pid/status" 2>/dev/null; do sleep 0.05; done ;;
  daemon-reload) ;;
  "enable --now iglu-backup.timer") [ -f ROOT/etc/systemd/system/iglu-backup.timer ] ;;
  *) echo "systemctl $*: unknown here" >&2; exit 1 ;;
esac
"#;

/// How the key of the cache `main` begins on this machine.
const KEY: &str = "main.127.0.0.1-1:";

impl World {
    pub async fn new(names: &[(&str, &str)]) -> World {
        let folder = tempfile::Builder::new().prefix("iglu-follow-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "bin",
            "home",
            "work",
            "etc/iglu",
            "etc/nix",
            "etc/systemd/system",
            "usr/bin",
            "var/lib/iglu",
            "backup",
            "bucket",
        ] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let place = folder.path().display().to_string();
        std::os::unix::fs::symlink(std::path::absolute(binary().unwrap()).unwrap(), at("bin/iglu")).unwrap();
        let systemctl = SYSTEMCTL.replace("DATA", &format!("{place}/var/lib/iglu")).replace("ROOT", &place);
        std::fs::write(at("bin/systemctl"), systemctl).unwrap();
        run(Command::new("chmod").arg("755").arg(at("bin/systemctl")));
        // What somebody has at hand: the repository, the program that was just built, and the data of `./data`.
        std::os::unix::fs::symlink(root().join("deploy"), at("work/deploy")).unwrap();
        std::os::unix::fs::symlink(at("bin/iglu"), at("work/iglu")).unwrap();
        std::os::unix::fs::symlink(at("var/lib/iglu"), at("work/data")).unwrap();
        let (top, _) = nix::chain("documents").await.unwrap();
        std::os::unix::fs::symlink(&top, at("work/result")).unwrap();
        std::fs::write(at("etc/nix/nix.conf"), Nix::new().unwrap().configuration()).unwrap();
        let (port, ops_port) = (free_port().unwrap(), free_port().unwrap());
        let here = format!("http://127.0.0.1:{port}");
        let own = [
            ("https://cache.example.org", here.as_str()),
            ("https://iglu.example.org", &here),
            ("http://127.0.0.1:8080", &here),
            ("cache.example.org", "127.0.0.1"),
            ("./target/release/iglu", "iglu"),
            ("/nix/store/…-hello-2.12", &top),
            ("/var/lib/iglu", &format!("{place}/var/lib/iglu")),
            ("/etc/", &format!("{place}/etc/")),
            ("/usr/bin/", &format!("{place}/usr/bin/")),
            ("/backup/", &format!("{place}/backup/")),
            ("s3://nix-cache", &format!("{place}/bucket")),
        ];
        let names = names.iter().chain(&own).map(|(said, meant)| ((*said).to_owned(), (*meant).to_owned())).collect();
        World {
            folder,
            port,
            ops_port,
            token: String::new(),
            key: String::new(),
            result: top,
            background: Vec::new(),
            names,
        }
    }

    pub fn place(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What a page says, with the names of this machine.
    pub fn meant(&self, text: &str) -> String {
        let text = text.replace("iglu_…", &self.token);
        let text = self.names.iter().fold(text, |text, (said, meant)| text.replace(said, meant));
        text.replace(&format!("{KEY}…"), &self.key)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.place("work"))
            .env("HOME", self.place("home"))
            .env("PATH", format!("{}:{}:/usr/sbin", self.place("bin").display(), std::env::var("PATH").unwrap()))
            .env("NIX_CONF_DIR", self.place("etc/nix"))
            .env_remove("NIX_CONFIG")
            .env("IGLU_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("IGLU_OPS_LISTEN", format!("127.0.0.1:{}", self.ops_port))
            .env("IGLU_EMBEDDED_NODE", "false")
            .env("TOKEN", &self.token)
            .stdin(Stdio::null());
        command
    }

    /// Runs what a page says to run; what it printed. Variables that the setting of the scene exported hold.
    pub fn run(&mut self, script: &str) -> String {
        let script = format!("[ ! -e ~/.scene ] || . ~/.scene\n{}", self.meant(script));
        let output = self.command(&script).output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{script}\n{said}\nlog:\n{}", self.log());
        // A token is shown once; whoever follows a page keeps it.
        let mut words = said.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
        if let Some(token) = words.find(|word| word.starts_with("iglu_") && word.len() > 30) {
            self.token = token.to_owned();
        }
        let key = said.split_ascii_whitespace().find(|word| word.starts_with(KEY) && !word.ends_with('…'));
        if let Some(key) = key {
            self.key = key.to_owned();
        }
        said
    }

    /// Starts what goes on for as long as the page is followed: a server.
    pub fn begin(&mut self, script: &str) {
        let script = format!("exec {}", self.meant(script));
        let log = std::fs::File::create(self.place("log")).unwrap();
        let child = self.command(&script).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.background.push(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.command("iglu health").output().unwrap().status.success() {
            assert!(Instant::now() < deadline, "{script}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place("log")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Ok(pid) = std::fs::read_to_string(self.place("pid")) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status();
        }
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether a folder has anything in it.
pub fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}
