//! The real server as a child process with a data folder of its own; owns both and takes them down when dropped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tempfile::{NamedTempFile, TempDir};

use crate::cachix::{Client, Profile};
use crate::cluster::Cluster;
use crate::http::Http;
use crate::put::Putter;
use crate::s3::S3Server;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read.
    Pull,
    /// Read and upload.
    Push,
    /// Everything.
    Admin,
}

impl Scope {
    fn text(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Admin => "admin",
        }
    }
}

/// What `iglu admin cache show` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct CacheShown {
    /// The cache's name.
    pub name: String,
    /// The substituter URL.
    pub uri: String,
    /// `NAME:BASE64` each.
    pub public_keys: Vec<String>,
}

#[derive(Deserialize)]
struct TokenMade {
    token: String,
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    cache_domain: Option<String>,
    public_url: Option<String>,
    settings: Vec<String>,
    environment: BTreeMap<String, String>,
    data_in: Option<PathBuf>,
    serve: Vec<String>,
}

impl Setup {
    /// More flags of `iglu serve` alone: `--embedded-node`, `true`.
    pub fn with_serve(mut self, flags: &[&str]) -> Self {
        self.serve.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// More flags that server and command line share: `--storage`, `/srv/nars`.
    pub fn with_settings(mut self, settings: &[&str]) -> Self {
        self.settings.extend(settings.iter().map(|&setting| setting.to_owned()));
        self
    }

    /// A variable for the server and the command line.
    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Keeps NAR files in a bucket, which is reached at `endpoint`: the server's own, or a proxy before it.
    pub fn with_bucket(self, server: &S3Server, endpoint: &str) -> Self {
        self.with_environment("IGLU_STORAGE", &format!("s3://{}/nix", server.bucket()))
            .with_environment("IGLU_S3_ENDPOINT", endpoint)
            .with_environment("IGLU_S3_REGION", server.region())
            .with_environment("IGLU_S3_ACCESS_KEY_ID", server.access_key())
            .with_environment("IGLU_S3_SECRET_ACCESS_KEY", server.secret_key())
    }

    /// Makes the data folder below this one.
    pub fn with_data_in(mut self, folder: &Path) -> Self {
        self.data_in = Some(folder.to_owned());
        self
    }

    /// Gives each cache a host name of its own: a label before this domain.
    pub fn with_cache_domain(mut self, domain: &str) -> Self {
        self.cache_domain = Some(domain.to_owned());
        self
    }

    /// Where clients find the server, if not at its own address: behind a proxy.
    pub fn with_public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.to_owned());
        self
    }

    /// Starts the server on free ports with an empty data folder, and waits until it is ready. With `IGLU_TEST_REPLICAS` it is so many
    /// servers behind one address instead, over PostgreSQL and S3: what tests do through a server, they do through those.
    pub async fn start(self) -> anyhow::Result<Server> {
        let Some(count) = std::env::var("IGLU_TEST_REPLICAS").ok().filter(|count| !count.is_empty()) else {
            return self.start_alone().await;
        };
        // Boxed: a cluster is made of servers.
        let cluster = Box::pin(Cluster::start(self, count.parse()?)).await?;
        let first = cluster.replicas.first().context("IGLU_TEST_REPLICAS is 0")?;
        Ok(Server {
            port: cluster.balancer.address().rsplit(':').next().unwrap_or_default().parse()?,
            ops_port: first.ops_port,
            setup: first.setup.clone(),
            folder: Some(tempfile::Builder::new().prefix("iglu-data-").tempdir()?),
            log: tempfile::Builder::new().prefix("iglu-log-").tempfile()?,
            child: None,
            http: Http::new(),
            cluster: Some(Box::new(cluster)),
        })
    }

    /// One server, whatever the environment says.
    pub async fn start_alone(self) -> anyhow::Result<Server> {
        let above = self.data_in.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new().prefix("iglu-data-").tempdir_in(above)?;
        let mut server = Server {
            port: free_port()?,
            ops_port: free_port()?,
            setup: self,
            folder: Some(folder),
            log: tempfile::Builder::new().prefix("iglu-log-").tempfile()?,
            child: None,
            http: Http::new(),
            cluster: None,
        };
        server.restart().await?;
        Ok(server)
    }
}

/// A server and its data folder.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    port: u16,
    ops_port: u16,
    folder: Option<TempDir>,
    log: NamedTempFile,
    child: Option<Child>,
    http: Http,
    /// In whose place it stands.
    cluster: Option<Box<Cluster>>,
}

