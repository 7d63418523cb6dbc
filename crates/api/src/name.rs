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

#[cfg(test)]
mod tests {
    use super::*;

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
