//! `iglu doctor`: looks at what has to be right around this program, one thing after the other, and says what helps where it is not.

mod outside;
mod round_trip;

use crate::{
    out::say,
    {boot, settings::StoreSettings},
};
use clap::Args;
use iglu_api::format;
use iglu_core::{Core, Limits, Location};
use serde::Serialize;
use std::{os::unix::fs::PermissionsExt, path::Path, process::ExitCode, time::Instant};

/// What it ends with where something is bad.
const FOUND: u8 = 2;

/// What `iglu doctor` is told.
#[derive(Args)]
pub struct DoctorCommand {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Good,
    /// It works, and will not always.
    Odd,
    Bad,
}

/// What was looked at, and found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    what: &'static str,
    verdict: Verdict,
    told: String,
    /// What helps.
    cure: Option<String>,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub fn good(&mut self, what: &'static str, told: impl Into<String>) {
        self.0.push(Finding { what, verdict: Verdict::Good, told: told.into(), cure: None });
    }

    pub fn odd(&mut self, what: &'static str, told: impl Into<String>, cure: &str) {
        self.0.push(Finding { what, verdict: Verdict::Odd, told: told.into(), cure: Some(cure.to_owned()) });
    }

    pub fn bad(&mut self, what: &'static str, told: impl Into<String>, cure: &str) {
        self.0.push(Finding { what, verdict: Verdict::Bad, told: told.into(), cure: Some(cure.to_owned()) });
    }

    fn is_bad(&self) -> bool {
        self.0.iter().any(|finding| finding.verdict == Verdict::Bad)
    }

    fn print(&self) {
        for Finding { what, verdict, told, cure } in &self.0 {
            let word = match verdict {
                Verdict::Good => "good",
                Verdict::Odd => "odd ",
                Verdict::Bad => "BAD ",
            };
            say!("{word}  {what}: {told}");
            if let Some(cure) = cure {
                say!("      {cure}");
            }
        }
    }
}

pub async fn run(store: StoreSettings, command: DoctorCommand) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    examine(store, &mut findings).await;
    if command.json {
        say!("{}", serde_json::json!({ "healthy": !findings.is_bad(), "findings": findings.0 }));
    } else {
        findings.print();
    }
    Ok(if findings.is_bad() { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// Looks at everything. What cannot be looked at because of what was found before is left out.
async fn examine(store: StoreSettings, findings: &mut Findings) {
    if let Location::Sqlite(path) = store.location()
        && !path.exists()
    {
        let cure = "start `iglu serve` with the same settings first, or say with --data where its folder is";
        return findings.bad("database", format!("there is no {}", path.display()), cure);
    }
    // A doctor changes nothing that matters, an older schema included.
    let store = StoreSettings { auto_migrate: Some(false), ..store };
    let core = match boot::open_core(&store, Limits::default(), None).await {
        Ok(core) => core,
        Err(error) => {
            let cure = "the settings are those of the server: look whether it is given the same ones, and runs as the same user";
            return findings.bad("database and storage", format!("{error:#}"), cure);
        }
    };
    database(&store, &core, findings).await;
    storage(&core, findings).await;
    master_key(&store, findings);
    if let Some(server) = outside::examine(&core, findings).await {
        round_trip::examine(&core, &server, findings).await;
    }
    if let Err(error) = core.close().await {
        findings.bad("database", format!("{error:#}"), "look into the log of the database");
    }
}

async fn database(store: &StoreSettings, core: &Core, findings: &mut Findings) {
    let engine = if matches!(store.location(), Location::Sqlite(_)) { "SQLite" } else { "PostgreSQL" };
    let started = Instant::now();
    match core.check().await {
        Ok(()) => findings.good(
            "database",
            format!("{engine} and the storage answer in {:.1} ms", started.elapsed().as_secs_f64() * 1000.0),
        ),
        Err(error) => {
            let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
            findings.bad(
                "database and storage",
                format!("{error}{why}"),
                "`iglu storage status` says more of the storage",
            );
        }
    }
}

async fn storage(core: &Core, findings: &mut Findings) {
    let status = match core.storage_status().await {
        Ok(status) => status,
        Err(error) => return findings.bad("storage", error.to_string(), "look into the log of the server"),
    };
    if let Some(trouble) = status.trouble {
        return findings.bad(
            "storage",
            format!("{}: {trouble}", status.place),
            "nothing is written until that is mended",
        );
    }
    room(&status.place, status.free_bytes, status.total_bytes, findings);
    if status.damaged_paths > 0 {
        let told = format!("{} paths are out of sight because their file is damaged", status.damaged_paths);
        findings.odd("files", told, "push them again, or mend the disk and run `iglu check --full --repair`");
    }
}

/// What is left of where the files are; a bucket does not tell.
fn room(place: &str, free: Option<u64>, total: Option<u64>, findings: &mut Findings) {
    /// The part of a disk below which it is nearly full: 5 %.
    const LITTLE: u64 = 20;
    match (free, total) {
        (Some(free), Some(total)) if free < total / LITTLE => {
            let told = format!("{place}: {} of {} are free", format::bytes(free), format::bytes(total));
            findings.odd(
                "storage",
                told,
                "pushes are refused when nothing is left: set rules of retention, or move to a larger disk",
            );
        }
        (Some(free), _) => findings.good("storage", format!("{place}, {} free", format::bytes(free))),
        _ => findings.good("storage", place),
    }
}

fn master_key(store: &StoreSettings, findings: &mut Findings) {
    let place = store.master_key_place();
    // Not a file where the variable has it.
    let mode = std::fs::metadata(Path::new(&place)).map(|meta| meta.permissions().mode());
    match mode {
        Ok(mode) if mode & 0o077 != 0 => {
            let told = format!("{place} can be read by others than its owner");
            findings.odd("master key", told, &format!("chmod 600 {place}: whoever has it and the database can sign"));
        }
        _ => findings.good("master key", format!("{place}; keep a copy of it apart from the backup of the database")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_nearly_full_below_a_twentieth() {
        let verdict = |free: Option<u64>, total: Option<u64>| {
            let mut findings = Findings::default();
            room("/data", free, total, &mut findings);
            assert_eq!(findings.0.len(), 1);
            findings.0.remove(0).verdict
        };
        assert_eq!(verdict(Some(49), Some(1000)), Verdict::Odd);
        assert_eq!(verdict(Some(0), Some(1000)), Verdict::Odd);
        assert_eq!(verdict(Some(50), Some(1000)), Verdict::Good);
        assert_eq!(verdict(None, None), Verdict::Good);
    }
}
