//! Copies the storage to another place, while servers go on: what the database names and the other place lacks, until nothing is
//! missing. Every byte is hashed on the way. Only a run that knows that nobody pushes gives the other place the name that servers look for.

use crate::{
    Core,
    blob::{Blob, Kind, Source, StorageSettings, Written},
    db::NamedFile,
    error::{Error, Result},
};
use futures_util::{StreamExt, stream};
use nix_compat::nixhash::Sha256;
use std::io::{self, Read, Write};

/// Files on their way at a time.
const AT_ONCE: usize = 4;
const READ_SIZE: usize = 256 * 1024;
/// Files that a report names.
const NAMED: usize = 100;
/// In front of the name of a storage that is not complete yet.
pub(crate) const UNFINISHED: &str = "unfinished ";

/// What a move did.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Files that were copied now, and their bytes.
    pub copied: u64,
    pub copied_bytes: u64,
    /// Files that were there already.
    pub present: u64,
    /// Files that could not be copied because the source does not have them as they were; the first by name.
    pub damaged: u64,
    pub named: Vec<String>,
    /// Whether servers may be started with the other place.
    pub is_complete: bool,
}

impl Core {
    /// Copies everything to `target`. With `is_final` nobody else may be writing: then the other place is complete afterwards.
    pub async fn storage_move(
        &self,
        target: &StorageSettings,
        is_final: bool,
        progress: &(dyn Fn(&Moved, u64) + Sync),
    ) -> Result<Moved> {
        self.storage_require().await?;
        let id = self.blob.mark().await?.ok_or_else(|| Error::internal("the storage has no name"))?;
        let target = Blob::open(target)?;
        match target.mark().await? {
            Some(mark) if mark == id || mark == format!("{UNFINISHED}{id}") => {}
            Some(_) => return Err(Error::invalid("to", format!("{} belongs to another database", target.place()))),
            None if target.has_nars().await? => {
                return Err(Error::invalid("to", format!("{} holds files of another database", target.place())));
            }
            None => {}
        }
        if target.mark().await?.is_none_or(|mark| mark != id) {
            target.mark_put(&format!("{UNFINISHED}{id}")).await?;
        }
        crate::failpoint::reach("move.begun");
        let mut moved = Moved::default();
        loop {
            let before = moved.copied;
            moved.present = 0;
            moved.damaged = 0;
            moved.named.clear();
            self.pass(&target, &mut moved, progress).await?;
            // What was pushed meanwhile is the next pass; it is shorter.
            if moved.copied == before {
                break;
            }
        }
        crate::failpoint::reach("move.passed");
        if is_final && moved.damaged == 0 {
            target.mark_put(&id).await?;
            crate::failpoint::reach("move.marked");
            moved.is_complete = true;
        }
        Ok(moved)
    }

    async fn pass(&self, target: &Blob, moved: &mut Moved, progress: &(dyn Fn(&Moved, u64) + Sync)) -> Result<()> {
        let all = self.db.named_file_count().await?;
        for table in NamedFile::TABLES {
            let mut after = NamedFile::START;
            loop {
                let files = self.db.named_files(table, &after).await?;
                let Some(last) = files.last() else { break };
                after = last.place();
                let copies = stream::iter(files).map(|file| async move {
                    let copied = self.copy(target, &file).await;
                    copied.map(|copied| (file, copied))
                });
                let mut copies = copies.buffer_unordered(AT_ONCE);
                while let Some(copied) = copies.next().await {
                    let (file, copied) = copied?;
                    match copied {
                        Copied::Present => moved.present += 1,
                        Copied::Now => {
                            moved.copied += 1;
                            moved.copied_bytes += file.file_size.unsigned_abs();
                        }
                        Copied::Damaged(why) => {
                            moved.damaged += 1;
                            if moved.named.len() < NAMED {
                                moved.named.push(format!("{} {}: {why}", file.kind, file.hash()?.to_nix32()));
                            }
                        }
                    }
                    progress(moved, all);
                }
            }
        }
        Ok(())
    }

    async fn copy(&self, target: &Blob, file: &NamedFile) -> Result<Copied> {
        let kind = Kind::parse(&file.kind).ok_or_else(|| Error::internal("a file in the database: its kind"))?;
        let (hash, size) = (file.hash()?, file.file_size.unsigned_abs());
        if target.size(kind, &hash).await? == Some(size) {
            return Ok(Copied::Present);
        }
        match self.blob.size(kind, &hash).await? {
            Some(found) if found == size => {}
            Some(found) => return Ok(Copied::Damaged(format!("it has {found} bytes instead of {size}"))),
            None => return Ok(Copied::Damaged("it is not there".to_owned())),
        }
        crate::failpoint::reach("move.file");
        let (source, scratch) = (self.blob.source(kind, &hash, size), target.begin(size)?);
        let written = tokio::task::spawn_blocking(move || copy_to(&source, scratch)).await?.map_err(Error::storage)?;
        if written.file_hash != hash {
            return Ok(Copied::Damaged("its bytes are not what they were".to_owned()));
        }
        target.publish(kind, written.scratch.path(), &hash, size, self.now()).await?;
        crate::failpoint::reach("move.copied");
        Ok(Copied::Now)
    }
}

enum Copied {
    Present,
    Now,
    Damaged(String),
}

fn copy_to(source: &Source, mut to: crate::blob::Writing) -> io::Result<Written> {
    let mut reader = source.open()?;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(to.finish()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

impl NamedFile {
    fn hash(&self) -> Result<Sha256> {
        let bytes = <[u8; 32]>::try_from(self.file_hash.as_slice());
        bytes.map(Sha256::from_bytes).map_err(|_| Error::internal("a file in the database: its name"))
    }
}
