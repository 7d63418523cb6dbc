//! The hash of a NAR modulo one hash part: owns the blanking of a path's own name and the list of its places.
//!
//! The content of a path that mentions itself depends on the path, which depends on the content. Nix breaks the circle
//! by hashing the NAR with every mention replaced by NULs, then `|<offset>` for each, in decimal and in order.

use sha2::Digest as _;

use crate::nar::NarError;
use crate::nixhash::Sha256;
use crate::store_path::{HASH_PART_LEN, StorePathHash};

/// Most mentions of its own path a NAR may have here; real ones have thousands at most. Each takes 8 bytes.
pub const MAX_MENTIONS: usize = 1 << 20;

/// Input is copied in pieces of this size next to the bytes held back.
const PIECE_LEN: usize = 64 * 1024;

/// A running SHA-256 that blanks out one hash part. Without any mention it equals the plain hash.
#[derive(Clone, Debug)]
pub struct ModuloHasher {
    pattern: [u8; HASH_PART_LEN],
    /// How far the search may move on, told by the last byte of the place looked at.
    shifts: Vec<u8>,
    hasher: sha2::Sha256,
    /// Bytes not hashed yet since a mention may have begun in them.
    held: Vec<u8>,
    /// Place of the first held byte in the stream.
    held_at: u64,
    mentions: Vec<u64>,
}

impl ModuloHasher {
    /// A hash over nothing so far, modulo this hash part.
    pub fn new(modulus: StorePathHash) -> Self {
        let mut pattern = [0; HASH_PART_LEN];
        pattern.copy_from_slice(modulus.to_string().as_bytes());
        let mut shifts = vec![HASH_PART_LEN as u8; 256];
        for (index, &byte) in pattern[..HASH_PART_LEN - 1].iter().enumerate() {
            shifts[usize::from(byte)] = (HASH_PART_LEN - 1 - index) as u8;
        }
        Self { pattern, shifts, hasher: sha2::Sha256::new(), held: Vec::new(), held_at: 0, mentions: Vec::new() }
    }

    /// Appends the next piece of the NAR.
    ///
    /// # Errors
    /// [`NarError::TooManySelfReferences`].
    pub fn feed(&mut self, input: &[u8]) -> Result<(), NarError> {
        input.chunks(PIECE_LEN).try_for_each(|piece| self.feed_piece(piece))
    }

    /// The hash of everything appended.
    pub fn finish(mut self) -> Sha256 {
        self.hasher.update(&self.held);
        for mention in self.mentions {
            self.hasher.update(format!("|{mention}"));
        }
        Sha256::from_bytes(self.hasher.finalize().into())
    }

    fn feed_piece(&mut self, piece: &[u8]) -> Result<(), NarError> {
        self.held.extend_from_slice(piece);
        let mut hashed = 0;
        while let Some(at) = self.find(hashed) {
            if self.mentions.len() == MAX_MENTIONS {
                return Err(NarError::TooManySelfReferences { max: MAX_MENTIONS });
            }
            self.mentions.push(self.held_at + at as u64);
            self.hasher.update(&self.held[hashed..at]);
            self.hasher.update([0; HASH_PART_LEN]);
            hashed = at + HASH_PART_LEN;
        }
        let keep_from = hashed.max(self.held.len().saturating_sub(HASH_PART_LEN - 1));
        self.hasher.update(&self.held[hashed..keep_from]);
        self.held.drain(..keep_from);
        self.held_at += keep_from as u64;
        Ok(())
    }

    fn find(&self, from: usize) -> Option<usize> {
        let mut start = from;
        loop {
            let window = self.held.get(start..start + HASH_PART_LEN)?;
            if window == self.pattern {
                return Some(start);
            }
            start += usize::from(self.shifts[usize::from(window[HASH_PART_LEN - 1])]);
        }
    }
}
