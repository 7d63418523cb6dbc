//! Store paths: owns the rules for hash parts and names and the computation of a path from its fingerprint.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::nixbase32;
use crate::nixhash::Sha256;

/// The store directory of every path here; clients compare it byte for byte.
pub const STORE_DIR: &str = "/nix/store";

/// Longest name, in bytes, that follows the hash part and its dash.
pub const MAX_NAME_LEN: usize = 211;

/// Number of nix32 digits in a hash part.
pub const HASH_PART_LEN: usize = 32;

/// Why a text is not a store path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StorePathError {
    /// Not below the store directory, or more than one segment below it.
    #[error("path is not directly inside {STORE_DIR}")]
    NotInStoreDir,
    /// Too short to hold a hash part, or digits outside the alphabet.
    #[error("store path does not begin with 32 nix32 digits")]
    InvalidHash,
    /// No dash after the hash part.
    #[error("store path has no dash after its hash part")]
    NoDash,
    /// No name after the dash.
    #[error("store path name is empty")]
    NameEmpty,
    /// A name longer than [`MAX_NAME_LEN`].
    #[error("store path name has {len} bytes, more than {MAX_NAME_LEN}")]
    NameTooLong {
        /// Length in bytes.
        len: usize,
    },
    /// A byte outside `A-Z a-z 0-9 + - . _ ? =`.
    #[error("store path name has a byte 0x{byte:02x}, which is not allowed")]
    NameInvalidByte {
        /// The offending byte.
        byte: u8,
    },
    /// The name or its first dash-separated part is `.` or `..`.
    #[error("store path name begins with a dot component")]
    NameDotComponent,
}

/// The hash part of a store path: 160 bits, 32 nix32 digits. The order is that of the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StorePathHash([u8; 20]);

impl StorePathHash {
    /// The hash part with these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The bytes behind the text.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Reads exactly 32 nix32 digits.
    ///
    /// # Errors
    /// [`StorePathError::InvalidHash`].
    pub fn parse(text: &str) -> Result<Self, StorePathError> {
        nixbase32::decode_fixed(text).map(Self).map_err(|_| StorePathError::InvalidHash)
    }

    /// XORs a digest into 20 bytes, as Nix does to shorten one.
    pub fn fold(digest: &Sha256) -> Self {
        let mut bytes = [0; 20];
        for (index, byte) in digest.as_bytes().iter().enumerate() {
            bytes[index % 20] ^= byte;
        }
        Self(bytes)
    }
}

impl Ord for StorePathHash {
    // The first digit of the text holds the top bits of the last byte.
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for StorePathHash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StorePathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&nixbase32::encode(&self.0))
    }
}

impl fmt::Debug for StorePathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StorePathHash {
    type Err = StorePathError;

    fn from_str(text: &str) -> Result<Self, StorePathError> {
        Self::parse(text)
    }
}

impl Serialize for StorePathHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StorePathHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A store path, `<hash part>-<name>` inside [`STORE_DIR`]. The order is bytewise by base name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    hash: StorePathHash,
    name: Box<str>,
}

impl StorePath {
    /// Joins a hash part and a name.
    ///
    /// # Errors
    /// The `Name…` variants of [`StorePathError`].
    pub fn new(hash: StorePathHash, name: &str) -> Result<Self, StorePathError> {
        check_name(name)?;
        Ok(Self { hash, name: name.into() })
    }

    /// Reads a base name, `<hash part>-<name>`.
    ///
    /// # Errors
    /// See [`StorePathError`].
    pub fn parse(base_name: &str) -> Result<Self, StorePathError> {
        let hash = base_name.as_bytes().get(..HASH_PART_LEN).ok_or(StorePathError::InvalidHash)?;
        let hash = nixbase32::decode_fixed(hash).map_err(|_| StorePathError::InvalidHash)?;
        // The hash part is ASCII, so this is a character border.
        let name = base_name[HASH_PART_LEN..].strip_prefix('-').ok_or(StorePathError::NoDash)?;
        Self::new(StorePathHash(hash), name)
    }

    /// Reads an absolute path directly inside [`STORE_DIR`]; one trailing slash is tolerated.
    ///
    /// # Errors
    /// See [`StorePathError`].
    pub fn parse_absolute(path: &str) -> Result<Self, StorePathError> {
        let base_name = path
            .strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(StorePathError::NotInStoreDir)?;
        let base_name = base_name.strip_suffix('/').unwrap_or(base_name);
        if base_name.contains('/') {
            return Err(StorePathError::NotInStoreDir);
        }
        Self::parse(base_name)
    }

    /// The path whose fingerprint is `<kind>:sha256:<inner in hex>:/nix/store:<name>`.
    ///
    /// # Errors
    /// The `Name…` variants of [`StorePathError`].
    pub fn from_fingerprint(kind: &str, inner: &Sha256, name: &str) -> Result<Self, StorePathError> {
        check_name(name)?;
        let fingerprint = format!("{kind}:sha256:{}:{STORE_DIR}:{name}", inner.to_hex());
        Ok(Self { hash: StorePathHash::fold(&Sha256::digest(fingerprint.as_bytes())), name: name.into() })
    }

    /// The hash part.
    pub const fn hash(&self) -> StorePathHash {
        self.hash
    }

    /// What follows the hash part and its dash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the name ends in `.drv`.
    pub fn is_derivation(&self) -> bool {
        self.name.ends_with(".drv")
    }

    /// The path with [`STORE_DIR`] in front.
    pub fn to_absolute(&self) -> String {
        format!("{STORE_DIR}/{self}")
    }
}

/// Checks a store path name on its own.
///
/// # Errors
/// The `Name…` variants of [`StorePathError`].
pub fn check_name(name: &str) -> Result<(), StorePathError> {
    if name.is_empty() {
        return Err(StorePathError::NameEmpty);
    }
    if name.len() > MAX_NAME_LEN {
        return Err(StorePathError::NameTooLong { len: name.len() });
    }
    if let Some(byte) = name.bytes().find(|byte| !byte.is_ascii_alphanumeric() && !b"+-._?=".contains(byte)) {
        return Err(StorePathError::NameInvalidByte { byte });
    }
    let first = name.split('-').next().unwrap_or(name);
    if first == "." || first == ".." {
        return Err(StorePathError::NameDotComponent);
    }
    Ok(())
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hash, self.name)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;

    fn from_str(base_name: &str) -> Result<Self, StorePathError> {
        Self::parse(base_name)
    }
}

impl Serialize for StorePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StorePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
