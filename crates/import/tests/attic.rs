//! What is read of attic servers, by stores that are written as attic writes them.

#![allow(clippy::unwrap_used)]

mod support;

use iglu_end2end::{
    attic_store::{AtticStore, Stored},
    nar,
    object::Object,
};
use iglu_import::{Access, Extent, Location, Source};
use nix_compat::{compression::Compression, signing::SigningKey};
use std::fs;
use support::{nar as whole_nar, postgres::Postgres, read, why_no_nar};

fn key() -> SigningKey {
    SigningKey::from_seed("main", [7; 32]).unwrap()
}

fn object(name: &str, size: usize) -> Object {
    let text: String = (0..size / 8).map(|n| format!("{n:07} ")).collect();
    Object::bytes(name, 1, nar::archive(&nar::regular(text.as_bytes())))
}

async fn open(store: &AtticStore) -> Source {
    let location = Location::Attic { database: store.database(), storage: store.storage().display().to_string() };
    Source::open(&location, &Access::default()).await.unwrap()
}

fn base_name(object: &Object) -> &str {
    iglu_end2end::digest::base_name(&object.path)
}

/// The same on both engines: caches with keys, paths in one chunk and in several, and everything that can be wrong.
async fn everything(store: AtticStore) {
    let main = store.cache("main", &key().to_secret_text(), true).await.unwrap();
    let other = store.cache("other", "nonsense", false).await.unwrap();
    let gone = store.cache("gone", &key().to_secret_text(), true).await.unwrap();
    store.cache("guix", &key().to_secret_text(), true).await.unwrap();
    store.execute("UPDATE cache SET store_dir = '/gnu/store' WHERE name = 'guix'").await.unwrap();
    store.execute("UPDATE cache SET retention_period = 3600 WHERE name = 'main'").await.unwrap();
    store.execute("UPDATE cache SET deleted_at = CURRENT_TIMESTAMP WHERE name = 'gone'").await.unwrap();

    let small = object("small", 800).signed("me-1:nonsense");
    let signature = key().sign("something").to_string();
    let large = object("large", 300_000).referring_to(&small.path).signed(&signature);
    let (one, mixed, empty_log) = (object("one", 4000), object("mixed", 90_000), object("brotli", 50_000));
    store.push(main, &small, "zstd", None).await.unwrap();
    let large_stored = store.push(main, &large, "zstd", Some(64 * 1024)).await.unwrap();
    // More chunks than one page of rows.
    let many = object("many", 30_000);
    let many_stored = store.push(main, &many, "none", Some(50)).await.unwrap();
    assert!(many_stored.files.len() > 512);
    store.push(main, &one, "br", None).await.unwrap();
    let brotli_stored = store.push(main, &empty_log, "br", Some(20_000)).await.unwrap();
    let mixed_stored = store.push(main, &mixed, "xz", Some(40_000)).await.unwrap();
    // attic packs new chunks by new settings and uses old ones again.
    let repacked = store.push(other, &object("repacked", 90_000), "zstd", Some(40_000)).await.unwrap();
    store
        .execute(&format!(
            "UPDATE chunkref SET chunk_id = (SELECT chunk_id FROM chunkref WHERE nar_id = {} AND seq = 1) \
             WHERE nar_id = {} AND seq = 1",
            repacked.nar, mixed_stored.nar
        ))
        .await
        .unwrap();
    store.push(gone, &object("of-the-deleted", 80), "zstd", None).await.unwrap();
    // Files of a server that never sorted them into folders.
    let flat = object("flat", 6_000);
    let flat_stored = store.push(main, &flat, "xz", None).await.unwrap();
    fs::rename(&flat_stored.files[0], store.storage().join(flat_stored.files[0].file_name().unwrap())).unwrap();

    let broken = break_things(&store, main).await;

    let source = open(&store).await;
    let found = source.caches().await.unwrap();
    let names: Vec<&str> = found.caches.iter().map(|cache| cache.name.as_str()).collect();
    assert_eq!(names, ["main", "other"]);
    let left_out: Vec<&str> = found.left_out.iter().map(|broken| broken.what.as_str()).collect();
    assert_eq!(left_out, ["signing key of cache other", "cache gone", "cache guix"]);
    let cache = &found.caches[0];
    assert_eq!((cache.is_public, cache.priority, cache.retention_seconds), (Some(true), Some(41), Some(3600)));
    assert_eq!(cache.upstream_key_names, ["cache.nixos.org-1"]);
    assert_eq!(*cache.signing_keys[0].to_secret_text(), *key().to_secret_text());
    assert_eq!((found.caches[1].is_public, found.caches[1].signing_keys.len()), (Some(false), 0));

    let (paths, bad) = read(source.paths(cache, Vec::new()).await.unwrap()).await;
    assert_eq!(cache.paths, Some((paths.len() + bad.len()) as u64));
    assert!(paths.values().all(|path| path.total == cache.paths));

    let small_path = &paths[base_name(&small)];
    assert_eq!(small_path.narinfo.compression, Compression::Zstd);
    assert!(small_path.narinfo.file_hash.is_some() && small_path.narinfo.file_size.is_some());
    assert_eq!(small_path.narinfo.malformed_signatures, ["me-1:nonsense"]);
    whole_nar(&source, small_path).await;

    let large_path = &paths[base_name(&large)];
    assert_eq!(large_path.narinfo.references, std::slice::from_ref(&small_path.narinfo.store_path));
    assert_eq!(large_path.narinfo.signatures[0].to_string(), signature);
    assert_eq!((large_path.narinfo.compression, large_path.narinfo.file_hash), (Compression::Zstd, None));
    assert_eq!(whole_nar(&source, large_path).await, large_stored.bytes);

    assert_eq!(whole_nar(&source, &paths[base_name(&many)]).await, many_stored.bytes);
    assert_eq!(paths[base_name(&one)].narinfo.compression, Compression::Brotli);
    whole_nar(&source, &paths[base_name(&one)]).await;
    assert_eq!(whole_nar(&source, &paths[base_name(&empty_log)]).await, brotli_stored.bytes);
    assert_eq!(whole_nar(&source, &paths[base_name(&mixed)]).await, mixed_stored.bytes);
    assert_eq!(whole_nar(&source, &paths[base_name(&flat)]).await, flat_stored.bytes);

    for (object, why) in &broken.listed {
        let found = bad.get(&object.path).unwrap_or_else(|| panic!("{} is not told as broken", object.path));
        assert!(found.why.contains(why) && found.extent == Extent::One, "{found}");
    }
    assert_eq!(bad.len(), broken.listed.len(), "{bad:?}");
    for (object, why) in &broken.read {
        let found = why_no_nar(&source, &paths[base_name(object)]).await;
        assert!(found.contains(why) && found.contains(&object.path), "{found}");
    }
    assert_eq!(paths.len(), 7 + broken.read.len());
}

