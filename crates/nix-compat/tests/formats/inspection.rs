//! One pass over a NAR: its facts, its listing, and the check of content addresses.

use nix_compat::content_address::{ContentAddress, ContentAddressError, verify_content_address};
use nix_compat::hash_modulo::ModuloHasher;
use nix_compat::inspect::{Inspect, NarFacts, NarInspector, RootKind};
use nix_compat::nar::NarError;
use nix_compat::{HashAlgo, NixHash, Sha256, StorePath, StorePathHash};
use proptest::prelude::*;

use crate::tree::{Tree, any_tree};

fn inspect(nar: &[u8], piece_len: usize, inspect: Inspect) -> Result<(NarFacts, String), NarError> {
    let mut inspector = NarInspector::new(inspect, Vec::new());
    for piece in nar.chunks(piece_len) {
        inspector.feed(piece)?;
    }
    let (facts, listing) = inspector.finish()?;
    Ok((facts, String::from_utf8(listing).unwrap()))
}

fn path(base_name: &str) -> StorePath {
    StorePath::parse(base_name).unwrap()
}

#[test]
fn facts_of_roots() {
    let wanted = Inspect {
        flat: Some(HashAlgo::Sha1),
        recursive: Some(HashAlgo::Md5),
        modulo: Some(StorePathHash::from_bytes([1; 20])),
        ..Inspect::default()
    };
    for (tree, kind, executable) in [
        (Tree::file("abc"), RootKind::Regular, false),
        (Tree::executable("abc"), RootKind::Regular, true),
        (Tree::symlink("abc"), RootKind::Symlink, false),
        (Tree::directory([("x", Tree::executable("abc"))]), RootKind::Directory, false),
    ] {
        let nar = tree.to_nar();
        for piece_len in [1, 10, 1000] {
            let (facts, _) = inspect(&nar, piece_len, wanted.clone()).unwrap();
            assert_eq!((facts.root_kind, facts.root_executable), (kind, executable));
            assert_eq!((facts.nar_hash, facts.nar_size), (Sha256::digest(&nar), nar.len() as u64));
            // Nothing to blank out.
            assert_eq!(facts.modulo_hash, Some(facts.nar_hash));
            let flat = (kind == RootKind::Regular).then(|| NixHash::digest_of(HashAlgo::Sha1, b"abc"));
            assert_eq!(facts.flat_hash, flat);
            assert_eq!(facts.recursive_hash, Some(NixHash::digest_of(HashAlgo::Md5, &nar)));
        }
    }
}

#[test]
fn references_in_contents_names_and_targets() {
    let [content, name, target, none] = [1, 2, 3, 4].map(|seed| StorePathHash::from_bytes([seed; 20]));
    let tree = Tree::directory([
        ("a".to_owned(), Tree::file(format!("/nix/store/{content}-x"))),
        (name.to_string(), Tree::file("")),
        ("z".to_owned(), Tree::symlink(format!("/nix/store/{target}-x"))),
    ]);
    let wanted = Inspect::default().with_candidates([content, name, target, none]);
    let (facts, _) = inspect(&tree.to_nar(), 11, wanted).unwrap();
    assert_eq!(facts.references.into_iter().collect::<Vec<_>>(), [content, name, target]);
}

#[test]
fn announced_size() {
    let nar = Tree::file("x".repeat(1000)).to_nar();
    let len = nar.len() as u64;
    assert!(inspect(&nar, 100, Inspect::new(len)).is_ok());
    assert!(inspect(&nar, 100, Inspect::new(len - 1)).is_err());
    assert!(matches!(inspect(&nar[..len as usize - 8], 100, Inspect::new(len)), Err(NarError::Truncated { .. })));
    assert!(matches!(inspect(b"", 1, Inspect::new(len)), Err(NarError::Truncated { offset: 0, .. })));
}

