//! Sends a piece of a file as a response body: 256 KiB at a time, straight from the page cache where the bytes are there, on the
//! blocking threads where the disk must be asked.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use iglu_core::{Cache, Core};
use nix_compat::nixhash::Sha256;
use rustix::io::{ReadWriteFlags, preadv2};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::task::JoinHandle;

/// Fewer, larger reads cost less per byte; more than this only costs memory.
const READ_SIZE: usize = 256 * 1024;
/// Buffers kept for the next read: 16 MiB.
const MOST_KEPT: usize = 64;

static KEPT: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A read buffer that goes back to the others when the last byte of it was sent.
struct Buffer(Option<Box<[u8]>>);

impl Buffer {
    fn take() -> Buffer {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer(Some(kept.unwrap_or_else(|| vec![0; READ_SIZE].into_boxed_slice())))
    }

    fn as_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }

    fn into_bytes(self, length: usize) -> Bytes {
        Bytes::from_owner(self).slice(..length)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.extend(self.0.take());
        }
    }
}

enum Reading {
    Idle,
    Blocking(JoinHandle<io::Result<Bytes>>),
}

/// Whose bytes are sent: counts them, and hears of it when they cannot be read.
pub struct Sending {
    pub core: Core,
    pub cache: Arc<Cache>,
    pub file_hash: Sha256,
}

impl Sending {
    pub fn sent(&self, bytes: u64) {
        self.cache.counters().nar_bytes.add(bytes);
    }

    /// The connection breaks, for the length was promised; the file is looked at before the next one asks.
    pub fn failed(&self, error: &io::Error) {
        tracing::error!(%error, file = self.file_hash.to_nix32(), "reading a NAR file failed");
        self.core.fetch().unreadable(&self.file_hash);
    }
}

/// Bytes `offset..offset + left` of a file.
pub struct NarBody {
    file: Arc<File>,
    offset: u64,
    left: u64,
    reading: Reading,
    sending: Sending,
}

impl NarBody {
    pub fn new(file: File, offset: u64, length: u64, sending: Sending) -> NarBody {
        NarBody { file: Arc::new(file), offset, left: length, reading: Reading::Idle, sending }
    }
}

impl Body for NarBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(READ_SIZE).min(READ_SIZE);
        loop {
            let bytes = match &mut self.reading {
                Reading::Idle => match read_cached(&self.file, self.offset, wanted) {
                    Some(bytes) => bytes,
                    None => {
                        let (file, offset) = (self.file.clone(), self.offset);
                        self.reading =
                            Reading::Blocking(tokio::task::spawn_blocking(move || read_disk(&file, offset, wanted)));
                        continue;
                    }
                },
                Reading::Blocking(task) => {
                    let read = ready!(Pin::new(task).poll(context));
                    self.reading = Reading::Idle;
                    match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
                        Ok(bytes) => bytes,
                        Err(error) => {
                            self.sending.failed(&error);
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
            };
            let length = bytes.len() as u64;
            self.offset += length;
            self.left -= length;
            self.sending.sent(length);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// What the page cache has at `offset`; `None` where the read would wait, or where the file system cannot tell.
fn read_cached(file: &File, offset: u64, wanted: usize) -> Option<Bytes> {
    let mut buffer = Buffer::take();
    let slice = &mut buffer.as_mut()[..wanted];
    match preadv2(file, &mut [IoSliceMut::new(slice)], offset, ReadWriteFlags::NOWAIT) {
        Ok(read) if read > 0 => Some(buffer.into_bytes(read)),
        _ => None,
    }
}

fn read_disk(file: &File, offset: u64, wanted: usize) -> io::Result<Bytes> {
    let mut buffer = Buffer::take();
    let read = file.read_at(&mut buffer.as_mut()[..wanted], offset)?;
    if read == 0 {
        // The length was promised in the header: the connection must break.
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a NAR file is shorter than it was"));
    }
    Ok(buffer.into_bytes(read))
}
