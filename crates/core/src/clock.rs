//! The only door to time and randomness, so that tests can move the one and nobody forgets the quality of the other.

use iglu_api::Timestamp;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Real time, plus offsets that only tests set: one shared by the clones of a clock, and one for the whole process, see [`started_ahead`].
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead: Arc<AtomicI64>,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Timestamp(millis).plus(self.ahead.load(Ordering::Relaxed)).plus(started_ahead())
    }

    /// Moves this clock forward for those that share it.
    pub fn advance(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }
}

/// Milliseconds by which this process was told to be ahead: `IGLU_CLOCK_AHEAD` in seconds, negative for behind. For tests of days and
/// months, and of clocks that jump between two starts; release builds do not look at it.
pub(crate) fn started_ahead() -> i64 {
    #[cfg(debug_assertions)]
    {
        static AHEAD: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| {
            let seconds = std::env::var("IGLU_CLOCK_AHEAD").ok().and_then(|text| text.parse::<i64>().ok());
            seconds.unwrap_or(0).saturating_mul(Timestamp::SECOND)
        });
        *AHEAD
    }
    #[cfg(not(debug_assertions))]
    0
}

/// Bytes that nobody can guess. Ends the program where the system has none to give: going on would make weak keys.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the system's source of randomness failed: {error}");
    }
    bytes
}
