//! From which networks a cache may be used.

use crate::error::{Error, Result};
use ipnet::IpNet;
use std::net::IpAddr;

/// Networks of one cache.
const MOST: usize = 64;

/// Networks from which a cache may be used; none for everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks as people write them: `10.0.0.0/8`, `2001:db8::/32`, or one address. Each is kept once, by its first address.
    ///
    /// # Errors
    /// [`Error::Invalid`] for `networks`.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Networks> {
        let mut networks = Vec::new();
        for text in texts {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
                let shown: String = text.chars().take(60).flat_map(char::escape_default).collect();
                Error::invalid("networks", format!("\"{shown}\" is no network, such as 10.0.0.0/8 or 2001:db8::/32"))
            })?;
            let network = network.trunc();
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        if networks.len() > MOST {
            return Err(Error::invalid("networks", format!("at most {MOST} networks are taken")));
        }
        Ok(Networks(networks))
    }

    /// Whether everybody is let in, wherever they are.
    pub fn is_everywhere(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody at this address is let in. Where a rule holds, an address that nobody knows is not.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        self.is_everywhere()
            || address.is_some_and(|address| self.0.iter().any(|network| network.contains(&address.to_canonical())))
    }

    /// Each as people write it.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(networks: &[&str], address: &str) -> bool {
        Networks::parse(networks.iter().copied()).unwrap().contains(address.parse().ok())
    }

    #[test]
    fn addresses_are_in_their_networks() {
        assert!(contains(&[], "192.0.2.1") && contains(&[], ""));
        assert!(contains(&["10.0.0.0/8", "2001:db8::/32"], "10.255.0.1"));
        assert!(contains(&["10.0.0.0/8", "2001:db8::/32"], "2001:db8:1::7"));
        assert!(contains(&["10.0.0.0/8"], "::ffff:10.1.2.3"), "IPv4 in the clothes of IPv6");
        assert!(contains(&["192.0.2.1"], "192.0.2.1") && !contains(&["192.0.2.1"], "192.0.2.2"));
        assert!(!contains(&["10.0.0.0/8"], "11.0.0.1"));
        assert!(!contains(&["10.0.0.0/8"], ""), "an address that nobody knows");
    }

    #[test]
    fn what_is_written_is_kept_in_one_form() {
        let networks = Networks::parse(["10.1.2.3/8", "10.0.0.0/8", "2001:DB8::1"]).unwrap();
        assert_eq!(networks.texts(), ["10.0.0.0/8", "2001:db8::1/128"]);
        for wrong in ["10.0.0.0/33", "example.org", "10.0.0", "10.0.0.0/8,11.0.0.0/8"] {
            assert!(Networks::parse([wrong]).is_err(), "{wrong}");
        }
        let many: Vec<String> = (0..=MOST).map(|n| format!("10.0.{n}.0/24")).collect();
        assert!(Networks::parse(many.iter().map(String::as_str)).is_err());
    }
}
