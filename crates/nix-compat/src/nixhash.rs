//! Digests and their four text forms: owns parsing and writing of hashes, and the digest computations Nix needs.
//!
//! A hash is written `<algo>:<digits>`, the encoding of the digits (hex, nix32 or base64) being told by their number,
//! or as SRI `<algo>-<base64>`. Every spelling is read, `<algo>:<nix32>` is written.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use thiserror::Error;

use crate::nixbase32;

/// Why a text is not a hash.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    /// Neither `<algo>:` nor `<algo>-` in front.
    #[error("hash has no algorithm prefix")]
    NoAlgorithm,
    /// The name before the separator is none of md5, sha1, sha256, sha512.
    #[error("hash algorithm is unknown")]
    UnknownAlgorithm,
    /// Another algorithm than the one this place demands.
    #[error("hash algorithm is {found}, must be sha256")]
    NotSha256 {
        /// What was given.
        found: HashAlgo,
    },
    /// The number of digits fits no encoding of this algorithm.
    #[error("{algo} hash cannot have {digits} digits")]
    InvalidLength {
        /// The algorithm named.
        algo: HashAlgo,
        /// Length of the text after the separator in bytes.
        digits: usize,
    },
    /// The digits are not of the encoding that their number tells.
    #[error("{algo} hash is not valid {encoding}")]
    InvalidDigits {
        /// The algorithm named.
        algo: HashAlgo,
        /// `hex`, `nix32` or `base64`.
        encoding: &'static str,
    },
}

/// A digest algorithm that Nix knows; the experimental ones are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgo {
    /// 16 bytes.
    Md5,
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 64 bytes.
    Sha512,
}

impl HashAlgo {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// Length of the digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The name in front of a hash.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of this exact name.
    ///
    /// # Errors
    /// [`HashError::UnknownAlgorithm`].
    pub fn parse(name: &str) -> Result<Self, HashError> {
        Self::ALL.into_iter().find(|algo| algo.as_str() == name).ok_or(HashError::UnknownAlgorithm)
    }
}

impl fmt::Display for HashAlgo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HashAlgo {
    type Err = HashError;

    fn from_str(name: &str) -> Result<Self, HashError> {
        Self::parse(name)
    }
}

/// A digest of any known algorithm. Ordered by algorithm, then bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NixHash {
    algo: HashAlgo,
    digest: Box<[u8]>,
}

impl NixHash {
    /// The hash of these bytes; `None` if their number is not the algorithm's.
    pub fn from_bytes(algo: HashAlgo, digest: &[u8]) -> Option<Self> {
        (digest.len() == algo.digest_len()).then(|| Self { algo, digest: digest.into() })
    }

    /// Hashes `data`.
    pub fn digest_of(algo: HashAlgo, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algo);
        hasher.update(data);
        hasher.finish()
    }

    /// Reads `<algo>:` followed by hex of either case, nix32 or base64 with or without padding, or SRI.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let at = text.find([':', '-']).ok_or(HashError::NoAlgorithm)?;
        let (name, digits) = (&text[..at], &text[at + 1..]);
        let algo = HashAlgo::parse(name)?;
        if text.as_bytes()[at] == b'-' { Self::parse_base64(algo, digits) } else { Self::parse_digits(algo, digits) }
    }

    /// Reads bare hex, nix32 or base64 digits of a known algorithm.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn parse_digits(algo: HashAlgo, digits: &str) -> Result<Self, HashError> {
        let len = algo.digest_len();
        if digits.len() == len * 2 {
            let digest = HEXLOWER_PERMISSIVE
                .decode(digits.as_bytes())
                .map_err(|_| HashError::InvalidDigits { algo, encoding: "hex" })?;
            return Ok(Self { algo, digest: digest.into() });
        }
        if digits.len() == nixbase32::encoded_len(len) {
            let digest = nixbase32::decode(digits).map_err(|_| HashError::InvalidDigits { algo, encoding: "nix32" })?;
            return Ok(Self { algo, digest: digest.into() });
        }
        Self::parse_base64(algo, digits)
    }

    fn parse_base64(algo: HashAlgo, digits: &str) -> Result<Self, HashError> {
        let padded = BASE64.encode_len(algo.digest_len());
        let bare = BASE64_NOPAD.encode_len(algo.digest_len());
        let trimmed = digits.trim_end_matches('=');
        if digits.len() > padded || trimmed.len() != bare {
            return Err(HashError::InvalidLength { algo, digits: digits.len() });
        }
        let digest = BASE64_NOPAD
            .decode(trimmed.as_bytes())
            .map_err(|_| HashError::InvalidDigits { algo, encoding: "base64" })?;
        Ok(Self { algo, digest: digest.into() })
    }

    /// The algorithm.
    pub const fn algo(&self) -> HashAlgo {
        self.algo
    }

    /// The bytes of the digest.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The digest as [`Sha256`]; `None` for the other algorithms.
    pub fn as_sha256(&self) -> Option<Sha256> {
        if self.algo != HashAlgo::Sha256 {
            return None;
        }
        <[u8; 32]>::try_from(&*self.digest).ok().map(Sha256)
    }

    /// Lower-case hex digits without prefix.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }

    /// nix32 digits without prefix.
    pub fn to_nix32(&self) -> String {
        nixbase32::encode(&self.digest)
    }

    /// `<algo>-<padded base64>`.
    pub fn to_sri(&self) -> String {
        format!("{}-{}", self.algo, BASE64.encode(&self.digest))
    }
}

