//! Compression and decompression where waiting is allowed: owns the choice of codecs, their limits and levels. The codecs come
//! as async streams; over files and memory they never wait, so that they are driven here as plain readers and writers.

use crate::{
    blob::Stored,
    error::{Error, Result},
    path::Packing,
};
use async_compression::{
    Level,
    tokio::{
        bufread::{self, BrotliDecoder, BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder},
        write::{XzEncoder, ZstdEncoder},
    },
    zstd::{CParameter, DParameter},
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, stream};
use nix_compat::compression::Compression;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::{Semaphore, mpsc},
};

/// Largest window that Nix's own decoder takes, as a power of two.
const ZSTD_WINDOW: u32 = 27;
/// Memory for one xz decoder in bytes; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 100 << 20;

/// Bytes that may unpack to nothing: more than any block of any codec.
const MOST_FOR_NOTHING: u64 = 2 << 20;
/// Bytes unpacked at a time where somebody waits for them.
const BLOCK: usize = 128 * 1024;
/// Bytes skipped at a time: some milliseconds.
const SKIP: u64 = 8 << 20;
/// Readers of unpacked files at the same moment; each holds at most 128 MiB, most hold two.
static UNPACKING: Semaphore = Semaphore::const_new(4);
/// How long a reader waits for its turn, and how long a turn waits for its reader.
const PATIENCE: Duration = Duration::from_secs(10);
const STALLED: Duration = Duration::from_secs(20);

/// Whether files of this compression are taken and can be read.
pub(crate) fn is_known(compression: Compression) -> bool {
    !matches!(compression, Compression::Lzip | Compression::Lz4 | Compression::Lzma)
}

/// Unpacks `source`. Every decoder goes on behind the first member: concatenated files are legal and common. `None` for formats
/// that few clients write and no client needs.
pub(crate) fn decoder<'a>(compression: Compression, source: impl BufRead + Unpin + Send + 'a) -> Option<Decoder<'a>> {
    let for_nothing = Arc::new(AtomicU64::new(0));
    let source = Ready(Fed { source, for_nothing: for_nothing.clone() });
    macro_rules! all_members {
        ($decoder:expr) => {{
            let mut decoder = $decoder;
            decoder.multiple_members(true);
            Box::pin(decoder)
        }};
    }
    let decoder: Pin<Box<dyn AsyncRead + Send + 'a>> = match compression {
        Compression::None => Box::pin(source),
        Compression::Zstd => {
            all_members!(ZstdDecoder::with_params(source, &[DParameter::window_log_max(ZSTD_WINDOW)]))
        }
        Compression::Xz => all_members!(XzDecoder::with_mem_limit(source, XZ_MEMORY)),
        Compression::Gzip => all_members!(GzipDecoder::new(source)),
        Compression::Bzip2 => all_members!(BzDecoder::new(source)),
        Compression::Brotli => Box::pin(BrotliDecoder::new(source)),
        Compression::Lzip | Compression::Lz4 | Compression::Lzma => return None,
    };
    Some(Decoder { decoder, for_nothing })
}

/// What was packed, as a reader.
pub(crate) struct Decoder<'a> {
    decoder: Pin<Box<dyn AsyncRead + Send + 'a>>,
    for_nothing: Arc<AtomicU64>,
}

/// Counts what is taken while nothing comes out: members without content cost seconds for each megabyte.
struct Fed<S> {
    source: S,
    for_nothing: Arc<AtomicU64>,
}

impl<S: BufRead> Read for Fed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.for_nothing.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<S: BufRead> BufRead for Fed<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.for_nothing.load(Ordering::Relaxed) > MOST_FOR_NOTHING {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it unpacks to nothing"));
        }
        self.source.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.for_nothing.fetch_add(amount as u64, Ordering::Relaxed);
        self.source.consume(amount);
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.for_nothing.store(0, Ordering::Relaxed);
        self.decoder.read(buffer).now_or_never().unwrap_or_else(waited)
    }
}

/// Packs what is written to it.
pub(crate) enum Encoder<W> {
    Zstd(Box<ZstdEncoder<Ready<W>>>),
    Xz(Box<XzEncoder<Ready<W>>>),
}

impl<W: Write + Unpin> Encoder<W> {
    pub fn zstd(sink: W) -> Encoder<W> {
        Encoder::Zstd(Box::new(ZstdEncoder::with_quality(Ready(sink), Level::Precise(3))))
    }

    /// With a checksum of the content, for what is read back after years.
    pub fn zstd_checked(sink: W) -> Encoder<W> {
        let (level, checked) = (Level::Precise(3), [CParameter::checksum_flag(true)]);
        Encoder::Zstd(Box::new(ZstdEncoder::with_quality_and_params(Ready(sink), level, &checked)))
    }

