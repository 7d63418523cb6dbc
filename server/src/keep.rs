//! `iglu check`, `iglu gc` and `iglu storage`: whether everything is there, what may go, and where it lies. They work beside a running
//! server and without one.

use crate::{
    out::say,
    {boot, progress::ProgressLine, settings::StoreSettings},
};
use anyhow::bail;
use clap::{Args, Subcommand};
use iglu_api::{
    format,
    retention::{Preview, Removal, RemovalState},
};
use iglu_core::{Caller, Core, check::CheckKind, reconcile::Reconciler};
use serde_json::json;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Ends a check that found something, or a move that left something.
const FOUND: u8 = 2;
/// How long a running server has to take up a run of the collector before it is done here.
const PATIENCE: Duration = Duration::from_secs(8);

/// `iglu check …`
#[derive(Args)]
pub struct CheckCommand {
    /// Read every file and hash it; otherwise sizes are compared
    #[arg(long)]
    full: bool,
    /// Set damaged paths aside until they are pushed again, bring back what is whole, correct numbers
    #[arg(long)]
    repair: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// `iglu gc …`
#[derive(Args)]
pub struct GcCommand {
    /// The cache whose rules are to be applied
    cache: String,
    /// Only say what would go, and why
    #[arg(long)]
    dry_run: bool,
    /// Go ahead even if everything would go
    #[arg(long)]
    yes: bool,
    /// Paths that a dry run names
    #[arg(long, default_value_t = 1000)]
    rows: usize,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// `iglu storage …`
#[derive(Args)]
pub struct StorageCommand {
    #[command(subcommand)]
    what: Storage,
    /// Print one line of JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Storage {
    /// Where files lie, how much there is, and whether all is well
    Status,
    /// Make the storage this database's, although it carries another name or none
    Adopt,
    /// Copy everything to another place, verified; run it again to go on. Servers may run meanwhile
    Move {
        /// A folder, or s3://bucket/prefix
        #[arg(long)]
        to: String,
        /// The last run: no server runs, and afterwards one may be started with the other place
        #[arg(long = "final")]
        is_final: bool,
    },
}

pub async fn run_check(store: StoreSettings, command: CheckCommand) -> anyhow::Result<ExitCode> {
    let core = boot::open_existing(&store).await?;
    let shown = ProgressLine::default();
    let kind = CheckKind { is_full: command.full, repairs: command.repair };
    let report = core.check_all(kind, &|done, all| shown.show(|| format!("{done} of {all} files"))).await;
    shown.clear();
    core.close().await?;
    let report = report?;
    if command.json {
        say!("{}", json!({ "clean": report.is_clean(), "report": report }));
    } else {
        let how = if report.is_full { "read" } else { "looked at" };
        say!("{} files {how}, {}", report.files, format::bytes(report.bytes));
        for file in &report.damaged {
            say!("damaged: {}: {}: {}", file.file, file.why, file.paths.join(", "));
        }
        let lines = [
            (report.damaged_count, "files are damaged"),
            (report.known_damaged, "files were damaged before: their paths are set aside until they are pushed again"),
            (report.whole_again, "files that were damaged are whole"),
            (report.unused_nars, "NARs have no path"),
        ];
        for (count, what) in lines.iter().filter(|(count, _)| *count > 0) {
            say!("{count} {what}");
        }
        for cache in &report.wrong_numbers {
            say!("cache {cache}: its numbers of paths or bytes were wrong");
        }
        for (cache, count) in &report.incomplete {
            say!("cache {cache}: {count} paths refer to what is not there");
        }
        match (report.is_clean(), command.repair) {
            (true, _) => say!("all is well"),
            (false, true) => say!("repaired what can be: push damaged paths again to heal them"),
            (false, false) => say!("run it with --repair"),
        }
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

pub async fn run_gc(store: StoreSettings, command: GcCommand) -> anyhow::Result<ExitCode> {
    let core = boot::open_existing(&store).await?;
    let done = gc(&core, &command).await;
    core.close().await?;
    done
}

async fn gc(core: &Core, command: &GcCommand) -> anyhow::Result<ExitCode> {
    let (operator, cache) = (Caller::Operator, command.cache.as_str());
    if command.dry_run {
        let preview = core.retention().preview(&operator, cache, None, command.rows).await?;
        if command.json {
            say!("{}", json!(preview));
        } else {
            print_preview(&preview);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let id = core.retention().ask(&operator, cache, command.yes).await?;
    let (asked, shown) = (Instant::now(), ProgressLine::default());
    let removal = loop {
        let removal = core.retention().removal(&operator, cache, id).await?;
        match removal.state {
            RemovalState::Asked if asked.elapsed() > PATIENCE => core.work_run(Reconciler::Collect).await?,
            RemovalState::Asked | RemovalState::Running => {
                shown.show(|| format!("{} of {} paths", removal.paths, removal.planned_paths));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            _ => break removal,
        }
    };
    shown.clear();
    if command.json {
        say!("{}", json!(removal));
    } else {
        print_removal(&removal);
    }
    if removal.state == RemovalState::Failed {
        bail!("{}", removal.note);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_preview(preview: &Preview) {
    for row in &preview.rows {
        let (size, used) = (format::bytes(row.file_size), &row.used_at.to_string()[..10]);
        say!("{}-{}  {size}  last used {used}  {}", row.hash, row.name, row.why.as_str());
    }
    let reasons = preview.reasons.iter().map(|(why, count)| format!("{count} {}", why.as_str()));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    say!(
        "{} of {} paths would go, {}; this frees {}{}{reasons}. Pins protect {}.",
        preview.paths,
        preview.all_paths,
        format::bytes(preview.bytes),
        format::bytes(preview.freed_bytes),
        if reasons.is_empty() { "" } else { ": " },
        preview.pinned_paths,
    );
}

fn print_removal(removal: &Removal) {
    let note = if removal.note.is_empty() { String::new() } else { format!("; {}", removal.note) };
    say!("removal {}: {} paths went, {}{note}", removal.id, removal.paths, format::bytes(removal.bytes));
}

pub async fn run_storage(store: StoreSettings, command: StorageCommand) -> anyhow::Result<ExitCode> {
    let is_final = matches!(command.what, Storage::Move { is_final: true, .. });
    // Nobody may push while the last files are copied.
    let _alone = if is_final { boot::alone(&store)? } else { None };
    let core = boot::open_existing(&store).await?;
    let done = storage(&core, &store, &command).await;
    core.close().await?;
    done
}

async fn storage(core: &Core, store: &StoreSettings, command: &StorageCommand) -> anyhow::Result<ExitCode> {
    match &command.what {
        Storage::Status => {}
        Storage::Adopt => core.storage_adopt().await?,
        Storage::Move { to, is_final } => return storage_move(core, store, to, *is_final, command.json).await,
    }
    let status = core.storage_status().await?;
    if command.json {
        say!("{}", json!(status));
    } else {
        say!("{}: {}", status.place, status.trouble.as_deref().unwrap_or("all is well"));
        if let (Some(free), Some(total)) = (status.free_bytes, status.total_bytes) {
            say!("{} of {} are free", format::bytes(free), format::bytes(total));
        }
        say!(
            "{} paths were taken out and can be read for a while, {}",
            status.departed_paths,
            format::bytes(status.departed_bytes)
        );
        say!("{} files are on their way out, {}", status.dead_files, format::bytes(status.dead_bytes));
        say!("{} paths are damaged", status.damaged_paths);
    }
    Ok(if status.trouble.is_none() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

async fn storage_move(
    core: &Core,
    store: &StoreSettings,
    to: &str,
    is_final: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let target = store.storage_at(to)?;
    let shown = ProgressLine::default();
    let progress = |moved: &iglu_core::storage_move::Moved, all: u64| {
        shown.show(|| {
            let done = moved.copied + moved.present;
            format!("{done} of {all} files, {} copied", format::bytes(moved.copied_bytes))
        });
    };
    let moved = core.storage_move(&target, is_final, &progress).await;
    shown.clear();
    let moved = moved?;
    if json {
        say!(
            "{}",
            json!({ "copied": moved.copied, "copied_bytes": moved.copied_bytes, "present": moved.present,
                "damaged": moved.damaged, "named": moved.named, "complete": moved.is_complete })
        );
    } else {
        say!("{} files copied, {}; {} were there", moved.copied, format::bytes(moved.copied_bytes), moved.present);
        for name in &moved.named {
            say!("not copied: {name}");
        }
        match (moved.is_complete, is_final) {
            (true, _) => say!("{to} is complete: start the server with --storage {to}"),
            (false, false) => say!("{to} has everything until now: stop the server, then run this with --final"),
            (false, true) => say!("{to} is not complete: run `iglu check --repair`, then this again"),
        }
    }
    Ok(if moved.damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}
