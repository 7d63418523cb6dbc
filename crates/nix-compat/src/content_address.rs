//! Content addresses: owns their text form, the store path each one demands, and their check against a NAR's content.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::inspect::{NarFacts, RootKind};
use crate::nixhash::{HashAlgo, HashError, NixHash, Sha256};
use crate::store_path::{StorePath, StorePathError};

/// How the content of a store object determines its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentAddress {
    /// One text file and the paths it mentions, such as a derivation: `text:sha256:<hash of the content>`.
    Text {
        /// Hash of the file's content.
        sha256: Sha256,
    },
    /// Any content of known hash: `fixed:<hash>` of one plain file, `fixed:r:<hash>` of the NAR.
    Fixed {
        /// Whether the hash is that of the NAR, of any kind of content.
        recursive: bool,
        /// Of the NAR or of the file's content. Where a path mentions itself it is taken of the NAR with those
        /// mentions blanked out; see [`crate::inspect::NarFacts::modulo_hash`].
        hash: NixHash,
    },
}

/// Why a content address cannot be read, or does not stand for a store object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ContentAddressError {
    /// Begins with neither `text:` nor `fixed:`.
    #[error("content address is neither text: nor fixed:")]
    UnknownKind,
    /// An experimental method whose store paths are not settled, such as git.
    #[error("content address method {method} is not supported")]
    UnsupportedMethod {
        /// The method named.
        method: &'static str,
    },
    /// The hash is not readable, or is none of sha256 in a text address.
    #[error("content address has an invalid hash: {0}")]
    InvalidHash(#[from] HashError),
    /// The name or a computed path is not valid.
    #[error("content address cannot make a store path: {0}")]
    InvalidName(#[from] StorePathError),
    /// Texts cannot mention their own path.
    #[error("text content address cannot have a self reference")]
    SelfReference,
    /// Only texts and recursive sha256 addresses can have references.
    #[error("fixed content address of this method cannot have references")]
    References,
    /// The address yields another path.
    #[error("content address belongs to {expected}, not to {found}")]
    PathMismatch {
        /// The path computed from the address.
        expected: StorePath,
        /// The path of the object.
        found: StorePath,
    },
    /// A flat or text address on something else than one plain file.
    #[error("content address demands one regular, non-executable file")]
    NotAPlainFile,
    /// The content has another hash.
    #[error("content address names {expected}, the content has {found}")]
    HashMismatch {
        /// The hash in the address.
        expected: NixHash,
        /// The hash of the content.
        found: NixHash,
    },
    /// The inspection of the NAR was not told to compute the hash that this check needs.
    #[error("hash of the content was not computed for this content address")]
    HashNotComputed,
}

impl ContentAddress {
    /// Reads the value of the narinfo field `CA`.
    ///
    /// # Errors
    /// The first four variants of [`ContentAddressError`].
    pub fn parse(text: &str) -> Result<Self, ContentAddressError> {
        if let Some(hash) = text.strip_prefix("text:") {
            let hash = parse_hash(hash)?;
            let sha256 = hash.as_sha256().ok_or(HashError::NotSha256 { found: hash.algo() })?;
            return Ok(Self::Text { sha256 });
        }
        let hash = text.strip_prefix("fixed:").ok_or(ContentAddressError::UnknownKind)?;
        if hash.starts_with("git:") {
            return Err(ContentAddressError::UnsupportedMethod { method: "git" });
        }
        let (recursive, hash) = hash.strip_prefix("r:").map_or((false, hash), |hash| (true, hash));
        Ok(Self::Fixed { recursive, hash: parse_hash(hash)? })
    }

    /// The path of the object with this content, name and references. `references` leaves out the path itself, whose
    /// mention is told by `self_reference`; their order and duplicates do not matter.
    ///
    /// # Errors
    /// An invalid name, or references the method cannot have.
    pub fn store_path(
        &self,
        name: &str,
        references: &[StorePath],
        self_reference: bool,
    ) -> Result<StorePath, ContentAddressError> {
        let path = match self {
            Self::Text { .. } if self_reference => return Err(ContentAddressError::SelfReference),
            Self::Text { sha256 } => StorePath::from_fingerprint(&kind("text", references, false), sha256, name)?,
            Self::Fixed { recursive: true, hash } if hash.algo() == HashAlgo::Sha256 => {
                let hash = hash.as_sha256().ok_or(ContentAddressError::HashNotComputed)?;
                StorePath::from_fingerprint(&kind("source", references, self_reference), &hash, name)?
            }
            Self::Fixed { .. } if self_reference || !references.is_empty() => {
                return Err(ContentAddressError::References);
            }
            Self::Fixed { recursive, hash } => {
                let method = if *recursive { "r:" } else { "" };
                let inner = format!("fixed:out:{method}{}:{}:", hash.algo(), hash.to_hex());
                StorePath::from_fingerprint("output:out", &Sha256::digest(inner.as_bytes()), name)?
            }
        };
        Ok(path)
    }
}

/// `<algo>:<digits>`; the SRI form is not known here.
fn parse_hash(text: &str) -> Result<NixHash, ContentAddressError> {
    let (algo, digits) = text.split_once(':').ok_or(HashError::NoAlgorithm)?;
    Ok(NixHash::parse_digits(HashAlgo::parse(algo)?, digits)?)
}

/// The first field of a fingerprint: what it is, then every reference.
fn kind(what: &str, references: &[StorePath], self_reference: bool) -> String {
    let mut references: Vec<&StorePath> = references.iter().collect();
    references.sort_unstable();
    references.dedup();
    let mut kind = what.to_owned();
    for reference in references {
        kind.push(':');
        kind.push_str(&reference.to_absolute());
    }
    if self_reference {
        kind.push_str(":self");
    }
    kind
}

/// Checks that the content found in a NAR and these references make exactly this path by this address.
///
/// A cache must refuse an object that fails here: clients trust content addresses without any signature, and some
/// crash on a wrong one. `references` may contain the path itself. The NAR must have been inspected with
/// [`crate::inspect::Inspect::with_content_address`].
///
/// # Errors
/// See [`ContentAddressError`].
pub fn verify_content_address(
    ca: &ContentAddress,
    store_path: &StorePath,
    references: &[StorePath],
    facts: &NarFacts,
) -> Result<(), ContentAddressError> {
    let self_reference = references.contains(store_path);
    let others: Vec<StorePath> = references.iter().filter(|path| *path != store_path).cloned().collect();
    let expected = ca.store_path(store_path.name(), &others, self_reference)?;
    if expected != *store_path {
        return Err(ContentAddressError::PathMismatch { expected, found: store_path.clone() });
    }
    let (expected, found) = match ca {
        ContentAddress::Text { sha256 } => (NixHash::from(*sha256), plain_file_hash(facts)?),
        ContentAddress::Fixed { recursive: false, hash } => (hash.clone(), plain_file_hash(facts)?),
        ContentAddress::Fixed { recursive: true, hash } if hash.algo() == HashAlgo::Sha256 => {
            let found = if self_reference { facts.modulo_hash } else { Some(facts.nar_hash) };
            (hash.clone(), found.map(NixHash::from))
        }
        ContentAddress::Fixed { recursive: true, hash } => (hash.clone(), facts.recursive_hash.clone()),
    };
    match found {
        Some(found) if found.algo() != expected.algo() => Err(ContentAddressError::HashNotComputed),
        Some(found) if found != expected => Err(ContentAddressError::HashMismatch { expected, found }),
        Some(_) => Ok(()),
        None => Err(ContentAddressError::HashNotComputed),
    }
}

fn plain_file_hash(facts: &NarFacts) -> Result<Option<NixHash>, ContentAddressError> {
    if facts.root_kind != RootKind::Regular || facts.root_executable {
        return Err(ContentAddressError::NotAPlainFile);
    }
    Ok(facts.flat_hash.clone())
}

impl fmt::Display for ContentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { sha256 } => write!(f, "text:{sha256}"),
            Self::Fixed { recursive: true, hash } => write!(f, "fixed:r:{hash}"),
            Self::Fixed { recursive: false, hash } => write!(f, "fixed:{hash}"),
        }
    }
}

impl FromStr for ContentAddress {
    type Err = ContentAddressError;

    fn from_str(text: &str) -> Result<Self, ContentAddressError> {
        Self::parse(text)
    }
}

impl Serialize for ContentAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
