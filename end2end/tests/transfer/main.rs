//! `iglu import` and `iglu export` beside the running server, with caches that the real Nix wrote and reads.

#![allow(clippy::unwrap_used)]

mod export;
mod faults;
mod sources;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use iglu_end2end::nix::{FreshStore, Nix, PathInfo, said};
use iglu_end2end::put::Draft;
use iglu_end2end::scene::ok;
use iglu_end2end::server::Server;
use nix_compat::signing::SigningKey;
use serde_json::Value;

/// The key of the old cache.
pub fn old_key() -> SigningKey {
    SigningKey::from_seed("old.example-1", [7; 32]).unwrap()
}

pub fn public(key: &SigningKey) -> String {
    key.verifying_key().to_string()
}

/// Writes the old cache's secret key into a folder, and gives the file's name.
pub fn key_file(folder: &Path) -> String {
    let file = folder.join("secret-key");
    fs::write(&file, old_key().to_secret_text().as_str()).unwrap();
    file.display().to_string()
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// Its line of JSON; null without one.
    pub report: Value,
    pub errors: String,
}

impl Ended {
    pub fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            report: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn ended_with(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    pub fn number(&self, name: &str) -> u64 {
        self.report[name].as_u64().unwrap_or_else(|| panic!("no number {name}: {self:#?}"))
    }

    /// Why a path was left out, where it was.
    pub fn why(&self, path: &str) -> Option<&str> {
        let named = self.report["skipped_paths"].as_array()?;
        named.iter().find(|named| named["what"] == path)?["why"].as_str()
    }
}

/// `iglu import` into a cache, with a report.
pub fn import(server: &Server, cache: &str, from: &str, more: &[&str]) -> Ended {
    let args = [&["import", cache, "--from", from, "--json"], more].concat();
    Ended::of(server.command(&args).unwrap().output().unwrap())
}

pub fn export(server: &Server, cache: &str, folder: &Path, more: &[&str]) -> Ended {
    let args = [&["export", cache, folder.to_str().unwrap(), "--json"], more].concat();
    Ended::of(server.command(&args).unwrap().output().unwrap())
}

/// Writes a path into a static cache.
pub fn put(folder: &Path, draft: &Draft) {
    fs::create_dir_all(folder.join("nar")).unwrap();
    fs::write(folder.join("nix-cache-info"), "StoreDir: /nix/store\nPriority: 33\n").unwrap();
    fs::write(folder.join(&draft.url), &draft.file).unwrap();
    fs::write(folder.join(format!("{}.narinfo", draft.hash())), draft.narinfo.text()).unwrap();
}

/// The draft with a signature of the old key.
pub fn signed(mut draft: Draft) -> Draft {
    let signature = old_key().sign(&draft.fingerprint()).to_string();
    draft.narinfo = draft.narinfo.and("Sig", &signature);
    draft
}

/// A path whose content is as good as its seed, and mentions what it refers to.
pub async fn draft(name: &str, seed: u64, references: &[&str]) -> Draft {
    let text = format!("{name} {seed}\n{}", references.join("\n")).repeat(40);
    let nar = iglu_end2end::nar::archive(&iglu_end2end::nar::regular(text.as_bytes()));
    Draft::new(name, seed, nar, "zstd", references).await.unwrap()
}

/// Fetches a closure with the real Nix, which trusts this key and no other, and compares every file.
pub async fn substitutes(cache: &str, key: &str, top: &str, closure: &[PathInfo]) {
    let (client, store) = (Nix::new().unwrap(), FreshStore::new().unwrap());
    ok(client.substitute(&store, cache, key, &[top]).await.unwrap()).unwrap();
    store.holds(closure).unwrap();
    ok(client.verify(&store, key, top).await.unwrap()).unwrap();
}

/// Fails to, because nothing that is trusted signed it.
pub async fn substitutes_not(cache: &str, key: &str, top: &str) {
    let (client, store) = (Nix::new().unwrap(), FreshStore::new().unwrap());
    let output = client.substitute(&store, cache, key, &[top]).await.unwrap();
    assert!(!output.status.success(), "{}", said(&output));
}

/// Every file below a folder.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} did not happen within 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn status(server: &Server, name: &str) -> u16 {
    server.http().get(&format!("{}/{name}", server.url())).await.unwrap().status.as_u16()
}
