//! `iglu export`: a cache as a folder that Nix reads as it is, or any web server sends.

use crate::{
    boot,
    out::say,
    progress::ProgressLine,
    settings::StoreSettings,
    transfer::{INCOMPLETE, NamedList, rate},
};
use anyhow::Context;
use clap::Args;
use iglu_api::{cache::Permission, format};
use iglu_core::{
    Caller, Core, Discretion,
    export::{ExportSettings, Exported, Listener},
};
use serde_json::json;
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// `iglu export …`
#[derive(Args, Debug)]
pub struct ExportCommand {
    /// The cache to write
    cache: String,
    /// Folder to write to: new, empty, or written by an earlier export
    dir: PathBuf,
    /// Link NAR files instead of copying them, where folder and storage are on one file system
    #[arg(long)]
    link: bool,
    /// Read what is in the folder already, and write again what is not as it should be
    #[arg(long)]
    verify: bool,
    /// Remove what the cache has no more
    #[arg(long)]
    prune: bool,
    /// Write the listings of paths too (HASH.ls)
    #[arg(long)]
    listings: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(store: StoreSettings, command: ExportCommand) -> anyhow::Result<ExitCode> {
    let core = boot::open_existing(&store).await?;
    let told = Told::default();
    let exported = export(&core, &command, &told).await;
    core.close().await?;
    let Told(told) = told;
    let Inner { line, skipped, .. } = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    line.clear();
    let exported = exported.context("export")?;
    let Exported { paths, written_paths, files, bytes, linked_files, logs, realisations, pruned, .. } = exported;
    if command.json {
        let report = json!({
            "cache": command.cache,
            "dir": command.dir,
            "paths": paths,
            "written_paths": written_paths,
            "files": files,
            "bytes": bytes,
            "linked_files": linked_files,
            "logs": logs,
            "realisations": realisations,
            "skipped": exported.skipped,
            "skipped_paths": skipped,
            "pruned": pruned,
        });
        say!("{report}");
    } else {
        say!(
            "{}: {paths} paths, {written_paths} of them written, with {files} NAR files of {} ({linked_files} linked); {logs} build logs, \
             {realisations} realisations; {pruned} files removed; {} skipped",
            command.dir.display(),
            format::bytes(bytes),
            exported.skipped
        );
    }
    Ok(if exported.skipped == 0 { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

async fn export(core: &Core, command: &ExportCommand, told: &Told) -> iglu_core::Result<Exported> {
    let cache = core.cache().open(&Caller::Operator, &command.cache, Permission::Pull, Discretion::Tell).await?;
    let settings = ExportSettings {
        links: command.link,
        verifies: command.verify,
        prunes: command.prune,
        listings: command.listings,
    };
    core.export().to_folder(&cache, &command.dir, settings, told).await
}

/// What is said meanwhile.
struct Inner {
    line: ProgressLine,
    skipped: NamedList,
    started: Instant,
}

struct Told(Mutex<Inner>);

impl Default for Told {
    fn default() -> Told {
        let inner = Inner { line: ProgressLine::default(), skipped: NamedList::default(), started: Instant::now() };
        Told(Mutex::new(inner))
    }
}

impl Listener for Told {
    fn progress(&self, exported: &Exported, all: u64) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let started = inner.started;
        inner.line.show(|| {
            let Exported { paths, bytes, skipped, .. } = exported;
            let (size, rate) = (format::bytes(*bytes), rate(*bytes, started));
            format!("{paths} of {all} paths, {skipped} skipped; {size} written, {rate}")
        });
    }

    fn skipped(&self, what: &str, why: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.line.say(&format!("skipped: {what}: {why}"));
        inner.skipped.add(what, why);
    }
}
