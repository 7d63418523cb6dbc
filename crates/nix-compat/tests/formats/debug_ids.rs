//! Build ids and the debug info that NARs have.

use nix_compat::DebugId;
use nix_compat::debug_info::{DebugIdError, MAX_DEBUG_IDS};
use nix_compat::inspect::{Inspect, NarInspector};
use proptest::prelude::*;

use crate::tree::Tree;

const ID: &str = "00ff1234567890abcdef0123456789abcdef0123";

fn debug_ids(tree: &Tree, piece_len: usize) -> Vec<DebugId> {
    let mut inspector = NarInspector::new(Inspect::default(), std::io::sink());
    for piece in tree.to_nar().chunks(piece_len) {
        inspector.feed(piece).unwrap();
    }
    inspector.finish().unwrap().0.debug_ids
}

/// The tree with this one in directories of these names, the innermost last.
fn inside(names: &[&str], tree: Tree) -> Tree {
    names.iter().rev().fold(tree, |inner, name| Tree::directory([(name, inner)]))
}

#[test]
fn texts() {
    let id = DebugId::parse(ID).unwrap();
    assert_eq!((id.to_string().as_str(), id.as_bytes()[1]), (ID, 0xff));
    assert_eq!(id.member(), "lib/debug/.build-id/00/ff1234567890abcdef0123456789abcdef0123.debug");
    assert_eq!(DebugId::parse_file_name(ID), Ok(id));
    assert_eq!(DebugId::parse_file_name(&format!("{ID}.debug")), Ok(id));
    let upper = ID.to_uppercase();
    for text in ["", ".debug", &ID[1..], &format!("{ID}0"), &format!("{ID}00"), &upper, &format!("{}\u{e9}", &ID[2..])]
    {
        assert_eq!(DebugId::parse_file_name(text), Err(DebugIdError), "{text}");
    }
    assert_eq!(DebugId::parse(&format!("{ID}.debug")), Err(DebugIdError));
    assert_eq!(DebugId::parse_file_name(&format!("{ID}.debug.debug")), Err(DebugIdError));
}

#[test]
fn found_at_its_place_alone() {
    let name = format!("{}.debug", &ID[2..]);
    let found = vec![DebugId::parse(ID).unwrap()];
    for file in [Tree::file("x"), Tree::executable("x")] {
        let tree = inside(&["lib", "debug", ".build-id", "00", &name], file);
        for piece_len in [1, 7, 10_000] {
            assert_eq!(debug_ids(&tree, piece_len), found);
        }
    }
    let file = || Tree::file("x");
    let upper = name.to_uppercase();
    for way in [
        &["lib", "debug", ".build-id", &name][..],
        &["lib", "debug", ".build-id", "00", "00", &name],
        &["lib", "debug", ".build-id", "0", &name],
        &["lib", "debug", ".build-id", "000", &name],
        &["lib", "debug", ".build-id", "FF", &name],
        &["lib", "debug", ".build-id", "00", &name, &name],
        &["lib", "debug", ".build-id", "00", &name[1..]],
        &["lib", "debug", ".build-id", "00", &name[2..]],
        &["lib", "debug", ".build-id", "00", &upper],
        &["lib", "debug", ".build-id", "00", &name[..38]],
        &["lib", "debug", ".build-id", "00", "ff"],
        &["lib", "debug", ".build-id", "00"],
        &["lib", "debug", "build-id", "00", &name],
        &["lib", "Debug", ".build-id", "00", &name],
        &["share", "debug", ".build-id", "00", &name],
        &["x", "lib", "debug", ".build-id", "00", &name],
        &["debug", ".build-id", "00", &name],
        &[],
    ] {
        assert_eq!(debug_ids(&inside(way, file()), 10_000), [], "{way:?}");
    }
    let link = inside(&["lib", "debug", ".build-id", "00", &name], Tree::symlink("x"));
    assert_eq!(debug_ids(&link, 10_000), []);
}

#[test]
fn many_beside_other_files() {
    let [a, b] = ["a", "b"].map(|digit| format!("{}.debug", digit.repeat(38)));
    let ids = |names: &[&str]| Tree::directory(names.iter().map(|name| (*name, Tree::file("x"))));
    let build_ids = Tree::directory([
        ("00", ids(&[&a, "aa.debug", &b])),
        // A file between directories, a directory between files, links.
        ("01", Tree::file("x")),
        ("02", Tree::directory([(a.as_str(), ids(&[&a])), (b.as_str(), Tree::file("x"))])),
        ("03", Tree::symlink("02")),
        ("04", Tree::directory::<&str>([])),
        ("ff", ids(&[&b])),
        ("x", ids(&[&b])),
    ]);
    let tree = Tree::directory([
        ("bin", inside(&["lib", "debug"], build_ids.clone())),
        (
            "lib",
            Tree::directory([
                ("a", Tree::file("x")),
                ("debug", Tree::directory([(".build-id", build_ids.clone()), ("00", build_ids.clone())])),
                ("debug2", build_ids.clone()),
            ]),
        ),
        ("lib2", build_ids),
    ]);
    let found: Vec<_> = debug_ids(&tree, 100).into_iter().map(|id| id.to_string()).collect();
    let expected = [("00", "a"), ("00", "b"), ("02", "b"), ("ff", "b")]
        .map(|(first, digit)| format!("{first}{}", digit.repeat(38)));
    assert_eq!(found, expected);
}

#[test]
fn bounded_number() {
    let names = (0..=MAX_DEBUG_IDS).map(|number| (format!("{number:038x}.debug"), Tree::file("")));
    let tree = inside(&["lib", "debug", ".build-id", "00"], Tree::directory(names));
    let found = debug_ids(&tree, 1 << 20);
    assert_eq!(found.len(), MAX_DEBUG_IDS);
    assert_eq!(found[MAX_DEBUG_IDS - 1].to_string(), format!("{:040x}", MAX_DEBUG_IDS - 1));
}

proptest! {
    #[test]
    fn members(bytes in any::<[u8; 20]>()) {
        let id = DebugId::from_bytes(bytes);
        prop_assert_eq!(DebugId::parse(&id.to_string()), Ok(id));
        let member = id.member();
        let way: Vec<_> = member.split('/').collect();
        prop_assert_eq!(debug_ids(&inside(&way, Tree::file("x")), 50), [id]);
    }
}
