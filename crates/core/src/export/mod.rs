//! A cache as the files of a static binary cache, which Nix reads from a folder or any web server sends. A narinfo is written when its NAR
//! file is there whole, so that whoever reads meanwhile finds nothing that is not so. What is there already stays.

mod folder;
mod side;

use crate::{
    Core,
    blob::{Kind, Source},
    directory::Cache,
    error::{Error, Result},
    path::render,
    push::KeyedLock,
};
use folder::{CACHE_INFO, Folder, Hashing, pour, unreadable};
use futures_util::{StreamExt, stream};
use nix_compat::{
    cache_info::CacheInfo,
    narinfo::NarInfo,
    nixhash::Sha256,
    store_path::{StorePath, StorePathHash},
};
use std::{collections::HashSet, path::Path, sync::Arc};

/// Paths that are worked on at the same time.
const AT_ONCE: usize = 4;

/// How an export is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportSettings {
    /// Gives stored NAR files a second name where the file system can, instead of copying them.
    pub links: bool,
    /// Reads files that are there already, and writes those again that are not what they should be.
    pub verifies: bool,
    /// Removes files of paths that the cache has no more.
    pub prunes: bool,
    /// Writes what each path holds, as `.ls` files.
    pub listings: bool,
}

/// What an export did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Paths that are in the folder now.
    pub paths: u64,
    /// How many of them were written or changed.
    pub written_paths: u64,
    /// NAR files that were written, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// How many of them are links to those of the storage.
    pub linked_files: u64,
    /// Build logs and realisations that are in the folder now.
    pub logs: u64,
    pub realisations: u64,
    /// Paths and logs that are not, or not as they are now, because what is stored of them is damaged.
    pub skipped: u64,
    /// Files that were removed.
    pub pruned: u64,
}

/// Why something is not written.
enum Fault {
    /// What is stored of this one thing is damaged.
    Damaged(String),
    /// Nothing can be written.
    Export(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Export(error)
    }
}

/// Who is told, while an export runs.
pub trait Listener: Sync {
    /// What is done so far, of about how many paths.
    fn progress(&self, exported: &Exported, all: u64);
    /// What is left out, and why.
    fn skipped(&self, what: &str, why: &str);
}

/// The methods of the noun.
pub struct Exports<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn export(&self) -> Exports<'_> {
        Exports(self)
    }
}

impl Exports<'_> {
    /// Writes what the cache shows into a folder that is new, empty, or such a folder from before. The caller's right was checked when
    /// it opened the cache.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a folder with something else in it, [`Error::Conflict`] while another export writes to it. A damaged file
    /// is no error: its paths are left out, and told.
    pub async fn to_folder(
        &self,
        cache: &Arc<Cache>,
        root: &Path,
        settings: ExportSettings,
        listener: &dyn Listener,
    ) -> Result<Exported> {
        self.0.storage_require().await?;
        let root = root.to_owned();
        let folder = Arc::new(tokio::task::spawn_blocking(move || Folder::open(&root)).await??);
        folder.put(CACHE_INFO, CacheInfo::new(cache.priority).to_string().as_bytes())?;
        let core = self.0.clone();
        let run = Run { core, cache: cache.clone(), folder, settings, listener, writing: KeyedLock::default() };
        let mut exported = Exported::default();
        let kept = run.paths(&mut exported).await?;
        let names = run.side_files(&mut exported).await?;
        if settings.prunes {
            exported.pruned = run.prune(&kept, &names)?;
        }
        let folder = run.folder.clone();
        tokio::task::spawn_blocking(move || folder.sync()).await??;
        Ok(exported)
    }
}

/// One export.
struct Run<'a> {
    core: Core,
    cache: Arc<Cache>,
    folder: Arc<Folder>,
    settings: ExportSettings,
    listener: &'a dyn Listener,
    /// Paths share NAR files.
    writing: KeyedLock<Sha256>,
}

/// What the cache shows: nothing of it is pruned.
#[derive(Default)]
struct Kept {
    paths: HashSet<StorePathHash>,
    files: HashSet<Sha256>,
}

/// What was done for one path.
struct Done {
    path: StorePath,
    file_hash: Sha256,
    outcome: Result<Written, String>,
}

#[derive(Clone, Copy, Default)]
struct Written {
    nar: Option<WrittenNar>,
    narinfo: bool,
}

#[derive(Clone, Copy)]
struct WrittenNar {
    size: u64,
    is_linked: bool,
}

