//! What must hold of the server after any refusal: owns the looks at its memory, its log, its staging folder and its answers.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Door, MIB};
use http::Method;
use iglu_end2end::http::{Credentials, Http, Reply, request};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::Server;
use serde_json::Value;

/// Most that a single hostile request may add to the server's memory.
pub const FLAT: u64 = 64 * MIB;

/// Watches the server's memory from now on.
pub struct Memory {
    before: u64,
}

impl Memory {
    /// Lets the kernel count the peak anew.
    pub fn watch(server: &Server) -> Self {
        std::fs::write(format!("/proc/{}/clear_refs", server.pid().unwrap()), "5").unwrap();
        Self { before: server.rss().unwrap() }
    }

    /// Bytes that the peak since then is above what was there.
    pub fn grown(&self, server: &Server) -> u64 {
        server.peak_rss().unwrap().saturating_sub(self.before)
    }

    /// Fails if the peak is more than [`FLAT`] above what was there.
    pub fn must_be_flat(&self, server: &Server, what: &str) {
        self.must_be_flat_but_for(server, 0, what);
    }

    /// The same where a body of so many MiB may be held.
    pub fn must_be_flat_but_for(&self, server: &Server, body: u64, what: &str) {
        let grown = self.grown(server) / MIB;
        assert!(grown < FLAT / MIB + body, "{what}: the server's memory grew by {grown} MiB");
    }
}

/// Fails if it took much longer: what is meant is that work ends, not how fast a shared machine is.
pub fn within(begun: Instant, seconds: u64, what: &str) {
    assert!(begun.elapsed() < Duration::from_secs(seconds * 4), "{what} took {:?}", begun.elapsed());
}

/// A plain refusal of this status.
#[track_caller]
pub fn refused(reply: &Reply, status: u16, what: &str) -> Refusal {
    let refusal = Refusal::of(reply).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(refusal.status, status, "{what}: {}", refusal.text);
    refusal
}

/// A refusal as attic clients read it: JSON with three fields, the sentence among them one short line of ASCII. Gives the
/// sentence.
#[track_caller]
pub fn refused_json(reply: &Reply, status: u16, what: &str) -> String {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert_eq!(reply.media_type(), Some("application/json"), "{what}: {}", reply.text());
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(body["code"], status, "{what}: {body}");
    assert!(body["error"].as_str().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic())), "{body}");
    let message = body["message"].as_str().unwrap_or_else(|| panic!("{what}: no message in {body}"));
    assert!((1..=1024).contains(&message.len()), "{what}: {} bytes of message", message.len());
    assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{what}: not one line of ASCII: {message:?}");
    message.to_owned()
}

impl Door {
    /// The server is none the worse: it answers, it has no scratch file left, and its log tells of no failure and no secret.
    pub async fn is_calm(&self, what: &str) {
        let staging = self.server.data().join("storage/staging/put");
        let deadline = Instant::now() + Duration::from_secs(5);
        while files_below(&staging) > 0 {
            assert!(Instant::now() < deadline, "{what}: {} scratch files are left", files_below(&staging));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let reply = self.server.http().get(&self.putter.url("nix-cache-info")).await.unwrap();
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let log = self.server.log();
        for sign in [" ERROR ", "panicked"] {
            let line = log.lines().find(|line| line.contains(sign));
            assert_eq!(line, None, "{what}: the log tells of a failure");
        }
        for secret in [self.token.as_str(), "iglu_bad"] {
            assert!(!log.contains(secret), "{what}: a token is in the log");
        }
    }

    /// How long the slowest of some small requests took: what others wait while something goes on.
    pub async fn slowest(&self) -> Duration {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(self.server.http().get(&self.putter.url("nix-cache-info")).await.unwrap().status, 200);
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    }

    /// A request with the pusher's token, on a connection of its own.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Reply {
        self.send_as(&Credentials::Bearer(self.token.clone()), method, path, headers, body).await
    }

    /// A request of anybody, on a connection of its own. `path` begins with a slash.
    pub async fn send_as(
        &self,
        credentials: &Credentials,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Reply {
        let url = format!("{}{path}", self.server.url());
        let request = request(method, &url, credentials, headers, body).unwrap();
        Http::new().send(request).await.unwrap_or_else(|error| panic!("{path}: {error:#}"))
    }
}

/// How many files are in a folder and below it.
pub fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}
