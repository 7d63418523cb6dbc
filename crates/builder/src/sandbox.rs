//! The only door to processes: each is in namespaces of its own (bubblewrap), sees the system's programs, the node's store and the
//! folder of its run, and nothing else of this machine; whatever it started ends with it.

use crate::{
    NodeConfig, NodeError,
    process::{Started, capture},
};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

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
/// How processes are started on this machine.
pub struct Sandbox {
    state: PathBuf,
    /// Held as long as the node lives: two would take each other's runs away.
    _lock: fs::File,
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
    /// The store that Nix works in, where it is not the daemon's.
    pub store: PathBuf,
    /// Nix's configuration for it.
    pub nix_config: String,
    /// A folder that only some of its processes see, as `/credential`.
    pub credential: Option<PathBuf>,
    /// Protocols that git may use.
    pub git_protocols: &'static str,
    /// What was started in it.
    pub started: Started,
}

impl Sandbox {
    /// Looks whether everything that runs need is there, and makes the node's folders.
    pub async fn open(config: &NodeConfig) -> Result<Sandbox, NodeError> {
        let made = |source| NodeError::State { folder: config.state.display().to_string(), source };
        fs::create_dir_all(&config.state).map_err(made)?;
        let state = config.state.canonicalize().map_err(made)?;
        let user = rustix::process::geteuid().is_root().then_some(config.user_id);
        if let Some(user) = user
            && let Some(closed) = closed_above(&state, user)
        {
            let why = format!("{} is closed to user {user}, whom runs are: name another folder", closed.display());
            return Err(made(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        let lock = fs::File::create(state.join("lock")).map_err(made)?;
        if lock.try_lock().is_err() {
            return Err(made(io::Error::new(io::ErrorKind::AlreadyExists, "another node works in it")));
        }
        let mut sandbox = Sandbox {
            state,
            _lock: lock,
            user,
            with_daemon: config.with_daemon,
            nix_options: config.nix_options.clone(),
            systems: Vec::new(),
            features: Vec::new(),
            nix_version: String::new(),
        };
        // Left by a node that was killed.
        let _ = fs::remove_dir_all(sandbox.runs());
        for folder in ["runs", "stores", "check", "check/home", "check/store"] {
            sandbox.folder(&sandbox.state.join(folder)).map_err(made)?;
        }
        let check = sandbox.state.join("check");
        let room = sandbox.room(&check, &check.join("store"), sandbox.nix_config(&[], &[], 0, 1));
        let try_out = async |program: &'static str, args: &[&str]| -> Result<String, NodeError> {
            let wrong = |why: String| NodeError::Program { program, why };
            let output = capture(&sandbox, &room, program, args, None).await.map_err(|error| {
                let is_absent = error.kind() == io::ErrorKind::NotFound;
                if is_absent {
                    NodeError::Program { program: "bwrap", why: "install bubblewrap".to_owned() }
                } else {
                    wrong(error.to_string())
                }
            })?;
            if !output.status.success() {
                return Err(wrong(output.stderr));
            }
            Ok(output.stdout)
        };
        try_out("git", &["--version"]).await?;
        let nix_version = try_out("nix", &["--version"]).await?;
        let system = try_out("nix", &["eval", "--impure", "--raw", "--expr", "builtins.currentSystem"]).await?;
        // The spelling of 2.20 and later, and the one before.
        let shown = match try_out("nix", &["config", "show", "--json"]).await {
            Ok(shown) => shown,
            Err(_) => try_out("nix", &["show-config", "--json"]).await.unwrap_or_default(),
        };
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

    /// The store for runs of builders of one cache. What a run might do to it reaches no cache but the one that it may push to anyway.
    pub fn store_for(&self, cache: &str) -> io::Result<PathBuf> {
        let store = self.state.join("stores").join(cache);
        self.folder(&store)?;
        Ok(store)
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

    pub fn room(&self, folder: &Path, store: &Path, nix_config: String) -> Room {
        Room {
            folder: folder.to_owned(),
            store: store.to_owned(),
            nix_config,
            credential: None,
            git_protocols: "https:http:ssh",
            started: Started::default(),
        }
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
            "netrc-file = /build/home/netrc".to_owned(),
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
        if self.with_daemon {
            command.args(["--setenv", "NIX_REMOTE", "daemon"]);
        } else {
            let store = &room.store;
            command.arg("--bind").arg(store).arg(store).arg("--setenv").arg("NIX_REMOTE").arg(store);
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
}

/// The folder on the way to this one, if any, that a user cannot pass.
fn closed_above(state: &Path, user: u32) -> Option<&Path> {
    state.ancestors().skip(1).find(|folder| {
        fs::metadata(folder).is_ok_and(|found| found.uid() != user && found.permissions().mode() & 0o001 == 0)
    })
}
