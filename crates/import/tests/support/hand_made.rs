//! A binary cache made by hand, as a table of files: what is right in it, and one of each thing that can be wrong.

use iglu_end2end::{digest, nar, object::Object, put::compress};
use nix_compat::{Compression, NarInfo, Sha256, StorePath};
use std::collections::BTreeMap;

pub const LOG: &str = "0c5b8vw40dy178xlpddw65q9gf1h2186-hello.drv";

pub struct HandMade {
    /// Name to content.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Base names of what is right: `leaf`, `middle` and `top`, each referring to the one before, and what is packed by each codec.
    pub good: Vec<String>,
    /// What is told when paths are listed, with words of the reason.
    pub listed: Vec<(String, &'static str)>,
    /// What is told when the NAR is read, by base name.
    pub read: Vec<(String, &'static str)>,
}

impl HandMade {
    pub async fn new() -> Self {
        let mut made = Self { files: BTreeMap::new(), good: Vec::new(), listed: Vec::new(), read: Vec::new() };
        made.put("nix-cache-info", "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 33\n");
        let mut before: Vec<StorePath> = Vec::new();
        for (name, compression) in [
            ("leaf", Compression::Xz),
            ("middle", Compression::Zstd),
            ("top", Compression::None),
            ("in-gzip", Compression::Gzip),
            ("in-bzip2", Compression::Bzip2),
            ("in-brotli", Compression::Brotli),
        ] {
            let narinfo = made.path(name, compression, &before).await;
            made.good.push(narinfo.store_path.to_string());
            before.push(narinfo.store_path);
        }
        // A size of zero is an unknown one.
        let mut unsized_one = made.path("unsized", Compression::Zstd, &[]).await;
        (unsized_one.file_size, unsized_one.file_hash) = (Some(0), None);
        made.describe(&unsized_one);
        made.good.push(unsized_one.store_path.to_string());
        made.put(&format!("log/{LOG}"), "building hello\n");
        made.put("log/README", "no log");
        made.put(&format!("realisations/sha256:{}!out.doi", "ab".repeat(32)), "{}");
        made.put("build-trace-v2/0c5b8vw40dy178xlpddw65q9gf1h2186-hello.drv/out.doi", "{}");
        made.put(&format!("{}.ls", "0".repeat(32)), "{}");
        made.put("nar/nested.narinfo", "of no path");
        made.wrong().await;
        made
    }

    async fn wrong(&mut self) {
        let other = self.path("other", Compression::None, &[]).await;
        let moved = self.files.remove(&format!("{}.narinfo", other.store_path.hash())).unwrap();
        let elsewhere = format!("{}.narinfo", "1".repeat(32));
        self.files.insert(elsewhere.clone(), moved);
        self.listed.push((elsewhere, "it is the narinfo of"));
        self.put("nonsense.narinfo", "");
        self.listed.push(("nonsense.narinfo".to_owned(), "not named after"));
        let unreadable = format!("{}.narinfo", "2".repeat(32));
        self.put(&unreadable, "StorePath: x\n");
        self.listed.push((unreadable, "StorePath"));
        for (name, url) in [
            ("url-up", "../nar/x"),
            ("url-up-later", "nar/../../x"),
            ("url-absolute", "/etc/passwd"),
            ("url-host", "http://evil.example/x"),
            ("url-slashes", "//evil.example/x"),
            ("url-backslash", "nar\\..\\x"),
        ] {
            let mut narinfo = self.path(name, Compression::None, &[]).await;
            narinfo.url = url.to_owned();
            self.describe(&narinfo);
            self.read.push((narinfo.store_path.to_string(), "leads out of"));
        }
        let gone = self.path("gone", Compression::None, &[]).await;
        self.files.remove(&gone.url);
        self.read.push((gone.store_path.to_string(), "is not there"));
        let short = self.path("short", Compression::Xz, &[]).await;
        self.files.get_mut(&short.url).unwrap().pop();
        self.read.push((short.store_path.to_string(), "bytes, not"));
        let long = self.path("long", Compression::Xz, &[]).await;
        self.files.get_mut(&long.url).unwrap().push(0);
        self.read.push((long.store_path.to_string(), "bytes, not"));
    }

    pub fn put(&mut self, name: &str, content: impl AsRef<[u8]>) {
        self.files.insert(name.to_owned(), content.as_ref().to_vec());
    }

    /// Adds a path with its NAR file; `references` are in its text.
    pub async fn path(&mut self, name: &str, compression: Compression, references: &[StorePath]) -> NarInfo {
        let text: Vec<String> = references.iter().map(ToString::to_string).collect();
        let object =
            Object::bytes(name, 5, nar::archive(&nar::regular((name.to_owned() + &text.join(" ")).as_bytes())));
        let iglu_end2end::object::Nar::Bytes(nar) = &object.nar else { panic!("not in memory") };
        let file = compress(compression.as_str(), nar).await.unwrap();
        let store_path = StorePath::parse(digest::base_name(&object.path)).unwrap();
        let url = format!("nar/{}.nar{}", digest::sha256_nix32(&file), compression.extension());
        let mut narinfo = NarInfo::new(store_path, &url, compression, Sha256::digest(nar), nar.len() as u64);
        narinfo.file_hash = Some(Sha256::digest(&file));
        narinfo.file_size = Some(file.len() as u64);
        narinfo.references = references.to_vec();
        self.put(&url, file);
        self.describe(&narinfo);
        narinfo
    }

    pub fn describe(&mut self, narinfo: &NarInfo) {
        self.put(&format!("{}.narinfo", narinfo.store_path.hash()), narinfo.to_text());
    }

    /// Where one of the good paths is.
    pub fn good_path(&self, name: &str) -> StorePath {
        let end = format!("-{name}");
        StorePath::parse(self.good.iter().find(|good| good.ends_with(&end)).unwrap()).unwrap()
    }
}
