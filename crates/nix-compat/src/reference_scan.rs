//! The search for store path hashes in a byte stream: owns the candidates and the last bytes of the piece before.

use std::collections::BTreeSet;

use crate::nixbase32;
use crate::store_path::{HASH_PART_LEN, StorePathHash};

/// Finds which of the given hash parts occur in a stream, the way Nix tells what a store object refers to.
///
/// Most places are ruled out by one look at a byte that is no nix32 digit, which moves the search on by up to 32 bytes.
#[derive(Clone, Debug)]
pub struct ReferenceScanner {
    /// Sorted by text.
    candidates: Vec<StorePathHash>,
    /// One bit for every three leading digits some candidate has.
    prefixes: Vec<u64>,
    /// Up to 31 last bytes, in which a hash part may have begun.
    tail: Vec<u8>,
    found: BTreeSet<StorePathHash>,
}

const PREFIX_BITS: usize = 15;

impl ReferenceScanner {
    /// A search for these hash parts.
    pub fn new(candidates: impl IntoIterator<Item = StorePathHash>) -> Self {
        let mut candidates: Vec<_> = candidates.into_iter().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut prefixes = vec![0; (1 << PREFIX_BITS) / 64];
        for candidate in &candidates {
            let prefix = prefix(candidate.to_string().as_bytes());
            prefixes[prefix / 64] |= 1 << (prefix % 64);
        }
        Self { candidates, prefixes, tail: Vec::with_capacity(2 * HASH_PART_LEN), found: BTreeSet::new() }
    }

    /// Searches the next piece of the stream, and across the border to the piece before.
    pub fn feed(&mut self, input: &[u8]) {
        if self.candidates.is_empty() {
            return;
        }
        let overlap = HASH_PART_LEN - 1;
        let mut border = std::mem::take(&mut self.tail);
        border.extend_from_slice(&input[..input.len().min(overlap)]);
        self.scan(&border);
        self.scan(input);
        if input.len() >= overlap {
            border.clear();
            border.extend_from_slice(&input[input.len() - overlap..]);
        } else {
            border.drain(..border.len().saturating_sub(overlap));
        }
        self.tail = border;
    }

    /// The candidates seen so far.
    pub const fn found(&self) -> &BTreeSet<StorePathHash> {
        &self.found
    }

    /// The candidates seen.
    pub fn into_found(self) -> BTreeSet<StorePathHash> {
        self.found
    }

    fn scan(&mut self, input: &[u8]) {
        let mut start = 0;
        // Everything from `start` to here is known to be digits.
        let mut digits_to: usize = 0;
        while let Some(window) = input.get(start..start + HASH_PART_LEN) {
            let known = digits_to.saturating_sub(start);
            match window[known..].iter().rposition(|&byte| !nixbase32::is_digit(byte)) {
                Some(index) => {
                    digits_to = start + HASH_PART_LEN;
                    start += known + index + 1;
                }
                None => {
                    self.check(window);
                    digits_to = start + HASH_PART_LEN;
                    start += 1;
                }
            }
        }
    }

    fn check(&mut self, window: &[u8]) {
        let prefix = prefix(window);
        if self.prefixes[prefix / 64] >> (prefix % 64) & 1 == 0 {
            return;
        }
        if let Ok(hash) = nixbase32::decode_fixed(window).map(StorePathHash::from_bytes)
            && self.candidates.binary_search(&hash).is_ok()
        {
            self.found.insert(hash);
        }
    }
}

/// The number that the first three digits make.
fn prefix(digits: &[u8]) -> usize {
    digits[..3].iter().fold(0, |prefix, &digit| prefix << 5 | usize::from(nixbase32::digit_value(digit).unwrap_or(0)))
}
