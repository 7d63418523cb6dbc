//! The only door to processes: each is in namespaces of its own (bubblewrap), sees the system's programs, the node's store and the
//! folder of its run, and nothing else of this machine; whatever it started ends with it.

use crate::{NodeConfig, NodeError};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::process::{Child, Command};

/// Where a run finds its folder.
pub const BUILD: &str = "/build";
/// What of `/etc` programs need: names, certificates, Nix's own configuration.
const ETC: [&str; 15] = [
    "alternatives",
    "ca-certificates",
    "group",
    "hosts",
    "ld.so.cache",
    "localtime",
    "nix/nix.conf",
    "nix/machines",
    "nsswitch.conf",
    "passwd",
    "pki",
    "protocols",
    "resolv.conf",
    "ssl",
    "static",
];
/// How often a run's memory is added up.
const LOOK: Duration = Duration::from_millis(250);

/// How processes are started on this machine.
pub struct Sandbox {
    state: PathBuf,
    user: Option<u32>,
    with_daemon: bool,
    nix_options: Vec<String>,
    systems: Vec<String>,
    features: Vec<String>,
    nix_version: String,
}

/// What one run's processes get.
#[derive(Clone)]
pub struct Room {
    /// The run's folder, seen as [`BUILD`].
    pub folder: PathBuf,
    /// Nix's configuration for it.
    pub nix_config: String,
    /// A folder that only some of its processes see, as `/credential`.
    pub credential: Option<PathBuf>,
    /// Protocols that git may use.
    pub git_protocols: &'static str,
}

