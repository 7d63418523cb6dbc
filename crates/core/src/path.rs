//! Reading store paths: narinfos from memory or one SELECT, what is missing, lists.

use crate::{
    Core,
    caller::{Caller, Discretion},
    codec,
    db::NarinfoRow,
    directory::Cache,
    error::{Error, Result},
    replica::BELIEVED,
};
use bytes::Bytes;
use iglu_api::{
    cache::Permission,
    path::{PathPage, PathQuery, RecentPush},
};
use nix_compat::{
    compression::Compression,
    content_address::ContentAddress,
    narinfo::NarInfo,
    nixhash::Sha256,
    signing::Signature,
    store_path::{StorePath, StorePathHash},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// Pages behind this one are found by searching.
const LAST_PAGE: u32 = 10_000;

/// A narinfo as it goes over the wire.
#[derive(Debug)]
pub struct RenderedNarinfo {
    pub text: Bytes,
    /// With its quotes; made from the text, so that it survives restarts.
    pub etag: Bytes,
    read_at: Instant,
}

/// How a narinfo can be packed on the wire, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Zstd,
    Brotli,
    Gzip,
}

impl Packing {
    pub const ALL: [Packing; 3] = [Packing::Zstd, Packing::Brotli, Packing::Gzip];

    /// As in Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Zstd => "zstd",
            Packing::Brotli => "br",
            Packing::Gzip => "gzip",
        }
    }
}

impl RenderedNarinfo {
    /// Most narinfos fit into one packet as they are; the few that are huge would cost more to pack than to send.
    const WORTH_PACKING: std::ops::Range<usize> = 2048..65_536;

    pub fn is_worth_packing(&self) -> bool {
        RenderedNarinfo::WORTH_PACKING.contains(&self.text.len())
    }

    /// The text packed; `None` should that fail.
    pub fn packed(&self, packing: Packing) -> Option<Bytes> {
        codec::pack_for_wire(&self.text, packing).ok().map(Bytes::from)
    }
}

type Key = (i64, StorePathHash);

#[derive(Clone)]
struct Weigh;

impl quick_cache::Weighter<Key, Option<Arc<RenderedNarinfo>>> for Weigh {
    fn weight(&self, _: &Key, narinfo: &Option<Arc<RenderedNarinfo>>) -> u64 {
        // Key, pointers and counters of an entry, beside the text.
        128 + narinfo.as_ref().map_or(0, |narinfo| narinfo.text.len() as u64 + 64)
    }
}

/// Rendered narinfos, and hashes known to be absent, bounded in bytes.
pub(crate) struct NarinfoMemory(quick_cache::sync::Cache<Key, Option<Arc<RenderedNarinfo>>, Weigh>);

impl NarinfoMemory {
    pub fn new(bytes: u64) -> NarinfoMemory {
        NarinfoMemory(quick_cache::sync::Cache::with_weighter(usize::try_from(bytes / 700).unwrap_or(1), bytes, Weigh))
    }

    /// Forgets what a commit changed. The epoch goes up first: a reader that asked the database before the commit sees
    /// that it did, and takes back what it put here.
    pub fn forget(&self, cache: &Cache, hashes: &[StorePathHash]) {
        cache.state.epoch.fetch_add(1, Ordering::SeqCst);
        for hash in hashes {
            self.0.remove(&(cache.id, *hash));
        }
    }

    /// Forgets everything, after a change that another process made.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// The methods of the noun.
pub struct Paths<'a>(pub(crate) &'a Core);

