//! Realisations, which tell the store path of a content-addressed derivation's output: owns their keys and their JSON in
//! the two forms that clients know.
//!
//! Nix 2.4 to 2.34 ask for `realisations/sha256:<hash modulo>!<output>.doi`, Nix from 2.35 on for
//! `build-trace-v2/<derivation>/<output>.doi`. The keys of one form cannot be computed from those of the other, so a
//! cache keeps both side by side.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::nixhash::Sha256;
use crate::signing::Signature;
use crate::store_path::{StorePath, StorePathError, check_name};

/// Most bytes of a document that callers should read; real ones have less than 1 KiB.
pub const MAX_DOCUMENT_LEN: usize = 64 * 1024;

/// Most signatures of a realisation.
pub const MAX_SIGNATURES: usize = 64;

/// Most other realisations that one may name as those it was built from.
pub const MAX_DEPENDENT_REALISATIONS: usize = 512;

/// What the names of the documents end in.
const EXTENSION: &str = ".doi";

/// Why a text is not the key of a realisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RealisationKeyError {
    /// The document's name does not end in `.doi`.
    #[error("realisation name does not end in {EXTENSION}")]
    NoExtension,
    /// Not `sha256:` and 64 lower-case hex digits in front.
    #[error("realisation does not begin with sha256: and 64 lower-case hex digits")]
    InvalidHash,
    /// No `!` after the hash, or no `/` after the derivation.
    #[error("realisation has no output name")]
    NoOutput,
    /// The derivation is no store path.
    #[error("derivation of the realisation is invalid: {0}")]
    InvalidDerivation(StorePathError),
    /// The derivation's name does not end in `.drv`.
    #[error("derivation of the realisation is no .drv")]
    NotADerivation,
    /// The output name has not the form of a store path name.
    #[error("output name of the realisation is invalid: {0}")]
    InvalidOutput(StorePathError),
}

/// Which output of which derivation a realisation is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RealisationKey {
    /// Up to Nix 2.34: any derivation of this hash modulo.
    Legacy {
        /// The hash of the derivation with its inputs resolved to what they stand for.
        drv_hash: Sha256,
        /// The output's name, in the form of a store path name.
        output: Box<str>,
    },
    /// From Nix 2.35 on: one derivation.
    BuildTrace {
        /// A store path whose name ends in `.drv`.
        drv_path: StorePath,
        /// The output's name, in the form of a store path name.
        output: Box<str>,
    },
}

impl RealisationKey {
    /// Reads what follows `realisations/` in a URL path once it is percent-decoded: `sha256:<64 hex>!<output>.doi`.
    ///
    /// # Errors
    /// See [`RealisationKeyError`].
    pub fn parse_legacy(file_name: &str) -> Result<Self, RealisationKeyError> {
        Self::parse_id(file_name.strip_suffix(EXTENSION).ok_or(RealisationKeyError::NoExtension)?)
    }

    /// Reads what follows `build-trace-v2/` in a URL path once it is percent-decoded: `<derivation>/<output>.doi`.
    ///
    /// # Errors
    /// See [`RealisationKeyError`].
    pub fn parse_build_trace(rest: &str) -> Result<Self, RealisationKeyError> {
        Self::parse_trace(rest.strip_suffix(EXTENSION).ok_or(RealisationKeyError::NoExtension)?)
    }

    /// Reads the text that `Display` writes. No text belongs to both forms.
    ///
    /// # Errors
    /// See [`RealisationKeyError`].
    pub fn parse(text: &str) -> Result<Self, RealisationKeyError> {
        // A store path has no colon.
        if text.starts_with("sha256:") { Self::parse_id(text) } else { Self::parse_trace(text) }
    }

    /// `sha256:<64 hex>!<output>`, the `id` of the older form.
    fn parse_id(id: &str) -> Result<Self, RealisationKeyError> {
        let digits = id.strip_prefix("sha256:").ok_or(RealisationKeyError::InvalidHash)?;
        let (digits, output) = digits.split_once('!').ok_or(RealisationKeyError::NoOutput)?;
        if digits.len() != 64 {
            return Err(RealisationKeyError::InvalidHash);
        }
        let mut drv_hash = [0; 32];
        // Lower case alone, so that each key has one text.
        HEXLOWER.decode_mut(digits.as_bytes(), &mut drv_hash).map_err(|_| RealisationKeyError::InvalidHash)?;
        Ok(Self::Legacy { drv_hash: Sha256::from_bytes(drv_hash), output: output_name(output)? })
    }

