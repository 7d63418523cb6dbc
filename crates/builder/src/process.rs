//! Processes of a run: started in its room, read within bounds, and their memory added up.

use crate::{
    report::Reporter,
    sandbox::{Room, Sandbox},
};
use std::{
    fs, io,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
};

/// How often a run's memory is added up.
const LOOK: Duration = Duration::from_millis(250);
/// What is kept of a program's standard output; more of it is an error.
const LONGEST_OUTPUT: u64 = 32 << 20;
/// What is kept of the end of what it writes to standard error.
const LONGEST_TAIL: usize = 64 << 10;
/// Bytes of a line that are read; what follows is another line.
const LONGEST_LINE: usize = 64 << 10;

/// What a program left.
#[derive(Debug)]
pub struct Captured {
    pub status: ExitStatus,
    pub stdout: String,
    /// The end of it.
    pub stderr: String,
}

/// The processes that a run started, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Started(Arc<Mutex<Vec<u32>>>);

impl Started {
    /// Comes back when all that the run started has more than `most` bytes of memory of its own; never where `most` is 0.
    pub async fn over(&self, most: u64) {
        if most == 0 {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let started = self.0.lock().map(|started| started.clone()).unwrap_or_default();
            let used = tokio::task::spawn_blocking(move || memory_of(&started)).await.unwrap_or(0);
            if used > most {
                return;
            }
        }
    }
}

/// Starts a command of a room. It ends when it is dropped.
pub fn spawn(room: &Room, mut command: Command) -> io::Result<Child> {
    let child = command.spawn()?;
    if let (Some(id), Ok(mut started)) = (child.id(), room.started.0.lock()) {
        started.push(id);
    }
    Ok(child)
}

/// Runs a program to its end. What it writes to standard error goes into the log as it comes, where there is one.
pub async fn capture(
    sandbox: &Sandbox,
    room: &Room,
    program: &str,
    args: &[&str],
    reporter: Option<&Reporter>,
) -> io::Result<Captured> {
    let mut command = sandbox.command(room, program, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(room, command)?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("a pipe is missing"));
    };
    let read_out = async {
        let mut bytes = Vec::new();
        stdout.take(LONGEST_OUTPUT + 1).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 > LONGEST_OUTPUT {
            return Err(io::Error::other(format!("{program} writes more than {} MiB", LONGEST_OUTPUT >> 20)));
        }
        Ok(bytes)
    };
    let read_err = async {
        let (mut reader, mut line, mut tail) = (BufReader::new(stderr), Vec::new(), Vec::new());
        while read_line(&mut reader, &mut line).await {
            if let Some(reporter) = reporter.filter(|_| !line.trim_ascii().is_empty()) {
                reporter.line(None, String::from_utf8_lossy(&line).trim_end_matches('\n'));
            }
            tail.extend_from_slice(&line);
            if tail.len() > 2 * LONGEST_TAIL {
                tail.drain(..tail.len() - LONGEST_TAIL);
            }
        }
        Ok(tail)
    };
    let (stdout, stderr) = tokio::try_join!(read_out, read_err)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(Captured { status: child.wait().await?, stdout: text(&stdout), stderr: text(&stderr) })
}

/// Reads a line of bounded length. False at the end.
pub async fn read_line(reader: &mut BufReader<impl AsyncRead + Unpin>, line: &mut Vec<u8>) -> bool {
    line.clear();
    loop {
        let Ok(there) = reader.fill_buf().await else { return !line.is_empty() };
        if there.is_empty() {
            return !line.is_empty();
        }
        let end = there.iter().position(|&byte| byte == b'\n').map_or(there.len(), |at| at + 1);
        let taken = end.min(LONGEST_LINE - line.len());
        line.extend_from_slice(&there[..taken]);
        reader.consume(taken);
        if line.last() == Some(&b'\n') || line.len() == LONGEST_LINE {
            return true;
        }
    }
}

/// Memory that these children of this process, and all below them, have for themselves, in bytes.
fn memory_of(started: &[u32]) -> u64 {
    let own = std::process::id();
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let parent = number("PPid:").and_then(|parent| u32::try_from(parent).ok()).unwrap_or(0);
        let kib = number("RssAnon:").unwrap_or(0) + number("RssShmem:").unwrap_or(0);
        processes.push((id, parent, kib << 10));
    }
    // A number whose process is over may be somebody else's by now: what this process started is its child.
    let mut below: Vec<u32> = processes
        .iter()
        .filter(|(id, parent, _)| *parent == own && started.contains(id))
        .map(|process| process.0)
        .collect();
    let mut at = 0;
    while at < below.len() {
        let parent = below[at];
        below.extend(processes.iter().filter(|process| process.1 == parent).map(|process| process.0));
        at += 1;
    }
    processes.iter().filter(|process| below.contains(&process.0)).map(|process| process.2).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_have_an_end() {
        let text = [b"one\n\ntwo".as_slice(), &[b'x'; LONGEST_LINE + 5], b"\nend"].concat();
        let mut reader = BufReader::new(text.as_slice());
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while read_line(&mut reader, &mut line).await {
            lines.push(line.len());
        }
        assert_eq!(lines, [4, 1, LONGEST_LINE, 9, 3]);
    }

    #[test]
    fn only_children_are_added_up() {
        assert_eq!(memory_of(&[1, std::process::id()]), 0);
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let used = memory_of(&[child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(used > 0 && used < 64 << 20, "{used}");
    }
}
