//! Multipart uploads, as the cachix protocol makes them: create, parts in any order and again, complete, abort. Each step may
//! be repeated.

use super::{Claim, KeyedLock, Publish, Published, Pushes, pushed_by};
use crate::{
    Core,
    blob::{Kind, Scratch, Source},
    caller::{Caller, Discretion},
    db::{PartRow, UploadRow},
    directory::Cache,
    error::{Error, Result},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::Stream;
use iglu_api::cache::Permission;
use md5::Md5;
use nix_compat::compression::Compression;
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// S3 allows as many; a client with 5 MiB parts reaches 48 GiB.
const MOST_PARTS: u32 = 10_000;

/// Names an upload; not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(Uuid);

impl UploadId {
    pub fn parse(text: &str) -> Result<UploadId> {
        let id = Uuid::try_parse(text).map_err(|_| Error::NotFound("there is no such upload".to_owned()))?;
        Ok(UploadId(id))
    }
}

impl std::fmt::Display for UploadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Where the bytes of one part go. The URL stands for the right to put them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartUrl(pub String);

/// A part as the completing client lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    pub number: u32,
    pub etag: String,
}

/// The ETag of a part: its MD5 as S3 writes it, with quotes.
fn etag(md5: &[u8]) -> String {
    format!("\"{}\"", data_encoding::HEXLOWER.encode(md5))
}

fn no_upload(id: UploadId) -> Error {
    Error::NotFound(format!("there is no open upload {id}; begin the path again with a new one"))
}

fn capability(id: UploadId, number: u32, md5: &[u8]) -> String {
    format!("upload {id} part {number} md5 {}", data_encoding::HEXLOWER.encode(md5))
}

fn parse_md5(text: &str) -> Result<[u8; 16]> {
    let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    bytes.ok_or_else(|| Error::invalid("contentMD5", "the MD5 of a part is 16 bytes as base64"))
}

