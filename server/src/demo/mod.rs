//! `iglu demo`: fills an empty server with a year that could have been. Every path is really pushed, every number really counted;
//! only the people are made up, and the clock runs fast. The server says on each page that it is a demo.

mod builds;

use self::builds::Builds;
use crate::{
    out::say,
    {boot, progress::ProgressLine, settings::StoreSettings},
};
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use iglu_api::{
    CacheName, Timestamp, UserName,
    cache::{CacheCreate, Permission, Visibility},
    member::Role,
    pin::{Keep, PinCreate},
    retention::Retention,
    token::TokenCreate,
};
use iglu_core::{
    Cache, Caller, Client, Core, Discretion, Limits, clock::Clock, push::Claim, reconcile::Reconciler, secret,
};
use nix_compat::{
    compression::Compression,
    nar,
    nixhash::Sha256,
    store_path::{StorePath, StorePathHash},
};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

const OPERATOR: Caller = Caller::Operator;
/// What a team builds: the name, how large it is in KiB, and what it needs, all of which stand before it.
const PACKAGES: [(&str, u64, &[usize]); 24] = [
    ("glibc-2.42", 220, &[]),
    ("zlib-1.3.1", 12, &[0]),
    ("bash-5.3", 60, &[0]),
    ("openssl-3.5", 160, &[0, 1]),
    ("sqlite-3.50", 70, &[0, 1]),
    ("curl-8.17", 40, &[0, 1, 3]),
    ("boost-1.88", 320, &[0]),
    ("python3-3.13", 260, &[0, 1, 2, 3, 4]),
    ("git-2.51", 180, &[0, 1, 2, 3, 5]),
    ("nix-2.34", 150, &[0, 2, 3, 4, 5, 6, 8]),
    ("rustc-1.95", 420, &[0, 1, 2, 3]),
    ("nodejs-22", 300, &[0, 1, 3]),
    ("orders-api", 45, &[0, 3, 4, 7]),
    ("orders-web", 30, &[11]),
    ("billing-api", 50, &[0, 3, 7]),
    ("search-indexer", 80, &[0, 3, 10]),
    ("mail-gateway", 35, &[0, 3, 10]),
    ("design-system", 25, &[11]),
    ("infra-tools", 20, &[2, 5, 7, 8]),
    ("linux-6.18", 380, &[]),
    ("systemd-258", 140, &[0, 2, 3]),
    ("nixos-system-web", 8, &[2, 9, 12, 13, 19, 20]),
    ("nixos-system-db", 8, &[2, 4, 9, 14, 19, 20]),
    ("nixos-system-build", 8, &[2, 8, 9, 10, 19, 20]),
];
/// The first package that the team itself changes every day.
const OWN: usize = 12;
const DAYS: i64 = 365;
/// Who logged in how many days ago.
const LAST_SEEN: [(&str, i64); 3] = [("grace", 1), ("linus", 2), ("barbara", 9)];
/// Days at the end on which builders run.
const BUILDING: i64 = 45;

/// `iglu demo …`
#[derive(Args)]
pub struct DemoCommand {
    /// Days that are made up, the last one is today
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(i64).range(1..=DAYS))]
    days: i64,
}

