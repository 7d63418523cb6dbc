//! Realisations: what outputs of content-addressed derivations turned out to be. Kept as they came, once they are found well-formed.

use crate::{
    Core,
    caller::Caller,
    directory::Cache,
    error::{Error, Result},
};
use nix_compat::realisation::{Realisation, RealisationKey};

/// The methods of the noun.
pub struct Realisations<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn realisation(&self) -> Realisations<'_> {
        Realisations(self)
    }
}

impl Realisations<'_> {
    /// Keeps what a client says of an output; the first word stays. Clients believe unsigned realisations, so that writing one is
    /// as much as pushing a path, and the path must be here. The caller's right was checked when it opened the cache.
    pub async fn put(&self, caller: &Caller, cache: &Cache, key: &RealisationKey, json: &[u8]) -> Result<()> {
        let core = self.0;
        let realisation =
            Realisation::parse(key, json).map_err(|error| Error::invalid("", format!("realisation {key}: {error}")))?;
        let path = &realisation.out_path;
        let known = core.db.path_row(cache.id, &path.hash().to_string()).await?;
        let is_here = known.is_some_and(|known| known.name == path.name());
        let elsewhere = cache.is_lenient || !cache.client_filter_keys.is_empty();
        if !is_here && !elsewhere && core.upstream().present(cache, vec![path.hash()]).await.is_empty() {
            let message = format!("realisation {key}: {path} is not in cache \"{}\"; push it first", cache.name);
            return Err(Error::invalid("", message));
        }
        let document = realisation.to_json(key);
        core.db.realisation_put(cache.id, &key.to_string(), &document, &caller.label(), core.now().0).await
    }

    /// The document. The caller's right was checked when it opened the cache.
    pub async fn get(&self, cache: &Cache, key: &RealisationKey) -> Result<Option<String>> {
        self.0.db.realisation_get(cache.id, &key.to_string()).await
    }
}