impl Pushes<'_> {
    /// Begins an upload to a cache.
    pub async fn multipart_create(&self, caller: &Caller, cache: &str, compression: Compression) -> Result<UploadId> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Push, Discretion::Hide).await?;
        core.storage_remembered()?;
        cache.upload_limit(u64::MAX)?;
        let id = UploadId(uuid::Builder::from_random_bytes(crate::clock::random()).into_uuid());
        let by = pushed_by(caller);
        let most = core.limits.open_uploads;
        let open = core.db.upload_open_count_of(&by).await?;
        if open >= i64::from(most) {
            return Err(Error::TooMany {
                message: format!(
                    "{by} has {open} open uploads; {most} are allowed. Complete or abort some, or wait a day"
                ),
                retry_after_seconds: 60,
            });
        }
        core.db.upload_insert(&id.to_string(), cache.id, compression.as_str(), &by, core.now().0).await?;
        crate::failpoint::reach("upload.created");
        Ok(id)
    }

    /// The URL for one part, counted from 1. The same part may be asked for again.
    pub async fn part_url(
        &self,
        caller: &Caller,
        cache: &str,
        id: UploadId,
        number: u32,
        md5: &str,
    ) -> Result<PartUrl> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Push, Discretion::Hide).await?;
        let md5 = parse_md5(md5)?;
        if !(1..=MOST_PARTS).contains(&number) {
            return Err(Error::invalid("partNumber", format!("parts are numbered from 1 to {MOST_PARTS}")));
        }
        let upload = self.open_upload(id, &cache).await?;
        let base64 = STANDARD.encode(md5);
        if let Some(url) = core.blob.part_url(&upload.public_id, number, &base64).await? {
            return Ok(PartUrl(url));
        }
        let proof = core.master.capability(&capability(id, number, &md5));
        let md5 = data_encoding::HEXLOWER.encode(&md5);
        Ok(PartUrl(format!("{}/upload/{id}/{number}?md5={md5}&proof={proof}", core.public_url())))
    }

    /// Takes the bytes of a part, for whoever has its URL, and gives its ETag. A part may come twice; the last whole one
    /// counts.
    pub async fn part_put<S>(&self, id: UploadId, number: u32, md5: &str, proof: &str, body: S) -> Result<String>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let core = self.0;
        let expected = data_encoding::HEXLOWER.decode(md5.as_bytes()).unwrap_or_default();
        if !core.master.proves(&capability(id, number, &expected), proof) {
            return Err(Error::Forbidden("this upload URL was not made by this server".to_owned()));
        }
        let upload = core.db.upload_find(&id.to_string()).await?.filter(|upload| upload.state == "open");
        // The cache may be gone since the URL was made.
        let upload = upload.filter(|upload| core.directory.get_by_id(upload.cache_id).is_some());
        let upload = upload.ok_or_else(|| no_upload(id))?;
        let part = core.blob.receive::<_, Md5>(body, core.limits.part_bytes).await?;
        crate::failpoint::reach("part.received");
        core.totals.push_bytes.add(part.size);
        let md5 = md5::Digest::finalize(part.digest);
        if md5[..] != expected[..] {
            return Err(Error::Interrupted(format!(
                "part {number} arrived damaged: its MD5 is another; send it again"
            )));
        }
        core.blob.part_keep(&upload.public_id, number, part.scratch.path(), part.size).await?;
        crate::failpoint::reach("part.kept");
        let row = PartRow { number: number.into(), size: super::signed(part.size), md5: md5.to_vec() };
        if !core.db.part_put(upload.id, &row, core.now().0).await? {
            return Err(no_upload(id));
        }
        crate::failpoint::reach("part.noted");
        Ok(etag(&md5))
    }

    /// Verifies and publishes what was uploaded. Repeating it after success succeeds. The work goes on when the client
    /// hangs up: its next try finds it done.
    pub async fn complete(
        &self,
        caller: &Caller,
        cache: &str,
        id: UploadId,
        parts: Option<Vec<CompletedPart>>,
        claim: Claim,
    ) -> Result<Published> {
        let core = self.0.clone();
        let cache = core.cache().open(caller, cache, Permission::Push, Discretion::Hide).await?;
        let task = tokio::spawn(async move {
            let _turn = core.completing.lock(id).await;
            let done = core.push().complete_one(&cache, id, parts, claim).await;
            // Another server may have been asked too, have done it, and have taken the parts away under this one.
            if done.is_err() && core.push().find_upload(id, &cache).await.is_ok_and(|upload| upload.state == "done") {
                return Ok(Published::Existing);
            }
            done
        });
        task.await?
    }

    async fn complete_one(
        &self,
        cache: &Arc<Cache>,
        id: UploadId,
        parts: Option<Vec<CompletedPart>>,
        mut claim: Claim,
    ) -> Result<Published> {
        let core = self.0;
        let upload = self.find_upload(id, cache).await?;
        match upload.state.as_str() {
            "done" => return Ok(Published::Existing),
            "open" => {}
            _ => return Err(no_upload(id)),
        }
        claim.compression = Compression::parse(&upload.compression)
            .map_err(|_| Error::internal(format!("upload {id} in the database: its compression")))?;
        let stored = match core.blob.parts_beside(&upload.public_id).await? {
            // What was put straight into the bucket: its ETags are the bucket's own, and every byte is read back.
            Some(beside) => {
                let rows = beside.into_iter().map(|part| PartRow {
                    number: part.number.into(),
                    size: super::signed(part.size),
                    md5: Vec::new(),
                });
                let rows: Vec<PartRow> = rows.collect();
                check_parts(&rows, None)?;
                rows
            }
            None => {
                let rows = core.db.part_list(upload.id).await?;
                check_parts(&rows, parts.as_deref())?;
                rows
            }
        };
        let size: u64 = stored.iter().map(|part| part.size.unsigned_abs()).sum();
        let limit = cache.upload_limit(core.limits.nar_file_bytes)?;
        if size > limit {
            return Err(Error::TooLarge(format!(
                "the file of {} has {size} bytes; {limit} are allowed in cache \"{}\"",
                claim.store_path, cache.name
            )));
        }

        let hash = claim.store_path.hash();
        if core.db.path_renew(cache.id, &hash.to_string(), upload.id, core.now().0).await? {
            core.blob.upload_remove(&upload.public_id).await?;
            return Ok(Published::Existing);
        }

        let sources: Vec<Source> = stored
            .iter()
            .filter(|part| part.size > 0)
            .map(|part| {
                let number = u32::try_from(part.number).unwrap_or(0);
                core.blob.part_source(&upload.public_id, number, part.size.unsigned_abs())
            })
            .collect();
        // What is verified is what is published: a name of our own, which a part that comes once more cannot replace. A
        // single part is the file already, where it lies on this disk; otherwise the bytes are copied while they are read.
        let scratch = Scratch::new(core.blob.scratch_path());
        let staged = scratch.path().to_owned();
        let first = stored.iter().find(|part| part.size > 0).and_then(|part| u32::try_from(part.number).ok());
        let linked = match first {
            Some(number) if sources.len() == 1 => core.blob.part_link(&upload.public_id, number, &staged)?,
            _ => false,
        };
        crate::failpoint::reach("complete.begun");
        let mut found = match linked {
            true => self.verify(&claim, vec![Source::File(staged.clone())], None).await?,
            false => self.verify(&claim, sources, Some(staged.clone())).await?,
        };
        crate::failpoint::reach("complete.verified");
        if core.nar_is_stored(&claim.nar_hash).await? {
            // The bytes are here already; these go.
            found.file = None;
        } else if let Some(file) = found.file {
            core.file_publish(Kind::Nar, &staged, &file.hash, file.size).await?;
        }
        let publish = Publish {
            cache,
            claim: &claim,
            found: &found,
            pushed_by: &upload.pushed_by,
            upload_id: Some(upload.id),
            hold: true,
        };
        let published = self.publish(&publish).await?;
        crate::failpoint::reach("complete.committed");
        core.blob.upload_remove(&upload.public_id).await?;
        Ok(published)
    }

    /// Gives an upload up. Unknown and ended ones are fine.
    pub async fn abort(&self, caller: &Caller, cache: &str, id: UploadId) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Push, Discretion::Hide).await?;
        let _turn = core.completing.lock(id).await;
        if let Ok(upload) = self.open_upload(id, &cache).await {
            core.db.upload_end(upload.id, "aborted", core.now().0).await?;
            core.blob.upload_remove(&upload.public_id).await?;
        }
        Ok(())
    }

    async fn find_upload(&self, id: UploadId, cache: &Cache) -> Result<UploadRow> {
        let upload = self.0.db.upload_find(&id.to_string()).await?;
        upload.filter(|upload| upload.cache_id == cache.id).ok_or_else(|| no_upload(id))
    }

    async fn open_upload(&self, id: UploadId, cache: &Cache) -> Result<UploadRow> {
        let upload = self.find_upload(id, cache).await?;
        if upload.state == "open" { Ok(upload) } else { Err(no_upload(id)) }
    }
}

