//! The stores of other binary caches, for reading: what caches they have, their paths, and the bytes of each NAR. May read
//! folders, buckets, databases and web servers that it is pointed at, and writes nowhere.
//!
//! Nothing that is handed out here is proven: whoever takes it checks hashes, sizes and references. What can be relied on is that
//! a stream either holds the whole NAR file that the source has, or ends with an error that names the path; and that one path
//! that cannot be read never hides the others.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod attic;
mod database;
mod error;
mod files;
mod http;
mod narinfo;
mod static_cache;
mod typescript;
mod unpack;

pub use access::{Access, Credentials, S3Access};
pub use attic::Attic;
pub use error::{Broken, Extent, ImportError};
pub use static_cache::StaticCache;
pub use typescript::Typescript;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use nix_compat::{
    narinfo::NarInfo,
    signing::{SigningKey, VerifyingKey},
    store_path::StorePath,
};
use std::io;

/// Where a source is.
#[derive(Clone, Debug)]
pub enum Location {
    /// A folder, `http://…`, `https://…` or `s3://bucket/prefix`, with `nix-cache-info`, narinfos and NAR files as Nix writes them.
    StaticCache(String),
    /// An attic server that is not running, or at least takes no uploads.
    Attic {
        /// A SQLite file, `sqlite:FILE` or `postgres://…`.
        database: String,
        /// Its `[storage]`: a folder or `s3://bucket`.
        storage: String,
    },
    /// The TypeScript generation of Iglu.
    Typescript {
        /// A SQLite file, `sqlite:FILE` or `postgres://…`.
        database: String,
        /// The folder with its NAR files, or `s3://bucket`.
        storage: String,
    },
}

/// An opened source. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Source {
    /// See [`Location::StaticCache`].
    StaticCache(StaticCache),
    /// See [`Location::Attic`].
    Attic(Attic),
    /// See [`Location::Typescript`].
    Typescript(Typescript),
}

/// One cache of a source.
#[derive(Clone, Debug)]
pub struct ForeignCache {
    /// As its own server calls it; of a static cache the last part of its address.
    pub name: String,
    /// Whether everybody may read it; `None` where the source does not say.
    pub is_public: Option<bool>,
    /// Place among several caches, lower comes first.
    pub priority: Option<i32>,
    /// The keys that its server signs with.
    pub signing_keys: Vec<SigningKey>,
    /// The public keys of clients that signed what they pushed.
    pub client_keys: Vec<VerifyingKey>,
    /// Names of keys whose paths attic clients left out.
    pub upstream_key_names: Vec<String>,
    /// Seconds after its last use that its server kept a path; 0 is for ever.
    pub retention_seconds: Option<u64>,
    /// How many paths it has, where that can be told without listing them.
    pub paths: Option<u64>,
    /// What its own database calls it.
    pub(crate) id: String,
}

impl ForeignCache {
    fn named(name: String) -> Self {
        Self {
            id: name.clone(),
            name,
            is_public: None,
            priority: None,
            signing_keys: Vec::new(),
            client_keys: Vec::new(),
            upstream_key_names: Vec::new(),
            retention_seconds: None,
            paths: None,
        }
    }
}

/// The caches of a source.
#[derive(Clone, Debug, Default)]
pub struct Caches {
    /// Those that can be read.
    pub caches: Vec<ForeignCache>,
    /// Deleted ones, and what else was left out, with the reason.
    pub left_out: Vec<Broken>,
}

/// One path of a cache.
#[derive(Clone, Debug)]
pub struct ForeignPath {
    /// What the source says of it, signatures included. `compression`, `file_hash` and `file_size` are those of the bytes that
    /// [`Source::nar`] gives; hash and size are absent where the file is put together on the way.
    pub narinfo: NarInfo,
    /// How many paths there are, as far as is known by now.
    pub total: Option<u64>,
    pub(crate) place: Place,
}

/// Where the NAR file of a path is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// At the narinfo's own URL.
    Url,
    /// In the chunks of this row of attic's.
    AtticNar { id: i64, chunks: i64 },
    /// In the first of these files that exists.
    File(Vec<String>),
}

