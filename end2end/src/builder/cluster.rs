//! A Kubernetes cluster of one machine: the few calls of the API that Jobs need, and pods that are processes. Owns a listener on
//! loopback, its threads, and the processes with their folders. It schedules, confines and pulls nothing.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::own_runtime::OwnRuntime;
use crate::server::binary;

/// A pod: a process with a folder.
#[derive(Debug)]
struct Pod {
    folder: TempDir,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Pod {
    /// Starts what a Job's first container says, with its volumes below a folder. `None` while a volume is not there.
    fn start(job: &Value, secrets: &BTreeMap<String, Value>) -> anyhow::Result<Option<Self>> {
        let spec = &job["spec"]["template"]["spec"];
        let volumes = spec["volumes"].as_array().context("volumes")?;
        let wanted = volumes.iter().find_map(|volume| volume["secret"]["secretName"].as_str()).context("no secret")?;
        let Some(secret) = secrets.get(wanted) else { return Ok(None) };
        let folder = tempfile::Builder::new().prefix("iglu-pod-").tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        for (file, text) in secret["stringData"].as_object().context("stringData")? {
            std::fs::create_dir_all(folder.path().join("assignment"))?;
            std::fs::write(folder.path().join("assignment").join(file), text.as_str().unwrap_or_default())?;
        }
        let container = &spec["containers"][0];
        anyhow::ensure!(container["command"] == json!(["iglu"]), "{}", container["command"]);
        let args = container["args"].as_array().context("args")?.iter().map(|arg| {
            let arg = arg.as_str().unwrap_or_default();
            let is_inside = ["/assignment/", "/work"].iter().any(|mount| arg.starts_with(mount));
            if is_inside { format!("{}{arg}", folder.path().display()) } else { arg.to_owned() }
        });
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(binary()?);
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn()?;
        Ok(Some(Self { folder, child, ended: None }))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn status(&mut self) -> Value {
        let (phase, state) = match self.ended() {
            None => ("Running", json!({ "running": {} })),
            Some(status) => {
                let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
                (phase, json!({ "terminated": { "exitCode": code, "reason": reason } }))
            }
        };
        let container =
            json!({ "name": "iglu", "state": state, "ready": true, "restartCount": 0, "image": "", "imageID": "" });
        json!({ "phase": phase, "containerStatuses": [container] })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- a pod said:\n{}", self.log());
        }
    }
}

#[derive(Debug, Default)]
struct Objects {
    jobs: BTreeMap<String, Value>,
    secrets: BTreeMap<String, Value>,
    pods: BTreeMap<String, Pod>,
    /// Every Job that ever was, as it was asked for.
    asked: Vec<Value>,
    /// Pods stay pending.
    is_full: bool,
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    objects: Arc<Mutex<Objects>>,
    folder: TempDir,
    _runtime: OwnRuntime,
}

impl Cluster {
    /// One without Jobs.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let runtime = OwnRuntime::new("cluster")?;
        let objects = Arc::<Mutex<Objects>>::default();
        let serving = Arc::clone(&objects);
        runtime.listen(listener, |listener| accept(listener, serving))?;
        let folder = tempfile::Builder::new().prefix("iglu-cluster-").tempdir()?;
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig(address).to_string())?;
        Ok(Self { objects, folder, _runtime: runtime })
    }

    /// The file that says where it is; its namespace is `builds`.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// From now on no pod starts; or again.
    pub fn fill(&self, is_full: bool) {
        lock(&self.objects).is_full = is_full;
    }

    /// Every Job that ever was, as it was asked for.
    pub fn asked(&self) -> Vec<Value> {
        lock(&self.objects).asked.clone()
    }

    /// How many Jobs, Secrets and pods there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        let objects = lock(&self.objects);
        (objects.jobs.len(), objects.secrets.len(), objects.pods.len())
    }

    /// The token and the lease that the only Secret has.
    pub fn assignment(&self) -> anyhow::Result<(String, String)> {
        let objects = lock(&self.objects);
        let secret = objects.secrets.values().next().context("no Secret")?;
        let text = secret["stringData"]["assignment.json"].as_str().context("no assignment")?;
        let assignment: Value = serde_json::from_str(text)?;
        let get = |name: &str| assignment[name].as_str().map(str::to_owned).context("a text");
        Ok((get("token")?, get("lease")?))
    }

    /// Kills every pod with `kill -9`; their Jobs are told.
    pub fn kill_pods(&self) {
        for pod in lock(&self.objects).pods.values_mut() {
            let _ = pod.child.kill();
        }
    }
}

fn kubeconfig(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "clusters": [{ "name": "tests", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "tests", "user": { "token": "of-the-account" } }],
        "contexts": [{ "name": "tests", "context": { "cluster": "tests", "user": "tests", "namespace": "builds" } }],
    })
}

