//! The search for references against the obvious search.

use std::collections::BTreeSet;

use nix_compat::StorePathHash;
use nix_compat::reference_scan::ReferenceScanner;
use proptest::prelude::*;

fn found(candidates: &[StorePathHash], pieces: &[&[u8]]) -> BTreeSet<StorePathHash> {
    let mut scanner = ReferenceScanner::new(candidates.iter().copied());
    for piece in pieces {
        scanner.feed(piece);
    }
    scanner.into_found()
}

fn naive(candidates: &[StorePathHash], text: &[u8]) -> BTreeSet<StorePathHash> {
    let occurs = |hash: &StorePathHash| text.windows(32).any(|window| window == hash.to_string().as_bytes());
    candidates.iter().copied().filter(occurs).collect()
}

#[test]
fn places() {
    let hash = StorePathHash::parse("5cil4z0s59ii1splw7bhxf230bfdxfq5").unwrap();
    let other = StorePathHash::parse("5cil4z0s59ii1splw7bhxf230bfdxfq6").unwrap();
    let zeros = StorePathHash::from_bytes([0; 20]);
    let text = hash.to_string();
    for (before, after) in [("", ""), ("/nix/store/", "-x"), ("0", "0"), ("00000", "e"), ("e", "zzz"), ("\0", "\0")] {
        let stream = format!("{before}{text}{after}");
        assert_eq!(found(&[other, hash, zeros], &[stream.as_bytes()]), BTreeSet::from([hash]), "{stream:?}");
        for cut in 0..=stream.len() {
            let (left, right) = stream.as_bytes().split_at(cut);
            assert_eq!(found(&[hash, zeros], &[left, right]), BTreeSet::from([hash]));
        }
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(found(&[hash], &bytes), BTreeSet::from([hash]));
    }
    assert!(found(&[hash], &[&text.as_bytes()[1..]]).is_empty());
    assert!(found(&[hash], &[text.to_uppercase().as_bytes()]).is_empty());
    assert!(found(&[], &[text.as_bytes()]).is_empty());
    assert_eq!(found(&[zeros], &[&[b'0'; 100]]), BTreeSet::from([zeros]));
}

proptest! {
    #[test]
    fn like_the_obvious_search(
        stream in "[0-3a-e]{0,200}",
        places in prop::collection::vec((0_usize..200, 0_usize..3), 0..6),
        cuts in prop::collection::vec(0_usize..260, 0..8),
    ) {
        let candidates: Vec<_> = (0_u8..4).map(|seed| StorePathHash::from_bytes([seed * 37; 20])).collect();
        let mut stream = stream.into_bytes();
        for (place, which) in places {
            let place = place.min(stream.len());
            let text = candidates[which].to_string();
            stream.splice(place..(place + 16).min(stream.len()), text.bytes());
        }
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&stream[from..cut]);
            from = cut;
        }
        pieces.push(&stream[from..]);
        prop_assert_eq!(found(&candidates, &pieces), naive(&candidates, &stream));
    }
}
