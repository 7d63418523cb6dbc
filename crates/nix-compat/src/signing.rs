//! Keys, signatures and the signed text of a store object: owns every secret's memory it is given and erases it.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, BASE64_NOPAD};
use ed25519_dalek::Signer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::nixhash::Sha256;
use crate::store_path::{STORE_DIR, StorePath};

/// Why a text or byte string is not a key or a signature. No message repeats any part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No colon between name and value.
    #[error("no colon after the key name")]
    NoColon,
    /// The name is empty, or has a colon, a blank, a control or a non-ASCII character.
    #[error("key name must be printable ASCII without blanks and colons, and not empty")]
    InvalidName,
    /// The value is not base64.
    #[error("value after the key name is not base64")]
    InvalidBase64,
    /// The value decodes to another length than this kind of value has.
    #[error("value after the key name has not {expected} bytes")]
    InvalidLength {
        /// 64 for secret keys and signatures, 32 for public keys.
        expected: usize,
    },
    /// The public half of a secret key does not belong to its seed.
    #[error("secret key does not match its public half")]
    HalvesDiffer,
    /// The 32 bytes are no point of the curve, or one under which anybody can sign.
    #[error("public key is not usable")]
    InvalidPublicKey,
}

/// Whether a text can name a key: printable ASCII without blanks and colons, not empty.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// Splits `<name>:<base64>` and decodes the value; padding may be missing.
fn split_text<const N: usize>(text: &str) -> Result<(&str, Zeroizing<[u8; N]>), KeyError> {
    let (name, value) = text.split_once(':').ok_or(KeyError::NoColon)?;
    if !is_key_name(name) {
        return Err(KeyError::InvalidName);
    }
    let value = value.trim_end_matches(' ');
    let bare = value.trim_end_matches('=');
    if bare.is_empty() || value.len() - bare.len() > 2 {
        return Err(KeyError::InvalidBase64);
    }
    let bytes = Zeroizing::new(BASE64_NOPAD.decode(bare.as_bytes()).map_err(|_| KeyError::InvalidBase64)?);
    let bytes = <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| KeyError::InvalidLength { expected: N })?;
    Ok((name, Zeroizing::new(bytes)))
}

/// A named secret key. The secret is erased when it is dropped and never appears in `Debug`.
#[derive(Clone)]
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key that grows from these 32 random bytes, which the caller takes from a secure source.
    ///
    /// # Errors
    /// [`KeyError::InvalidName`].
    pub fn from_seed(name: impl Into<String>, seed: [u8; 32]) -> Result<Self, KeyError> {
        let (name, seed) = (name.into(), Zeroizing::new(seed));
        if !is_key_name(&name) {
            return Err(KeyError::InvalidName);
        }
        Ok(Self { name, key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// Reads the content of a secret key file, `<name>:<base64 of seed and public key>`; white space around is
    /// tolerated.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, pair) = split_text::<64>(text.trim_ascii())?;
        let key = ed25519_dalek::SigningKey::from_keypair_bytes(&pair).map_err(|_| KeyError::HalvesDiffer)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The text [`parse`](Self::parse) reads, without line end. Keep it out of logs.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(self.key.to_keypair_bytes());
        // Reserved in full, so that no half-written copy is left behind by growth.
        let mut text = Zeroizing::new(String::with_capacity(self.name.len() + 1 + BASE64.encode_len(pair.len())));
        text.push_str(&self.name);
        text.push(':');
        BASE64.encode_append(pair.as_slice(), &mut text);
        text
    }

    /// The 32 secret bytes the key grows from. Keep them out of logs.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key of the same name.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Signs the text made by [`fingerprint`].
    pub fn sign(&self, fingerprint: &str) -> Signature {
        Signature { key_name: self.name.clone(), bytes: self.key.sign(fingerprint.as_bytes()).to_bytes() }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A named public key, written `<name>:<base64>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifyingKey {
    name: String,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::InvalidName`] or [`KeyError::InvalidPublicKey`].
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let name = name.into();
        if !is_key_name(&name) {
            return Err(KeyError::InvalidName);
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::InvalidPublicKey)?;
        if key.is_weak() {
            return Err(KeyError::InvalidPublicKey);
        }
        Ok(Self { name, key })
    }

    /// Reads `<name>:<base64 of 32 bytes>`; white space around is tolerated.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = split_text::<32>(text.trim_ascii())?;
        Self::from_bytes(name, &bytes)
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether the signature carries this key's name and was made by it for this text.
    pub fn verify(&self, fingerprint: &str, signature: &Signature) -> bool {
        self.name == signature.key_name && self.verify_raw(fingerprint, &signature.bytes)
    }

    /// Whether the 64 bytes were made by this key for this text. Malleable and small-order forms are refused, as the
    /// clients' crypto library does.
    pub fn verify_raw(&self, fingerprint: &str, signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.key.verify_strict(fingerprint.as_bytes(), &signature).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, BASE64.encode(self.as_bytes()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl Serialize for VerifyingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifyingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// One value of the narinfo field `Sig`. Ordered by key name, then bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature {
    /// Name of the key that made it; see [`is_key_name`].
    pub key_name: String,
    /// The Ed25519 signature.
    pub bytes: [u8; 64],
}

impl Signature {
    /// Reads `<key name>:<base64 of 64 bytes>`. As clients do, missing padding and trailing blanks are forgiven; a
    /// value that would make any client refuse the whole narinfo is an error.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = split_text::<64>(text)?;
        Ok(Self { key_name: name.to_owned(), bytes: *bytes })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key_name, BASE64.encode(&self.bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The text that signatures of a store object cover: path, NAR hash in nix32, NAR size in bytes and the references,
/// sorted and without duplicates whatever order they are given in. Nothing else of a narinfo is signed.
pub fn fingerprint(store_path: &StorePath, nar_hash: &Sha256, nar_size: u64, references: &[StorePath]) -> String {
    let mut references: Vec<&StorePath> = references.iter().collect();
    references.sort_unstable();
    references.dedup();
    let mut text = format!("1;{STORE_DIR}/{store_path};{nar_hash};{nar_size};");
    for (index, reference) in references.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(STORE_DIR);
        text.push('/');
        text.push_str(&reference.to_string());
    }
    text
}
