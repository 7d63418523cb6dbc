//! What import and export say while they run and at their end: a line of progress, what is left out, and how long what can be
//! stopped goes on. Writes to standard error only.

use serde::Serialize;
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Ends a command that did what it could, and left something out.
pub const INCOMPLETE: u8 = 2;
/// Things that a report names; all are told on standard error.
const MOST_NAMED: usize = 1000;

/// Progress on standard error: a line that changes on a terminal, else a line every few seconds.
#[derive(Debug)]
pub struct ProgressLine {
    is_terminal: bool,
    shown_at: Instant,
    is_drawn: bool,
}

impl Default for ProgressLine {
    fn default() -> ProgressLine {
        // Nothing is said of what takes no time.
        ProgressLine { is_terminal: std::io::stderr().is_terminal(), shown_at: Instant::now(), is_drawn: false }
    }
}

impl ProgressLine {
    /// Shows how far it is, if it is time to.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let pause = if self.is_terminal { Duration::from_millis(200) } else { Duration::from_secs(5) };
        if self.shown_at.elapsed() < pause {
            return;
        }
        self.shown_at = Instant::now();
        let mut error = std::io::stderr();
        let text = text();
        let _ = if self.is_terminal {
            self.is_drawn = true;
            write!(error, "\r\x1b[K{text}")
        } else {
            writeln!(error, "{text}")
        };
    }

    /// Says something that stays.
    pub fn say(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

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

/// Waits until somebody asks this process to end.
pub async fn asked_to_stop() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
