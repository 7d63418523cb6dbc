//! The narinfo, the metadata of one store object: owns its strict reading and its one canonical written form.
//!
//! Clients read a narinfo with a loop, not line by line: the key ends at the next colon, the value begins two bytes
//! later and ends at the next LF. What that loop would take apart differently from how a reader sees it (a missing
//! blank, a blank line, CRLF) is refused here instead of guessed at, as are repeated fields and control characters.

use std::fmt::{self, Write as _};

use thiserror::Error;

use crate::compression::Compression;
use crate::content_address::ContentAddress;
use crate::nixhash::Sha256;
use crate::signing::{self, Signature};
use crate::store_path::StorePath;

/// A name a narinfo gives to a missing deriver.
pub const UNKNOWN_DERIVER: &str = "unknown-deriver";

/// The fields that have a meaning, in the order Nix writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `StorePath`.
    StorePath,
    /// `URL`.
    Url,
    /// `Compression`.
    Compression,
    /// `FileHash`.
    FileHash,
    /// `FileSize`.
    FileSize,
    /// `NarHash`.
    NarHash,
    /// `NarSize`.
    NarSize,
    /// `References`.
    References,
    /// `Deriver`.
    Deriver,
    /// `System`.
    System,
    /// `Sig`.
    Sig,
    /// `CA`.
    Ca,
}

impl Field {
    /// Every field, in the order Nix writes them.
    pub const ALL: [Self; 12] = [
        Self::StorePath,
        Self::Url,
        Self::Compression,
        Self::FileHash,
        Self::FileSize,
        Self::NarHash,
        Self::NarSize,
        Self::References,
        Self::Deriver,
        Self::System,
        Self::Sig,
        Self::Ca,
    ];

    /// The key in front of the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StorePath => "StorePath",
            Self::Url => "URL",
            Self::Compression => "Compression",
            Self::FileHash => "FileHash",
            Self::FileSize => "FileSize",
            Self::NarHash => "NarHash",
            Self::NarSize => "NarSize",
            Self::References => "References",
            Self::Deriver => "Deriver",
            Self::System => "System",
            Self::Sig => "Sig",
            Self::Ca => "CA",
        }
    }

    fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == key)
    }

    fn invalid(self, reason: impl fmt::Display) -> NarInfoError {
        NarInfoError::InvalidField { field: self, reason: reason.to_string() }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Most lines of signatures, and of fields not known here. What is read keeps them, and a line of four bytes costs
/// dozens in memory.
pub const MAX_LINES: usize = 1024;

/// Why a text is not a narinfo.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NarInfoError {
    /// No colon before the end of the text.
    #[error("narinfo line {line} has no colon")]
    NoColon {
        /// Counted from 1.
        line: usize,
    },
    /// A key that is empty or has other bytes than printable ASCII; blank lines and byte order marks end up here.
    #[error("narinfo line {line} does not begin with a field name")]
    InvalidKey {
        /// Counted from 1.
        line: usize,
    },
    /// The colon is not followed by a blank. An empty value needs the blank too.
    #[error("narinfo line {line} ({key}) has no blank after the colon")]
    NoBlank {
        /// Counted from 1.
        line: usize,
        /// The field, or `unknown field`.
        key: &'static str,
    },
    /// The last line does not end in LF.
    #[error("narinfo line {line} ({key}) has no line end")]
    NoLineEnd {
        /// Counted from 1.
        line: usize,
        /// The field, or `unknown field`.
        key: &'static str,
    },
    /// A value with a control character, CR included, or a byte outside ASCII.
    #[error("narinfo line {line} ({key}) has a character that is not printable ASCII")]
    InvalidCharacter {
        /// Counted from 1.
        line: usize,
        /// The field, or `unknown field`.
        key: &'static str,
    },
    /// A field that may stand once stands twice.
    #[error("narinfo field {field} is repeated")]
    Repeated {
        /// The field.
        field: Field,
    },
    /// More than [`MAX_LINES`] lines of a kind that may stand any number of times.
    #[error("narinfo has more than {MAX_LINES} lines of one kind: {kind}")]
    TooManyLines {
        /// `Sig` or `unknown field`.
        kind: &'static str,
    },
    /// A required field is absent.
    #[error("narinfo field {field} is missing")]
    Missing {
        /// The field.
        field: Field,
    },
    /// A value is not what its field demands.
    #[error("narinfo field {field} is invalid: {reason}")]
    InvalidField {
        /// The field.
        field: Field,
        /// What is wrong with it.
        reason: String,
    },
}

