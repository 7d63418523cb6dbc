//! Each fault as a client sees it, before a server that says what it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::{Count, Fault, FaultProxy, Rule};
use crate::digest::Random;
use crate::http::{Credentials, Http, Reply};

const SIZE: usize = 300_000;

/// Counts the requests whose body came whole, and answers with what it heard: `METHOD TARGET HOST LENGTH`, or for paths with
/// `big` with [`SIZE`] bytes.
struct Server {
    address: String,
    whole: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let whole = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&whole);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let answer = service_fn(|request| heard(request, &counted));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { address, whole }
    }

    fn whole(&self) -> usize {
        self.whole.load(Ordering::SeqCst)
    }
}

async fn heard(request: Request<Incoming>, whole: &AtomicUsize) -> hyper::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    whole.fetch_add(1, Ordering::SeqCst);
    let host = parts.headers["host"].to_str().unwrap();
    let text = match parts.uri.path().contains("big") {
        true => Random::new(7).bytes(SIZE).into(),
        false => format!("{} {} {host} {}", parts.method, parts.uri, body.len()).into(),
    };
    Ok(Response::new(Full::new(text)))
}

struct Scene {
    server: Server,
    proxy: FaultProxy,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start().await;
        let proxy = FaultProxy::start(&server.address).unwrap();
        Self { server, proxy }
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Reply> {
        let url = format!("{}{path}", self.proxy.url());
        Http::new().call(method, &url, &Credentials::None, &[], body).await
    }

    async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    async fn put(&self, path: &str, size: usize) -> anyhow::Result<Reply> {
        self.call(Method::PUT, path, vec![7; size].into()).await
    }
}

#[tokio::test]
async fn requests_and_answers_pass_unchanged() {
    let scene = Scene::new().await;
    let host = scene.proxy.address();
    assert_eq!(scene.put("/a%20b/c?x=%2F", SIZE).await.unwrap().text(), format!("PUT /a%20b/c?x=%2F {host} {SIZE}"));
    assert_eq!(scene.get("/big").await.unwrap().body, Random::new(7).bytes(SIZE));
    assert_eq!(scene.call(Method::HEAD, "/big", Bytes::new()).await.unwrap().header("content-length"), Some("300000"));
    assert_eq!(scene.proxy.requests(), 3);
}

#[tokio::test]
async fn rules_choose_by_method_path_and_count() {
    let scene = Scene::new().await;
    let counted = scene.proxy.add(Rule::new(Fault::Pass).target("nar/"));
    let broken = scene.proxy.add(Rule::new(Fault::SLOW_DOWN).method(Method::PUT).target("nar/").skip(1).times(2));
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(scene.put("/nar/x", SIZE).await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [200, 503, 503, 200, 200]);
    assert_eq!(scene.put("/other", 1).await.unwrap().status, 200);
    assert_eq!(scene.get("/nar/x").await.unwrap().status, 200);
    assert_eq!(scene.proxy.count(counted), Count { matched: 6, fired: 6 });
    assert_eq!(scene.proxy.count(broken), Count { matched: 5, fired: 2 });
    assert_eq!(scene.server.whole(), 5);

    let other = scene.proxy.add(Rule::new(Fault::ACCESS_DENIED));
    let reply = scene.get("/").await.unwrap();
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert!(reply.text().contains("<Code>AccessDenied</Code>"), "{}", reply.text());
    let reply = scene.call(Method::HEAD, "/", Bytes::new()).await.unwrap();
    assert_eq!((reply.status, reply.body.len()), (StatusCode::FORBIDDEN, 0));
    scene.proxy.remove(other);
    assert_eq!(scene.get("/").await.unwrap().status, 200);
    scene.proxy.add(Rule::new(Fault::INTERNAL_ERROR));
    scene.proxy.clear();
    assert_eq!(scene.get("/").await.unwrap().status, 200);
    assert_eq!(scene.proxy.count(other), Count { matched: 2, fired: 2 });
}

