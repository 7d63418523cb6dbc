//! Putting NARs together from attic's chunks: owns their order and completeness. A chunk that is not there, or not whole, ends
//! the stream with an error that names it.

use super::rows::{self, ChunkRow, RemoteFile};
use crate::{
    Broken, Bytestream,
    database::Database,
    files::{Files, Opened, measured},
    narinfo, unpack,
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use nix_compat::{compression::Compression, narinfo::NarInfo};
use std::io;

/// Chunks that are opened ahead: a bucket takes its time for each.
const AHEAD: usize = 4;

/// The NAR of this row. One chunk comes as it is stored; several come unpacked and packed again as one stream: each is packed for
/// itself, which costs room, maybe by different codecs, and not every codec goes on behind its end.
pub(super) async fn nar(
    database: &Database,
    storage: &Files,
    narinfo: &NarInfo,
    nar: i64,
    count: i64,
) -> Result<Bytestream, Broken> {
    let path = narinfo.store_path.to_absolute();
    let broken = |why: String| Broken::one(&path, why);
    // The first is looked at before anything is promised: mostly a storage is there as a whole, or not at all.
    let first = rows::chunks(database, nar, -1).await.map_err(|error| broken(error.to_string()))?;
    let first = first.into_iter().next().ok_or_else(|| broken("its NAR has no chunks".to_owned()))?;
    let opened = open(storage, &first).await.map_err(broken)?;
    if count == 1 {
        let size = narinfo.file_size.or(opened.0.size);
        return Ok(match size {
            Some(size) => measured(opened.0.bytes, size, format!("chunk 0 of {path}")),
            None => opened.0.bytes,
        });
    }
    drop(opened);
    let storage = storage.clone();
    let unpacked = all(database.clone(), nar, count).map(move |row| {
        let (storage, path) = (storage.clone(), path.clone());
        async move {
            let named = |why: String| io::Error::other(format!("{path}: {why}"));
            let row = row.map_err(named)?;
            let (opened, compression) = open(&storage, &row).await.map_err(named)?;
            let what = format!("chunk {} of {path}", row.seq);
            let stored = match opened.size {
                Some(size) => measured(opened.bytes, size, what.clone()),
                None => opened.bytes,
            };
            let bytes = unpack::unpacked(compression, stored)
                .ok_or_else(|| named(format!("chunk {} is packed with {compression}", row.seq)))?;
            let size = row.size.and_then(|size| size.try_into().ok());
            let size = size.ok_or_else(|| named(format!("chunk {} has no size", row.seq)))?;
            let damaged = move |error: io::Error| io::Error::other(format!("{what} is damaged: {error}"));
            let named = format!("chunk {} of {path}, unpacked,", row.seq);
            io::Result::Ok(measured(bytes.map_err(damaged).boxed(), size, named))
        }
    });
    Ok(unpack::packed(unpacked.buffered(AHEAD).try_flatten().boxed()))
}

/// The rows of all chunks in order, each number from 0 to `count` once; anything else is an error.
fn all(database: Database, nar: i64, count: i64) -> impl Stream<Item = Result<ChunkRow, String>> + Send {
    let pages = stream::try_unfold(0, move |next: i64| {
        let database = database.clone();
        async move {
            if next == count {
                return Ok(None);
            }
            let page = rows::chunks(&database, nar, next - 1).await.map_err(|error| error.to_string())?;
            if page.is_empty() {
                return Err(format!("its NAR has only {next} of {count} chunks"));
            }
            let mut expected = next;
            for row in &page {
                if row.seq != expected || row.seq >= count {
                    return Err(format!("chunk {expected} of {count} of its NAR is not in order"));
                }
                expected += 1;
            }
            Ok(Some((stream::iter(page.into_iter().map(Ok)), expected)))
        }
    });
    pages.try_flatten()
}

async fn open(storage: &Files, row: &ChunkRow) -> Result<(Opened, Compression), String> {
    let number = row.seq;
    let (Some(state), Some(file), Some(name)) = (&row.state, &row.remote_file, &row.compression) else {
        return Err(format!("chunk {number} is not in the database"));
    };
    if state != "V" {
        return Err(format!("chunk {number} is not valid (state {state})"));
    }
    let compression = narinfo::compression(name)?;
    let file: RemoteFile =
        serde_json::from_str(file).map_err(|error| format!("the place of chunk {number} cannot be read: {error}"))?;
    let names = file.names().map_err(|why| format!("chunk {number} {why}"))?;
    let opened = storage.get_first(&names).await.map_err(|why| format!("chunk {number}: {why}"))?;
    let opened = opened
        .ok_or_else(|| format!("chunk {number}: the file {} is not in {}", names.join(" or "), storage.name()))?;
    let size = row.file_size.and_then(|size| u64::try_from(size).ok());
    match (opened.size, size) {
        (Some(found), Some(size)) if found != size => {
            Err(format!("chunk {number}: the file {} has {found} bytes, not {size}", names.join(" or ")))
        }
        (found, size) => Ok((Opened { size: found.or(size), ..opened }, compression)),
    }
}
