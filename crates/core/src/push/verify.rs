//! Reads staged bytes back and compares what they are with what was claimed: file hash and size, the NAR's format, hash and
//! size, references and content address. One pass, fixed memory, off the async threads.

use super::{Claim, Pushes};
use crate::{
    blob::Scratch,
    error::{Error, Result},
};
use async_compression::{
    Level,
    tokio::bufread::{BrotliDecoder, BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder, ZstdEncoder},
    zstd::DParameter,
};
use futures_util::FutureExt;
use nix_compat::{
    compression::Compression,
    content_address::verify_content_address,
    inspect::{Inspect, NarFacts, NarInspector},
    nar::NarError,
    nixhash::Sha256,
};
use sha2::Digest;
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

/// Largest window that Nix's own decoder takes, as a power of two.
const ZSTD_WINDOW: u32 = 27;
/// Memory for one xz decoder in bytes; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 100 << 20;
/// Longest listing kept, in bytes of JSON. A NAR with a longer one is taken without.
const LISTING_MAX: usize = 8 << 20;
const READ_SIZE: usize = 128 * 1024;

/// What the bytes are.
pub(super) struct Found {
    pub file_hash: Sha256,
    pub file_size: u64,
    /// The `.ls` document, zstd-compressed.
    pub listing: Option<Vec<u8>>,
}

/// Why a staged upload is not what it claims to be, or could not be read.
enum Refusal {
    Claim(String),
    Storage(io::Error),
}

impl Pushes<'_> {
    /// Reads `parts` in order and checks them against `claim`. With `assembled`, their bytes are also written to that one
    /// file.
    pub(super) async fn verify(&self, claim: &Claim, parts: Vec<PathBuf>, assembled: Option<PathBuf>) -> Result<Found> {
        let claim = claim.clone();
        let permit = self.0.verify_permits.clone().acquire_owned().await;
        let found = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            verify(&claim, parts, assembled.as_deref())
        });
        match found.await? {
            Ok(found) => Ok(found),
            Err(Refusal::Claim(message)) => Err(self.refused(message)),
            Err(Refusal::Storage(error)) => Err(Error::storage(error)),
        }
    }
}

fn verify(claim: &Claim, parts: Vec<PathBuf>, assembled: Option<&Path>) -> Result<Found, Refusal> {
    let copy = match assembled {
        Some(path) => Some((File::create(path).map_err(Refusal::Storage)?, Scratch::new(path.to_owned()))),
        None => None,
    };
    let (copy, scratch) = match copy {
        Some((file, scratch)) => (Some(file), Some(scratch)),
        None => (None, None),
    };
    let mut source = BufReader::with_capacity(READ_SIZE, Parts::new(parts, copy));
    let inspected = inspect(claim, &mut source);
    // A damaged file mostly fails to unpack too: the file hash is the better news, so the rest is read for it.
    io::copy(&mut source, &mut io::sink()).map_err(Refusal::Storage)?;
    let parts = source.into_inner();
    let file_hash = Sha256::from_bytes(parts.digest.finalize().into());
    let file_size = parts.size;

    let path = &claim.store_path;
    if let Some(claimed) = claim.file_size.filter(|claimed| *claimed != file_size) {
        return Err(Refusal::Claim(format!(
            "file size of {path}: {file_size} bytes arrived, {claimed} were announced"
        )));
    }
    if let Some(claimed) = claim.file_hash.filter(|claimed| *claimed != file_hash) {
        return Err(Refusal::Claim(format!("file hash of {path} is {file_hash}, not {claimed} as announced")));
    }
    let (facts, listing) = inspected?;
    if facts.nar_size != claim.nar_size {
        let Claim { nar_size, .. } = claim;
        return Err(Refusal::Claim(format!("NAR size of {path} is {}, not {nar_size} as announced", facts.nar_size)));
    }
    if facts.nar_hash != claim.nar_hash {
        let Claim { nar_hash, .. } = claim;
        return Err(Refusal::Claim(format!("NAR hash of {path} is {}, not {nar_hash} as announced", facts.nar_hash)));
    }
    check_references(claim, &facts)?;
    if let Some(scratch) = scratch {
        scratch.keep();
    }
    Ok(Found { file_hash, file_size, listing })
}

/// A content address proves its references, since they are part of the path's name. Without one, each must occur in the
/// NAR, which is how Nix finds references in the first place.
fn check_references(claim: &Claim, facts: &NarFacts) -> Result<(), Refusal> {
    let path = &claim.store_path;
    if let Some(ca) = &claim.ca {
        return verify_content_address(ca, path, &claim.references, facts)
            .map_err(|error| Refusal::Claim(format!("content address of {path}: {error}")));
    }
    match claim.references.iter().find(|reference| !facts.references.contains(&reference.hash())) {
        Some(absent) => Err(Refusal::Claim(format!("references of {path}: {absent} does not occur in the NAR"))),
        None => Ok(()),
    }
}