#[tokio::test]
async fn chance_breaks_a_share() {
    let scene = Scene::new().await;
    let rule = scene.proxy.add(Rule::new(Fault::INTERNAL_ERROR).chance(0.3));
    let mut failed = 0;
    for _ in 0..200 {
        failed += u64::from(scene.get("/").await.unwrap().status == 500);
    }
    assert_eq!(scene.proxy.count(rule), Count { matched: 200, fired: failed });
    assert!((40..80).contains(&failed), "{failed}");
}

#[tokio::test]
async fn delays_and_hangs_last() {
    let scene = Scene::new().await;
    let time = Duration::from_millis(300);
    let delay = scene.proxy.add(Rule::new(Fault::Delay(time)));
    let started = Instant::now();
    assert_eq!(scene.get("/").await.unwrap().status, 200);
    assert!(started.elapsed() >= time);
    scene.proxy.remove(delay);

    scene.proxy.add(Rule::new(Fault::Hang(time)));
    let started = Instant::now();
    assert!(scene.put("/", 1).await.is_err());
    assert!(started.elapsed() >= time);
    assert_eq!(scene.server.whole(), 1);
}

/// What comes on a connection, and how it ends.
async fn raw(scene: &Scene, request: &str) -> (Vec<u8>, std::io::Result<()>) {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = TcpStream::connect(scene.proxy.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).await.map(|_| ());
    (bytes, ended)
}

#[tokio::test]
async fn answers_end_after_just_so_many_bytes() {
    let scene = Scene::new().await;
    for limit in [0, 1, 123_456, SIZE - 1] {
        scene.proxy.clear();
        scene.proxy.add(Rule::new(Fault::CutAnswer(limit as u64)));
        let (bytes, ended) = raw(&scene, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
        ended.unwrap();
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        assert!(String::from_utf8_lossy(&bytes[..head]).to_lowercase().contains("content-length: 300000"));
        assert_eq!(bytes.len() - head - 4, limit);
        assert!(bytes[head + 4..] == Random::new(7).bytes(SIZE)[..limit]);
        assert!(scene.get("/big").await.is_err());
    }
    scene.proxy.clear();
    scene.proxy.add(Rule::new(Fault::CutAnswer(SIZE as u64)));
    assert_eq!(scene.get("/big").await.unwrap().body.len(), SIZE);
}

#[tokio::test]
async fn requests_end_after_just_so_many_bytes() {
    let scene = Scene::new().await;
    for limit in [0, 100_000, SIZE as u64 - 1] {
        scene.proxy.clear();
        scene.proxy.add(Rule::new(Fault::CutRequest(limit)));
        assert!(scene.put("/", SIZE).await.is_err(), "{limit}");
    }
    assert_eq!(scene.server.whole(), 0);
    scene.proxy.clear();
    scene.proxy.add(Rule::new(Fault::CutRequest(SIZE as u64)));
    assert!(scene.put("/", SIZE).await.unwrap().text().ends_with(" 300000"));
}

#[tokio::test]
async fn resets_are_resets() {
    let scene = Scene::new().await;
    scene.proxy.add(Rule::new(Fault::Reset));
    let (bytes, ended) = raw(&scene, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(bytes.is_empty());
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(scene.server.whole(), 0);
}

#[tokio::test]
async fn swallowed_requests_are_done() {
    let scene = Scene::new().await;
    scene.proxy.add(Rule::new(Fault::Swallow));
    assert!(scene.put("/big", SIZE).await.is_err());
    assert_eq!(scene.server.whole(), 1);
    let (bytes, ended) = raw(&scene, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(bytes.is_empty() && ended.is_ok());
}

#[tokio::test]
async fn absent_server_breaks_connections() {
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", crate::server::free_port().unwrap())).unwrap();
    assert!(Http::new().get(&proxy.url()).await.is_err());
    assert_eq!(proxy.requests(), 1);
}
