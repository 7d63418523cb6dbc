//! CPU time of a process and its children, read from /proc.

use std::time::Duration;

use anyhow::Context as _;

/// Reads the CPU time of one process and of those it has started.
#[derive(Debug)]
pub struct CpuMeter {
    pid: u32,
}

impl CpuMeter {
    /// Meters this process and its present and future children.
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// User and system time since the start, in all.
    pub fn read(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let stat = Stat::parse(&text).with_context(|| format!("/proc/{pid}/stat"))?;
            if pid == self.pid || stat.parent == self.pid {
                ticks += stat.ticks;
            }
        }
        // The kernel reports in hundredths of a second to user space on every Linux that Rust runs on.
        Ok(Duration::from_millis(ticks * 10))
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// The fields after the program's name, which itself may hold blanks and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self { parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 3 4 20 0 1 0 100 1 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 200));
    }

    #[test]
    fn own_time_grows_with_work() {
        let meter = CpuMeter::of(std::process::id());
        let before = meter.read().unwrap();
        let mut random = iglu_end2end::digest::Random::new(1);
        // Until the processor time is there, however busy the machine: a meter that stands still never ends this.
        while meter.read().unwrap() - before < Duration::from_millis(50) {
            for _ in 0..1_000_000 {
                std::hint::black_box(random.next_u64());
            }
        }
    }
}