/// Paths that cannot be had, each with words of the reason.
struct Spoiled {
    /// Told when paths are listed.
    listed: Vec<(Object, &'static str)>,
    /// Told when the NAR is read.
    read: Vec<(Object, &'static str)>,
}

async fn break_things(store: &AtticStore, cache: i64) -> Spoiled {
    let mut spoiled = Spoiled { listed: Vec::new(), read: Vec::new() };
    let cut = |stored: &Stored, at: usize| {
        let file = fs::File::options().write(true).open(&stored.files[at]).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    for (seed, name) in (100..).zip([
        "file-gone",
        "first-gone",
        "second-gone",
        "second-short",
        "second-other",
        "second-wrong-size",
        "one-short",
        "unordered",
    ]) {
        let words: String = (0..12_000).map(|n| format!("{name} {n} ")).collect();
        let object = Object::bytes(name, seed, nar::archive(&nar::regular(words.as_bytes())));
        let one = matches!(name, "file-gone" | "one-short");
        let stored = store.push(cache, &object, "zstd", (!one).then_some(70_000)).await.unwrap();
        let why = match name {
            "file-gone" | "first-gone" => {
                fs::remove_file(&stored.files[0]).unwrap();
                "chunk 0: the file "
            }
            "second-gone" => {
                fs::remove_file(&stored.files[1]).unwrap();
                "chunk 1: the file "
            }
            "second-short" => {
                cut(&stored, 1);
                "chunk 1: the file "
            }
            "one-short" => {
                cut(&stored, 0);
                "chunk 0: the file "
            }
            "second-other" => {
                let size = fs::metadata(&stored.files[1]).unwrap().len();
                fs::write(&stored.files[1], vec![b'x'; size as usize]).unwrap();
                "chunk 1 of "
            }
            "second-wrong-size" => {
                let sql = "UPDATE chunk SET chunk_size = chunk_size + 1 WHERE id = \
                     (SELECT chunk_id FROM chunkref WHERE seq = 1 AND nar_id = NAR)";
                store.execute(&sql.replace("NAR", &stored.nar.to_string())).await.unwrap();
                "shorter"
            }
            _ => {
                let sql = format!("UPDATE chunkref SET seq = 7 WHERE seq = 1 AND nar_id = {}", stored.nar);
                store.execute(&sql).await.unwrap();
                "not in order"
            }
        };
        spoiled.read.push((object, why));
    }
    for (seed, (name, sql, why)) in (200..).zip([
        ("nar-gone", "DELETE FROM nar WHERE id = NAR", "not in the database"),
        ("pending", "UPDATE nar SET state = 'P' WHERE id = NAR", "never uploaded"),
        ("deleted", "UPDATE nar SET state = 'D' WHERE id = NAR", "not valid (state D)"),
        ("chunk-null", "UPDATE chunkref SET chunk_id = NULL WHERE nar_id = NAR AND seq = 1", "1 of 2 chunks"),
        (
            "chunk-pending",
            "UPDATE chunk SET state = 'P' WHERE id = (SELECT chunk_id FROM chunkref WHERE nar_id = NAR AND seq = 0)",
            "1 of 2 chunks",
        ),
        ("no-chunks", "UPDATE nar SET num_chunks = 0 WHERE id = NAR", "of 0 chunks"),
        ("bad-hash", "UPDATE nar SET nar_hash = 'sha256:xyz' WHERE id = NAR", "NAR hash"),
        ("bad-size", "UPDATE nar SET nar_size = -1 WHERE id = NAR", "NAR size"),
        ("bad-list", "UPDATE object SET \"references\" = 'oh' WHERE nar_id = NAR", "references are no JSON list"),
        ("bad-reference", "UPDATE object SET \"references\" = '[\"oh\"]' WHERE nar_id = NAR", "reference oh"),
        ("elsewhere", "UPDATE object SET store_path_hash = 'elsewhere' WHERE nar_id = NAR", "filed under"),
    ]) {
        let object = Object::bytes(name, seed, nar::archive(&nar::regular(format!("{name} ").repeat(20).as_bytes())));
        let size = object.measure().await.unwrap().1 as usize;
        let stored = store.push(cache, &object, "zstd", Some(size / 2 + 1)).await.unwrap();
        assert_eq!(stored.files.len(), 2);
        store.execute(&sql.replace("NAR", &stored.nar.to_string())).await.unwrap();
        spoiled.listed.push((object, why));
    }
    spoiled
}

#[tokio::test]
async fn a_server_with_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    everything(AtticStore::sqlite(folder.path()).await.unwrap()).await;
}

#[tokio::test]
async fn a_server_with_postgresql() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    everything(AtticStore::postgres(&postgres.url(), folder.path()).await.unwrap()).await;
}

/// Listing goes by pages; none is left out between them, and none comes twice.
#[tokio::test]
async fn more_paths_than_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let store = AtticStore::sqlite(folder.path()).await.unwrap();
    let cache = store.cache("main", &key().to_secret_text(), true).await.unwrap();
    let stored = store.push(cache, &object("first", 80), "none", None).await.unwrap();
    store
        .execute(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) \
             INSERT INTO object (cache_id, nar_id, store_path_hash, store_path, \"references\", sigs, created_at) \
             SELECT {cache}, {}, printf('%032d', i), '/nix/store/' || printf('%032d', i) || '-x', '[]', '[]', 'now' FROM n",
            stored.nar
        ))
        .await
        .unwrap();
    let source = open(&store).await;
    let caches = source.caches().await.unwrap().caches;
    let (paths, bad) = read(source.paths(&caches[0], Vec::new()).await.unwrap()).await;
    assert_eq!((paths.len(), bad.len(), caches[0].paths), (1201, 0, Some(1201)));
}

