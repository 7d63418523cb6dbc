//! What was measured, as medians side by side. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::load::Load;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// What the table calls it.
    pub title: &'static str,
    /// NARs, or narinfos.
    pub nars: bool,
    /// Connections at once.
    pub connections: u32,
}

/// Speed and cost of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    speed: f64,
    cost: f64,
}

/// Samples by row and side.
#[derive(Debug)]
pub struct Table {
    sides: [&'static str; 2],
    samples: Vec<[Vec<Sample>; 2]>,
}

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

impl Table {
    /// An empty table with the names of its two sides.
    pub fn new(sides: [&'static str; 2]) -> Self {
        Self { sides, samples: Vec::new() }
    }

    /// Adds a run: requests/s and CPU us per request, or MB/s and CPU s per GiB.
    pub fn add(&mut self, row: usize, side: usize, measure: &Measure, load: &Load, cpu: Duration) {
        self.samples.resize_with(self.samples.len().max(row + 1), Default::default);
        let sample = if measure.nars {
            Sample { speed: load.bytes / load.seconds / 1e6, cost: cpu.as_secs_f64() / (load.bytes / GIB) }
        } else {
            Sample { speed: load.requests / load.seconds, cost: cpu.as_secs_f64() * 1e6 / load.requests }
        };
        self.samples[row][side].push(sample);
    }

    /// The table as text. Ratios are those of the medians, first side to second.
    pub fn render(&self, measures: &[Measure]) -> String {
        let mut text =
            format!("{:<28}{:>12}{:>12}{:>10}\n", "median of the rounds", self.sides[0], self.sides[1], "ratio");
        for (measure, samples) in measures.iter().zip(&self.samples) {
            let units = if measure.nars { ["MB/s", "CPU s/GiB"] } else { ["requests/s", "CPU us/request"] };
            let _ = writeln!(text, "{}", measure.title);
            let pick: [fn(&Sample) -> f64; 2] = [|sample| sample.speed, |sample| sample.cost];
            for (unit, pick) in units.into_iter().zip(pick) {
                let [one, other] = samples.each_ref().map(|samples| median(samples.iter().map(pick).collect()));
                let digits = if one.max(other) < 10.0 {
                    3
                } else if one.max(other) < 1000.0 {
                    1
                } else {
                    0
                };
                let _ = writeln!(text, "  {unit:<26}{one:>12.digits$}{other:>12.digits$}{:>9.2}x", one / other);
            }
        }
        text
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => numbers[n / 2],
        n => f64::midpoint(numbers[n / 2 - 1], numbers[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        let measure = Measure { title: "narinfo", nars: false, connections: 1 };
        let mut table = Table::new(["Iglu", "nginx"]);
        let load = |requests| Load { requests, bytes: 1.0, seconds: 2.0 };
        table.add(0, 0, &measure, &load(1000.0), Duration::from_millis(20));
        table.add(0, 1, &measure, &load(2000.0), Duration::from_millis(20));
        let text = table.render(&[measure]);
        assert!(text.contains("0.50x") && text.contains("2.00x"), "{text}");
    }
}
