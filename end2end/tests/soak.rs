//! What a team does all day, at one server with SQLite and a folder: nobody is told anything wrong, and neither memory nor
//! descriptors grow. `IGLU_SOAK_SECONDS` says how long; whether memory grows shows only after many minutes.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Method;
use iglu_end2end::browser;
use iglu_end2end::digest::{self, Random};
use iglu_end2end::http::{Credentials, Http};
use iglu_end2end::load::{Book, CACHE, Clients, Load};
use iglu_end2end::put::Putter;
use iglu_end2end::server::{Scope, Server, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// From here on there is time for memory to grow.
const LONG: u64 = 900;
/// Absent paths that a server remembers before it forgets the oldest: 64 MiB of 128 bytes each.
const REMEMBERED: usize = 1 << 19;

fn seconds() -> u64 {
    std::env::var("IGLU_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// What the server holds at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// MiB of memory of its own.
    own: f64,
    /// MiB with what it sees of files: the database, once for each connection, which costs the machine no more than a page cache.
    resident: f64,
    descriptors: f64,
}

fn sample(server: &Server) -> Sample {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid().unwrap())).unwrap().count();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Sample {
        own: mebibytes(server.own_memory().unwrap()),
        resident: mebibytes(server.rss().unwrap()),
        descriptors: descriptors as f64,
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Asks for what nobody has.
async fn one_miss(putter: &Putter, random: &mut Random) -> Result<(), String> {
    let hash = &digest::sha256_nix32(&random.bytes(16))[..32];
    match putter.narinfo(hash).await {
        Ok(None) => Ok(()),
        other => Err(format!("a miss: {other:?}")),
    }
}

/// Asks for what nobody has, as every client does of most caches.
async fn misses(book: Arc<Book>, url: String, token: String) {
    let (putter, mut random) = (Putter::new(&format!("{url}/{CACHE}"), &token), Random::new(9));
    while !book.is_over() {
        if let Err(failure) = one_miss(&putter, &mut random).await {
            book.fails(failure);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fills what is remembered of absent paths, which [`misses`] alone would still be filling at the end of an hour.
async fn fill(url: &str, token: &str) {
    const ASK: usize = 16;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..ASK {
        let putter = Putter::new(&format!("{url}/{CACHE}"), token);
        clients.spawn(async move {
            let mut random = Random::new(1000 + u64::try_from(number).unwrap());
            for _ in 0..REMEMBERED / ASK {
                one_miss(&putter, &mut random).await.unwrap();
            }
        });
    }
    clients.join_all().await;
}

/// Looks at pages, at what is counted, and listens for news for a moment.
async fn looks(book: Arc<Book>, url: String, ops: String, cookies: String) {
    let http = Http::new();
    let pages = [
        "/",
        "/caches/main",
        "/caches/main/paths",
        "/caches/main/paths?search=p1",
        "/caches/main/retention",
        "/tokens",
        "/admin/audit",
        "/admin",
        "/builders",
        "/api/v1/caches",
    ];
    while !book.is_over() {
        for page in pages {
            let cookie = [("cookie", cookies.as_str()), ("accept", "text/html")];
            match http.call(Method::GET, &format!("{url}{page}"), &Credentials::None, &cookie, Vec::new()).await {
                Ok(reply) if reply.status == 200 => {}
                other => book.fails(format!("{page}: {:?}", other.map(|reply| reply.status))),
            }
        }
        if !http.get(&format!("{ops}/metrics")).await.is_ok_and(|reply| reply.status == 200) {
            book.fails("what is counted is not told".to_owned());
        }
        let mut news = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let ask = format!("GET /events HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\n\r\n");
        news.write_all(ask.as_bytes()).await.unwrap();
        let mut told = [0; 4096];
        let _ = tokio::time::timeout(Duration::from_millis(500), news.read(&mut told)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Goes away in the middle of uploads and downloads.
async fn goes_away(book: Arc<Book>, url: String, token: String) {
    let mut random = Random::new(31);
    while !book.is_over() {
        let address = url.trim_start_matches("http://");
        let name = digest::sha256_nix32(&random.bytes(16));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "PUT /{CACHE}/nar/{name}.nar HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(&random.bytes(50_000)).await;
        drop(stream);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_team_does_all_day() {
    let seconds = seconds();
    let server = Setup::default().with_environment("IGLU_NAR_GRACE", "30s").start_alone().await.unwrap();
    let (browser, _) = browser::set_up(&server).await;
    let token = server.token(CACHE, Scope::Admin).unwrap();
    let cookies = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = sample(&server);
    if seconds >= LONG {
        fill(&server.url(), &token).await;
        eprintln!("{idle:?}, then with all that is remembered {:?}", sample(&server));
    }
    let mut load = Load::start(Clients {
        url: server.url(),
        token: token.clone(),
        pushers: 4,
        pullers: 8,
        rest: Duration::from_millis(150),
        keep: Some(1000),
        servers_die: false,
    });
    let book = load.book.clone();
    load.also(misses(book.clone(), server.url(), token.clone()));
    load.also(looks(book.clone(), server.url(), server.ops_url(), cookies));
    load.also(goes_away(book.clone(), server.url(), token));
    let (started, mut samples) = (Instant::now(), Vec::new());
    while started.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis((seconds * 10).max(200))).await;
        samples.push(sample(&server));
        if samples.len() % 5 == 0 && seconds >= LONG {
            let Sample { own, resident, descriptors } = samples[samples.len() - 1];
            eprintln!(
                "{:>5} s: {own:.1} MiB of its own, {resident:.1} MiB resident, {descriptors} descriptors, {} paths",
                started.elapsed().as_secs(),
                book.promises()
            );
        }
    }
    let book = load.end().await;
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    eprintln!("{} pushes, {} pulls, {} removed", count(&book.pushed), count(&book.pulled), count(&book.removed));
    assert!(count(&book.pushed) > seconds && count(&book.pulled) > seconds, "hardly anything was done");

    // What was opened for somebody is closed when they are gone.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = sample(&server);
    assert!(after.descriptors <= idle.descriptors + 24.0, "{idle:?} before, {after:?} after");
    if seconds >= LONG {
        // In the first third the database's own memory fills.
        let later = &samples[samples.len() / 3..];
        let (first, last) = (&later[..later.len() / 3], &later[later.len() * 2 / 3..]);
        let memory = |samples: &[Sample]| median(samples, |sample| sample.own);
        let descriptors = |samples: &[Sample]| median(samples, |sample| sample.descriptors);
        eprintln!(
            "memory {:.1} MiB, then {:.1} MiB; descriptors {}, then {}",
            memory(first),
            memory(last),
            descriptors(first),
            descriptors(last)
        );
        assert!(memory(last) <= memory(first) * 1.1 + 4.0, "memory grew");
        assert!(descriptors(last) <= descriptors(first) * 1.1 + 8.0, "descriptors grew");
    }
    let output = server.run(&["check", "--full", "--json"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}
