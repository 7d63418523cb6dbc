//! Reading NAR files: from a name in a cache to an open file, or to one file inside.

use crate::{
    Core,
    blob::{Kind, Stored},
    codec,
    directory::Cache,
    error::{Error, Result},
    path::nar_url,
};
use bytes::Bytes;
use futures_util::Stream;
use nix_compat::{
    compression::Compression,
    debug_info::DebugId,
    nar_listing::{Listing, Node},
    nixhash::Sha256,
    store_path::{StorePath, StorePathHash},
};
use std::{io, sync::Arc};

/// A NAR file that a cache shows, remembered between requests.
#[derive(Clone, Debug)]
pub(crate) struct KnownNar {
    size: u64,
    compression: Compression,
}

/// A NAR file that is there, whole.
#[derive(Debug)]
pub struct Nar {
    pub stored: Stored,
    /// SHA-256 of the file.
    pub file_hash: Sha256,
    /// Bytes of the file.
    pub size: u64,
    pub compression: Compression,
}

/// One regular file inside a store path.
pub struct Member {
    nar: Nar,
    offset: u64,
    /// Bytes of the file.
    pub size: u64,
}

impl Member {
    /// The file's bytes.
    pub async fn bytes(self) -> Result<impl Stream<Item = io::Result<Bytes>> + Unpin + Send + 'static> {
        codec::unpacked(self.nar.stored, self.nar.compression, self.offset, self.size).await
    }
}

/// The methods of the noun.
pub struct Fetch<'a>(pub(crate) &'a Core);

impl Fetch<'_> {
    /// The NAR file of this hash, if a visible path of the cache needs it and its bytes are there. The caller's right
    /// was checked when it opened the cache.
    pub async fn nar(&self, cache: &Cache, file_hash: &Sha256) -> Result<Option<Nar>> {
        let nar = self.nar_unnoted(cache, file_hash).await?;
        if nar.is_some() {
            self.0.activity.file_pulled((cache.id, *file_hash), self.0.now());
        }
        Ok(nar)
    }

    /// The same, where it is no use of the path that rules would count.
    async fn nar_unnoted(&self, cache: &Cache, file_hash: &Sha256) -> Result<Option<Nar>> {
        let Some(known) = self.known(cache, file_hash).await? else { return Ok(None) };
        let Some(stored) = self.0.blob.open_stored(Kind::Nar, file_hash, known.size).await? else {
            // Without our storage everything would be absent, and nothing is gone.
            self.0.storage_require().await?;
            self.unreadable(file_hash);
            return Ok(None);
        };
        Ok(Some(Nar { stored, file_hash: *file_hash, size: known.size, compression: known.compression }))
    }

    /// Notes that a NAR file could not be read as it should. It is looked at soon, and its paths are set aside if it is damaged.
    pub fn unreadable(&self, file_hash: &Sha256) {
        self.0.known_nars.retain(|(_, hash), _| hash != file_hash);
        self.0.storage.suspect(Kind::Nar, *file_hash);
        self.0.work.wake(crate::reconcile::Reconciler::Suspects);
    }

    /// The regular file that `path` leads to inside a store path, through symlinks that stay inside. The caller's right was
    /// checked when it opened the cache. `is_use` says whether that keeps the path from being unused: a look at a page does not.
    pub async fn member(&self, cache: &Cache, hash: StorePathHash, path: &str, is_use: bool) -> Result<Option<Member>> {
        let core = self.0;
        let Some(row) = core.db.narinfo_get(cache.id, &hash.to_string()).await? else { return Ok(None) };
        let Some(listing) = core.path().listing(cache, hash).await? else { return Ok(None) };
        let broken =
            |what: &str| Error::internal(format!("store path {}-{} in the database: {what}", row.hash, row.name));
        let own = StorePath::parse(&format!("{}-{}", row.hash, row.name)).map_err(|_| broken("its name"))?;
        let listing = Listing::parse(&listing).map_err(|_| broken("its listing"))?;
        let Ok(Node::Regular { size, nar_offset, .. }) = listing.resolve(path, &own) else { return Ok(None) };
        let file_hash = <[u8; 32]>::try_from(row.file_hash.as_slice()).map_err(|_| broken("its file"))?;
        let file_hash = Sha256::from_bytes(file_hash);
        let nar = match is_use {
            true => self.nar(cache, &file_hash).await?,
            false => self.nar_unnoted(cache, &file_hash).await?,
        };
        Ok(nar.map(|nar| Member { nar, offset: *nar_offset, size: *size }))
    }

    /// Where the debug symbols of a build id are: the URL of a NAR below the cache's, and the file's path inside.
    pub async fn debug_info(&self, cache: &Cache, id: &DebugId) -> Result<Option<(String, String)>> {
        let Some((file_hash, compression)) = self.0.db.debug_info_find(cache.id, id.as_bytes()).await? else {
            return Ok(None);
        };
        let broken = || Error::internal(format!("debug info of {id} in the database cannot be read"));
        let file_hash = <[u8; 32]>::try_from(file_hash.as_slice()).map_err(|_| broken())?;
        let compression = Compression::parse(&compression).map_err(|_| broken())?;
        Ok(Some((nar_url(&Sha256::from_bytes(file_hash), compression), id.member())))
    }

    /// Found files are remembered; absent ones are not, since a push may be about to bring them. A NAR file's bytes never
    /// change, so what is remembered can only become absent.
    async fn known(&self, cache: &Cache, file_hash: &Sha256) -> Result<Option<Arc<KnownNar>>> {
        let key = (cache.id, *file_hash);
        if let Some(known) = self.0.known_nars.get(&key) {
            return Ok(Some(known));
        }
        let Some(row) = self.0.db.nar_file_get(cache.id, file_hash.as_bytes()).await? else { return Ok(None) };
        let compression = Compression::parse(&row.compression).map_err(|_| {
            Error::internal(format!("NAR file {} in the database: its compression", file_hash.to_nix32()))
        })?;
        let known = Arc::new(KnownNar { size: row.file_size.unsigned_abs(), compression });
        self.0.known_nars.insert(key, known.clone());
        Ok(Some(known))
    }
}
