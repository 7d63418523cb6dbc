//! Pushing as cachix before 1.3 does: a NAR file without a name, then a description that names the file by its hash.

use super::{Claim, Published, Pushes};
use crate::{caller::Caller, directory::Cache, error::Result};
use bytes::Bytes;
use futures_util::Stream;
use nix_compat::compression::Compression;
use std::sync::Arc;

impl Pushes<'_> {
    /// Takes a NAR file of whatever hash. It is kept for a day unless a description comes for it.
    pub async fn nameless_nar_put<S>(&self, cache: &Cache, compression: Compression, body: S) -> Result<()>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        self.nar_receive(cache, None, Some(compression), body).await.map(drop)
    }

    /// Publishes the path that a description is about. Its file must have come; its references may follow.
    pub async fn nameless_nar_publish(
        &self,
        caller: &Caller,
        cache: &Arc<Cache>,
        mut claim: Claim,
    ) -> Result<Published> {
        let (core, caller, cache) = (self.0.clone(), caller.clone(), cache.clone());
        let task = tokio::spawn(async move {
            let file = claim.file_hash.map(|hash| hash.to_nix32()).unwrap_or_default();
            if let Some(hash) = &claim.file_hash
                && let Some(put) = core.db.put_nar_get(cache.id, hash.as_bytes()).await?
                && let Some(announced) = put.announced.as_deref().or(put.compression.as_deref())
            {
                claim.compression = Compression::parse(announced).unwrap_or(Compression::Xz);
            }
            core.push().claim_publish(&caller, &cache, claim, &file, true).await
        });
        task.await?
    }
}
