//! Paths from other caches, and caches as folders.

use super::*;
use crate::{
    Error,
    export::{ExportSettings, Exported, Listener},
    push::Present,
};
use nix_compat::signing::{Signature, SigningKey};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
};

on_both! {
    paths_are_taken_over_in_any_order
    what_is_not_true_is_not_taken_over
    signatures_are_gained_without_bytes
    a_cache_becomes_a_folder
}

const OPERATOR: Caller = Caller::Operator;

fn old_key() -> SigningKey {
    SigningKey::from_seed("old-1", [7; 32]).unwrap()
}

/// What the old cache says of a thing.
fn told(thing: &Thing) -> NarInfo {
    let Claim { store_path, nar_hash, nar_size, file_hash, references, .. } = thing.claim.clone();
    let mut narinfo = NarInfo::new(store_path, "nar/anything", Compression::None, nar_hash, nar_size);
    (narinfo.file_hash, narinfo.file_size, narinfo.references) = (file_hash, Some(nar_size), references);
    narinfo.signatures = vec![old_key().sign(&narinfo.fingerprint())];
    narinfo
}

fn names(narinfo: &NarInfo) -> Vec<&str> {
    narinfo.signatures.iter().map(|signature| signature.key_name.as_str()).collect()
}

async fn paths_are_taken_over_in_any_order(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let server = home.beside().await;
    let cache = core.cache_remembered("main").unwrap();
    let (leaf, top, lost) = (thing("leaf", &[]), thing("top", &["leaf"]), thing("lost", &["top", "gone"]));
    assert!(narinfo(&server, "main", &top.claim.store_path).await.is_none());

    let import = async |thing: &Thing| {
        assert_eq!(core.push().present(&cache, &told(thing)).await.unwrap(), None);
        core.push().import(&OPERATOR, &cache, &told(thing), body(&thing.nar)).await.unwrap()
    };
    assert_eq!(import(&top).await, Published::New { visible: false });
    assert_eq!(import(&lost).await, Published::New { visible: false });
    let (count, held) = core.push().held(&cache, 10).await.unwrap();
    let mut held: Vec<_> = held.iter().map(|held| (held.path.name(), held.absent.as_ref().map(|p| p.name()))).collect();
    held.sort();
    assert_eq!((count, held), (2, vec![("lost", Some("gone")), ("top", Some("leaf"))]));
    assert_eq!(import(&leaf).await, Published::New { visible: true });
    let (count, held) = core.push().held(&cache, 0).await.unwrap();
    assert_eq!((count, held.len()), (1, 0));

    // Both signatures, and a server that believed the path absent is told. Where many may push, none believes that.
    let here = narinfo(core, "main", &top.claim.store_path).await.unwrap();
    assert_eq!(names(&here), ["main.127.0.0.1-1", "old-1"]);
    assert!(core.is_shared() || narinfo(&server, "main", &top.claim.store_path).await.is_none());
    core.servers_tell().await.unwrap();
    Reconciler::DirectoryRefresh.tick(&server).await.unwrap();
    assert_eq!(narinfo(&server, "main", &top.claim.store_path).await, Some(here));
    assert_eq!((home.stored_files(), home.staged_files()), (3, 0));
}

