//! Reading as each release of Nix does it.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use http::Method;
use iglu_end2end::conformance::Check;
use iglu_end2end::http::Credentials;
use iglu_end2end::nix::{self, FreshStore, Nix, NixRelease, PathInfo, said};
use iglu_end2end::scene::{Scene, netrc, ok, refused};
use iglu_end2end::server::Scope;
use nix_compat::signing::SigningKey;

use crate::MIB;
use crate::relay::{Fate, Relay};

/// A public cache with the chain of three paths.
async fn with_chain(release: NixRelease, parameters: &str) -> anyhow::Result<(Scene, String, Vec<PathInfo>)> {
    let scene = Scene::new(release).await?;
    let (top, closure) = nix::chain_of(&scene.release, "commands").await?;
    scene.push(parameters, &[&top]).await?;
    Ok((scene, top, closure))
}

/// The public key of another secret key with the same name.
fn other_key(scene: &Scene) -> anyhow::Result<String> {
    Ok(SigningKey::from_seed(scene.key_name(), [9; 32])?.verifying_key().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_05_path_info_tells_the_closure() {
    let check =
        Check::new("nix 17.5", "`nix path-info -r` tells the closure with hashes, sizes, references, signatures");
    check
        .with_each_nix(async |release| {
            let (scene, top, closure) = with_chain(release, "").await?;
            let mut told = scene.stranger()?.closure_in(scene.uri(), &top).await?;
            ensure!(told.len() == closure.len(), "{told:?}");
            told.iter_mut().for_each(|told| told.references.sort());
            for info in &closure {
                let told = told.iter().find(|told| told.path == info.path).context("a path is not told of")?;
                let signed = PathInfo { signers: vec![scene.key_name().to_owned()], ..info.clone() };
                ensure!(*told == signed, "{told:?} is not {signed:?}");
            }
            let missing = "/nix/store/00000000000000000000000000000000-missing";
            let absent = scene.stranger()?.run("nix", &["path-info", "--store", scene.uri(), missing]).await?;
            refused(absent, "a path that is not there is told of")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_06_copy_from_needs_the_key() {
    let check =
        Check::new("nix 17.6", "`nix copy --from` works with the cache's key, and with another lacks a signature");
    check
        .with_each_nix(async |release| {
            let (scene, top, closure) = with_chain(release, "").await?;
            for (key, trusted) in [(other_key(&scene)?, false), (scene.key().to_owned(), true)] {
                let store = FreshStore::of(&scene.release)?;
                let nix = scene.stranger()?;
                let to = nix.root_of(&store)?;
                let from = ["copy", "--from", scene.uri(), "--to", &to, &top, "--option", "trusted-public-keys", &key];
                let copied = nix.run("nix", &from).await?;
                if trusted {
                    ok(copied)?;
                    store.holds(&closure)?;
                } else {
                    let text = said(&copied);
                    ensure!(text.contains("lacks a signature") || text.contains("lacks a valid signature"), "{text}");
                    refused(copied, "another key of the same name was good enough")?;
                    ensure!(!store.locate(&top).exists());
                }
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_07_substitution_verifies() {
    let check = Check::new(
        "nix 17.7",
        "`nix-store -r` substitutes a closure of 125 paths, and `nix store verify` finds it clean",
    );
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (top, closure) = nix::many_of(&scene.release, "mixed").await?;
            scene.push("?compression=zstd", &[&top]).await?;
            scene.pulls_back(&scene.stranger()?, scene.uri(), &[&top], &closure).await?;
            let wary = FreshStore::of(&scene.release)?;
            let got = scene.stranger()?.substitute(&wary, scene.uri(), &other_key(&scene)?, &[&top]).await?;
            refused(got, "another key of the same name was good enough")?;
            ensure!(!wary.locate(&top).exists());
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_08_ls_and_cat_show_the_tree() {
    let check = Check::new("nix 17.8", "`nix store ls` and `nix store cat` show the tree that was pushed");
    check
        .with_each_nix(async |release| {
            let (scene, _, closure) = with_chain(release, "?compression=br").await?;
            for info in &closure {
                let ls = ["store", "ls", "-lR"];
                let there = [&ls[..], &["--store", scene.uri(), &info.path]].concat();
                let here = [&ls[..], &[info.path.as_str()]].concat();
                let (there, here) =
                    (scene.stranger()?.must("nix", &there).await?, scene.stranger()?.must("nix", &here).await?);
                ensure!(there == here, "{there} is not {here}");
                for (file, what) in nix::tree(&info.location)? {
                    if what.starts_with("->") || what == "directory" {
                        continue;
                    }
                    let name = format!("{}/{}", info.path, file.display());
                    let cat = ["store", "cat", "--store", scene.uri(), name.trim_end_matches('/')];
                    let shown = scene.stranger()?.must("nix", &cat).await?;
                    let content =
                        std::fs::read(info.location.join(&file)).or_else(|_| std::fs::read(&info.location))?;
                    ensure!(shown.as_bytes() == content, "{name} is {shown:?}");
                }
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_11_broken_download_goes_on() {
    let check = Check::new("nix 17.11", "a NAR cut off after 1 MiB is resumed with exactly one Range request");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (bulky, closure) = scene.shape("bulky").await?;
            scene.push("?compression=none", &[&bulky]).await?;
            // Only the first request for the NAR is cut off.
            let cut = AtomicBool::new(false);
            let judge = move |head: &str| {
                let is_first = head.contains("/nar/") && !cut.swap(true, Ordering::Relaxed);
                if is_first { Fate::CutAfter(MIB) } else { Fate::Pass }
            };
            let relay = Relay::start(&scene.server.address(), "", judge).await;
            let uri = format!("{}/main", relay.url());
            scene.pulls_back(&scene.stranger()?, &uri, &[&bulky], &closure).await?;
            let heads = relay.heads();
            let nars: Vec<&String> = heads.iter().filter(|head| head.contains("/nar/")).collect();
            let ranges = nars.iter().filter(|head| head.contains("\r\nrange: bytes=")).count();
            ensure!((nars.len(), ranges) == (2, 1), "{nars:?}");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_14_slash_at_the_end_changes_nothing() {
    let check = Check::new("nix 17.14", "a slash at the end of the substituter's URL changes nothing");
    check
        .with_each_nix(async |release| {
            let (scene, top, closure) = with_chain(release, "").await?;
            let with_slash = format!("{}/", scene.uri());
            let mut told = Vec::new();
            for uri in [scene.uri(), &with_slash] {
                scene.pulls_back(&scene.stranger()?, uri, &[&top], &closure).await?;
                told.push(scene.stranger()?.closure_in(uri, &top).await?);
            }
            ensure!(told[0] == told[1], "{told:?}");
            // And it can be pushed to.
            let pusher = scene.holder(&scene.push)?;
            let (other, _) = nix::chain_of(&scene.release, "signatures").await?;
            ok(pusher.copy_to(&with_slash, &[&other]).await?)?;
            for name in ["/nix-cache-info", "//nix-cache-info"] {
                let reply = scene.ask(Method::GET, name.trim_start_matches('/'), &Credentials::None, &[], "").await?;
                ensure!(reply.status == 200, "{name}: {}", reply.status);
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_16_each_compression_is_substituted() {
    let check = Check::new("nix 17.16", "NARs pushed with none, xz, bzip2, gzip, zstd and br substitute back");
    check
        .with_each_nix(async |puller| {
            // This machine's release pushes for all of them.
            let scene = Scene::new(NixRelease::Host).await?;
            for compression in ["none", "xz", "bzip2", "gzip", "zstd", "br"] {
                let cache = scene.server.cache(compression, false)?;
                let (top, closure) = nix::chain_of(&scene.release, compression).await?;
                let pusher = scene.stranger()?.with_netrc(&netrc(&scene.server.token(compression, Scope::Push)?))?;
                ok(pusher.copy_to(&format!("{}?compression={compression}", cache.uri), &[&top]).await?)
                    .with_context(|| format!("push with {compression}"))?;
                let store = FreshStore::of(&puller)?;
                ok(Nix::of(&puller)?.substitute(&store, &cache.uri, &cache.public_keys[0], &[&top]).await?)
                    .with_context(|| format!("pull with {compression}"))?;
                store.holds(&closure)?;
            }
            Ok(())
        })
        .await;
}
