//! What a request asks of which cache: from method, host, path and query to a [`Target`], without looking anything up.

use crate::metrics::NixRoute;
use axum::http::{HeaderMap, Method, Request, Uri, header};
use iglu_core::{Core, push::NarFileName};
use nix_compat::{
    debug_info::DebugId,
    realisation::RealisationKey,
    store_path::{StorePath, StorePathHash},
};
use percent_encoding::percent_decode_str;

/// What of a cache is asked for. `None` stands for a name of the wrong form: not there, whatever the method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    CacheInfo,
    Narinfo(Option<StorePathHash>),
    Nar(Option<NarFileName>),
    /// The URL of a NAR file instead of the file; the name as it stands in narinfos.
    NarUrl(Option<(NarFileName, String)>),
    Listing(Option<StorePathHash>),
    Log(Option<StorePath>),
    Realisation(Option<RealisationKey>),
    DebugInfo(Option<DebugId>),
    /// One file inside a store path.
    Member(Option<(StorePathHash, String)>),
    /// How attic clients learn of a cache from its URL.
    AtticConfig,
}

/// A request of this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As in the address; may be no cache.
    pub cache: String,
    pub object: Object,
    /// Whether it came below `/api/v1/cache/`, where answers may also be JSON.
    pub is_api: bool,
}

impl Target {
    /// What the request asks of which cache; `None` for everything that is not this protocol.
    pub fn of<B>(request: &Request<B>, core: &Core) -> Option<Target> {
        let uri = request.uri();
        let path = uri.path().trim_start_matches('/');
        if let Some(rest) = path.strip_prefix("api/v1/cache/") {
            // The cachix API shares this prefix; only its reading side is ours.
            let (cache, rest) = rest.split_once('/')?;
            let reads = matches!(*request.method(), Method::GET | Method::HEAD);
            let target = Target::below(cache, rest, uri.query()).filter(|_| reads)?;
            return Some(Target { is_api: true, ..target });
        }
        if let Some(domain) = core.address().cache_domain()
            && let Some(host) = host(uri, request.headers())
            && !core.address().is_public_host(host)
            && let Some(label) = label(host, domain)
            && !["api/", "_api/", "upload/"].iter().any(|prefix| path.starts_with(prefix))
        {
            let nothing = Target { cache: label.clone(), object: Object::Narinfo(None), is_api: false };
            return Target::below(&label, path, uri.query()).or(Some(nothing));
        }
        let (cache, rest) = path.split_once('/')?;
        Target::below(cache, rest, uri.query())
    }

    fn below(cache: &str, rest: &str, query: Option<&str>) -> Option<Target> {
        let rest = rest.trim_start_matches('/');
        let object = match rest.split_once('/') {
            None => match rest {
                "nix-cache-info" => Object::CacheInfo,
                "attic-cache-info" => Object::AtticConfig,
                _ => match rest.rsplit_once('.')? {
                    (hash, "narinfo") => Object::Narinfo(StorePathHash::parse(hash).ok()),
                    (hash, "ls") => Object::Listing(StorePathHash::parse(hash).ok()),
                    _ => return None,
                },
            },
            Some(("nar", file)) => Object::Nar(decoded(file, None).and_then(|file| NarFileName::parse(&file))),
            Some(("narurl", file)) => {
                let named = |file: String| NarFileName::parse(&file).map(|name| (name, file));
                Object::NarUrl(decoded(file, None).and_then(named))
            }
            Some(("log", drv)) => Object::Log(decoded(drv, query).and_then(|drv| StorePath::parse(&drv).ok())),
            Some(("realisations", id)) => {
                Object::Realisation(decoded(id, query).and_then(|id| RealisationKey::parse_legacy(&id).ok()))
            }
            Some(("build-trace-v2", id)) => {
                Object::Realisation(decoded(id, query).and_then(|id| RealisationKey::parse_build_trace(&id).ok()))
            }
            Some(("debuginfo", id)) => {
                Object::DebugInfo(decoded(id, None).and_then(|id| DebugId::parse_file_name(&id).ok()))
            }
            Some(("serve", rest)) => Object::Member(rest.split_once('/').and_then(|(hash, path)| {
                let path = decoded(path, None)?;
                let is_plain = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
                Some((StorePathHash::parse(hash).ok()?, path)).filter(|_| is_plain)
            })),
            Some(_) if rest.ends_with(".narinfo") => Object::Narinfo(None),
            Some(_) => return None,
        };
        Some(Target { cache: decoded(cache, None)?, object, is_api: false })
    }

