//! The record of the conformance checks: which check, with which client, with what result. Writes one file of JSON lines per
//! check into one folder, and makes the table of `docs/conformance.md` from it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::attic::Flavour;
use crate::cachix::Profile;
use crate::nix::NixRelease;

/// What became of a check with one client: a line of the record and a row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Outcome {
    /// `PROTOCOL NUMBER`, as in `nix 17.3`.
    pub id: String,
    /// What has to hold.
    pub what: String,
    /// The client and its release, or how the requests were made without one.
    pub client: String,
    /// `passed`, `failed`, or `not run:` and why.
    pub result: String,
}

/// How a scenario ends: by itself, or with a failure as text.
pub trait Ended {
    /// The failure, if it is one.
    fn failure(self) -> Option<String>;
}

impl Ended for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl Ended for anyhow::Result<()> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:#}"))
    }
}

/// One check that is being made. It runs with every client, whatever becomes of the first, and then fails with all that
/// went wrong.
#[derive(Debug)]
pub struct Check {
    id: &'static str,
    what: &'static str,
    outcomes: Vec<Outcome>,
    failures: String,
}

impl Check {
    /// `id` is unique among all checks; `what` says what has to hold.
    pub fn new(id: &'static str, what: &'static str) -> Self {
        Self { id, what, outcomes: Vec::new(), failures: String::new() }
    }

    /// The check with requests made for it alone, by an HTTP client or on a socket.
    pub async fn over_http<E: Ended>(mut self, scenario: impl Future<Output = E>) {
        self.run("raw HTTP", scenario).await;
        self.finish();
    }

    /// The check with each release of Nix that there is.
    pub async fn with_each_nix<E: Ended, F: Future<Output = E>>(self, scenario: impl Fn(NixRelease) -> F) {
        self.with_nix_from((0, 0), scenario).await;
    }

    /// The check with each release of Nix from this version on. If there is none, the record says so.
    pub async fn with_nix_from<E, F>(mut self, oldest: (u32, u32), scenario: impl Fn(NixRelease) -> F)
    where
        E: Ended,
        F: Future<Output = E>,
    {
        match nix_releases(oldest).await {
            Ok(releases) if releases.is_empty() => {
                let (major, minor) = oldest;
                self.note(&format!("nix from {major}.{minor} on"), "not run: there is no such release here");
            }
            Ok(releases) => {
                for (name, release) in releases {
                    self.run(&name, scenario(release)).await;
                }
            }
            Err(error) => self.failed("nix", &format!("{error:#}")),
        }
        self.finish();
    }

    /// The check with these releases of the cachix client.
    pub async fn with_cachix<E, F>(mut self, releases: Vec<Profile>, scenario: impl Fn(Profile) -> F)
    where
        E: Ended,
        F: Future<Output = E>,
    {
        for profile in releases {
            self.run(&format!("cachix {}", profile.release()), scenario(profile.clone())).await;
        }
        self.finish();
    }

    /// The check with the attic client and with its fork.
    pub async fn with_attic_and_celler<E: Ended, F: Future<Output = E>>(mut self, scenario: impl Fn(Flavour) -> F) {
        for (name, flavour) in [("attic", Flavour::Attic), ("celler", Flavour::Celler)] {
            self.run(name, scenario(flavour)).await;
        }
        self.finish();
    }

    /// The check with one client of this name.
    pub async fn with<E: Ended>(mut self, client: &str, scenario: impl Future<Output = E>) {
        self.run(client, scenario).await;
        self.finish();
    }

    async fn run<E: Ended>(&mut self, client: &str, scenario: impl Future<Output = E>) {
        println!("{} with {client}", self.id);
        match caught(scenario).await {
            None => self.note(client, "passed"),
            Some(failure) => self.failed(client, &failure),
        }
    }

    fn failed(&mut self, client: &str, failure: &str) {
        let _ = writeln!(self.failures, "\n--- {client}: {failure}");
        self.note(client, "failed");
    }

    fn note(&mut self, client: &str, result: &str) {
        self.outcomes.push(Outcome {
            id: self.id.to_owned(),
            what: self.what.to_owned(),
            client: client.to_owned(),
            result: result.to_owned(),
        });
    }

    fn finish(self) {
        let written = write(&folder(), self.id, &self.outcomes);
        assert!(self.failures.is_empty(), "{} ({}):{}", self.id, self.what, self.failures);
        assert!(written.is_ok(), "the record of {}: {written:?}", self.id);
    }
}

/// Runs to the end, and gives what went wrong: a panic, or the error returned.
async fn caught<E: Ended>(scenario: impl Future<Output = E>) -> Option<String> {
    let mut scenario = pin!(scenario);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| scenario.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ended::failure),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Poll::Ready(Some(text.unwrap_or_else(|| "panicked".to_owned())))
        }
    })
    .await
}

