//! Unpacking and packing of streams as they pass: owns the choice of codecs and their limits.

use crate::Bytestream;
use async_compression::{
    Level,
    tokio::bufread::{BrotliDecoder, BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder, ZstdEncoder},
    zstd::DParameter,
};
use futures_util::StreamExt as _;
use nix_compat::compression::Compression;
use std::pin::Pin;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// Largest window of zstd as a power of two, and memory for one xz decoder in bytes: as much as Nix's own decoders take.
const ZSTD_WINDOW: u32 = 27;
const XZ_MEMORY: u64 = 100 << 20;
/// Bytes of one block.
pub(crate) const BLOCK: usize = 128 * 1024;

/// What was packed in `bytes`. `None` for formats that nobody writes who is read here.
pub(crate) fn unpacked(compression: Compression, bytes: Bytestream) -> Option<Bytestream> {
    macro_rules! all_members {
        ($decoder:expr) => {{
            let mut decoder = $decoder;
            decoder.multiple_members(true);
            Box::pin(decoder)
        }};
    }
    let source = StreamReader::new(bytes);
    let reader: Pin<Box<dyn AsyncRead + Send>> = match compression {
        Compression::None => return Some(source.into_inner()),
        Compression::Zstd => {
            all_members!(ZstdDecoder::with_params(source, &[DParameter::window_log_max(ZSTD_WINDOW)]))
        }
        Compression::Xz => all_members!(XzDecoder::with_mem_limit(source, XZ_MEMORY)),
        Compression::Gzip => all_members!(GzipDecoder::new(source)),
        Compression::Bzip2 => all_members!(BzDecoder::new(source)),
        Compression::Brotli => Box::pin(BrotliDecoder::new(source)),
        Compression::Lzip | Compression::Lz4 | Compression::Lzma => return None,
    };
    Some(ReaderStream::with_capacity(reader, BLOCK).boxed())
}

/// `bytes` as one zstd stream.
pub(crate) fn packed(bytes: Bytestream) -> Bytestream {
    let encoder = ZstdEncoder::with_quality(StreamReader::new(bytes), Level::Precise(3));
    ReaderStream::with_capacity(encoder, BLOCK).boxed()
}

/// What a `Content-Encoding` stands for.
pub(crate) fn coding(name: &str) -> Option<Compression> {
    Some(match name {
        "" | "identity" => Compression::None,
        "gzip" | "x-gzip" => Compression::Gzip,
        "br" => Compression::Brotli,
        "zstd" => Compression::Zstd,
        "xz" => Compression::Xz,
        "bzip2" => Compression::Bzip2,
        _ => return None,
    })
}
