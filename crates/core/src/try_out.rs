//! Whether a cache can be used: asks for it over HTTP where its users do, and believes what comes only as they would.

use crate::{
    Core,
    caller::{Caller, Discretion},
    directory::Cache,
    error::Result,
};
use iglu_api::cache::{Permission, TryStep};
use nix_compat::{narinfo::NarInfo, store_path::StorePathHash};

/// The longest answer that is read, in bytes.
const LONGEST: usize = 1 << 20;

impl Core {
    /// Fetches the cache's info and its newest narinfo from its public address, and verifies the signature with the keys that it hands out.
    /// Each step is told; the first that fails is the last.
    pub async fn cache_try(&self, caller: &Caller, name: &str) -> Result<Vec<TryStep>> {
        let cache = self.cache().open(caller, name, Permission::Pull, Discretion::Hide).await?;
        let uri = self.address().cache_uri(&cache.name);
        let newest = self.db.recent_pushes(&cache.name, cache.id, 20).await?;
        let newest = newest.into_iter().find(|push| !push.path.held).map(|push| push.path.hash);
        let mut steps = Vec::new();
        let info = self.fetched(&format!("{uri}/nix-cache-info")).await;
        let is_private = !cache.is_public();
        let (good, words) = match &info {
            Ok((200, text)) if text.contains("StoreDir: /nix/store") => {
                (true, "it answers as a binary cache".to_owned())
            }
            Ok((401, _)) if is_private => (true, "it answers, and asks for a token as a private cache does".to_owned()),
            Ok((403, _)) if !cache.networks.is_everywhere() => {
                (true, "it answers, and lets in only those in its networks, in which this server is not".to_owned())
            }
            Ok((status, _)) => (false, format!("it answers with {status} instead; is the public URL this server's?")),
            Err(why) => (false, format!("it cannot be reached from the server: {why}")),
        };
        steps.push(TryStep { what: format!("GET {uri}/nix-cache-info"), is_good: good, words });
        if !good || is_private || matches!(info, Ok((403, _))) {
            return Ok(steps);
        }
        let Some(hash) = newest else {
            let words = "nothing has been pushed yet, so that there is no signature to verify".to_owned();
            steps.push(TryStep { what: "The newest path".to_owned(), is_good: true, words });
            return Ok(steps);
        };
        let url = format!("{uri}/{hash}.narinfo");
        let (is_good, words) = match self.fetched(&url).await {
            Ok((200, text)) => verified(&cache, hash, &text),
            Ok((status, _)) => (false, format!("it answers with {status} instead of a narinfo")),
            Err(why) => (false, format!("it cannot be reached from the server: {why}")),
        };
        steps.push(TryStep { what: format!("GET {url}"), is_good, words });
        Ok(steps)
    }

    async fn fetched(&self, url: &str) -> std::result::Result<(u16, String), String> {
        // Without the URL, which stands beside it; the innermost cause says what somebody can mend.
        let plain = |error: reqwest::Error| {
            let error = error.without_url();
            let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
            causes.last().map_or_else(|| error.to_string(), ToString::to_string)
        };
        let mut response = self.upstream().client().map_err(plain)?.get(url).send().await.map_err(plain)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(plain)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err("the answer does not end".to_owned());
            }
        }
        Ok((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Whether a client that trusts the cache's keys takes this narinfo.
fn verified(cache: &Cache, hash: StorePathHash, text: &str) -> (bool, String) {
    let Ok(narinfo) = NarInfo::parse(text.as_bytes()) else {
        return (false, "what comes is no narinfo; does a proxy answer for this server?".to_owned());
    };
    if narinfo.store_path.hash() != hash {
        return (false, format!("it is about {} instead", narinfo.store_path));
    }
    let fingerprint = narinfo.fingerprint();
    let by = narinfo.signatures.iter().find(|signature| {
        let key = cache.public_key(&signature.key_name).map(|(key, _)| key);
        key.is_some_and(|key| key.verify(&fingerprint, signature))
    });
    match by {
        Some(signature) => (true, format!("the path {} is signed by {}", narinfo.store_path, signature.key_name)),
        None => (false, "no key of this cache signed it: those who pull refuse it".to_owned()),
    }
}