fn lock(objects: &Mutex<Objects>) -> std::sync::MutexGuard<'_, Objects> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: tokio::net::TcpListener, objects: Arc<Mutex<Objects>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let objects = Arc::clone(&objects);
        tokio::spawn(async move {
            let answer = service_fn(|request| async {
                let (status, body) =
                    answer(&objects, request).await.unwrap_or_else(|error| refuse(500, &format!("{error:#}")));
                let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
                Response::builder().status(status).body(Full::new(Bytes::from(text)))
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn refuse(code: u16, message: &str) -> (StatusCode, Value) {
    let status = StatusCode::from_u16(code).unwrap_or_default();
    (status, json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code }))
}

async fn answer(objects: &Mutex<Objects>, request: Request<Incoming>) -> anyhow::Result<(StatusCode, Value)> {
    let (head, body) = request.into_parts();
    let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or_default();
    if head.headers.get("authorization").and_then(|value| value.to_str().ok()) != Some("Bearer of-the-account") {
        return Ok(refuse(401, "Unauthorized"));
    }
    let path = head.uri.path();
    let Some((group, rest)) = path.split_once("/namespaces/builds/") else { return Ok(refuse(404, path)) };
    let parts: Vec<&str> = rest.split('/').collect();
    let query = head.uri.query().unwrap_or_default();
    let mut guard = lock(objects);
    let objects = &mut *guard;
    let name = || body["metadata"]["name"].as_str().map(str::to_owned).context("no name");
    Ok(match (&head.method, group, parts.as_slice()) {
        (&Method::POST, "/apis/batch/v1", ["jobs"]) => {
            if objects.jobs.contains_key(&name()?) {
                return Ok(refuse(409, "already exists"));
            }
            let mut job = body.clone();
            job["metadata"]["uid"] = json!(format!("uid-of-{}", name()?));
            objects.asked.push(body.clone());
            objects.jobs.insert(name()?, job.clone());
            (StatusCode::CREATED, job)
        }
        (&Method::POST, "/api/v1", ["secrets"]) => {
            let mut secret = body.clone();
            for (file, text) in body["stringData"].as_object().context("stringData")? {
                secret["data"][file] = json!(STANDARD.encode(text.as_str().unwrap_or_default()));
            }
            objects.secrets.insert(name()?, secret.clone());
            (StatusCode::CREATED, secret)
        }
        (&Method::GET, "/apis/batch/v1", ["jobs"]) => {
            let is_wanted = |job: &&Value| {
                query.split('&').all(|pair| match pair.strip_prefix("labelSelector=") {
                    Some(selector) => selector
                        .split_once("%3D")
                        .is_some_and(|(label, value)| job["metadata"]["labels"][label.replace("%2F", "/")] == value),
                    None => true,
                })
            };
            let items: Vec<&Value> = objects.jobs.values().filter(is_wanted).collect();
            (StatusCode::OK, json!({ "metadata": {}, "items": items }))
        }
        (&Method::GET, "/apis/batch/v1", ["jobs", name]) => {
            let Some(job) = objects.jobs.get(*name) else { return Ok(refuse(404, "not found")) };
            if !objects.is_full
                && !objects.pods.contains_key(*name)
                && let Some(pod) = Pod::start(job, &objects.secrets)?
            {
                objects.pods.insert((*name).to_owned(), pod);
            }
            let mut job = job.clone();
            let ended = objects.pods.get_mut(*name).and_then(Pod::ended);
            if let Some(status) = ended {
                let (kind, reason) =
                    if status.success() { ("Complete", "") } else { ("Failed", "BackoffLimitExceeded") };
                job["status"] = json!({ "conditions": [{ "type": kind, "status": "True", "reason": reason }] });
            }
            (StatusCode::OK, job)
        }
        (&Method::GET, "/api/v1", ["secrets", name]) => match objects.secrets.get(*name) {
            Some(secret) => (StatusCode::OK, secret.clone()),
            None => refuse(404, "not found"),
        },
        (&Method::GET, "/api/v1", ["pods"]) => {
            let name = query.rsplit("%3D").next().unwrap_or_default();
            let items: Vec<Value> = match objects.pods.get_mut(name) {
                Some(pod) => vec![json!({ "metadata": { "name": name }, "status": pod.status() })],
                None => Vec::new(),
            };
            (StatusCode::OK, json!({ "metadata": {}, "items": items }))
        }
        (&Method::GET, "/api/v1", ["pods", name, "log"]) => {
            (StatusCode::OK, json!(objects.pods.get(*name).map(Pod::log).unwrap_or_default()))
        }
        (&Method::DELETE, "/apis/batch/v1", ["jobs", name]) => {
            objects.pods.remove(*name);
            objects.jobs.remove(*name).map_or_else(|| refuse(404, "not found"), |job| (StatusCode::OK, job))
        }
        (&Method::DELETE, "/api/v1", ["secrets", name]) => {
            objects.secrets.remove(*name).map_or_else(|| refuse(404, "not found"), |secret| (StatusCode::OK, secret))
        }
        (method, ..) => refuse(405, &format!("{method} {path}")),
    })
}