impl Sandbox {
    /// Looks whether everything that runs need is there, and makes the node's folders.
    pub async fn open(config: &NodeConfig) -> Result<Sandbox, NodeError> {
        let made = |source| NodeError::State { folder: config.state.display().to_string(), source };
        fs::create_dir_all(&config.state).map_err(made)?;
        let state = config.state.canonicalize().map_err(made)?;
        let user = rustix::process::geteuid().is_root().then_some(config.user_id);
        let mut sandbox = Sandbox {
            state,
            user,
            with_daemon: config.with_daemon,
            nix_options: config.nix_options.clone(),
            systems: Vec::new(),
            features: Vec::new(),
            nix_version: String::new(),
        };
        for folder in ["runs", "store", "home"] {
            sandbox.folder(&sandbox.state.join(folder)).map_err(made)?;
        }
        let room = sandbox.room(&sandbox.state.join("home"), sandbox.nix_config(&[], &[], 0, 1));
        let try_out = async |program: &'static str, args: &[&str]| -> Result<String, NodeError> {
            let wrong = |why: String| NodeError::Program { program, why };
            let output = sandbox.output(&room, program, args).await.map_err(|error| {
                let is_absent = error.kind() == io::ErrorKind::NotFound;
                if is_absent {
                    NodeError::Program { program: "bwrap", why: "install bubblewrap".to_owned() }
                } else {
                    wrong(error.to_string())
                }
            })?;
            if !output.status.success() {
                return Err(wrong(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        try_out("git", &["--version"]).await?;
        let nix_version = try_out("nix", &["--version"]).await?;
        let system = try_out("nix", &["eval", "--impure", "--raw", "--expr", "builtins.currentSystem"]).await?;
        let shown = try_out("nix", &["show-config", "--json"]).await.unwrap_or_default();
        let listed = |name: &str| {
            let config: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
            let values = config[name]["value"].as_array().cloned().unwrap_or_default();
            values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let (mut systems, features) = (vec![system.clone()], listed("system-features"));
        systems.extend(listed("extra-platforms").into_iter().filter(|other| *other != system));
        sandbox.nix_version = nix_version.rsplit(' ').next().unwrap_or_default().to_owned();
        (sandbox.systems, sandbox.features) = (systems, features);
        Ok(sandbox)
    }

    /// What the node's Nix builds for, its own first.
    pub fn systems(&self) -> &[String] {
        &self.systems
    }

    pub fn features(&self) -> &[String] {
        &self.features
    }

    pub fn nix_version(&self) -> &str {
        &self.nix_version
    }

    pub fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }

    /// Makes a folder that belongs to whom runs are, and that nobody else reads.
    pub fn folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        self.give(folder)
    }

    /// Writes a file that only whom runs are reads.
    pub fn file(&self, file: &Path, text: &str, mode: u32) -> io::Result<()> {
        fs::write(file, "")?;
        fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
        fs::write(file, text)?;
        self.give(file)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.user.map_or(Ok(()), |user| chown(path, Some(user), Some(user)))
    }

    pub fn room(&self, folder: &Path, nix_config: String) -> Room {
        Room { folder: folder.to_owned(), nix_config, credential: None, git_protocols: "https:http:ssh" }
    }

    /// Nix's configuration for a run.
    pub fn nix_config(&self, substituters: &[String], keys: &[String], cores: u32, jobs: u32) -> String {
        let mut lines = vec![
            "experimental-features = nix-command flakes".to_owned(),
            "sandbox = true".to_owned(),
            "sandbox-fallback = false".to_owned(),
            "build-users-group =".to_owned(),
            "flake-registry =".to_owned(),
            "accept-flake-config = false".to_owned(),
            "warn-dirty = false".to_owned(),
            "log-lines = 25".to_owned(),
            "connect-timeout = 10".to_owned(),
            "fallback = true".to_owned(),
            format!("substituters = {}", substituters.join(" ")),
            format!("trusted-public-keys = {}", keys.join(" ")),
            format!("cores = {cores}"),
            format!("max-jobs = {jobs}"),
        ];
        lines.extend(self.nix_options.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// A command in a room, not started yet.
    pub fn command<I, S>(&self, room: &Room, program: &str, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-user-try", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
        command.args(["--die-with-parent", "--new-session", "--clearenv", "--hostname", "iglu-run"]);
        for folder in ["/usr", "/nix", "/run/current-system", "/run/wrappers"] {
            command.args(["--ro-bind-try", folder, folder]);
        }
        for folder in ["/bin", "/sbin", "/lib", "/lib64", "/lib32"] {
            match fs::read_link(folder) {
                Ok(target) => command.arg("--symlink").arg(target).arg(folder),
                Err(_) => command.args(["--ro-bind-try", folder, folder]),
            };
        }
        for name in ETC {
            let path = format!("/etc/{name}");
            command.args(["--ro-bind-try", &path, &path]);
        }
        command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/dev/shm"]);
        let store = self.state.join("store");
        if self.with_daemon {
            command.args(["--setenv", "NIX_REMOTE", "daemon"]);
        } else {
            command.arg("--bind").arg(&store).arg(&store).arg("--setenv").arg("NIX_REMOTE").arg(&store);
        }
        command.arg("--bind").arg(&room.folder).arg(BUILD).args(["--chdir", BUILD]);
        if let Some(credential) = &room.credential {
            command.arg("--ro-bind").arg(credential).arg("/credential");
        }
        let own = std::env::var("PATH").unwrap_or_default();
        let visible = |folder: &&str| {
            ["/usr", "/bin", "/sbin", "/nix", "/run/current-system"].iter().any(|top| folder.starts_with(top))
        };
        let path = own.split(':').filter(visible).collect::<Vec<_>>().join(":");
        for (name, value) in [
            ("PATH", path.as_str()),
            ("HOME", "/build/home"),
            ("USER", "iglu"),
            ("LANG", "C.UTF-8"),
            ("TERM", "xterm-256color"),
            ("NIX_CONFIG", &room.nix_config),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ALLOW_PROTOCOL", room.git_protocols),
        ] {
            command.args(["--setenv", name, value]);
        }
        for name in ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE"] {
            if let Ok(file) = std::env::var(name) {
                command.args(["--ro-bind-try", &file, &file, "--setenv", name, &file]);
            }
        }
        command.arg("--").arg(program).args(args);
        command.env_clear().env("PATH", own).stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a command to its end and gives what it wrote.
    pub async fn output(&self, room: &Room, program: &str, args: &[&str]) -> io::Result<Output> {
        self.command(room, program, args).output().await
    }
}

/// Ends `child` when it and all that it started have more than `most` bytes of memory of their own; then the flag is up.
pub fn watch_memory(
    child: &Child,
    most: u64,
    stop: impl FnOnce() + Send + 'static,
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<()>) {
    let exceeded = Arc::new(AtomicBool::new(false));
    let (flag, root) = (exceeded.clone(), child.id());
    let task = tokio::spawn(async move {
        let Some(root) = root.filter(|_| most > 0) else { return };
        loop {
            tokio::time::sleep(LOOK).await;
            let used = tokio::task::spawn_blocking(move || memory_of(root)).await.unwrap_or(0);
            if used > most {
                flag.store(true, Ordering::Release);
                stop();
                return;
            }
        }
    });
    (exceeded, task)
}

/// Memory of a process and all below it that nobody else has, in bytes.
fn memory_of(root: u32) -> u64 {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let parent = number("PPid:").and_then(|parent| u32::try_from(parent).ok()).unwrap_or(0);
        processes.push((id, parent, number("RssAnon:").unwrap_or(0) << 10));
    }
    let mut below = vec![root];
    let mut at = 0;
    while at < below.len() {
        let parent = below[at];
        below.extend(processes.iter().filter(|process| process.1 == parent).map(|process| process.0));
        at += 1;
    }
    processes.iter().filter(|process| below.contains(&process.0)).map(|process| process.2).sum()
}
