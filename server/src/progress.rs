//! Progress on standard error: a line that changes on a terminal, else a line every few seconds.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub struct ProgressLine {
    is_terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    shown_at: Instant,
    is_drawn: bool,
}

impl Default for ProgressLine {
    fn default() -> ProgressLine {
        // Nothing is said of what takes no time.
        let state = State { shown_at: Instant::now(), is_drawn: false };
        ProgressLine { is_terminal: std::io::stderr().is_terminal(), state: Mutex::new(state) }
    }
}

impl ProgressLine {
    /// Shows how far it is, if it is time to.
    pub fn show(&self, text: impl FnOnce() -> String) {
        let pause = if self.is_terminal { Duration::from_millis(200) } else { Duration::from_secs(5) };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.shown_at.elapsed() < pause {
            return;
        }
        state.shown_at = Instant::now();
        state.is_drawn = self.is_terminal;
        let (mut error, text) = (std::io::stderr(), text());
        let _ = if self.is_terminal { write!(error, "\r\x1b[K{text}") } else { writeln!(error, "{text}") };
    }

    /// Says something that stays.
    pub fn say(&self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.is_drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