impl Server {
    /// A server as `iglu serve` starts it.
    pub async fn start() -> anyhow::Result<Self> {
        Setup::default().start().await
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The listener with `/live`, `/ready` and `/metrics`.
    pub fn ops_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ops_port)
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/nonexistent"), TempDir::path)
    }

    /// Connections shared by the tests of this server.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// An emulated cachix client of this server.
    pub fn cachix(&self, token: Option<&str>) -> Client {
        Client::new(Profile::v1_11_1().without_path_repeats(), &self.url(), token)
    }

    /// Pushes by PUT to a cache of this server.
    pub fn putter(&self, cache: &str, token: &str) -> Putter {
        Putter::new(&format!("{}/{cache}", self.url()), token)
    }

    /// Asks it to end, as service managers do.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("the server is not running")?;
        let pid = rustix::process::Pid::from_child(child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    /// The process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("the server is not running")?.id())
    }

    /// Starts again over the same data, on the same ports, after [`Server::kill`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(cluster) = &mut self.cluster {
            return Box::pin(cluster.restart()).await;
        }
        self.launch(&[])?;
        self.answers("ready").await
    }

    /// Starts over the same data with more variables, this once, and waits for nothing.
    pub fn launch(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        if let Some(cluster) = &mut self.cluster {
            return cluster.replicas.iter_mut().try_for_each(|replica| replica.launch(environment));
        }
        let log = std::fs::OpenOptions::new().append(true).open(self.log.path())?;
        let mut command = self.command(&["serve"])?;
        // Few tests are about runs, and all of them name their nodes.
        if !self.setup.serve.iter().any(|flag| flag == "--embedded-node") {
            command.args(["--embedded-node", "false"]);
        }
        command
            .args(&self.setup.serve)
            .args(["--listen", &self.address(), "--ops-listen", &format!("127.0.0.1:{}", self.ops_port)])
            .envs(environment.iter().copied())
            .current_dir(self.data())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("{command:?}"))?);
        Ok(())
    }

    /// Waits until `/ready` or `/live` says yes.
    pub async fn answers(&mut self, probe: &str) -> anyhow::Result<()> {
        if let Some(cluster) = &mut self.cluster {
            for replica in &mut cluster.replicas {
                Box::pin(replica.answers(probe)).await?;
            }
            return Ok(());
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let probe = format!("{}/{probe}", self.ops_url());
        loop {
            if self.http.get(&probe).await.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!("iglu serve ended at once: {status}\n{}", self.log_end());
            }
            if Instant::now() > deadline {
                bail!("{probe} does not say yes after 30 s\n{}", self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9`: the server learns nothing of it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(cluster) = &mut self.cluster {
            return cluster.kill();
        }
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until the server has ended by itself.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(cluster) = &mut self.cluster {
            return cluster.one_ended().await;
        }
        let child = self.child.as_mut().context("the server is not running")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How it ended, where it has.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        Ok(child.try_wait()?)
    }

    /// Sets a variable for the server's next start and for the command line; `None` takes it away.
    pub fn set_environment(&mut self, name: &str, value: Option<&str>) {
        for replica in self.cluster.iter_mut().flat_map(|cluster| &mut cluster.replicas) {
            replica.set_environment(name, value);
        }
        match value {
            Some(value) => self.setup.environment.insert(name.to_owned(), value.to_owned()),
            None => self.setup.environment.remove(name),
        };
    }

    /// Puts other flags in the place of those of [`Setup::with_settings`], for the next start and the command line.
    pub fn set_settings(&mut self, settings: &[&str]) {
        self.setup.settings = settings.iter().map(|&setting| setting.to_owned()).collect();
    }

    /// `iglu` with these arguments, over this server's data.
    pub fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(binary()?);
        command.args(args).args(self.settings()).envs(&self.setup.environment).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs [`Server::command`] to its end.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(args)?.output()?)
    }

    /// What server and command line must agree on: the data, and the address that names and URLs are made from.
    fn settings(&self) -> Vec<OsString> {
        let mut settings: Vec<OsString> = vec!["--data".into(), self.data().into()];
        let public_url = self.setup.public_url.clone().unwrap_or_else(|| self.url());
        settings.extend(["--public-url".into(), public_url.into()]);
        settings.extend(self.setup.cache_domain.iter().flat_map(|domain| ["--cache-domain".into(), domain.into()]));
        settings.extend(self.setup.settings.iter().map(OsString::from));
        settings
    }

    /// Runs a command that prints JSON beside the server: what it printed, and how it ended.
    pub fn json(&self, args: &[&str]) -> anyhow::Result<(serde_json::Value, ExitStatus)> {
        let output = self.command(args)?.arg("--json").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let json = serde_json::from_slice(&output.stdout).with_context(|| format!("iglu {args:?}: {said}"))?;
        Ok((json, output.status))
    }

    /// Starts over the same data with other variables: another storage, another clock.
    pub async fn restart_with(&mut self, change: impl FnOnce(Setup) -> Setup) -> anyhow::Result<()> {
        self.kill()?;
        self.setup = change(std::mem::take(&mut self.setup));
        self.restart().await
    }

    /// Runs `iglu admin` over the server's data, and gives its output; fails with what it said.
    pub fn admin(&self, args: &[&str], stdin: &str) -> anyhow::Result<String> {
        let mut command = self.command(&[&["admin"], args, &["--json"]].concat())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        child.stdin.take().context("no pipe")?.write_all(stdin.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("iglu admin {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Makes a cache and gives its record.
    pub fn cache(&self, name: &str, private: bool) -> anyhow::Result<CacheShown> {
        let mut args = vec!["cache", "create", name];
        args.extend(private.then_some("--private"));
        self.admin(&args, "")?;
        self.cache_show(name)
    }

    /// `admin cache show`.
    pub fn cache_show(&self, name: &str) -> anyhow::Result<CacheShown> {
        let text = self.admin(&["cache", "show", name], "")?;
        serde_json::from_str(&text).with_context(|| format!("cache show printed {text:?}"))
    }

    /// Makes a token for one cache.
    pub fn token(&self, cache: &str, scope: Scope) -> anyhow::Result<String> {
        self.token_named(&format!("{cache}-{}", scope.text()), Some(cache), scope, None)
    }

    /// Makes a token for one cache or all, with an expiry like `90d` or none.
    pub fn token_named(
        &self,
        name: &str,
        cache: Option<&str>,
        scope: Scope,
        expires: Option<&str>,
    ) -> anyhow::Result<String> {
        let mut args = vec!["token", "create", name, "--scope", scope.text()];
        match cache {
            Some(cache) => args.extend(["--cache", cache]),
            None => args.push("--all-caches"),
        }
        args.extend(expires.iter().flat_map(|expires| ["--expires", expires]));
        let text = self.admin(&args, "")?;
        let made: TokenMade = serde_json::from_str(&text).with_context(|| format!("token create printed {text:?}"))?;
        Ok(made.token)
    }

    /// The most memory the server ever had resident, in bytes.
    pub fn peak_rss(&self) -> anyhow::Result<u64> {
        status_bytes(self.pid()?, "VmHWM")
    }

    /// The memory the server has resident now, in bytes.
    pub fn rss(&self) -> anyhow::Result<u64> {
        status_bytes(self.pid()?, "VmRSS")
    }

    /// Resident memory without what it maps of files, in bytes.
    pub fn own_memory(&self) -> anyhow::Result<u64> {
        status_bytes(self.pid()?, "RssAnon")
    }

    /// All that the server has printed so far.
    pub fn log(&self) -> String {
        if let Some(cluster) = &self.cluster {
            return cluster.replicas.iter().map(Server::log).collect();
        }
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Size in bytes of everything in the data folder.
    pub fn data_size(&self) -> u64 {
        fn size(folder: &Path) -> u64 {
            let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
            let one = |entry: std::fs::DirEntry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => size(&entry.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            };
            entries.flatten().map(one).sum()
        }
        size(self.data())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server's log ends with:\n{}", self.log_end());
        }
    }
}

/// The program under test: `IGLU_BIN`, or what `cargo build -p iglu-server` leaves.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("IGLU_BIN") {
        return Ok(path.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    let path = workspace.join(target).join("debug/iglu");
    if !path.exists() {
        bail!("{} is not there: run cargo build -p iglu-server, or set IGLU_BIN", path.display());
    }
    Ok(path)
}

/// A port nobody listens on, below those that the system gives to outgoing connections, which tests running at the same time make
/// by the thousand. It is this process's own until its end: a locked file says so to other tests, whose servers would otherwise
/// come between here and the listening.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("iglu-test-ports");
    std::fs::create_dir_all(&folder)?;
    for _ in 0..1000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id().wrapping_mul(7_919).wrapping_add(step * 101)) % 20_000;
        let port = u16::try_from(port)?;
        let lock = File::create(folder.join(port.to_string()))?;
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return Ok(port);
        }
    }
    bail!("no free port among a thousand")
}

/// A size in the status of a process.
pub(crate) fn status_bytes(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes: u64 = line.context("no such field")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}
