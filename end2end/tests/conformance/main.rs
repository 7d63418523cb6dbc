//! One test for each check of the three protocols, named after it. Each leaves its result with every client in the record that
//! `docs/conformance.md` is made from.

#![allow(clippy::unwrap_used)]

mod attic_push;
mod attic_use;
mod cachix_calls;
mod cachix_claims;
mod cachix_push;
mod cachix_use;
mod nix_authentication;
mod nix_copy;
mod nix_pushing;
mod nix_reading;
mod nix_robustness;
mod nix_substituting;
mod relay;

use iglu_end2end::digest::{self, Random};
use iglu_end2end::http::{Credentials, Reply};
use iglu_end2end::nar;
use iglu_end2end::nix::NixRelease;
use iglu_end2end::put::{Draft, Narinfo};
use iglu_end2end::scene::Scene;

const MIB: u64 = 1024 * 1024;

/// What Nix 2.26 sends as Accept-Encoding.
const LIKE_NIX: &str = "zstd, br, gzip, deflate, bzip2, xz";

/// Whether the widest closures are pushed in full: minutes with an unoptimised server.
fn is_full() -> bool {
    std::env::var("IGLU_FULL").is_ok_and(|value| value == "1")
}

/// A server with a public cache.
async fn open() -> Scene {
    Scene::new(NixRelease::Host).await.unwrap()
}

/// A server with a private cache.
async fn closed() -> Scene {
    Scene::private(NixRelease::Host).await.unwrap()
}

/// A NAR of one file that does not compress.
fn small(seed: u64) -> Vec<u8> {
    nar::archive(&nar::regular(&Random::new(seed).bytes(3000)))
}

/// A GET without credentials.
async fn ask(scene: &Scene, name: &str, headers: &[(&str, &str)]) -> Reply {
    scene.ask(http::Method::GET, name, &Credentials::None, headers, "").await.unwrap()
}

/// A path pushed by PUT, and the narinfo that is served for it.
async fn pushed(scene: &Scene, name: &str, nar: Vec<u8>, compression: &str, references: &[&str]) -> (Draft, Narinfo) {
    let draft = Draft::new(name, 1, nar, compression, references).await.unwrap();
    scene.putter().push(&draft).await.unwrap();
    let narinfo = scene.putter().narinfo(draft.hash()).await.unwrap().unwrap();
    (draft, narinfo)
}

/// Published, and every byte and number of it right.
async fn is_served(scene: &Scene, path: &str) -> Narinfo {
    let reader = scene.server.putter("main", &scene.pull);
    let narinfo = reader.narinfo(digest::hash_part(path)).await.unwrap();
    let narinfo = narinfo.unwrap_or_else(|| panic!("{path} is missing"));
    assert_eq!(narinfo.get("StorePath"), Some(path));
    assert!(!narinfo.all("Sig").is_empty(), "{narinfo:?}");
    reader.check(&narinfo).await.unwrap();
    narinfo
}

/// Not published.
async fn is_absent(scene: &Scene, path: &str, why: &str) {
    let reader = scene.server.putter("main", &scene.pull);
    assert_eq!(reader.narinfo(digest::hash_part(path)).await.unwrap(), None, "{why}: {path} is visible");
}
