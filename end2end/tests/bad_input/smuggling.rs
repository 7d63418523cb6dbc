//! Requests that a proxy in front may read in another way than the server: refused, or read in the one way that is safe, and
//! never two requests where there was one.

use std::time::Duration;

use crate::{Door, door};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back over one connection.
#[derive(Debug)]
pub struct Answer {
    /// All that was read.
    pub text: String,
    /// The status of each final answer.
    pub statuses: Vec<u16>,
    /// Whether the server hung up.
    pub closed: bool,
}

/// Sends bytes as they are and reads until the server hangs up, has given so many answers, or is silent.
pub async fn exchange(door: &Door, bytes: impl AsRef<[u8]>, patience: Duration, answers: usize) -> Answer {
    let stream = TcpStream::connect(door.server.address()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let bytes = bytes.as_ref().to_vec();
    // The server may hang up before it has taken all; that is no failure.
    let sending = tokio::spawn(async move {
        let _ = writer.write_all(&bytes).await;
        writer
    });
    let mut read = Vec::new();
    let mut closed = false;
    let mut block = vec![0; 64 * 1024];
    while !closed && count(&read).len() < answers {
        match tokio::time::timeout(patience, reader.read(&mut block)).await {
            Err(_) => break,
            Ok(Ok(0) | Err(_)) => closed = true,
            Ok(Ok(size)) => read.extend_from_slice(&block[..size]),
        }
    }
    drop(sending.await);
    let statuses = count(&read);
    Answer { text: String::from_utf8_lossy(&read).into_owned(), statuses, closed }
}

fn count(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let status = |line: &str| line.get(..3)?.parse().ok().filter(|status| *status >= 200);
    text.split("HTTP/1.1 ").skip(1).filter_map(status).collect()
}

/// How long silence is waited for.
const SOON: Duration = Duration::from_millis(400);
/// What must never be executed: an address of its own, so that its answer cannot be taken for another.
const SECOND: &str = "GET /main/nix-cache-info HTTP/1.1\r\nHost: x\r\n\r\n";
const QUESTION: &str = r#"["00bgd045z0d4icpbc2yyz4gx48ak44la"]"#;

fn post(headers: &str, body: &str) -> String {
    format!("POST /api/v1/cache/main/narinfo HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_can_be_read_in_two_ways() {
    let door = door().await;
    let n = QUESTION.len();
    let te = "Transfer-Encoding: chunked\r\n";
    let cases = [
        ("two different lengths", post(&format!("Content-Length: {n}\r\nContent-Length: 4\r\n"), QUESTION)),
        ("two lengths in one line", post(&format!("Content-Length: {n}, 4\r\n"), QUESTION)),
        ("a plus sign", post(&format!("Content-Length: +{n}\r\n"), QUESTION)),
        ("a minus sign", post("Content-Length: -1\r\n", QUESTION)),
        ("hex digits", post("Content-Length: 0x24\r\n", QUESTION)),
        ("no digits", post("Content-Length: \r\n", QUESTION)),
        ("a blank inside", post("Content-Length: 3 6\r\n", QUESTION)),
        ("over 64 bits", post("Content-Length: 99999999999999999999999\r\n", QUESTION)),
        ("a coding that is almost chunked", post("Transfer-Encoding: xchunked\r\n", &chunked(QUESTION))),
        ("chunked not at the end", post("Transfer-Encoding: chunked, gzip\r\n", &chunked(QUESTION))),
        ("identity", post(&format!("Transfer-Encoding: identity\r\nContent-Length: {n}\r\n"), QUESTION)),
        ("a blank before the colon", post("Transfer-Encoding : chunked\r\n", &chunked(QUESTION))),
        ("a tab before the colon", post("Transfer-Encoding\t: chunked\r\n", &chunked(QUESTION))),
        ("a folded line", post(&format!("X-A: b\r\n c\r\nContent-Length: {n}\r\n"), QUESTION)),
        ("a folded coding", post("Transfer-Encoding:\r\n chunked\r\n", &chunked(QUESTION))),
        ("NUL in a value", post(&format!("X-A: b\0c\r\nContent-Length: {n}\r\n"), QUESTION)),
        ("a lone carriage return", post(&format!("X-A: b\rc\r\nContent-Length: {n}\r\n"), QUESTION)),
        ("a line without a colon", post(&format!("X-A\r\nContent-Length: {n}\r\n"), QUESTION)),
        ("a blank in a name", post(&format!("X A: b\r\nContent-Length: {n}\r\n"), QUESTION)),
        ("NUL in a name", post(&format!("X\0A: b\r\nContent-Length: {n}\r\n"), QUESTION)),
        ("chunked by HTTP/1.0", post(te, &chunked(QUESTION)).replace("HTTP/1.1", "HTTP/1.0")),
        ("a chunk of 2^68", post(te, &format!("FFFFFFFFFFFFFFFFF\r\n{QUESTION}\r\n0\r\n\r\n"))),
        ("a negative chunk", post(te, &format!("-1\r\n{QUESTION}\r\n0\r\n\r\n"))),
        ("a chunk with 0x", post(te, &format!("0x24\r\n{QUESTION}\r\n0\r\n\r\n"))),
        ("a chunk with a plus", post(te, &format!("+24\r\n{QUESTION}\r\n0\r\n\r\n"))),
        ("a chunk without a size", post(te, &format!("\r\n{QUESTION}\r\n0\r\n\r\n"))),
        ("a chunk with a long extension", post(te, &format!("24;{}\r\n{QUESTION}\r\n0\r\n\r\n", "a".repeat(200_000)))),
        ("something behind a chunk", post(te, &format!("24\r\n{QUESTION}XX0\r\n\r\n"))),
        ("lines of chunks without CR", post(te, &format!("24\n{QUESTION}\n0\n\n"))),
        ("long trailers", post(te, &format!("24\r\n{QUESTION}\r\n0\r\nX: {}\r\n\r\n", "a".repeat(200_000)))),
    ];
    for (what, request) in cases {
        let answer = exchange(&door, format!("{request}{SECOND}"), SOON, 2).await;
        assert_eq!(answer.statuses.len(), 1, "{what}: {answer:?}");
        assert!((400..500).contains(&answer.statuses[0]), "{what}: {answer:?}");
        assert!(answer.closed, "{what}: the connection goes on");
        assert!(!answer.text.contains("StoreDir"), "{what}: the second request was executed");
    }
    // The largest chunk there is: the server waits for it, and takes nothing for a second request.
    let request = post(te, &format!("FFFFFFFFFFFFFFFF\r\n{QUESTION}\r\n0\r\n\r\n{SECOND}"));
    let answer = exchange(&door, request, SOON, 2).await;
    assert!(
        !answer.text.contains("StoreDir") && answer.statuses.iter().all(|status| (400..500).contains(status)),
        "{answer:?}"
    );
    // With both, the chunks count, and then the connection ends: RFC 9112, 6.3.
    for headers in [
        format!("Content-Length: 4\r\n{te}"),
        format!("{te}Content-Length: 4\r\n"),
        format!("{te}Content-Length: 4000\r\n"),
    ] {
        let answer = exchange(&door, format!("{}{SECOND}", post(&headers, &chunked(QUESTION))), SOON, 2).await;
        assert_eq!(answer.statuses.len(), 1, "{headers}: {answer:?}");
        assert!(answer.closed && !answer.text.contains("StoreDir"), "{headers}: {answer:?}");
    }
    // What is said twice but equally is one body and then one request.
    let twice = post(&format!("Content-Length: {n}\r\nContent-Length: {n}\r\n"), QUESTION);
    let answer = exchange(&door, format!("{twice}{SECOND}"), SOON, 2).await;
    assert!(answer.statuses == [200, 200] || (answer.statuses.len() == 1 && answer.statuses[0] == 400), "{answer:?}");
    door.is_calm("lengths").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_refused_requests_are_no_requests() {
    let door = door().await;
    let n = SECOND.len();
    let expect = "Expect: 100-continue\r\n";
    for (what, line, headers) in [
        ("GET with a body", "GET /main/none.narinfo", ""),
        ("PUT that is refused", "PUT /main/x.narinfo", ""),
        ("PUT that asks first", "PUT /main/x.narinfo", expect),
        ("PUT of a log", "PUT /main/log/x.drv", ""),
        ("a wrong method", "DELETE /main/x.narinfo", ""),
        ("a wrong method of the API", "DELETE /api/v1/cache/main/pin", ""),
        ("an unknown route", "POST /api/v1/nothing", ""),
        ("an unknown page", "POST /nothing/at/all", ""),
        ("attic without a token", "PUT /_api/v1/upload-path", ""),
        ("attic that asks first", "PUT /_api/v1/upload-path", expect),
        ("legacy without a token", "POST /api/v1/cache/main/nar", ""),
        ("an unknown upload", "PUT /upload/00000000-0000-0000-0000-000000000000/1", ""),
        ("a cache's record", "GET /api/v1/cache/main", ""),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {n}\r\n\r\n{SECOND}");
        let answer = exchange(&door, request, SOON, 2).await;
        assert_eq!(answer.statuses.len(), 1, "{what}: {answer:?}");
        assert!(!answer.text.contains("StoreDir"), "{what}: its body was executed");
    }
    door.is_calm("bodies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_wrong_form() {
    let door = door().await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let with = |header: &str| format!("GET /main/nix-cache-info HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
    for (what, request) in [
        ("no slash", get("main/nix-cache-info")),
        ("a blank", get("/main/nix cache info")),
        ("a tab", get("/main/nix\tcache-info")),
        ("tabs for blanks", get("/main/nix-cache-info").replace(' ', "\t")),
        ("NUL", get("/main/\0")),
        ("HTTP/2.0", get("/main/nix-cache-info").replace("1.1", "2.0")),
        ("HTTP/1.9", get("/main/nix-cache-info").replace("1.1", "1.9")),
        ("HTTP/0.9", "GET /main/nix-cache-info\r\n\r\n".to_owned()),
        ("no HTTP", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".repeat(20)),
        ("an address of 70 000 bytes", get(&format!("/{}", "a".repeat(70_000)))),
        ("an address of 600 000 bytes", get(&format!("/{}", "a".repeat(600_000)))),
        ("a header of 600 000 bytes", with(&format!("X-A: {}", "a".repeat(600_000)))),
        ("a thousand headers", with("X-A: b\r\n".repeat(1000).trim_end())),
        ("a header name of 100 000 bytes", with(&format!("{}: x", "X".repeat(100_000)))),
    ] {
        let answer = exchange(&door, format!("{request}{SECOND}"), SOON, 2).await;
        assert_eq!(answer.statuses.len(), 1, "{what}: {} answers", answer.statuses.len());
        assert!((400..500).contains(&answer.statuses[0]), "{what}: {:?}", answer.statuses);
        assert!(answer.closed, "{what}: the connection goes on");
    }
    // Methods that nobody takes; a target that is no path.
    for (what, request, expected) in [
        ("CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), [400, 404, 405]),
        ("CONNECT to itself", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n".to_owned(), [400, 404, 405]),
        ("TRACE", get("/main/nix-cache-info").replace("GET", "TRACE"), [400, 404, 405]),
        ("an unknown method", get("/main/nix-cache-info").replace("GET", "SMUGGLE"), [400, 404, 405]),
        ("an unknown method of a page", get("/").replace("GET", "SMUGGLE"), [400, 404, 405]),
        ("POST *", get("*").replace("GET", "POST"), [302, 404, 405]),
        ("PUT *", get("*").replace("GET", "PUT"), [302, 404, 405]),
        ("no Host", get("/main/nix-cache-info").replace("Host: x\r\n", ""), [400, 400, 400]),
        ("two hosts", get("/main/nix-cache-info").replace("Host: x\r\n", "Host: x\r\nHost: y\r\n"), [400, 400, 400]),
    ] {
        let answer = exchange(&door, &request, SOON, 1).await;
        assert!(answer.statuses.first().is_some_and(|status| expected.contains(status)), "{what}: {answer:?}");
        assert!(!answer.text.to_lowercase().contains("smuggle") && answer.text.len() < 20_000, "{what}: {answer:?}");
    }
    // Without a path, or with a whole URL, it is the same server that is asked, and the same rights hold.
    door.server.cache("secret", true).unwrap();
    for (target, status) in [
        ("http://evil.example/main/nix-cache-info", 200),
        ("http://evil.example:99999/main/nix-cache-info", 200),
        ("http://user:password@x/main/nix-cache-info", 200),
        ("http://evil.example/secret/nix-cache-info", 401),
        ("http://secret/secret/nix-cache-info", 401),
        ("ftp://evil.example/secret/nix-cache-info", 401),
    ] {
        let answer = exchange(&door, get(target), SOON, 1).await;
        let refused = answer.statuses.first() == Some(&400);
        assert!(refused || answer.statuses == [status], "{target}: {answer:?}");
    }
    // Upgrades that nobody offered.
    for header in [
        "Connection: upgrade\r\nUpgrade: websocket",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    ] {
        let answer = exchange(&door, with(header), SOON, 1).await;
        assert_eq!(answer.statuses, [200], "{header}");
        assert!(!answer.text.contains(" 101 "), "{header}");
    }
    door.is_calm("heads").await;
}
