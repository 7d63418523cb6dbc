//! What differs from one release of the client to the next: described here, used elsewhere.

use std::str::FromStr;
use std::time::Duration;

use super::{Backoff, RepeatedAfter, RepeatedCalls, RetryAfter, UploadHost};

const MIB: usize = 1024 * 1024;

/// How a store path travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    /// The NAR in one request, then its narinfo.
    Whole {
        /// Whether the request tells the compression; otherwise it is xz.
        names_compression: bool,
    },
    /// In parts that the client begins, sends and completes.
    Parts,
}

/// One release of the client with its defaults.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// How store paths travel.
    pub upload: Upload,
    /// Where their NARs go.
    pub upload_host: UploadHost,
    /// Uncompressed bytes above which [`UploadHost::CacheOrApi`] means `api.HOST`.
    pub api_host_above: u64,
    /// Whether a push reads the cache's record first, which tells the compression.
    pub asks_cache_first: bool,
    /// Whether URLs without a query end in a question mark.
    pub bare_question_mark: bool,
    /// Whether a slash at the end of the host stays, so that paths begin with two.
    pub keeps_trailing_slash: bool,
    /// Bytes per part; all but the last have this size.
    pub chunk_size: usize,
    /// Store paths uploaded at once.
    pub paths_at_once: usize,
    /// Parts of one path uploaded at once.
    pub parts_at_once: usize,
    /// Hashes per bulk query; `None` sends all in one, even if there are none.
    pub bulk_chunk: Option<usize>,
    /// The waits between the attempts at one request.
    pub backoff: Backoff,
    /// Which requests are repeated.
    pub repeated_calls: RepeatedCalls,
    /// After what.
    pub repeated_after: RepeatedAfter,
    /// Whether the server may say how long to wait.
    pub retry_after: RetryAfter,
    /// Waits before the upload of a path starts again from the beginning, after any failure.
    pub path_repeats: Vec<Duration>,
}

/// A text that is not the number of an emulated release.
#[derive(Debug, thiserror::Error)]
#[error("release {0} is not emulated; these are: {known}", known = Profile::releases().join(", "))]
pub struct UnknownRelease(String);

impl Profile {
    /// All releases that are emulated, the oldest first: those at which the protocol changed.
    pub fn all() -> Vec<Self> {
        vec![Self::v1_0(), Self::v1_1(), Self::v1_3(), Self::v1_6_1(), Self::v1_7(), Self::v1_7_5(), Self::v1_11_1()]
    }

    /// Their numbers.
    pub fn releases() -> Vec<String> {
        Self::all().iter().map(|profile| profile.release().to_owned()).collect()
    }

    /// The number of this one.
    pub fn release(&self) -> &str {
        self.user_agent.strip_prefix("cachix ").unwrap_or(&self.user_agent)
    }

    /// Release 1.0.0 of September 2022.
    pub fn v1_0() -> Self {
        Self {
            user_agent: "cachix 1.0.0".to_owned(),
            upload: Upload::Whole { names_compression: false },
            upload_host: UploadHost::CacheOrApi,
            api_host_above: 100 * MIB as u64,
            asks_cache_first: false,
            bare_question_mark: true,
            keeps_trailing_slash: true,
            chunk_size: 8 * MIB,
            paths_at_once: 4,
            parts_at_once: 8,
            bulk_chunk: None,
            backoff: Backoff::Doubling(5),
            repeated_calls: RepeatedCalls::Bulk,
            repeated_after: RepeatedAfter::AnyFailure,
            retry_after: RetryAfter::Ignored,
            path_repeats: [1, 2, 4, 8, 16].map(Duration::from_secs).to_vec(),
        }
    }

    /// Release 1.1 of December 2022: the cache tells the compression, and the upload names it. So does 1.2.
    pub fn v1_1() -> Self {
        Self {
            user_agent: "cachix 1.1".to_owned(),
            upload: Upload::Whole { names_compression: true },
            asks_cache_first: true,
            keeps_trailing_slash: false,
            ..Self::v1_0()
        }
    }

    /// Release 1.3 of March 2023: uploads in parts. So do 1.4 to 1.6.
    pub fn v1_3() -> Self {
        Self {
            user_agent: "cachix 1.3".to_owned(),
            upload: Upload::Parts,
            upload_host: UploadHost::Cache,
            paths_at_once: 8,
            ..Self::v1_1()
        }
    }

    /// Release 1.6.1 of September 2023: tidier URLs.
    pub fn v1_6_1() -> Self {
        Self { user_agent: "cachix 1.6.1".to_owned(), bare_question_mark: false, ..Self::v1_3() }
    }

    /// Release 1.7 of January 2024: everything goes to one host.
    pub fn v1_7() -> Self {
        Self {
            user_agent: "cachix 1.7".to_owned(),
            upload_host: UploadHost::Base,
            repeated_calls: RepeatedCalls::Uploads,
            ..Self::v1_6_1()
        }
    }

    /// Release 1.7.5 of October 2024: bigger parts, bulk queries in pieces, refusals are final.
    pub fn v1_7_5() -> Self {
        Self {
            user_agent: "cachix 1.7.5".to_owned(),
            chunk_size: 32 * MIB,
            parts_at_once: 4,
            bulk_chunk: Some(32_768),
            repeated_after: RepeatedAfter::Transient,
            retry_after: RetryAfter::OnPut,
            ..Self::v1_7()
        }
    }

    /// Release 1.11.1 of April 2026: patience in all things.
    pub fn v1_11_1() -> Self {
        Self {
            user_agent: "cachix 1.11.1".to_owned(),
            backoff: Backoff::FullJitter,
            repeated_calls: RepeatedCalls::All,
            retry_after: RetryAfter::AtMost(Duration::from_secs(120)),
            path_repeats: vec![Duration::from_secs(5); 3],
            ..Self::v1_7_5()
        }
    }

    /// Gives up at the first refusal of a path: for tests that are about the refusal.
    pub fn without_path_repeats(mut self) -> Self {
        self.path_repeats.clear();
        self
    }

    /// Gives up at the first failure of anything.
    pub fn without_repeats(mut self) -> Self {
        self.backoff = Backoff::Doubling(0);
        self.without_path_repeats()
    }

    /// Other part sizes than the default, as by `--chunk-size` (where the client demands at least 5 MiB).
    pub fn with_chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes;
        self
    }

    /// Another limit than 100 MiB, so that small NARs go to `api.HOST`.
    pub fn with_api_host_above(mut self, bytes: u64) -> Self {
        self.api_host_above = bytes;
        self
    }
}

impl FromStr for Profile {
    type Err = UnknownRelease;

    fn from_str(text: &str) -> Result<Self, UnknownRelease> {
        let found = Self::all().into_iter().find(|profile| profile.release() == text);
        found.ok_or_else(|| UnknownRelease(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_found_by_their_numbers() {
        for release in Profile::releases() {
            assert_eq!(release.parse::<Profile>().unwrap().user_agent, format!("cachix {release}"));
        }
        assert!("1.2".parse::<Profile>().unwrap_err().to_string().ends_with("1.7, 1.7.5, 1.11.1"));
    }
}
