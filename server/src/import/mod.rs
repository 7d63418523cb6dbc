//! `iglu import`: fills a cache from the store of another one, beside a running or a stopped server. What is here already is skipped, so
//! that an import that was interrupted is begun again.

mod report;
mod source;
mod take;
mod target;

use crate::{
    out::say,
    {boot, progress::ProgressLine, settings::StoreSettings, signals::Signals, transfer::INCOMPLETE},
};
use anyhow::Context;
use clap::{Args, ValueEnum};
use futures_util::{Stream, StreamExt};
use iglu_api::cache::Visibility;
use iglu_core::{Cache, Core, Error, Limits};
use iglu_import::{Broken, ForeignPath, SideFile, Source};
use nix_compat::{signing::VerifyingKey, store_path::StorePath};
use report::Report;
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use take::{Reason, SideTaken, Taken, Taker};
use tokio::time::MissedTickBehavior;

/// How often running servers are told of new paths, and how often progress may be shown.
const TELL: Duration = Duration::from_secs(3);
const SHOW: Duration = Duration::from_millis(200);
/// Held paths that are named.
const MOST_HELD: usize = 1000;

/// `iglu import …`
#[derive(Args, Debug)]
pub struct ImportCommand {
    /// The cache to fill
    cache: String,

    #[command(flatten)]
    source: source::SourceFlags,

    /// Make the cache if there is none, as the source's is: who may read it, priority, keys, how long paths are kept
    #[arg(long)]
    create: bool,

    /// Who pulls without a token from a cache that is made [default: as in the source; private where it does not say]
    #[arg(long, requires = "create")]
    visibility: Option<Seen>,

    /// File with a secret key (name:base64) that signed for the source: the cache signs with it too. May be given again
    #[arg(long, value_name = "FILE")]
    signing_key_file: Vec<PathBuf>,

    /// Take only what this public key (name:base64) signed. May be given again
    #[arg(long, value_name = "KEY")]
    trusted_key: Vec<String>,

    /// Paths that are taken at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Seen {
    Public,
    Private,
}

impl From<Seen> for Visibility {
    fn from(seen: Seen) -> Visibility {
        match seen {
            Seen::Public => Visibility::Public,
            Seen::Private => Visibility::Private,
        }
    }
}

pub async fn run(store: StoreSettings, command: ImportCommand) -> anyhow::Result<ExitCode> {
    let (location, access, roots) = (command.source.location()?, command.source.access()?, command.source.roots()?);
    let trusted = command.trusted_key.iter().map(|key| {
        VerifyingKey::parse(key.trim()).with_context(|| format!("--trusted-key {key}: this is no public key"))
    });
    let trusted = trusted.collect::<anyhow::Result<Vec<_>>>()?;
    let source = Source::open(&location, &access).await?;
    // What makes a cache may make the server for it.
    let core = match command.create {
        true => boot::open_core(&store, Limits::default(), None).await?,
        false => boot::open_existing(&store).await?,
    };
    let done = import(&core, source, &command, roots, trusted).await;
    core.close().await?;
    let report = done?;
    if command.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        say!("{}", report.text());
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

async fn import(
    core: &Core,
    source: Source,
    command: &ImportCommand,
    roots: Vec<StorePath>,
    trusted: Vec<VerifyingKey>,
) -> anyhow::Result<Report> {
    let found = source.caches().await?;
    let foreign = command.source.choose(found.caches, &command.cache)?;
    let line = ProgressLine::default();
    let mut report = Report::new(&command.cache, command.source.name(), &foreign.name);
    // A key that cannot be read matters to whoever trusts it; other caches are not asked for.
    let own = format!(" of cache {}", foreign.name);
    for broken in found.left_out.iter().filter(|broken| broken.what.ends_with(&own)) {
        report.left(&broken.what, &broken.why, Reason::Source, &line);
    }
    let has_roots = !roots.is_empty();
    let wanted: Vec<String> = roots.iter().map(StorePath::to_absolute).collect();
    // Before anything is made: a source that cannot be listed is refused here.
    let paths = source.paths(&foreign, roots).await?;
    let prepared = target::prepare(core, command, &foreign).await?;
    (report.created, report.new_keys) = (prepared.was_created, prepared.new_keys);
    report.client_keys = foreign.client_keys.iter().map(ToString::to_string).collect();
    report.expect(foreign.paths);
    if report.created {
        let cache = target::open(core, &command.cache).await?;
        line.say(&format!("made {} cache {}", cache.visibility.as_str(), cache.name));
    }
    for key in &report.new_keys {
        line.say(&format!("the cache signs with {key}"));
    }
    for key in &report.client_keys {
        line.say(&format!("clients of the source sign with {key}"));
    }

    let taker = Taker { core: core.clone(), source, trusted: trusted.into(), bytes: Arc::new(AtomicU64::new(0)) };
    let mut run = Run { taker, command, report, line, wanted };
    let telling = tokio::spawn(tell(core.clone()));
    let taken = run.take_all(paths, has_roots).await;
    telling.abort();
    // Whatever happened, what came is here.
    core.servers_tell().await?;
    run.line.clear();
    taken?;
    let cache = target::open(core, &command.cache).await?;
    let (held, first) = core.push().held(&cache, MOST_HELD).await?;
    let Run { taker, mut report, line, .. } = run;
    report.hold(held, &first, &line);
    report.bytes = taker.bytes.load(Ordering::Relaxed);
    Ok(report)
}

/// Tells running servers of new paths, again and again. On its own: while it waits for the database, those who hold connections to it have
/// to go on. The first time is at once, for what a run brought that was killed.
async fn tell(core: Core) {
    let mut due = tokio::time::interval(TELL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        // Told again soon, and at the end.
        let _ = core.servers_tell().await;
    }
}

/// An import under way.
struct Run<'a> {
    taker: Taker,
    command: &'a ImportCommand,
    report: Report,
    line: ProgressLine,
    /// The paths that were asked for by name.
    wanted: Vec<String>,
}

