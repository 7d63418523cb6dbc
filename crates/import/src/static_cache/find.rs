//! How the paths of a static cache are found: by listing files, from a list of names, or from one path to the next.

use super::StaticCache;
use crate::{
    Broken, ForeignPath, Paths,
    files::{Files, Opened},
    http::NameList,
};
use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use nix_compat::store_path::{StorePath, StorePathHash};
use std::collections::{HashSet, VecDeque};

/// Narinfos asked for at the same time.
const AT_ONCE: usize = 16;
/// Most paths that are followed: each costs a hundred bytes of memory, and a server could name new ones for ever.
const MOST_PATHS: usize = 4_000_000;

type Answer = Result<ForeignPath, Broken>;

/// All narinfos among the files.
pub(super) fn listed(cache: StaticCache, files: &Files) -> Paths {
    let place = files.name().to_owned();
    let hashes = files.list("").filter_map(move |name| {
        std::future::ready(match name {
            Ok(name) if name.contains('/') => None,
            Ok(name) => name.strip_suffix(".narinfo").map(|hash| {
                StorePathHash::parse(hash).map_err(|_| Broken::one(&name, "it is not named after a store path's hash"))
            }),
            Err(why) => Some(Err(Broken::rest(&place, format!("the listing breaks off: {why}")))),
        })
    });
    narinfos(cache, hashes.boxed())
}

/// The narinfos of a JSON list of names. The list is read to its end before they are asked for: a server does not wait with an answer
/// for as long as NARs take.
pub(super) fn named(cache: StaticCache, list: Opened) -> Paths {
    let place = cache.store.name().to_owned();
    let read = async move {
        let (mut blocks, mut names, mut hashes) = (list.bytes, NameList::default(), Vec::new());
        let end = loop {
            let found = match blocks.next().await {
                Some(block) => block.map_err(|error| error.to_string()).and_then(|block| names.feed(&block)),
                None => break names.finish(),
            };
            match found {
                Ok(found) if hashes.len() + found.len() <= MOST_PATHS => {
                    hashes.extend(found.iter().map(|name| hash_of(name)));
                }
                Ok(_) => break Err(format!("more than {MOST_PATHS} paths are listed")),
                Err(why) => break Err(why),
            }
        };
        let total = hashes.len() as u64;
        // What was read of it is good all the same.
        hashes.extend(end.err().map(|why| Err(Broken::rest(place, why))));
        narinfos(cache, stream::iter(hashes).boxed())
            .map(move |path| path.map(|path| ForeignPath { total: Some(total), ..path }))
    };
    stream::once(read).flatten().boxed()
}

fn hash_of(name: &str) -> Result<StorePathHash, Broken> {
    StorePath::parse(name).map(|path| path.hash()).map_err(|error| Broken::one(name, error))
}

fn narinfos(cache: StaticCache, hashes: stream::BoxStream<'static, Result<StorePathHash, Broken>>) -> Paths {
    let asked = hashes.map(move |hash| {
        let cache = cache.clone();
        async move { cache.narinfo(hash?).await }
    });
    // In order, so that what is said of the rest comes last.
    asked.buffered(AT_ONCE).boxed()
}

/// The roots and everything that they need.
pub(super) fn walk(cache: StaticCache, roots: Vec<StorePath>) -> Paths {
    let mut walk = Walk {
        cache,
        met: HashSet::new(),
        waiting: VecDeque::new(),
        asking: FuturesUnordered::new(),
        limit: MOST_PATHS,
        full: false,
    };
    for root in roots {
        walk.meet(&root);
    }
    stream::unfold(walk, |mut walk| async move { walk.next().await.map(|answer| (answer, walk)) }).boxed()
}

struct Walk {
    cache: StaticCache,
    met: HashSet<StorePathHash>,
    waiting: VecDeque<StorePath>,
    asking: FuturesUnordered<BoxFuture<'static, Answer>>,
    limit: usize,
    full: bool,
}

impl Walk {
    fn meet(&mut self, path: &StorePath) {
        if self.met.len() >= self.limit {
            self.full = !self.met.contains(&path.hash()) || self.full;
        } else if self.met.insert(path.hash()) {
            self.waiting.push_back(path.clone());
        }
    }

    async fn next(&mut self) -> Option<Answer> {
        while self.asking.len() < AT_ONCE {
            let Some(path) = self.waiting.pop_front() else { break };
            let cache = self.cache.clone();
            self.asking.push(Box::pin(async move {
                // The path is known by name, which says more than its narinfo's.
                let named = |broken: Broken| Broken { what: path.to_absolute(), ..broken };
                cache.narinfo(path.hash()).await.map_err(named)
            }));
        }
        let Some(answer) = self.asking.next().await else {
            let full = std::mem::take(&mut self.full);
            let why = format!("more than {} paths are needed; begin with fewer", self.limit);
            return full.then(|| Err(Broken::rest(self.cache.store.name(), why)));
        };
        Some(answer.map(|mut path| {
            for reference in &path.narinfo.references {
                self.meet(reference);
            }
            path.total = Some(self.met.len() as u64);
            path
        }))
    }
}
