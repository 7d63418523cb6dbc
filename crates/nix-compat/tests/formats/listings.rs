//! Listings read back: the tree they tell, the search for paths, and symlinks.

use nix_compat::StorePath;
use nix_compat::inspect::{Inspect, NarInspector};
use nix_compat::nar_listing::{Listing, ListingError, MAX_HOPS, Node, ResolveError};
use proptest::prelude::*;

use crate::tree::{Tree, any_tree};

const OWN: &str = "5cil4z0s59ii1splw7bhxf230bfdxfq5-x";

fn written(tree: &Tree) -> Vec<u8> {
    let mut inspector = NarInspector::new(Inspect::default(), Vec::new());
    inspector.feed(&tree.to_nar()).unwrap();
    inspector.finish().unwrap().1
}

fn listing(tree: &Tree) -> Listing {
    Listing::parse(&written(tree)).unwrap()
}

fn regular(size: u64, executable: bool, nar_offset: u64) -> Node {
    Node::Regular { size, executable, nar_offset }
}

#[test]
fn published_listing() {
    // As Nix 2.8 writes it, then as later versions do: keys in order, executable always told.
    let old = concat!(
        r#"{"version":1,"root":{"type":"directory","entries":{"Z":{"type":"regular","size":8,"narOffset":232},"#,
        r#""a.b":{"type":"regular","size":9,"narOffset":424},"bin":{"type":"directory","entries":{"run":"#,
        r#"{"type":"regular","size":10,"executable":true,"narOffset":792}}},"empty":{"type":"regular","size":0,"#,
        r#""narOffset":1024},"link":{"type":"symlink","target":"bin/run"}}}}"#
    );
    let new = concat!(
        r#"{"root":{"entries":{"Z":{"executable":false,"narOffset":232,"size":8,"type":"regular"},"#,
        r#""a.b":{"executable":false,"narOffset":424,"size":9,"type":"regular"},"bin":{"entries":{"run":"#,
        r#"{"executable":true,"narOffset":792,"size":10,"type":"regular"}},"type":"directory"},"empty":"#,
        r#"{"executable":false,"narOffset":1024,"size":0,"type":"regular"},"link":{"target":"bin/run","#,
        r#""type":"symlink"}},"type":"directory"},"version":1}"#
    );
    let listing = Listing::parse(old.as_bytes()).unwrap();
    assert_eq!(Listing::parse(new.as_bytes()).unwrap(), listing);

    assert_eq!(listing.lookup("Z"), Some(&regular(8, false, 232)));
    for path in ["bin/run", "/bin/run", "bin//run/"] {
        assert_eq!(listing.lookup(path), Some(&regular(10, true, 792)), "{path}");
        assert_eq!(listing.resolve(path, &own()), Ok(&regular(10, true, 792)), "{path}");
    }
    assert_eq!(listing.lookup("link"), Some(&Node::Symlink { target: "bin/run".into() }));
    assert_eq!(listing.resolve("link", &own()), Ok(&regular(10, true, 792)));
    for path in ["", "/", "//"] {
        assert_eq!(listing.lookup(path), Some(listing.root()));
    }
    for path in ["z", "bin/ru", "bin/run/x", "link/x", "bin/../Z", "./Z", "a", "bin\0"] {
        assert_eq!(listing.lookup(path), None, "{path}");
    }
    let Node::Directory(entries) = listing.root() else { panic!() };
    let names: Vec<_> = entries.iter().map(|(name, _)| name).collect();
    assert_eq!(
        (names.as_slice(), entries.len(), entries.is_empty()),
        (&["Z", "a.b", "bin", "empty", "link"][..], 5, false)
    );
}

fn own() -> StorePath {
    StorePath::parse(OWN).unwrap()
}

