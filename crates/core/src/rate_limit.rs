//! How many requests somebody without a token, one token, and somebody who tries tokens may send. Each server counts in memory, since
//! reading writes nothing to the database; where there are several, a request weighs as much as there are servers, so that together
//! they let through what one alone would.

use crate::{
    Core,
    error::{Error, Result},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
};

/// Secrets a minute from one address that this server has not found good lately: all machines of a company behind one router, after a
/// restart.
const GUESSES: NonZeroU32 = NonZeroU32::new(300).expect("not zero");

/// Requests a minute; `None` for as many as anybody likes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Of one address, without a token or login.
    pub anonymous: Option<NonZeroU32>,
    /// With one token.
    pub token: Option<NonZeroU32>,
}

/// Counts requests of many senders.
struct Limit<K: Hash + Eq + Clone> {
    a_minute: NonZeroU32,
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(a_minute: NonZeroU32) -> Limit<K> {
        Limit { a_minute, limiter: RateLimiter::keyed(Quota::per_minute(a_minute)) }
    }

    /// Counts a request that weighs so much; how many seconds to wait where it is one too many.
    fn count(&self, key: &K, weight: u32) -> std::result::Result<(), u64> {
        let weight = NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN).min(self.a_minute);
        match self.limiter.check_key_n(key, weight) {
            Ok(Err(until)) => Err(until.wait_time_from(DefaultClock::default().now()).as_secs() + 1),
            // No request weighs more than there may be in a minute.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

pub(crate) struct RateLimits {
    anonymous: Option<Limit<IpAddr>>,
    token: Option<Limit<i64>>,
    guesses: Limit<String>,
}

impl RateLimits {
    pub fn new(rates: Rates) -> RateLimits {
        RateLimits {
            anonymous: rates.anonymous.map(Limit::new),
            token: rates.token.map(Limit::new),
            guesses: Limit::new(GUESSES),
        }
    }

    /// Forgets whom the limits no longer concern.
    pub fn forget_idle(&self) {
        if let Some(anonymous) = &self.anonymous {
            anonymous.limiter.retain_recent();
        }
        if let Some(token) = &self.token {
            token.limiter.retain_recent();
        }
        self.guesses.limiter.retain_recent();
    }
}

/// What one sender has: with IPv6 that is a network, in which addresses are chosen freely.
fn sender(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// What one sender has, of an address as text: with IPv6 that is a network. What is no address stands for itself.
pub fn sender_of(address: &str) -> String {
    address.parse().map_or_else(|_| address.to_owned(), |address| sender(address).to_string())
}

fn refused(what: &'static str, message: String, seconds: u64) -> Error {
    metrics::counter!("iglu_rate_limited_total", "limit" => what).increment(1);
    Error::TooMany { message: format!("{message}; wait {seconds} seconds"), retry_after_seconds: seconds }
}

impl Core {
    /// Counts a request without token or login.
    ///
    /// # Errors
    /// [`Error::TooMany`] where it is one too many.
    pub fn anonymous_try(&self, address: Option<IpAddr>) -> Result<()> {
        let Some((limit, address)) = self.rate_limits.anonymous.as_ref().zip(address) else { return Ok(()) };
        limit.count(&sender(address), self.weight()).map_err(|seconds| {
            let message = format!(
                "{address} sent more than {} requests within a minute without a token; with one there is no such limit",
                limit.a_minute
            );
            refused("anonymous", message, seconds)
        })
    }

    /// Counts a request with a token.
    pub(crate) fn token_try(&self, id: i64, name: &str) -> Result<()> {
        let Some(limit) = &self.rate_limits.token else { return Ok(()) };
        limit.count(&id, self.weight()).map_err(|seconds| {
            let message = format!("more than {} requests came within a minute with token \"{name}\"", limit.a_minute);
            refused("token", message, seconds)
        })
    }

    /// Counts a secret of which this server does not know whether it is good.
    pub(crate) fn guess_try(&self, address: &str) -> Result<()> {
        self.rate_limits
            .guesses
            .count(&sender_of(address), self.weight())
            .map_err(|seconds| refused("guesses", format!("{address} tried too many tokens"), seconds))
    }

    fn weight(&self) -> u32 {
        u32::try_from(self.replica_count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_is_limited_and_others_are_not() {
        let limit = Limit::new(NonZeroU32::new(10).unwrap());
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!((0..20).filter(|_| limit.count(&one, 1).is_ok()).count(), 10);
        assert!(limit.count(&one, 1).is_err_and(|seconds| (1..=7).contains(&seconds)));
        assert!(limit.count(&"192.0.2.2".parse().unwrap(), 1).is_ok());
    }

    #[test]
    fn what_three_servers_let_through_is_what_one_would() {
        let servers = [(); 3].map(|()| Limit::new(NonZeroU32::new(30).unwrap()));
        let passed = (0..90).filter(|request| servers[request % 3].count(&0, 3).is_ok()).count();
        assert_eq!(passed, 30);
        // However many servers there are, somebody is let through.
        assert!(Limit::new(NonZeroU32::new(2).unwrap()).count(&0, 3).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_sender() {
        let sender = |text: &str| super::sender(text.parse().unwrap());
        assert_eq!(sender("2001:db8::1"), sender("2001:db8::ffff:1"));
        assert_ne!(sender("2001:db8::1"), sender("2001:db8:0:1::1"));
        assert_eq!(sender("::ffff:192.0.2.1"), sender("192.0.2.1"));
    }
}
