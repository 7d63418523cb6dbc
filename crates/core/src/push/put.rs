//! Pushing with plain `nix copy`: the NAR file is put by name, then the narinfo that names it. The file stays unseen until a
//! narinfo is found to be true of it.

use super::{Claim, Found, Publish, Published, Pushes, pushed_by};
use crate::{
    blob::Kind,
    caller::Caller,
    directory::Cache,
    error::{Error, Result},
};
use bytes::Bytes;
use futures_util::Stream;
use nix_compat::{
    compression::Compression,
    narinfo::{NarInfo, is_relative_nar_url},
    nixhash::Sha256,
    store_path::StorePathHash,
};
use std::sync::Arc;

/// The name of a NAR file below `nar/`: `<52 nix32 digits>.nar`, perhaps with an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NarFileName {
    /// SHA-256 of the file's bytes.
    pub file_hash: Sha256,
}

impl NarFileName {
    pub fn parse(name: &str) -> Option<NarFileName> {
        let (hash, rest) = name.split_at_checked(52)?;
        let extension = rest.strip_prefix(".nar")?;
        let plain = |extension: &str| {
            (1..=8).contains(&extension.len()) && extension.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9'))
        };
        let well_formed = extension.is_empty() || extension.strip_prefix('.').is_some_and(plain);
        Some(NarFileName { file_hash: Sha256::parse_nix32(hash).ok().filter(|_| well_formed)? })
    }
}

