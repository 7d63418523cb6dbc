//! A cache as a folder: the real Nix reads it, and an import of it gives the same cache again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use iglu_end2end::digest::hash_part;
use iglu_end2end::nix;
use iglu_end2end::s3::S3Server;
use iglu_end2end::scene::Scene;
use iglu_end2end::server::{Server, binary};

use super::{Ended, draft, export, import, key_file, old_key, public, put, signed, substitutes, tree};

/// The file of the storage with this hash.
fn stored(server: &Server, hash: &str) -> PathBuf {
    server.data().join("storage/nar").join(&hash[..2]).join(hash)
}

#[tokio::test]
async fn nix_reads_what_was_exported() {
    let scene = Scene::new(nix::NixRelease::Host).await.unwrap();
    let (top, closure) = nix::chain("export").await.unwrap();
    scene.push("?compression=zstd", &[&top]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (plain, linked) = (folder.path().join("plain"), folder.path().join("linked"));

    let done = export(&scene.server, "main", &plain, &[]).ended_with(0);
    assert_eq!((done.number("paths"), done.number("files"), done.number("skipped")), (3, 3, 0));
    for info in &closure {
        let name = format!("{}.narinfo", hash_part(&info.path));
        let served = scene.get(&name).await.unwrap();
        assert_eq!(fs::read(plain.join(&name)).unwrap(), served.body);
    }
    substitutes(&format!("file://{}", plain.display()), scene.key(), &top, &closure).await;

    // Links are the same to whoever reads.
    let done = export(&scene.server, "main", &linked, &["--link", "--listings"]).ended_with(0);
    assert_eq!(done.number("linked_files"), 3);
    substitutes(&format!("file://{}", linked.display()), scene.key(), &top, &closure).await;
    let without_listings = tree(&linked).into_iter().filter(|(name, _)| !name.ends_with(".ls"));
    assert!(without_listings.eq(tree(&plain)));

    let again = export(&scene.server, "main", &plain, &["--verify"]).ended_with(0);
    assert_eq!((again.number("paths"), again.number("written_paths")), (3, 0));

    // A damaged file is named, and what was exported of it before stays.
    let before = tree(&plain);
    let narinfo = String::from_utf8(before[&format!("{}.narinfo", hash_part(&top))].clone()).unwrap();
    let hash = narinfo.lines().find_map(|line| line.strip_prefix("FileHash: sha256:")).unwrap();
    let file = stored(&scene.server, hash);
    let mut bytes = fs::read(&file).unwrap();
    bytes[10] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    export(&scene.server, "main", &plain, &[]).ended_with(0);
    let other = folder.path().join("other");
    let done = export(&scene.server, "main", &other, &[]).ended_with(2);
    assert_eq!((done.number("paths"), done.number("skipped")), (2, 1));
    assert!(done.why(&top).unwrap().contains("not what they were"));
    assert!(done.errors.contains(&top), "{}", done.errors);
    assert_eq!((tree(&plain) == before, other.join(format!("{}.narinfo", hash_part(&top))).exists()), (true, false));
    assert_eq!(tree(&other).keys().filter(|name| name.contains("partial")).count(), 0);
}

#[tokio::test]
async fn exported_and_imported_again_it_is_the_same_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (old, key) = (folder.path().join("old"), key_file(folder.path()));
    let leaf = signed(draft("leaf", 1, &[]).await);
    let top = signed(draft("top", 2, &[&leaf.path]).await);
    put(&old, &leaf);
    put(&old, &top);
    fs::create_dir(old.join("log")).unwrap();
    fs::write(old.join("log/0c5b8vw40dy178xlpddw65q9gf1h2186-a.drv"), "building\n").unwrap();
    let make = ["--create", "--visibility", "public", "--signing-key-file", &key];

    // From a folder into a bucket, out of it, into a folder, out of it.
    let s3 = S3Server::s3s_fs().await.unwrap();
    let in_bucket = |args: &[&str]| {
        let mut command = Command::new(binary().unwrap());
        command.args(args).arg("--json").arg("--data").arg(folder.path().join("in-bucket"));
        command.args(["--storage", &format!("s3://{}/iglu", s3.bucket()), "--s3-endpoint", &s3.endpoint()]);
        command.env("IGLU_S3_ACCESS_KEY_ID", s3.access_key()).env("IGLU_S3_SECRET_ACCESS_KEY", s3.secret_key());
        Ended::of(command.output().unwrap())
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    in_bucket(&[&["import", "main", "--from", &text(&old)], &make[..]].concat()).ended_with(0);
    let done = in_bucket(&["export", "main", &text(&first)]).ended_with(0);
    assert_eq!((done.number("paths"), done.number("logs")), (2, 1));

    let server = Server::start().await.unwrap();
    import(&server, "main", &text(&first), &make).ended_with(0);
    assert_eq!(server.cache_show("main").unwrap().public_keys, [public(&old_key())]);
    export(&server, "main", &second, &[]).ended_with(0);
    let exported = tree(&first);
    assert_eq!(tree(&second), exported);
    // Narinfos, NAR files, a log, and the priority of the first.
    assert_eq!(exported.len(), 6);
    assert!(String::from_utf8_lossy(&exported["nix-cache-info"]).contains("Priority: 33"));
    for draft in [&leaf, &top] {
        let narinfo = String::from_utf8(exported[&format!("{}.narinfo", draft.hash())].clone()).unwrap();
        assert_eq!(narinfo, draft.narinfo.text());
        assert_eq!(exported[&draft.url], draft.file);
    }

    let wrong = folder.path().join("wrong");
    fs::create_dir(&wrong).unwrap();
    fs::write(wrong.join("letter"), "dear").unwrap();
    let refused = export(&server, "main", &wrong, &[]).ended_with(1);
    assert!(refused.errors.contains("something else than a binary cache"), "{}", refused.errors);
}
