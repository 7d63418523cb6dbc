//! A NAR on its way into the network: read, digested, compressed and digested again, in constant memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::Level;
use async_compression::tokio::bufread::{XzEncoder, ZstdEncoder};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader, ReadBuf};

use super::wire::Compression;
use crate::digest::Counted;
use crate::object::{Nar, NarReader};

/// A NAR being read, digested, compressed and digested again.
pub(super) enum Packed {
    Xz(Counted<XzEncoder<BufReader<Counted<NarReader>>>>),
    Zstd(Counted<ZstdEncoder<BufReader<Counted<NarReader>>>>),
}

/// What has passed once the NAR is at its end.
pub(super) struct Sums {
    /// SHA-256 of the NAR.
    pub nar_hash: [u8; 32],
    /// Bytes of the NAR.
    pub nar_size: u64,
    /// SHA-256 of the compressed file.
    pub file_hash: [u8; 32],
    /// Bytes of the compressed file.
    pub file_size: u64,
}

impl Packed {
    /// Starts reading. `level` is the compressor's own.
    pub fn open(nar: &Nar, compression: Compression, level: i32) -> std::io::Result<Self> {
        let nar = BufReader::with_capacity(256 * 1024, Counted::new(nar.open()?));
        let level = Level::Precise(level);
        Ok(match compression {
            Compression::Xz => Self::Xz(Counted::new(XzEncoder::with_quality(nar, level))),
            Compression::Zstd => Self::Zstd(Counted::new(ZstdEncoder::with_quality(nar, level))),
        })
    }

    /// The next `size` compressed bytes; fewer, perhaps none, only at the end.
    pub async fn chunk(&mut self, size: usize) -> std::io::Result<Bytes> {
        fill(self, size).await
    }

    /// To be called at the end.
    pub async fn finish(self) -> std::io::Result<Sums> {
        let (nar, file_hash, file_size) = match self {
            Self::Xz(reader) => {
                let (encoder, hash, size) = reader.finish();
                (encoder.into_inner(), hash, size)
            }
            Self::Zstd(reader) => {
                let (encoder, hash, size) = reader.finish();
                (encoder.into_inner(), hash, size)
            }
        };
        let (reader, nar_hash, nar_size) = nar.into_inner().finish();
        reader.finish().await?;
        Ok(Sums { nar_hash, nar_size, file_hash, file_size })
    }
}

impl AsyncRead for Packed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Xz(reader) => Pin::new(reader).poll_read(cx, buf),
            Self::Zstd(reader) => Pin::new(reader).poll_read(cx, buf),
        }
    }
}

async fn fill(reader: &mut (impl AsyncRead + Unpin), size: usize) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(size.min(64 * 1024));
    while chunk.len() < size {
        let mut rest = (&mut *reader).take((size - chunk.len()) as u64);
        if rest.read_buf(&mut chunk).await? == 0 {
            break;
        }
        // Compressors hand out a few KiB at a time; growing in steps keeps small NARs small.
        if chunk.capacity() == chunk.len() {
            chunk.reserve((size - chunk.len()).min(chunk.len().max(64 * 1024)));
        }
    }
    Ok(chunk.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    const HASH: &str = "sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";

    #[tokio::test]
    async fn packing_counts_both_sides_and_cuts_chunks() {
        let nar = crate::nar::archive(&crate::nar::regular(b"hello\n"));
        let nar = Nar::Bytes(nar.into());
        for compression in [Compression::Xz, Compression::Zstd] {
            let mut packed = Packed::open(&nar, compression, 2).unwrap();
            let mut whole = Vec::new();
            loop {
                let chunk = packed.chunk(16).await.unwrap();
                whole.extend_from_slice(&chunk);
                if chunk.len() < 16 {
                    break;
                }
            }
            let sums = packed.finish().await.unwrap();
            assert_eq!(format!("sha256:{}", digest::nix32(&sums.nar_hash)), HASH);
            assert_eq!((sums.nar_size, sums.file_size), (120, whole.len() as u64));
            assert_eq!(digest::hex(&sums.file_hash), digest::sha256_hex(&whole));
        }
    }

    #[tokio::test]
    async fn a_stream_of_whole_chunks_ends_with_an_empty_one() {
        let mut source: &[u8] = &[7; 64];
        let sizes = [fill(&mut source, 32).await.unwrap(), fill(&mut source, 32).await.unwrap()].map(|c| c.len());
        assert_eq!((sizes, fill(&mut source, 32).await.unwrap().len()), ([32, 32], 0));
        assert_eq!(digest::md5_base64(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }
}
