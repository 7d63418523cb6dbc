//! Reading NAR files: from a name in a cache to an open file.

use crate::{Core, directory::Cache, error::Result};
use nix_compat::{compression::Compression, nixhash::Sha256};
use std::{fs::File, sync::Arc};

/// A NAR file that a cache shows, remembered between requests.
#[derive(Clone, Debug)]
pub(crate) struct KnownNar {
    path_id: Option<i64>,
    size: u64,
    compression: Compression,
}

/// A NAR file that is there, whole, and open.
#[derive(Debug)]
pub struct Nar {
    pub file: File,
    /// Bytes of the file.
    pub size: u64,
    pub compression: Compression,
}

/// The methods of the noun.
pub struct Fetch<'a>(pub(crate) &'a Core);

impl Fetch<'_> {
    /// The NAR file of this hash, if a visible path of the cache needs it and its bytes are there. The caller's right
    /// was checked when it opened the cache.
    pub async fn nar(&self, cache: &Cache, file_hash: &Sha256) -> Result<Option<Nar>> {
        let Some(known) = self.known(cache, file_hash).await? else { return Ok(None) };
        let Some(file) = self.0.blob.nar_open(file_hash, known.size)? else {
            tracing::error!(cache = %cache.name, file = file_hash.to_nix32(), "a NAR file that the database names is not stored");
            return Ok(None);
        };
        if let Some(path_id) = known.path_id {
            self.0.activity.path_pulled(path_id, self.0.now());
        }
        Ok(Some(Nar { file, size: known.size, compression: known.compression }))
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
            crate::Error::internal(format!("NAR file {} in the database: its compression", file_hash.to_nix32()))
        })?;
        let known = Arc::new(KnownNar { path_id: row.path_id, size: row.file_size.unsigned_abs(), compression });
        self.0.known_nars.insert(key, known.clone());
        Ok(Some(known))
    }
}
