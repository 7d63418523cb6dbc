//! Every node of a listing that is read is found under its path, and following symlinks ends at a file or directory.
//!
//! The input is a path, a line end and the listing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix_compat::StorePath;
use nix_compat::nar_listing::{Listing, Node};

fn visit(listing: &Listing, path: &mut String, node: &Node, own: &StorePath, depth: usize) {
    assert!(depth < 64);
    assert!(listing.lookup(path).is_some_and(|found| std::ptr::eq(found, node)));
    match node {
        Node::Directory(entries) => {
            let len = path.len();
            for (name, node) in entries.iter() {
                path.push('/');
                path.push_str(name);
                visit(listing, path, node, own, depth + 1);
                path.truncate(len);
            }
        }
        Node::Symlink { .. } => {
            assert!(!matches!(listing.resolve(path, own), Ok(Node::Symlink { .. })));
        }
        Node::Regular { .. } => {
            assert!(listing.resolve(path, own).is_ok_and(|found| std::ptr::eq(found, node)));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else { return };
    let (path, json) = (&input[..end], &input[end + 1..]);
    let Ok(listing) = Listing::parse(json) else { return };
    let Ok(own) = StorePath::parse("00000000000000000000000000000000-x") else { return };
    visit(&listing, &mut String::new(), listing.root(), &own, 0);
    if let Ok(path) = std::str::from_utf8(path) {
        let found = listing.lookup(path);
        let resolved = listing.resolve(path, &own);
        assert!(!matches!(resolved, Ok(Node::Symlink { .. })));
        // Without symlinks both lead to the same.
        if let Some(found) = found.filter(|found| !matches!(found, Node::Symlink { .. })) {
            assert!(resolved.is_ok_and(|resolved| std::ptr::eq(resolved, found)));
        }
    }
});
