//! From every kind of source, until the real Nix fetches with the key that it trusted before.

use std::fs;
use std::path::Path;

use iglu_end2end::attic_store::AtticStore;
use iglu_end2end::digest::hash_part;
use iglu_end2end::nix::{self, Nix};
use iglu_end2end::object::Object;
use iglu_end2end::put::Narinfo;
use iglu_end2end::s3::S3Server;
use iglu_end2end::scene::ok;
use iglu_end2end::server::{Scope, Server};
use iglu_end2end::static_server::StaticServer;
use iglu_end2end::typescript_store::TypescriptStore;
use nix_compat::signing::SigningKey;
use sqlx::SqlitePool;

use super::{draft, eventually, import, key_file, old_key, public, put, status, substitutes, substitutes_not, tree};

/// A static cache with a signed closure, as the real Nix writes it; half of it in another compression.
async fn written_by_nix(folder: &Path, tag: &str) -> (String, Vec<nix::PathInfo>) {
    let (top, closure) = nix::chain(tag).await.unwrap();
    let client = Nix::new().unwrap();
    let key = client.write("secret-key", old_key().to_secret_text().as_bytes()).unwrap();
    let cache = folder.join("old");
    let leaf = closure.iter().find(|info| info.path.contains("-leaf-")).unwrap().path.clone();
    for (compression, path) in [("zstd", &leaf), ("xz", &top)] {
        let url = format!("file://{}?compression={compression}&secret-key={key}", cache.display());
        ok(client.copy_to(&url, &[path]).await.unwrap()).unwrap();
    }
    (top, closure)
}

#[tokio::test]
async fn a_folder_that_nix_wrote_and_a_server_that_believed_it_absent() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (top, closure) = written_by_nix(folder.path(), "import-folder").await;
    let old = folder.path().join("old");
    let old = old.to_str().unwrap();
    server.cache("main", false).unwrap();
    let name = format!("main/{}.narinfo", hash_part(&top));
    eventually("the cache is there", async || status(&server, "main/nix-cache-info").await == 200).await;
    assert_eq!(status(&server, &name).await, 404);
    assert_eq!(status(&server, &name).await, 404, "remembered");

    let done = import(&server, "main", old, &["--signing-key-file", &key_file(folder.path())]).ended_with(0);
    assert_eq!((done.number("imported"), done.number("unsigned"), done.number("held")), (3, 0, 0));
    assert_eq!(done.report["new_keys"], serde_json::json!([public(&old_key())]));
    eventually("the server forgets", async || status(&server, &name).await == 200).await;
    let cache = format!("{}/main", server.url());
    substitutes(&cache, &public(&old_key()), &top, &closure).await;
    let shown = server.cache_show("main").unwrap();
    assert_eq!(shown.public_keys.len(), 2);
    substitutes(&cache, &shown.public_keys[0], &top, &closure).await;

    let again = import(&server, "main", old, &["--signing-key-file", &key_file(folder.path())]).ended_with(0);
    assert_eq!((again.number("imported"), again.number("present"), again.number("bytes")), (0, 3, 0));
    assert_eq!(again.report["new_keys"], serde_json::json!([]));
}

#[tokio::test]
async fn a_web_server_and_a_bucket() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (top, closure) = written_by_nix(folder.path(), "import-web").await;
    let old = folder.path().join("old");
    let key = public(&old_key());
    let key_file = key_file(folder.path());

    let web = StaticServer::start(&old).unwrap();
    let blind = import(&server, "web", &web.url(), &["--create"]).ended_with(1);
    assert!(blind.errors.contains("name those to begin with"), "{}", blind.errors);
    assert!(server.cache_show("web").is_err(), "nothing was made for nothing");
    let roots = folder.path().join("roots");
    fs::write(&roots, format!("\n{top}\n")).unwrap();
    let more = ["--create", "--visibility", "public", "--roots-file", roots.to_str().unwrap(), "--trusted-key", &key];
    let done = import(&server, "web", &web.url(), &more).ended_with(0);
    assert_eq!((done.number("imported"), &done.report["is_complete"]), (3, &true.into()));
    // Nobody gave the key: the signatures came along all the same.
    substitutes(&format!("{}/web", server.url()), &key, &top, &closure).await;

    let s3 = S3Server::s3s_fs().await.unwrap();
    for (name, bytes) in tree(&old) {
        s3.put(&format!("caches/old/{name}"), bytes).await.unwrap();
    }
    let from = format!("s3://{}/caches/old", s3.bucket());
    let args = ["import", "bucket", "--json", "--create", "--visibility", "public", "--from", &from];
    let more = ["--from-s3-endpoint", &s3.endpoint(), "--signing-key-file", &key_file];
    let mut command = server.command(&[&args[..], &more[..]].concat()).unwrap();
    command.env("IGLU_FROM_S3_ACCESS_KEY_ID", s3.access_key()).env("IGLU_FROM_S3_SECRET_ACCESS_KEY", s3.secret_key());
    let done = super::Ended::of(command.output().unwrap()).ended_with(0);
    assert_eq!((done.number("imported"), &done.report["created"]), (3, &true.into()));
    // Made with the old key and no other.
    assert_eq!(server.cache_show("bucket").unwrap().public_keys, [public(&old_key())]);
    substitutes(&format!("{}/bucket", server.url()), &key, &top, &closure).await;
}

