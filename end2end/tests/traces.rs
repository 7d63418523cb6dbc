//! Traces: what a collector of OpenTelemetry gets of requests, the database and the storage.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use iglu_end2end::http::Credentials;
use iglu_end2end::nar;
use iglu_end2end::put::Draft;
use iglu_end2end::server::{Scope, Setup};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A collector that hands on the address and body of each request.
async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sent = sent.clone();
            let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let sent = sent.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await?.to_bytes().to_vec();
                    let _ = sent.send((path, body));
                    Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::new())))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    (address, received)
}

/// Whether one of the messages has all of these texts in it. Names, routes and values stand in OTLP's protobuf as they are.
fn has(messages: &[Vec<u8>], texts: &[&str]) -> bool {
    let contains = |message: &[u8], text: &str| message.windows(text.len()).any(|window| window == text.as_bytes());
    messages.iter().any(|message| texts.iter().all(|text| contains(message, text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_of_requests() {
    let (address, mut received) = collector().await;
    let endpoint = format!("http://{address}");
    let mut server = Setup::default()
        .with_serve(&["--otlp-endpoint", &endpoint])
        .with_environment("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with_environment("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        .start_alone()
        .await
        .unwrap();
    server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let draft = Draft::new("traced", 1, nar::archive(&nar::regular(b"traced")), "zstd", &[]).await.unwrap();
    server.putter("main", &token).push(&draft).await.unwrap();
    // The trace that a proxy began goes on here.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let url = format!("{}/main/{}", server.url(), draft.url);
    let headers = [("traceparent", traceparent.as_str()), ("x-request-id", "job-42")];
    let nar = server.http().call(Method::GET, &url, &Credentials::None, &headers, Bytes::new()).await.unwrap();
    assert_eq!(nar.status, 200);
    server.http().get(&format!("{}/setup/1vzr6fry", server.url())).await.unwrap();
    // What is not sent yet is sent at the end.
    server.terminate().unwrap();
    assert!(server.ended().await.unwrap().success());

    let mut messages = Vec::new();
    while let Ok(Some((path, body))) = tokio::time::timeout(Duration::from_millis(500), received.recv()).await {
        assert_eq!(path, "/v1/traces");
        messages.push(body);
    }
    // Spans end one after the other, and are sent in whatever messages that makes.
    let all = [messages.concat()];
    let trace: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&trace[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert!(has(&all, &["service.name", "iglu", "deployment.environment"]), "{}", messages.len());
    assert!(has(&all, &["PUT /{cache}/nar/{file}", "storage publish"]));
    assert!(has(&all, &["PUT /{cache}/{hash}.narinfo", "database write", "http.response.status_code"]));
    assert!(has(&all, &["GET /{cache}/nar/{file}", "job-42"]));
    let of_trace = all[0].windows(16).filter(|window| *window == trace).count();
    assert!(of_trace >= 3, "the request and what it asked of database and storage are one trace: {of_trace}");
    // Addresses can hold secrets, and what libraries do is not ours to tell.
    for never in ["1vzr6fry", token.as_str(), "sqlx", "hyper"] {
        assert!(!has(&all, &[never]), "{never}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_changes_nothing() {
    let flags = ["--otlp-endpoint", "http://127.0.0.1:9"];
    let mut server = Setup::default().with_serve(&flags).start_alone().await.unwrap();
    server.cache("main", false).unwrap();
    let info = server.http().get(&format!("{}/main/nix-cache-info", server.url())).await.unwrap();
    assert_eq!(info.status, 200);
    server.terminate().unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(20), server.ended()).await.unwrap().unwrap().success());
    let odd = server.run(&["serve", "--otlp-endpoint", "no url"]).unwrap();
    let said = String::from_utf8_lossy(&odd.stderr).into_owned();
    assert!(!odd.status.success() && said.contains("sending traces to no url"), "{said}");
}
