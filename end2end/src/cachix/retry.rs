//! How often and when a request is repeated. Pure but for the sleep between two attempts.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use super::{Error, Profile};
use crate::digest::Random;

/// The waits between the attempts at one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// So many repeats after 1, 2, 4, … seconds.
    Doubling(u32),
    /// Random waits from 1 s on, each at most 15 s, 90 s in all.
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

/// Which requests are repeated besides PUT, which always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepeatedCalls {
    /// The bulk query.
    Bulk,
    /// The bulk query, and what belongs to an upload except its beginning.
    Uploads,
    /// All of them.
    All,
}

/// After what a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepeatedAfter {
    /// Whatever happened, a refusal included.
    AnyFailure,
    /// No answer, 429, 5xx.
    Transient,
}

/// Whether the server may say how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// It may not.
    Ignored,
    /// On 429 and 503 to PUT, however long.
    OnPut,
    /// Everywhere, up to so long.
    AtMost(Duration),
}

/// What kind of request may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bulk query.
    Bulk,
    /// Part, complete, abort.
    Upload,
    /// Every other API call.
    Single,
    /// PUT to the URL of a part.
    Put,
}

/// The repeats of one request.
pub(super) struct Repeats<'a> {
    profile: &'a Profile,
    kind: Kind,
    attempt: u32,
    waited: Duration,
    random: Random,
}

impl<'a> Repeats<'a> {
    pub fn new(profile: &'a Profile, kind: Kind) -> Self {
        // Two clients that failed together must not come back together.
        let seed = RandomState::new().build_hasher().finish();
        Self { profile, kind, attempt: 0, waited: Duration::ZERO, random: Random::new(seed) }
    }

    /// Waits before the next attempt, or gives the error back when there is none.
    pub async fn wait(&mut self, error: Error) -> Result<(), Error> {
        let draw = self.random.below(1000) as f64 / 1000.0;
        let Some(delay) = self.next(&error, draw) else { return Err(error) };
        tokio::time::sleep(delay).await;
        Ok(())
    }

    fn next(&mut self, error: &Error, draw: f64) -> Option<Duration> {
        let profile = self.profile;
        let covered = match self.kind {
            Kind::Bulk | Kind::Put => true,
            Kind::Upload => profile.repeated_calls >= RepeatedCalls::Uploads,
            Kind::Single => profile.repeated_calls == RepeatedCalls::All,
        };
        let helps = profile.repeated_after == RepeatedAfter::AnyFailure || error.is_transient();
        if !covered || !helps {
            return None;
        }
        let delay = profile.backoff.delay(self.attempt, self.waited, draw)?;
        self.attempt += 1;
        // What the server asks for does not count towards the limit of what the client chooses.
        self.waited += delay;
        Some(asked(profile.retry_after, self.kind, error).map_or(delay, |asked| delay.max(asked)))
    }
}

/// How long the server asks to wait, as far as the release listens.
fn asked(rule: RetryAfter, kind: Kind, error: &Error) -> Option<Duration> {
    let Error::Status { status, retry_after: Some(seconds), .. } = error else { return None };
    let asked = Duration::from_secs(*seconds);
    match rule {
        RetryAfter::Ignored => None,
        RetryAfter::OnPut => (kind == Kind::Put && matches!(status, 429 | 503)).then_some(asked),
        RetryAfter::AtMost(most) => Some(asked.min(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after: Option<u64>) -> Error {
        Error::Status { call: "test", status, body: String::new(), retry_after }
    }

    /// The waits in seconds until the client gives up.
    fn waits(profile: &Profile, kind: Kind, error: &Error) -> Vec<u64> {
        let mut repeats = Repeats::new(profile, kind);
        std::iter::from_fn(|| repeats.next(error, 1.0)).map(|delay| delay.as_secs()).collect()
    }

    #[test]
    fn doubling_and_jitter() {
        let doubling: Vec<_> = (0..7).map_while(|n| Backoff::Doubling(5).delay(n, Duration::ZERO, 1.0)).collect();
        assert_eq!(doubling, [1, 2, 4, 8, 16].map(Duration::from_secs));
        let jitter = |n, waited| Backoff::FullJitter.delay(n, Duration::from_secs(waited), 1.0);
        assert_eq!(jitter(9, 0), Some(Duration::from_secs(15)));
        assert_eq!(jitter(9, 90), None);
    }

    #[test]
    fn each_release_repeats_what_it_repeats() {
        let five = vec![1, 2, 4, 8, 16];
        let none: Vec<u64> = Vec::new();
        let overload = refused(503, None);
        for (profile, upload) in
            [(Profile::v1_0(), false), (Profile::v1_6_1(), false), (Profile::v1_7(), true), (Profile::v1_7_5(), true)]
        {
            assert_eq!(waits(&profile, Kind::Bulk, &overload), five);
            assert_eq!(waits(&profile, Kind::Put, &overload), five);
            assert_eq!(waits(&profile, Kind::Upload, &overload), if upload { five.clone() } else { none.clone() });
            assert_eq!(waits(&profile, Kind::Single, &overload), none);
        }
        assert_eq!(waits(&Profile::v1_11_1(), Kind::Single, &overload), [1, 2, 4, 8, 15, 15, 15, 15, 15]);
        let refusal = refused(403, None);
        for kind in [Kind::Bulk, Kind::Put] {
            assert_eq!(waits(&Profile::v1_7(), kind, &refusal), five);
            assert_eq!(waits(&Profile::v1_7_5(), kind, &refusal), none);
            assert_eq!(waits(&Profile::v1_11_1(), kind, &refusal), none);
        }
    }

    #[test]
    fn server_may_ask_for_patience() {
        let asking = refused(429, Some(300));
        assert_eq!(waits(&Profile::v1_7(), Kind::Put, &asking), [1, 2, 4, 8, 16]);
        assert_eq!(waits(&Profile::v1_7_5(), Kind::Put, &asking), [300; 5]);
        assert_eq!(waits(&Profile::v1_7_5(), Kind::Bulk, &asking), [1, 2, 4, 8, 16]);
        assert_eq!(waits(&Profile::v1_11_1(), Kind::Bulk, &asking), [120; 9]);
        assert_eq!(waits(&Profile::v1_7_5(), Kind::Put, &refused(500, Some(300))), [1, 2, 4, 8, 16]);
    }
}
