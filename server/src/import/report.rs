//! What an import did, for people and for scripts.

use super::take::{Reason, SideTaken, Taken};
use crate::{
    progress::ProgressLine,
    transfer::{NamedList, rate},
};
use iglu_api::format;
use iglu_core::push::Held;
use serde::Serialize;
use std::time::Instant;

/// Numbers of what was left out, by reason.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Skipped {
    pub total: u64,
    source: u64,
    download: u64,
    refused: u64,
    untrusted: u64,
}

/// Numbers of side files.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SideFiles {
    imported: u64,
    present: u64,
    skipped: u64,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    pub cache: String,
    /// As the flag named it, and the cache that was read there.
    pub source: String,
    pub source_cache: String,
    pub created: bool,
    /// Public keys that were taken over.
    pub new_keys: Vec<String>,
    /// Public keys of clients that the source knows; they are for whoever wants to register them.
    pub client_keys: Vec<String>,
    imported: u64,
    /// Bytes of NAR files that came, those that were refused too.
    pub bytes: u64,
    present: u64,
    /// Of those present: how many gained signatures, and how many have another content here.
    gained_signatures: u64,
    differing: u64,
    /// Of those imported: how many the source had without any signature.
    unsigned: u64,
    pub skipped: Skipped,
    skipped_paths: NamedList,
    /// What others refer to and the source does not have.
    absent: u64,
    absent_paths: NamedList,
    pub side_files: SideFiles,
    /// Paths of the cache that wait for references.
    pub held: u64,
    held_paths: NamedList,
    /// Whether everything that the source has was looked at.
    pub is_complete: bool,
    #[serde(skip)]
    total: Option<u64>,
    #[serde(skip)]
    started: Instant,
}

impl Report {
    pub fn new(cache: &str, source: &str, source_cache: &str) -> Report {
        Report {
            cache: cache.to_owned(),
            source: source.to_owned(),
            source_cache: source_cache.to_owned(),
            created: false,
            new_keys: Vec::new(),
            client_keys: Vec::new(),
            imported: 0,
            bytes: 0,
            present: 0,
            gained_signatures: 0,
            differing: 0,
            unsigned: 0,
            skipped: Skipped::default(),
            skipped_paths: NamedList::default(),
            absent: 0,
            absent_paths: NamedList::default(),
            side_files: SideFiles::default(),
            held: 0,
            held_paths: NamedList::default(),
            is_complete: true,
            total: None,
            started: Instant::now(),
        }
    }

    /// How many paths there are, as far as is known by now.
    pub fn expect(&mut self, total: Option<u64>) {
        self.total = total.or(self.total);
    }

    pub fn path(&mut self, taken: Taken, line: &ProgressLine) {
        match taken {
            Taken::New { is_unsigned } => {
                self.imported += 1;
                self.unsigned += u64::from(is_unsigned);
            }
            Taken::Present { is_same, gained } => {
                self.present += 1;
                self.differing += u64::from(!is_same);
                self.gained_signatures += u64::from(gained);
            }
            Taken::Left { what, why, reason } => self.left(&what, &why, reason, line),
        }
    }

    /// Names what is left out, and counts it.
    pub fn left(&mut self, what: &str, why: &str, reason: Reason, line: &ProgressLine) {
        let skipped = &mut self.skipped;
        let word = match reason {
            Reason::Absent => {
                self.absent += 1;
                self.absent_paths.add(what, why);
                line.say(&format!("absent: {what}: {why}"));
                return;
            }
            Reason::Rest => {
                self.is_complete = false;
                "the rest is skipped"
            }
            Reason::Source => count(&mut skipped.source),
            Reason::Download => count(&mut skipped.download),
            Reason::Refused => count(&mut skipped.refused),
            Reason::Untrusted => count(&mut skipped.untrusted),
        };
        skipped.total += u64::from(reason != Reason::Rest);
        self.skipped_paths.add(what, why);
        line.say(&format!("{word}: {what}: {why}"));
    }

    pub fn side_file(&mut self, taken: SideTaken, line: &ProgressLine) {
        match taken {
            SideTaken::New => self.side_files.imported += 1,
            SideTaken::Present => self.side_files.present += 1,
            SideTaken::Left { what, why, is_rest } => {
                self.side_files.skipped += 1;
                self.is_complete &= !is_rest;
                self.skipped_paths.add(&what, &why);
                line.say(&format!("skipped: {what}: {why}"));
            }
        }
    }

    pub fn hold(&mut self, count: u64, held: &[Held], line: &ProgressLine) {
        self.held = count;
        for Held { path, absent } in held {
            let path = path.to_absolute();
            let why = match absent {
                Some(absent) => format!("waits for {}, which is not here", absent.to_absolute()),
                None => "waits for paths that wait themselves".to_owned(),
            };
            line.say(&format!("held: {path} {why}"));
            self.held_paths.add(&path, &why);
        }
    }

    /// Whether there is nothing to look after.
    pub fn is_whole(&self) -> bool {
        self.is_complete && self.skipped.total + self.side_files.skipped + self.held == 0
    }

    /// How far it is, in one line.
    pub fn progress(&self, bytes: u64) -> String {
        let done = self.imported + self.present + self.skipped.total;
        let of = self.total.map(|total| format!(" of {}", total.max(done))).unwrap_or_default();
        format!(
            "{done}{of} paths: {} imported, {} here already, {} skipped; {}, {}",
            self.imported,
            self.present,
            self.skipped.total,
            format::bytes(bytes),
            rate(bytes, self.started)
        )
    }

    /// All that happened, for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} paths imported ({}), {} were here, {} skipped, {} absent",
            self.imported,
            format::bytes(self.bytes),
            self.present,
            self.skipped.total,
            self.absent
        );
        let mut more = |is_so: bool, line: String| {
            if is_so {
                text.push('\n');
                text.push_str(&line);
            }
        };
        let Skipped { source, download, refused, untrusted, total } = self.skipped;
        more(
            total > 0,
            format!(
                "skipped: {source} broken in the source, {download} did not come whole, {refused} refused, {untrusted} not signed by a trusted key"
            ),
        );
        more(self.unsigned > 0, format!("{} of the imported had no signature", self.unsigned));
        more(self.gained_signatures > 0, format!("{} that were here gained signatures", self.gained_signatures));
        more(self.differing > 0, format!("{} that were here have another content, and keep it", self.differing));
        let SideFiles { imported, present, skipped } = self.side_files;
        more(
            imported + present + skipped > 0,
            format!("{imported} build logs and realisations imported, {present} were here, {skipped} skipped"),
        );
        more(
            self.held > 0,
            format!(
                "{} paths are held: references are not here. Import or push them, or name the cache that has them (iglu admin cache set {} --upstream URL)",
                self.held, self.cache
            ),
        );
        more(!self.is_complete, "not everything was looked at: run it again to go on".to_owned());
        text
    }
}

fn count(number: &mut u64) -> &'static str {
    *number += 1;
    "skipped"
}
