//! Taking over paths of other caches: their bytes are put to the same proof as a push's, and references may come in any order.

use super::{Claim, Found, Publish, Published, Pushes, pushed_by, signed, verify::largest_file};
use crate::{
    blob::{Kind, Source},
    caller::Caller,
    codec,
    db::{Covered, HeldRow},
    directory::Cache,
    error::{Error, Result},
};
use bytes::Bytes;
use futures_util::Stream;
use nix_compat::{
    narinfo::NarInfo,
    store_path::{StorePath, StorePathHash},
};
use std::{collections::HashSet, sync::Arc};

/// A path that the cache has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Whether it has the content and the references that the narinfo tells of; otherwise it keeps its own.
    pub is_same: bool,
    /// Whether it took over signatures.
    pub gained: bool,
}

/// A path that is here and not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub path: StorePath,
    /// A reference that is not here; `None` where all that it waits for is held too.
    pub absent: Option<StorePath>,
}

impl Pushes<'_> {
    /// Looks whether the cache has the path of a narinfo, visible or held. One that it has takes over the signatures; no byte of its
    /// NAR is needed for that. The caller's right was checked when it opened the cache.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a signature with the name of a key of the cache that does not verify.
    pub async fn present(&self, cache: &Cache, narinfo: &NarInfo) -> Result<Option<Present>> {
        let core = self.0;
        let hash = narinfo.store_path.hash();
        let Some(existing) = core.db.path_find(cache.id, &hash.to_string()).await? else { return Ok(None) };
        let claim = Claim::of(narinfo.clone());
        let refs = claim.refs();
        let covered = Covered {
            name: claim.store_path.name(),
            nar_hash: claim.nar_hash.as_bytes(),
            nar_size: signed(claim.nar_size),
            refs: &refs,
        };
        let known: HashSet<&str> = existing.signatures.lines().collect();
        let is_same = existing.is(&covered);
        // Most paths of an import that is repeated end here.
        if !is_same || claim.signatures.iter().all(|signature| known.contains(signature.to_string().as_str())) {
            return Ok(Some(Present { is_same, gained: false }));
        }
        let signatures = self.signatures(cache, &claim)?;
        let gained = core.db.signatures_merge(cache.id, &hash.to_string(), &covered, &signatures).await?;
        core.forget_paths(cache, &[hash]);
        Ok(Some(Present { is_same, gained }))
    }

    /// Publishes the path that a narinfo of another cache describes, from its NAR file. What the narinfo says is held against the
    /// bytes, its URL aside; without `FileHash` and `FileSize` the file is what arrives. Signatures are kept. References may follow. The
    /// caller's right was checked when it opened the cache.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a compression that is not stored here, and where the bytes are not what the narinfo says;
    /// [`Error::Interrupted`] where asking the source again may help; errors of `body` as they are.
    pub async fn import<S>(&self, caller: &Caller, cache: &Arc<Cache>, narinfo: &NarInfo, body: S) -> Result<Published>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let core = self.0;
        let claim = Claim::of(narinfo.clone());
        let path = &claim.store_path;
        if !codec::is_known(claim.compression) {
            let compression = claim.compression;
            return Err(self.refused(format!("compression {compression} of {path} is not stored here")));
        }
        // Before the bytes are asked for; what is kept is made when they are proven.
        self.signatures(cache, &claim)?;
        core.storage_remembered()?;
        let (allowed, plausible) = (cache.upload_limit(core.limits.nar_file_bytes)?, largest_file(claim.nar_size));
        let received = core.blob.receive::<_, sha2::Sha256>(body, allowed.min(plausible)).await;
        let received = received.map_err(|error| match error {
            Error::TooLarge(_) if plausible <= allowed => self.refused(format!(
                "file of {path} is padded: more than {plausible} bytes for a NAR of {}",
                claim.nar_size
            )),
            error => error,
        })?;
        core.totals.push_bytes.add(received.size);
        let scratch = received.scratch;
        let mut found = self.verify(&claim, vec![Source::File(scratch.path().to_owned())], None).await?;
        let (core, caller, cache) = (core.clone(), caller.clone(), cache.clone());
        // The work goes on when nobody waits for it: what the database has, memory must learn.
        let task = tokio::spawn(async move {
            // The same NAR may have come for another path, packed otherwise.
            if core.nar_is_stored(&claim.nar_hash).await? {
                found = Found { file: None, ..found };
            }
            if let Some(file) = &found.file {
                core.file_publish(Kind::Nar, scratch.path(), &file.hash, file.size).await?;
            }
            let by = pushed_by(&caller);
            let publish =
                Publish { cache: &cache, claim: &claim, found: &found, pushed_by: &by, upload_id: None, hold: true };
            core.push().publish(&publish).await
        });
        task.await?
    }

    /// How many paths of a cache wait for references, and the first of them by hash part. The caller's right was checked when it
    /// opened the cache.
    pub async fn held(&self, cache: &Cache, most: usize) -> Result<(u64, Vec<Held>)> {
        let (mut count, mut first, mut after) = (0, Vec::new(), String::new());
        loop {
            let rows = self.0.db.held_list(cache.id, &after).await?;
            let Some(last) = rows.last() else { return Ok((count, first)) };
            after = last.hash.clone();
            count += rows.len() as u64;
            let room = most.saturating_sub(first.len());
            first.extend(rows.into_iter().take(room).filter_map(held));
        }
    }
}

fn held(row: HeldRow) -> Option<Held> {
    let path = StorePath::parse(&format!("{}-{}", row.hash, row.name)).ok()?;
    let absent = row.absent.and_then(|hash| StorePathHash::parse(&hash).ok());
    let named = |hash: StorePathHash| {
        let references = row.refs.split(' ').filter_map(|name| StorePath::parse(name).ok());
        references.into_iter().find(|reference| reference.hash() == hash)
    };
    Some(Held { path, absent: absent.and_then(named) })
}
