//! Build logs and realisations as files of an export: plain, under the names by which Nix asks for them.

use super::{
    Exported, Fault, Run,
    folder::{Folder, Hashing, pour, unreadable},
};
use crate::{
    blob::{Kind, Source},
    codec,
    db::ListedLog,
    error::{Error, Result},
};
use nix_compat::{compression::Compression, nixhash::Sha256, realisation::RealisationKey, store_path::StorePath};
use std::{collections::HashSet, io::BufReader};

/// Names of files that stay.
pub(super) type Names = HashSet<String>;

impl Run<'_> {
    pub(super) async fn side_files(&self, exported: &mut Exported) -> Result<Names> {
        let (mut names, mut after) = (Names::new(), String::new());
        loop {
            let page = self.core.db.log_list(self.cache.id, &after).await?;
            let Some(last) = page.last() else { break };
            after = last.drv.clone();
            for listed in page {
                let name = format!("log/{}", listed.drv);
                match self.log(&listed, &name).await {
                    Ok(()) => exported.logs += 1,
                    Err(Fault::Export(error)) => return Err(error),
                    Err(Fault::Damaged(why)) => {
                        self.core.storage_require().await?;
                        exported.skipped += 1;
                        self.listener.skipped(&name, &why);
                    }
                }
                names.insert(name);
            }
        }
        after.clear();
        loop {
            let page = self.core.db.realisation_list(self.cache.id, &after).await?;
            let Some((last, _)) = page.last() else { return Ok(names) };
            after = last.clone();
            for (key, document) in page {
                let key = RealisationKey::parse(&key)
                    .map_err(|_| Error::internal(format!("realisation {key} in the database: its key")))?;
                let name = key.to_url_path();
                self.folder.put(&name, document.as_bytes())?;
                names.insert(name);
                exported.realisations += 1;
            }
        }
    }

    async fn log(&self, listed: &ListedLog, name: &str) -> Result<(), Fault> {
        let ListedLog { drv, log } = listed;
        let broken = || Error::internal(format!("log of {drv} in the database cannot be read"));
        StorePath::parse(drv).map_err(|_| broken())?;
        let file_hash = <[u8; 32]>::try_from(log.file_hash.as_slice()).map(Sha256::from_bytes).map_err(|_| broken())?;
        let size = log.size.unsigned_abs();
        // A log that took the place of another has other bytes, and the same size by chance at most.
        if self.folder.has(name, size, None)? && !self.settings.verifies {
            return Ok(());
        }
        let source = self.core.blob.source(Kind::Log, &file_hash, log.file_size.unsigned_abs());
        let (folder, name) = (self.folder.clone(), name.to_owned());
        let write = move || log_write(&folder, &source, &name, &file_hash, size);
        tokio::task::spawn_blocking(write).await.map_err(Error::from)?
    }
}

/// Unpacks a log. Waits for disks and networks.
fn log_write(folder: &Folder, source: &Source, name: &str, hash: &Sha256, size: u64) -> Result<(), Fault> {
    let mut packed = BufReader::new(Hashing::new(source.open().map_err(unreadable)?));
    let mut partial = folder.begin(name)?;
    let poured = match codec::decoder(Compression::Zstd, &mut packed) {
        Some(mut decoder) => pour(&mut decoder, Some(&mut partial)),
        None => Ok(0),
    };
    let poured = poured.and_then(|found| {
        // A codec may stop before the end of its file.
        std::io::copy(&mut packed, &mut std::io::sink()).map_err(unreadable)?;
        match found == size && packed.into_inner().finish() == *hash {
            true => Ok(()),
            false => Err(Fault::Damaged("the file's bytes are not what they were".to_owned())),
        }
    });
    match poured {
        Ok(()) => Ok(partial.finish()?),
        Err(fault) => {
            partial.discard();
            Err(fault)
        }
    }
}