#[tokio::test]
async fn an_old_server_without_later_columns() {
    let folder = tempfile::tempdir().unwrap();
    let store = AtticStore::sqlite(folder.path()).await.unwrap();
    for column in
        ["object DROP COLUMN created_by", "object DROP COLUMN last_accessed_at", "nar DROP COLUMN completeness_hint"]
    {
        store.execute(&format!("ALTER TABLE {column}")).await.unwrap();
    }
    let cache = store.cache("main", &key().to_secret_text(), true).await;
    cache.unwrap();
    store.execute("ALTER TABLE cache DROP COLUMN retention_period").await.unwrap();
    let caches = open(&store).await.caches().await.unwrap().caches;
    assert_eq!((caches.len(), caches[0].retention_seconds), (1, None));
}

#[tokio::test]
async fn what_is_no_attic_server_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = AtticStore::sqlite(folder.path()).await.unwrap();
    let storage = store.storage().display().to_string();
    let refused = async |database: String, storage: String| {
        let opened = Source::open(&Location::Attic { database, storage }, &Access::default()).await;
        opened.expect_err("it opened").to_string()
    };
    let absent = folder.path().join("absent").display().to_string();
    assert!(refused(absent.clone(), storage.clone()).await.contains("absent"));
    assert!(refused(store.database(), absent.clone()).await.contains("absent"));
    assert!(!folder.path().join("absent").exists(), "reading made a file");
    assert!(refused("mysql://me:hush@h/x".to_owned(), storage.clone()).await.contains("not a database"));
    store.execute("DROP TABLE cache").await.unwrap();
    assert!(refused(store.database(), storage).await.contains("not attic's"));
}