    /// `<derivation>/<output>`.
    fn parse_trace(text: &str) -> Result<Self, RealisationKeyError> {
        let (drv_path, output) = text.split_once('/').ok_or(RealisationKeyError::NoOutput)?;
        let drv_path = StorePath::parse(drv_path).map_err(RealisationKeyError::InvalidDerivation)?;
        if !drv_path.is_derivation() {
            return Err(RealisationKeyError::NotADerivation);
        }
        Ok(Self::BuildTrace { drv_path, output: output_name(output)? })
    }

    /// The output's name.
    pub fn output(&self) -> &str {
        match self {
            Self::Legacy { output, .. } | Self::BuildTrace { output, .. } => output,
        }
    }

    /// The path of the document below the cache's URL, not percent-encoded.
    pub fn to_url_path(&self) -> String {
        let folder = match self {
            Self::Legacy { .. } => "realisations",
            Self::BuildTrace { .. } => "build-trace-v2",
        };
        format!("{folder}/{self}{EXTENSION}")
    }
}

fn output_name(text: &str) -> Result<Box<str>, RealisationKeyError> {
    check_name(text).map_err(RealisationKeyError::InvalidOutput)?;
    Ok(text.into())
}

impl fmt::Display for RealisationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy { drv_hash, output } => write!(f, "sha256:{}!{output}", drv_hash.to_hex()),
            Self::BuildTrace { drv_path, output } => write!(f, "{drv_path}/{output}"),
        }
    }
}

impl FromStr for RealisationKey {
    type Err = RealisationKeyError;

    fn from_str(text: &str) -> Result<Self, RealisationKeyError> {
        Self::parse(text)
    }
}

/// Why a document is not the realisation of a key. No message repeats any part of the input.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RealisationError {
    /// Not JSON, or a value of another type than its field has.
    #[error("realisation is not JSON of the expected form, see line {line} column {column}")]
    InvalidJson {
        /// Counted from 1; 0 if unknown.
        line: usize,
        /// Counted from 1; 0 if unknown.
        column: usize,
    },
    /// A field that has to be there is not.
    #[error("realisation has no field {field}")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// The document says that it belongs to another key.
    #[error("id of the realisation is not the one of its URL")]
    WrongId,
    /// `outPath`, or a path in `dependentRealisations`, is no base name of a store path.
    #[error("{field} of the realisation has no valid store path: {error}")]
    InvalidPath {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        error: StorePathError,
    },
    /// A key in `dependentRealisations` is none of the older form.
    #[error("dependentRealisations of the realisation has an invalid id: {0}")]
    InvalidDependency(RealisationKeyError),
    /// More signatures or dependent realisations than allowed.
    #[error("realisation has more than {max} {field}")]
    TooMany {
        /// The field's name.
        field: &'static str,
        /// The most allowed.
        max: usize,
    },
}

impl From<serde_json::Error> for RealisationError {
    fn from(error: serde_json::Error) -> Self {
        Self::InvalidJson { line: error.line(), column: error.column() }
    }
}

/// Where the output of a derivation lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realisation {
    /// The output's path.
    pub out_path: StorePath,
    /// Sorted, without duplicates.
    pub signatures: Vec<Signature>,
    /// The realisations this one was built from, by their keys of the older form; always empty in the newer one.
    pub dependent_realisations: BTreeMap<RealisationKey, StorePath>,
}

/// The documents of both forms, as far as they are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    id: Option<String>,
    out_path: Option<String>,
    #[serde(default)]
    signatures: Vec<SignatureText>,
    #[serde(default)]
    dependent_realisations: BTreeMap<String, String>,
}

/// A signature as one text or in two halves.
#[derive(Deserialize)]
#[serde(untagged)]
enum SignatureText {
    Text(String),
    Halves {
        #[serde(rename = "keyName")]
        key_name: String,
        sig: String,
    },
}