impl Pushes<'_> {
    /// Whether a pusher may leave out this NAR file. A yes is a promise: what is not published yet is kept longer.
    pub async fn nar_head(&self, cache: &Cache, name: NarFileName) -> Result<bool> {
        Ok(self.nar_size(cache, &name.file_hash).await?.is_some())
    }

    /// Bytes of a NAR file that may be named in this cache, and is there.
    async fn nar_size(&self, cache: &Cache, file_hash: &Sha256) -> Result<Option<u64>> {
        let core = self.0;
        if let Some(put) = core.db.put_nar_get(cache.id, file_hash.as_bytes()).await? {
            let size = put.file_size.unsigned_abs();
            if core.blob.size(Kind::Nar, file_hash).await? == Some(size) {
                core.db.put_nar_put(cache.id, file_hash.as_bytes(), put.file_size, None, core.now().0).await?;
                return Ok(Some(size));
            }
            return Ok(None);
        }
        Ok(core.fetch().nar(cache, file_hash).await?.map(|nar| nar.size))
    }

    /// Takes a NAR file. The bytes must hash to the name; putting the same again is fine.
    pub async fn nar_put<S>(&self, cache: &Cache, name: NarFileName, body: S) -> Result<()>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        self.nar_receive(cache, Some(name.file_hash), None, body).await.map(drop)
    }

    /// Takes a NAR file, perhaps of a known hash, perhaps with the compression that a later narinfo will not name.
    pub(super) async fn nar_receive<S>(
        &self,
        cache: &Cache,
        expected: Option<Sha256>,
        announced: Option<Compression>,
        body: S,
    ) -> Result<Sha256>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let core = self.0;
        core.storage_remembered()?;
        let limit = cache.upload_limit(core.limits.nar_file_bytes)?;
        let received = core.blob.receive::<_, sha2::Sha256>(body, limit).await?;
        core.totals.push_bytes.add(received.size);
        let found = Sha256::from_bytes(sha2::Digest::finalize(received.digest).into());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(self.refused(format!(
                "file hash of nar/{}.nar is {}: the bytes are not what the name says",
                expected.to_nix32(),
                found.to_nix32()
            )));
        }
        crate::failpoint::reach("put.received");
        core.file_publish(Kind::Nar, received.scratch.path(), &found, received.size).await?;
        let announced = announced.map(Compression::as_str);
        core.db.put_nar_put(cache.id, found.as_bytes(), super::signed(received.size), announced, core.now().0).await?;
        crate::failpoint::reach("put.noted");
        Ok(found)
    }

    /// Publishes the path that a narinfo describes, or adds its signatures to the path that is there. The work goes on when
    /// the client hangs up: what the database has, memory must learn.
    pub async fn narinfo_put(
        &self,
        caller: &Caller,
        cache: &Arc<Cache>,
        hash: StorePathHash,
        text: Bytes,
    ) -> Result<Published> {
        let (core, caller, cache) = (self.0.clone(), caller.clone(), cache.clone());
        let task = tokio::spawn(async move {
            let (url, claim) = core.push().narinfo_claim(hash, &text)?;
            core.push().claim_publish(&caller, &cache, claim, &url, false).await
        });
        task.await?
    }

    /// What a narinfo says, and the URL in it.
    fn narinfo_claim(&self, hash: StorePathHash, text: &[u8]) -> Result<(String, Claim)> {
        let narinfo = NarInfo::parse(text).map_err(|error| self.refused(format!("narinfo: {error}")))?;
        let path = narinfo.store_path.clone();
        if path.hash() != hash {
            return Err(self.refused(format!("narinfo of {path} was put under the name {hash}.narinfo")));
        }
        if !is_relative_nar_url(&narinfo.url) {
            return Err(self.refused(format!("narinfo of {path}: its URL is not nar/<file>")));
        }
        let name = narinfo.url.strip_prefix("nar/").and_then(NarFileName::parse);
        let name = name.ok_or_else(|| {
            self.refused(format!("narinfo of {path}: its URL is not nar/<SHA-256 of the file in nix32>.nar[.ext]"))
        })?;
        if let Some(claimed) = narinfo.file_hash.filter(|claimed| *claimed != name.file_hash) {
            return Err(self.refused(format!("file hash of {path} is {}, not {claimed} as announced", name.file_hash)));
        }
        let url = narinfo.url.clone();
        Ok((url, Claim { file_hash: Some(name.file_hash), ..Claim::of(narinfo) }))
    }

    /// Publishes a path whose NAR file was put before: `claim` names it by its hash, `url` is what its client calls it.
    pub(super) async fn claim_publish(
        &self,
        caller: &Caller,
        cache: &Cache,
        claim: Claim,
        url: &str,
        hold: bool,
    ) -> Result<Published> {
        let core = self.0;
        let path = &claim.store_path;
        let file_hash = claim.file_hash.ok_or_else(|| Error::internal(format!("a claim of {path} names no file")))?;
        let by = pushed_by(caller);
        let put = core.db.put_nar_get(cache.id, file_hash.as_bytes()).await?;
        let is_present = !core.db.paths_present(cache.id, &[path.hash().to_string()], false).await?.is_empty();
        let mut found = Found::default();
        if is_present {
            // The commit only adds signatures, and only where everything that is signed is the same. A file that this client
            // put is verified all the same: it remembers the name, and may ask for it.
            if let Some(put) = put.filter(|put| put.compression.is_none()) {
                self.verify(&claim, vec![core.blob.source(Kind::Nar, &file_hash, put.file_size.unsigned_abs())], None)
                    .await?;
                core.db.put_nar_verified(cache.id, file_hash.as_bytes(), claim.compression.as_str()).await?;
            }
        } else {
            let Some(size) = self.nar_size(cache, &file_hash).await? else {
                return Err(self.refused(format!(
                    "NAR file {url} of {path} is not in cache \"{}\"; push again with --refresh",
                    cache.name
                )));
            };
            found = self.verify(&claim, vec![core.blob.source(Kind::Nar, &file_hash, size)], None).await?;
            crate::failpoint::reach("narinfo.verified");
            core.db.put_nar_verified(cache.id, file_hash.as_bytes(), claim.compression.as_str()).await?;
        }
        self.publish(&Publish { cache, claim: &claim, found: &found, pushed_by: &by, upload_id: None, hold }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nar_file_names() {
        let hash = "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s";
        for good in [".nar", ".nar.xz", ".nar.zst", ".nar.lzip"] {
            assert!(NarFileName::parse(&format!("{hash}{good}")).is_some(), "{good}");
        }
        for bad in ["", ".narx", ".nar.", ".nar.XZ", ".nar.xz.gz", ".nar/../x", ".nar.123456789"] {
            assert!(NarFileName::parse(&format!("{hash}{bad}")).is_none(), "{bad}");
        }
        assert!(NarFileName::parse("short.nar").is_none());
        assert!(NarFileName::parse(&format!("é{}.nar", &hash[1..])).is_none());
    }
}