/// Which kind of side file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideKind {
    /// `log/…`: a build log.
    BuildLog,
    /// `realisations/….doi`, of clients before 2.35.
    Realisation,
    /// `build-trace-v2/…/….doi`, of later ones.
    BuildTrace,
}

impl SideKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::BuildLog, Self::Realisation, Self::BuildTrace];

    /// The folder in the cache.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::BuildLog => "log",
            Self::Realisation => "realisations",
            Self::BuildTrace => "build-trace-v2",
        }
    }
}

/// A file beside the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFile {
    /// What it is.
    pub kind: SideKind,
    /// Its name below [`SideKind::folder`].
    pub name: String,
}

/// Bytes of a file, ending with an error where they are not all there.
pub type Bytestream = BoxStream<'static, io::Result<Bytes>>;

/// Paths as they are found. After an error of [`Extent::Rest`] nothing comes.
pub type Paths = BoxStream<'static, Result<ForeignPath, Broken>>;

/// Side files as they are found. After an error of [`Extent::Rest`] nothing comes.
pub type SideFiles = BoxStream<'static, Result<SideFile, Broken>>;

impl Source {
    /// Opens a source and looks whether it is one.
    ///
    /// # Errors
    /// Where it cannot be reached, or is something else.
    pub async fn open(location: &Location, access: &Access) -> Result<Self, ImportError> {
        // Fails where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(match location {
            Location::StaticCache(url) => Self::StaticCache(StaticCache::open(url, access).await?),
            Location::Attic { database, storage } => Self::Attic(Attic::open(database, storage, access).await?),
            Location::Typescript { database, storage } => {
                Self::Typescript(Typescript::open(database, storage, access).await?)
            }
        })
    }

    /// The caches that the source has. A static cache is one, without keys.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub async fn caches(&self) -> Result<Caches, ImportError> {
        match self {
            Self::StaticCache(source) => Ok(source.caches()),
            Self::Attic(source) => source.caches().await,
            Self::Typescript(source) => source.caches().await,
        }
    }

    /// The paths of a cache in no particular order, references after or before what refers to them. Without `roots` all of them;
    /// with `roots` these and everything that they need, each once.
    ///
    /// # Errors
    /// A web server that cannot list needs `roots`; a database takes none.
    pub async fn paths(&self, cache: &ForeignCache, roots: Vec<StorePath>) -> Result<Paths, ImportError> {
        match self {
            Self::StaticCache(source) => source.paths(roots).await,
            Self::Attic(_) | Self::Typescript(_) if !roots.is_empty() => {
                Err(ImportError::place(&cache.name, "a database lists all paths of a cache; leave out the root paths"))
            }
            Self::Attic(source) => Ok(source.paths(cache)),
            Self::Typescript(source) => Ok(source.paths(cache)),
        }
    }

    /// The NAR file of a path, packed as its narinfo says.
    ///
    /// # Errors
    /// Where the file is not there or not whole, as far as can be told before it is read; the rest is told by the stream.
    pub async fn nar(&self, path: &ForeignPath) -> Result<Bytestream, Broken> {
        match self {
            Self::StaticCache(source) => source.nar(path).await,
            Self::Attic(source) => source.nar(path).await,
            Self::Typescript(source) => source.nar(path).await,
        }
    }

    /// Build logs and realisations, where they can be listed: in folders and buckets.
    pub fn side_files(&self) -> SideFiles {
        match self {
            Self::StaticCache(source) => source.side_files(),
            Self::Attic(_) | Self::Typescript(_) => stream::empty().boxed(),
        }
    }

    /// The bytes of a side file. What was stored packed with a `Content-Encoding` is unpacked.
    ///
    /// # Errors
    /// Where it is not there.
    pub async fn side_file(&self, file: &SideFile) -> Result<Bytestream, Broken> {
        match self {
            Self::StaticCache(source) => source.side_file(file).await,
            Self::Attic(_) | Self::Typescript(_) => Err(Broken::absent(&file.name, "this source has no side files")),
        }
    }
}
