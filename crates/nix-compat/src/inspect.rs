//! One pass over an uncompressed NAR that tells everything a cache has to know: owns the parser, the hashes, the search
//! for references and debug info and the listing, and drives them together.

use std::collections::BTreeSet;
use std::io::Write;

use sha2::Digest as _;

use crate::content_address::ContentAddress;
use crate::debug_info::{DebugId, DebugIdCollector};
use crate::hash_modulo::ModuloHasher;
use crate::nar::{self, Event, Limits, NarError};
use crate::nar_listing::ListingWriter;
use crate::nixhash::{HashAlgo, Hasher, NixHash, Sha256};
use crate::reference_scan::ReferenceScanner;
use crate::store_path::{StorePath, StorePathHash};

/// What to find out about a NAR, and how large it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// Most bytes of the NAR; the announced `NarSize` if there is one.
    pub max_size: u64,
    /// Most levels of nodes; see [`Limits::max_depth`].
    pub max_depth: usize,
    /// Hash parts to search for.
    pub candidates: Vec<StorePathHash>,
    /// Compute the hash modulo this hash part.
    pub modulo: Option<StorePathHash>,
    /// Compute this hash of the content if the root is one regular file.
    pub flat: Option<HashAlgo>,
    /// Compute this hash of the NAR besides SHA-256.
    pub recursive: Option<HashAlgo>,
}

impl Inspect {
    /// Checks the format, hashes and measures, nothing more.
    pub const fn new(max_size: u64) -> Self {
        Self {
            max_size,
            max_depth: nar::DEFAULT_MAX_DEPTH,
            candidates: Vec::new(),
            modulo: None,
            flat: None,
            recursive: None,
        }
    }

    /// Adds hash parts to search for.
    #[must_use]
    pub fn with_candidates(mut self, candidates: impl IntoIterator<Item = StorePathHash>) -> Self {
        self.candidates.extend(candidates);
        self
    }

    /// Adds the hash that [`crate::content_address::verify_content_address`] will ask for. Of an object known to have
    /// no self reference, [`modulo`](Self::modulo) may be taken back: it costs as much as the plain hash.
    #[must_use]
    pub fn with_content_address(mut self, ca: &ContentAddress, store_path: &StorePath) -> Self {
        match ca {
            ContentAddress::Text { .. } => self.flat = Some(HashAlgo::Sha256),
            ContentAddress::Fixed { recursive: false, hash } => self.flat = Some(hash.algo()),
            ContentAddress::Fixed { recursive: true, hash } if hash.algo() == HashAlgo::Sha256 => {
                self.modulo = Some(store_path.hash());
            }
            ContentAddress::Fixed { recursive: true, hash } => self.recursive = Some(hash.algo()),
        }
        self
    }
}

impl Default for Inspect {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

/// What kind of node the root of a NAR is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// One file.
    Regular,
    /// One symlink.
    Symlink,
    /// A directory.
    Directory,
}

/// What was found out about a complete, well-formed NAR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarFacts {
    /// SHA-256 of the whole NAR.
    pub nar_hash: Sha256,
    /// Length of the whole NAR in bytes.
    pub nar_size: u64,
    /// The candidates that occur anywhere in it.
    pub references: BTreeSet<StorePathHash>,
    /// SHA-256 with every mention of the own hash part blanked out, if asked for.
    pub modulo_hash: Option<Sha256>,
    /// Hash of the content, if asked for and the root is one regular file.
    pub flat_hash: Option<NixHash>,
    /// Hash of the whole NAR by another algorithm, if asked for.
    pub recursive_hash: Option<NixHash>,
    /// Kind of the root node.
    pub root_kind: RootKind,
    /// Whether the root is one executable file.
    pub root_executable: bool,
    /// Build ids of the debug info in it, ascending; at most [`MAX_DEBUG_IDS`](crate::debug_info::MAX_DEBUG_IDS).
    pub debug_ids: Vec<DebugId>,
}

