//! Pushers and pullers at one address, who keep book: what was promised, and every answer that was none.

// A test whose book cannot be read has failed.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::JoinSet;

use crate::attic;
use crate::cachix::{self, Profile};
use crate::digest::{self, Random};
use crate::http::{Credentials, Http};
use crate::nar;
use crate::object::Object;
use crate::put::{Draft, Putter};

/// The cache that is pushed to.
pub const CACHE: &str = "main";

/// Between two tries after a server died.
const PAUSE: Duration = Duration::from_millis(300);

/// Who asks, and what may go wrong.
#[derive(Clone, Debug)]
pub struct Clients {
    /// `http://host:port`.
    pub url: String,
    /// Good for pushing, pulling and removing.
    pub token: String,
    /// How many push at a time.
    pub pushers: usize,
    /// How many pull at a time.
    pub pullers: usize,
    /// How long each rests after a push or a pull.
    pub rest: Duration,
    /// How many paths stay; the oldest above that are removed. `None` for all.
    pub keep: Option<usize>,
    /// Whether servers are killed: then a request may lose its connection, and is made once more.
    pub servers_die: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Book {
    promised: Mutex<VecDeque<Promise>>,
    /// Pushes that were taken.
    pub pushed: AtomicU64,
    /// Pulls that brought what was pushed.
    pub pulled: AtomicU64,
    /// Paths that were removed.
    pub removed: AtomicU64,
    /// Requests that were made again because their server died.
    pub repeated: AtomicU64,
    failures: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

#[derive(Clone, Debug)]
struct Promise {
    hash: String,
    nar_sha256: String,
}

impl Book {
    /// Notes what nobody should ever be told.
    pub fn fails(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }

    /// Whether clients should end.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn some_promise(&self, random: &mut Random) -> Option<Promise> {
        let promised = self.promised.lock().unwrap();
        let number = u64::from_le_bytes(random.bytes(8).try_into().unwrap());
        let count = u64::try_from(promised.len()).unwrap();
        (count > 0).then(|| promised[usize::try_from(number % count).unwrap()].clone())
    }

    /// The oldest promise, of which nobody hears any more, where there are more than `keep`.
    fn too_old(&self, keep: usize) -> Option<Promise> {
        let mut promised = self.promised.lock().unwrap();
        if promised.len() > keep { promised.pop_front() } else { None }
    }

    /// How many promises stand.
    pub fn promises(&self) -> usize {
        self.promised.lock().unwrap().len()
    }
}

/// Clients at work.
pub struct Load {
    /// What they note.
    pub book: Arc<Book>,
    clients: Clients,
    tasks: JoinSet<()>,
}

impl Load {
    /// Lets all of them begin.
    pub fn start(clients: Clients) -> Load {
        let mut load = Load { book: Arc::default(), clients: clients.clone(), tasks: JoinSet::new() };
        for number in 0..clients.pushers {
            load.also(push(clients.clone(), load.book.clone(), number));
        }
        for number in 0..clients.pullers {
            load.also(pull(clients.clone(), load.book.clone(), number));
        }
        if let Some(keep) = clients.keep {
            load.also(remove(clients, load.book.clone(), keep));
        }
        load
    }

    /// Somebody else, who ends when the book is over.
    pub fn also(&mut self, client: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(client);
    }