#[tokio::test]
async fn an_attic_server_with_its_key() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (top, closure) = nix::chain("import-attic").await.unwrap();
    let store = AtticStore::sqlite(folder.path()).await.unwrap();
    let key = SigningKey::from_seed("ci", [8; 32]).unwrap();
    let ci = store.cache("ci", &key.to_secret_text(), true).await.unwrap();
    let other = store.cache("other", &old_key().to_secret_text(), false).await.unwrap();
    store.execute("UPDATE cache SET retention_period = 100000 WHERE name = 'ci'").await.unwrap();
    for info in &closure {
        // The largest in many pieces.
        let chunk = (info.path == top).then_some(64 << 10);
        store.push(ci, &Object::stored(info), "zstd", chunk).await.unwrap();
    }
    store.push(other, &Object::synthetic("other", 1000, 1), "xz", None).await.unwrap();

    let storage = store.storage().display().to_string();
    let from = ["--from-database", &store.database(), "--from-storage", &storage];
    let unnamed = import(&server, "main", "attic", &[&from[..], &["--create"]].concat()).ended_with(1);
    assert!(unnamed.errors.contains("the caches ci, other; name one"), "{}", unnamed.errors);
    let named = [&from[..], &["--from-cache", "ci"]].concat();
    let absent = import(&server, "main", "attic", &named).ended_with(1);
    assert!(absent.errors.contains("there is no cache \"main\"; --create makes it"), "{}", absent.errors);

    let done = import(&server, "main", "attic", &[&named[..], &["--create"]].concat()).ended_with(0);
    assert_eq!((done.number("imported"), done.number("unsigned")), (3, 3));
    // As it was there: public, with its key, and with the rule for how long paths are kept.
    assert_eq!(server.cache_show("main").unwrap().public_keys, [public(&key)]);
    substitutes(&format!("{}/main", server.url()), &public(&key), &top, &closure).await;
    let info = server.http().get(&format!("{}/main/nix-cache-info", server.url())).await.unwrap().text();
    assert!(info.contains("Priority: 41"), "{info}");
    let database = SqlitePool::connect(&format!("sqlite:{}/iglu.db", server.data().display())).await.unwrap();
    let rules: (Option<i64>, String) =
        sqlx::query_as("SELECT keep_used_days, client_filter_keys FROM cache").fetch_one(&database).await.unwrap();
    assert_eq!(rules, (Some(2), "cache.nixos.org-1".to_owned()), "100000 seconds are more than a day");

    // Into a cache that is there: its key comes along, since machines trust it.
    server.cache("second", true).unwrap();
    let more = [&from[..], &["--from-cache", "other", "--jobs", "1"]].concat();
    import(&server, "second", "attic", &more).ended_with(0);
    assert!(server.cache_show("second").unwrap().public_keys.contains(&public(&old_key())));
    // Another key of the same name cannot.
    store.execute("DELETE FROM object").await.unwrap();
    let wrong = SigningKey::from_seed("old.example-1", [9; 32]).unwrap();
    store.execute(&format!("UPDATE cache SET keypair = '{}'", wrong.to_secret_text().as_str())).await.unwrap();
    let refused = import(&server, "second", "attic", &more).ended_with(1);
    assert!(refused.errors.contains("another key \"old.example-1\""), "{}", refused.errors);
}