/// Metadata of one store object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    /// Path of the object.
    pub store_path: StorePath,
    /// Where the NAR file lies, relative to the cache; of foreign narinfos maybe absolute. See [`is_relative_nar_url`].
    pub url: String,
    /// Compression of the NAR file.
    pub compression: Compression,
    /// Hash of the NAR file as stored. Clients do not check it, but some cannot do without.
    pub file_hash: Option<Sha256>,
    /// Length of the NAR file as stored, in bytes.
    pub file_size: Option<u64>,
    /// Hash of the uncompressed NAR.
    pub nar_hash: Sha256,
    /// Length of the uncompressed NAR in bytes, never 0.
    pub nar_size: u64,
    /// Paths the object mentions, itself included if it does; sorted, without duplicates.
    pub references: Vec<StorePath>,
    /// The derivation that made the object.
    pub deriver: Option<StorePath>,
    /// Platform of the deriver, written by clients before 2.10 and read by none.
    pub system: Option<String>,
    /// Signatures, sorted, without duplicates.
    pub signatures: Vec<Signature>,
    /// How the content determines the path.
    pub ca: Option<ContentAddress>,
    /// Fields without a known meaning, in order of appearance; not written back.
    pub unknown_fields: Vec<(String, String)>,
    /// Values of `Sig` that are no signatures. One of them would make clients from 2.34 on refuse the narinfo, so they
    /// are set apart here and not written back.
    pub malformed_signatures: Vec<String>,
}

impl NarInfo {
    /// The required fields; everything else is absent or empty.
    pub fn new(
        store_path: StorePath,
        url: impl Into<String>,
        compression: Compression,
        nar_hash: Sha256,
        nar_size: u64,
    ) -> Self {
        Self {
            store_path,
            url: url.into(),
            compression,
            file_hash: None,
            file_size: None,
            nar_hash,
            nar_size,
            references: Vec::new(),
            deriver: None,
            system: None,
            signatures: Vec::new(),
            ca: None,
            unknown_fields: Vec::new(),
            malformed_signatures: Vec::new(),
        }
    }

    /// Reads a narinfo as an uploader or another cache sent it. Memory is proportional to the length of the text.
    ///
    /// # Errors
    /// See [`NarInfoError`]. Signatures that are none do not fail; see
    /// [`malformed_signatures`](Self::malformed_signatures).
    pub fn parse(text: &[u8]) -> Result<Self, NarInfoError> {
        let mut partial = Partial::default();
        let mut rest = text;
        let mut line = 1;
        while !rest.is_empty() {
            let (key, value, tail) = next_field(rest, line)?;
            partial.set(key, value)?;
            rest = tail;
            line += 1;
        }
        partial.finish()
    }

    /// The canonical text: fields in Nix's order, references and signatures sorted, LF line ends, a blank after every
    /// colon. Unknown fields and malformed signatures are left out. `url` and `system` are written as they are and must
    /// be printable ASCII.
    pub fn to_text(&self) -> String {
        let printable = |text: &str| text.bytes().all(is_printable);
        debug_assert!(printable(&self.url) && self.system.as_deref().is_none_or(printable));
        let mut text = String::with_capacity(512 + 64 * self.references.len());
        let mut put = |field: Field, value: &dyn fmt::Display| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{field}: {value}");
        };
        put(Field::StorePath, &self.store_path.to_absolute());
        put(Field::Url, &self.url);
        put(Field::Compression, &self.compression);
        if let Some(hash) = &self.file_hash {
            put(Field::FileHash, hash);
        }
        if let Some(size) = &self.file_size {
            put(Field::FileSize, size);
        }
        put(Field::NarHash, &self.nar_hash);
        put(Field::NarSize, &self.nar_size);
        let references: Vec<String> = sorted(&self.references).into_iter().map(ToString::to_string).collect();
        put(Field::References, &references.join(" "));
        if let Some(deriver) = &self.deriver {
            put(Field::Deriver, deriver);
        }
        if let Some(system) = &self.system {
            put(Field::System, system);
        }
        for signature in sorted(&self.signatures) {
            put(Field::Sig, signature);
        }
        if let Some(ca) = &self.ca {
            put(Field::Ca, ca);
        }
        text
    }

    /// The text signatures cover; see [`signing::fingerprint`].
    pub fn fingerprint(&self) -> String {
        signing::fingerprint(&self.store_path, &self.nar_hash, self.nar_size, &self.references)
    }

    /// Whether the object mentions its own path.
    pub fn has_self_reference(&self) -> bool {
        self.references.contains(&self.store_path)
    }
}