#[test]
fn symlinks() {
    let tree = Tree::directory([
        ("abs", Tree::symlink(format!("/nix/store/{OWN}/dir/file"))),
        ("abs-dots", Tree::symlink(format!("/nix/store/{OWN}/dir/../dir/./file"))),
        ("abs-out", Tree::symlink("/nix/store/5cil4z0s59ii1splw7bhxf230bfdxfq5-xy/dir/file")),
        ("abs-root", Tree::symlink(format!("/nix/store/{OWN}"))),
        ("abs-up", Tree::symlink(format!("/nix/store/{OWN}/../x"))),
        ("circle-a", Tree::symlink("circle-b")),
        ("circle-b", Tree::symlink("./circle-a")),
        (
            "dir",
            Tree::directory([
                ("back", Tree::symlink("..")),
                ("file", Tree::file("abc")),
                ("here", Tree::symlink(".")),
                ("out", Tree::symlink("../../x")),
                ("side", Tree::symlink("../other/file")),
                ("up", Tree::symlink("../to-dir/file")),
            ]),
        ),
        ("etc", Tree::symlink("/etc/passwd")),
        ("gone", Tree::symlink("nowhere")),
        ("other", Tree::directory([("file", Tree::executable("abcd"))])),
        ("self", Tree::symlink("self/x")),
        ("through-file", Tree::symlink("dir/file/..")),
        ("to-dir", Tree::symlink("dir")),
    ]);
    let listing = listing(&tree);
    let size = |path: &str| match listing.resolve(path, &own())? {
        Node::Regular { size, .. } => Ok(*size),
        Node::Directory(entries) => Ok(100 + entries.len() as u64),
        Node::Symlink { .. } => panic!("{path}"),
    };
    for path in [
        "dir/file",
        "./dir/./file",
        "dir/../dir/file",
        "abs",
        "abs-dots",
        "abs-root/abs-root/dir/file",
        "to-dir/file",
        "dir/up",
        "dir/here/here/file",
        "dir/back/to-dir/up",
        "to-dir/../dir/file",
    ] {
        assert_eq!(size(path), Ok(3), "{path}");
    }
    assert_eq!(size("dir/side"), Ok(4));
    assert_eq!((size("to-dir"), size("dir/back"), size("")), (Ok(106), Ok(114), Ok(114)));
    for path in ["..", "dir/../..", "../x", "abs-out", "abs-up", "dir/out", "etc", "etc/x", "dir/back/.."] {
        assert_eq!(size(path), Err(ResolveError::Outside), "{path}");
    }
    for path in ["gone", "gone/..", "dir/file/..", "dir/file/.", "dir/file/x", "through-file", "x/../dir"] {
        assert_eq!(size(path), Err(ResolveError::NotFound), "{path}");
    }
    for path in ["circle-a", "self", "circle-b/x"] {
        assert_eq!(size(path), Err(ResolveError::TooManyHops), "{path}");
    }
    // The same object at another path.
    let other = StorePath::parse(&format!("{OWN}y")).unwrap();
    assert_eq!(listing.resolve("abs", &other), Err(ResolveError::Outside));
}

#[test]
fn most_hops() {
    let chain = |hops: usize| {
        let links = (0..hops).map(|link| (format!("{link:03}"), Tree::symlink(format!("{:03}", link + 1))));
        listing(&Tree::directory(links.chain([(format!("{hops:03}"), Tree::file("abc"))])))
    };
    assert!(chain(MAX_HOPS).resolve("000", &own()).is_ok());
    assert_eq!(chain(MAX_HOPS + 1).resolve("000", &own()), Err(ResolveError::TooManyHops));
}

#[test]
fn roots() {
    let file = listing(&Tree::executable("abc"));
    assert_eq!(file.resolve("", &own()), Ok(file.root()));
    assert_eq!(file.lookup(""), Some(file.root()));
    for path in ["x", "..", "."] {
        assert_eq!(file.resolve(path, &own()), Err(ResolveError::NotFound), "{path}");
    }
    assert!(matches!(listing(&Tree::symlink([0xff; 4095])).root(), Node::Symlink { .. }));
    let link = |target: &str| listing(&Tree::symlink(target)).resolve("", &own()).map(drop);
    // Beside the root lie other store objects.
    assert_eq!(link("x"), Err(ResolveError::Outside));
    assert_eq!(link("/nix/store"), Err(ResolveError::Outside));
    assert_eq!(link(&format!("/nix/store/{OWN}")), Err(ResolveError::TooManyHops));
}