async fn what_is_not_true_is_not_taken_over(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    core.key().import(&OPERATOR, "main", &old_key().to_secret_text()).await.unwrap();
    let cache = core.cache_remembered("main").unwrap();
    let (one, other) = (thing("one", &[]), thing("another-one-that-is-longer", &[]));
    let refused =
        async |narinfo: &NarInfo, nar: &[u8]| refusal(core.push().import(&OPERATOR, &cache, narinfo, body(nar)).await);
    let mut wrong = told(&one);
    wrong.file_hash = other.claim.file_hash;
    assert!(refused(&wrong, &one.nar).await.starts_with("file hash of"));
    assert!(refused(&told(&one), &other.nar).await.starts_with("file size of"));
    let mut wrong = told(&one);
    wrong.signatures = vec![Signature { key_name: "old-1".to_owned(), bytes: [1; 64] }];
    assert!(refused(&wrong, &one.nar).await.starts_with("signature by old-1 is wrong"));
    for compression in [Compression::Lzip, Compression::Lz4, Compression::Lzma] {
        let mut wrong = told(&one);
        wrong.compression = compression;
        assert!(refused(&wrong, b"").await.contains(&format!("compression {compression} of")));
    }
    let (mut endless, padded) = (told(&one), vec![0; 100_000]);
    (endless.file_hash, endless.file_size) = (None, None);
    assert!(refused(&endless, &padded).await.contains("is padded: more than"));
    let broken = futures_util::stream::iter([Err(Error::Interrupted("it broke".to_owned()))]);
    assert_eq!(refusal(core.push().import(&OPERATOR, &cache, &told(&one), broken).await), "it broke");
    assert_eq!((home.stored_files(), home.staged_files()), (0, 0));

    // Without a word about the file, it is what comes.
    let published = core.push().import(&OPERATOR, &cache, &endless, body(&one.nar)).await.unwrap();
    assert_eq!(published, Published::New { visible: true });
    assert_eq!(narinfo(core, "main", &one.claim.store_path).await.unwrap().file_hash, one.claim.file_hash);
}

async fn signatures_are_gained_without_bytes(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let one = thing("one", &[]);
    push(core, &OPERATOR, "main", &one).await.unwrap();
    assert_eq!(names(&narinfo(core, "main", &one.claim.store_path).await.unwrap()), ["main.127.0.0.1-1"]);
    let gained = Present { is_same: true, gained: true };
    assert_eq!(core.push().present(&cache, &told(&one)).await.unwrap(), Some(gained));
    assert_eq!(names(&narinfo(core, "main", &one.claim.store_path).await.unwrap()), ["main.127.0.0.1-1", "old-1"]);
    assert_eq!(core.push().present(&cache, &told(&one)).await.unwrap(), Some(Present { gained: false, ..gained }));

    // Signatures of another content are no signatures of this one.
    let mut other = told(&one);
    other.nar_hash = Sha256::digest(b"other");
    other.signatures = vec![SigningKey::from_seed("third-1", [8; 32]).unwrap().sign(&other.fingerprint())];
    let differs = Present { is_same: false, gained: false };
    assert_eq!(core.push().present(&cache, &other).await.unwrap(), Some(differs));
    assert_eq!(names(&narinfo(core, "main", &one.claim.store_path).await.unwrap()).len(), 2);
}

#[derive(Default)]
struct Heard {
    skipped: Mutex<Vec<String>>,
    most: AtomicU64,
}

impl Listener for Heard {
    fn progress(&self, exported: &Exported, all: u64) {
        assert!(exported.paths <= all);
        self.most.fetch_max(exported.paths, Ordering::Relaxed);
    }

    fn skipped(&self, what: &str, why: &str) {
        self.skipped.lock().unwrap().push(format!("{what}: {why}"));
    }
}

/// Every file below a folder.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

