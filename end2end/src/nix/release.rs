//! Which releases of Nix there are to test with: this machine's, and those in chroots that `scripts/nix-roots.sh` makes.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::store::store_root;

/// The chroots that `scripts/nix-roots.sh` makes, by the Debian release that they hold.
const SUITES: [&str; 2] = ["trixie", "forky"];

/// One release of Nix with the store it builds into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NixRelease {
    /// The `nix` of this machine.
    Host,
    /// Another Debian's Nix. Only root may start it.
    Chroot {
        /// The Debian release.
        name: String,
        /// The chroot's folder, which holds a `/nix` of its own.
        root: PathBuf,
    },
}

impl NixRelease {
    /// This machine's release, and with `IGLU_NIX_ROOTS` set those in its chroots: fails if one of them is not there.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let mut all = vec![Self::Host];
        if let Some(roots) = std::env::var_os("IGLU_NIX_ROOTS") {
            for name in SUITES {
                let root = Path::new(&roots).join(name);
                if !root.join("usr/bin/nix").exists() || !root.join("proc/self").exists() {
                    bail!("no Nix to run in {}: run scripts/nix-roots.sh", root.display());
                }
                all.push(Self::Chroot { name: name.to_owned(), root });
            }
        }
        Ok(all)
    }

    /// Major and minor version.
    pub async fn version(&self) -> anyhow::Result<(u32, u32)> {
        let output = self.command("nix", &[]).arg("--version").output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let parsed = text.trim().rsplit(' ').next().and_then(|version| {
            let mut parts = version.split('.');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        });
        parsed.with_context(|| format!("nix --version printed {text:?}"))
    }

    /// A command with these variables, the search path and nothing else in its environment.
    pub fn command(&self, program: &str, variables: &[(String, String)]) -> Command {
        let mut command = match self {
            Self::Host => {
                let mut command = Command::new(program);
                command.env_clear();
                for name in ["PATH", "TMPDIR"] {
                    if let Some(value) = std::env::var_os(name) {
                        command.env(name, value);
                    }
                }
                command
            }
            // `env` belongs to the chroot: chroot itself is still found by this machine's search path.
            Self::Chroot { root, .. } => {
                let mut command = Command::new("chroot");
                command.arg(root).args(["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
                command.args(variables.iter().map(|(name, value)| format!("{name}={value}"))).arg(program);
                return closed(command);
            }
        };
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        closed(command)
    }

    /// The folder in which this release and this machine both find temporary files.
    pub fn temporary(&self) -> PathBuf {
        match self {
            Self::Host => std::env::temp_dir(),
            Self::Chroot { root, .. } => root.join("tmp"),
        }
    }

    /// The name by which this release knows a file of this machine; `None` where it cannot see it.
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Host => Some(path.to_owned()),
            Self::Chroot { root, .. } => Some(Path::new("/").join(path.strip_prefix(root).ok()?)),
        }
    }

    /// Where this machine finds a path of this release's store.
    pub fn locate(&self, store_path: &str) -> PathBuf {
        let root = match self {
            Self::Host => store_root(),
            Self::Chroot { root, .. } => Some(root.clone()),
        };
        root.map_or_else(|| store_path.into(), |root| root.join(store_path.trim_start_matches('/')))
    }
}

impl fmt::Display for NixRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Chroot { name, .. } => f.write_str(name),
        }
    }
}

/// Without input, and ended when nobody waits for it any more.
fn closed(mut command: Command) -> Command {
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    command
}
