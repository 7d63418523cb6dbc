//! Pushers and pullers at one address, who keep book: what was promised, and every answer that was none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use iglu_end2end::attic;
use iglu_end2end::cachix::{self, Profile};
use iglu_end2end::digest::{self, Random};
use iglu_end2end::nar;
use iglu_end2end::object::Object;
use iglu_end2end::put::{Draft, Putter};
use tokio::task::JoinSet;

pub const CACHE: &str = "main";

/// Who asks, and what may go wrong.
#[derive(Clone, Debug)]
pub struct Clients {
    pub url: String,
    pub token: String,
    pub pushers: usize,
    pub pullers: usize,
    /// Whether servers are killed: then a request may lose its connection, and is made once more.
    pub servers_die: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Book {
    promised: Mutex<Vec<Promise>>,
    pub pushed: AtomicU64,
    pub pulled: AtomicU64,
    /// Requests that were made again because their server died.
    pub repeated: AtomicU64,
    /// What nobody should ever be told.
    failures: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

#[derive(Clone, Debug)]
struct Promise {
    hash: String,
    nar: Arc<Vec<u8>>,
}

impl Book {
    fn fails(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }

    fn some_promise(&self, random: &mut Random) -> Option<Promise> {
        let promised = self.promised.lock().unwrap();
        let number = u64::from_le_bytes(random.bytes(8).try_into().unwrap());
        let count = u64::try_from(promised.len()).unwrap();
        (count > 0).then(|| promised[usize::try_from(number % count).unwrap()].clone())
    }

    pub fn promises(&self) -> usize {
        self.promised.lock().unwrap().len()
    }
}

/// Clients at work.
pub struct Load {
    pub book: Arc<Book>,
    clients: Clients,
    tasks: JoinSet<()>,
}

impl Load {
    pub fn start(clients: Clients) -> Load {
        let book: Arc<Book> = Arc::default();
        let mut tasks = JoinSet::new();
        for number in 0..clients.pushers {
            tasks.spawn(push(clients.clone(), book.clone(), number));
        }
        for number in 0..clients.pullers {
            tasks.spawn(pull(clients.clone(), book.clone(), number));
        }
        Load { book, clients, tasks }
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
            let narinfo = putter.narinfo(&promise.hash).await.unwrap();
            let narinfo = narinfo.unwrap_or_else(|| panic!("{} was promised and is not there", promise.hash));
            assert!(putter.check(&narinfo).await.unwrap() == *promise.nar, "{} is another NAR", promise.hash);
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

async fn push(clients: Clients, book: Arc<Book>, number: usize) {
    let mut seed = 0;
    while !book.is_over.load(Ordering::SeqCst) {
        seed += 1;
        let name = format!("p{number}-{seed}");
        let size = [2_000, 40_000, 300_000][seed % 3];
        let noise =
            Random::new(u64::from_str_radix(&digest::sha256_hex(name.as_bytes())[..8], 16).unwrap()).bytes(size);
        let archive = nar::archive(&nar::regular(&noise));
        let object = Object::bytes(&name, 1, archive.clone());
        let draft = Draft::new(&name, 1, archive.clone(), "zstd", &[]).await.unwrap();
        let mut tries = 0;
        loop {
            let told = match one_push(&clients, seed + number, &object, &draft).await {
                Ok(hash) => {
                    book.promised.lock().unwrap().push(Promise { hash, nar: Arc::new(archive) });
                    book.pushed.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(error) => format!("push {name}: {error:#}"),
            };
            tries += 1;
            if !clients.servers_die || !is_death(&told) || tries > 8 {
                book.fails(told);
                break;
            }
            book.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
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
    while !book.is_over.load(Ordering::SeqCst) {
        let Some(promise) = book.some_promise(&mut random) else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut tries = 0;
        loop {
            let told = match one_pull(&putter, &promise).await {
                Ok(()) => {
                    book.pulled.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(error) => format!("pull {}: {error:#}", promise.hash),
            };
            tries += 1;
            if !clients.servers_die || !is_death(&told) || tries > 8 {
                book.fails(told);
                break;
            }
            book.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

async fn one_pull(putter: &Putter, promise: &Promise) -> anyhow::Result<()> {
    let narinfo = putter.narinfo(&promise.hash).await?;
    let narinfo = narinfo.ok_or_else(|| anyhow::anyhow!("is NOT THERE"))?;
    let bytes = putter.check(&narinfo).await?;
    anyhow::ensure!(bytes == *promise.nar, "is ANOTHER NAR");
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
