//! Names that people choose, parsed once where they come in.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Why a name was refused: one sentence for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(String);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NameError {}

/// First path segments that Iglu uses itself, and host labels that other clients of the cachix protocol use.
const RESERVED: [&str; 41] = [
    "account",
    "admin",
    "api",
    "app",
    "assets",
    "builders",
    "caches",
    "debuginfo",
    "docs",
    "events",
    "favicon",
    "health",
    "help",
    "hooks",
    "live",
    "log",
    "login",
    "logout",
    "metrics",
    "nar",
    "new",
    "nix-cache-info",
    "node",
    "nodes",
    "overview",
    "pkg",
    "public",
    "queue",
    "ready",
    "realisations",
    "runs",
    "search",
    "serve",
    "setup",
    "static",
    "tokens",
    "upload",
    "users",
    "ws",
    "ws-deployment",
    "www",
];

/// The name of a cache: 1 to 50 of `a-z 0-9 - _ +`, the first a letter or digit, none of the words that Iglu's own
/// pages need. It stands in URLs, host names and key names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "String", into = "String")]
pub struct CacheName(Box<str>);

impl CacheName {
    pub fn parse(text: &str) -> Result<CacheName, NameError> {
        check("cache", text, 50, |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '+'))?;
        if RESERVED.contains(&text) {
            return Err(NameError(format!("the name \"{text}\" is needed by Iglu's own pages; choose another")));
        }
        Ok(CacheName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name that a person logs in with: 1 to 50 of `a-z 0-9 - _ . @`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Box<str>);

impl UserName {
    pub fn parse(text: &str) -> Result<UserName, NameError> {
        check("user", text, 50, |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '@'))?;
        Ok(UserName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a builder: 1 to 50 of `a-z 0-9 - _ .`, the first a letter or digit. It stands in URLs and in the names of pins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "String", into = "String")]
pub struct BuilderName(Box<str>);

impl BuilderName {
    pub fn parse(text: &str) -> Result<BuilderName, NameError> {
        check("builder", text, 50, |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))?;
        // The address of the page that makes one.
        if text == "new" {
            return refused("builder", "\"new\" is needed by Iglu's own pages; choose another");
        }
        Ok(BuilderName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a repository is: `https://…`, `http://…`, `ssh://[user@]host/…` or `user@host:path`. A folder of the machine that builds is
/// none, and neither is anything that git would run as a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Repository(Box<str>);

impl Repository {
    pub fn parse(text: &str) -> Result<Repository, NameError> {
        let refuse = |why: &str| refused("repository", why);
        let text = text.trim();
        if text.is_empty() {
            return refuse("is missing");
        }
        if text.len() > 2000 || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return refuse("is an address without blanks, of at most 2000 characters");
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            // The short form of ssh; a folder has no colon before its first slash, and git runs a program for two colons.
            None => match text.split_once(':') {
                Some((host, path)) if !host.contains('/') && !path.is_empty() && !path.starts_with(':') => {
                    ("ssh", host)
                }
                _ => return refuse("is an address: https://…, ssh://… or user@host:path"),
            },
        };
        if !matches!(scheme, "https" | "http" | "ssh") {
            return refuse("is reached by https, http or ssh");
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if host.is_empty() || host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
            return refuse("names no host");
        }
        if user.is_some_and(|user| user.contains(':') || scheme != "ssh") {
            return refuse("has its password or token in the field for the credential, not in the address");
        }
        Ok(Repository(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without a port, and the path without `.git`, as forges name a project: `team/website`.
    pub fn host_and_path(&self) -> Option<(&str, &str)> {
        let (authority, path) = match self.0.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?,
            None => self.0.split_once(':')?,
        };
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let host = host.split(':').next().unwrap_or(host);
        let path = path.trim_matches('/').trim_end_matches(".git");
        path.contains('/').then_some((host, path))
    }

    pub fn is_ssh(&self) -> bool {
        !self.0.starts_with("https://") && !self.0.starts_with("http://")
    }
}

/// What of a repository is built: a branch, a tag, a full reference or a commit, by git's own rules for names
/// (`git-check-ref-format`), and never an option.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Reference(Box<str>);

impl Reference {
    pub fn parse(text: &str) -> Result<Reference, NameError> {
        let refuse = |why: &str| refused("reference", why);
        if text.is_empty() {
            return refuse("is missing: name a branch, a tag or a commit");
        }
        if text.len() > 255 || text.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c)) {
            return refuse("has at most 255 characters, without blanks and without ~ ^ : ? * [ \\");
        }
        if text.starts_with(['-', '/', '.']) || text.ends_with(['/', '.']) || text.ends_with(".lock") {
            return refuse("cannot begin with - / . or end with / . or .lock");
        }
        if text.contains("..") || text.contains("//") || text.contains("@{") || text == "@" {
            return refuse("cannot contain .. or // or @{");
        }
        Ok(Reference(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the full hash of a commit.
    pub fn is_commit(&self) -> bool {
        matches!(self.0.len(), 40 | 64) && self.0.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }
}

fn refused<T>(noun: &str, why: &str) -> Result<T, NameError> {
    Err(NameError(format!("the {noun} {why}")))
}

fn check(noun: &str, text: &str, longest: usize, allowed: fn(char) -> bool) -> Result<(), NameError> {
    let refuse = |why: String| Err(NameError(format!("a {noun} name {why}")));
    if text.is_empty() {
        return refuse("is missing".to_owned());
    }
    if text.len() > longest {
        return refuse(format!("has at most {longest} characters"));
    }
    if let Some(bad) = text.chars().find(|&c| !allowed(c)) {
        return refuse(match bad {
            'A'..='Z' => "is written in lower case".to_owned(),
            _ => format!("cannot contain {}", bad.escape_default()),
        });
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("begins with a letter or digit".to_owned());
    }
    Ok(())
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_newtype!(CacheName);
text_newtype!(UserName);
text_newtype!(BuilderName);
text_newtype!(Repository);
text_newtype!(Reference);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for good in [
            "https://github.com/a/b",
            "http://127.0.0.1:3000/a.git",
            "ssh://git@host:22/a/b.git",
            "git@github.com:a/b.git",
            "host:a/b",
        ] {
            assert!(Repository::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/srv/git/a",
            "./a",
            "file:///srv/git/a",
            "ext::sh -c touch% /tmp/x",
            "ext::sh",
            "git://host/a",
            "https://user:secret@host/a",
            "https://token@host/a",
            "ssh://-oProxyCommand=x/a",
            "ssh://-l@host/a",
            "-u@host:x",
            "--upload-pack=touch",
            "https:///a",
        ] {
            assert!(Repository::parse(bad).is_err(), "{bad}");
        }
        assert!(Repository::parse("git@github.com:a/b.git").unwrap().is_ssh());
    }

    #[test]
    fn references() {
        for good in ["main", "release/24.11", "v1.0", "refs/pull/7/head", &"a".repeat(40)] {
            assert!(Reference::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "--upload-pack=touch /tmp/x",
            "-x",
            "a b",
            "a..b",
            "a~1",
            "a^",
            "x:y",
            "/a",
            "a/",
            "a.lock",
            "@{1}",
            "a\n",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
        assert!(Reference::parse(&"a".repeat(40)).unwrap().is_commit());
        assert!(!Reference::parse("main").unwrap().is_commit());
    }

    #[test]
    fn cache_names() {
        for good in ["main", "a", "0", "team+ci", "a-b_c", &"x".repeat(50)] {
            assert!(CacheName::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "a cache name is missing"),
            ("-a", "a cache name begins with a letter or digit"),
            ("Main", "a cache name is written in lower case"),
            ("a b", "a cache name cannot contain  "),
            ("a/b", "a cache name cannot contain /"),
            ("..", "a cache name cannot contain ."),
            ("api", "the name \"api\" is needed by Iglu's own pages; choose another"),
        ] {
            assert_eq!(CacheName::parse(bad).unwrap_err().to_string(), why);
        }
        assert!(CacheName::parse(&"x".repeat(51)).is_err());
        assert!(RESERVED.is_sorted());
    }
}
