//! Asking web servers: owns the connections, how often is asked again, and which addresses belong to a cache.

use crate::{
    access::{self, Access, Credentials},
    error::ImportError,
    files::Opened,
    narinfo,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
    redirect::{Attempt, Policy},
};
use std::{io, time::Duration};

/// Before a question is asked again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MOST_REDIRECTS: usize = 5;

/// A binary cache on a web server.
#[derive(Clone, Debug)]
pub(crate) struct HttpCache {
    client: Client,
    /// Without a slash at its end.
    base: Url,
    credentials: Option<Credentials>,
}

impl HttpCache {
    pub fn new(address: &str, access: &Access) -> Result<Self, ImportError> {
        let wrong = |why: &str| ImportError::place(shown(address), why);
        let mut base = Url::parse(address).map_err(|error| wrong(&format!("no URL: {error}")))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("a password does not belong into the URL; give it as credentials"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("the URL of a cache has no ? and no #"));
        }
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        let client = Client::builder()
            .user_agent(concat!("iglu/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(access::CONNECT)
            .read_timeout(access::SILENCE)
            .redirect(Policy::custom(redirected))
            .build()
            .map_err(|error| ImportError::unavailable(shown(address), error))?;
        Ok(Self { client, base, credentials: access.credentials.clone() })
    }

    /// For messages: without a slash at its end.
    pub fn name(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The last part of the address, or the first label of the host.
    pub fn last_part(&self) -> String {
        let last = self.base.path_segments().and_then(|mut parts| parts.next_back()).filter(|part| !part.is_empty());
        let label = || self.base.host_str().unwrap_or_default().split('.').next().unwrap_or_default();
        last.unwrap_or_else(label).to_owned()
    }

    /// The file of this name in the cache; `None` where there is none. Asks again where that may help.
    pub async fn get(&self, name: &str) -> Result<Option<Opened>, String> {
        self.open(self.inside(name)?).await
    }

    /// A small file. Unlike with [`get`](Self::get), an answer that breaks off is asked for again.
    pub async fn whole(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
        let url = self.inside(name)?;
        let mut tries = 0;
        loop {
            let Some(opened) = self.open(url.clone()).await? else { return Ok(None) };
            match opened.decoded()?.whole(limit).await {
                Ok(whole) => return Ok(Some(whole)),
                Err(why) if tries + 1 >= access::RETRIES => return Err(why),
                Err(_) => tries += 1,
            }
        }
    }

    /// The list of all paths that an Iglu gives of a cache.
    pub async fn contents(&self) -> Result<Option<Opened>, String> {
        let mut url = self.base.clone();
        let path = self.base.path();
        let (parent, name) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()).unwrap_or(("", ""));
        let path = match name {
            // A host of its own for each cache.
            "" => format!("/api/v1/cache/{}/contents", self.last_part()),
            name if parent.ends_with("/api/v1/cache") => format!("{parent}/{name}/contents"),
            name => format!("{parent}/api/v1/cache/{name}/contents"),
        };
        url.set_path(&path);
        self.open(url).await
    }

    /// The address of a file that a narinfo names, if it is inside the cache. A narinfo is written by strangers: with `..`, an
    /// absolute path or another host it would make this server ask where its operator did not want it to.
    fn inside(&self, name: &str) -> Result<Url, String> {
        let refused = || format!("{name} leads out of the cache");
        let odd = name.contains('#') || name.chars().any(|letter| letter.is_control() || letter == ' ');
        if odd || !narinfo::is_relative(name.split('?').next().unwrap_or_default()) {
            return Err(refused());
        }
        let base = self.base.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}/{name}")).map_err(|_| refused())?;
        // The parser takes %2e%2e for dots.
        let below =
            url.path().strip_prefix(self.base.path().trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
        if !below || url.origin() != self.base.origin() {
            return Err(refused());
        }
        Ok(url)
    }

    async fn open(&self, url: Url) -> Result<Option<Opened>, String> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let why = match self.ask(url.clone()).await {
                Ok(response) => match response.status() {
                    status if status.is_success() => return Ok(Some(opened(response))),
                    StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
                    status if status.is_server_error() || is_passing(status) => format!("the server answers {status}"),
                    status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                        return Err(format!("the server answers {status}: give credentials that may read"));
                    }
                    status => return Err(format!("the server answers {status}")),
                },
                Err(error) if error.is_builder() || error.is_redirect() => return Err(causes(&error)),
                Err(error) => causes(&error),
            };
            if tries > access::RETRIES {
                return Err(format!("{why}, {tries} times"));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn ask(&self, url: Url) -> reqwest::Result<Response> {
        let request = self.client.get(url);
        let request = match &self.credentials {
            None => request,
            Some(Credentials::Bearer(token)) => request.bearer_auth(token.as_str()),
            Some(Credentials::Basic { user, password }) => request.basic_auth(user, Some(password.as_str())),
        };
        request.send().await
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn opened(response: Response) -> Opened {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let size = header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let encoding = header(CONTENT_ENCODING);
    let bytes = response.bytes_stream().map_err(|error| io::Error::other(causes(&error.without_url()))).boxed();
    Opened { size, encoding, bytes }
}

fn redirected(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last().map_or("", |url| url.scheme());
    if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("too many redirects")
    } else if from == "https" && attempt.url().scheme() != "https" {
        attempt.error("redirected from https to http")
    } else {
        attempt.follow()
    }
}

/// An address without the password that somebody wrote into it.
fn shown(address: &str) -> String {
    match address.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => address.to_owned(),
    }
}

/// An error with what caused it: reqwest's own text hides that.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Reads the JSON list of names that [`HttpCache::contents`] answers with, piece by piece. There are no escapes in names.
#[derive(Debug, Default)]
pub(crate) struct NameList {
    state: ListState,
    name: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ListState {
    #[default]
    Before,
    Between,
    Inside,
    After,
}

/// Longest name in bytes; those of store paths have up to 244.
const LONGEST_NAME: usize = 512;

impl NameList {
    /// The names that end in `bytes`.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (ListState::Inside, b'"') => {
                    names.push(String::from_utf8_lossy(&self.name).into_owned());
                    self.name.clear();
                    ListState::Between
                }
                (ListState::Inside, byte) if byte != b'\\' && self.name.len() < LONGEST_NAME => {
                    self.name.push(byte);
                    ListState::Inside
                }
                (state, b' ' | b'\t' | b'\r' | b'\n') if state != ListState::Inside => state,
                (ListState::Before, b'[') | (ListState::Between, b',') => ListState::Between,
                (ListState::Between, b'"') => ListState::Inside,
                (ListState::Between, b']') => ListState::After,
                _ => return Err("the list of paths is not a JSON list of names".to_owned()),
            };
        }
        Ok(names)
    }

    /// To be called behind the last piece.
    pub fn finish(&self) -> Result<(), String> {
        if self.state == ListState::After { Ok(()) } else { Err("the list of paths breaks off".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(address: &str) -> HttpCache {
        let _ = rustls::crypto::ring::default_provider().install_default();
        HttpCache::new(address, &Access::default()).unwrap()
    }

    #[test]
    fn nothing_leads_out_of_the_cache() {
        let cache = cache("https://h.example/a/cache/");
        let inside = |name: &str| cache.inside(name).map(String::from);
        assert_eq!(inside("nar/x.nar.xz").unwrap(), "https://h.example/a/cache/nar/x.nar.xz");
        assert_eq!(inside("nar/x.nar?hash=y").unwrap(), "https://h.example/a/cache/nar/x.nar?hash=y");
        for out in [
            "",
            "?x",
            "/nar/x",
            "//evil.example/x",
            "http://evil.example/x",
            "https://h.example/a/cache/nar/x",
            "../other/nar/x",
            "nar/../../other/x",
            "nar/./x",
            "nar//x",
            "%2e%2e/other",
            "nar/%2e%2e/%2E%2e/other",
            "nar\\..\\x",
            "nar/x#y",
            "nar/x y",
            "nar/\nx",
        ] {
            assert!(inside(out).is_err(), "{out:?}");
        }
    }

    #[test]
    fn passwords_in_urls_are_refused_and_not_shown() {
        let error = HttpCache::new("https://me:hush@h.example/c", &Access::default()).unwrap_err().to_string();
        assert!(error.contains("h.example/c") && !error.contains("hush"), "{error}");
        assert!(HttpCache::new("https://h.example/c?x=1", &Access::default()).is_err());
        assert_eq!(cache("https://h.example/c/").last_part(), "c");
        assert_eq!(cache("https://one.h.example").last_part(), "one");
    }

    #[test]
    fn lists_of_names_in_any_pieces() {
        let text = b" [\"a-b\", \"c\"\n,\"d\"] ";
        for cut in 0..text.len() {
            let mut list = NameList::default();
            let mut names = list.feed(&text[..cut]).unwrap();
            assert!(cut >= text.len() - 1 || list.finish().is_err());
            names.extend(list.feed(&text[cut..]).unwrap());
            list.finish().unwrap();
            assert_eq!(names, ["a-b", "c", "d"]);
        }
        for wrong in ["{}", "[1]", "[\"a\\u0041\"]", "[] []", &format!("[\"{}\"]", "x".repeat(600))] {
            assert!(NameList::default().feed(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
