//! The push: where to, which paths are missing, and their upload, several at once.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::wire::{CacheConfig, UploadResult};
use super::{Client, Error, Faults, Preamble};
use crate::object::Object;

/// What the user chose.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Pushes also what a key of an upstream cache has signed.
    pub ignore_upstream_cache_filter: bool,
    /// Where the metadata goes.
    pub preamble: Preamble,
    /// Accidents, the same for each path.
    pub faults: Faults,
}

/// One uploaded store path.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// `/nix/store/HASH-NAME`.
    pub path: String,
    /// What the server said, if anything that the client can read.
    pub result: Option<UploadResult>,
}

/// How a push went.
#[derive(Debug)]
pub struct PushReport {
    /// The cache's record, read at the beginning.
    pub config: CacheConfig,
    /// Paths that were left out because of who signed them.
    pub upstream: Vec<String>,
    /// Hash parts that the cache asked for.
    pub missing: Vec<String>,
    /// What was uploaded.
    pub pushed: Vec<Pushed>,
    /// What was not: one failure does not stop the others.
    pub failed: Vec<(String, Error)>,
}

impl PushReport {
    /// The command's exit: a failure if one path failed.
    pub fn whole(mut self) -> Result<Self, Error> {
        match self.failed.pop() {
            Some((_, error)) => Err(error),
            None => Ok(self),
        }
    }
}

impl Client {
    /// `attic push` of a closure. Fails where nothing could be uploaded; single failures are in the report.
    pub async fn push(&self, cache: &str, objects: &[Object], options: &PushOptions) -> Result<PushReport, Error> {
        let config = self.cache_config(cache).await?;
        // The same token is sent there.
        let api = match &config.api_endpoint {
            Some(endpoint) => self.at(endpoint)?,
            None => self.clone(),
        };
        let keys = match (&config.upstream_cache_key_names, options.ignore_upstream_cache_filter) {
            (Some(names), false) => names.as_slice(),
            _ => &[],
        };
        let (upstream, wanted): (Vec<&Object>, Vec<&Object>) =
            objects.iter().partition(|object| is_signed_by(object, keys));
        let hashes: Vec<String> = wanted.iter().map(|object| object.hash().to_owned()).collect();
        let missing = if hashes.is_empty() { Vec::new() } else { api.get_missing_paths(cache, &hashes).await? };
        let asked: HashSet<&str> = missing.iter().map(String::as_str).collect();
        let permits = Arc::new(Semaphore::new(self.uploads_at_once));
        let mut running = JoinSet::new();
        for object in wanted.into_iter().filter(|object| asked.contains(object.hash())) {
            let (client, cache, object) = (api.clone(), cache.to_owned(), object.clone());
            let (options, permits) = (options.clone(), permits.clone());
            running.spawn(async move {
                let _permit = permits.acquire_owned().await;
                let done = client.upload_path(&cache, &object, options.preamble, &options.faults).await;
                (object.path, done)
            });
        }
        let upstream = upstream.into_iter().map(|object| object.path.clone()).collect();
        let mut report = PushReport { config, upstream, missing, pushed: Vec::new(), failed: Vec::new() };
        while let Some(ended) = running.join_next().await {
            let lost = |cause: tokio::task::JoinError| Error::Transport { call: "push", cause: cause.to_string() };
            match ended.map_err(lost)? {
                (path, Ok(result)) => report.pushed.push(Pushed { path, result }),
                (path, Err(error)) => report.failed.push((path, error)),
            }
        }
        Ok(report)
    }

    /// [`Client::push`] of one path alone, without its closure; its failure is the result.
    pub async fn push_one(&self, cache: &str, object: &Object, options: &PushOptions) -> Result<PushReport, Error> {
        self.push(cache, std::slice::from_ref(object), options).await?.whole()
    }
}

fn is_signed_by(object: &Object, keys: &[String]) -> bool {
    let name = |sig: &String| sig.split_once(':').map(|(name, _)| name.to_owned());
    object.sigs.iter().filter_map(name).any(|name| keys.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_filter_goes_by_the_name_of_the_key() {
        let keys = ["cache.nixos.org-1".to_owned()];
        let object = |sigs: &[&str]| sigs.iter().fold(Object::synthetic("x", 1, 1), |object, sig| object.signed(sig));
        assert!(is_signed_by(&object(&["other:AAAA", "cache.nixos.org-1:AAAA"]), &keys));
        assert!(!is_signed_by(&object(&["cache.nixos.org-12:AAAA"]), &keys));
        assert!(!is_signed_by(&object(&[]), &keys));
    }
}