/// Whether a `URL` value is `nar/` and one file name of letters, digits and `+ - . _`, neither beginning with a dot nor
/// holding two in a row. Anything else could lead readers out of the cache.
pub fn is_relative_nar_url(url: &str) -> bool {
    url.strip_prefix("nar/").is_some_and(|file| {
        (1..=255).contains(&file.len())
            && file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
            && !file.starts_with('.')
            && !file.contains("..")
    })
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// One turn of the clients' loop: key, value and what is left.
fn next_field(text: &[u8], line: usize) -> Result<(&str, &str, &[u8]), NarInfoError> {
    let colon = text.iter().position(|&byte| byte == b':').ok_or(NarInfoError::NoColon { line })?;
    let key = printable_str(&text[..colon]).filter(|key| !key.is_empty()).ok_or(NarInfoError::InvalidKey { line })?;
    let known = Field::from_key(key).map_or("unknown field", Field::as_str);
    let rest = match &text[colon + 1..] {
        [b' ' | b'\t', rest @ ..] => rest,
        [] => return Err(NarInfoError::NoLineEnd { line, key: known }),
        _ => return Err(NarInfoError::NoBlank { line, key: known }),
    };
    let end = rest.iter().position(|&byte| byte == b'\n').ok_or(NarInfoError::NoLineEnd { line, key: known })?;
    let value = printable_str(&rest[..end]).ok_or(NarInfoError::InvalidCharacter { line, key: known })?;
    Ok((key, value, &rest[end + 1..]))
}

fn printable_str(bytes: &[u8]) -> Option<&str> {
    bytes.iter().copied().all(is_printable).then(|| std::str::from_utf8(bytes).ok()).flatten()
}

fn sorted<T: Ord>(values: &[T]) -> Vec<&T> {
    let mut values: Vec<&T> = values.iter().collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// What has been read so far.
#[derive(Default)]
struct Partial {
    seen: [bool; Field::ALL.len()],
    store_path: Option<StorePath>,
    url: Option<String>,
    compression: Option<Compression>,
    file_hash: Option<Sha256>,
    file_size: Option<u64>,
    nar_hash: Option<Sha256>,
    nar_size: Option<u64>,
    references: Vec<StorePath>,
    deriver: Option<StorePath>,
    system: Option<String>,
    signatures: Vec<Signature>,
    ca: Option<ContentAddress>,
    unknown_fields: Vec<(String, String)>,
    malformed_signatures: Vec<String>,
}

impl Partial {
    fn set(&mut self, key: &str, value: &str) -> Result<(), NarInfoError> {
        let Some(field) = Field::from_key(key) else {
            if self.unknown_fields.len() == MAX_LINES {
                return Err(NarInfoError::TooManyLines { kind: "unknown field" });
            }
            self.unknown_fields.push((key.to_owned(), value.to_owned()));
            return Ok(());
        };
        let seen = std::mem::replace(&mut self.seen[field as usize], true);
        if seen && field != Field::Sig {
            return Err(NarInfoError::Repeated { field });
        }
        let size = || value.parse::<u64>().map_err(|_| field.invalid("not a number of 64 bits"));
        let hash = || Sha256::parse(value).map_err(|error| field.invalid(error));
        let base_name = |value: &str| StorePath::parse(value).map_err(|error| field.invalid(error));
        match field {
            Field::StorePath => {
                self.store_path = Some(StorePath::parse_absolute(value).map_err(|error| field.invalid(error))?);
            }
            Field::Url if value.is_empty() => return Err(field.invalid("empty")),
            Field::Url if value.contains(' ') => return Err(field.invalid("a blank inside")),
            Field::Url => self.url = Some(value.to_owned()),
            // Absent and empty both mean bzip2.
            Field::Compression if value.is_empty() => {}
            Field::Compression => {
                self.compression = Some(Compression::parse(value).map_err(|error| field.invalid(error))?);
            }
            Field::FileHash => self.file_hash = Some(hash()?),
            Field::FileSize => self.file_size = Some(size()?),
            Field::NarHash => self.nar_hash = Some(hash()?),
            Field::NarSize => self.nar_size = Some(size()?),
            Field::References => {
                let names = value.split(' ').filter(|name| !name.is_empty());
                self.references = names.map(base_name).collect::<Result<_, _>>()?;
            }
            Field::Deriver if value == UNKNOWN_DERIVER => {}
            Field::Deriver => self.deriver = Some(base_name(value)?),
            Field::System => self.system = Some(value.to_owned()).filter(|system| !system.is_empty()),
            Field::Sig if self.signatures.len() + self.malformed_signatures.len() == MAX_LINES => {
                return Err(NarInfoError::TooManyLines { kind: "Sig" });
            }
            Field::Sig => match Signature::parse(value) {
                Ok(signature) => self.signatures.push(signature),
                Err(_) => self.malformed_signatures.push(value.to_owned()),
            },
            Field::Ca if value.is_empty() => {}
            Field::Ca => self.ca = Some(ContentAddress::parse(value).map_err(|error| field.invalid(error))?),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<NarInfo, NarInfoError> {
        let missing = |field| NarInfoError::Missing { field };
        self.references.sort_unstable();
        self.references.dedup();
        self.signatures.sort_unstable();
        self.signatures.dedup();
        let nar_size = self.nar_size.ok_or(missing(Field::NarSize))?;
        if nar_size == 0 {
            return Err(Field::NarSize.invalid("zero"));
        }
        Ok(NarInfo {
            store_path: self.store_path.ok_or(missing(Field::StorePath))?,
            url: self.url.ok_or(missing(Field::Url))?,
            compression: self.compression.unwrap_or(Compression::Bzip2),
            file_hash: self.file_hash,
            file_size: self.file_size,
            nar_hash: self.nar_hash.ok_or(missing(Field::NarHash))?,
            nar_size,
            references: self.references,
            deriver: self.deriver,
            system: self.system,
            signatures: self.signatures,
            ca: self.ca,
            unknown_fields: self.unknown_fields,
            malformed_signatures: self.malformed_signatures,
        })
    }
}