impl fmt::Display for NixHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algo, self.to_nix32())
    }
}

impl fmt::Debug for NixHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NixHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        Self::parse(text)
    }
}

impl From<Sha256> for NixHash {
    fn from(hash: Sha256) -> Self {
        Self { algo: HashAlgo::Sha256, digest: hash.0.into() }
    }
}

/// A running digest of any known algorithm.
#[derive(Clone, Debug)]
pub struct Hasher(Running);

#[derive(Clone, Debug)]
enum Running {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A digest over nothing so far.
    pub fn new(algo: HashAlgo) -> Self {
        Self(match algo {
            HashAlgo::Md5 => Running::Md5(md5::Md5::default()),
            HashAlgo::Sha1 => Running::Sha1(sha1::Sha1::default()),
            HashAlgo::Sha256 => Running::Sha256(sha2::Sha256::default()),
            HashAlgo::Sha512 => Running::Sha512(sha2::Sha512::default()),
        })
    }

    /// Appends data.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            Running::Md5(hasher) => hasher.update(data),
            Running::Sha1(hasher) => hasher.update(data),
            Running::Sha256(hasher) => hasher.update(data),
            Running::Sha512(hasher) => hasher.update(data),
        }
    }

    /// The digest of everything appended.
    pub fn finish(self) -> NixHash {
        match self.0 {
            Running::Md5(hasher) => NixHash { algo: HashAlgo::Md5, digest: hasher.finalize()[..].into() },
            Running::Sha1(hasher) => NixHash { algo: HashAlgo::Sha1, digest: hasher.finalize()[..].into() },
            Running::Sha256(hasher) => NixHash { algo: HashAlgo::Sha256, digest: hasher.finalize()[..].into() },
            Running::Sha512(hasher) => NixHash { algo: HashAlgo::Sha512, digest: hasher.finalize()[..].into() },
        }
    }
}

/// A SHA-256 digest, the only algorithm of narinfo fields. Ordered by bytes; written as `sha256:<nix32>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hashes `data`.
    pub fn digest(data: &[u8]) -> Self {
        Self(sha2::Sha256::digest(data).into())
    }

    /// Reads `sha256:` with hex of either case, nix32 or base64 digits, or SRI. A bare digest is refused.
    ///
    /// # Errors
    /// See [`HashError`]; another algorithm is [`HashError::NotSha256`].
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let hash = NixHash::parse(text)?;
        hash.as_sha256().ok_or(HashError::NotSha256 { found: hash.algo() })
    }

    /// Reads 64 bare hex digits of either case.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn parse_hex(digits: &str) -> Result<Self, HashError> {
        let algo = HashAlgo::Sha256;
        if digits.len() != 64 {
            return Err(HashError::InvalidLength { algo, digits: digits.len() });
        }
        let mut bytes = [0; 32];
        HEXLOWER_PERMISSIVE
            .decode_mut(digits.as_bytes(), &mut bytes)
            .map_err(|_| HashError::InvalidDigits { algo, encoding: "hex" })?;
        Ok(Self(bytes))
    }

    /// Reads 52 bare nix32 digits, as in the names of NAR files.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn parse_nix32(digits: &str) -> Result<Self, HashError> {
        let algo = HashAlgo::Sha256;
        if digits.len() != 52 {
            return Err(HashError::InvalidLength { algo, digits: digits.len() });
        }
        nixbase32::decode_fixed(digits).map(Self).map_err(|_| HashError::InvalidDigits { algo, encoding: "nix32" })
    }

    /// 52 nix32 digits without prefix.
    pub fn to_nix32(&self) -> String {
        nixbase32::encode(&self.0)
    }

    /// 64 lower-case hex digits without prefix.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// `sha256-<padded base64>`.
    pub fn to_sri(&self) -> String {
        format!("sha256-{}", BASE64.encode(&self.0))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_nix32())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        Self::parse(text)
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
