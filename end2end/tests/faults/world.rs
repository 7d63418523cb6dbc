//! A server with what it was given and what it promised, and the look at whether it keeps its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;
use std::time::{Duration, Instant};

use iglu_end2end::attic;
use iglu_end2end::cachix::{self, Profile};
use iglu_end2end::digest::{self, Random};
use iglu_end2end::nar;
use iglu_end2end::object::Object;
use iglu_end2end::put::{Draft, Putter};
use iglu_end2end::server::{Scope, Server, Setup};
use serde_json::Value;

pub const CACHE: &str = "main";
/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A store path, as each client sends it.
#[derive(Clone, Debug)]
pub struct Item {
    pub object: Object,
    pub draft: Draft,
}

impl Item {
    /// `size` bytes that do not compress, and the paths that it refers to.
    pub async fn new(name: &str, seed: u64, size: usize, references: &[&Item]) -> Item {
        let paths: Vec<&str> = references.iter().map(|item| item.object.path.as_str()).collect();
        let text = paths.join("\n").into_bytes();
        let noise = Random::new(u64::from_str_radix(&digest::sha256_hex(name.as_bytes())[..8], 16).unwrap() ^ seed);
        let content = [text, noise.clone().bytes(size)].concat();
        let nar = nar::archive(&nar::regular(&content));
        let object =
            paths.iter().fold(Object::bytes(name, seed, nar.clone()), |object, path| object.referring_to(path));
        Item { object, draft: Draft::new(name, seed, nar, "zstd", &paths).await.unwrap() }
    }

    pub fn hash(&self) -> &str {
        self.object.hash()
    }
}

/// How a path is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Cachix,
    Put,
    Attic,
}

impl By {
    pub const ALL: [By; 3] = [By::Cachix, By::Put, By::Attic];
}

/// Who pushes to one server; lives apart from it, so that the server may be killed meanwhile.
#[derive(Clone, Debug)]
pub struct Pusher {
    url: String,
    token: String,
}

impl Pusher {
    /// One path, once: no client's repeats hide a failure.
    pub async fn push(&self, by: By, item: &Item) -> anyhow::Result<()> {
        match by {
            By::Cachix => {
                let profile = Profile::v1_11_1().without_repeats().with_chunk_size(64 * 1024);
                let client = cachix::Client::new(profile, &self.url, Some(&self.token));
                client.push_one(CACHE, &item.object, &cachix::PushOptions::default()).await?;
            }
            By::Put => self.putter().push(&item.draft).await?,
            By::Attic => {
                let client = attic::Client::new(&format!("{}/", self.url), Some(&self.token))?;
                let pushed = client.push_one(CACHE, &item.object, &attic::PushOptions::default()).await;
                // Its errors show a name in the place of the status.
                pushed.map_err(|error| anyhow::anyhow!("{}: {error}", error.status().unwrap_or(0)))?;
            }
        }
        Ok(())
    }

    pub fn putter(&self) -> Putter {
        Putter::new(&format!("{}/{CACHE}", self.url), &self.token)
    }
}

/// A server, and everything that anybody tried to push to it.
pub struct World {
    pub server: Server,
    pub token: String,
    pub known: BTreeMap<String, Item>,
    /// Hash parts of paths whose push succeeded, and that nothing took out since.
    pub promised: BTreeSet<String>,
    /// Seconds that the server's clock is ahead.
    ahead: i64,
}

impl World {
    pub async fn new(setup: Setup) -> World {
        // Reads of files would come between; tests of the scrubber turn it on.
        let server = setup.with_environment("IGLU_SCRUB_RATE", "0").start().await.unwrap();
        server.cache(CACHE, false).unwrap();
        let token = server.token(CACHE, Scope::Admin).unwrap();
        World { server, token, known: BTreeMap::new(), promised: BTreeSet::new(), ahead: 0 }
    }

    pub fn pusher(&self) -> Pusher {
        Pusher { url: self.server.url(), token: self.token.clone() }
    }

    pub fn putter(&self) -> Putter {
        self.pusher().putter()
    }

    /// From the next start on the clock is so far ahead, in seconds.
    pub fn set_ahead(&mut self, seconds: i64) {
        self.ahead = seconds;
        self.server.set_environment("IGLU_CLOCK_AHEAD", Some(&seconds.to_string()));
    }

    pub fn ahead(&self) -> i64 {
        self.ahead
    }

    /// Kills the server, if it runs, and starts it again.
    pub async fn again(&mut self) {
        self.server.kill().unwrap();
        self.server.restart().await.unwrap();
        // To a clock that is days ahead of the file system's, what is written now is old: the sweep takes it for left by a crash.
        if self.ahead >= DAY {
            self.has_done("sweep").await;
        }
    }

    /// As [`World::again`] where the storage is away: the server runs and is not ready.
    pub async fn again_unready(&mut self) {
        self.server.kill().unwrap();
        self.server.launch(&[]).unwrap();
        self.server.answers("live").await.unwrap();
        until("the server does not start", || async { !self.ready().await.1.starts_with("starting") }).await;
    }

    /// Kills the server and starts it again with the clock moved by so many seconds.
    pub async fn later(&mut self, seconds: i64) {
        self.set_ahead(self.ahead + seconds);
        self.again().await;
    }