    pub fn route(&self) -> NixRoute {
        match self.object {
            Object::CacheInfo => NixRoute::CacheInfo,
            Object::Narinfo(_) => NixRoute::Narinfo,
            Object::Nar(_) => NixRoute::Nar,
            Object::NarUrl(_) => NixRoute::NarUrl,
            Object::Listing(_) => NixRoute::Listing,
            Object::Log(_) => NixRoute::Log,
            Object::Realisation(_) => NixRoute::Realisation,
            Object::DebugInfo(_) => NixRoute::DebugInfo,
            Object::Member(_) => NixRoute::Member,
            Object::AtticConfig => NixRoute::AtticConfig,
        }
    }
}

/// A part of a path as it was meant. Store names may hold `?`, which clients do not escape everywhere: then the rest of the name
/// comes as a query. A plus is a plus.
fn decoded(part: &str, query: Option<&str>) -> Option<String> {
    let decode = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let path = decode(part)?;
    match query {
        Some(query) => Some(format!("{path}?{}", decode(query)?)),
        None => Some(path),
    }
}

fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.host().or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// The one label before the cache domain.
fn label(host: &str, domain: &str) -> Option<String> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    let label = host.strip_suffix(domain)?.strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let hash = "i9pmrzmpshapij2kin22pff6fc2adavx";
        let narinfo = Object::Narinfo(StorePathHash::parse(hash).ok());
        let log = |name: &str| Object::Log(Some(StorePath::parse(&format!("{hash}-{name}")).unwrap()));
        let doi = format!("sha256:{}!out.doi", "0a".repeat(32));
        let realisation = Object::Realisation(RealisationKey::parse_legacy(&doi).ok());
        let debug = Object::DebugInfo(DebugId::parse(&"0b".repeat(20)).ok());
        for (rest, query, object) in [
            ("nix-cache-info", None, Some(Object::CacheInfo)),
            (&*format!("{hash}.narinfo"), None, Some(narinfo.clone())),
            (&*format!("{hash}.narinfo"), Some(""), Some(narinfo.clone())),
            (&*format!("/{hash}.narinfo"), None, Some(narinfo)),
            ("..%2f.narinfo", None, Some(Object::Narinfo(None))),
            ("a/b.narinfo", None, Some(Object::Narinfo(None))),
            ("nar/x", None, Some(Object::Nar(None))),
            ("log/x.drv", None, Some(Object::Log(None))),
            (&*format!("log/{hash}-q"), Some("x=1+y.drv"), Some(log("q?x=1+y.drv"))),
            (&*format!("log/{hash}-q"), Some("x=1%2By.drv"), Some(log("q?x=1+y.drv"))),
            (&*format!("log/{hash}-q%3Fx=1+y.drv"), None, Some(log("q?x=1+y.drv"))),
            (&*format!("realisations/{doi}"), None, Some(realisation.clone())),
            (&*format!("realisations/{}", doi.replace('!', "%21")), None, Some(realisation)),
            (&*format!("debuginfo/{}", "0b".repeat(20)), None, Some(debug.clone())),
            (&*format!("debuginfo/{}.debug", "0b".repeat(20)), None, Some(debug)),
            ("debuginfo/x", None, Some(Object::DebugInfo(None))),
            ("serve/x", None, Some(Object::Member(None))),
            ("paths", None, None),
            ("", None, None),
        ] {
            assert_eq!(Target::below("main", rest, query).map(|target| target.object), object, "{rest}");
        }
    }

    #[test]
    fn labels_of_the_cache_domain() {
        assert_eq!(label("Main.Cache.test:8080", "cache.test"), Some("main".to_owned()));
        assert_eq!(label("cache.test", "cache.test"), None);
        assert_eq!(label("a.b.cache.test", "cache.test"), None);
        assert_eq!(label("xcache.test", "cache.test"), None);
    }
}