impl Run<'_> {
    async fn paths(&self, exported: &mut Exported) -> Result<Kept> {
        let mut kept = Kept::default();
        let mut last = None;
        loop {
            let page = self.core.path().names_after(&self.cache, last).await?;
            let Some(end) = page.last() else { return Ok(kept) };
            last = Some(end.hash());
            let mut paths = stream::iter(page).map(|path| self.path(path)).buffer_unordered(AT_ONCE);
            while let Some(done) = paths.next().await {
                // Removed since it was listed.
                let Some(Done { path, file_hash, outcome }) = done? else { continue };
                kept.paths.insert(path.hash());
                kept.files.insert(file_hash);
                match outcome {
                    Ok(written) => {
                        exported.paths += 1;
                        exported.written_paths += u64::from(written.narinfo || written.nar.is_some());
                        if let Some(nar) = written.nar {
                            exported.files += 1;
                            exported.bytes += nar.size;
                            exported.linked_files += u64::from(nar.is_linked);
                        }
                    }
                    Err(why) => {
                        exported.skipped += 1;
                        self.listener.skipped(&path.to_absolute(), &why);
                    }
                }
                self.listener.progress(exported, self.cache.path_count());
            }
        }
    }

    /// Writes one path: its NAR file, then its narinfo. `None` when the cache does not show it any more.
    async fn path(&self, path: StorePath) -> Result<Option<Done>> {
        let hash = path.hash();
        let Some(row) = self.core.db.narinfo_get(self.cache.id, &hash.to_string()).await? else { return Ok(None) };
        let text = render(row)?.text;
        let broken = || Error::internal(format!("store path {path} in the database cannot be read"));
        let narinfo = NarInfo::parse(&text).map_err(|_| broken())?;
        let (file_hash, size) = narinfo.file_hash.zip(narinfo.file_size).ok_or_else(broken)?;
        let nar = {
            let _turn = self.writing.lock(file_hash).await;
            self.nar(&narinfo.url, file_hash, size).await
        };
        let done = |outcome| Ok(Some(Done { path: path.clone(), file_hash, outcome }));
        let nar = match nar {
            Ok(nar) => nar,
            Err(Fault::Export(error)) => return Err(error),
            Err(Fault::Damaged(why)) => {
                // Without our storage everything would be damaged, and nothing is.
                self.core.storage_require().await?;
                // Or a rule took it out, and then its file.
                let is_shown = self.core.db.narinfo_get(self.cache.id, &hash.to_string()).await?.is_some();
                return if is_shown { done(Err(why)) } else { Ok(None) };
            }
        };
        let listing = match self.settings.listings {
            true => self.core.path().listing(&self.cache, hash).await?,
            false => None,
        };
        let folder = self.folder.clone();
        let narinfo = tokio::task::spawn_blocking(move || {
            if let Some(listing) = listing {
                folder.put(&format!("{hash}.ls"), &listing)?;
            }
            folder.put(&format!("{hash}.narinfo"), &text)
        });
        done(Ok(Written { nar, narinfo: narinfo.await?? }))
    }

    /// Writes a NAR file that is not there. `None` where it is.
    async fn nar(&self, url: &str, file_hash: Sha256, size: u64) -> Result<Option<WrittenNar>, Fault> {
        let (folder, name, verifies) = (self.folder.clone(), url.to_owned(), self.settings.verifies);
        let has = move || folder.has(&name, size, verifies.then_some(&file_hash));
        if tokio::task::spawn_blocking(has).await.map_err(Error::from)?? {
            return Ok(None);
        }
        match self.core.blob.size(Kind::Nar, &file_hash).await? {
            Some(found) if found == size => {}
            Some(found) => return Err(Fault::Damaged(format!("the file has {found} bytes instead of {size}"))),
            None => return Err(Fault::Damaged("the file is not there".to_owned())),
        }
        let source = self.core.blob.source(Kind::Nar, &file_hash, size);
        let (folder, name, links) = (self.folder.clone(), url.to_owned(), self.settings.links);
        let write = move || nar_write(&folder, &source, &name, &file_hash, links);
        let is_linked = tokio::task::spawn_blocking(write).await.map_err(Error::from)??;
        Ok(Some(WrittenNar { size, is_linked }))
    }

    /// Removes what an export wrote and the cache has no more.
    fn prune(&self, kept: &Kept, names: &side::Names) -> Result<u64> {
        let folder = &self.folder;
        let is_left = |name: &str| name.starts_with('.') && name.ends_with(".partial");
        // Narinfos first: none without its NAR file is ever to be seen.
        let mut pruned = folder.prune("", |name| {
            let hash = name.strip_suffix(".narinfo").or(name.strip_suffix(".ls"));
            let hash = hash.and_then(|hash| StorePathHash::parse(hash).ok());
            hash.is_none_or(|hash| kept.paths.contains(&hash)) && !is_left(name)
        })?;
        pruned += folder.prune("nar", |name| {
            let hash = name.split_once(".nar").and_then(|(hash, _)| Sha256::parse_nix32(hash).ok());
            hash.is_none_or(|hash| kept.files.contains(&hash)) && !is_left(name)
        })?;
        let keeps = |below: &str, name: &str| names.contains(&format!("{below}/{name}"));
        for below in ["log", "realisations"] {
            pruned += folder.prune(below, |name| keeps(below, name))?;
        }
        for derivation in folder.folders("build-trace-v2") {
            let below = format!("build-trace-v2/{derivation}");
            pruned += folder.prune(&below, |name| keeps(&below, name))?;
        }
        Ok(pruned)
    }
}

/// Copies or links a NAR file, read to its end either way. Whether it was linked. Waits for disks and networks.
fn nar_write(folder: &Folder, source: &Source, name: &str, hash: &Sha256, links: bool) -> Result<bool, Fault> {
    let judge = |found: Sha256| match found == *hash {
        true => Ok(()),
        false => Err(Fault::Damaged("the file's bytes are not what they were".to_owned())),
    };
    if let Source::File(place) = source
        && links
    {
        let mut reader = Hashing::new(source.open().map_err(unreadable)?);
        pour(&mut reader, None)?;
        judge(reader.finish())?;
        if folder.link(place, name)? {
            return Ok(true);
        }
    }
    let mut reader = Hashing::new(source.open().map_err(unreadable)?);
    let mut partial = folder.begin(name)?;
    match pour(&mut reader, Some(&mut partial)).and_then(|_| judge(reader.finish())) {
        Ok(()) => Ok(partial.finish().map(|()| false)?),
        Err(fault) => {
            partial.discard();
            Err(fault)
        }
    }
}
