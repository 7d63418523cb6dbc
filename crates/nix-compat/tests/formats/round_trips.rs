//! What is written is read back as it was, for arbitrary values; arbitrary input is refused without a panic.

use nix_compat::nar::{Limits, Parser};
use nix_compat::{
    Compression, ContentAddress, HashAlgo, NarInfo, NixHash, Sha256, Signature, StorePath, StorePathHash, VerifyingKey,
    nixbase32,
};
use proptest::prelude::*;

use crate::tree::{Tree, any_tree};

fn hash() -> impl Strategy<Value = NixHash> {
    (prop::sample::select(HashAlgo::ALL.to_vec()), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
        |(algo, low, high)| {
            let bytes = [low, high].concat();
            NixHash::from_bytes(algo, &bytes[..algo.digest_len()]).unwrap()
        },
    )
}

pub fn path() -> impl Strategy<Value = StorePath> {
    (any::<[u8; 20]>(), "[a-zA-Z0-9+_?=][a-zA-Z0-9+_?=.-]{0,30}")
        .prop_map(|(hash, name)| StorePath::new(StorePathHash::from_bytes(hash), &name).unwrap())
}

fn content_address() -> impl Strategy<Value = ContentAddress> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|bytes| ContentAddress::Text { sha256: Sha256::from_bytes(bytes) }),
        (any::<bool>(), hash()).prop_map(|(recursive, hash)| ContentAddress::Fixed { recursive, hash }),
    ]
}

pub fn signature() -> impl Strategy<Value = Signature> {
    ("[!-9;-~]{1,20}", any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(key_name, low, high)| {
        let bytes = [low, high].concat().try_into().unwrap();
        Signature { key_name, bytes }
    })
}

prop_compose! {
    fn narinfo()(
        store_path in path(),
        url in "nar/[a-z0-9]{1,52}\\.nar",
        compression in prop::sample::select(Compression::ALL.to_vec()),
        nar_hash in any::<[u8; 32]>(),
        nar_size in 1_u64..,
        file in any::<(Option<[u8; 32]>, Option<u64>)>(),
        references in prop::collection::btree_set(path(), 0..6),
        deriver in prop::option::of(path()),
        system in prop::option::of("[a-z0-9_-]{1,20}"),
        signatures in prop::collection::btree_set(signature(), 0..4),
        ca in prop::option::of(content_address()),
    ) -> NarInfo {
        NarInfo {
            file_hash: file.0.map(Sha256::from_bytes),
            file_size: file.1,
            references: references.into_iter().collect(),
            deriver,
            system,
            signatures: signatures.into_iter().collect(),
            ca,
            ..NarInfo::new(store_path, url, compression, Sha256::from_bytes(nar_hash), nar_size)
        }
    }
}

proptest! {
    #[test]
    fn nix32(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let text = nixbase32::encode(&bytes);
        prop_assert_eq!(text.len(), nixbase32::encoded_len(bytes.len()));
        prop_assert_eq!(nixbase32::decode(&text).unwrap(), bytes);
    }

    #[test]
    fn nix32_texts_are_canonical(text in "[0-9abcdfghijklmnpqrsvwxyz]{0,60}") {
        if let Ok(bytes) = nixbase32::decode(&text) {
            prop_assert_eq!(nixbase32::encode(&bytes), text);
        }
    }

    #[test]
    fn hashes(hash in hash()) {
        let algo = hash.algo();
        for text in [
            hash.to_string(),
            hash.to_sri(),
            hash.to_sri().replacen('-', ":", 1),
            hash.to_sri().trim_end_matches('=').to_owned(),
            format!("{algo}:{}", hash.to_hex()),
            format!("{algo}:{}", hash.to_hex().to_uppercase()),
        ] {
            prop_assert_eq!(NixHash::parse(&text), Ok(hash.clone()));
        }
        if let Some(sha256) = hash.as_sha256() {
            prop_assert_eq!(Sha256::parse_hex(&sha256.to_hex()), Ok(sha256));
            prop_assert_eq!(Sha256::parse_nix32(&sha256.to_nix32()), Ok(sha256));
            let json = serde_json::to_string(&sha256).unwrap();
            prop_assert_eq!(serde_json::from_str::<Sha256>(&json).unwrap(), sha256);
        }
    }

    #[test]
    fn content_addresses(ca in content_address()) {
        prop_assert_eq!(ContentAddress::parse(&ca.to_string()), Ok(ca));
    }

    #[test]
    fn signatures(signature in signature()) {
        prop_assert_eq!(Signature::parse(&signature.to_string()), Ok(signature));
    }

    #[test]
    fn narinfos(narinfo in narinfo()) {
        let text = narinfo.to_text();
        let read = NarInfo::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(&read, &narinfo);
        prop_assert_eq!(read.to_text(), text);
    }

    #[test]
    fn damaged_narinfos(narinfo in narinfo(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = narinfo.to_text().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        // Whatever still reads is written in a form that reads as the same.
        if let Ok(read) = NarInfo::parse(&text) {
            let again = NarInfo::parse(read.to_text().as_bytes()).unwrap();
            prop_assert_eq!(again.to_text(), read.to_text());
        }
    }

    #[test]
    fn nars(tree in any_tree(), cuts in prop::collection::vec(1_usize..50, 1..10)) {
        let nar = tree.to_nar();
        prop_assert_eq!(nar.len() % 8, 0);
        let mut pieces = Vec::new();
        let mut rest = nar.as_slice();
        for len in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, tail) = rest.split_at((*len).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        prop_assert_eq!(&Tree::from_nar(&nar, pieces).unwrap(), &tree);
        prop_assert_eq!(&Tree::from_nar(&nar, [&nar[..]]).unwrap(), &tree);
    }

    /// There is one NAR for each tree: a changed byte makes another tree or no NAR.
    #[test]
    fn damaged_nars(tree in any_tree(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut nar = tree.to_nar();
        let at = at.index(nar.len());
        nar[at] ^= 1_u8 << bit;
        if let Ok(other) = Tree::from_nar(&nar, [&nar[..]]) {
            prop_assert_ne!(&other, &tree);
            prop_assert_eq!(other.to_nar(), nar);
        }
    }

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "\\PC{0,100}") {
        let mut parser = Parser::new(Limits::default());
        let _ = parser.feed(&bytes, &mut |_| Ok(()));
        let _ = NarInfo::parse(&bytes);
        let _ = NarInfo::parse(text.as_bytes());
        let _ = nixbase32::decode(&bytes);
        let _ = NixHash::parse(&text);
        let _ = StorePath::parse(&text);
        let _ = StorePath::parse_absolute(&text);
        let _ = ContentAddress::parse(&text);
        let _ = VerifyingKey::parse(&text);
        let _ = Compression::sniff(&bytes);
    }
}