fn inspect(claim: &Claim, source: &mut BufReader<Parts>) -> Result<(NarFacts, Option<Vec<u8>>), Refusal> {
    let path = &claim.store_path;
    let mut wanted = Inspect::new(claim.nar_size).with_candidates(claim.references.iter().map(|path| path.hash()));
    if let Some(ca) = &claim.ca {
        wanted = wanted.with_content_address(ca, path);
        if !claim.references.contains(path) {
            // Then the NAR hash, computed anyway, is the hash modulo nothing.
            wanted.modulo = None;
        }
    }
    let mut inspector = NarInspector::new(wanted, Listing::default());
    let malformed = |error: NarError| match error {
        NarError::TooLarge { .. } => {
            Refusal::Claim(format!("NAR size of {path} is more than the {} bytes announced", claim.nar_size))
        }
        error => Refusal::Claim(format!("NAR of {path}: {error}")),
    };
    let mut decoder = decoder(claim.compression, source).ok_or_else(|| {
        Refusal::Claim(format!("compression {} is not taken here; use zstd, xz or none", claim.compression))
    })?;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        // Never pending: the source is a file, and the decoders wait for nothing else.
        let read = match decoder.read(&mut buffer).now_or_never() {
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                return Err(Refusal::Claim(format!(
                    "file of {path} cannot be unpacked as {}: {error}",
                    claim.compression
                )));
            }
            None => return Err(Refusal::Storage(io::Error::other("a decoder waited for a file"))),
        };
        if read == 0 {
            break;
        }
        inspector.feed(&buffer[..read]).map_err(malformed)?;
    }
    let (facts, listing) = inspector.finish().map_err(malformed)?;
    Ok((facts, listing.compressed()))
}

type Decoder<'a> = Pin<Box<dyn AsyncRead + 'a>>;

/// Every decoder goes on behind the first member: concatenated files are legal and common. `None` for formats that few
/// clients write and no client needs.
fn decoder<'a>(compression: Compression, source: &'a mut BufReader<Parts>) -> Option<Decoder<'a>> {
    let source = Ready(source);
    macro_rules! all_members {
        ($decoder:expr) => {{
            let mut decoder = $decoder;
            decoder.multiple_members(true);
            Some(Box::pin(decoder))
        }};
    }
    match compression {
        Compression::None => Some(Box::pin(source)),
        Compression::Zstd => {
            all_members!(ZstdDecoder::with_params(source, &[DParameter::window_log_max(ZSTD_WINDOW)]))
        }
        Compression::Xz => all_members!(XzDecoder::with_mem_limit(source, XZ_MEMORY)),
        Compression::Gzip => all_members!(GzipDecoder::new(source)),
        Compression::Bzip2 => all_members!(BzDecoder::new(source)),
        Compression::Brotli => Some(Box::pin(BrotliDecoder::new(source))),
        Compression::Lzip | Compression::Lz4 | Compression::Lzma => None,
    }
}

/// The files of an upload as one stream, hashed and perhaps copied as they are read.
struct Parts {
    waiting: VecDeque<PathBuf>,
    current: Option<File>,
    copy: Option<File>,
    digest: sha2::Sha256,
    size: u64,
}

impl Parts {
    fn new(parts: Vec<PathBuf>, copy: Option<File>) -> Parts {
        Parts { waiting: parts.into(), current: None, copy, digest: sha2::Sha256::new(), size: 0 }
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.current {
                let read = file.read(buffer)?;
                if read > 0 {
                    self.digest.update(&buffer[..read]);
                    self.size += read as u64;
                    if let Some(copy) = &mut self.copy {
                        copy.write_all(&buffer[..read])?;
                    }
                    return Ok(read);
                }
            }
            match self.waiting.pop_front() {
                Some(path) => self.current = Some(File::open(path)?),
                None => return Ok(0),
            }
        }
    }
}

/// A blocking reader as an async one that is always ready, for decoders that only come async.
struct Ready<'a>(&'a mut BufReader<Parts>);

impl AsyncRead for Ready<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.0.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Ready<'_> {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Poll::Ready(self.get_mut().0.fill_buf())
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.0.consume(amount);
    }
}

/// Takes a listing as it is written, up to a limit.
#[derive(Default)]
struct Listing {
    json: Vec<u8>,
    over: bool,
}

impl Write for Listing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.json.len() + bytes.len() > LISTING_MAX {
            self.over = true;
            self.json = Vec::new();
        }
        if !self.over {
            self.json.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Listing {
    fn compressed(self) -> Option<Vec<u8>> {
        if self.over {
            return None;
        }
        let mut compressed = Vec::new();
        let mut encoder = ZstdEncoder::with_quality(self.json.as_slice(), Level::Precise(3));
        encoder.read_to_end(&mut compressed).now_or_never()?.ok()?;
        Some(compressed)
    }
}
