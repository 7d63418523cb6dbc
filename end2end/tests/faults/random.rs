//! Rounds of random pushers, readers and collections, each ended by `kill -9` at a random moment, with the clock going on by hours or weeks
//! between them; and the look at every promise after each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::is_full;
use crate::world::{By, CACHE, DAY, Item, Pusher, World};
use iglu_end2end::cachix::wire::Pin;
use iglu_end2end::digest::Random;
use iglu_end2end::put::Narinfo;
use iglu_end2end::server::Setup;
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use tokio::task::JoinSet;

/// The rule: paths go that were not pushed for so many days.
const KEPT: i64 = 2;
/// Seconds that clients may remember a narinfo and then ask for its NAR.
const REMEMBERED: i64 = 30 * DAY;
/// Paths of one pusher in a round.
const LENGTH: u64 = 12;

/// What one pusher did until the server was gone.
#[derive(Default)]
struct Pushed {
    done: Vec<(Item, i64)>,
    interrupted: Vec<(Item, i64)>,
}

/// Everything that was promised.
struct Run {
    world: World,
    clock: Clock,
    random: Random,
    round: u64,
    /// When a path was pushed, by the server's clock in seconds.
    pushed: BTreeMap<String, i64>,
    /// When a push began that was interrupted: the path may be there since then, which a later push does not change.
    begun: BTreeMap<String, i64>,
    /// Narinfos that a client may still know, by hash part, and when they were read.
    remembered: BTreeMap<String, (Narinfo, i64)>,
    /// What clients were pushing when the server was killed.
    interrupted: Vec<Item>,
    /// Paths that clients saw since the server started.
    seen: Vec<Item>,
    pushes: u64,
    reads: u64,
    gone: u64,
}

/// Seconds since the run began, which are the same to the server.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> i64 {
        i64::try_from(self.0.elapsed().as_secs()).unwrap()
    }
}

/// Pushes one after the other, until one fails.
async fn pushes(pusher: Pusher, by: By, items: Vec<Item>, clock: Clock, ahead: i64) -> Pushed {
    let mut pushed = Pushed::default();
    for item in items {
        // The server may have taken it before the answer.
        let before = clock.now() + ahead;
        if pusher.push(by, &item).await.is_err() {
            pushed.interrupted.push((item, before));
            break;
        }
        pushed.done.push((item, before));
    }
    pushed
}

/// Reads at random until the server is gone. What was read is right, or breaks off. How many.
async fn reads(pusher: Pusher, items: Arc<Vec<Item>>, mut random: Random) -> u64 {
    let putter = pusher.putter();
    let mut count = 0;
    if items.is_empty() {
        return 0;
    }
    loop {
        let item = &items[random.below(items.len())];
        let Ok(reply) = putter.get(&format!("{}.narinfo", item.hash())).await else { return count };
        assert!(matches!(reply.status.as_u16(), 200 | 404), "{}: {}", reply.status, reply.text());
        if reply.status == 200 {
            let narinfo = Narinfo::parse(&reply.text()).unwrap();
            match putter.get(narinfo.get("URL").unwrap()).await {
                Err(_) => return count,
                Ok(reply) => {
                    assert_eq!(reply.status, 200, "{} is visible: {}", item.object.path, reply.text());
                    assert_eq!(reply.body.len().to_string(), narinfo.get("FileSize").unwrap());
                }
            }
            count += 1;
        }
    }
}

impl Run {
    async fn new(seed: u64) -> Run {
        let mut world = World::new(Setup::default()).await;
        // Rules never take everything, since this stays.
        let anchor = Item::new("anchor", seed, 1000, &[]).await;
        world.push(By::Put, &anchor).await;
        let pin =
            Pin { name: "anchor".to_owned(), store_path: anchor.object.path.clone(), artifacts: vec![], keep: None };
        world.server.cachix(Some(&world.token)).pin(CACHE, &pin).await.unwrap();
        world.admin(&["retention", "set", CACHE, "--pushed-days", &KEPT.to_string()]);
        Run {
            world,
            clock: Clock(Instant::now()),
            random: Random::new(seed),
            round: 0,
            pushed: BTreeMap::new(),
            begun: BTreeMap::new(),
            remembered: BTreeMap::new(),
            interrupted: Vec::new(),
            seen: Vec::new(),
            pushes: 0,
            reads: 0,
            gone: 0,
        }
    }

