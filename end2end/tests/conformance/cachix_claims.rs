//! Pushes with the cachix client whose claims are not true, or whose signature does not do.

use anyhow::ensure;
use iglu_end2end::cachix::wire::{Complete, Compression, NarInfoCreate};
use iglu_end2end::cachix::{Client, Faults, Profile, PushOptions, Signer};
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::nar;
use iglu_end2end::nix::NixRelease;
use iglu_end2end::object::Object;
use iglu_end2end::put::compress;
use iglu_end2end::refusal::Refusal;
use iglu_end2end::scene::Scene;
use iglu_end2end::server::{Scope, Server};
use nix_compat::signing::SigningKey;

use crate::{MIB, is_absent, is_served, open, small};

/// Of the seed 00 01 … 1f.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
const PUBLIC: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

/// A release that uploads whole files, and one that uploads parts.
fn both_kinds() -> Vec<Profile> {
    vec![Profile::v1_1(), Profile::v1_11_1()]
}

/// A claim that is refused for good with a line about it; then the truth is taken.
async fn untrue(profile: Profile, faults: Vec<Faults>, words: &[&str]) -> anyhow::Result<()> {
    let scene = Scene::with_host_names().await?;
    let client = scene.cachix_at("cache.test", profile)?;
    for (seed, faults) in (0..).zip(faults) {
        for compression in [Compression::Zstd, Compression::Xz] {
            let object = Object::synthetic(&format!("untrue-{}", compression.query()), 300_000, seed);
            let options =
                PushOptions { faults: faults.clone(), compression: Some(compression), ..PushOptions::default() };
            let refusal = Refusal::of_call(client.push_one("main", &object, &options).await)?;
            ensure!(refusal.status == 400 && refusal.says(words), "{refusal:?}");
            is_absent(&scene, &object.path, "untrue").await;
            ensure!(client.missing("main", &[object.hash().to_owned()]).await? == [object.hash()]);
            client.push_one("main", &object, &PushOptions::default()).await?;
            is_served(&scene, &object.path).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_wrong_md5_of_a_part() {
    let check = Check::new("cachix 15.3.22", "a part whose MD5 is wrong is 503, and can be sent again to the same URL");
    check
        .with_cachix(vec![Profile::v1_3(), Profile::v1_7_5(), Profile::v1_11_1()], async |profile| {
            let scene = Scene::with_host_names().await?;
            let client = scene.cachix_at("cache.test", profile)?;
            let nar = small(1);
            let file = compress("zstd", &nar).await?;
            let md5 = digest::md5_base64(&file);
            let upload = client.create("main", Compression::Zstd).await?;
            let url = client.part("main", &upload, 1, &md5).await?.upload_url;
            let refusal = Refusal::of_call(client.put_once(&url, &md5, "other".into()).await)?;
            ensure!(refusal.status == 503, "a client would start the whole path again: {refusal:?}");
            client.put_once(&url, &md5, file.clone().into()).await?;
            let path = digest::made_up_path("md5", 1);
            let body = Complete { parts: None, nar_info_create: NarInfoCreate::of(&path, &nar, &file) };
            client.complete("main", &upload, &body).await?;
            is_served(&scene, &path).await;
            // The emulator checks the same in the course of a push.
            let faults = Faults { spoil_first_put: Some(2), ..Faults::default() };
            let object = Object::synthetic("spoilt", 300_000, 1);
            let pieces = client.with_profile(client.profile.clone().with_chunk_size(64 * 1024));
            pieces.push_one("main", &object, &PushOptions { faults, ..PushOptions::default() }).await?;
            is_served(&scene, &object.path).await;
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_wrong_hash_of_the_file() {
    let check = Check::new("cachix 15.3.23", "a wrong cFileHash is 400 with a line that names it");
    // Before 1.3 the hash is all that ties narinfo and NAR together: then there is no such NAR.
    let faults = || vec![Faults { wrong_file_hash: true, ..Faults::default() }];
    check.with_cachix(both_kinds(), |profile| untrue(profile, faults(), &[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_wrong_hash_of_the_nar() {
    let check = Check::new("cachix 15.3.24", "a wrong cNarHash is 400 with a line that names it");
    let faults = || vec![Faults { wrong_nar_hash: true, ..Faults::default() }];
    check.with_cachix(both_kinds(), |profile| untrue(profile, faults(), &["nar", "hash"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_wrong_sizes() {
    let check = Check::new("cachix 15.3.25", "a wrong cFileSize or cNarSize is 400 with a line that names it");
    let faults = || {
        vec![
            Faults { wrong_file_size: true, ..Faults::default() },
            Faults { wrong_nar_size: true, ..Faults::default() },
        ]
    };
    check.with_cachix(both_kinds(), |profile| untrue(profile, faults(), &["size"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_nar_that_unpacks_without_end() {
    let check =
        Check::new("cachix 15.3.26", "a file that unpacks to more than cNarSize is refused without unpacking it all");
    check
        .with_cachix(both_kinds(), async |profile| {
            let scene = Scene::with_host_names().await?;
            let client = scene.cachix_at("cache.test", profile.without_repeats())?;
            let mut bomb = nar::archive(&nar::strings(&[b"(", b"type", b"regular", b"contents"]));
            bomb.extend((512 * MIB).to_le_bytes());
            bomb.resize(bomb.len() + usize::try_from(512 * MIB)?, 0);
            bomb.extend(nar::string(b")"));
            let file = compress("zstd", &bomb).await?;
            drop(bomb);
            let path = digest::made_up_path("bomb", 1);
            let claims = NarInfoCreate::of(&path, &small(1), &file);
            let begun = std::time::Instant::now();
            let ended = if client.profile.upload == iglu_end2end::cachix::Upload::Parts {
                let upload = client.create("main", Compression::Zstd).await?;
                let md5 = digest::md5_base64(&file);
                let url = client.part("main", &upload, 1, &md5).await?.upload_url;
                client.put_once(&url, &md5, file.clone().into()).await?;
                client.complete("main", &upload, &Complete { parts: None, nar_info_create: claims }).await
            } else {
                client.post_nar("main", Compression::Zstd, 0, std::io::Cursor::new(file.clone())).await?;
                client.post_narinfo("main", &claims).await
            };
            let refusal = Refusal::of_call(ended)?;
            ensure!(refusal.status == 400 && refusal.says(&["nar"]), "{refusal:?}");
            ensure!(begun.elapsed().as_secs() < 5, "unpacked to the end: {:?}", begun.elapsed());
            ensure!(scene.server.peak_rss()? < 200 * MIB, "{} bytes of memory", scene.server.peak_rss()?);
            is_absent(&scene, &path, "bomb").await;
            Ok(())
        })
        .await;
}

/// A cache that clients sign, with one registered key.
async fn client_signed() -> anyhow::Result<(Scene, Client)> {
    let server = Server::start().await?;
    server.admin(&["cache", "create", "main", "--client-signed"], "")?;
    let admin = server.cachix(Some(&server.token("main", Scope::Admin)?));
    admin.key("main", PUBLIC).await?;
    let cache = server.cache_show("main")?;
    let (push, pull) = (server.token("main", Scope::Push)?, server.token("main", Scope::Pull)?);
    let scene = Scene { release: NixRelease::Host, server, cache, push, pull };
    Ok((scene, admin))
}

/// A push to a cache that clients sign has to be refused with these words; with the right key it is taken.
async fn badly_signed(profile: Profile, options: PushOptions, words: &[&str]) -> anyhow::Result<()> {
    let (scene, _) = client_signed().await?;
    let client = scene.cachix(profile);
    let object = Object::synthetic("signed", 5000, 1);
    let refusal = Refusal::of_call(client.push_one("main", &object, &options).await)?;
    ensure!(refusal.status == 400 && refusal.says(words), "{refusal:?}");
    is_absent(&scene, &object.path, "badly signed").await;
    let good = PushOptions { signer: Some(Signer::parse(SECRET)?), ..PushOptions::default() };
    client.push_one("main", &object, &good).await?;
    let narinfo = is_served(&scene, &object.path).await;
    let signers: Vec<&str> = narinfo.all("Sig").iter().map(|sig| sig.split(':').next().unwrap_or_default()).collect();
    ensure!(signers == [scene.key_name()], "{narinfo:?}");
    Ok(())
}

/// Releases that send everything to one host, without the patience of 1.7, which tries a refused complete for half a minute.
fn one_host() -> Vec<Profile> {
    [Profile::v1_7(), Profile::v1_7_5(), Profile::v1_11_1()].map(Profile::without_repeats).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_bad_signature() {
    let check = Check::new(
        "cachix 15.3.27",
        "a signature that is none, or over something else, is 400 on a cache that clients sign",
    );
    check
        .with_cachix(one_host(), async |profile| {
            let (scene, _) = client_signed().await?;
            let client = scene.cachix(profile);
            let (nar, path) = (small(1), digest::made_up_path("signed", 1));
            let file = compress("zstd", &nar).await?;
            let claims = NarInfoCreate::of(&path, &nar, &file);
            let signer = Signer::parse(SECRET)?;
            let other = signer.sign(&path, &claims.nar_hash, claims.nar_size + 8, &[]);
            let complete = async |sig: &str| {
                let upload = client.create("main", Compression::Zstd).await?;
                let md5 = digest::md5_base64(&file);
                let url = client.part("main", &upload, 1, &md5).await?.upload_url;
                client.put(&url, &md5, file.clone().into()).await?;
                let claims = NarInfoCreate { sig: Some(sig.to_owned()), ..claims.clone() };
                client.complete("main", &upload, &Complete { parts: None, nar_info_create: claims }).await
            };
            for bad in ["", "***", "AAAA", &other, &format!("main-1:{other}"), &other[..86]] {
                let refusal = Refusal::of_call(complete(bad).await)?;
                ensure!(refusal.status == 400 && refusal.says(&["signature"]), "{bad:?}: {refusal:?}");
                is_absent(&scene, &path, bad).await;
            }
            complete(&signer.sign(&path, &claims.nar_hash, claims.nar_size, &[])).await?;
            is_served(&scene, &path).await;
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_missing_signature() {
    let check = Check::new("cachix 15.3.28", "a push without signature is 400 on a cache that clients sign");
    check.with_cachix(one_host(), |profile| badly_signed(profile, PushOptions::default(), &["no signature"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_signature_by_an_unknown_key() {
    let check =
        Check::new("cachix 15.3.29", "a signature by a key that is not registered is 400; without a token it is 401");
    check
        .with_cachix(one_host(), async |profile| {
            let stranger = SigningKey::from_seed("other", [7; 32])?.to_secret_text();
            let options = PushOptions { signer: Some(Signer::parse(&stranger)?), ..PushOptions::default() };
            badly_signed(profile.clone(), options, &["no registered key"]).await?;
            // A cache with a key of its own signs whatever comes, and does not pass the stranger's signature on.
            let scene = open().await;
            let object = Object::synthetic("stranger", 5000, 1);
            let options = PushOptions { signer: Some(Signer::parse(&stranger)?), ..PushOptions::default() };
            scene.cachix(profile.clone()).push_one("main", &object, &options).await?;
            let narinfo = is_served(&scene, &object.path).await;
            ensure!(narinfo.all("Sig").len() == 1, "{narinfo:?}");
            // A key alone, without a token, opens nothing.
            let nobody = Client::new(profile.without_repeats(), &scene.server.url(), None);
            let other = Object::synthetic("nobody", 5000, 2);
            let refusal = Refusal::of_call(nobody.push_one("main", &other, &options).await)?;
            ensure!(refusal.status == 401, "{refusal:?}");
            Ok(())
        })
        .await;
}
