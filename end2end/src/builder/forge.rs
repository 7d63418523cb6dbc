//! A forge: git repositories over HTTP, as `git http-backend` serves them, and an API that remembers what it was told. Owns its
//! repositories, a listener on loopback and its threads.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::own_runtime::OwnRuntime;

/// A call of the forge's API.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `POST /repos/…`.
    pub call: String,
    /// The `Authorization`, or `PRIVATE-TOKEN`, of it.
    pub secret: String,
    /// What was sent.
    pub body: String,
}

#[derive(Debug, Default)]
struct Shared {
    folder: PathBuf,
    /// Users and passwords of repositories that are not for everybody.
    doors: Mutex<BTreeMap<String, String>>,
    calls: Mutex<Vec<Recorded>>,
    failures: Mutex<u32>,
}

/// A forge.
#[derive(Debug)]
pub struct Forge {
    address: SocketAddr,
    folder: TempDir,
    shared: Arc<Shared>,
    _runtime: OwnRuntime,
}

impl Forge {
    /// One without repositories.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let runtime = OwnRuntime::new("forge")?;
        let folder = tempfile::Builder::new().prefix("iglu-forge-").tempdir()?;
        let shared = Arc::new(Shared { folder: folder.path().to_owned(), ..Shared::default() });
        let serving = Arc::clone(&shared);
        runtime.listen(listener, |listener| accept(listener, serving))?;
        Ok(Self { address, folder, shared, _runtime: runtime })
    }

    /// `http://127.0.0.1:PORT`, where its API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of a repository.
    pub fn repository(&self, name: &str) -> String {
        format!("{}/git/{name}.git", self.url())
    }

    /// Commits files, of name and content, on `main` of a repository, which is made where it is not there. The commit's hash.
    pub fn commit(&self, name: &str, files: &[(&str, &str)], message: &str) -> anyhow::Result<String> {
        self.commit_on(name, "main", files, message)
    }

    /// The same on any branch; a new one begins at what was committed last.
    pub fn commit_on(&self, name: &str, branch: &str, files: &[(&str, &str)], message: &str) -> anyhow::Result<String> {
        let work = self.folder.path().join(format!("{name}.work"));
        let bare = self.folder.path().join(format!("{name}.git"));
        if !bare.exists() {
            git(self.folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", &format!("{name}.git")])?;
            git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"])?;
            std::fs::create_dir(&work)?;
            git(&work, &["init", "--quiet", "--initial-branch=main"])?;
        }
        if git(&work, &["checkout", "--quiet", branch]).is_err() {
            git(&work, &["checkout", "--quiet", "-B", branch])?;
        }
        for (file, content) in files {
            let path = work.join(file);
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            std::fs::write(&path, content)?;
            let is_script = Path::new(file).extension().is_some_and(|extension| extension == "sh");
            git(&work, &["add", "--force", file])?;
            if is_script {
                git(&work, &["update-index", "--chmod=+x", file])?;
            }
        }
        git(&work, &["commit", "--quiet", "--allow-empty", "-m", message])?;
        git(&work, &["push", "--quiet", "--force", &bare.display().to_string(), &format!("{branch}:{branch}")])?;
        git(&work, &["rev-parse", "HEAD"])
    }

    /// Commits the demo: a flake without inputs, and a file with attributes.
    pub fn demo(&self, name: &str) -> anyhow::Result<String> {
        let flake = include_str!("../../nix/demo/flake.nix");
        let hello = include_str!("../../nix/demo/hello.sh");
        let file = include_str!("../../nix/demo/default.nix");
        self.commit(name, &[("flake.nix", flake), ("hello.sh", hello), ("default.nix", file)], "Say hello")
    }

    /// Opens a repository to one user only.
    pub fn lock(&self, name: &str, user: &str, password: &str) {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        lock(&self.shared.doors).insert(format!("{name}.git"), format!("Basic {pair}"));
    }

    /// Lets its API fail so many times.
    pub fn fail(&self, times: u32) {
        *lock(&self.shared.failures) = times;
    }

    /// The calls of its API so far.
    pub fn calls(&self) -> Vec<Recorded> {
        lock(&self.shared.calls).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs git in a folder, as nobody in particular.
fn git(folder: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"])
        .args(args)
        .current_dir(folder)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .output()
        .context("cannot run git")?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let answer = service_fn(|request| async {
                Ok::<_, http::Error>(match answer(&shared, request).await {
                    Ok(response) => response,
                    Err(error) => Response::builder().status(500).body(Full::from(error.to_string()))?,
                })
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let Some(path) = head.uri.path().strip_prefix("/git") else {
        let secret = [header("authorization"), header("private-token")].concat();
        let call = format!("{} {}", head.method, head.uri);
        let body = String::from_utf8_lossy(&body).into_owned();
        lock(&shared.calls).push(Recorded { call, secret, body });
        let mut failures = lock(&shared.failures);
        let status = if *failures > 0 { StatusCode::BAD_GATEWAY } else { StatusCode::CREATED };
        *failures = failures.saturating_sub(1);
        return Ok(Response::builder().status(status).body(Full::from("{}"))?);
    };
    let repository = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let needed = lock(&shared.doors).get(repository).cloned();
    if needed.is_some_and(|needed| needed != header("authorization")) {
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED);
        return Ok(refused.header(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"").body(Full::default())?);
    }
    let mut command = tokio::process::Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", head.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    let (_, output) = tokio::join!(
        async move {
            let _ = stdin.write_all(&body).await;
        },
        child.wait_with_output()
    );
    let output = output?.stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").context("git http-backend says nothing")?;
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end])?.lines() {
        let (name, value) = line.split_once(": ").context("a header")?;
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap_or_default()),
            _ => response.header(name, value),
        };
    }
    Ok(response.body(Full::from(output[end + 4..].to_vec()))?)
}
