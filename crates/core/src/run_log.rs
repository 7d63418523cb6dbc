//! Logs of runs: read a part at a time, and searched.

use crate::{
    Core,
    caller::Caller,
    db::RunLogRow,
    error::{Error, Result},
    failpoint,
    run::Runs,
};
use async_compression::tokio::{bufread::ZstdDecoder, write::ZstdEncoder};
use iglu_api::{
    ansi,
    cache::Permission,
    run::{LogFound, LogLine, LogPart},
};

use std::borrow::Cow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Lines and bytes of a packed block, about.
const BLOCK_LINES: i64 = 2000;
const BLOCK_BYTES: usize = 1 << 20;
/// Logs that are packed in one go.
const PACKED_AT_A_TIME: i64 = 10;
/// Lines that are read from a log at a time.
const LINES: u64 = 5000;
/// Lines that a search tells of.
const MOST_FOUND: usize = 1000;
/// Longest text that is searched for, in bytes.
const LONGEST_SEARCH: usize = 200;

impl Runs<'_> {
    /// Lines of a run's log from `first` on: `most` of them, and never more than some thousands.
    pub async fn log(&self, caller: &Caller, id: u64, first: u64, most: u64) -> Result<LogPart> {
        let (found, _) = self.open(caller, id, Permission::Pull).await?;
        self.log_of(found.id, found.line_count, first, most).await
    }

    async fn log_of(&self, id: i64, line_count: i64, first: u64, most: u64) -> Result<LogPart> {
        let line_count = line_count.unsigned_abs();
        let first = first.min(line_count);
        let end = first.saturating_add(most.min(LINES)).min(line_count);
        let mut part = LogPart { first, lines: Vec::new(), line_count };
        if first == end {
            return Ok(part);
        }
        let number = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        for block in self.0.db.run_log(id, number(first), number(end)).await? {
            let begin = block.first_line.unsigned_abs();
            let text = text_of(&block).await?;
            let lines = text.split(|&byte| byte == b'\n').take(usize::try_from(block.line_count).unwrap_or(0));
            for (at, line) in (begin..).zip(lines) {
                if (first..end).contains(&at) {
                    part.lines.push(line_of(line));
                }
            }
        }
        Ok(part)
    }

    /// The numbers of the lines from `first` on that have a text, whatever its case and colours, or that a derivation wrote.
    pub async fn find(
        &self,
        caller: &Caller,
        id: u64,
        text: &str,
        derivation: Option<u32>,
        first: u64,
    ) -> Result<LogFound> {
        if text.len() > LONGEST_SEARCH {
            return Err(Error::invalid("text", format!("at most {LONGEST_SEARCH} bytes are searched for")));
        }
        let (run, _) = self.open(caller, id, Permission::Pull).await?;
        let sought = text.to_lowercase();
        let mut found = LogFound { lines: Vec::new(), is_more: false };
        let mut at = first;
        loop {
            let part = self.log_of(run.id, run.line_count, at, LINES).await?;
            for (number, line) in (part.first..).zip(&part.lines) {
                let is_one = derivation.is_none_or(|derivation| line.derivation == Some(derivation))
                    && (sought.is_empty() || ansi::plain(&line.text).to_lowercase().contains(&sought));
                if is_one && found.lines.len() == MOST_FOUND {
                    found.is_more = true;
                    return Ok(found);
                }
                if is_one {
                    found.lines.push(number);
                }
            }
            at = part.first + part.lines.len() as u64;
            if part.lines.is_empty() {
                return Ok(found);
            }
        }
    }
}

/// The lines of a block, as they were written.
async fn text_of(block: &RunLogRow) -> Result<Cow<'_, [u8]>> {
    if block.encoding == 0 {
        return Ok(Cow::Borrowed(&block.lines));
    }
    let mut text = Vec::new();
    let mut decoder = ZstdDecoder::new(block.lines.as_slice());
    decoder.read_to_end(&mut text).await.map_err(|_| Error::internal("a log in the database cannot be unpacked"))?;
    Ok(Cow::Owned(text))
}

/// The same block, compressed.
async fn packed(block: &RunLogRow) -> Result<RunLogRow> {
    let mut encoder = ZstdEncoder::new(Vec::new());
    let wrong = |_| Error::internal("a log cannot be packed");
    encoder.write_all(&block.lines).await.map_err(wrong)?;
    encoder.shutdown().await.map_err(wrong)?;
    Ok(RunLogRow { lines: encoder.into_inner(), encoding: 1, ..*block })
}

impl Core {
    /// Packs logs of runs that are over: a row for some thousand lines instead of one for each report. How many logs.
    pub(crate) async fn logs_pack_some(&self) -> Result<usize> {
        let runs = self.db.run_list_unpacked(PACKED_AT_A_TIME).await?;
        for id in &runs {
            let mut block = RunLogRow { first_line: 0, line_count: 0, lines: Vec::new(), encoding: 0 };
            loop {
                let at = block.first_line + block.line_count;
                let rows = self.db.run_log(*id, at, at + BLOCK_LINES).await?;
                let mut rows = rows.into_iter().filter(|row| row.first_line >= at).peekable();
                if rows.peek().is_none() {
                    break;
                }
                for row in rows {
                    // One that a stopped server packed.
                    let text = text_of(&row).await?;
                    block.lines.extend_from_slice(&text);
                    block.line_count += row.line_count;
                    if block.line_count >= BLOCK_LINES || block.lines.len() >= BLOCK_BYTES {
                        self.log_put(*id, &mut block).await?;
                    }
                }
            }
            self.log_put(*id, &mut block).await?;
            failpoint::reach("run.packing");
            self.db.run_set_packed(*id).await?;
        }
        Ok(runs.len())
    }

    /// Stores a block, and begins the next one behind it.
    async fn log_put(&self, id: i64, block: &mut RunLogRow) -> Result<()> {
        if block.line_count > 0 {
            self.db.run_log_replace(id, &packed(block).await?).await?;
            *block = RunLogRow {
                first_line: block.first_line + block.line_count,
                line_count: 0,
                lines: Vec::new(),
                encoding: 0,
            };
        }
        Ok(())
    }
}

fn line_of(line: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(line);
    let (derivation, text) = text.split_once('\t').unwrap_or(("", &text));
    LogLine { derivation: derivation.parse().ok(), text: text.to_owned() }
}
