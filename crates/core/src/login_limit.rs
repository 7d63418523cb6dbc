//! How often one may try to log in: by name and address together, so that nobody can lock another out, and by address alone; with IPv6 the
//! network stands for the address. Each server counts in memory; those that share a database count there too, so that more servers do not mean more tries.

use crate::{
    Core,
    error::{Error, Result},
    rate_limit::sender_of,
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use iglu_api::Timestamp;
use std::num::NonZeroU32;

type Keyed = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock>;

/// Tries a minute with one name from one address.
const BY_NAME: NonZeroU32 = NonZeroU32::new(6).expect("not zero");
/// Tries a minute from one address: a team behind one router.
const BY_ADDRESS: NonZeroU32 = NonZeroU32::new(60).expect("not zero");

pub(crate) struct LoginLimit {
    by_name: Keyed,
    by_address: Keyed,
}

impl Default for LoginLimit {
    fn default() -> LoginLimit {
        LoginLimit {
            by_name: RateLimiter::keyed(Quota::per_minute(BY_NAME)),
            by_address: RateLimiter::keyed(Quota::per_minute(BY_ADDRESS)),
        }
    }
}

impl LoginLimit {
    /// Counts a try; refuses with the time to wait.
    fn check(&self, name: &str, address: &str) -> Result<()> {
        let tried =
            self.by_address.check_key(&address.to_owned()).and_then(|()| self.by_name.check_key(&pair(name, address)));
        tried.map_err(|until| too_many(until.wait_time_from(DefaultClock::default().now()).as_secs() + 1))
    }

    /// Forgets whom the limits no longer concern.
    pub fn forget_idle(&self) {
        self.by_name.retain_recent();
        self.by_address.retain_recent();
    }
}

/// A long name is nobody's; it must not fill the memory.
fn pair(name: &str, address: &str) -> String {
    let name: String = name.chars().take(50).filter(|letter| *letter != '\0').collect();
    format!("{name}\n{address}")
}

fn too_many(seconds: u64) -> Error {
    metrics::counter!("iglu_rate_limited_total", "limit" => "login").increment(1);
    Error::TooMany {
        message: format!("too many tries to log in; wait {seconds} seconds"),
        retry_after_seconds: seconds,
    }
}

impl Core {
    /// Counts a try to log in; refuses with the time to wait.
    pub(crate) async fn login_try(&self, name: &str, address: &str) -> Result<()> {
        let sender = sender_of(address);
        // What this server refuses by itself costs the database nothing.
        self.login_limit.check(name, &sender)?;
        if !self.is_shared() {
            return Ok(());
        }
        for (who, a_minute) in [(sender.clone(), BY_ADDRESS), (pair(name, &sender), BY_NAME)] {
            let a_minute = i64::from(a_minute.get());
            let interval = Timestamp::MINUTE / a_minute;
            if let Some(millis) = self.db.login_try(&who, self.now().0, interval, a_minute - 1).await? {
                return Err(too_many(millis.unsigned_abs().div_ceil(1000)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_one_name_at_one_address_only() {
        let limit = LoginLimit::default();
        let tries = (0..10).filter(|_| limit.check("ada", "192.0.2.1").is_ok()).count();
        assert_eq!(tries, 6);
        assert!(limit.check("ada", "192.0.2.2").is_ok());
        assert!(limit.check("bob", "192.0.2.1").is_ok());
    }
}
