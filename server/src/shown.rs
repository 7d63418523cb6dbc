//! Progress on standard error: a line that changes on a terminal, else a line every few seconds.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

#[derive(Default)]
pub struct Shown(Mutex<Option<(Instant, bool)>>);

impl Shown {
    /// Says how far it is, unless that was said a moment ago. Nothing is said of what takes no time.
    pub fn show(&self, line: impl FnOnce() -> String) {
        let mut error = std::io::stderr();
        let is_terminal = error.is_terminal();
        let pause = if is_terminal { Duration::from_millis(200) } else { Duration::from_secs(5) };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, _) = last.get_or_insert_with(|| (Instant::now(), false));
        if since.elapsed() < pause {
            return;
        }
        *last = Some((Instant::now(), true));
        let line = line();
        let _ = if is_terminal { write!(error, "\r\x1b[K{line}") } else { writeln!(error, "{line}") };
    }

    /// Clears the line.
    pub fn end(&self) {
        let was_shown = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|(_, shown)| shown);
        let mut error = std::io::stderr();
        if was_shown && error.is_terminal() {
            let _ = write!(error, "\r\x1b[K");
        }
    }
}
