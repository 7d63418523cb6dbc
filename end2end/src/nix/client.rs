//! One Nix client: owns its HOME and its settings, and builds into the store of its release.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::process::Command;

use super::store::store_root;
use super::{FreshStore, NixRelease, PathInfo, said};

/// One Nix client.
#[derive(Debug)]
pub struct Nix {
    release: NixRelease,
    home: TempDir,
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    patience: Duration,
}

impl Nix {
    /// This machine's client without any memory of earlier answers.
    pub fn new() -> anyhow::Result<Self> {
        Self::of(&NixRelease::Host)
    }

    /// A client of this release without any memory of earlier answers.
    pub fn of(release: &NixRelease) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("iglu-nix-home-").tempdir_in(release.temporary())?;
        let mut nix = Self {
            release: release.clone(),
            home,
            settings: Vec::new(),
            variables: Vec::new(),
            patience: Duration::from_secs(120),
        }
        .with("experimental-features", "nix-command flakes")
        .with("build-users-group", "")
        .with("substituters", "")
        .with("flake-registry", "");
        let own_root = if *release == NixRelease::Host { store_root() } else { None };
        nix = match own_root {
            None => nix.with("sandbox", "false"),
            // A store below another root builds in namespaces, where only what is named here is visible.
            Some(root) => nix
                .with("sandbox", "true")
                .with("sandbox-paths", "/bin /usr /lib /lib64")
                .with("store", &format!("local?root={}", root.display())),
        };
        Ok(nix)
    }

    /// Adds a line of nix.conf.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a variable to the environment.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long one command may take before it is ended; 120 s unless told.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Writes a netrc file with this text and uses it.
    pub fn with_netrc(self, text: &str) -> anyhow::Result<Self> {
        let file = self.write("netrc", text)?;
        Ok(self.with("netrc-file", &file))
    }

    /// Trusts the certificates in this PEM text for https, and no others.
    pub fn with_certificates(self, pem: &str) -> anyhow::Result<Self> {
        let file = self.write("certificates.pem", pem)?;
        Ok(self.with_variable("NIX_SSL_CERT_FILE", &file))
    }

    /// Writes a file into the client's HOME and gives the name by which the client knows it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> anyhow::Result<String> {
        let file = self.home.path().join(name);
        std::fs::write(&file, text)?;
        self.place(&file)
    }

    /// The name by which the client knows a file of this machine; where it cannot see it, that of a copy in its HOME.
    pub fn place(&self, file: &Path) -> anyhow::Result<String> {
        if let Some(seen) = self.release.inside(file) {
            return Ok(seen.display().to_string());
        }
        let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
        let copy = self.home.path().join(name);
        std::fs::copy(file, &copy).with_context(|| format!("cannot copy {}", file.display()))?;
        self.place(&copy)
    }

    /// Its nix.conf.
    pub fn configuration(&self) -> String {
        self.settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    }

    /// A command with this client's environment and nothing else.
    pub fn command(&self, program: &str) -> Command {
        let config = self.configuration();
        let home = self.release.inside(self.home.path()).unwrap_or_default();
        let mut variables = vec![
            ("HOME".to_owned(), home.display().to_string()),
            ("NIX_CONFIG".to_owned(), config),
            ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ];
        variables.extend(self.variables.iter().cloned());
        self.release.command(program, &variables)
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
        let mut line = vec![self.place(file)?, "--no-out-link".to_owned()];
        line.extend(attr.iter().flat_map(|attr| ["-A".to_owned(), (*attr).to_owned()]));
        for (name, value) in args {
            let flag = if value.parse::<u64>().is_ok() { "--arg" } else { "--argstr" };
            line.extend([flag.to_owned(), (*name).to_owned(), (*value).to_owned()]);
        }
        Ok(self.must("nix-build", &line).await?.lines().map(str::to_owned).collect())
    }

    /// Everything that `path` needs, itself included.
    pub async fn closure(&self, path: &str) -> anyhow::Result<Vec<PathInfo>> {
        PathInfo::parse(&self.must("nix", &["path-info", "--json", "-r", path]).await?, &self.release)
    }

    /// What a cache tells of `path` and everything that it needs.
    pub async fn closure_in(&self, cache: &str, path: &str) -> anyhow::Result<Vec<PathInfo>> {
        let line = ["path-info", "--store", cache, "--json", "-r", path];
        PathInfo::parse(&self.must("nix", &line).await?, &self.release)
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
        let root = self.root_of(store)?;
        let mut line = vec!["--store", &root, "-r"];
        line.extend(paths);
        line.extend(["--option", "substituters", cache, "--option", "trusted-public-keys", key]);
        self.run("nix-store", &line).await
    }

    /// `nix store verify` of a closure in a store of its own: content against hashes, and one signature by `key`.
    pub async fn verify(&self, store: &FreshStore, key: &str, path: &str) -> anyhow::Result<Output> {
        let root = self.root_of(store)?;
        let line = ["store", "verify", "--store", &root, "-r", "-n", "1", path, "--option", "trusted-public-keys", key];
        self.run("nix", &line).await
    }

    /// The name by which the client knows a store's folder.
    pub fn root_of(&self, store: &FreshStore) -> anyhow::Result<String> {
        let root = self.release.inside(store.path());
        Ok(root.with_context(|| format!("the Nix of {} cannot see {store:?}", self.release))?.display().to_string())
    }
}