#[tokio::test]
async fn an_iglu_of_the_typescript_generation() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (top, closure) = nix::chain("import-typescript").await.unwrap();
    // Its signatures are served under the name of the cache.
    let key = SigningKey::from_seed("main", [9; 32]).unwrap();
    let mut store = TypescriptStore::new(folder.path(), "main", &public(&key)).await.unwrap();
    for (info, compression) in closure.iter().zip(["xz", "zstd", "xz"]) {
        let names: Vec<String> = info.references.iter().map(|name| format!("/nix/store/{name}")).collect();
        let text = format!("1;{};sha256:{};{};{}", info.path, info.nar_hash, info.nar_size, names.join(","));
        store.push(&Object::stored(info).signed(&key.sign(&text).to_string()), compression).await.unwrap();
    }
    let from = ["--from-database", &store.database(), "--from-storage", &store.storage(), "--create"];
    let done = import(&server, "main", "typescript", &from).ended_with(0);
    assert_eq!((done.number("imported"), done.number("unsigned")), (3, 0));
    assert_eq!(done.report["client_keys"], serde_json::json!([public(&key)]));
    let cache = format!("{}/main", server.url());
    substitutes(&cache, &public(&key), &top, &closure).await;
    substitutes(&cache, &server.cache_show("main").unwrap().public_keys[0], &top, &closure).await;
    substitutes_not(&cache, &public(&old_key()), &top).await;
}

#[tokio::test]
async fn another_iglu_and_what_stands_beside_paths() {
    let (theirs, server) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    theirs.cache("main", true).unwrap();
    let putter = theirs.putter("main", &theirs.token("main", Scope::Push).unwrap());
    let leaf = draft("leaf", 1, &[]).await;
    let top = draft("top", 2, &[&leaf.path]).await;
    for draft in [&leaf, &top] {
        putter.push(draft).await.unwrap();
    }
    let from = format!("{}/main", theirs.url());
    let stranger = import(&server, "copy", &from, &["--create"]).ended_with(1);
    assert!(stranger.errors.contains("401"), "{}", stranger.errors);
    let token = folder.path().join("token");
    fs::write(&token, theirs.token("main", Scope::Pull).unwrap() + "\n").unwrap();
    let more = ["--create", "--from-token-file", token.to_str().unwrap()];
    let done = import(&server, "copy", &from, &more).ended_with(0);
    assert_eq!((done.number("imported"), done.number("unsigned")), (2, 0));
    // What nobody said is public is private.
    assert_eq!(status(&server, &format!("copy/{}.narinfo", top.hash())).await, 401);
    let reader = server.putter("copy", &server.token("copy", Scope::Pull).unwrap());
    let plain = |narinfo: Narinfo| narinfo.without("Sig");
    for draft in [&leaf, &top] {
        let (there, here) = (putter.narinfo(draft.hash()).await.unwrap(), reader.narinfo(draft.hash()).await.unwrap());
        let (there, here) = (there.unwrap(), here.unwrap());
        reader.check(&here).await.unwrap();
        assert!(here.all("Sig").contains(&there.get("Sig").unwrap()) && here.all("Sig").len() == 2);
        assert_eq!(plain(here), plain(there));
    }

    // Logs and realisations of a folder.
    let old = folder.path().join("old");
    put(&old, &draft("with-log", 3, &[]).await);
    let (drv, known) = ("0c5b8vw40dy178xlpddw65q9gf1h2186-a.drv", draft("with-log", 3, &[]).await);
    let base = iglu_end2end::digest::base_name(&known.path);
    for (name, content) in [
        (format!("log/{drv}"), "building\n".to_owned()),
        (format!("build-trace-v2/{drv}/out.doi"), format!(r#"{{"outPath":"{base}","signatures":[]}}"#)),
        (format!("build-trace-v2/{drv}/dev.doi"), "nonsense".to_owned()),
        ("log/README".to_owned(), String::new()),
    ] {
        let file = old.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    let done = import(&server, "copy", old.to_str().unwrap(), &[]).ended_with(2);
    assert_eq!(done.report["side_files"], serde_json::json!({ "imported": 2, "present": 0, "skipped": 2 }));
    assert!(done.why("log/README").is_some());
    assert!(done.why(&format!("build-trace-v2/{drv}/dev.doi")).is_some());
    assert_eq!(reader.get(&format!("log/{drv}")).await.unwrap().text(), "building\n");
    assert!(reader.get(&format!("build-trace-v2/{drv}/out.doi")).await.unwrap().text().contains(base));
    let again = import(&server, "copy", old.to_str().unwrap(), &[]).ended_with(2);
    assert_eq!(again.report["side_files"], serde_json::json!({ "imported": 0, "present": 2, "skipped": 2 }));
}
