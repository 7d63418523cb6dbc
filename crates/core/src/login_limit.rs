//! How often one may try to log in: by name and address together, so that nobody can lock another out, and by address alone.

use crate::error::{Error, Result};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
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
    pub fn check(&self, name: &str, address: &str) -> Result<()> {
        // A long name is nobody's; it must not fill the memory.
        let name: String = name.chars().take(50).collect();
        let tried = self
            .by_address
            .check_key(&address.to_owned())
            .and_then(|()| self.by_name.check_key(&format!("{name}\n{address}")));
        tried.map_err(|until| {
            let seconds = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            Error::TooMany {
                message: format!("too many tries to log in; wait {seconds} seconds"),
                retry_after_seconds: seconds,
            }
        })
    }

    /// Forgets whom the limits no longer concern.
    pub fn forget_idle(&self) {
        self.by_name.retain_recent();
        self.by_address.retain_recent();
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