pub async fn run(store: StoreSettings, command: DemoCommand) -> anyhow::Result<()> {
    let _alone = boot::alone(&store)?;
    let clock = Clock::default();
    clock.advance(-command.days * Timestamp::DAY);
    let core = boot::open_core_at(&store, Limits::default(), None, clock.clone()).await?;
    if !core.setup().is_needed().await? || !core.cache().list(&OPERATOR).await?.is_empty() {
        core.close().await?;
        bail!("this server has users or caches already; a demo is made in an empty data folder");
    }
    let filled = fill(&core, &clock, command.days).await;
    core.close().await?;
    let password = filled?;
    say!("the demo is made: start `iglu serve` with the same data and log in as ada with the password {password}");
    Ok(())
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From `low` to below `high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + (self.roll() >> 16) % (high - low).max(1)
    }
}

/// What was built last of each package.
struct Team<'a> {
    core: &'a Core,
    dice: Dice,
    built: Vec<Option<StorePath>>,
    /// What can be pulled from main: the path, its file and how large that is.
    files: Vec<(StorePath, Sha256, u64)>,
}

async fn fill(core: &Core, clock: &Clock, days: i64) -> anyhow::Result<String> {
    core.demo_begin().await?;
    let password = secret::fresh("")[..16].to_owned();
    for (name, is_admin) in [("ada", true), ("grace", false), ("linus", false), ("barbara", false)] {
        core.account().create(&OPERATOR, &UserName::parse(name)?, &password, is_admin).await?;
    }
    for (name, visibility) in
        [("main", Visibility::Public), ("staging", Visibility::Private), ("nightly", Visibility::Private)]
    {
        core.cache().create(&OPERATOR, &CacheCreate::new(CacheName::parse(name)?, visibility)).await?;
    }
    for (cache, name, role) in [
        ("main", "grace", Role::Owner),
        ("main", "linus", Role::Pusher),
        ("staging", "grace", Role::Maintainer),
        ("staging", "barbara", Role::Viewer),
        ("nightly", "linus", Role::Maintainer),
    ] {
        core.member().set(&OPERATOR, cache, name, role).await?;
    }
    let mut tokens = Vec::new();
    for (cache, name) in [("main", "ci-main"), ("staging", "ci-staging"), ("nightly", "ci-nightly")] {
        let create = TokenCreate {
            name: name.to_owned(),
            cache: CacheName::parse(cache).ok(),
            scope: Permission::Push,
            // One of them ends soon, which the overview says.
            expires_at: (name == "ci-staging").then(|| core.now().plus((days + 4) * Timestamp::DAY)),
            is_of_cache: true,
        };
        tokens.push(core.token().create(&OPERATOR, &create).await?.token);
    }
    let rules = Retention { used_days: Some(45), ..Retention::default() };
    core.retention().set(&OPERATOR, "nightly", &rules, true).await?;

    let mut team = Team { core, dice: Dice(0x1910_1906), built: vec![None; PACKAGES.len()], files: Vec::new() };
    let mut builds = None;
    let progress = ProgressLine::default();
    for day in 0..days {
        progress.show(|| format!("day {} of {days}", day + 1));
        let mut pushers = Vec::new();
        for token in &tokens {
            pushers.push(core.token().caller(token, "192.0.2.10").await?);
        }
        team.day(&pushers, day, days).await.with_context(|| format!("day {day}"))?;
        for (name, _) in LAST_SEEN.iter().filter(|(_, before)| days - day == *before) {
            let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".to_owned();
            let client = Client { address: "192.0.2.21".to_owned(), agent };
            core.account().session_create(name, &password, &client).await?;
        }
        // Runs take their time, which is a part of the day.
        let mut spent = 0;
        if day >= days - BUILDING {
            if builds.is_none() {
                builds = Some(Builds::begin(core, clock).await?);
            }
            if let Some(builds) = &builds {
                spent = builds.day(&mut team, day).await?.min(Timestamp::DAY / 4);
            }
        }
        // A quarter of a day each, after which numbers are written.
        for quarter in 0..4 {
            team.reads(day, days, quarter).await?;
            core.work_run(Reconciler::ActivityFlush).await?;
            clock.advance(Timestamp::DAY / 4 - spent);
            spent = 0;
        }
        if day % 30 == 29 {
            for work in [Reconciler::Collect, Reconciler::Purge, Reconciler::Sweep] {
                core.work_run(work).await?;
            }
        }
        if day == days / 2 {
            core.key().add(&OPERATOR, "main").await?;
            core.work_run(Reconciler::Resign).await?;
        }
    }
    progress.clear();
    Ok(password)
}

impl Team<'_> {
    /// What is built and pushed on one day: the team's own packages, what needs them, and now and then a new world below.
    async fn day(&mut self, pushers: &[Caller], day: i64, days: i64) -> anyhow::Result<()> {
        let is_weekend = day % 7 >= 5;
        let everything = day % 60 == 0;
        let mut changed = vec![everything; PACKAGES.len()];
        if !everything {
            let changes = if is_weekend { self.dice.between(0, 2) } else { self.dice.between(2, 6) };
            for _ in 0..changes {
                changed[self.dice.between(OWN as u64, PACKAGES.len() as u64) as usize] = true;
            }
        }
        for package in 0..PACKAGES.len() {
            let (name, kib, needs) = PACKAGES[package];
            if !changed[package] && !needs.iter().any(|need| changed[*need]) {
                continue;
            }
            changed[package] = true;
            let (own, system) = (package >= OWN, name.starts_with("nixos-system"));
            // The team grows, and so does what it builds.
            let kib = kib * (60 + 60 * day.unsigned_abs() / days.unsigned_abs()) / 100;
            let version = if own { format!("{name}-{}.{}", 1 + day / 90, day % 90) } else { name.to_owned() };
            let references = needs.iter().filter_map(|need| self.built[*need].clone()).collect();
            let path = self.push(&pushers[0], "main", &version, day, kib, references).await?;
            self.built[package] = Some(path.clone());
            if system && day % 14 == 0 {
                let pin = PinCreate {
                    name: name.trim_start_matches("nixos-system-").to_owned(),
                    store_path: path.to_absolute(),
                    artifacts: Vec::new(),
                    keep: Keep::Revisions(5),
                };
                self.core.pin().create(&pushers[0], "main", &pin).await?;
            }
        }
        // What is tried out, on its own and every night.
        let number = self.dice.between(1, 4);
        for one in 0..if is_weekend { 0 } else { number } {
            let kib = self.dice.between(10, 80);
            self.push(&pushers[1], "staging", &format!("orders-api-pr{}", day * 4 + one as i64), day, kib, Vec::new())
                .await?;
        }
        self.push(&pushers[2], "nightly", &format!("integration-{day}"), day, 120, Vec::new()).await?;
        Ok(())
    }

    async fn push(
        &mut self,
        pusher: &Caller,
        cache: &str,
        name: &str,
        day: i64,
        kib: u64,
        mut references: Vec<StorePath>,
    ) -> anyhow::Result<StorePath> {
        references.sort();
        references.dedup();
        let path =
            StorePath::new(StorePathHash::fold(&Sha256::digest(format!("{name} of day {day}").as_bytes())), name)?;
        let nar = self.nar(name, kib, &references)?;
        let nar_hash = Sha256::digest(&nar);
        let claim = Claim {
            store_path: path.clone(),
            nar_hash,
            nar_size: nar.len() as u64,
            file_hash: None,
            file_size: None,
            compression: Compression::None,
            references,
            deriver: None,
            ca: None,
            signatures: Vec::new(),
            nameless_signature: None,
        };
        let opened = self.open(cache).await?;
        let body = futures_util::stream::iter([Ok(Bytes::from(nar))]);
        self.core.push().nar_stream(pusher, &opened, claim, body).await?;
        if cache == "main" {
            let narinfo = self.core.path().narinfo(&opened, path.hash()).await?;
            let file = narinfo.and_then(|narinfo| {
                let text = nix_compat::narinfo::NarInfo::parse(&narinfo.text).ok()?;
                Some((text.file_hash?, text.file_size?))
            });
            let (hash, size) = file.context("a pushed path is there")?;
            self.files.push((path.clone(), hash, size));
        }
        Ok(path)
    }

    /// Files as packages have them: half of it packs well.
    fn nar(&mut self, name: &str, kib: u64, references: &[StorePath]) -> anyhow::Result<Vec<u8>> {
        let mut library = Vec::new();
        while library.len() < (kib << 10) as usize {
            let word = self.dice.roll();
            library.extend_from_slice(&word.to_le_bytes());
            library.extend_from_slice(name.as_bytes().get(..8).unwrap_or(b"library "));
        }
        let needs = references.iter().map(StorePath::to_absolute).collect::<Vec<_>>().join("\n");
        let program = format!("#!/bin/sh\necho {name}\n");
        let mut writer = nar::Writer::new(Vec::new())?;
        writer.begin_directory()?;
        writer.entry(b"bin")?;
        writer.begin_directory()?;
        writer.entry(b"run")?;
        writer.file(true, program.len() as u64, program.as_bytes())?;
        writer.end_directory()?;
        writer.entry(b"lib")?;
        writer.begin_directory()?;
        writer.entry(b"library.so")?;
        writer.file(false, library.len() as u64, &library[..])?;
        writer.end_directory()?;
        writer.entry(b"nix-support")?;
        writer.begin_directory()?;
        writer.entry(b"needs")?;
        writer.file(false, needs.len() as u64, needs.as_bytes())?;
        writer.end_directory()?;
        writer.end_directory()?;
        Ok(writer.finish()?)
    }

    /// Machines ask for what they need: much of it is here, the rest comes from elsewhere.
    async fn reads(&mut self, day: i64, days: i64, quarter: i64) -> anyhow::Result<()> {
        let main = self.open("main").await?;
        let busy = if day % 7 >= 5 { 1 } else { 4 } * if quarter == 2 { 3 } else { 1 };
        let machines = 4 + 30 * day.unsigned_abs() / days.unsigned_abs();
        for _ in 0..busy * self.dice.between(20, 50) {
            let machine = Ipv4Addr::from(0xC000_0200 | u32::try_from(self.dice.between(0, machines))?);
            let waited =
                Duration::from_micros(self.dice.between(40, 400) * if self.dice.between(0, 50) == 0 { 20 } else { 1 });
            self.core.note_reader(&main, Some(machine.into()), waited);
            if self.dice.between(0, 100) < 8 {
                let elsewhere = StorePathHash::fold(&Sha256::digest(&self.dice.roll().to_le_bytes()));
                self.core.path().narinfo(&main, elsewhere).await?;
                continue;
            }
            // What is newer is asked for more often.
            let back = self.dice.between(1, 12) * self.dice.between(1, 8);
            let Some((path, hash, size)) = self.files.iter().rev().nth(back as usize).cloned() else { continue };
            self.core.path().narinfo(&main, path.hash()).await?;
            if self.dice.between(0, 3) == 0 && self.core.fetch().nar(&main, &hash).await?.is_some() {
                main.counters().nar_requests.add(1);
                main.counters().nar_bytes.add(size);
            }
        }
        Ok(())
    }

    async fn open(&self, cache: &str) -> anyhow::Result<Arc<Cache>> {
        Ok(self.core.cache().open(&OPERATOR, cache, Permission::Push, Discretion::Tell).await?)
    }
}
