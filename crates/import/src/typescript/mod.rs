//! The TypeScript generation of Iglu, by its database and NAR folder: which caches and paths it has, and where its files are.

mod rows;

use crate::{
    Broken, Bytestream, Caches, ForeignCache, ForeignPath, ImportError, Paths, Place,
    access::Access,
    database::Database,
    files::{Files, measured},
    narinfo::{self, Told},
};
use futures_util::{StreamExt as _, stream};
use nix_compat::{signing::VerifyingKey, store_path::STORE_DIR};
use rows::{PathRow, Shape};

/// A TypeScript Iglu.
#[derive(Clone, Debug)]
pub struct Typescript {
    database: Database,
    shape: Shape,
    storage: Files,
}

impl Typescript {
    pub(crate) async fn open(database: &str, storage: &str, access: &Access) -> Result<Self, ImportError> {
        let storage = Files::open(storage, access)?;
        let database = Database::open(database).await?;
        let shape = Shape::of(&database).await.ok_or_else(|| {
            ImportError::place(
                "database",
                "it has neither the tables cache.caches and cache.hashes nor tenants and derivations",
            )
        })?;
        Ok(Self { database, shape, storage })
    }

    pub(crate) async fn caches(&self) -> Result<Caches, ImportError> {
        let failed = |error: sqlx::Error| ImportError::unavailable("database", error);
        let mut found = Caches::default();
        for row in self.shape.caches(&self.database).await.map_err(failed)? {
            let Some(name) = row.name else {
                found.left_out.push(Broken::one(format!("cache {}", row.id), "it has no name"));
                continue;
            };
            let mut cache = ForeignCache {
                is_public: Some(row.is_public != 0),
                priority: row.priority.and_then(|priority| priority.try_into().ok()),
                retention_seconds: row.ttl.and_then(|ttl| ttl.try_into().ok()),
                paths: self.shape.count(&self.database, &row.id).await.map_err(failed)?.try_into().ok(),
                id: row.id,
                ..ForeignCache::named(name)
            };
            // An older database has no table of keys.
            for key in self.shape.keys(&self.database, &cache.id).await.unwrap_or_default() {
                let text = if key.contains(':') { key.clone() } else { format!("{}:{key}", cache.name) };
                match VerifyingKey::parse(&text) {
                    Ok(key) => cache.client_keys.push(key),
                    // A key that was never set is empty.
                    Err(_) if key.is_empty() => {}
                    Err(error) => {
                        found.left_out.push(Broken::one(format!("public key of cache {}", cache.name), error))
                    }
                }
            }
            found.caches.push(cache);
        }
        Ok(found)
    }

    pub(crate) fn paths(&self, cache: &ForeignCache) -> Paths {
        let (source, cache) = (self.clone(), cache.clone());
        let pages = stream::unfold(Some(String::new()), move |after| {
            let (source, cache) = (source.clone(), cache.clone());
            async move {
                let found: Vec<Result<ForeignPath, Broken>>;
                let next = match source.shape.paths(&source.database, &cache.id, &after?).await {
                    Ok(paths) => {
                        let last = paths.last()?.cursor.clone();
                        found = paths.into_iter().map(|row| path_of(&cache, row)).collect();
                        Some(last)
                    }
                    Err(error) => {
                        found = vec![Err(Broken::rest("database", error))];
                        None
                    }
                };
                Some((stream::iter(found), next))
            }
        });
        pages.flatten().boxed()
    }

    pub(crate) async fn nar(&self, path: &ForeignPath) -> Result<Bytestream, Broken> {
        let what = path.narinfo.store_path.to_absolute();
        let broken = |why: String| Broken::one(&what, format!("NAR file: {why}"));
        let Place::File(names) = &path.place else { return Err(broken("it is of another source".to_owned())) };
        let opened = self.storage.get_first(names).await.map_err(broken)?;
        let opened =
            opened.ok_or_else(|| broken(format!("{} is not in {}", names.join(" or "), self.storage.name())))?;
        match (path.narinfo.file_size, opened.size) {
            (Some(size), Some(found)) if size != found => {
                Err(broken(format!("{} has {found} bytes, not {size}", names.join(" or "))))
            }
            (Some(size), _) => Ok(measured(opened.bytes, size, format!("NAR file of {what}"))),
            (None, _) => Ok(opened.bytes),
        }
    }
}

fn path_of(cache: &ForeignCache, row: PathRow) -> Result<ForeignPath, Broken> {
    let base_name =
        format!("{}-{}", row.store_hash.as_deref().unwrap_or(""), row.store_suffix.as_deref().unwrap_or(""));
    let what = format!("{STORE_DIR}/{base_name}");
    let broken = |why: String| Broken::one(&what, why);
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
    let compression = row.compression.unwrap_or_default();
    let names = match row.file {
        Some(file) => names_of(&file),
        // Later ones keep all caches in one folder.
        None => vec![format!("{}/{base_name}.{compression}", cache.id), format!("{base_name}.{compression}")],
    };
    let told = Told {
        store_path: what.clone(),
        compression: narinfo::compression(&compression).map_err(broken)?.to_string(),
        nar_hash: row.nar_hash.unwrap_or_default(),
        nar_size: number(row.nar_size).unwrap_or(0),
        file_hash: row.file_hash,
        file_size: number(row.file_size),
        references: references(&row.refs.unwrap_or_default()).map_err(broken)?,
        deriver: row.deriver,
        signatures: row.sig.iter().filter(|sig| !sig.is_empty()).map(|sig| signature(&cache.name, sig)).collect(),
        ..Told::default()
    };
    let narinfo = told.narinfo().map_err(broken)?;
    Ok(ForeignPath { narinfo, total: cache.paths, place: Place::File(names) })
}

/// The old server served signatures under the name of the cache.
fn signature(cache: &str, text: &str) -> String {
    if text.contains(':') { text.to_owned() } else { format!("{cache}:{text}") }
}

fn references(text: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| format!("its references are no JSON list: {error}"));
    }
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// `FOLDER/nar_files/CACHE/FILE` as it may be found below the folder that was named: that one, or its `nar_files`. Where the
/// server had the folder does not matter, and nothing outside is looked at.
fn names_of(file: &str) -> Vec<String> {
    let parts: Vec<&str> = file.rsplitn(3, '/').collect();
    match parts.as_slice() {
        [name, cache, ..] => vec![format!("nar_files/{cache}/{name}"), format!("{cache}/{name}")],
        _ => vec![file.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_places_are_looked_for_in_the_new_folder() {
        assert_eq!(names_of("/srv/x/nar_files/main/0ab.nar.xz"), ["nar_files/main/0ab.nar.xz", "main/0ab.nar.xz"]);
        assert_eq!(names_of("./nar_files/main/0ab.nar.xz"), ["nar_files/main/0ab.nar.xz", "main/0ab.nar.xz"]);
        assert_eq!(names_of("0ab.nar.xz"), ["0ab.nar.xz"]);
    }

    #[test]
    fn references_of_both_shapes() {
        assert_eq!(references("a-b  c-d").unwrap(), ["a-b", "c-d"]);
        assert_eq!(references(r#"["a-b","c-d"]"#).unwrap(), ["a-b", "c-d"]);
        assert!(references("").unwrap().is_empty() && references("[]").unwrap().is_empty());
        assert!(references("[1]").is_err());
    }
}