#[test]
fn malformed_listings() {
    let file = r#"{"type":"regular","size":1,"narOffset":96}"#;
    let directory = |entries: &str| format!(r#"{{"version":1,"root":{{"type":"directory","entries":{{{entries}}}}}}}"#);
    assert!(Listing::parse(directory(&format!(r#""a":{file}"#)).as_bytes()).is_ok());
    let long = "n".repeat(256);
    for json in [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        r#"{"version":1}"#.to_owned(),
        format!(r#"{{"root":{file}}}"#),
        format!(r#"{{"version":"1","root":{file}}}"#),
        format!(r#"{{"version":1,"root":{file}}} x"#),
        directory(&format!(r#""":{file}"#)),
        directory(&format!(r#"".":{file}"#)),
        directory(&format!(r#""..":{file}"#)),
        directory(&format!(r#""a/b":{file}"#)),
        directory(&format!(r#""a\u0000":{file}"#)),
        directory(&format!(r#""{long}":{file}"#)),
        directory(&format!(r#""a":{file},"b":{file},"a":{file}"#)),
        directory(r#""a":{}"#),
        directory(r#""a":{"type":"fifo"}"#),
        directory(r#""a":{"type":"directory"}"#),
        directory(r#""a":{"type":"directory","entries":[]}"#),
        directory(r#""a":{"type":"regular","size":1}"#),
        directory(r#""a":{"type":"regular","narOffset":1}"#),
        directory(r#""a":{"type":"regular","size":-1,"narOffset":96}"#),
        directory(r#""a":{"type":"regular","size":18446744073709551616,"narOffset":96}"#),
        directory(r#""a":{"type":"symlink"}"#),
        directory(r#""a":{"type":"symlink","target":""}"#),
        directory(r#""a":{"type":"symlink","target":"a\u0000"}"#),
        directory(&format!(r#""a":{{"type":"symlink","target":"{}"}}"#, "n".repeat(3 * 4095 + 1))),
    ] {
        assert!(matches!(Listing::parse(json.as_bytes()), Err(ListingError::Invalid { .. })), "{json}");
    }
    assert!(matches!(Listing::parse(b"{\"version\":1,\"\xff\":1}"), Err(ListingError::Invalid { .. })));
    let version = format!(r#"{{"version":2,"root":{file}}}"#);
    assert_eq!(Listing::parse(version.as_bytes()), Err(ListingError::UnknownVersion { version: 2 }));
    // Unsorted is JSON all the same.
    let unsorted = Listing::parse(directory(&format!(r#""b":{file},"a":{file}"#)).as_bytes()).unwrap();
    assert_eq!(unsorted.lookup("a"), Some(&regular(1, false, 96)));
}

#[test]
fn nesting() {
    // The innermost directory holds a file: 64 levels of nodes, the most that a NAR has.
    assert!(listing(&Tree::nested(63)).lookup(&["d"; 63].join("/")).is_some());
    let json = |levels: usize| {
        let open = r#"{"type":"directory","entries":{"d":"#.repeat(levels);
        format!(r#"{{"version":1,"root":{open}{{"type":"symlink","target":"{{[{{"}}{}}}"#, "}}".repeat(levels))
    };
    assert!(Listing::parse(json(63).as_bytes()).is_ok());
    assert_eq!(Listing::parse(json(64).as_bytes()), Err(ListingError::TooDeep));
    for open in ["[", "{\"a\":", r#"{"root":{"type":"directory","entries":{"a":"#, r#"{"x":{"a":[{"#] {
        assert_eq!(Listing::parse(open.repeat(200_000).as_bytes()), Err(ListingError::TooDeep), "{open}");
    }
    // Brackets inside strings are no nesting.
    let name = "[{\\\"".repeat(50);
    let json = format!(
        r#"{{"version":1,"root":{{"type":"directory","entries":{{"{name}":{{"type":"symlink","target":"x"}}}}}}}}"#
    );
    assert!(Listing::parse(json.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn what_was_written_is_read(tree in any_tree()) {
        let nar = tree.to_nar();
        prop_assert!(is_listing_of(&tree, listing(&tree).root(), &nar, true));
    }

    #[test]
    fn resolving_ends(
        links in prop::collection::vec("(a|b|c|\\.|\\.\\.|/nix/store/5cil4z0s59ii1splw7bhxf230bfdxfq5-x)(/(a|b|c|\\.\\.)){0,3}", 2),
        path in "(a|b|c|\\.\\.)(/(a|b|c|\\.\\.)){0,4}",
    ) {
        let inner = Tree::directory([("a", Tree::file("x")), ("b", Tree::symlink(&links[0]))]);
        let listing = listing(&Tree::directory([("a", inner), ("b", Tree::symlink(&links[1])), ("c", Tree::file(""))]));
        let is_symlink = matches!(listing.resolve(&path, &own()), Ok(Node::Symlink { .. }));
        prop_assert!(!is_symlink);
    }

    #[test]
    fn damaged_listings(tree in any_tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = written(&tree);
        let at = at.index(json.len());
        json[at] = byte;
        let _ = Listing::parse(&json);
    }
}

fn is_listing_of(tree: &Tree, node: &Node, nar: &[u8], root: bool) -> bool {
    match (tree, node) {
        (Tree::File { executable, content }, Node::Regular { size, executable: told, nar_offset }) => {
            told == executable && nar[*nar_offset as usize..][..*size as usize] == **content
        }
        (Tree::Symlink(written), Node::Symlink { target }) => root || target.as_bytes() == written,
        (Tree::Directory(entries), Node::Directory(told)) => {
            let shown = entries.iter().filter(|(name, tree)| {
                let text_target = !matches!(tree, Tree::Symlink(target) if std::str::from_utf8(target).is_err());
                text_target && std::str::from_utf8(name).is_ok()
            });
            shown.clone().count() == told.len()
                && shown.zip(told.iter()).all(|((name, tree), (told, node))| {
                    told.as_bytes() == name && is_listing_of(tree, node, nar, false)
                })
        }
        _ => false,
    }
}
