//! Whether an unpacked NAR is what was claimed: format, hash, size, references and content address, in one pass with fixed memory.
//! Knows neither files nor clients.

use super::Claim;
use crate::codec;
use nix_compat::{
    content_address::verify_content_address,
    debug_info::DebugId,
    inspect::{Inspect, NarFacts, NarInspector},
    nar::NarError,
};
use std::io::{self, Write};

/// Longest listing kept, in bytes of JSON. A NAR with a longer one is taken without.
const LISTING_MAX: usize = 8 << 20;

/// Why an upload is not what it claims to be, or could not be read.
#[derive(Debug)]
pub(super) enum Refusal {
    Claim(String),
    Storage(io::Error),
}

/// What a NAR holds, beside what was claimed of it.
#[derive(Default)]
pub(super) struct Contents {
    /// The `.ls` document, zstd-compressed.
    pub listing: Option<Vec<u8>>,
    pub debug_ids: Vec<DebugId>,
}

/// A claim on trial.
pub(super) struct Proof {
    claim: Claim,
    inspector: NarInspector<Listing>,
}

impl Proof {
    pub fn new(claim: Claim) -> Proof {
        let mut wanted = Inspect::new(claim.nar_size).with_candidates(claim.references.iter().map(|path| path.hash()));
        if let Some(ca) = &claim.ca {
            wanted = wanted.with_content_address(ca, &claim.store_path);
            if !claim.references.contains(&claim.store_path) {
                // Then the NAR hash, computed anyway, is the hash modulo nothing.
                wanted.modulo = None;
            }
        }
        Proof { inspector: NarInspector::new(wanted, Listing::default()), claim }
    }

    /// Takes the next bytes of the NAR.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.inspector.feed(bytes).map_err(|error| malformed(&self.claim, error))
    }

    /// Judges, once the NAR has ended.
    pub fn finish(self) -> Result<Contents, Refusal> {
        let Proof { claim, inspector } = self;
        let (mut facts, listing) = inspector.finish().map_err(|error| malformed(&claim, error))?;
        let Claim { store_path: path, nar_size, nar_hash, .. } = &claim;
        if facts.nar_size != *nar_size {
            let found = facts.nar_size;
            return Err(Refusal::Claim(format!("NAR size of {path} is {found}, not {nar_size} as announced")));
        }
        if facts.nar_hash != *nar_hash {
            let found = facts.nar_hash;
            return Err(Refusal::Claim(format!("NAR hash of {path} is {found}, not {nar_hash} as announced")));
        }
        check_references(&claim, &facts)?;
        Ok(Contents { listing: listing.compressed(), debug_ids: std::mem::take(&mut facts.debug_ids) })
    }
}

fn malformed(claim: &Claim, error: NarError) -> Refusal {
    let Claim { store_path: path, nar_size, .. } = claim;
    Refusal::Claim(match error {
        NarError::TooLarge { .. } => format!("NAR size of {path} is more than the {nar_size} bytes announced"),
        error => format!("NAR of {path}: {error}"),
    })
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
        if self.over { None } else { codec::pack(&self.json).ok() }
    }
}