    /// Pushes, which must succeed, and remembers the promise.
    pub async fn push(&mut self, by: By, item: &Item) {
        self.tried(item);
        self.pusher().push(by, item).await.unwrap_or_else(|error| panic!("push of {by:?}: {error:#}"));
        self.promised.insert(item.hash().to_owned());
    }

    /// Pushes, which must fail; what the client was told.
    pub async fn push_refused(&mut self, by: By, item: &Item) -> String {
        self.tried(item);
        match self.pusher().push(by, item).await {
            Ok(()) => panic!("the push by {by:?} succeeded"),
            Err(error) => format!("{error:#}"),
        }
    }

    pub fn tried(&mut self, item: &Item) {
        self.known.insert(item.hash().to_owned(), item.clone());
    }

    /// Paths went, by rules or by hand, or are known to be damaged.
    pub fn released(&mut self, items: &[&Item]) {
        for item in items {
            self.promised.remove(item.hash());
        }
    }

    /// Starts the server so that it ends itself at a place, while `deed` goes on with it. The place must be reached.
    pub async fn killed_at<F>(&mut self, place: &str, deed: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.server.kill().unwrap();
        self.server.launch(&[("IGLU_KILL_AT", place)]).unwrap();
        let _ = self.server.answers("ready").await;
        let deed = tokio::spawn(deed);
        self.ends_itself(place).await;
        deed.abort();
    }

    /// As [`World::killed_at`] for what the server does by itself once it runs.
    pub async fn killed_by_itself_at(&mut self, place: &str) {
        self.server.kill().unwrap();
        self.server.launch(&[("IGLU_KILL_AT", place)]).unwrap();
        self.ends_itself(place).await;
    }

    async fn ends_itself(&mut self, place: &str) {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.server.ended()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{place} was not reached")).unwrap();
        assert_eq!(ended.signal(), Some(9), "{place}: {ended}");
    }

    /// Runs `iglu` so that it ends itself at a place, which must be reached.
    pub fn command_killed_at(&self, place: &str, args: &[&str]) {
        let output = self.server.command(args).unwrap().env("IGLU_KILL_AT", place).output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "{place}: {args:?}: {}", said(&output));
    }

    /// `iglu check --full --json`: whether it ended with 0, and the report.
    pub fn check(&self, more: &[&str]) -> (bool, Value) {
        let output = self.server.run(&[&["check", "--full", "--json"], more].concat()).unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 2)), "{code:?} {}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["clean"], code == Some(0), "{report}");
        (code == Some(0), report["report"].clone())
    }

    /// Database and storage agree, what was promised is there, and what is visible is whole, with all that it refers to.
    pub async fn is_whole(&self, when: &str) {
        let (clean, report) = self.check(&[]);
        assert!(clean, "{when}: {report}");
        self.serves_whole(when).await;
    }

    /// What clients see of [`World::is_whole`].
    pub async fn serves_whole(&self, when: &str) {
        let putter = self.putter();
        for (hash, item) in &self.known {
            let Some(narinfo) = putter.narinfo(hash).await.unwrap() else {
                assert!(!self.promised.contains(hash), "{when}: {} was promised and is gone", item.object.path);
                continue;
            };
            let got = putter.check(&narinfo).await;
            let got = got.unwrap_or_else(|error| panic!("{when}: {} is visible, but {error}", item.object.path));
            assert!(got == item.draft.nar, "{when}: {} is another NAR", item.object.path);
            for reference in narinfo.get("References").unwrap().split_ascii_whitespace() {
                let reference = putter.narinfo(&reference[..32]).await.unwrap();
                assert!(reference.is_some(), "{when}: {} is visible without what it refers to", item.object.path);
            }
        }
    }

    /// Whether clients see a path.
    pub async fn shows(&self, item: &Item) -> bool {
        self.putter().narinfo(item.hash()).await.unwrap().is_some()
    }

    /// The status of a GET of a path's NAR, by the name that its narinfo gave.
    pub async fn nar_status(&self, url: &str) -> u16 {
        self.putter().get(url).await.map_or(0, |reply| reply.status.as_u16())
    }

    /// `/ready`: status and text.
    pub async fn ready(&self) -> (u16, String) {
        let reply = self.server.http().get(&format!("{}/ready", self.server.ops_url())).await.unwrap();
        (reply.status.as_u16(), reply.text())
    }

    /// Waits until a kind of background work came to its end once since the start.
    pub async fn has_done(&self, work: &str) {
        let count = format!("iglu_reconcile_seconds_count{{work=\"{work}\"}}");
        until("background work does not end", || async {
            let metrics = self.server.http().get(&format!("{}/metrics", self.server.ops_url())).await.unwrap();
            metrics.text().contains(&count)
        })
        .await;
    }

    /// `iglu storage status --json`, whatever its exit.
    pub fn storage(&self) -> Value {
        let output = self.server.run(&["storage", "status", "--json"]).unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    }

    /// `iglu admin …`, which must succeed, as JSON.
    pub fn admin(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.server.admin(args, "").unwrap()).unwrap()
    }
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
