//! Files in folders and buckets: the only door to the object store. Reads and lists, below one prefix.

use crate::{
    Bytestream,
    access::{Access, Bucket},
    error::ImportError,
    narinfo, unpack,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    Attribute, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _, local::LocalFileSystem,
    path::Path as ObjectPath,
};
use std::{fmt, io, sync::Arc};
use tokio_util::io::ReaderStream;

/// A folder or the part of a bucket below a prefix.
#[derive(Clone)]
pub(crate) struct Files {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    name: String,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.name)
    }
}

/// A file that is there, or an answer that is a file.
pub(crate) struct Opened {
    /// Its length in bytes, where known.
    pub size: Option<u64>,
    /// Its `Content-Encoding`.
    pub encoding: Option<String>,
    pub bytes: Bytestream,
}

impl Opened {
    /// The file without what its `Content-Encoding` did to it, and its length if nothing was done.
    pub fn decoded(self) -> Result<Self, String> {
        let name = self.encoding.as_deref().unwrap_or_default();
        let coding = unpack::coding(name).ok_or_else(|| format!("has the unknown Content-Encoding {name}"))?;
        if coding == nix_compat::Compression::None {
            return Ok(self);
        }
        let unknown = || format!("has the Content-Encoding {name}, which is not unpacked here");
        let bytes = unpack::unpacked(coding, self.bytes).ok_or_else(unknown)?;
        Ok(Self { size: None, encoding: None, bytes })
    }

    /// All of it, if it is no longer than `limit` bytes.
    pub async fn whole(mut self, limit: usize) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        while let Some(block) = self.bytes.next().await {
            let block = block.map_err(|error| error.to_string())?;
            if whole.len() + block.len() > limit {
                return Err(format!("is longer than {limit} bytes"));
            }
            whole.extend_from_slice(&block);
        }
        Ok(whole)
    }
}

impl Files {
    /// Opens a folder or `s3://bucket/prefix`.
    pub fn open(place: &str, access: &Access) -> Result<Self, ImportError> {
        if place.starts_with("s3://") {
            let bucket = Bucket::parse(place)?;
            let name = format!("s3://{}/{}", bucket.name, bucket.prefix);
            return Ok(Self { store: bucket.open(&access.s3)?, prefix: bucket.prefix, name });
        }
        if place.contains("://") {
            return Err(ImportError::place(place, "not a folder, and not s3://bucket/prefix"));
        }
        let store = LocalFileSystem::new_with_prefix(place)
            .map_err(|error| ImportError::place(place, format!("the folder cannot be read: {error}")))?;
        Ok(Self { store: Arc::new(store), prefix: String::new(), name: place.to_owned() })
    }

    /// The part of an object store below `prefix`.
    pub fn of(store: Arc<dyn ObjectStore>, prefix: &str, name: &str) -> Self {
        Self { store, prefix: prefix.to_owned(), name: name.to_owned() }
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, name: &str) -> Result<ObjectPath, String> {
        if !narinfo::is_relative(name) {
            return Err(format!("{name} leads out of {}", self.name));
        }
        let whole = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        ObjectPath::parse(&whole).map_err(|error| format!("{name} is no file name: {error}"))
    }

    /// The file of this name; `None` where there is none.
    pub async fn get(&self, name: &str) -> Result<Option<Opened>, String> {
        let result = match self.store.get(&self.path(name)?).await {
            Ok(result) => result,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let encoding = result.attributes.get(&Attribute::ContentEncoding).map(|value| value.as_ref().to_owned());
        let size = Some(result.meta.size);
        let bytes = match result.payload {
            GetResultPayload::File(file, _) => {
                ReaderStream::with_capacity(tokio::fs::File::from_std(file), unpack::BLOCK).boxed()
            }
            GetResultPayload::Stream(stream) => stream.map_err(io::Error::from).boxed(),
        };
        Ok(Some(Opened { size, encoding, bytes }))
    }

    /// The first of these files that exists.
    pub async fn get_first(&self, names: &[String]) -> Result<Option<Opened>, String> {
        for name in names {
            if let Some(opened) = self.get(name).await? {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    /// The names of all files below `folder` (empty: everywhere), as the listing comes in, and relative to it.
    pub fn list(&self, folder: &str) -> BoxStream<'static, Result<String, String>> {
        let below = match (self.prefix.as_str(), folder) {
            (prefix, "") => prefix.to_owned(),
            ("", folder) => folder.to_owned(),
            (prefix, folder) => format!("{prefix}/{folder}"),
        };
        let listed = match ObjectPath::parse(&below) {
            Ok(root) => self.store.list(Some(&root).filter(|_| !below.is_empty())),
            Err(error) => return stream::iter([Err(error.to_string())]).boxed(),
        };
        let relative = move |entry: object_store::Result<ObjectMeta>| {
            let location = entry.map_err(|error| error.to_string())?.location;
            let name = location.as_ref().strip_prefix(&below).unwrap_or(location.as_ref());
            Ok(name.trim_start_matches('/').to_owned())
        };
        listed.map(relative).boxed()
    }
}

/// `bytes`, which fail where they end before or go on after `size`.
pub(crate) fn measured(bytes: Bytestream, size: u64, what: String) -> Bytestream {
    let end = stream::once(async { Ok(Bytes::new()) });
    let mut seen = 0_u64;
    // An empty block stands for the end; those of the source are left out.
    let blocks = bytes.try_filter(|block| std::future::ready(!block.is_empty())).chain(end);
    blocks
        .map(move |block| {
            let block = block?;
            seen += block.len() as u64;
            let wrong = if block.is_empty() { seen != size } else { seen > size };
            if wrong {
                let than = if seen > size { "longer" } else { "shorter" };
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{what} is {than} than its {size} bytes"),
                ));
            }
            Ok(block)
        })
        .try_filter(|block| std::future::ready(!block.is_empty()))
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lengths_are_held_to() {
        for (pieces, size, fits) in
            [(vec!["ab", "", "c"], 3, true), (vec!["ab"], 3, false), (vec!["ab", "cd"], 3, false), (vec![], 0, true)]
        {
            let bytes = stream::iter(pieces.iter().map(|piece| Ok(Bytes::from(*piece))).collect::<Vec<_>>()).boxed();
            let got: io::Result<Vec<Bytes>> = measured(bytes, size, "it".to_owned()).try_collect().await;
            assert_eq!(got.is_ok(), fits, "{pieces:?}");
            if let Ok(got) = got {
                assert_eq!(got.concat(), pieces.concat().as_bytes());
            }
        }
    }
}
