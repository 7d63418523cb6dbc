//! The real Nix, offline: each [`Nix`] is one client with its own HOME, and so with its own cache of narinfos.
//! May build into this machine's store; everything else it writes lies in temporary folders.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A store path as this machine's Nix knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// `/nix/store/HASH-NAME`.
    pub path: String,
    /// SHA-256 of the NAR in Nix's base 32, without a prefix.
    pub nar_hash: String,
    /// Bytes of the NAR.
    pub nar_size: u64,
    /// Base names, sorted; holds the path itself if it refers to itself.
    pub references: Vec<String>,
    /// Base name of the derivation.
    pub deriver: Option<String>,
    /// Where its files are: differs from `path` when the store lies below another root.
    pub location: PathBuf,
}

/// One Nix client.
#[derive(Debug)]
pub struct Nix {
    home: TempDir,
    settings: Vec<(String, String)>,
    patience: Duration,
}

impl Nix {
    /// A client without any memory of earlier answers.
    pub fn new() -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("iglu-nix-home-").tempdir()?;
        let mut settings = vec![
            ("experimental-features".to_owned(), "nix-command flakes".to_owned()),
            ("build-users-group".to_owned(), String::new()),
            ("substituters".to_owned(), String::new()),
            ("flake-registry".to_owned(), String::new()),
        ];
        match store_root() {
            None => settings.push(("sandbox".to_owned(), "false".to_owned())),
            // A store below another root builds in namespaces, where only what is named here is visible.
            Some(root) => {
                settings.push(("sandbox".to_owned(), "true".to_owned()));
                settings.push(("sandbox-paths".to_owned(), "/bin /usr /lib /lib64".to_owned()));
                settings.push(("store".to_owned(), format!("local?root={}", root.display())));
            }
        }
        Ok(Self { home, settings, patience: Duration::from_secs(120) })
    }

    /// Adds a line of nix.conf.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long one command may take before it is ended; 120 s unless told.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Writes a netrc file with this text and uses it.
    pub fn with_netrc(self, text: &str) -> anyhow::Result<Self> {
        let file = self.home.path().join("netrc");
        std::fs::write(&file, text)?;
        let file = file.display().to_string();
        Ok(self.with("netrc-file", &file))
    }

    /// A command with this client's environment and nothing else.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let config: String = self.settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        command.env_clear().env("HOME", self.home.path()).env("NIX_CONFIG", config).env("LC_ALL", "C.UTF-8");
        for name in ["PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end, whatever that is. Fails only if it cannot be started or does not end.
    pub async fn run<S: AsRef<str>>(&self, program: &str, args: &[S]) -> anyhow::Result<Output> {
        let mut command = self.command(program);
        command.args(args.iter().map(AsRef::as_ref));
        let ended = tokio::time::timeout(self.patience, command.output()).await;
        let line = || args.iter().fold(program.to_owned(), |line, arg| line + " " + arg.as_ref());
        ended.map_err(|_| anyhow::anyhow!("{} did not end within {:?}", line(), self.patience))?.with_context(line)
    }

    /// Runs a command that has to succeed, and gives its output.
    pub async fn must<S: AsRef<str>>(&self, program: &str, args: &[S]) -> anyhow::Result<String> {
        let output = self.run(program, args).await?;
        if !output.status.success() {
            let line = args.iter().fold(program.to_owned(), |line, arg| line + " " + arg.as_ref());
            bail!("{line}: {}\n{}", output.status, said(&output));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Builds an attribute (or the file itself) with string arguments, and gives the output paths.
    pub async fn build(&self, file: &Path, attr: Option<&str>, args: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        let mut line = vec![file.display().to_string(), "--no-out-link".to_owned()];
        line.extend(attr.iter().flat_map(|attr| ["-A".to_owned(), (*attr).to_owned()]));
        for (name, value) in args {
            let flag = if value.parse::<u64>().is_ok() { "--arg" } else { "--argstr" };
            line.extend([flag.to_owned(), (*name).to_owned(), (*value).to_owned()]);
        }
        Ok(self.must("nix-build", &line).await?.lines().map(str::to_owned).collect())
    }

    /// Everything that `path` needs, itself included.
    pub async fn closure(&self, path: &str) -> anyhow::Result<Vec<PathInfo>> {
        let json: Value = serde_json::from_str(&self.must("nix", &["path-info", "--json", "-r", path]).await?)?;
        let one = |path: Option<&str>, info: &Value| -> anyhow::Result<PathInfo> {
            let text = |name: &str| info.get(name).and_then(Value::as_str);
            let path = path.or(text("path")).context("path-info without a path")?.to_owned();
            let base = |path: &str| crate::digest::base_name(path).to_owned();
            let mut references: Vec<String> = info["references"]
                .as_array()
                .context("path-info without references")?
                .iter()
                .filter_map(Value::as_str)
                .map(base)
                .collect();
            references.sort();
            Ok(PathInfo {
                nar_hash: plain_nix32(text("narHash").context("path-info without narHash")?)?,
                nar_size: info["narSize"].as_u64().context("path-info without narSize")?,
                references,
                deriver: text("deriver").map(base),
                location: store_root().map_or_else(|| path.clone().into(), |root| root.join(&path[1..])),
                path,
            })
        };
        match &json {
            Value::Array(infos) => infos.iter().map(|info| one(None, info)).collect(),
            // Newer releases answer with an object keyed by path.
            Value::Object(infos) => infos.iter().map(|(path, info)| one(Some(path), info)).collect(),
            other => bail!("path-info answered {other}"),
        }
    }

    /// `nix copy --to URL`, whatever its outcome.
    pub async fn copy_to(&self, url: &str, paths: &[&str]) -> anyhow::Result<Output> {
        let mut line = vec!["copy", "--to", url];
        line.extend(paths);
        self.run("nix", &line).await
    }

    /// Fetches `paths` into a store of its own, from one cache, trusting one key; whatever the outcome.
    pub async fn substitute(
        &self,
        store: &FreshStore,
        cache: &str,
        key: &str,
        paths: &[&str],
    ) -> anyhow::Result<Output> {
        let root = store.path().display().to_string();
        let mut line = vec!["--store", &root, "-r"];
        line.extend(paths);
        line.extend(["--option", "substituters", cache, "--option", "trusted-public-keys", key]);
        self.run("nix-store", &line).await
    }

    /// `nix store verify` of a closure in a store of its own: content against hashes, and one signature by `key`.
    pub async fn verify(&self, store: &FreshStore, key: &str, path: &str) -> anyhow::Result<Output> {
        let root = store.path().display().to_string();
        let line = ["store", "verify", "--store", &root, "-r", "-n", "1", path, "--option", "trusted-public-keys", key];
        self.run("nix", &line).await
    }
}

/// A store below a temporary folder; removed when dropped.
#[derive(Debug)]
pub struct FreshStore {
    folder: Option<TempDir>,
}

impl FreshStore {
    /// An empty folder. Nix makes the rest.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { folder: Some(tempfile::Builder::new().prefix("iglu-nix-store-").tempdir()?) })
    }

    /// What `--store` takes.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/nonexistent"), TempDir::path)
    }

    /// Where the files of a store path lie.
    pub fn locate(&self, store_path: &str) -> PathBuf {
        self.path().join(store_path.trim_start_matches('/'))
    }
}

