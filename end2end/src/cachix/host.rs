//! Which host a request goes to: pure rules over URLs.

/// Where the NARs of a release go. Everything else goes to the configured host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadHost {
    /// The configured host.
    Base,
    /// `NAME.HOST`.
    Cache,
    /// `NAME.HOST`, or `api.HOST` for big NARs.
    CacheOrApi,
}

impl UploadHost {
    /// The label before the host, if any. `nar_size` is in uncompressed bytes, `api_above` the most for `NAME.HOST`.
    pub fn label(self, cache: &str, nar_size: u64, api_above: u64) -> Option<&str> {
        match self {
            Self::Base => None,
            Self::CacheOrApi if nar_size > api_above => Some("api"),
            Self::Cache | Self::CacheOrApi => Some(cache),
        }
    }
}

/// The URL with a label before its host; scheme, port and path stay.
pub(super) fn under(label: &str, url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{label}.{rest}"),
        None => format!("{label}.{url}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_go_before_the_host_alone() {
        assert_eq!(under("main", "http://cache.local:8080/pfx"), "http://main.cache.local:8080/pfx");
        assert_eq!(under("api", "https://cache.local"), "https://api.cache.local");
    }

    #[test]
    fn big_nars_go_to_the_api_host_of_the_oldest_releases() {
        const LIMIT: u64 = 100 * 1024 * 1024;
        for size in [0, LIMIT, LIMIT + 1] {
            assert_eq!(UploadHost::Base.label("main", size, LIMIT), None);
            assert_eq!(UploadHost::Cache.label("main", size, LIMIT), Some("main"));
        }
        assert_eq!(UploadHost::CacheOrApi.label("main", LIMIT, LIMIT), Some("main"));
        assert_eq!(UploadHost::CacheOrApi.label("main", LIMIT + 1, LIMIT), Some("api"));
    }
}