async fn nix_releases(oldest: (u32, u32)) -> anyhow::Result<Vec<(String, NixRelease)>> {
    let mut releases = Vec::new();
    for release in NixRelease::all()? {
        let version = release.version().await?;
        if version >= oldest {
            releases.push((format!("nix {}.{}", version.0, version.1), release));
        }
    }
    Ok(releases)
}

/// Where the record lies: `IGLU_CONFORMANCE_OUT`, or `conformance` in cargo's target folder.
pub fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("IGLU_CONFORMANCE_OUT") {
        return folder.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    workspace.join(target).join("conformance")
}

fn write(folder: &Path, id: &str, outcomes: &[Outcome]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut lines = String::new();
    for outcome in outcomes {
        lines += &serde_json::to_string(outcome)?;
        lines.push('\n');
    }
    let file = folder.join(format!("{}.jsonl", id.replace(' ', "-")));
    std::fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads the whole record.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(&file)?;
            for line in text.lines() {
                outcomes.push(serde_json::from_str(line).with_context(|| format!("{}: {line}", file.display()))?);
            }
        }
    }
    Ok(outcomes)
}

const HEAD: &str = "\
# Conformance

What a binary cache has to do for its clients, check by check, and with which client each check was made. `make conformance` makes
this file: it runs the tests in `end2end/tests/conformance` against the server, with every release of Nix that
`scripts/nix-roots.sh` provides, with an emulator of the cachix client in the releases at which its protocol changed, and with one of
attic and its fork celler. Each test leaves a line for each client in `target/conformance`, and the lines become the tables below.
Nothing in here is written by hand.

\"Raw HTTP\" are requests made for the check alone, by a plain HTTP client or on a socket.
";

/// Sorted by the numbers of the check and of the client's release; then what is printed.
type Row<'a> = (Vec<u64>, &'a str, Vec<u64>, &'a str, &'a str, &'a str);

/// The text of `docs/conformance.md`: a table for each protocol, sorted, without anything that changes from run to run.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = HEAD.to_owned();
    for (protocol, title) in [("nix", "Nix"), ("cachix", "Cachix"), ("attic", "Attic")] {
        let rows: BTreeSet<Row<'_>> = outcomes
            .iter()
            .filter_map(|outcome| {
                let number = outcome.id.strip_prefix(protocol)?.strip_prefix(' ')?;
                let Outcome { what, client, result, .. } = outcome;
                Some((numbers(number), number, numbers(client), client.as_str(), what.as_str(), result.as_str()))
            })
            .collect();
        let checks: BTreeSet<&str> = rows.iter().map(|row| row.1).collect();
        let passed = |number: &&&str| rows.iter().all(|row| row.1 != **number || row.5 == "passed");
        let good = checks.iter().filter(passed).count();
        let _ = write!(text, "\n## {title}\n\n{good} of {} checks passed with every client.\n\n", checks.len());
        text += "| check | what | client and release | result |\n|---|---|---|---|\n";
        for (_, number, _, client, what, result) in &rows {
            let _ = writeln!(text, "| {protocol} {number} | {} | {client} | {result} |", what.replace('|', "\\|"));
        }
    }
    text
}

/// The numbers in a text, so that 2.8 comes before 2.26.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: &str, client: &str, result: &str) -> Outcome {
        Outcome { id: id.to_owned(), what: "holds".to_owned(), client: client.to_owned(), result: result.to_owned() }
    }

    #[test]
    fn table_is_sorted_by_numbers_and_the_same_in_any_order() {
        let mut outcomes = vec![
            outcome("nix 17.10", "raw HTTP", "passed"),
            outcome("nix 17.2", "nix 2.26", "passed"),
            outcome("nix 17.2", "nix 2.8", "failed"),
            outcome("attic 7.1", "attic", "passed"),
        ];
        let text = table(&outcomes);
        outcomes.reverse();
        assert_eq!(table(&outcomes), text);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| nix")).collect();
        assert_eq!(rows[0], "| nix 17.2 | holds | nix 2.8 | failed |");
        assert_eq!(rows[1], "| nix 17.2 | holds | nix 2.26 | passed |");
        assert!(rows[2].starts_with("| nix 17.10 |"), "{text}");
        assert!(text.contains("1 of 2 checks passed") && text.contains("1 of 1 checks passed"), "{text}");
    }

    #[tokio::test]
    async fn panics_and_errors_are_failures() {
        assert_eq!(caught(async {}).await, None);
        assert_eq!(caught(async { Err(anyhow::anyhow!("no")) as anyhow::Result<()> }).await.as_deref(), Some("no"));
        let panicking = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "number {}", 3);
        };
        assert_eq!(caught(panicking).await.as_deref(), Some("number 3"));
    }

    #[test]
    fn record_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let outcomes = [outcome("nix 17.1", "raw HTTP", "passed")];
        write(folder.path(), "nix 17.1", &outcomes).unwrap();
        assert_eq!(read(folder.path()).unwrap(), outcomes);
    }
}
