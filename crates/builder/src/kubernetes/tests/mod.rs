//! The Jobs against a cluster that answers as each test says, call by call, and the objects against Kubernetes' own schemas.

mod calls;
mod rendered;

use super::{Jobs, job};
use crate::{KubernetesConfig, server::Server};
use axum::{Json, Router, extract::State, http::StatusCode as Answer, response::IntoResponse, routing::post};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use iglu_api::{
    CacheName,
    builder::{BuilderSpec, RunLimits, What},
    node::{Assignment, Heard, Report},
};
use kube::client::Body;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower_test::mock;

const RUN: u64 = 7;
const NAME: &str = "iglu-4bda3cc5b2891492-7-2";

fn config(template: &str) -> KubernetesConfig {
    KubernetesConfig {
        image: "registry.example/iglu:1".to_owned(),
        namespace: None,
        template: super::parse(template).unwrap(),
        server: "https://iglu.example".to_owned(),
        system: "x86_64-linux".to_owned(),
        nix_options: vec!["cores = 2".to_owned()],
    }
}

fn assignment() -> Assignment {
    let spec = BuilderSpec {
        repository: "https://forge.example/demo.git".parse().unwrap(),
        reference: "main".parse().unwrap(),
        what: What::Flake { folder: String::new(), outputs: vec!["hello".to_owned()] },
        systems: Vec::new(),
        substituters: Vec::new(),
        trusted_keys: Vec::new(),
        keep_going: false,
        full_history: false,
        limits: RunLimits { cores: 2, jobs: 3, memory_mib: 4096, timeout_minutes: 30, ..RunLimits::default() },
        keep_runs: 0,
        triggers: Default::default(),
        status: None,
    };
    Assignment {
        run: RUN,
        attempt: 2,
        lease: "the-lease".to_owned(),
        lease_millis: 30_000,
        builder: "demo".parse().unwrap(),
        reference: spec.reference.clone(),
        spec,
        credential: None,
        cache: "main".parse::<CacheName>().unwrap(),
        cache_keys: Vec::new(),
        token: "iglu_run_secret".to_owned(),
        pull_token: "iglu_runpull_secret".to_owned(),
        tries_again: false,
        unless_commit: None,
    }
}

/// What a cluster answers to a call; a test's list of them is used up in order.
struct Call {
    /// `POST jobs`, `GET jobs/NAME`, `GET pods`.
    expected: &'static str,
    answer: Option<(u16, Value)>,
}

fn call(expected: &'static str, status: u16, body: Value) -> Call {
    Call { expected, answer: Some((status, body)) }
}

/// A call whose connection breaks.
fn broken(expected: &'static str) -> Call {
    Call { expected, answer: None }
}

fn refusal(status: u16, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status })
}

/// Jobs of a cluster that answers so, and what it was sent; the task fails where other calls come, or fewer.
fn cluster(calls: Vec<Call>) -> (Jobs, tokio::task::JoinHandle<Vec<Value>>) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let script = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for Call { expected, answer } in calls {
            let next = tokio::time::timeout(Duration::from_secs(20), handle.next_request()).await;
            let (request, reply) = next.unwrap_or_else(|_| panic!("nobody asked {expected}")).expect("the client went");
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().rsplit("/namespaces/ours/").next().unwrap_or_default();
            assert_eq!(format!("{} {path}", parts.method), expected.replace("NAME", NAME), "{}", parts.uri);
            if expected == "GET pods" {
                let selector = format!("labelSelector=batch.kubernetes.io%2Fjob-name%3D{NAME}");
                assert!(parts.uri.query().unwrap().contains(&selector), "{}", parts.uri);
            }
            let body = body.collect().await.unwrap().to_bytes();
            bodies.push(serde_json::from_slice(&body).unwrap_or_default());
            match answer {
                Some((status, body)) => {
                    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
                    let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
                    reply.send_response(response.body(Body::from(text.into_bytes())).unwrap());
                }
                None => reply.send_error(std::io::Error::other("connection reset by peer")),
            }
        }
        let more = tokio::time::timeout(Duration::from_millis(50), handle.next_request()).await;
        if let Ok(Some((request, _))) = more {
            panic!("one call more: {} {}", request.method(), request.uri());
        }
        bodies
    });
    let client = kube::Client::new(service, "ours");
    let mut jobs = Jobs::with(client, &config(""));
    jobs.look = Duration::from_millis(10);
    jobs.owner.set(job::owner("https://iglu.example", "cluster")).unwrap();
    (jobs, script)
}

/// An Iglu that hears reports, and answers so.
#[derive(Clone, Default)]
struct Iglu {
    heard: Arc<Mutex<Vec<Report>>>,
    /// From this report on, somebody wants the run to end.
    cancel_from: Option<usize>,
    /// From this report on, another node has the run.
    lost_from: Option<usize>,
}

impl Iglu {
    async fn start(&self) -> Server {
        async fn report(State(iglu): State<Iglu>, Json(report): Json<Report>) -> axum::response::Response {
            let mut heard = iglu.heard.lock().unwrap();
            heard.push(report.clone());
            let at = heard.len();
            if iglu.lost_from.is_some_and(|from| at >= from) {
                return (Answer::CONFLICT, Json(json!({ "message": "another node has it" }))).into_response();
            }
            let cancel = iglu.cancel_from.is_some_and(|from| at >= from);
            Json(Heard { next: report.first + report.events.len() as u64, cancel }).into_response()
        }
        let router = Router::new().route("/api/v1/node/runs/7/report", post(report)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server::new(&url, "iglu_node_secret")
    }

    fn heard(&self) -> Vec<Report> {
        self.heard.lock().unwrap().clone()
    }
}
