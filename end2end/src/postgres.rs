//! A private PostgreSQL of one test, to be stopped and started: in a temporary folder, on a socket of its own. Gone when dropped.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

/// The server and its folder.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    server: Option<Child>,
}

impl Postgres {
    /// With one empty database.
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("iglu-postgres-").tempdir()?;
        // It does not run as root, and must reach its folder.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))?;
        let mut postgres = Self { folder, server: None };
        let made = command(&program("initdb"))
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=iglu", "-D"])
            .arg(postgres.data())
            .current_dir(postgres.folder.path())
            .output()
            .context("cannot run initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgres.restart()?;
        Ok(postgres)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// For `--database-url`.
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=iglu", self.folder.path().display())
    }

    /// Starts it over the same data after [`Postgres::stop`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let mut server = command(&program("postgres"));
        server
            .arg("-D")
            .arg(self.data())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"])
            .arg(format!("unix_socket_directories={}", self.folder.path().display()))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.server = Some(server.spawn().context("cannot run postgres")?);
        let started = Instant::now();
        // A line of the lock file says so.
        while !std::fs::read_to_string(self.data().join("postmaster.pid")).is_ok_and(|text| text.contains("ready")) {
            if started.elapsed() > Duration::from_secs(30) {
                bail!("postgres did not start");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it at once, as a crash does: its clients lose their connections.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT)?;
        server.wait()?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Where distributions keep the server's programs.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin").join(name));
    programs.filter(|path| path.exists()).max().unwrap_or_else(|| PathBuf::from(name))
}

/// PostgreSQL refuses to run as root: then it runs as `postgres`, or as `nobody` where there is no such user.
fn command(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (user, group) = if users.contains("\npostgres:") { ("postgres", "postgres") } else { ("nobody", "nogroup") };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", group, "--clear-groups", "--pdeathsig", "QUIT", "--"]).arg(program);
    command
}
