//! The same questions put to other implementations.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use harmonia_store_core::signature as other_signature;
use harmonia_store_core::store_path as other_path;
use nix_compat::signing::{Signature, SigningKey, VerifyingKey, fingerprint};
use nix_compat::{ContentAddress, Sha256, StorePath, StorePathHash};
use proptest::prelude::*;

use crate::tree::{Tree, text_tree};

fn unpack(tree: &Tree, path: &Path) {
    match tree {
        Tree::File { executable, content } => {
            fs::write(path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(if *executable { 0o755 } else { 0o644 })).unwrap();
        }
        Tree::Symlink(target) => symlink(std::ffi::OsStr::from_bytes(target), path).unwrap(),
        Tree::Directory(entries) => {
            fs::create_dir(path).unwrap();
            for (name, tree) in entries {
                unpack(tree, &path.join(std::ffi::OsStr::from_bytes(name)));
            }
        }
    }
}

/// The tree as nix-nar decodes it.
fn decode(nar: &[u8]) -> Tree {
    let decoder = nix_nar::Decoder::new(nar).unwrap();
    let mut root = None;
    for entry in decoder.entries().unwrap() {
        let entry = entry.unwrap();
        let tree = match entry.content {
            nix_nar::Content::Directory => Tree::directory::<&str>([]),
            nix_nar::Content::Symlink { target } => Tree::symlink(target.as_str()),
            nix_nar::Content::File { executable, mut data, .. } => {
                let mut content = Vec::new();
                data.read_to_end(&mut content).unwrap();
                Tree::File { executable, content }
            }
        };
        match entry.path {
            None => root = Some(tree),
            Some(path) => {
                let mut parent = root.as_mut().unwrap();
                let mut names: Vec<&str> = path.as_str().split('/').collect();
                let last = names.pop().unwrap();
                for name in names {
                    let Tree::Directory(entries) = parent else { panic!("{name} is in no directory") };
                    parent = entries.get_mut(name.as_bytes()).unwrap();
                }
                let Tree::Directory(entries) = parent else { panic!("{last} is in no directory") };
                assert!(entries.insert(last.as_bytes().to_vec(), tree).is_none());
            }
        }
    }
    root.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nar_like_nix_nar(tree in text_tree()) {
        let ours = tree.to_nar();
        prop_assert_eq!(&decode(&ours), &tree);

        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        unpack(&tree, &root);
        let mut theirs = Vec::new();
        nix_nar::Encoder::new(&root).unwrap().read_to_end(&mut theirs).unwrap();
        prop_assert_eq!(Tree::from_nar(&theirs, theirs.chunks(17)).unwrap(), tree);
        prop_assert!(ours == theirs, "encodings differ");
    }
}

const NAME: &str = "[a-zA-Z0-9+_?=][a-zA-Z0-9+_?=.-]{0,40}";

fn theirs(path: &StorePath) -> other_path::StorePath {
    other_path::StorePath::from_base_path(&path.to_string()).unwrap()
}

proptest! {
    #[test]
    fn store_paths_like_harmonia(bytes in any::<[u8; 20]>(), name in NAME, other in ".{0,40}") {
        let ours = StorePath::new(StorePathHash::from_bytes(bytes), &name).unwrap();
        let base_name = ours.to_string();
        let theirs = theirs(&ours);
        prop_assert_eq!(theirs.to_base_path(), base_name.clone());
        prop_assert_eq!(AsRef::<[u8]>::as_ref(theirs.hash()), &bytes[..]);
        // They take names that begin with a dot component, as clients once did.
        let foreign = format!("{}-{other}", &base_name[..32]);
        let ours = StorePath::parse(&foreign).is_ok();
        let dots = other.split('-').next().is_some_and(|first| first == "." || first == "..");
        prop_assert_eq!(ours, !dots && other_path::StorePath::from_base_path(&foreign).is_ok());
    }

    #[test]
    fn content_addressed_paths_like_harmonia(digest in any::<[u8; 32]>(), name in NAME) {
        let sha256 = Sha256::from_bytes(digest);
        let name: other_path::StorePathName = name.parse().unwrap();
        for ours in [
            ContentAddress::Text { sha256 },
            ContentAddress::Fixed { recursive: true, hash: sha256.into() },
        ] {
            let theirs: other_path::ContentAddress = ours.to_string().parse().unwrap();
            prop_assert_eq!(theirs.to_string(), ours.to_string());
            let path = other_path::StoreDir::default().make_store_path_from_ca(name.clone(), theirs);
            prop_assert_eq!(ours.store_path(name.as_ref(), &[], false).unwrap().to_string(), path.to_base_path());
        }
    }

    #[test]
    fn fingerprints_and_signatures_like_harmonia(
        seed in any::<[u8; 32]>(),
        key_name in "[a-z.-]{1,12}",
        own in (any::<[u8; 20]>(), NAME),
        digest in any::<[u8; 32]>(),
        nar_size in any::<u64>(),
        references in prop::collection::vec((any::<[u8; 20]>(), NAME), 0..4),
    ) {
        let path = |(hash, name): (_, String)| StorePath::new(StorePathHash::from_bytes(hash), &name).unwrap();
        let (own, hash) = (path(own), Sha256::from_bytes(digest));
        let references: Vec<_> = references.into_iter().map(path).collect();
        let ours = fingerprint(&own, &hash, nar_size, &references);

        // Their order is that of the hash bytes, not that of the texts: only single references compare.
        if references.len() <= 1 {
            let set: BTreeSet<_> = references.iter().map(theirs).collect();
            let text = hash.to_string();
            let store_dir = other_path::StoreDir::default();
            let theirs =
                other_signature::fingerprint_path(&store_dir, &theirs(&own), text.as_bytes(), nar_size, &set).unwrap();
            prop_assert_eq!(ours.as_bytes(), &theirs[..]);
        }

        let key = SigningKey::from_seed(key_name, seed).unwrap();
        let other_key: other_signature::SecretKey = key.to_secret_text().parse().unwrap();
        let other_public = other_key.to_public_key();
        prop_assert_eq!(other_public.to_string(), key.verifying_key().to_string());
        let signature = key.sign(&ours);
        let other = other_key.sign(&ours);
        prop_assert_eq!(other.to_string(), signature.to_string());
        prop_assert!(other_public.verify(&ours, &other));
        let public = VerifyingKey::parse(&other_public.to_string()).unwrap();
        prop_assert!(public.verify(&ours, &Signature::parse(&other.to_string()).unwrap()));
    }
}