async fn a_cache_becomes_a_folder(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let (leaf, top) = (thing("leaf", &[]), thing("top", &["leaf"]));
    for one in [&leaf, &top] {
        push(core, &OPERATOR, "main", one).await.unwrap();
    }
    push(core, &OPERATOR, "main", &thing("held", &["gone"])).await.unwrap();
    let drv = path_named("top.drv");
    core.build_log().put(&OPERATOR, &cache, &drv, body(b"building\n")).await.unwrap();
    let key = nix_compat::realisation::RealisationKey::parse(&format!("{drv}/out")).unwrap();
    let json = format!(r#"{{"outPath":"{}","signatures":[]}}"#, top.claim.store_path);
    core.realisation().put(&OPERATOR, &cache, &key, json.as_bytes()).await.unwrap();

    let folder = home.folder.path().join("export");
    let heard = Heard::default();
    let export = async |settings: ExportSettings| core.export().to_folder(&cache, &folder, settings, &heard).await;
    let plain = ExportSettings::default();
    let first = export(plain).await.unwrap();
    assert_eq!((first.paths, first.written_paths, first.files, first.logs, first.realisations), (2, 2, 2, 1, 1));
    let files = tree(&folder);
    assert_eq!(files["nix-cache-info"], b"StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 41\n");
    assert_eq!(files[&format!("log/{drv}")], b"building\n");
    assert!(files.contains_key(&format!("build-trace-v2/{drv}/out.doi")));
    for one in [&leaf, &top] {
        let hash = one.claim.store_path.hash();
        let rendered = core.path().narinfo(&cache, hash).await.unwrap().unwrap();
        assert_eq!(files[&format!("{hash}.narinfo")], rendered.text);
        assert_eq!(files[&NarInfo::parse(&rendered.text).unwrap().url], one.nar);
    }
    assert_eq!(files.len(), 7, "{:?}", files.keys());

    // Again: nothing to do. What was cut short is found, what was changed only when it is looked for.
    let nar = |thing: &Thing| folder.join(format!("nar/{}.nar", thing.claim.file_hash.unwrap().to_nix32()));
    assert_eq!(export(plain).await.unwrap().written_paths, 0);
    fs::write(nar(&leaf), "short").unwrap();
    let mut spoiled = top.nar.clone();
    spoiled[20] ^= 1;
    fs::write(nar(&top), &spoiled).unwrap();
    assert_eq!(export(plain).await.unwrap().files, 1);
    assert_eq!((tree(&folder) == files, fs::read(nar(&top)).unwrap() == spoiled), (false, true));
    assert_eq!(export(ExportSettings { verifies: true, ..plain }).await.unwrap().files, 1);
    assert_eq!(tree(&folder), files);
    assert!(heard.skipped.lock().unwrap().is_empty());

    // What is damaged in the storage is left out, and what is here of it stays.
    let stored = home.folder.path().join("storage/nar");
    let name = top.claim.file_hash.unwrap().to_nix32();
    let stored = stored.join(&name[..2]).join(&name);
    fs::write(&stored, &spoiled).unwrap();
    let other = home.folder.path().join("other");
    let links = ExportSettings { links: true, listings: true, ..plain };
    let second = core.export().to_folder(&cache, &other, links, &heard).await.unwrap();
    assert_eq!((second.paths, second.skipped, second.linked_files), (1, 1, 1));
    let told = heard.skipped.lock().unwrap().remove(0);
    assert!(told.contains("-top: the file's bytes are not what they were"), "{told}");
    assert!(tree(&other).keys().all(|name| !name.contains(&top.claim.store_path.hash().to_string())));
    assert!(tree(&other).contains_key(&format!("{}.ls", leaf.claim.store_path.hash())));
    assert_eq!(
        std::os::unix::fs::MetadataExt::nlink(
            &fs::metadata(other.join(nar(&leaf).strip_prefix(&folder).unwrap())).unwrap()
        ),
        2
    );
    assert_eq!(export(ExportSettings { prunes: true, ..plain }).await.unwrap().pruned, 0);
    fs::write(&stored, &top.nar).unwrap();

    // What the cache has no more goes when asked to; what is not the export's never does.
    let chosen = [top.claim.store_path.hash()];
    core.retention().remove(&OPERATOR, "main", &chosen, false).await.unwrap();
    fs::write(folder.join("README"), "ours").unwrap();
    assert_eq!(export(plain).await.unwrap().paths, 1);
    assert_eq!(tree(&folder).len(), files.len() + 1);
    assert_eq!(export(ExportSettings { prunes: true, ..plain }).await.unwrap().pruned, 2);
    assert_eq!(tree(&folder).len(), files.len() - 1);

    fs::remove_file(folder.join("nix-cache-info")).unwrap();
    assert!(refusal(export(plain).await).contains("something else than a binary cache"));
    let lock = fs::File::open(&other).unwrap();
    lock.lock().unwrap();
    assert!(refusal(core.export().to_folder(&cache, &other, plain, &heard).await).contains("another export"));
}