    fn now(&self) -> i64 {
        self.clock.now() + self.world.ahead()
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    /// A list of paths, some of which refer to others of it or to what clients saw in the cache.
    async fn items(&mut self, by: By) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        // What was interrupted is what somebody tries again, by whichever client.
        if self.below(2) == 0
            && let Some(item) = self.interrupted.pop()
        {
            // Where something that it refers to was collected for good, its client would bring that first.
            let is_seen = |hash: &str| self.seen.iter().any(|seen| seen.hash() == hash);
            let is_whole = item.object.references.iter().all(|reference| is_seen(&reference[..32]));
            if is_whole { items.push(item) } else { self.interrupted.insert(0, item) }
        }
        for number in 0..LENGTH {
            let most = if self.random.below(8) == 0 { 200_000 } else { 20_000 };
            let size = 500 + self.random.below(most);
            let mut references = Vec::new();
            if let Some(last) = items.last().filter(|_| self.random.below(3) > 0) {
                references.push(last);
            }
            if !self.seen.is_empty() && self.random.below(3) == 0 {
                references.push(&self.seen[self.random.below(self.seen.len())]);
            }
            references.dedup_by_key(|item| item.hash().to_owned());
            let name = format!("random-{by:?}-{number}").to_lowercase();
            items.push(Item::new(&name, self.round, size, &references).await);
        }
        items
    }

    /// Everybody at work until the server is killed.
    async fn work(&mut self) {
        let ahead = self.world.ahead();
        let mut pushers = JoinSet::new();
        for by in By::ALL {
            let items = self.items(by).await;
            items.iter().for_each(|item| self.world.tried(item));
            pushers.spawn(pushes(self.world.pusher(), by, items, self.clock, ahead));
        }
        let mut readers = JoinSet::new();
        let known = Arc::new(self.world.known.values().cloned().collect::<Vec<_>>());
        for _ in 0..2 {
            let random = Random::new(self.random.next_u64());
            readers.spawn(reads(self.world.pusher(), known.clone(), random));
        }
        let mut collector = None;
        if self.below(3) == 0 {
            let mut command = self.world.server.command(&["gc", CACHE, "--yes", "--json"]).unwrap();
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            collector = Some(command.spawn().unwrap());
        }
        let moment = Duration::from_millis(20 + self.below(780));
        tokio::time::sleep(moment).await;
        self.world.server.kill().unwrap();
        if let Some(mut collector) = collector {
            let _ = collector.kill();
            let _ = collector.wait();
        }
        while let Some(pushed) = pushers.join_next().await {
            let pushed = pushed.unwrap();
            self.pushes += pushed.done.len() as u64;
            for (item, at) in pushed.done {
                // One that was there before is as old as it was.
                let at = self.begun.get(item.hash()).copied().unwrap_or(at);
                self.pushed.entry(item.hash().to_owned()).or_insert(at);
            }
            for (item, at) in pushed.interrupted {
                self.begun.entry(item.hash().to_owned()).or_insert(at);
                self.interrupted.push(item);
            }
        }
        while let Some(reads) = readers.join_next().await {
            self.reads += reads.unwrap();
        }
    }

    /// Starts the server again, later.
    async fn start(&mut self) {
        let later = match self.below(10) {
            0 => 35 * DAY,
            1 => 3 * DAY,
            2 | 3 => DAY,
            4 | 5 => 2 * 3600,
            6 => 180,
            _ => 0,
        };
        // Pushes do not wait for the sweep.
        self.world.set_ahead(self.world.ahead() + later);
        self.world.server.restart().await.unwrap();
    }

