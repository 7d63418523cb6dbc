//! What differs from one release of the client to the next.

use std::time::Duration;

/// How a request is repeated after no answer, 429 or 5xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// So many repeats after 1, 2, 4, … seconds.
    Doubling(u32),
    /// Random waits from 1 s on, each at most 15 s, 90 s in all; what the server asks for counts up to 120 s.
    FullJitter,
}

impl Backoff {
    /// The wait before repeat number `attempt` (from 0) after `waited` in all; `None` to give up. `draw` is from 0 to 1.
    pub fn delay(self, attempt: u32, waited: Duration, draw: f64) -> Option<Duration> {
        match self {
            Self::Doubling(repeats) => (attempt < repeats).then(|| Duration::from_secs(1 << attempt.min(16))),
            Self::FullJitter => {
                let ceiling = Duration::from_secs(1 << attempt.min(4)).min(Duration::from_secs(15));
                (waited < Duration::from_secs(90)).then(|| ceiling.mul_f64(draw))
            }
        }
    }
}

/// One release of the client with its defaults.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Bytes per part; all but the last have this size.
    pub chunk_size: usize,
    /// Store paths uploaded at once.
    pub paths_at_once: usize,
    /// Parts of one path uploaded at once.
    pub parts_at_once: usize,
    /// Hashes per bulk query.
    pub bulk_chunk: usize,
    /// How requests are repeated.
    pub backoff: Backoff,
    /// Whether getCache and create are repeated too.
    pub repeats_every_call: bool,
    /// Waits before the upload of a path starts again from the beginning, after any failure.
    pub path_repeats: Vec<Duration>,
}

impl Profile {
    /// Release 1.7.5 of October 2024.
    pub fn v1_7_5() -> Self {
        Self {
            user_agent: "cachix 1.7.5".to_owned(),
            chunk_size: 32 * 1024 * 1024,
            paths_at_once: 8,
            parts_at_once: 4,
            bulk_chunk: 32_768,
            backoff: Backoff::Doubling(5),
            repeats_every_call: false,
            path_repeats: [1, 2, 4, 8, 16].map(Duration::from_secs).to_vec(),
        }
    }

    /// Release 1.11.1 of April 2026.
    pub fn v1_11_1() -> Self {
        Self {
            user_agent: "cachix 1.11.1".to_owned(),
            backoff: Backoff::FullJitter,
            repeats_every_call: true,
            path_repeats: vec![Duration::from_secs(5); 3],
            ..Self::v1_7_5()
        }
    }

    /// Gives up at the first refusal of a path: for tests that are about the refusal.
    pub fn without_path_repeats(mut self) -> Self {
        self.path_repeats.clear();
        self
    }

    /// Other part sizes than the default, as by `--chunk-size` (where the client demands at least 5 MiB).
    pub fn with_chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_the_releases() {
        let doubling: Vec<_> = (0..7).map_while(|n| Backoff::Doubling(5).delay(n, Duration::ZERO, 1.0)).collect();
        assert_eq!(doubling, [1, 2, 4, 8, 16].map(Duration::from_secs));
        let jitter = |n, waited| Backoff::FullJitter.delay(n, Duration::from_secs(waited), 1.0);
        assert_eq!(jitter(9, 0), Some(Duration::from_secs(15)));
        assert_eq!(jitter(9, 90), None);
    }
}
