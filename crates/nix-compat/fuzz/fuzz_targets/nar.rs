//! The NAR inspector takes any bytes in any pieces, tells the same however they are cut, and writes a listing for what
//! it takes that can be read and has the debug info it found.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix_compat::inspect::{Inspect, NarFacts, NarInspector};
use nix_compat::nar_listing::{Listing, Node};
use nix_compat::{HashAlgo, StorePathHash};

fn inspect(nar: &[u8], piece_len: usize, max_size: u64) -> Result<(NarFacts, Vec<u8>), String> {
    let hash = StorePathHash::from_bytes([0; 20]);
    let inspect =
        Inspect { candidates: vec![hash], modulo: Some(hash), flat: Some(HashAlgo::Sha256), ..Inspect::new(max_size) };
    let mut inspector = NarInspector::new(inspect, Vec::new());
    for piece in nar.chunks(piece_len) {
        inspector.feed(piece).map_err(|error| error.to_string())?;
    }
    inspector.finish().map_err(|error| error.to_string())
}

fuzz_target!(|input: &[u8]| {
    let [piece_len, spare, nar @ ..] = input else { return };
    let max_size = nar.len() as u64 + u64::from(*spare).saturating_sub(8);
    let whole = inspect(nar, usize::MAX, max_size);
    assert_eq!(whole, inspect(nar, usize::from(*piece_len) + 1, max_size));
    if let Ok((facts, listing)) = whole {
        assert_eq!(facts.nar_size, nar.len() as u64);
        assert!(listing.starts_with(b"{\"version\":1,\"root\":{"));
        let listing = Listing::parse(&listing);
        for id in &facts.debug_ids {
            let found = listing.as_ref().ok().and_then(|listing| listing.lookup(&id.member()));
            assert!(matches!(found, Some(Node::Regular { .. })));
        }
        assert!(listing.is_ok() && facts.debug_ids.is_sorted());
    }
});
