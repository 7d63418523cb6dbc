//! Digests in the spellings that clients send: owns no I/O beyond the reader it counts.

use std::pin::Pin;
use std::task::{Context, Poll};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

/// SHA-256 as 64 lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 as 52 digits of Nix's base 32.
pub fn sha256_nix32(bytes: &[u8]) -> String {
    nix32(&Sha256::digest(bytes))
}

/// MD5 as padded base64, the form of the `Content-MD5` header.
pub fn md5_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(bytes))
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nix's base 32, written here a second time on purpose: what the server is compared with must not be the server's own.
pub fn nix32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let bit = |n: usize| bytes.get(n / 8).is_some_and(|byte| byte >> (n % 8) & 1 == 1);
    let digits = (bytes.len() * 8).div_ceil(5);
    let digit = |n: usize| (0..5).filter(|i| bit(n * 5 + i)).map(|i| 1 << i).sum::<usize>();
    (0..digits).rev().map(|n| char::from(ALPHABET[digit(n)])).collect()
}

/// A store path that no build made: its hash part is derived from `name` and `seed` alone.
pub fn made_up_path(name: &str, seed: u64) -> String {
    let digest = Sha256::digest(format!("{name} {seed}"));
    format!("/nix/store/{}-{name}", nix32(&digest[..20]))
}

/// The 32-character hash part of a store path or of its base name.
pub fn hash_part(path: &str) -> &str {
    let base = base_name(path);
    &base[..base.len().min(32)]
}

/// A store path without the store directory.
pub fn base_name(path: &str) -> &str {
    path.strip_prefix("/nix/store/").unwrap_or(path)
}

/// Pseudo-random numbers, the same for the same seed: tests must be repeatable.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits (splitmix64).
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next_u64() % end as u64).unwrap_or(0)
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next_u64().to_le_bytes()).collect();
        out.truncate(len);
        out
    }

    /// Reorders `items` (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

/// A reader that digests and counts what passes through it.
#[derive(Debug)]
pub struct Counted<R> {
    inner: R,
    sha256: Sha256,
    size: u64,
}

impl<R> Counted<R> {
    /// Counts from zero.
    pub fn new(inner: R) -> Self {
        Self { inner, sha256: Sha256::new(), size: 0 }
    }

    /// The reader, the SHA-256 and the number of bytes that passed.
    pub fn finish(self) -> (R, [u8; 32], u64) {
        (self.inner, self.sha256.finalize().into(), self.size)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        if polled.is_ready() {
            let new = &buf.filled()[before..];
            this.sha256.update(new);
            this.size += new.len() as u64;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_the_documented_spelling() {
        assert_eq!(sha256_nix32(b""), "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
        assert_eq!(sha256_nix32(b"abc"), "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s");
        assert_eq!(nix32(&[0x20]), "10");
        assert_eq!(nix32(&[0x12, 0x34]), "0d0j");
        assert_eq!(nix32(&[0, 1, 2, 3, 4]), "0h1h4080");
        assert_eq!(md5_base64(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn made_up_paths_are_store_paths() {
        let path = made_up_path("a", 1);
        assert_eq!(path.len(), "/nix/store/".len() + 32 + 2);
        assert_ne!(hash_part(&path), hash_part(&made_up_path("a", 2)));
    }
}
