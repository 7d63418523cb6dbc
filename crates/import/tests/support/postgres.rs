//! A private PostgreSQL for one test: in a temporary folder, on a socket of its own, gone when dropped.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub struct Postgres {
    folder: tempfile::TempDir,
    server: Child,
}

/// Where distributions keep the server's programs.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.exists());
    found.max().unwrap_or_else(|| PathBuf::from(name))
}

/// PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`.
fn command(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let known = std::fs::read_to_string("/etc/passwd").unwrap().contains("\npostgres:");
    let (user, group) = if known { ("postgres", "postgres") } else { ("nobody", "nogroup") };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", group, "--clear-groups"]).arg(program);
    command
}

impl Postgres {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("iglu-postgres").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let made = command(&program("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=iglu", "-D"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = command(&program("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"])
            .arg(format!("unix_socket_directories={}", folder.path().display()))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres runs");
        let started = Instant::now();
        // The lock file's eighth line says "ready".
        while !std::fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("ready")) {
            assert!(started.elapsed() < Duration::from_secs(30), "postgres did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { folder, server }
    }

    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=iglu", self.folder.path().display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown; PostgreSQL's children end with it.
        if let Some(pid) = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let _ = self.server.wait();
    }
}
