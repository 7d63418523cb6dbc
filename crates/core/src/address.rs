//! Under which URLs this Iglu is reached, and the names made from them.

use crate::error::{Error, Result};
use iglu_api::CacheName;

/// The public URL and, where wildcard DNS points here, the domain whose labels are caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http` or `https`.
    scheme: &'static str,
    /// Host with port, as typed.
    authority: String,
    cache_domain: Option<String>,
}

impl Address {
    /// Parses the URL that people type: http or https, a host, a port if any, no query. Blanks and a trailing slash are forgiven.
    pub fn parse(public_url: &str, cache_domain: Option<&str>) -> Result<Address> {
        let refuse = |why: &str| {
            Error::invalid("public_url", format!("the public URL {why}, such as https://cache.example.org"))
        };
        let url = public_url.trim();
        let (scheme, rest) = match url.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            _ => return Err(refuse("begins with http:// or https://")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']' | '_');
        if authority.is_empty() || !authority.chars().all(plain) {
            return Err(refuse("names a host"));
        }
        if !path.trim_matches('/').is_empty() {
            return Err(refuse("has no path: Iglu is served at the root of a host"));
        }
        let cache_domain = cache_domain.map(|domain| domain.trim().trim_start_matches("*.").to_ascii_lowercase());
        Ok(Address { scheme, authority: authority.to_ascii_lowercase(), cache_domain })
    }

    pub fn public_url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    pub fn cache_domain(&self) -> Option<&str> {
        self.cache_domain.as_deref()
    }

    /// Whether a Host header, with or without a port, names the public URL's own host.
    pub fn is_public_host(&self, host: &str) -> bool {
        let name = |authority: &str| authority.split_once(':').map_or(authority, |(name, _)| name).to_ascii_lowercase();
        name(host) == name(&self.authority)
    }

    /// Whether a URL leads back to this server.
    pub fn is_own(&self, url: &str) -> bool {
        let Some((scheme, rest)) = url.split_once("://") else { return false };
        let authority = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let port = |scheme: &str| if scheme == "https" { ":443" } else { ":80" };
        let plain =
            |authority: &str, scheme: &str| authority.strip_suffix(port(scheme)).unwrap_or(authority).to_owned();
        let (theirs, own) = (plain(&authority, scheme), plain(&self.authority, self.scheme));
        let below = |domain: &str| theirs.split(':').next().is_some_and(|host| host.ends_with(&format!(".{domain}")));
        theirs == own || self.cache_domain.as_deref().is_some_and(below)
    }

    /// The substituter URL of a cache: below the public URL, or a label before the cache domain.
    pub fn cache_uri(&self, name: &CacheName) -> String {
        match &self.cache_domain {
            Some(domain) => format!("{}://{name}.{domain}{}", self.scheme, self.port()),
            None => format!("{}/{name}", self.public_url()),
        }
    }

    /// How clients of the cachix protocol expect keys to be called: `NAME.HOST-number`, never with a port.
    pub fn key_name(&self, name: &CacheName, number: u32) -> String {
        let host = match &self.cache_domain {
            Some(domain) => domain.clone(),
            None => self.authority[..self.authority.len() - self.port().len()].replace(['[', ']', ':'], "_"),
        };
        format!("{name}.{host}-{number}")
    }

    /// `:port`, or nothing.
    fn port(&self) -> &str {
        match self.authority.rfind(':') {
            Some(colon) if self.authority[colon + 1..].chars().all(|c| c.is_ascii_digit()) => &self.authority[colon..],
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_cache() -> CacheName {
        CacheName::parse("main").unwrap()
    }

    #[test]
    fn names_made_from_the_public_url() {
        for (url, domain, uri, key) in [
            ("https://cache.example.org/", None, "https://cache.example.org/main", "main.cache.example.org-1"),
            (" http://127.0.0.1:8080 ", None, "http://127.0.0.1:8080/main", "main.127.0.0.1-1"),
            ("http://[::1]:8080", None, "http://[::1]:8080/main", "main.___1_-1"),
            ("https://c.org", Some("cache.c.org"), "https://main.cache.c.org", "main.cache.c.org-1"),
            ("http://c.org:8080", Some("*.c.org"), "http://main.c.org:8080", "main.c.org-1"),
        ] {
            let address = Address::parse(url, domain).unwrap();
            assert_eq!(address.cache_uri(&main_cache()), uri);
            assert_eq!(address.key_name(&main_cache(), 1), key);
        }
    }

    #[test]
    fn knows_itself() {
        let address = Address::parse("https://c.org", Some("cache.c.org")).unwrap();
        for own in ["https://c.org/main", "https://C.org:443", "https://main.cache.c.org", "http://x.cache.c.org:8080/"]
        {
            assert!(address.is_own(own), "{own}");
        }
        for other in ["https://cache.nixos.org", "https://c.org:8443/main", "https://xc.org", "c.org"] {
            assert!(!address.is_own(other), "{other}");
        }
    }

    #[test]
    fn refuses_what_is_no_public_url() {
        for url in [
            "",
            "cache.example.org",
            "ftp://x",
            "https://",
            "https://a b",
            "https://x/?q",
            "https://u:p@x",
            "https://x/y",
        ] {
            assert!(Address::parse(url, None).is_err(), "{url}");
        }
    }
}