impl Paths<'_> {
    /// The narinfo from memory, where memory knows: the outer `None` means that the database must be asked. Takes a
    /// microsecond and never waits.
    pub fn narinfo_remembered(&self, cache: &Cache, hash: StorePathHash) -> Option<Option<Arc<RenderedNarinfo>>> {
        let remembered = self.0.narinfos.0.get(&(cache.id, hash))?;
        if self.0.is_shared() && remembered.as_ref().is_none_or(|narinfo| narinfo.read_at.elapsed() > BELIEVED) {
            return None;
        }
        count_lookup(cache, remembered.is_some());
        Some(remembered)
    }

    /// The narinfo of a visible path. The caller's right was checked when it opened the cache.
    pub async fn narinfo(&self, cache: &Cache, hash: StorePathHash) -> Result<Option<Arc<RenderedNarinfo>>> {
        if let Some(remembered) = self.narinfo_remembered(cache, hash) {
            return Ok(remembered);
        }
        let epoch = cache.state.epoch.load(Ordering::SeqCst);
        let found = match self.0.db.narinfo_get(cache.id, &hash.to_string()).await? {
            Some(row) => Some(Arc::new(render(row)?)),
            None => None,
        };
        // Where another server may bring a path, nothing is believed to be absent: clients would remember for an hour what was so a
        // moment too long.
        if found.is_some() || !self.0.is_shared() {
            let key = (cache.id, hash);
            self.0.narinfos.0.insert(key, found.clone());
            if cache.state.epoch.load(Ordering::SeqCst) != epoch {
                self.0.narinfos.0.remove(&key);
            }
        }
        count_lookup(cache, found.is_some());
        Ok(found)
    }

    /// Whether the narinfo can be pulled; what clients ask before a push, and not counted as a lookup.
    pub async fn exists(&self, cache: &Cache, hash: StorePathHash) -> Result<bool> {
        Ok(self.0.db.narinfo_get(cache.id, &hash.to_string()).await?.is_some())
    }

    /// The `.ls` document of a visible path.
    pub async fn listing(&self, cache: &Cache, hash: StorePathHash) -> Result<Option<Bytes>> {
        let Some(compressed) = self.0.db.listing_get(cache.id, &hash.to_string()).await? else { return Ok(None) };
        let mut json = Vec::new();
        let mut decoder = async_compression::tokio::bufread::ZstdDecoder::new(compressed.as_slice());
        let unpacked = tokio::io::AsyncReadExt::read_to_end(&mut decoder, &mut json).await;
        unpacked.map_err(|error| Error::internal(format!("listing of {hash} in the database: {error}")))?;
        Ok(Some(json.into()))
    }

    /// Which of `hashes` neither the cache nor an upstream has, each once, in the order of their digits. A held path is not
    /// missing: its bytes are here.
    pub async fn missing(&self, cache: &Cache, mut hashes: Vec<StorePathHash>) -> Result<Vec<StorePathHash>> {
        hashes.sort_unstable();
        hashes.dedup();
        let mut missing = self.0.db.paths_missing(cache.id, &hashes).await?;
        if !cache.upstreams.is_empty() && !missing.is_empty() {
            let elsewhere = self.0.upstream().present(cache, missing.clone()).await;
            missing.retain(|hash| !elsewhere.contains(hash));
        }
        Ok(missing)
    }

    /// Base names of visible paths behind the one with this hash part, by hash part; none at the end. The caller's right was
    /// checked when it opened the cache.
    pub async fn names_after(&self, cache: &Cache, after: Option<StorePathHash>) -> Result<Vec<StorePath>> {
        let after = after.map(|hash| hash.to_string()).unwrap_or_default();
        let rows = self.0.db.path_names_after(cache.id, &after).await?;
        Ok(rows.iter().filter_map(|(hash, name)| StorePath::parse(&format!("{hash}-{name}")).ok()).collect())
    }

    /// A few paths of all caches that the caller sees, the newest of each that have these words.
    pub async fn find(&self, caller: &Caller, search: &str) -> Result<Vec<RecentPush>> {
        /// Found paths, and caches that are looked into.
        const MOST: usize = 8;
        const MOST_CACHES: usize = 50;
        let mut found = Vec::new();
        let seen = |cache: &Arc<Cache>| caller.permission(cache).is_some();
        for cache in self.0.directory.all().into_iter().filter(seen).take(MOST_CACHES) {
            let query = PathQuery { search: search.to_owned(), ..PathQuery::default() };
            let page = self.list(caller, cache.name.as_str(), &query).await?;
            found.extend(page.rows.into_iter().map(|path| RecentPush { cache: cache.name.clone(), path }));
            if found.len() >= MOST {
                break;
            }
        }
        found.truncate(MOST);
        Ok(found)
    }

    /// One page of the cache's paths.
    pub async fn list(&self, caller: &Caller, cache: &str, query: &PathQuery) -> Result<PathPage> {
        let cache = self.0.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        if query.search.len() > 300 || query.search.contains(char::is_control) {
            return Err(Error::invalid("search", "a search has at most 300 bytes and no control characters"));
        }
        if query.page > LAST_PAGE {
            return Err(Error::invalid("page", format!("the last page that can be asked for is {LAST_PAGE}")));
        }
        // A search may read a whole cache; so many at once leave the other connections to those who pull.
        let _turn = match query.search.trim() {
            "" => None,
            _ => self.0.search_permits.acquire().await.ok(),
        };
        let mut rows = self.0.db.path_list(cache.id, query).await?;
        let has_next = rows.len() > PathPage::ROWS as usize;
        rows.truncate(PathPage::ROWS as usize);
        let path_count = self.0.db.path_count(cache.id).await?;
        Ok(PathPage { rows, page: query.page, has_next, path_count })
    }
}

fn count_lookup(cache: &Cache, hit: bool) {
    let counters = &cache.state.counters;
    if hit { counters.narinfo_hits.add(1) } else { counters.narinfo_misses.add(1) }
}

pub(crate) fn render(row: NarinfoRow) -> Result<RenderedNarinfo> {
    let broken = |what: &str| Error::internal(format!("store path {}-{} in the database: {what}", row.hash, row.name));
    let digest = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map(Sha256::from_bytes).map_err(|_| broken("a hash"));
    let compression = Compression::parse(&row.compression).map_err(|_| broken("its compression"))?;
    let file_hash = digest(&row.file_hash)?;
    let mut narinfo = NarInfo::new(
        StorePath::parse(&format!("{}-{}", row.hash, row.name)).map_err(|_| broken("its name"))?,
        nar_url(&file_hash, compression),
        compression,
        digest(&row.nar_hash)?,
        row.nar_size.unsigned_abs(),
    );
    narinfo.file_hash = Some(file_hash);
    narinfo.file_size = Some(row.file_size.unsigned_abs());
    let references = row.refs.split(' ').filter(|name| !name.is_empty()).map(StorePath::parse);
    narinfo.references = references.collect::<Result<_, _>>().map_err(|_| broken("a reference"))?;
    narinfo.deriver = match &row.deriver {
        Some(deriver) => Some(StorePath::parse(deriver).map_err(|_| broken("its deriver"))?),
        None => None,
    };
    narinfo.ca = match &row.ca {
        Some(ca) => Some(ContentAddress::parse(ca).map_err(|_| broken("its content address"))?),
        None => None,
    };
    let signatures = row.signatures.lines().map(Signature::parse);
    narinfo.signatures = signatures.collect::<Result<_, _>>().map_err(|_| broken("a signature"))?;
    let text = narinfo.to_text();
    let etag = format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..32]);
    Ok(RenderedNarinfo { text: text.into(), etag: etag.into(), read_at: Instant::now() })
}

/// The relative URL of a NAR file; the extension is for people, `Compression` is what clients obey.
pub(crate) fn nar_url(file_hash: &Sha256, compression: Compression) -> String {
    format!("nar/{}.nar{}", file_hash.to_nix32(), compression.extension())
}
