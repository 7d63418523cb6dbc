//! A backup of a running server, restored elsewhere, and served from there.

#![allow(clippy::unwrap_used)]

use http::Method;
use iglu_end2end::{
    cachix::PushOptions,
    http::Credentials,
    object::Object,
    server::{Scope, Server, binary},
};
use nix_compat::signing::{Signature, VerifyingKey};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Runs `iglu` over a data folder.
fn iglu(data: &Path, args: &[&OsStr]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(args).arg("--data").arg(data).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy_folder(&entry.path(), &target) } else { drop(fs::copy(entry.path(), target)) }
    }
}

/// Any stored NAR file.
fn a_nar_file(storage: &Path) -> PathBuf {
    let folders = fs::read_dir(storage.join("nar")).unwrap().map(|entry| entry.unwrap().path());
    folders.flat_map(|folder| fs::read_dir(folder).unwrap()).next().unwrap().unwrap().path()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_restored_elsewhere() {
    let first = Server::start().await.unwrap();
    let key = VerifyingKey::parse(&first.cache("main", true).unwrap().public_keys[0]).unwrap();
    let token = first.token("main", Scope::Push).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("backup");

    // One path after the other, all the while. Hashes of those that were confirmed.
    let (stop, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let pusher = tokio::spawn({
        let (client, stop, confirmed) = (first.cachix(Some(&token)), stop.clone(), confirmed.clone());
        async move {
            for seed in 0.. {
                let object = Object::synthetic("kept", 50_000, seed);
                client.push("main", std::slice::from_ref(&object), &PushOptions::default()).await.unwrap();
                confirmed.lock().unwrap().push(object.hash().to_owned());
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    });
    let count = || confirmed.lock().unwrap().len();
    until("nothing is pushed", || count() >= 5).await;
    let before = confirmed.lock().unwrap().clone();
    let output = tokio::task::block_in_place(|| iglu(first.data(), &["backup".as_ref(), made.as_ref()]));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("master.key"), "it says what else to keep: {}", said(&output));
    let after = count();
    until("pushes ended with the backup", || count() > after + 1).await;
    stop.store(true, Ordering::Relaxed);
    pusher.await.unwrap();

    // Elsewhere: a server that ran once, and was killed.
    let mut second = Server::start().await.unwrap();
    let restore = |data: &Path| iglu(data, &["restore".as_ref(), made.as_ref(), "--json".as_ref()]);
    let refused = restore(second.data());
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("is in use; stop the server first"), "{}", said(&refused));
    second.kill().unwrap();
    fs::copy(first.data().join("master.key"), second.data().join("master.key")).unwrap();

    // The objects come after the database; at first all that the backup names are missing.
    let storage = second.data().join("storage");
    let third = folder.path().join("third");
    let lacking = restore(&third);
    assert_eq!(lacking.status.code(), Some(2), "{}", said(&lacking));
    let told: serde_json::Value = serde_json::from_slice(&lacking.stdout).unwrap();
    assert_eq!(told["objects"]["missing"], told["backup"]["objects"]["count"]);
    assert!(!third.join("master.key").exists(), "a new key would not open what is sealed");
    copy_folder(&first.data().join("storage"), &storage);
    let whole = restore(second.data());
    assert_eq!(whole.status.code(), Some(0), "{}", said(&whole));
    let told: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    let rows = told["backup"]["tables"]["store_path"].as_u64().unwrap();
    assert!(rows >= before.len() as u64 && rows < count() as u64, "{rows} paths");
    let refused = restore(second.data());
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("the database is not empty, it has rows in "), "{}", said(&refused));

    second.launch(&[]).unwrap();
    second.answers("serving").await.unwrap();
    let reader = second.putter("main", &token);
    let mut pulled = 0;
    let all = confirmed.lock().unwrap().clone();
    for hash in all {
        let Some(narinfo) = reader.narinfo(&hash).await.unwrap() else {
            assert!(!before.contains(&hash), "{hash} was there before the backup and is lost");
            continue;
        };
        reader.check(&narinfo).await.unwrap();
        let field = |name: &str| narinfo.get(name).unwrap();
        let text = format!("1;{};{};{};", field("StorePath"), field("NarHash"), field("NarSize"));
        assert!(key.verify(&text, &Signature::parse(field("Sig")).unwrap()), "{narinfo:?}");
        pulled += 1;
    }
    assert_eq!(pulled, rows);
    // The storage came with the mark of the first, which may still be in use: it is read, and nothing else.
    let object = Object::synthetic("new", 50_000, 1_000_000);
    let begin = format!("{}/api/v1/cache/main/multipart-nar?compression=zst", second.url());
    let refused = second.http().call(Method::POST, &begin, &Credentials::Bearer(token.clone()), &[], "").await.unwrap();
    assert!(refused.status == 503 && refused.text().contains("storage is not available"), "{}", refused.text());
    let status = said(&second.run(&["storage", "status"]).unwrap());
    assert!(status.contains("holds files of another database"), "{status}");
    assert!(second.run(&["storage", "adopt"]).unwrap().status.success());
    second.answers("ready").await.unwrap();
    second.cachix(Some(&token)).push("main", std::slice::from_ref(&object), &PushOptions::default()).await.unwrap();
    reader.check(&reader.narinfo(object.hash()).await.unwrap().unwrap()).await.unwrap();
    let nobody = second.http().get(&format!("{}/main/{}.narinfo", second.url(), object.hash())).await.unwrap();
    assert_eq!(nobody.status, 401, "the cache is still private");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_told() {
    let mut server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    let client = server.cachix(Some(&server.token("main", Scope::Push).unwrap()));
    for seed in 0..3 {
        let object = Object::synthetic("kept", 10_000, seed);
        client.push("main", std::slice::from_ref(&object), &PushOptions::default()).await.unwrap();
    }
    // What a killed server leaves is backed up too.
    server.kill().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (made, data) = (folder.path().join("backup"), folder.path().join("data"));
    assert!(iglu(server.data(), &["backup".as_ref(), made.as_ref()]).status.success());
    copy_folder(&server.data().join("storage"), &data.join("storage"));
    let lost = a_nar_file(&data.join("storage"));
    fs::remove_file(&lost).unwrap();
    let output = iglu(&data, &["restore".as_ref(), made.as_ref()]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let said = said(&output);
    assert!(said.contains(&format!("nar {} is missing", lost.file_name().unwrap().display())), "{said}");
    assert!(said.contains("iglu check --repair") && said.contains("master.key before starting"), "{said}");
}
