//! wrk with a script that goes round a list of addresses; owns the script and the lists.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::table::Measure;
use crate::tree::Files;

/// What one run of wrk counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Answers.
    pub requests: f64,
    /// Bytes received, heads included.
    pub bytes: f64,
    /// How long it took.
    pub seconds: f64,
}

/// The load generator.
#[derive(Debug)]
pub struct Wrk {
    script: PathBuf,
    narinfos: PathBuf,
    nars: PathBuf,
}

/// Requests are put together once, so that wrk measures the server and not Lua. Every thread begins elsewhere.
const SCRIPT: &str = r#"
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end
function init(args)
  requests = {}
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", args[2] .. "/" .. line)
  end
  at = number * 37
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %.0f %.0f %.0f %d\n", summary.requests, summary.bytes, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

impl Wrk {
    /// Writes the script and the lists below `folder`.
    pub fn new(folder: &Path, files: &Files) -> anyhow::Result<Self> {
        let wrk = Self { script: folder.join("wrk.lua"), narinfos: folder.join("narinfos"), nars: folder.join("nars") };
        std::fs::write(&wrk.script, SCRIPT)?;
        std::fs::write(&wrk.narinfos, files.narinfos.join("\n") + "\n")?;
        std::fs::write(&wrk.nars, files.nars.join("\n") + "\n")?;
        Ok(wrk)
    }

    /// Loads the cache at `url`. Fails if a single answer was not 200, since then the numbers mean nothing.
    pub async fn run(&self, url: &str, measure: &Measure, time: Duration) -> anyhow::Result<Load> {
        let list = if measure.nars { &self.nars } else { &self.narinfos };
        let (_, rest) = url.split_once("//").context("no URL")?;
        let prefix = rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}"));
        let output = Command::new("wrk")
            .args(["-t", &measure.connections.min(2).to_string(), "-c", &measure.connections.to_string()])
            .args(["-d", &format!("{}s", time.as_secs()), "--timeout", "20s", "-s"])
            .arg(&self.script)
            .arg(url)
            .arg("--")
            .arg(list)
            .arg(prefix)
            .kill_on_drop(true)
            .output()
            .await
            .context("wrk cannot be started: is it installed?")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        parse(&text).with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn parse(text: &str) -> anyhow::Result<Load> {
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).context("wrk printed no result")?;
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, bytes, microseconds, errors] = numbers[..] else { bail!("wrk printed {line}") };
    anyhow::ensure!(errors == 0.0, "{errors} answers were errors");
    anyhow::ensure!(requests > 0.0, "not one answer");
    Ok(Load { requests, bytes, seconds: microseconds / 1e6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_errors_are_failures() {
        let load = parse("Running 1s test\nRESULT 100 2000 1000000 0\n").unwrap();
        assert_eq!(load, Load { requests: 100.0, bytes: 2000.0, seconds: 1.0 });
        assert!(parse("RESULT 100 2000 1000000 1\n").is_err());
        assert!(parse("RESULT 0 0 1000000 0\n").is_err());
        assert!(parse("unable to connect\n").is_err());
    }
}