#[test]
fn listing_leaves_out_what_json_cannot_hold() {
    let tree = Tree::directory([
        (&b"a\n\"\xc3\xa9"[..], Tree::symlink("\\")),
        (b"b\xff", Tree::directory([("c", Tree::directory([("d", Tree::file("x"))])), ("e", Tree::symlink("f"))])),
        (b"c\xff", Tree::file("x")),
        (b"d\xff", Tree::symlink("x")),
        (b"e", Tree::symlink(b"\xff")),
        (b"f", Tree::directory([(&b"g\xff"[..], Tree::file("x"))])),
        (b"h", Tree::directory::<&str>([])),
    ]);
    for piece_len in [1, 1000] {
        let (_, listing) = inspect(&tree.to_nar(), piece_len, Inspect::default()).unwrap();
        let expected = concat!(
            r#"{"version":1,"root":{"type":"directory","entries":{"a\n\"é":{"type":"symlink","target":"\\"},"#,
            r#""f":{"type":"directory","entries":{}},"h":{"type":"directory","entries":{}}}}}"#
        );
        assert_eq!(listing, expected);
    }
    let (_, root) = inspect(&Tree::symlink(b"\xff").to_nar(), 1, Inspect::default()).unwrap();
    assert_eq!(root, "{\"version\":1,\"root\":{\"type\":\"symlink\",\"target\":\"\u{fffd}\"}}");
}

/// The definition, with everything in memory.
fn modulo(nar: &[u8], modulus: StorePathHash) -> Sha256 {
    let text = modulus.to_string();
    let mut blanked = nar.to_vec();
    let mut places = String::new();
    let mut at = 0;
    while at + 32 <= blanked.len() {
        if blanked[at..at + 32] == *text.as_bytes() {
            blanked[at..at + 32].fill(0);
            places.push_str(&format!("|{at}"));
            at += 32;
        } else {
            at += 1;
        }
    }
    blanked.extend_from_slice(places.as_bytes());
    Sha256::digest(&blanked)
}

proptest! {
    #[test]
    fn modulo_hash_by_definition(
        modulus in prop_oneof![Just([0; 20]), any::<[u8; 20]>()],
        parts in prop::collection::vec((any::<bool>(), prop::collection::vec(b'0'..=b'2', 0..70)), 0..8),
        piece_len in 1_usize..80,
    ) {
        let modulus = StorePathHash::from_bytes(modulus);
        let mut stream = Vec::new();
        for (mention, filling) in parts {
            if mention {
                stream.extend_from_slice(modulus.to_string().as_bytes());
            }
            stream.extend_from_slice(&filling);
        }
        let mut hasher = ModuloHasher::new(modulus);
        for piece in stream.chunks(piece_len) {
            hasher.feed(piece).unwrap();
        }
        prop_assert_eq!(hasher.finish(), modulo(&stream, modulus));
    }

    #[test]
    fn listing_is_json_of_the_tree(tree in any_tree()) {
        let (_, listing) = inspect(&tree.to_nar(), 13, Inspect::default()).unwrap();
        let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
        prop_assert_eq!(&listing["version"], 1);
        prop_assert!(matches_listing(&tree, &listing["root"], true));
    }
}

fn matches_listing(tree: &Tree, node: &serde_json::Value, root: bool) -> bool {
    match tree {
        Tree::File { executable, content } => {
            node["type"] == "regular"
                && node["size"] == content.len()
                && node["executable"].as_bool().unwrap_or(false) == *executable
        }
        Tree::Symlink(target) => root || node["target"] == String::from_utf8(target.clone()).unwrap(),
        Tree::Directory(entries) => {
            let listed = node["entries"].as_object().unwrap();
            let shown: Vec<_> = entries
                .iter()
                .filter_map(|(name, tree)| {
                    let name = String::from_utf8(name.clone()).ok()?;
                    let shown = !matches!(tree, Tree::Symlink(target) if std::str::from_utf8(target).is_err());
                    shown.then_some((name, tree))
                })
                .collect();
            listed.len() == shown.len() && shown.iter().all(|(name, tree)| matches_listing(tree, &listed[name], false))
        }
    }
}

/// Where a recursive content address leads, by trying: the path's own hash part must come out of its content.
fn self_referencing(name: &str) -> (StorePath, ContentAddress, Vec<u8>) {
    // The hash does not depend on the hash part once it is blanked out, only on its places.
    let nar = |hash: StorePathHash| Tree::file(format!("I am /nix/store/{hash}-{name}\n")).to_nar();
    let any = StorePathHash::from_bytes([9; 20]);
    let ca = ContentAddress::Fixed { recursive: true, hash: modulo(&nar(any), any).into() };
    let path = ca.store_path(name, &[], true).unwrap();
    let nar = nar(path.hash());
    (path, ca, nar)
}

