//! All about one store path: its facts, what it refers to and what refers to it, its closure, its files.

use crate::{
    caller::{Caller, Discretion},
    db::LinkedRow,
    directory::Cache,
    error::{Error, Result},
    path::{Paths, nar_url},
};
use iglu_api::{
    cache::Permission,
    path::{Closure, FileEntry, FileKind, FolderPage, PathDetail, PathLink, PathSignature},
};
use nix_compat::{
    compression::Compression,
    nar_listing::{Listing, Node},
    nixhash::Sha256,
    signing::Signature,
    store_path::{STORE_DIR, StorePath, StorePathHash},
};
use std::collections::HashSet;

/// Referrers that are named.
const MOST_REFERRERS: i64 = 50;
/// Paths of a closure that are looked at; a NixOS system has a few thousand.
const MOST_OF_CLOSURE: usize = 20_000;
/// Paths of a closure that are named.
const LARGEST: usize = 40;

impl Paths<'_> {
    /// All about one path, visible or held.
    pub async fn detail(&self, caller: &Caller, cache: &str, hash: StorePathHash) -> Result<PathDetail> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        let digits = hash.to_string();
        let absent = || Error::NotFound(format!("the path {hash} is not in cache \"{}\"", cache.name));
        let row = core.db.path_row(cache.id, &digits).await?.ok_or_else(absent)?;
        let facts = core.db.path_facts(cache.id, &digits).await?.ok_or_else(absent)?;
        let broken = |what: &str| Error::internal(format!("store path {}-{} in the database: {what}", hash, row.name));
        let digest = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map(Sha256::from_bytes).map_err(|_| broken("a hash"));
        let compression = Compression::parse(&facts.compression).map_err(|_| broken("its compression"))?;
        let file_hash = digest(&facts.file_hash)?;

        let names: Vec<&str> = facts.refs.split(' ').filter(|name| !name.is_empty()).collect();
        let hashes: Vec<String> = names.iter().filter_map(|name| name.get(..32)).map(str::to_owned).collect();
        let here = core.db.linked(cache.id, &hashes).await?;
        let references = names.iter().filter_map(|name| link_of(name, &here)).collect();
        let (referrers, referrer_count) = core.db.referrers(cache.id, &digits, MOST_REFERRERS).await?;
        let has_log = match &facts.deriver {
            Some(drv) => core.db.log_get(cache.id, drv).await?.is_some(),
            None => false,
        };
        let store_path = format!("{STORE_DIR}/{hash}-{}", row.name);
        Ok(PathDetail {
            closure: self.closure(&cache, &digits).await?,
            pull_count: core.db.pull_count(cache.id, &digits).await?,
            pulls: core.db.pulls_of(cache.id, &digits).await?,
            pins: core.db.pins_of(cache.id, &store_path, core.now().0).await?,
            nar_hash: format!("sha256:{}", digest(&facts.nar_hash)?.to_nix32()),
            file_hash: format!("sha256:{}", file_hash.to_nix32()),
            compression: compression.as_str().to_owned(),
            nar_url: nar_url(&file_hash, compression),
            deriver: facts.deriver,
            has_log,
            content_address: facts.ca,
            signatures: signatures(&cache, &facts.signatures),
            references,
            referrers: referrers.iter().filter_map(linked).collect(),
            referrer_count: referrer_count.unsigned_abs(),
            permission: caller.permission(&cache),
            cache: cache.name.clone(),
            row,
        })
    }

    /// A path and all that it refers to, level by level: as many questions as the closure is deep.
    async fn closure(&self, cache: &Cache, hash: &str) -> Result<Closure> {
        let mut closure = Closure::default();
        let mut seen = HashSet::from([hash.to_owned()]);
        let mut level = vec![hash.to_owned()];
        let mut rows: Vec<LinkedRow> = Vec::new();
        while !level.is_empty() {
            let found = self.0.db.linked(cache.id, &level).await?;
            closure.missing += (level.len() - found.len()) as u64;
            level.clear();
            for name in found.iter().flat_map(|row| row.refs.split(' ')) {
                let Some(reference) = name.get(..32) else { continue };
                if seen.len() == MOST_OF_CLOSURE {
                    closure.is_cut |= !seen.contains(reference);
                } else if seen.insert(reference.to_owned()) {
                    level.push(reference.to_owned());
                }
            }
            rows.extend(found);
        }
        closure.paths = rows.len() as u64;
        closure.nar_bytes = rows.iter().map(|row| row.nar_size.unsigned_abs()).sum();
        closure.file_bytes = rows.iter().map(|row| row.file_size.unsigned_abs()).sum();
        rows.sort_unstable_by(|a, b| b.nar_size.cmp(&a.nar_size).then_with(|| a.hash.cmp(&b.hash)));
        closure.largest = rows.iter().take(LARGEST).filter_map(linked).collect();
        Ok(closure)
    }

    /// One folder of a visible path's files; `None` where its files are not known, which those of huge NARs are not.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such path, and no such folder in it.
    pub async fn folder(
        &self,
        caller: &Caller,
        cache: &str,
        hash: StorePathHash,
        folder: &str,
    ) -> Result<Option<FolderPage>> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        if core.db.path_row(cache.id, &hash.to_string()).await?.is_none() {
            return Err(Error::NotFound(format!("the path {hash} is not in cache \"{}\"", cache.name)));
        }
        let Some(json) = self.listing(&cache, hash).await? else { return Ok(None) };
        let listing = Listing::parse(&json)
            .map_err(|_| Error::internal(format!("store path {hash} in the database: its listing")))?;
        let segments: Vec<&str> = folder.split('/').filter(|segment| !segment.is_empty()).collect();
        let folder = segments.join("/");
        let (entries, count) = match listing.lookup(&folder) {
            Some(Node::Directory(entries)) => {
                let shown = entries.iter().take(FolderPage::MOST);
                (shown.map(|(name, node)| entry(name, node)).collect(), entries.len())
            }
            Some(node) if folder.is_empty() => (vec![entry("", node)], 1),
            _ => return Err(Error::NotFound(format!("{hash} has no such folder"))),
        };
        Ok(Some(FolderPage { folder, entries, count: count as u64 }))
    }
}

