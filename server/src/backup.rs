//! `iglu backup` and `iglu restore`: the database as files and back, told to people and to scripts.

use crate::{
    out::say,
    {progress::ProgressLine, settings::StoreSettings},
};
use anyhow::Context;
use clap::Args;
use iglu_core::{
    StorageSettings,
    backup::{self, Progress},
    clock::Clock,
    restore::{self, Restored},
};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

/// Ends a restore that is done, but whose storage lacks objects.
const INCOMPLETE: u8 = 2;

/// `iglu backup …`
#[derive(Args)]
pub struct BackupCommand {
    /// Folder to make: new, or empty
    dir: PathBuf,
    /// Write over an attempt that did not come to its end
    #[arg(long)]
    force: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// `iglu restore …`
#[derive(Args)]
pub struct RestoreCommand {
    /// Folder that `iglu backup` made
    dir: PathBuf,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// A storage as people call it.
fn place(storage: &StorageSettings) -> String {
    match storage {
        StorageSettings::Folder(folder) => folder.display().to_string(),
        StorageSettings::Bucket { bucket, .. } => format!("{bucket:?}"),
    }
}

pub async fn run_backup(store: StoreSettings, command: BackupCommand) -> anyhow::Result<ExitCode> {
    let shown = ProgressLine::default();
    let progress = |progress: Progress<'_>| shown.show(|| in_words(progress));
    let made = backup::backup(&store.location(), &command.dir, command.force, &Clock::default(), &progress).await;
    shown.clear();
    let made = made.context("backup")?;
    let dir = command.dir.display();
    if command.json {
        say!("{}", json!({ "dir": command.dir, "backup": made, "has_master_key": false }));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{dir}: {} rows of {} tables, schema {}, {}", made.rows(), made.tables.len(), made.schema, made.made_at);
    say!(
        "They name {} objects of {} bytes, which are not in it: copy {} now.",
        made.objects.count,
        made.objects.bytes,
        place(&store.storage()?)
    );
    say!(
        "The master key is not in it: keep {} too. Without it no server opens the signing keys.",
        store.master_key_place()
    );
    Ok(ExitCode::SUCCESS)
}

pub async fn run_restore(store: StoreSettings, command: RestoreCommand) -> anyhow::Result<ExitCode> {
    let data = store.data();
    std::fs::create_dir_all(&data).with_context(|| format!("making the data folder {}", data.display()))?;
    let shown = ProgressLine::default();
    let progress = |progress: Progress<'_>| shown.show(|| in_words(progress));
    let restored = restore::restore(&command.dir, &store.location(), &store.storage()?, &progress).await;
    shown.clear();
    let restored = restored.context("restore")?;
    if command.json {
        say!("{}", as_json(&restored));
    } else {
        tell(&store, &place(&store.storage()?), &restored);
    }
    Ok(if restored.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

fn as_json(restored: &Restored) -> serde_json::Value {
    json!({
        "backup": restored.backup,
        "objects": {
            "missing": restored.missing,
            "other_size": restored.other_size,
            "first": restored.first,
        },
    })
}

fn tell(store: &StoreSettings, storage: &str, restored: &Restored) {
    let Restored { backup, missing, other_size, first } = restored;
    say!("restored {} rows of {} tables, as of {}", backup.rows(), backup.tables.len(), backup.made_at);
    if !store.has_master_key() {
        say!("The master key of the backup is not here: put it to {} before starting.", store.master_key_place());
    }
    say!(
        "Until `iglu storage adopt`, the server only reads a storage that carries the mark of another database: the one that \
         the backup is of may still be in use."
    );
    if restored.is_whole() {
        say!("All {} objects that they name are in {}.", backup.objects.count, storage);
        return;
    }
    say!(
        "Of {} objects that they name, {} lacks {missing}, and has {other_size} in another size:",
        backup.objects.count,
        storage
    );
    for object in first {
        say!("  {object}");
    }
    say!(
        "Serve them again by copying them there from the storage that the backup goes with; \
         `iglu check --repair` sets the paths of those that are lost aside."
    );
}

fn in_words(Progress { what, done, of }: Progress<'_>) -> String {
    let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
    format!("{what}: {done}{of}")
}
