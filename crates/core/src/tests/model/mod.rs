//! Random operations against a server and against a model of it, on both databases. A sequence comes from a seed; one that fails is
//! made as short as it can be and printed, with what it takes to run it again.
//!
//! What holds after every step, in both caches, the strict one and the lenient one:
//!
//! 1. What is visible, held and missing is what the model says, in the database as in memory. The model promises: a push that was told
//!    "done" is visible when all that it refers to is, until people remove it, a rule takes it, or its file is damaged.
//! 2. A narinfo says what was pushed, and its file hashes to it. A file that is absent or has another length is not served. One whose
//!    bytes changed is served until somebody reads it all.
//! 3. In a strict cache, all that a visible path refers to is visible, or was visible and was then found to be damaged. Nothing else
//!    excuses it: not removal by people, not a rule, not a return from wherever. What is held refers to something that is not visible.
//! 4. The numbers kept of a cache are those of its paths.
//!
//! What holds of every preview: it names exactly what the rules say, where a path is as young as the youngest that refers to it, through
//! paths that are damaged, too. It names nothing that a pin's closure needs and nothing younger than a day; referrers come before what
//! they refer to; nothing that stays refers to what goes. The collection does what its preview said, and nothing where everything would
//! go and nobody confirmed it.
//!
//! What holds of coming back: undoing brings back what people removed together, and nothing else does but a new push of the same path.
//! Pushing the bytes of a damaged file brings back every path that was out of sight for it, in every cache. What a pusher was told is
//! here is here when it is done with the rest, whatever rules took meanwhile. What is collected can be read by its file's name for a
//! while, and what people removed cannot.
//!
//! Now and then, and at the end: a full check finds what the test damaged and nothing else; what is set aside is what the model says;
//! every file that something needs is there. At the end, with time and sweeping, the files on the disk are exactly those.
//!
//! While the storage is away nothing is written, removed or forgotten, and what is known is served.

#![allow(
    clippy::needless_range_loop,
    reason = "a name's number is its identity in the model, not only a place in a list"
)]

mod check;
mod meanwhile;
mod op;
mod state;
mod things;
mod world;

use crate::{
    Location,
    db::{Db, past},
    postgres::Postgres,
};
use op::{Dice, Op};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};
use world::{Outcome, World};

/// Operations of one sequence, and sequences of a test; with `IGLU_FULL=1` as many as make 50 000 steps.
const STEPS: usize = 100;
const SEQUENCES: u64 = 40;
const SEQUENCES_FULL: u64 = 500;
/// Every so many steps there is a thorough look.
const NOW_AND_THEN: usize = 20;
/// How long a sequence that fails may be made shorter.
const SHRINKING: Duration = Duration::from_secs(120);

/// Where sequences keep their databases. One sequence runs at a time.
enum Engine {
    /// A folder with an empty database to copy.
    Sqlite(tempfile::TempDir),
    /// A server whose database is emptied for each sequence, which takes less than making one.
    Postgres(Postgres),
}

/// A folder in memory where there is one: what the disk confirms is not what is tested here.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let is_asked = std::env::var_os("TMPDIR").is_some();
    if memory.is_dir() && !is_asked { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

impl Engine {
    fn sqlite() -> Engine {
        let folder = folder();
        let empty = Location::Sqlite(folder.path().join("empty.db"));
        alone(async { Db::open(&empty, crate::Opening::default()).await.unwrap().0.close().await });
        Engine::Sqlite(folder)
    }

    fn postgres() -> Engine {
        let postgres = Postgres::start();
        alone(async {
            Db::open(&Location::Postgres(postgres.url()), crate::Opening::default()).await.unwrap().0.close().await
        });
        Engine::Postgres(postgres)
    }

    /// Runs a sequence on a server of its own.
    fn run(&self, seed: u64, ops: &[Op]) -> Outcome {
        let folder = folder();
        let location = match self {
            Engine::Sqlite(template) => {
                let database = folder.path().join("iglu.db");
                std::fs::copy(template.path().join("empty.db"), &database).unwrap();
                Location::Sqlite(database)
            }
            Engine::Postgres(postgres) => {
                alone(past::empty(&postgres.url()));
                Location::Postgres(postgres.url())
            }
        };
        let done = catch_unwind(AssertUnwindSafe(|| alone(sequence(folder, location, seed, ops))));
        done.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        })
    }
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn sequence(folder: tempfile::TempDir, location: Location, seed: u64, ops: &[Op]) -> Outcome {
    let mut world = World::new(folder, location, seed).await;
    for (step, op) in ops.iter().enumerate() {
        let at = |message: String| format!("step {step}, {op:?}: {message}");
        world.apply(*op).await.map_err(at)?;
        world.check_step().await.map_err(at)?;
        if step % NOW_AND_THEN == NOW_AND_THEN - 1 {
            world.check_now_and_then().await.map_err(at)?;
        }
    }
    world.check_end().await.map_err(|message| format!("at the end: {message}"))?;
    let closed = world.core.close().await;
    closed.map_err(|error| format!("closing: {error}"))
}

/// The shortest sequence found that fails still, and how: pieces are left out, large ones first.
fn shrunk(engine: &Engine, seed: u64, ops: &[Op], failure: String) -> (Vec<Op>, String) {
    let started = Instant::now();
    let (mut ops, mut failure) = (ops.to_vec(), failure);
    let mut size = ops.len().div_ceil(2);
    loop {
        let (mut at, mut is_shorter) = (0, false);
        while at < ops.len() && started.elapsed() < SHRINKING {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            match engine.run(seed, &fewer) {
                Err(still) => (ops, failure, is_shorter) = (fewer, still, true),
                Ok(()) => at += size,
            }
        }
        if (size == 1 && !is_shorter) || started.elapsed() >= SHRINKING {
            return (ops, failure);
        }
        size = if is_shorter { size } else { size.div_ceil(2).max(1) }.min(ops.len().max(1));
    }
}

fn operations(seed: u64) -> Vec<Op> {
    let mut dice = Dice(seed);
    (0..STEPS).map(|_| dice.op()).collect()
}

/// Runs many sequences. `IGLU_SEED=<n>` runs one.
fn run(engine: &Engine) {
    let full = std::env::var("IGLU_FULL").is_ok_and(|value| value == "1");
    let count = if full { SEQUENCES_FULL } else { SEQUENCES };
    let seeds = match std::env::var("IGLU_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    for seed in seeds {
        let ops = operations(seed);
        if let Err(failure) = engine.run(seed, &ops) {
            let (ops, shortest) = shrunk(engine, seed, &ops, failure.clone());
            let list: Vec<String> = ops.iter().map(|op| format!("    {op:?},\n")).collect();
            panic!("IGLU_SEED={seed}: {failure}\nshrunk to {} steps: {shortest}\n[\n{}]", ops.len(), list.concat());
        }
    }
}

#[test]
fn sqlite() {
    run(&Engine::sqlite());
}

#[test]
fn postgres() {
    run(&Engine::postgres());
}
