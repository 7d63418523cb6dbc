//! What happens in a run, on its way to the server: written to a file first, so that a server or a network that is away costs no
//! memory and loses nothing, and sent from there in order.

use crate::server::{Server, ServerError};
use iglu_api::node::{Report, RunEvent};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// How long events gather before they are sent: short against what a reader notices.
const GATHER: Duration = Duration::from_millis(100);
/// How often the server hears that the run is alive, and tells whether it should end.
const HEARTBEAT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);
/// Events and bytes of one report.
const MOST_EVENTS: usize = 2000;
const MOST_BYTES: usize = 512 << 10;
/// Longest line, in bytes; what follows is cut.
const LONGEST_LINE: usize = 16 << 10;

/// Why a run should end before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked.
    Cancelled,
    /// Another node has it, or it is gone.
    Lost,
    /// It wrote more than it may.
    LogLimit,
}

/// The way of one run's events.
pub struct Reporter {
    spool: Mutex<File>,
    written: AtomicU64,
    log_bytes: AtomicU64,
    log_limit: u64,
    is_full: AtomicBool,
    news: Notify,
    stop: watch::Sender<Option<Stop>>,
}

impl Reporter {
    /// Keeps what is told in `file`, and takes up to `log_limit` bytes of lines.
    pub fn new(file: &Path, log_limit: u64) -> io::Result<(Arc<Reporter>, BufReader<File>)> {
        let spool = File::options().create_new(true).append(true).open(file)?;
        let reader = BufReader::new(File::open(file)?);
        let reporter = Reporter {
            spool: Mutex::new(spool),
            written: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            log_limit,
            is_full: AtomicBool::new(false),
            news: Notify::new(),
            stop: watch::channel(None).0,
        };
        Ok((Arc::new(reporter), reader))
    }

    /// Whether the run should end, as it changes.
    pub fn stopping(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.subscribe()
    }

    pub fn tell(&self, event: &RunEvent) {
        let Ok(mut json) = serde_json::to_vec(event) else { return };
        json.push(b'\n');
        let Ok(mut spool) = self.spool.lock() else { return };
        if spool.write_all(&json).is_ok() {
            self.written.fetch_add(1, Ordering::Release);
            drop(spool);
            self.news.notify_one();
        }
    }

    /// A line of the log. Past the limit, nothing more is taken and the run ends.
    pub fn line(&self, derivation: Option<u32>, text: &str) {
        let mut end = text.len().min(LONGEST_LINE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.log_bytes.fetch_add(end as u64 + 1, Ordering::Relaxed);
        if before + end as u64 + 1 > self.log_limit {
            if !self.is_full.swap(true, Ordering::Relaxed) {
                self.stop.send_if_modified(|stop| stop.is_none().then(|| *stop = Some(Stop::LogLimit)).is_some());
            }
            return;
        }
        self.tell(&RunEvent::Line { derivation, text: text[..end].to_owned() });
    }

    /// What the node itself has to say, between the lines of programs.
    pub fn note(&self, text: &str) {
        self.tell(&RunEvent::Line { derivation: None, text: format!("\u{1b}[2m{text}\u{1b}[0m") });
    }

    /// Sends what is written until the end of the run is sent, or the server says that the run is not this node's.
    pub async fn ship(
        self: Arc<Reporter>,
        server: Server,
        run: u64,
        lease: String,
        mut reader: BufReader<File>,
    ) -> Result<(), ServerError> {
        let mut next = 0;
        loop {
            if self.written.load(Ordering::Acquire) == next {
                // Whatever came between the look and the wait has left a permit.
                let _ = tokio::time::timeout(HEARTBEAT, self.news.notified()).await;
                tokio::time::sleep(GATHER).await;
            }
            let at = reader.stream_position().map_err(unreadable)?;
            let events = read_some(&mut reader, self.written.load(Ordering::Acquire) - next).map_err(unreadable)?;
            let is_last = matches!(events.last(), Some(RunEvent::Finished { .. }));
            let report = Report { lease: lease.clone(), first: next, events, waiting: String::new() };
            match server.report(run, &report).await {
                Ok(heard) => {
                    if heard.cancel {
                        self.ask_stop(Stop::Cancelled);
                    }
                    if heard.next == next + report.events.len() as u64 {
                        next = heard.next;
                    } else {
                        // It has fewer, or more where an answer was lost: begin where it is.
                        reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
                        skip(&mut reader, heard.next).map_err(unreadable)?;
                        next = heard.next;
                    }
                    if is_last && next == self.written.load(Ordering::Acquire) {
                        return Ok(());
                    }
                }
                Err(error) if error.is_passing() => {
                    tracing::warn!(run, %error, "the server cannot be told; trying again");
                    reader.seek(SeekFrom::Start(at)).map_err(unreadable)?;
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    self.ask_stop(Stop::Lost);
                    return Err(error);
                }
            }
        }
    }

    fn ask_stop(&self, why: Stop) {
        self.stop.send_if_modified(|stop| stop.is_none().then(|| *stop = Some(why)).is_some());
    }
}

fn unreadable(error: io::Error) -> ServerError {
    ServerError::Refused { status: 400, message: format!("what was to be told cannot be read: {error}") }
}

fn read_some(reader: &mut BufReader<File>, there: u64) -> io::Result<Vec<RunEvent>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    let mut line = Vec::new();
    while (events.len() as u64) < there && events.len() < MOST_EVENTS && bytes < MOST_BYTES {
        line.clear();
        bytes += reader.read_until(b'\n', &mut line)?;
        events.push(serde_json::from_slice(&line)?);
    }
    Ok(events)
}

fn skip(reader: &mut BufReader<File>, lines: u64) -> io::Result<()> {
    let mut line = Vec::new();
    for _ in 0..lines {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> RunEvent {
        RunEvent::Line { derivation: None, text: text.to_owned() }
    }

    #[test]
    fn what_is_told_is_read_back_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let (reporter, mut reader) = Reporter::new(&folder.path().join("spool"), 1 << 20).unwrap();
        for at in 0..5 {
            reporter.line(None, &format!("line {at}"));
        }
        assert_eq!(read_some(&mut reader, 2).unwrap(), [line("line 0"), line("line 1")]);
        reader.seek(SeekFrom::Start(0)).unwrap();
        skip(&mut reader, 4).unwrap();
        assert_eq!(read_some(&mut reader, 1).unwrap(), [line("line 4")]);
    }

    #[test]
    fn a_log_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let (reporter, _) = Reporter::new(&folder.path().join("spool"), 100).unwrap();
        let stopping = reporter.stopping();
        for _ in 0..1000 {
            reporter.line(None, "twenty characters ..");
        }
        assert_eq!(*stopping.borrow(), Some(Stop::LogLimit));
        assert_eq!(reporter.written.load(Ordering::Relaxed), 4);
        reporter.line(None, &"é".repeat(LONGEST_LINE));
    }
}