    /// Every promise, while the server collects and removes what it finds to be old.
    async fn verify(&mut self) {
        let (round, putter) = (self.round, self.world.putter());
        let (clean, report) = self.world.check(&[]);
        assert!(clean, "round {round}: {report}");
        self.seen.clear();
        let mut dropped = Vec::new();
        for (hash, item) in &self.world.known {
            let path = &item.object.path;
            let found = putter.narinfo(hash).await.unwrap();
            let is_young = self.pushed.get(hash).is_some_and(|at| self.now() - at < KEPT * DAY - 60);
            if found.is_none() && is_young {
                panic!("round {round}: {path} was promised and is gone: {}", self.rows(hash).await);
            }
            if let Some(narinfo) = found {
                let nar = putter.check(&narinfo).await;
                let nar = nar.unwrap_or_else(|error| panic!("round {round}: {path} is visible, but {error}"));
                assert!(nar == item.draft.nar, "round {round}: {path} is another NAR");
                for reference in narinfo.get("References").unwrap().split_ascii_whitespace() {
                    if putter.narinfo(&reference[..32]).await.unwrap().is_none() {
                        self.goes_too(hash, reference).await;
                    }
                }
                self.seen.push(item.clone());
                self.remembered.insert(hash.clone(), (narinfo, self.now()));
            } else {
                self.gone += u64::from(self.pushed.remove(hash).is_some());
                self.begun.remove(hash);
                match self.remembered.get(hash) {
                    // A client that remembers the narinfo gets the NAR.
                    Some((narinfo, read)) if self.now() - read < REMEMBERED => {
                        let nar = putter.check(narinfo).await;
                        let nar =
                            nar.unwrap_or_else(|error| panic!("round {round}: {path} is remembered, but {error}"));
                        assert!(nar == item.draft.nar);
                    }
                    _ if self.interrupted.iter().all(|item| item.hash() != hash) => dropped.push(hash.clone()),
                    _ => {}
                }
            }
        }
        for hash in dropped {
            self.world.known.remove(&hash);
            self.remembered.remove(&hash);
        }
    }

    /// A reference went since its referrer was read: the referrer, which goes first, is gone as soon as memory has heard of it.
    async fn goes_too(&self, hash: &str, reference: &str) {
        let asked = Instant::now();
        while self.world.putter().narinfo(hash).await.unwrap().is_some() {
            if asked.elapsed() > Duration::from_secs(2) {
                let (rows, other) = (self.rows(hash).await, self.rows(&reference[..32]).await);
                panic!("round {}: {hash} ({rows}) is visible without {reference} ({other})", self.round);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the database says of a path.
    async fn rows(&self, hash: &str) -> String {
        let options = SqliteConnectOptions::new().filename(self.world.server.data().join("iglu.db"));
        let mut database = options.connect().await.unwrap();
        let mut rows = Vec::new();
        for sql in [
            "SELECT 'here, pushed at ' || pushed_at || ', visible ' || is_visible || ', refers to ' || refs FROM store_path WHERE hash = $1",
            "SELECT 'aside, pushed at ' || pushed_at || ', ' || reason || ', ' || why || ', since ' || since FROM set_aside WHERE hash = $1",
            "SELECT 'awaits ' || a.hash FROM awaited_reference a JOIN store_path p ON p.id = a.path_id WHERE p.hash = $1",
        ] {
            let found: Vec<String> = sqlx::query_scalar(sql).bind(hash).fetch_all(&mut database).await.unwrap();
            rows.extend(found);
        }
        format!("{rows:?}; pushed {} s ago", self.now() - self.pushed.get(hash).copied().unwrap_or_default())
    }

    /// What was interrupted completes.
    async fn finish(&mut self) {
        self.world.has_done("sweep").await;
        for (item, by) in std::mem::take(&mut self.interrupted).iter().zip(By::ALL.into_iter().cycle()) {
            let pusher = self.world.pusher();
            match pusher.push(by, item).await {
                // Its references were collected since, and are no longer stored: nix copy would bring them first.
                Err(error) if by == By::Put && error.to_string().contains("push it first") => {
                    pusher.push(By::Cachix, item).await.unwrap();
                }
                done => done.unwrap(),
            }
        }
        self.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_rounds_each_ended_by_a_kill() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let seed = number("IGLU_FAULT_SEED", u64::from(std::process::id()));
    let rounds = number("IGLU_FAULT_ROUNDS", if is_full() { 200 } else { 15 });
    println!("seed {seed}");
    let started = Instant::now();
    let mut run = Run::new(seed).await;
    for round in 0..rounds {
        run.round = round;
        run.work().await;
        run.start().await;
        run.verify().await;
        assert_eq!(run.world.storage()["damaged_paths"], 0, "round {round}: something was taken for damage");
    }
    run.finish().await;
    let Run { pushes, reads, gone, .. } = run;
    println!(
        "{rounds} rounds, each ended by kill -9: {pushes} pushes confirmed and kept, {reads} paths read meanwhile, {gone} paths \
         collected, {} days, nothing lost, in {} s (seed {seed})",
        run.world.ahead() / DAY,
        started.elapsed().as_secs()
    );
    assert!(pushes > rounds * 3, "only {pushes} pushes were confirmed: the kills came too early to show anything");
}