impl SignatureText {
    /// `None` for what makes readers refuse the whole document.
    fn parse(&self) -> Option<Signature> {
        match self {
            Self::Text(text) => Signature::parse(text).ok(),
            // A colon in the name would become a border between name and value.
            Self::Halves { key_name, sig } if !key_name.contains(':') => {
                Signature::parse(&format!("{key_name}:{sig}")).ok()
            }
            Self::Halves { .. } => None,
        }
    }
}

/// The older form as it is written, in the order of Nix.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LegacyDocument<'a> {
    dependent_realisations: BTreeMap<String, &'a StorePath>,
    id: String,
    out_path: &'a StorePath,
    signatures: &'a [Signature],
}

/// The newer form as it is written, in the order of Nix.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceDocument<'a> {
    out_path: &'a StorePath,
    signatures: Vec<SignatureHalves<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignatureHalves<'a> {
    key_name: &'a str,
    sig: String,
}

impl Realisation {
    /// Reads the document of this key. Unknown fields are ignored and malformed signatures dropped; no more than
    /// [`MAX_DOCUMENT_LEN`] bytes should be given.
    ///
    /// # Errors
    /// See [`RealisationError`].
    pub fn parse(key: &RealisationKey, json: &[u8]) -> Result<Self, RealisationError> {
        let document: Document = serde_json::from_slice(json)?;
        if document.signatures.len() > MAX_SIGNATURES {
            return Err(RealisationError::TooMany { field: "signatures", max: MAX_SIGNATURES });
        }
        let dependent_realisations = match key {
            RealisationKey::Legacy { .. } => {
                let id = document.id.ok_or(RealisationError::Missing { field: "id" })?;
                if id != key.to_string() {
                    return Err(RealisationError::WrongId);
                }
                dependencies(document.dependent_realisations)?
            }
            RealisationKey::BuildTrace { .. } => BTreeMap::new(),
        };
        let out_path = document.out_path.ok_or(RealisationError::Missing { field: "outPath" })?;
        let mut signatures: Vec<_> = document.signatures.iter().filter_map(SignatureText::parse).collect();
        signatures.sort_unstable();
        signatures.dedup();
        Ok(Self { out_path: base_name("outPath", &out_path)?, signatures, dependent_realisations })
    }

    /// The document of this key, in its form, on one line. Read back it gives the same value, save that the newer form
    /// has no place for [`dependent_realisations`](Self::dependent_realisations).
    pub fn to_json(&self, key: &RealisationKey) -> String {
        let json = match key {
            RealisationKey::Legacy { .. } => serde_json::to_string(&LegacyDocument {
                dependent_realisations: self
                    .dependent_realisations
                    .iter()
                    .filter(|(key, _)| matches!(key, RealisationKey::Legacy { .. }))
                    .map(|(key, out_path)| (key.to_string(), out_path))
                    .collect(),
                id: key.to_string(),
                out_path: &self.out_path,
                signatures: &self.signatures,
            }),
            RealisationKey::BuildTrace { .. } => serde_json::to_string(&TraceDocument {
                out_path: &self.out_path,
                signatures: self
                    .signatures
                    .iter()
                    .map(|signature| SignatureHalves {
                        key_name: &signature.key_name,
                        sig: BASE64.encode(&signature.bytes),
                    })
                    .collect(),
            }),
        };
        // Texts and lists of texts always have a JSON form.
        json.unwrap_or_default()
    }
}

fn base_name(field: &'static str, text: &str) -> Result<StorePath, RealisationError> {
    StorePath::parse(text).map_err(|error| RealisationError::InvalidPath { field, error })
}

fn dependencies(texts: BTreeMap<String, String>) -> Result<BTreeMap<RealisationKey, StorePath>, RealisationError> {
    let field = "dependentRealisations";
    if texts.len() > MAX_DEPENDENT_REALISATIONS {
        return Err(RealisationError::TooMany { field, max: MAX_DEPENDENT_REALISATIONS });
    }
    let read = |(id, out_path): (String, String)| {
        let key = RealisationKey::parse_id(&id).map_err(RealisationError::InvalidDependency)?;
        Ok((key, base_name(field, &out_path)?))
    };
    texts.into_iter().map(read).collect()
}
