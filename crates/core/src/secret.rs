//! The master key and what is made with it: sealed secrets in the database, sealed cookies, capability URLs; and the
//! text form of the secrets that people and machines carry.

use crate::{
    clock,
    error::{Error, Result},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};
use zeroize::Zeroizing;

const NONCE: usize = 24;

/// 32 bytes that every stored secret is encrypted with. Derived keys keep its uses apart.
#[derive(Clone)]
pub struct MasterKey {
    sealing: Zeroizing<[u8; 32]>,
    capability: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

impl MasterKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> MasterKey {
        MasterKey {
            sealing: Zeroizing::new(blake3::derive_key("iglu 2026 sealed secrets", bytes)),
            capability: Zeroizing::new(blake3::derive_key("iglu 2026 capability urls", bytes)),
        }
    }

    /// Parses the text form: 64 hex digits, blanks around them allowed.
    pub fn parse(text: &str) -> Result<MasterKey> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE
            .decode(text.trim().as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| Error::invalid("master_key", "the master key is 64 hex digits"))?;
        Ok(MasterKey::from_bytes(&bytes))
    }

    /// Reads the key file, or makes it, readable by its owner only, where there is none.
    pub fn load_or_create(path: &Path) -> Result<MasterKey> {
        match fs::File::open(path) {
            Ok(mut file) => {
                let mut text = Zeroizing::new(String::new());
                file.read_to_string(&mut text).map_err(Error::storage)?;
                MasterKey::parse(&text).map_err(|error| Error::internal(format!("{}: {error}", path.display())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = Zeroizing::new(data_encoding::HEXLOWER.encode(&clock::random::<32>()));
                write_whole(path, &text).map_err(Error::storage)?;
                MasterKey::parse(&text)
            }
            Err(error) => Err(Error::storage(error)),
        }
    }

    /// Encrypts `secret` for `purpose`, which must be given again to open it.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Vec<u8> {
        let nonce = clock::random::<NONCE>();
        let payload = Payload { msg: secret, aad: purpose.as_bytes() };
        let Ok(sealed) = self.cipher().encrypt(&XNonce::from(nonce), payload) else {
            // The cipher refuses only messages of 256 GiB and more.
            panic!("a secret of {} bytes cannot be sealed", secret.len());
        };
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed for `purpose`; `None` for anything that this key did not seal for it.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }

    /// A short proof that this server named `what`; it goes into URLs that stand for a right.
    pub fn capability(&self, what: &str) -> String {
        URL_SAFE_NO_PAD.encode(&blake3::keyed_hash(&self.capability, what.as_bytes()).as_bytes()[..24])
    }

    /// Whether `proof` is the capability for `what`, compared in constant time.
    pub fn proves(&self, what: &str, proof: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.capability(what).as_bytes(), proof.as_bytes()).into()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.sealing).into())
    }
}

/// Writes a file that only its owner can read, whole or not at all, over none that is there.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    // What an earlier try left is nobody's key.
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let named = || match fs::hard_link(&new, path) {
        // Some file systems, of shares for example, know one name of a file only. This one may replace what came a moment ago.
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => fs::rename(&new, path),
        named => named,
    };
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all()).and_then(|()| named());
    let _ = fs::remove_file(&new);
    written?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// A fresh secret of 256 bits as letters and digits, behind `prefix`. It fits netrc, shells, URLs and Dhall unquoted.
pub fn fresh(prefix: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{prefix}{}", nix_compat::nixbase32::encode(&clock::random::<32>())))
}

/// How a secret of full strength is kept: a plain hash, since nobody can guess 256 bits.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_for_one_purpose() {
        let key = MasterKey::from_bytes(&[7; 32]);
        let sealed = key.seal("signing key 1", b"seed");
        assert_eq!(key.open("signing key 1", &sealed).unwrap().as_slice(), b"seed");
        assert!(key.open("signing key 2", &sealed).is_none());
        assert!(MasterKey::from_bytes(&[8; 32]).open("signing key 1", &sealed).is_none());
        assert!(key.open("signing key 1", &sealed[..10]).is_none());
        assert!(!sealed.windows(4).any(|window| window == b"seed"));
    }

    #[test]
    fn capabilities_hold_for_one_thing() {
        let key = MasterKey::from_bytes(&[7; 32]);
        let proof = key.capability("upload a 1");
        assert!(key.proves("upload a 1", &proof));
        assert!(!key.proves("upload a 2", &proof));
        assert!(!key.proves("upload a 1", ""));
    }

    #[test]
    fn makes_the_key_file_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = first.seal("x", b"y");
        assert!(MasterKey::load_or_create(&path).unwrap().open("x", &sealed).is_some());
        fs::write(&path, "short").unwrap();
        assert!(MasterKey::load_or_create(&path).is_err());
    }
}