#[test]
fn self_reference() {
    let (path, ca, nar) = self_referencing("me");
    let own = std::slice::from_ref(&path);
    let (facts, _) = inspect(&nar, 7, Inspect::default().with_content_address(&ca, &path)).unwrap();
    assert_eq!(verify_content_address(&ca, &path, own, &facts), Ok(()));
    assert_ne!(facts.modulo_hash, Some(facts.nar_hash));
    // Without the reference it is another path.
    let without = verify_content_address(&ca, &path, &[], &facts);
    assert!(matches!(without, Err(ContentAddressError::PathMismatch { .. })));
    // Without the hash it cannot be checked.
    let (plain, _) = inspect(&nar, 7, Inspect::default()).unwrap();
    assert_eq!(verify_content_address(&ca, &path, own, &plain), Err(ContentAddressError::HashNotComputed));
}

#[test]
fn refused_content_addresses() {
    let other = path("5cil4z0s59ii1splw7bhxf230bfdxfq5-other");
    let content = NixHash::digest_of(HashAlgo::Sha256, b"abc");
    let text = ContentAddress::Text { sha256: content.as_sha256().unwrap() };
    let flat = ContentAddress::Fixed { recursive: false, hash: content };
    let check = |ca: &ContentAddress, tree: &Tree, references: &[StorePath], self_reference: bool| {
        let path = ca.store_path("x", references, self_reference)?;
        let wanted = Inspect::default().with_content_address(ca, &path);
        let (facts, _) = inspect(&tree.to_nar(), 9, wanted).unwrap();
        verify_content_address(ca, &path, references, &facts)
    };
    for ca in [&text, &flat] {
        assert_eq!(check(ca, &Tree::file("abc"), &[], false), Ok(()));
        let wrong = check(ca, &Tree::file("abd"), &[], false);
        assert!(matches!(wrong, Err(ContentAddressError::HashMismatch { .. })));
        for tree in [Tree::executable("abc"), Tree::symlink("abc"), Tree::directory([("abc", Tree::file("abc"))])] {
            assert_eq!(check(ca, &tree, &[], false), Err(ContentAddressError::NotAPlainFile));
        }
    }
    let others = std::slice::from_ref(&other);
    assert_eq!(check(&text, &Tree::file("abc"), others, false), Ok(()));
    assert_eq!(check(&text, &Tree::file("abc"), &[], true), Err(ContentAddressError::SelfReference));
    assert_eq!(check(&flat, &Tree::file("abc"), others, false), Err(ContentAddressError::References));
    assert_eq!(check(&flat, &Tree::file("abc"), &[], true), Err(ContentAddressError::References));

    // Other algorithms, flat and recursive.
    for algo in HashAlgo::ALL {
        let tree = Tree::file("abc");
        let flat = ContentAddress::Fixed { recursive: false, hash: NixHash::digest_of(algo, b"abc") };
        let recursive = ContentAddress::Fixed { recursive: true, hash: NixHash::digest_of(algo, &tree.to_nar()) };
        assert_eq!(check(&flat, &tree, &[], false), Ok(()));
        assert_eq!(check(&recursive, &tree, &[], false), Ok(()));
        let wrong = check(&recursive, &Tree::file("abd"), &[], false);
        assert!(matches!(wrong, Err(ContentAddressError::HashMismatch { .. })), "{algo}");
        let with_references = check(&recursive, &tree, others, false);
        assert_eq!(with_references.is_ok(), algo == HashAlgo::Sha256);
    }

    // An address of one path given for another.
    let ca = ContentAddress::Fixed { recursive: true, hash: Sha256::digest(&Tree::file("abc").to_nar()).into() };
    let (facts, _) = inspect(&Tree::file("abc").to_nar(), 9, Inspect::default()).unwrap();
    let foreign = verify_content_address(&ca, &other, &[], &facts);
    assert!(matches!(foreign, Err(ContentAddressError::PathMismatch { .. })));
}

#[test]
fn unreadable_content_addresses() {
    let parse = |text: &str| ContentAddress::parse(text).unwrap_err();
    assert_eq!(parse(""), ContentAddressError::UnknownKind);
    assert_eq!(parse("source:sha256:x"), ContentAddressError::UnknownKind);
    assert_eq!(
        parse("fixed:git:sha1:kpcd173cq987hw957sx6m0868wv3x6d9"),
        ContentAddressError::UnsupportedMethod { method: "git" }
    );
    for text in [
        "text:",
        "fixed:sha256",
        "fixed:r:sha256:x",
        "fixed:r:blake3:x",
        "fixed:sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ] {
        assert!(matches!(parse(text), ContentAddressError::InvalidHash(_)), "{text}");
    }
}