/// The stored parts must be 1, 2, … without a gap, and those that the client lists. Without a list (a proxy took the
/// ETags away), what arrived is what counts.
fn check_parts(stored: &[PartRow], listed: Option<&[CompletedPart]>) -> Result<()> {
    let refuse = |message: String| Err(Error::Invalid { field: "parts", message });
    if stored.is_empty() {
        return refuse("no part has arrived".to_owned());
    }
    if let Some((expected, _)) = (1_i64..).zip(stored).find(|(expected, part)| part.number != *expected) {
        return refuse(format!("part {expected} has not arrived"));
    }
    let Some(listed) = listed else { return Ok(()) };
    if listed.len() != stored.len() {
        return refuse(format!("{} parts are listed, {} have arrived", listed.len(), stored.len()));
    }
    let stored: HashMap<i64, &PartRow> = stored.iter().map(|part| (part.number, part)).collect();
    for part in listed {
        match stored.get(&i64::from(part.number)) {
            None => return refuse(format!("part {} has not arrived", part.number)),
            Some(stored) if etag(&stored.md5) != part.etag => {
                return refuse(format!("part {} has another ETag than listed", part.number));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// One completion of an upload at a time.
pub(crate) type Completing = KeyedLock<UploadId>;

impl Core {
    /// The methods of the noun.
    pub fn push(&self) -> Pushes<'_> {
        Pushes(self)
    }
}