impl Run<'_> {
    async fn take_all(&mut self, paths: iglu_import::Paths, has_roots: bool) -> anyhow::Result<()> {
        let (taker, jobs) = (self.taker.clone(), usize::from(self.command.jobs));
        let name = self.command.cache.clone();
        let taken = paths.map(move |found: Result<ForeignPath, Broken>| {
            let (taker, name) = (taker.clone(), name.clone());
            async move {
                let total = found.as_ref().ok().and_then(|path| path.total);
                // As it is by now: keys may have come or gone.
                let cache = target::open(&taker.core, &name).await?;
                Ok((total, taker.path(cache, found).await?))
            }
        });
        let went_on = self.drive(taken.buffer_unordered(jobs), Self::path).await?;
        // Side files belong to a whole cache.
        if !went_on || has_roots {
            return Ok(());
        }
        let (taker, name) = (self.taker.clone(), self.command.cache.clone());
        let side_files = self.taker.source.side_files().map(move |found: Result<SideFile, Broken>| {
            let (taker, name) = (taker.clone(), name.clone());
            async move {
                let cache: Arc<Cache> = target::open(&taker.core, &name).await?;
                taker.side_file(cache, found).await
            }
        });
        self.drive(side_files.buffer_unordered(jobs), Self::side_file).await?;
        Ok(())
    }

    fn path(&mut self, (total, taken): (Option<u64>, Taken)) {
        self.report.expect(total);
        let taken = match taken {
            // What somebody asked for by name is not merely absent.
            Taken::Left { what, why, reason: Reason::Absent } if self.wanted.contains(&what) => {
                Taken::Left { what, why, reason: Reason::Source }
            }
            taken => taken,
        };
        self.report.path(taken, &self.line);
    }

    fn side_file(&mut self, taken: SideTaken) {
        self.report.side_file(taken, &self.line);
    }

    /// Works through a stream and shows progress meanwhile. False where somebody ended it. Nothing else is waited for here: what the stream
    /// is about may hold connections to the database.
    async fn drive<T>(
        &mut self,
        taken: impl Stream<Item = Result<T, Error>>,
        each: impl Fn(&mut Self, T),
    ) -> anyhow::Result<bool> {
        let mut taken = std::pin::pin!(taken);
        let mut signals = Signals::listen()?;
        let mut show = tokio::time::interval(SHOW);
        show.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = taken.next() => match next {
                    Some(next) => each(self, next.context("import")?),
                    None => return Ok(true),
                },
                _ = show.tick() => {
                    let bytes = self.taker.bytes.load(Ordering::Relaxed);
                    self.line.show(|| self.report.progress(bytes));
                }
                () = signals.asked_to_stop() => {
                    self.report.is_complete = false;
                    return Ok(false);
                }
            }
        }
    }
}