    /// Lets everybody finish what they do, and looks whether every promise is kept.
    pub async fn end(mut self) -> Arc<Book> {
        self.book.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let failures = self.book.failures.lock().unwrap().clone();
        assert!(
            failures.is_empty(),
            "{} failures, among them {:#?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
        let putter = putter(&self.clients);
        let promised = self.book.promised.lock().unwrap().clone();
        for promise in promised {
            if let Err(error) = one_pull(&putter, &promise).await {
                panic!("{} was promised: {error:#}", promise.hash);
            }
        }
        self.book
    }
}

fn putter(clients: &Clients) -> Putter {
    Putter::new(&format!("{}/{CACHE}", clients.url), &clients.token)
}

/// Whether the answer, or that there was none, can be the end of a server that was killed: of the balancer's own making, or a
/// connection that broke.
fn is_death(told: &str) -> bool {
    let signs = ["502", "504", "connection", "incomplete", "closed", "reset", "broken pipe", "error sending", "body"];
    let told = told.to_lowercase();
    signs.iter().any(|sign| told.contains(sign))
}

/// Does something until it is done, again and again where servers die; anything else that goes wrong is noted.
async fn keeps_trying<T, F: Future<Output = anyhow::Result<T>>>(
    clients: &Clients,
    book: &Book,
    what: &str,
    mut act: impl FnMut() -> F,
) -> Option<T> {
    for tries in 0.. {
        let told = match act().await {
            Ok(done) => return Some(done),
            Err(error) => format!("{what}: {error:#}"),
        };
        if !clients.servers_die || !is_death(&told) || tries >= 8 {
            book.fails(told);
            break;
        }
        book.repeated.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    None
}

async fn push(clients: Clients, book: Arc<Book>, number: usize) {
    let mut seed = 0;
    while !book.is_over() {
        seed += 1;
        let name = format!("p{number}-{seed}");
        let size = [2_000, 40_000, 300_000][seed % 3];
        let noise =
            Random::new(u64::from_str_radix(&digest::sha256_hex(name.as_bytes())[..8], 16).unwrap()).bytes(size);
        let archive = nar::archive(&nar::regular(&noise));
        let nar_sha256 = digest::sha256_hex(&archive);
        let object = Object::bytes(&name, 1, archive.clone());
        let draft = Draft::new(&name, 1, archive, "zstd", &[]).await.unwrap();
        let act = || one_push(&clients, seed + number, &object, &draft);
        if let Some(hash) = keeps_trying(&clients, &book, &format!("push {name}"), act).await {
            book.promised.lock().unwrap().push_back(Promise { hash, nar_sha256 });
            book.pushed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(clients.rest).await;
    }
}

/// By each of the protocols in turn, without a client's own repeats.
async fn one_push(clients: &Clients, turn: usize, object: &Object, draft: &Draft) -> anyhow::Result<String> {
    match turn % 3 {
        0 => {
            let profile = Profile::v1_11_1().without_repeats().with_chunk_size(64 * 1024);
            let client = cachix::Client::new(profile, &clients.url, Some(&clients.token));
            client.push_one(CACHE, object, &cachix::PushOptions::default()).await?;
            Ok(object.hash().to_owned())
        }
        1 => {
            putter(clients).push(draft).await?;
            Ok(draft.hash().to_owned())
        }
        _ => {
            let client = attic::Client::new(&format!("{}/", clients.url), Some(&clients.token))?;
            let pushed = client.push_one(CACHE, object, &attic::PushOptions::default()).await;
            pushed.map_err(|error| anyhow::anyhow!("{}: {error}", error.status().unwrap_or(502)))?;
            Ok(object.hash().to_owned())
        }
    }
}

async fn pull(clients: Clients, book: Arc<Book>, number: usize) {
    let mut random = Random::new(u64::try_from(number).unwrap() + 77);
    let putter = putter(&clients);
    while !book.is_over() {
        let Some(promise) = book.some_promise(&mut random) else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let act = || one_pull(&putter, &promise);
        if keeps_trying(&clients, &book, &format!("pull {}", promise.hash), act).await.is_some() {
            book.pulled.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(clients.rest).await;
    }
}

async fn one_pull(putter: &Putter, promise: &Promise) -> anyhow::Result<()> {
    let narinfo = putter.narinfo(&promise.hash).await?;
    let narinfo = narinfo.ok_or_else(|| anyhow::anyhow!("is NOT THERE"))?;
    let bytes = putter.check(&narinfo).await?;
    anyhow::ensure!(digest::sha256_hex(&bytes) == promise.nar_sha256, "is ANOTHER NAR");
    Ok(())
}

/// Removes the oldest paths, each a while after the last puller heard of it.
async fn remove(clients: Clients, book: Arc<Book>, keep: usize) {
    /// Longer than any pull takes.
    const LAST_PULL: Duration = Duration::from_secs(10);
    let http = Http::new();
    let token = Credentials::Bearer(clients.token.clone());
    let mut leaving: VecDeque<(Instant, Promise)> = VecDeque::new();
    while !book.is_over() {
        while let Some(promise) = book.too_old(keep) {
            leaving.push_back((Instant::now(), promise));
        }
        let due = leaving.iter().take_while(|(since, _)| since.elapsed() > LAST_PULL).count().min(500);
        if due > 0 {
            let hashes: Vec<String> = leaving.drain(..due).map(|(_, promise)| promise.hash).collect();
            let act = || one_removal(&http, &token, &clients.url, &hashes);
            if keeps_trying(&clients, &book, &format!("remove {due} paths"), act).await.is_some() {
                book.removed.fetch_add(hashes.len() as u64, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn one_removal(http: &Http, token: &Credentials, url: &str, hashes: &[String]) -> anyhow::Result<()> {
    let body = serde_json::json!({ "hashes": hashes, "with_referrers": false }).to_string();
    let url = format!("{url}/api/v1/caches/{CACHE}/paths/remove");
    let json = [("content-type", "application/json")];
    let reply = http.call(Method::POST, &url, token, &json, body.into_bytes()).await?;
    anyhow::ensure!(reply.status.is_success(), "{}: {}", reply.status, reply.text());
    Ok(())
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(60), "not so after a minute: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
