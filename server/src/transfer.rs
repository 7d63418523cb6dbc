//! What import and export have in common: what is left out, and how fast it goes.

use serde::Serialize;
use std::time::Instant;

/// Ends a command that did what it could, and left something out.
pub const INCOMPLETE: u8 = 2;
/// Things that a report names; all are told on standard error.
const MOST_NAMED: usize = 1000;

/// Something that was left out.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    pub what: String,
    pub why: String,
}

/// The first things that were left out.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct NamedList(Vec<Named>);

impl NamedList {
    pub fn add(&mut self, what: &str, why: &str) {
        if self.0.len() < MOST_NAMED {
            self.0.push(Named { what: what.to_owned(), why: why.to_owned() });
        }
    }
}

/// Bytes a second since `started`.
pub fn rate(bytes: u64, started: Instant) -> String {
    let per_second = bytes as f64 / started.elapsed().as_secs_f64().max(0.001);
    format!("{}/s", iglu_api::format::bytes(per_second as u64))
}