/// Takes a NAR in pieces of any size and finds out about it in one pass with fixed memory.
#[derive(Debug)]
pub struct NarInspector<W: Write> {
    parser: nar::Parser,
    hasher: sha2::Sha256,
    scanner: ReferenceScanner,
    modulo: Option<ModuloHasher>,
    recursive: Option<Hasher>,
    content: Content,
    debug_ids: DebugIdCollector,
    listing: ListingWriter<W>,
}

/// What the events tell about the root.
#[derive(Debug)]
struct Content {
    root: Option<RootKind>,
    executable: bool,
    flat: Option<Hasher>,
}

impl Content {
    fn event(&mut self, event: &Event<'_>) {
        if self.root.is_none() {
            self.root = Some(match event {
                Event::Regular { executable, .. } => {
                    self.executable = *executable;
                    RootKind::Regular
                }
                Event::Symlink(_) => RootKind::Symlink,
                _ => RootKind::Directory,
            });
        }
        if let (Event::Data(data), Some(RootKind::Regular), Some(flat)) = (event, self.root, &mut self.flat) {
            flat.update(data);
        }
    }
}

impl<W: Write> NarInspector<W> {
    /// At the beginning of a NAR. The listing is written to `listing`, which should be buffered; give
    /// [`std::io::sink`] if it is not wanted.
    pub fn new(inspect: Inspect, listing: W) -> Self {
        let limits = Limits { max_size: inspect.max_size, max_depth: inspect.max_depth };
        Self {
            parser: nar::Parser::new(limits),
            hasher: sha2::Sha256::new(),
            scanner: ReferenceScanner::new(inspect.candidates),
            modulo: inspect.modulo.map(ModuloHasher::new),
            recursive: inspect.recursive.map(Hasher::new),
            content: Content { root: None, executable: false, flat: inspect.flat.map(Hasher::new) },
            debug_ids: DebugIdCollector::default(),
            listing: ListingWriter::new(listing),
        }
    }

    /// Number of NAR bytes taken.
    pub const fn nar_size(&self) -> u64 {
        self.parser.offset()
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The first broken rule of the format, [`NarError::TooLarge`] as soon as there are more bytes than allowed, or the
    /// error of the listing's stream. The inspector is of no use afterwards.
    pub fn feed(&mut self, input: &[u8]) -> Result<(), NarError> {
        let (listing, content, debug_ids) = (&mut self.listing, &mut self.content, &mut self.debug_ids);
        self.parser.feed(input, &mut |event| {
            content.event(&event);
            debug_ids.event(&event);
            Ok(listing.event(&event)?)
        })?;
        self.hasher.update(input);
        self.scanner.feed(input);
        if let Some(modulo) = &mut self.modulo {
            modulo.feed(input)?;
        }
        if let Some(recursive) = &mut self.recursive {
            recursive.update(input);
        }
        Ok(())
    }

    /// Tells what was found, and gives back the listing's stream with the listing complete.
    ///
    /// # Errors
    /// [`NarError::Truncated`] if the NAR is not complete, or the error of the listing's stream.
    pub fn finish(self) -> Result<(NarFacts, W), NarError> {
        let nar_size = self.parser.finish()?;
        let root_kind = self.content.root.ok_or(NarError::Truncated { offset: nar_size, expected: "a node" })?;
        let facts = NarFacts {
            nar_hash: Sha256::from_bytes(self.hasher.finalize().into()),
            nar_size,
            references: self.scanner.into_found(),
            modulo_hash: self.modulo.map(ModuloHasher::finish),
            flat_hash: self.content.flat.filter(|_| root_kind == RootKind::Regular).map(Hasher::finish),
            recursive_hash: self.recursive.map(Hasher::finish),
            root_kind,
            root_executable: self.content.executable,
            debug_ids: self.debug_ids.into_found(),
        };
        Ok((facts, self.listing.finish()?))
    }
}
