//! The NAR inspector takes any bytes in any pieces, tells the same however they are cut, and writes JSON for what it
//! takes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix_compat::inspect::{Inspect, NarFacts, NarInspector};
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
        assert!(std::str::from_utf8(&listing).is_ok_and(|text| text.starts_with("{\"version\":1,\"root\":{")));
    }
});
