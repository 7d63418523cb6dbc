//! attic servers, by their database and storage: which caches and paths they have. Chunks are `chunks`' matter.

mod chunks;
mod rows;

use crate::{
    Broken, Bytestream, Caches, ForeignCache, ForeignPath, ImportError, Paths, Place, access::Access,
    database::Database, files::Files, narinfo::Told,
};
use futures_util::{StreamExt as _, stream};
use nix_compat::{signing::SigningKey, store_path::STORE_DIR};
use rows::{CacheRow, ObjectRow};

/// An attic server.
#[derive(Clone, Debug)]
pub struct Attic {
    database: Database,
    storage: Files,
}

impl Attic {
    pub(crate) async fn open(database: &str, storage: &str, access: &Access) -> Result<Self, ImportError> {
        let storage = Files::open(storage, access)?;
        let source = Self { database: Database::open(database).await?, storage };
        let caches = rows::caches(&source.database).await;
        caches.map_err(|error| ImportError::place("database", format!("it is not attic's: {error}")))?;
        Ok(source)
    }

    pub(crate) async fn caches(&self) -> Result<Caches, ImportError> {
        let failed = |error: sqlx::Error| ImportError::unavailable("attic's database", error);
        let mut found = Caches::default();
        for row in rows::caches(&self.database).await.map_err(failed)? {
            let what = format!("cache {}", row.name);
            if row.is_deleted != 0 {
                found.left_out.push(Broken::one(what, "it is deleted"));
                continue;
            }
            if row.store_dir != STORE_DIR {
                let why = format!("its paths are those of {}, not of {STORE_DIR}", row.store_dir);
                found.left_out.push(Broken::one(what, why));
                continue;
            }
            let mut cache = cache_of(&row);
            match SigningKey::parse(&row.keypair) {
                Ok(key) => cache.signing_keys.push(key),
                Err(error) => found.left_out.push(Broken::one(format!("signing key of {what}"), error)),
            }
            cache.retention_seconds = rows::retention(&self.database, row.id).await.and_then(|n| n.try_into().ok());
            cache.paths = rows::count(&self.database, row.id).await.map_err(failed)?.try_into().ok();
            found.caches.push(cache);
        }
        Ok(found)
    }

    pub(crate) fn paths(&self, cache: &ForeignCache) -> Paths {
        let (database, total) = (self.database.clone(), cache.paths);
        let Ok(id) = cache.id.parse::<i64>() else { return stream::empty().boxed() };
        let pages = stream::unfold(Some(0), move |after| {
            let database = database.clone();
            async move {
                let found: Vec<Result<ForeignPath, Broken>>;
                let next = match rows::objects(&database, id, after?).await {
                    Ok(objects) => {
                        let last = objects.last()?.id;
                        found = objects.into_iter().map(|object| path_of(object, total)).collect();
                        Some(last)
                    }
                    Err(error) => {
                        found = vec![Err(Broken::rest("attic's database", error))];
                        None
                    }
                };
                Some((stream::iter(found), next))
            }
        });
        pages.flatten().boxed()
    }

    pub(crate) async fn nar(&self, path: &ForeignPath) -> Result<Bytestream, Broken> {
        let Place::AtticNar { id, chunks } = path.place else {
            return Err(Broken::one(path.narinfo.store_path.to_absolute(), "it is of another source"));
        };
        chunks::nar(&self.database, &self.storage, &path.narinfo, id, chunks).await
    }
}

fn cache_of(row: &CacheRow) -> ForeignCache {
    ForeignCache {
        id: row.id.to_string(),
        is_public: Some(row.is_public != 0),
        priority: row.priority.try_into().ok(),
        upstream_key_names: serde_json::from_str(&row.upstream_key_names).unwrap_or_default(),
        ..ForeignCache::named(row.name.clone())
    }
}

fn path_of(object: ObjectRow, total: Option<u64>) -> Result<ForeignPath, Broken> {
    let what = object.store_path.clone();
    told(object).map(|(narinfo, place)| ForeignPath { narinfo, total, place }).map_err(|why| Broken::one(what, why))
}

fn told(object: ObjectRow) -> Result<(nix_compat::NarInfo, Place), String> {
    let (Some(id), Some(nar_hash), Some(nar_size), Some(chunks)) =
        (object.nar_id, object.nar_hash, object.nar_size, object.chunks)
    else {
        return Err("its NAR is not in the database".to_owned());
    };
    match object.state.as_deref() {
        Some("V") => {}
        Some("P") => return Err("its NAR was never uploaded to the end".to_owned()),
        state => return Err(format!("its NAR is not valid (state {})", state.unwrap_or("unknown"))),
    }
    let here = object.chunks_here.unwrap_or(0);
    if chunks < 1 || here != chunks {
        return Err(format!("its NAR is not complete: {here} of {chunks} chunks are in the database"));
    }
    let list = |json: &str, of: &str| {
        serde_json::from_str::<Vec<String>>(json).map_err(|error| format!("its {of} are no JSON list: {error}"))
    };
    // What is put together from several chunks is packed anew.
    let (compression, file_hash, file_size) = match chunks {
        1 => (object.compression.unwrap_or_default(), object.file_hash, object.file_size),
        _ => ("zstd".to_owned(), None, None),
    };
    let told = Told {
        store_path: object.store_path,
        compression,
        nar_hash,
        nar_size: nar_size.try_into().unwrap_or(0),
        file_hash,
        file_size: file_size.and_then(|size| size.try_into().ok()),
        references: list(&object.refs, "references")?,
        deriver: object.deriver,
        system: object.system,
        signatures: list(&object.sigs, "signatures")?,
        ca: object.ca,
    };
    let narinfo = told.narinfo()?;
    if narinfo.store_path.hash().to_string() != object.store_path_hash {
        return Err(format!("it is filed under {}", object.store_path_hash));
    }
    Ok((narinfo, Place::AtticNar { id, chunks }))
}
