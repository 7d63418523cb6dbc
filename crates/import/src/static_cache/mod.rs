//! Binary caches as Nix writes them, in folders, in buckets and on web servers: owns which file is looked for where.

mod find;

use crate::{
    Broken, Bytestream, Caches, ForeignCache, ForeignPath, ImportError, Paths, SideFile, SideFiles, SideKind,
    access::Access,
    files::{Files, Opened, measured},
    http::HttpCache,
};
use futures_util::{StreamExt as _, stream};
use nix_compat::{
    cache_info::CacheInfo,
    narinfo::NarInfo,
    realisation::RealisationKey,
    store_path::{STORE_DIR, StorePath, StorePathHash},
};
use object_store::ObjectStore;
use std::sync::Arc;

/// Longest `nix-cache-info` and longest narinfo in bytes.
const LONGEST_INFO: usize = 64 << 10;
const LONGEST_NARINFO: usize = 8 << 20;

/// A binary cache of files.
#[derive(Clone, Debug)]
pub struct StaticCache {
    store: Backing,
    priority: i32,
}

#[derive(Clone, Debug)]
enum Backing {
    Files(Files),
    Web(HttpCache),
}

impl Backing {
    fn name(&self) -> &str {
        match self {
            Self::Files(files) => files.name(),
            Self::Web(cache) => cache.name(),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Opened>, String> {
        match self {
            Self::Files(files) => files.get(name).await,
            Self::Web(cache) => cache.get(name).await,
        }
    }

    async fn whole(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Files(files) => match files.get(name).await? {
                Some(opened) => opened.decoded()?.whole(limit).await.map(Some),
                None => Ok(None),
            },
            Self::Web(cache) => cache.whole(name, limit).await,
        }
    }
}

impl StaticCache {
    pub(crate) async fn open(address: &str, access: &Access) -> Result<Self, ImportError> {
        let web = address.starts_with("http://") || address.starts_with("https://");
        Self::of(if web {
            Backing::Web(HttpCache::new(address, access)?)
        } else {
            Backing::Files(Files::open(address.strip_prefix("file://").unwrap_or(address), access)?)
        })
        .await
    }

    /// The binary cache below `prefix` of an object store that the caller opened; `name` stands for it in messages.
    ///
    /// # Errors
    /// Where there is no `nix-cache-info`, or it is one of another store.
    pub async fn of_objects(store: Arc<dyn ObjectStore>, prefix: &str, name: &str) -> Result<Self, ImportError> {
        Self::of(Backing::Files(Files::of(store, prefix, name))).await
    }

    async fn of(store: Backing) -> Result<Self, ImportError> {
        let name = store.name().to_owned();
        let text = store.whole("nix-cache-info", LONGEST_INFO).await;
        let text = text.map_err(|why| ImportError::unavailable(&name, why))?;
        let text = text.ok_or_else(|| ImportError::place(&name, "not a binary cache: it has no nix-cache-info"))?;
        let info = CacheInfo::parse(text).map_err(|error| ImportError::place(&name, error))?;
        if info.store_dir != STORE_DIR {
            return Err(ImportError::place(
                name,
                format!("its paths are those of {}, not of {STORE_DIR}", info.store_dir),
            ));
        }
        Ok(Self { store, priority: info.priority })
    }

    pub(crate) fn caches(&self) -> Caches {
        let name = match &self.store {
            Backing::Files(files) => {
                files.name().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
            }
            Backing::Web(cache) => cache.last_part(),
        };
        let cache = ForeignCache { priority: Some(self.priority), ..ForeignCache::named(name) };
        Caches { caches: vec![cache], left_out: Vec::new() }
    }

    pub(crate) async fn paths(&self, roots: Vec<StorePath>) -> Result<Paths, ImportError> {
        if !roots.is_empty() {
            return Ok(find::walk(self.clone(), roots));
        }
        match &self.store {
            Backing::Files(files) => Ok(find::listed(self.clone(), files)),
            Backing::Web(cache) => {
                let contents = cache.contents().await.map_err(|why| ImportError::unavailable(cache.name(), why))?;
                let contents = contents.ok_or_else(|| {
                    ImportError::place(cache.name(), "this server does not list its paths; name those to begin with")
                })?;
                Ok(find::named(self.clone(), contents))
            }
        }
    }

    /// The narinfo of a path's hash part.
    async fn narinfo(&self, hash: StorePathHash) -> Result<ForeignPath, Broken> {
        let name = format!("{hash}.narinfo");
        let text = self.store.whole(&name, LONGEST_NARINFO).await.map_err(|why| Broken::one(&name, why))?;
        let text = text.ok_or_else(|| Broken::absent(&name, "the source does not have it"))?;
        let mut narinfo = NarInfo::parse(&text).map_err(|error| Broken::one(&name, error))?;
        // Clients take a zero for an unknown size, and some servers write it so.
        narinfo.file_size = narinfo.file_size.filter(|size| *size > 0);
        if narinfo.store_path.hash() != hash {
            return Err(Broken::one(name, format!("it is the narinfo of {}", narinfo.store_path)));
        }
        Ok(ForeignPath { narinfo, total: None, place: crate::Place::Url })
    }

    pub(crate) async fn nar(&self, path: &ForeignPath) -> Result<Bytestream, Broken> {
        let narinfo = &path.narinfo;
        let what = narinfo.store_path.to_absolute();
        let broken = |why: String| Broken::one(&what, format!("NAR file: {why}"));
        let opened = self.store.get(&narinfo.url).await.map_err(broken)?;
        let opened = opened.ok_or_else(|| broken(format!("{} is not there", narinfo.url)))?;
        let opened = opened.decoded().map_err(broken)?;
        let Some(size) = narinfo.file_size else { return Ok(opened.bytes) };
        if let Some(found) = opened.size.filter(|found| *found != size) {
            return Err(broken(format!("{} has {found} bytes, not {size}", narinfo.url)));
        }
        Ok(measured(opened.bytes, size, format!("NAR file of {what}")))
    }

    pub(crate) fn side_files(&self) -> SideFiles {
        let Backing::Files(files) = &self.store else { return stream::empty().boxed() };
        let files = files.clone();
        let folders = stream::iter(SideKind::ALL).flat_map(move |kind| {
            let place = format!("{}/{}", files.name(), kind.folder());
            files.list(kind.folder()).map(move |name| match name {
                Ok(name) if is_side_file(kind, &name) => Ok(SideFile { kind, name }),
                Ok(name) => Err(Broken::one(format!("{}/{name}", kind.folder()), "it is not named as Nix names them")),
                Err(why) => Err(Broken::rest(&place, why)),
            })
        });
        folders.boxed()
    }

    pub(crate) async fn side_file(&self, file: &SideFile) -> Result<Bytestream, Broken> {
        let name = format!("{}/{}", file.kind.folder(), file.name);
        let opened = self.store.get(&name).await.and_then(|opened| opened.map(Opened::decoded).transpose());
        let opened = opened.map_err(|why| Broken::one(&name, why))?;
        Ok(opened.ok_or_else(|| Broken::absent(&name, "it is not there"))?.bytes)
    }
}

fn is_side_file(kind: SideKind, name: &str) -> bool {
    match kind {
        // Of a derivation, or of one that only its base name is known of.
        SideKind::BuildLog => StorePath::parse(name).is_ok(),
        SideKind::Realisation => RealisationKey::parse_legacy(name).is_ok(),
        SideKind::BuildTrace => RealisationKey::parse_build_trace(name).is_ok(),
    }
}
