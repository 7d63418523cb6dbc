//! A relay before the server that can do harm to single requests: cut an answer off, answer itself, take a prefix off the path.
//! Owns its listener until it is dropped; each request goes to the server on a connection of its own.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
pub enum Fate {
    /// It goes to the server, and its answer comes back.
    Pass,
    /// The connection ends after so many bytes of the answer.
    CutAfter(u64),
    /// The relay answers, with this whole answer.
    Answer(&'static str),
}

type Judge = dyn Fn(&str) -> Fate + Send + Sync;

/// A running relay.
pub struct Relay {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    running: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Before `server` (`host:port`). `prefix` is taken off the beginning of each path; `judge` sees each request's head.
    pub async fn start(
        server: &str,
        prefix: &'static str,
        judge: impl Fn(&str) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (server, seen, judge) = (server.to_owned(), heads.clone(), Arc::new(judge));
        let running = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, seen, judge) = (server.clone(), seen.clone(), judge.clone());
                // What the two ends make of a broken connection is their business.
                tokio::spawn(async move { drop(one(client, &server, prefix, &seen, &*judge).await) });
            }
        });
        Self { port, heads, running }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of all requests so far, in lower case but for the first line.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn one(
    mut client: TcpStream,
    server: &str,
    prefix: &str,
    seen: &Mutex<Vec<String>>,
    judge: &Judge,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    seen.lock().unwrap().push(format!("{line}\r\n{}", rest.to_lowercase()));
    let limit = match judge(&head) {
        Fate::Pass => u64::MAX,
        Fate::CutAfter(bytes) => bytes,
        Fate::Answer(answer) => {
            client.write_all(answer.as_bytes()).await?;
            // The body, if any, has to be read: closing over unread bytes resets the connection.
            let mut rest = [0; 4096];
            while client.read(&mut rest).await? > 0 {}
            return Ok(());
        }
    };
    let line = if prefix.is_empty() { line.to_owned() } else { line.replacen(&format!(" {prefix}/"), " /", 1) };
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(format!("{line}\r\nConnection: close\r\n{rest}").as_bytes()).await?;
    let (mut from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = upstream.split();
    let mut answer = from_server.take(limit);
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        std::future::pending::<std::io::Result<()>>().await
    };
    tokio::select! {
        ended = tokio::io::copy(&mut answer, &mut to_client) => ended.map(drop),
        ended = up => ended,
    }
}