impl Drop for FreshStore {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            // Nix takes the write permission away, without which nobody but root could remove the files.
            make_writable(folder.path());
            drop(folder);
        }
    }
}

fn make_writable(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

/// What a command printed, for messages.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A file of `end2end/nix`.
pub fn expression(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nix").join(name)
}

/// The closure of more than 120 paths that the copying tests share; built on first use.
pub async fn many(tag: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
    let nix = Nix::new()?.patience(Duration::from_secs(600));
    let top = nix.build(&expression("many.nix"), None, &[("tag", tag)]).await?;
    let top = top.first().context("nix-build printed no path")?.clone();
    let closure = nix.closure(&top).await?;
    if closure.len() < 121 {
        bail!("the closure has only {} paths", closure.len());
    }
    Ok((top, closure))
}

/// The chain leaf, mid, top, with symbolic links and a self-reference; built on first use.
pub async fn chain(tag: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
    let nix = Nix::new()?;
    let top = nix.build(&expression("chain.nix"), Some("top"), &[("tag", tag)]).await?;
    let top = top.first().context("nix-build printed no path")?.clone();
    let closure = nix.closure(&top).await?;
    Ok((top, closure))
}

/// The files below a folder with what matters of them: content, executable bit, link target.
pub fn tree(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = std::fs::symlink_metadata(&path)?;
        let what = if meta.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
            "directory".to_owned()
        } else if meta.is_symlink() {
            format!("-> {}", std::fs::read_link(&path)?.display())
        } else {
            let executable = meta.permissions().mode() & 0o111 != 0;
            format!("{} executable={executable}", crate::digest::sha256_hex(&std::fs::read(&path)?))
        };
        found.insert(path.strip_prefix(folder)?.to_owned(), what);
    }
    Ok(found)
}

/// Below which folder this machine's store lies, if `/nix` is not ours to write: then it is one per user.
pub fn store_root() -> Option<PathBuf> {
    // Nix makes /nix itself where it may, so either it can be written or its parent can.
    let writable = |path: &str| tempfile::Builder::new().prefix(".iglu-").tempfile_in(path).is_ok();
    let usable = if Path::new("/nix/var/nix/db").exists() {
        writable("/nix/var/nix/db") || Path::new("/nix/var/nix/daemon-socket/socket").exists()
    } else {
        writable("/")
    };
    let user = std::env::var("USER").unwrap_or_else(|_| "user".to_owned());
    (!usable).then(|| std::env::temp_dir().join(format!("iglu-nix-{user}")))
}

/// `sha256:NIX32` or `sha256-BASE64` as base 32 without a prefix.
fn plain_nix32(text: &str) -> anyhow::Result<String> {
    use base64::Engine as _;
    if let Some(digits) = text.strip_prefix("sha256:") {
        return Ok(digits.to_owned());
    }
    let digits = text.strip_prefix("sha256-").with_context(|| format!("{text} is no SHA-256"))?;
    Ok(crate::digest::nix32(&base64::engine::general_purpose::STANDARD.decode(digits)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chain_has_the_shape_that_tests_rely_on() {
        let (top, closure) = chain("one").await.unwrap();
        assert_eq!(closure.len(), 3);
        let top = closure.iter().find(|info| info.path == top).unwrap();
        assert!(top.references.contains(&crate::digest::base_name(&top.path).to_owned()), "refers to itself");
        assert_eq!(top.references.len(), 3);
        assert!(tree(&top.location).unwrap()[Path::new("run")].starts_with("-> /nix/store/"));
    }

    #[tokio::test]
    async fn many_paths_have_some_depth() {
        let (_, closure) = many("one").await.unwrap();
        assert_eq!(closure.len(), 125);
        assert!(closure.iter().filter(|info| info.references.len() == 1).count() > 10);
    }
}
