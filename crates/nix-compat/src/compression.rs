//! The compression of NAR files by name: owns the names, file extensions and magic bytes, runs no codec.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A value of the narinfo field `Compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// The NAR itself.
    None,
    /// xz streams.
    Xz,
    /// bzip2 streams.
    Bzip2,
    /// gzip members.
    Gzip,
    /// Zstandard frames.
    Zstd,
    /// A brotli stream.
    Brotli,
    /// lzip members.
    Lzip,
    /// LZ4 frames.
    Lz4,
    /// The old container of LZMA, without magic bytes.
    Lzma,
}

/// The text is none of the names clients know; `zst` in particular is no alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("compression is none of none, xz, bzip2, gzip, zstd, br, lzip, lz4, lzma")]
pub struct UnknownCompression;

impl Compression {
    /// Every value.
    pub const ALL: [Self; 9] =
        [Self::None, Self::Xz, Self::Bzip2, Self::Gzip, Self::Zstd, Self::Brotli, Self::Lzip, Self::Lz4, Self::Lzma];

    /// Reads the exact, case-sensitive field value. The empty value is not read here: in a narinfo it means bzip2.
    ///
    /// # Errors
    /// [`UnknownCompression`].
    pub fn parse(name: &str) -> Result<Self, UnknownCompression> {
        Self::ALL.into_iter().find(|compression| compression.as_str() == name).ok_or(UnknownCompression)
    }

    /// The field value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Lzip => "lzip",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
        }
    }

    /// What follows `.nar` in URLs that Iglu writes. Nix writes the same, except that it leaves `gzip` and `lzma` files
    /// bare; nobody may infer the compression from a file name, so the difference is without effect.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Xz => ".xz",
            Self::Bzip2 => ".bz2",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Lzip => ".lzip",
            Self::Lz4 => ".lz4",
            Self::Lzma => ".lzma",
        }
    }

    /// Tells the compression of a file by its first bytes; 24 are enough to tell all that can be told. Brotli has no
    /// magic bytes and is never told; `None` is told by the NAR's own magic string.
    pub fn sniff(head: &[u8]) -> Option<Self> {
        const NAR: &[u8] = b"\x0d\0\0\0\0\0\0\0nix-archive-1";
        // Nix and xz-utils write one set of properties; the dictionary is a multiple of 64 KiB and the size is unknown.
        let lzma = |head: &[u8]| {
            head.starts_with(&[0x5d, 0, 0])
                && head.get(5..13).is_some_and(|size| size == [0xff; 8] || size[6..] == [0, 0])
        };
        match head {
            _ if head.starts_with(NAR) => Some(Self::None),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A skippable frame may stand first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [b'L', b'Z', b'I', b'P', ..] => Some(Self::Lzip),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            _ if lzma(head) => Some(Self::Lzma),
            _ => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Self, UnknownCompression> {
        Self::parse(name)
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Compression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for compression in Compression::ALL {
            assert_eq!(Compression::parse(compression.as_str()), Ok(compression));
        }
        for name in ["", "zst", "XZ", "None", "brotli", "compress", " xz"] {
            assert_eq!(Compression::parse(name), Err(UnknownCompression), "{name}");
        }
    }

    #[test]
    fn magic_bytes() {
        assert_eq!(Compression::sniff(b"\x0d\0\0\0\0\0\0\0nix-archive-1\0\0\0"), Some(Compression::None));
        assert_eq!(Compression::sniff(b"\xfd7zXZ\0\0\x04"), Some(Compression::Xz));
        assert_eq!(Compression::sniff(b"BZh91AY"), Some(Compression::Bzip2));
        assert_eq!(Compression::sniff(b"\x1f\x8b\x08"), Some(Compression::Gzip));
        assert_eq!(Compression::sniff(b"\x28\xb5\x2f\xfd\x24"), Some(Compression::Zstd));
        assert_eq!(Compression::sniff(b"LZIP\x01"), Some(Compression::Lzip));
        assert_eq!(Compression::sniff(b"\x04\x22\x4d\x18\x60"), Some(Compression::Lz4));
        assert_eq!(Compression::sniff(b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0"), Some(Compression::Lzma));
        assert_eq!(Compression::sniff(b""), None);
        assert_eq!(Compression::sniff(b"\x0d\0\0\0\0\0\0\0nix-archive-2"), None);
        assert_eq!(Compression::sniff(b"BZh0"), None);
    }
}
