//! What the tests share: reading streams to their end, and a private PostgreSQL.

#![allow(dead_code)]

pub mod hand_made;
pub mod postgres;

use futures_util::{StreamExt as _, TryStreamExt as _};
use iglu_end2end::{digest, put::decompress};
use iglu_import::{Broken, Bytestream, Extent, ForeignPath, Paths, Source};
use std::collections::BTreeMap;

/// Good paths by their base names, and what is broken by what it is.
pub type Read = (BTreeMap<String, ForeignPath>, BTreeMap<String, Broken>);

/// Everything that a listing gives.
pub async fn read(mut paths: Paths) -> Read {
    let (mut good, mut bad) = (BTreeMap::new(), BTreeMap::new());
    while let Some(path) = paths.next().await {
        match path {
            Ok(path) => {
                let name = path.narinfo.store_path.to_string();
                assert!(good.insert(name.clone(), path).is_none(), "{name} came twice");
            }
            Err(broken) => {
                let what = broken.what.clone();
                assert!(bad.insert(what.clone(), broken).is_none(), "{what} came twice");
            }
        }
    }
    (good, bad)
}

pub async fn bytes(stream: Bytestream) -> std::io::Result<Vec<u8>> {
    Ok(stream.try_collect::<Vec<_>>().await?.concat())
}

/// Reads the NAR file and holds it to everything that its narinfo says of it.
#[track_caller]
pub fn check(path: &ForeignPath, file: &[u8], nar: &[u8]) {
    let narinfo = &path.narinfo;
    assert_eq!(narinfo.nar_hash.to_nix32(), digest::sha256_nix32(nar), "{}", narinfo.store_path);
    assert_eq!(narinfo.nar_size, nar.len() as u64, "{}", narinfo.store_path);
    if let Some(size) = narinfo.file_size {
        assert_eq!(size, file.len() as u64, "{}", narinfo.store_path);
    }
    if let Some(hash) = narinfo.file_hash {
        assert_eq!(hash.to_nix32(), digest::sha256_nix32(file), "{}", narinfo.store_path);
    }
}

/// The NAR of a path, unpacked, after [`check`].
pub async fn nar(source: &Source, path: &ForeignPath) -> Vec<u8> {
    let file = bytes(source.nar(path).await.unwrap()).await.unwrap();
    let nar = decompress(path.narinfo.compression.as_str(), &file).await.unwrap();
    check(path, &file, &nar);
    nar
}

/// Why a NAR cannot be had: said at once, or at the end of the stream.
pub async fn why_no_nar(source: &Source, path: &ForeignPath) -> String {
    match source.nar(path).await {
        Err(broken) => {
            assert_eq!(broken.extent, Extent::One);
            broken.to_string()
        }
        Ok(stream) => bytes(stream).await.expect_err("the NAR came whole").to_string(),
    }
}