fn entry(name: &str, node: &Node) -> FileEntry {
    let kind = match node {
        Node::Directory(entries) => FileKind::Folder { entries: entries.len() as u64 },
        Node::Regular { size, executable, .. } => FileKind::File { size: *size, is_executable: *executable },
        Node::Symlink { target } => FileKind::Link { target: target.to_string() },
    };
    FileEntry { name: name.to_owned(), kind }
}

fn linked(row: &LinkedRow) -> Option<PathLink> {
    let hash = StorePathHash::parse(&row.hash).ok()?;
    Some(PathLink { hash, name: row.name.clone(), nar_size: Some(row.nar_size.unsigned_abs()) })
}

/// A reference, with its size where it is among those that are here.
fn link_of(base_name: &str, here: &[LinkedRow]) -> Option<PathLink> {
    let path = StorePath::parse(base_name).ok()?;
    let hash = path.hash().to_string();
    let found = here.iter().find(|row| row.hash == hash && row.name == path.name());
    Some(PathLink {
        hash: path.hash(),
        name: path.name().to_owned(),
        nar_size: found.map(|row| row.nar_size.unsigned_abs()),
    })
}

fn signatures(cache: &Cache, lines: &str) -> Vec<PathSignature> {
    let own: HashSet<&str> =
        cache.keys.iter().map(|key| key.name()).chain(cache.client_keys.iter().map(|key| key.name())).collect();
    let parsed = lines.lines().filter_map(|line| Signature::parse(line).ok());
    let signed = parsed.map(|signature| signature.key_name);
    signed.map(|key| PathSignature { is_own: own.contains(key.as_str()), key }).collect()
}
