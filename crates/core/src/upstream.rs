//! Other caches that a cache sits on top of: whether they have a path. The only place that speaks HTTP to others; a slow or
//! broken upstream costs a short wait and then counts as having nothing.

use crate::{Core, directory::Cache};
use futures_util::{StreamExt, stream};
use nix_compat::store_path::StorePathHash;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// How long one question may take, and all questions of one request together.
const ONE: Duration = Duration::from_secs(5);
const ALL: Duration = Duration::from_secs(30);
/// Questions under way for one request.
const AT_ONCE: usize = 48;
/// How long an answer is believed: what was there is rarely gone, what was absent may come.
const YES_LASTS: Duration = Duration::from_secs(3600);
const NO_LASTS: Duration = Duration::from_secs(60);
/// An upstream that does not answer is left alone for so long.
const REST: Duration = Duration::from_secs(30);

type Question = (u64, StorePathHash);

#[derive(Clone, Copy, Debug)]
struct Known {
    has: bool,
    at: Instant,
}

/// What is remembered of upstreams, and the connections to them.
#[derive(Debug)]
pub(crate) struct Upstreams {
    client: OnceLock<reqwest::Client>,
    known: quick_cache::sync::Cache<Question, Known>,
    /// URLs that failed, and when.
    failed: Mutex<HashMap<String, Instant>>,
}

impl Default for Upstreams {
    fn default() -> Upstreams {
        Upstreams { client: OnceLock::new(), known: quick_cache::sync::Cache::new(200_000), failed: Mutex::default() }
    }
}

impl Core {
    pub(crate) fn upstream(&self) -> &Upstreams {
        &self.upstreams
    }
}

impl Upstreams {
    /// Which of `hashes` an upstream of the cache has. What cannot be found out in time is counted as absent.
    pub async fn present(&self, cache: &Cache, hashes: Vec<StorePathHash>) -> HashSet<StorePathHash> {
        let mut present = HashSet::new();
        let mut asked = hashes;
        let deadline = tokio::time::Instant::now() + ALL;
        for url in &cache.upstreams {
            asked.retain(|hash| !present.contains(hash));
            if asked.is_empty() || self.rests(url) {
                continue;
            }
            let mut answers =
                stream::iter(asked.iter().copied().map(|hash| async move { (hash, self.has(url, hash).await) }))
                    .buffer_unordered(AT_ONCE);
            while let Ok(Some((hash, answer))) = tokio::time::timeout_at(deadline, answers.next()).await {
                match answer {
                    Ok(true) => {
                        present.insert(hash);
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(upstream = url, %error, "an upstream does not answer; it is left alone for a while");
                        self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(url.clone(), Instant::now());
                        break;
                    }
                }
            }
        }
        present
    }

    fn rests(&self, url: &str) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(url).is_some_and(|at| at.elapsed() < REST)
    }

    async fn has(&self, url: &str, hash: StorePathHash) -> Result<bool, reqwest::Error> {
        let digest = blake3::hash(url.as_bytes());
        let question = (u64::from_le_bytes(first_eight(digest.as_bytes())), hash);
        let lasts = |known: &Known| if known.has { YES_LASTS } else { NO_LASTS };
        if let Some(known) = self.known.get(&question).filter(|known| known.at.elapsed() < lasts(known)) {
            return Ok(known.has);
        }
        let response = self.client()?.head(format!("{url}/{hash}.narinfo")).send().await?;
        let has = match response.status().as_u16() {
            200..=299 => true,
            // Everything that Nix, too, takes for "not here".
            401 | 403 | 404 | 410 => false,
            _ => response.error_for_status().map(|_| false)?,
        };
        self.known.insert(question, Known { has, at: Instant::now() });
        Ok(has)
    }

    pub(crate) fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Fails where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("iglu/", env!("CARGO_PKG_VERSION")))
            .timeout(ONE)
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::limited(3))
            .build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

fn first_eight(bytes: &[u8; 32]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    first
}