    /// Fast rather than small: the client waits.
    pub fn xz(sink: W) -> Encoder<W> {
        Encoder::Xz(Box::new(XzEncoder::with_quality(Ready(sink), Level::Precise(2))))
    }

    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match self {
            Encoder::Zstd(encoder) => encoder.write_all(bytes).now_or_never(),
            Encoder::Xz(encoder) => encoder.write_all(bytes).now_or_never(),
        };
        written.unwrap_or_else(waited)
    }

    /// Writes what is left and gives the sink back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Zstd(mut encoder) => {
                encoder.shutdown().now_or_never().unwrap_or_else(waited)?;
                Ok(encoder.into_inner().0)
            }
            Encoder::Xz(mut encoder) => {
                encoder.shutdown().now_or_never().unwrap_or_else(waited)?;
                Ok(encoder.into_inner().0)
            }
        }
    }
}

/// The `size` bytes behind the first `skip` of what `stored` holds packed, read off the async threads a block at a time. Fails where
/// there are fewer. A decoder holds up to its window in memory as long as it is read from: there are few at a time, and a reader
/// who takes nothing for a while loses its own.
pub(crate) async fn unpacked(
    stored: Stored,
    compression: Compression,
    skip: u64,
    size: u64,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Unpin + Send + 'static> {
    let busy = |_| Error::TooMany { message: "too many files are being unpacked".to_owned(), retry_after_seconds: 10 };
    let turn = tokio::time::timeout(PATIENCE, UNPACKING.acquire()).await.map_err(busy)?;
    let turn = turn.map_err(|_| Error::internal("the queue of readers is closed"))?;
    // What is not packed need not be read to be skipped.
    let (offset, left_out) = if compression == Compression::None { (skip, 0) } else { (0, skip) };
    let reader = stored.reader(offset).map_err(Error::storage)?;
    let decoder = decoder(compression, BufReader::with_capacity(BLOCK, reader));
    let decoder = decoder.ok_or_else(|| Error::internal(format!("a file packed with {compression} was taken")))?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _turn = turn;
        let (mut decoder, mut skip, mut left) = (decoder, left_out, size);
        while skip + left > 0 && !sender.is_closed() {
            // Short turns, so that nobody unpacks on when the reader is gone.
            let done = tokio::task::spawn_blocking(move || step(decoder, skip, left)).await;
            let block = match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok((block, rest, still_skip, still_left)) => {
                    (decoder, skip, left) = (rest, still_skip, still_left);
                    Ok(block)
                }
                Err(error) => {
                    let _ = sender.send_timeout(Err(error), STALLED).await;
                    return;
                }
            };
            if !block.as_ref().is_ok_and(Bytes::is_empty) && sender.send_timeout(block, STALLED).await.is_err() {
                return;
            }
        }
    });
    Ok(Box::pin(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|block| (block, receiver))
    })))
}

/// Skips or reads a block. What was read, and what is left to skip and to read.
fn step(mut decoder: Decoder<'static>, skip: u64, left: u64) -> io::Result<(Bytes, Decoder<'static>, u64, u64)> {
    if skip > 0 {
        let skipped = io::copy(&mut (&mut decoder).take(skip.min(SKIP)), &mut io::sink())?;
        return match skipped {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            skipped => Ok((Bytes::new(), decoder, skip - skipped, left)),
        };
    }
    let mut block = Vec::new();
    (&mut decoder).take(left.min(BLOCK as u64)).read_to_end(&mut block)?;
    if block.is_empty() && left > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let left = left - block.len() as u64;
    Ok((block.into(), decoder, 0, left))
}

fn waited<T>() -> io::Result<T> {
    Err(io::Error::other("a codec waited for memory or a file"))
}

/// A few kilobytes packed with zstd.
pub(crate) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::zstd(Vec::new());
    encoder.feed(bytes)?;
    encoder.finish()
}

/// A few kilobytes packed as an HTTP client takes them.
pub(crate) fn pack_for_wire(bytes: &[u8], packing: Packing) -> io::Result<Vec<u8>> {
    let (source, mut packed) = (Ready(bytes), Vec::new());
    let fast = Level::Fastest;
    let done = match packing {
        Packing::Zstd => bufread::ZstdEncoder::with_quality(source, fast).read_to_end(&mut packed).now_or_never(),
        Packing::Brotli => bufread::BrotliEncoder::with_quality(source, fast).read_to_end(&mut packed).now_or_never(),
        Packing::Gzip => bufread::GzipEncoder::with_quality(source, fast).read_to_end(&mut packed).now_or_never(),
    };
    done.unwrap_or_else(waited)?;
    Ok(packed)
}

/// A blocking stream as an async one that is always ready.
pub(crate) struct Ready<S>(S);

impl<S: BufRead + Unpin> AsyncRead for Ready<S> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.0.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: BufRead + Unpin> AsyncBufRead for Ready<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Poll::Ready(self.get_mut().0.fill_buf())
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.0.consume(amount);
    }
}

impl<S: Write + Unpin> AsyncWrite for Ready<S> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks() {
        let text = b"some words, ".repeat(10_000);
        for (compression, mut encoder) in
            [(Compression::Zstd, Encoder::zstd(Vec::new())), (Compression::Xz, Encoder::xz(Vec::new()))]
        {
            for piece in text.chunks(777) {
                encoder.feed(piece).unwrap();
            }
            let packed = encoder.finish().unwrap();
            assert!(packed.len() < 1000);
            let mut unpacked = Vec::new();
            decoder(compression, packed.as_slice()).unwrap().read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, text);
        }
    }
}
