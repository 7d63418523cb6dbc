//! How the program is asked to end: SIGTERM, or Ctrl-C. Who is asked twice is in a hurry.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears from the moment on that it was made: none that comes while nobody waits is lost.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when the program is asked to end.
    pub async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// From now on the program ends at once when it is asked again. Nothing is lost that was promised: that is written already.
    pub fn end_at_once(mut self) {
        tokio::spawn(async move {
            self.asked_to_stop().await;
            tracing::warn!("asked to end once more: ending at once");
            std::process::exit(1);
        });
    }
}
