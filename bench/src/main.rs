//! `make bench`: Iglu and static nginx side by side over the same files, in one run on this machine.
//! Starts both servers and wrk on loopback, writes below a temporary folder, and takes all of it down again.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod load;
mod nginx;
mod process;
mod table;
mod tree;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use iglu_end2end::server::{Scope, Server};

use load::Wrk;
use process::CpuMeter;
use table::{Measure, Table};

/// Compares Iglu with static nginx over the same NARs and narinfos.
#[derive(Parser)]
struct Args {
    /// Store paths to serve.
    #[arg(long, default_value_t = 300)]
    paths: u64,
    /// Rounds; each measures everything once, and the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

/// What is measured, in the order of the table.
const MEASURES: [Measure; 3] = [
    Measure { title: "narinfo, 16 connections", nars: false, connections: 16 },
    Measure { title: "NAR, 1 connection", nars: true, connections: 1 },
    Measure { title: "NAR, 4 connections", nars: true, connections: 4 },
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = tempfile::Builder::new().prefix("iglu-bench-").tempdir()?;
    println!("Iglu: {}", iglu_end2end::server::binary()?.display());
    let begun = Instant::now();
    let iglu = Server::start().await?;
    iglu.cache("bench", false)?;
    let token = iglu.token("bench", Scope::Push)?;
    let files = tree::fill(&iglu.putter("bench", &token), &folder.path().join("tree"), args.paths).await?;
    let nginx = nginx::start(folder.path(), &folder.path().join("tree")).await?;
    println!(
        "{} store paths, {} MiB of NARs, ready after {:.0} s",
        files.narinfos.len(),
        files.nar_bytes / (1024 * 1024),
        begun.elapsed().as_secs_f64()
    );

    let wrk = Wrk::new(folder.path(), &files)?;
    let sides = [
        ("Iglu", format!("{}/bench", iglu.url()), CpuMeter::of(iglu.pid()?)),
        ("nginx", nginx.url(), CpuMeter::of(nginx.pid())),
    ];
    let mut table = Table::new(sides.each_ref().map(|(name, ..)| *name));
    // Whoever comes first in a round comes second in the next: neither always meets the warmer machine.
    for round in 0..=args.rounds {
        for (row, measure) in MEASURES.iter().enumerate() {
            for turn in 0..2 {
                let side = (turn + round) % 2;
                let (name, url, cpu) = &sides[side];
                let seconds = if round == 0 { 1 } else { args.seconds };
                let before = cpu.read()?;
                let load = wrk.run(url, measure, Duration::from_secs(seconds)).await;
                let load = load.with_context(|| format!("{} against {name}", measure.title))?;
                let used = cpu.read()?.saturating_sub(before);
                // Round 0 only warms up: page cache, in-memory narinfos, branch predictors.
                if round > 0 {
                    table.add(row, side, measure, &load, used);
                }
            }
        }
        if round > 0 {
            println!("round {round} of {} after {:.0} s", args.rounds, begun.elapsed().as_secs_f64());
        }
    }
    println!("\n{}", table.render(&MEASURES));
    println!("Peak resident memory: Iglu {} MiB.", iglu.peak_rss()? / (1024 * 1024));
    nginx.stop()?;
    Ok(())
}
