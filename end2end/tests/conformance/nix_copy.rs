//! Pushing as each release of Nix does it.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::nix::{self, FreshStore, Nix, NixRelease};
use iglu_end2end::scene::{Scene, line, netrc, ok, refused};
use iglu_end2end::server::{Scope, Server};
use nix_compat::signing::SigningKey;
use serde_json::Value;

use crate::relay::{Fate, Relay};

#[tokio::test(flavor = "multi_thread")]
async fn nix_21_second_push_uploads_nothing() {
    let check = Check::new("nix 17.21", "`nix copy --to` an empty cache succeeds; the second time it only asks");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (top, closure) = nix::many_of(&scene.release, "mixed").await?;
            let relay = Relay::start(&scene.server.address(), "", |_| Fate::Pass).await;
            let target = format!("{}/main?compression=zstd", relay.url());
            ok(scene.holder(&scene.push)?.copy_to(&target, &[&top]).await?).context("first push")?;
            let first = relay.heads();
            let puts = first.iter().filter(|head| head.starts_with("PUT ")).count();
            ensure!(puts == 2 * closure.len(), "{puts} uploads for {} paths", closure.len());
            ok(scene.holder(&scene.push)?.copy_to(&target, &[&top]).await?).context("second push")?;
            let second = relay.heads().split_off(first.len());
            ensure!(second.len() > closure.len(), "only {} requests", second.len());
            ensure!(second.iter().all(|head| head.starts_with("GET ")), "{second:?}");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_22_each_compression_goes_in_and_comes_back() {
    let check = Check::new("nix 17.22", "a push with none, xz, zstd, gzip, bzip2 and br goes in whole and comes back");
    check
        .with_each_nix(async |release| {
            let server = Server::start().await?;
            for compression in ["none", "xz", "zstd", "gzip", "bzip2", "br"] {
                one_compression(&server, &release, compression).await.with_context(|| compression.to_owned())?;
            }
            Ok(())
        })
        .await;
}

async fn one_compression(server: &Server, release: &NixRelease, compression: &str) -> anyhow::Result<()> {
    let cache = server.cache(compression, false)?;
    let (push, pull) = (server.token(compression, Scope::Push)?, server.token(compression, Scope::Pull)?);
    let client = |token: &str| Nix::of(release)?.with_netrc(&netrc(token));
    let (top, mut closure) = nix::chain_of(release, compression).await?;
    let several =
        Nix::of(release)?.build(&nix::expression("shapes.nix"), Some("several.all"), &[("tag", compression)]).await?;
    ensure!(several.len() == 3, "{several:?}");
    for path in &several {
        let known: BTreeSet<String> = closure.iter().map(|info| info.path.clone()).collect();
        let more = Nix::of(release)?.closure(path).await?;
        closure.extend(more.into_iter().filter(|info| !known.contains(&info.path)));
    }
    ensure!(closure.len() == 6, "{closure:?}");
    let paths: Vec<&str> = [&top].into_iter().chain(&several).map(String::as_str).collect();

    let target = format!("{}?compression={compression}", cache.uri);
    ok(client(&push)?.copy_to(&target, &paths).await?).context("push")?;
    // A token that may not write succeeds exactly if there is nothing left to upload.
    ok(client(&pull)?.copy_to(&target, &paths).await?).context("the second push uploads something")?;

    let reader = server.putter(compression, &pull);
    for info in &closure {
        let narinfo = reader.narinfo(digest::hash_part(&info.path)).await?.context("no narinfo")?;
        ensure!(narinfo.get("Compression") == Some(compression), "{narinfo:?}");
        ensure!(narinfo.get("NarHash") == Some(&format!("sha256:{}", info.nar_hash)), "{narinfo:?}");
        ensure!(narinfo.get("References") == Some(&info.references.join(" ")), "{narinfo:?}");
        ensure!(narinfo.get("Deriver") == info.deriver.as_deref(), "{narinfo:?}");
        reader.check(&narinfo).await?;
    }

    let key = cache.public_keys.first().context("a cache without key")?;
    let store = FreshStore::of(release)?;
    let puller = Nix::of(release)?;
    ok(puller.substitute(&store, &cache.uri, key, &paths).await?).context("pull")?;
    store.holds(&closure)?;
    ok(puller.verify(&store, key, &top).await?).context("verify")
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_29_signature_of_the_pusher_stays() {
    let check = Check::new(
        "nix 17.29",
        "`?secret-key=` keeps the pusher's signature beside that of the cache, and both verify",
    );
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (top, closure) = nix::chain_of(&scene.release, "signatures").await?;
            let own = SigningKey::from_seed("builder-1", [5; 32])?;
            let pusher = scene.holder(&scene.push)?;
            let key = pusher.write("builder.key", own.to_secret_text().as_str())?;
            ok(pusher.copy_to(&format!("{}?secret-key={key}", scene.uri()), &[&top]).await?).context("push")?;
            let mut signers = vec!["builder-1", scene.key_name()];
            signers.sort_unstable();
            for told in scene.stranger()?.closure_in(scene.uri(), &top).await? {
                ensure!(told.signers == signers, "{} is signed by {:?}", told.path, told.signers);
            }
            let told = scene.stranger()?.must("nix", &["path-info", "--store", scene.uri(), "--sigs", &top]).await?;
            ensure!(signers.iter().all(|name| told.contains(&format!("{name}:"))), "{told}");
            for key in [&own.verifying_key().to_string(), scene.key()] {
                let store = FreshStore::of(&scene.release)?;
                let got = scene.stranger()?.substitute(&store, scene.uri(), key, &[&top]).await?;
                ok(got).with_context(|| format!("trusting {key}"))?;
                store.holds(&closure)?;
                ok(scene.stranger()?.verify(&store, key, &top).await?).with_context(|| format!("verify by {key}"))?;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_30_signatures_are_added_to_what_is_there() {
    let check = Check::new("nix 17.30", "`nix store sign` adds its signature to all that are there");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (top, closure) = nix::chain_of(&scene.release, "signatures").await?;
            let (first, second) =
                (SigningKey::from_seed("builder-1", [5; 32])?, SigningKey::from_seed("reviewer-1", [6; 32])?);
            let pusher = scene.holder(&scene.push)?;
            let key = pusher.write("builder.key", first.to_secret_text().as_str())?;
            ok(pusher.copy_to(&format!("{}?secret-key={key}", scene.uri()), &[&top]).await?).context("push")?;
            // A client that has seen nothing yet, and one that knows the narinfo from before its last signature.
            for nix in [scene.holder(&scene.push)?, pusher] {
                let key = nix.write("reviewer.key", second.to_secret_text().as_str())?;
                ok(nix.run("nix", &["store", "sign", "--store", scene.uri(), "-k", &key, "-r", &top]).await?)
                    .context("sign")?;
            }
            let mut signers = vec!["builder-1", "reviewer-1", scene.key_name()];
            signers.sort_unstable();
            for told in scene.stranger()?.closure_in(scene.uri(), &top).await? {
                ensure!(told.signers == signers, "{} is signed by {:?}", told.path, told.signers);
            }
            let store = FreshStore::of(&scene.release)?;
            let key = second.verifying_key().to_string();
            ok(scene.stranger()?.substitute(&store, scene.uri(), &key, &[&top]).await?).context("pull")?;
            store.holds(&closure)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_31_two_pushes_at_once_both_succeed() {
    let check = Check::new("nix 17.31", "two pushes of overlapping closures at once both succeed");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (one, these) = nix::many_of(&scene.release, "mixed").await?;
            let (two, those) = nix::chain_of(&scene.release, "mixed").await?;
            let (first, second) = (scene.holder(&scene.push)?, scene.holder(&scene.push)?);
            let target = format!("{}?compression=zstd", scene.uri());
            let (in_order, other_order) = ([one.as_str(), &two], [two.as_str(), &one]);
            let (first, second) =
                tokio::join!(first.copy_to(&target, &in_order), second.copy_to(&target, &other_order));
            ok(first?).context("one")?;
            ok(second?).context("the other")?;
            scene.pulls_back(&scene.stranger()?, scene.uri(), &[&one, &two], &[these, those].concat()).await
        })
        .await;
}

/// A listing as every release prints it: not executable is told by silence.
fn plain(mut node: Value) -> Value {
    if let Some(fields) = node.as_object_mut() {
        fields.retain(|name, value| !(name == "executable" && *value == false));
        if let Some(entries) = fields.get_mut("entries").and_then(Value::as_object_mut) {
            entries.values_mut().for_each(|entry| *entry = plain(entry.take()));
        }
    }
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_33_listings_tell_what_is_in_a_nar() {
    let check = Check::new("nix 17.33", "`.ls` after a push with a listing says what `nix store ls --json -R` says");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (top, closure) = nix::chain_of(&scene.release, "listings").await?;
            scene.push("?write-nar-listing=true", &[&top]).await?;
            for info in &closure {
                let served = scene.get_json(&format!("{}.ls", digest::hash_part(&info.path))).await?;
                let listed = ["store", "ls", "--json", "-R", "--store", scene.uri(), &info.path];
                let listed: Value = serde_json::from_str(&scene.stranger()?.must("nix", &listed).await?)?;
                ensure!(served["version"] == 1, "{served}");
                ensure!(plain(served["root"].clone()) == plain(listed.clone()), "{served} is not {listed}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_34_build_logs_are_kept_and_shown() {
    let check =
        Check::new("nix 17.34", "`nix store copy-log` leaves a log that `nix log` shows; an empty one is a log");
    check
        .with_each_nix(async |release| {
            let scene = Scene::private(release).await?;
            let (path, closure) = scene.shape("talking").await?;
            let deriver = closure[0].deriver.clone().context("a build without deriver")?;
            let log = "first line of talking\nlast line of talking\n";
            let pusher = scene.holder(&scene.push)?;
            let copy_log = ["store", "copy-log", "--to", scene.uri()];
            let installable = scene.installable(&pusher, "talking")?;
            // The log may come before the path.
            for _ in 0..2 {
                ok(pusher.run("nix", &line(&[&copy_log], &installable)).await?).context("copy-log")?;
            }
            scene.push("", &[&path]).await?;

            let served = scene.get(&format!("log/{deriver}")).await?;
            ensure!(served.status == 200 && served.text() == log, "{} {:?}", served.status, served.text());
            let shown = scene.holder(&scene.pull)?.must("nix", &["log", "--store", scene.uri(), &path]).await?;
            ensure!(shown == log, "nix log printed {shown:?}");
            // 2.8 asks for a derivation's log only if the cache has the derivation.
            if scene.release.version().await? >= (2, 26) {
                let drv = format!("/nix/store/{deriver}");
                let shown = scene.holder(&scene.pull)?.must("nix", &["log", "--store", scene.uri(), &drv]).await?;
                ensure!(shown == log, "nix log of the derivation printed {shown:?}");
            }

            let open = scene.server.http().get(&format!("{}/log/{deriver}", scene.uri())).await?;
            ensure!(open.status == 401, "anyone may read the log of a private cache: {}", open.status);
            let denied = scene.holder(&scene.pull)?.run("nix", &line(&[&copy_log], &installable)).await?;
            refused(denied, "a token without the right to write left a log")?;

            let (_, closure) = scene.shape("silent").await?;
            let installable = scene.installable(&pusher, "silent")?;
            ok(pusher.run("nix", &line(&[&copy_log], &installable)).await?).context("copy-log of an empty log")?;
            let deriver = closure[0].deriver.clone().context("a build without deriver")?;
            let served = scene.get(&format!("log/{deriver}")).await?;
            ensure!(served.status == 200 && served.body.is_empty(), "{} {:?}", served.status, served.text());
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_38_debug_information_is_found_by_build_id() {
    let check = Check::new(
        "nix 17.38",
        "`?index-debug-info=true` leads to debuginfo/<id> and debuginfo/<id>.debug with one JSON",
    );
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let (path, closure) = scene.shape("debug").await?;
            scene.push("?index-debug-info=true&compression=zstd", &[&path]).await?;
            let member = nix::tree(&closure[0].location)?
                .into_keys()
                .map(|file| file.display().to_string())
                .find(|file| file.ends_with(".debug"))
                .context("no debug file was built")?;
            let (folder, file) =
                member.trim_start_matches("lib/debug/.build-id/").split_once('/').context("no build id")?;
            let id = format!("{folder}{}", file.trim_end_matches(".debug"));
            let mut entries = Vec::new();
            for name in [format!("debuginfo/{id}"), format!("debuginfo/{id}.debug")] {
                let entry = scene.get_json(&name).await?;
                ensure!(entry["member"] == member, "{name} is {entry}");
                let archive = entry["archive"].as_str().context("an entry without archive")?;
                let file = scene.get(archive.strip_prefix("../").context("an archive elsewhere")?).await?;
                ensure!(file.status == 200 && !file.body.is_empty(), "{archive}: {}", file.status);
                entries.push(entry);
            }
            ensure!(entries[0] == entries[1], "{entries:?}");
            // A second push asks whether the entry is there.
            scene.push("?index-debug-info=true&compression=zstd", &[&path]).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_39_realisations_are_kept() {
    let check = Check::new("nix 17.39", "realisations of derivations named by content are kept, and substitute");
    check
        .with_each_nix(async |release| {
            let scene = Scene::new(release).await?;
            let with_content = |nix: Nix| nix.with("extra-experimental-features", "ca-derivations");
            let pusher = with_content(scene.holder(&scene.push)?);
            let built = pusher.build(&nix::expression("shapes.nix"), Some("above"), &[("tag", "above")]).await?;
            let path = built.first().context("nix-build printed no path")?;
            let closure = pusher.closure(path).await?;
            ensure!(closure.len() == 2, "{closure:?}");
            let installable = scene.installable(&pusher, "above")?;
            // It uploads the realisations each time, whether they are there or not.
            for _ in 0..2 {
                ok(pusher.run("nix", &line(&[&["copy", "--to", scene.uri()]], &installable)).await?).context("push")?;
            }

            let told = pusher.must("nix", &line(&[&["realisation", "info", "--json"]], &installable)).await?;
            let told: Vec<Value> = serde_json::from_str(&told)?;
            let id = told[0]["id"].as_str().with_context(|| format!("realisation info printed {told:?}"))?;
            for name in [format!("realisations/{id}.doi"), format!("realisations/{}.doi", id.replace('!', "%21"))] {
                let served = scene.get_json(&name).await?;
                ensure!(served["id"] == id && served["outPath"] == digest::base_name(path), "{name} is {served}");
                for field in ["signatures", "dependentRealisations"] {
                    let here = told[0].get(field).unwrap_or(&Value::Null);
                    ensure!(served.get(field).unwrap_or(&Value::Null) == here, "{field} of {served} is not {here}");
                }
            }

            // Without the realisations a client cannot know the paths, and it may not build.
            for puller in &NixRelease::all()? {
                let what = || format!("pulled by {puller}");
                let store = FreshStore::of(puller)?;
                let nix = with_content(Nix::of(puller)?);
                let root = nix.root_of(&store)?;
                let installable = scene.installable(&nix, "above")?;
                let options = ["--option", "substituters", scene.uri(), "--option", "trusted-public-keys", scene.key()];
                let build = ["build", "--no-link", "--store", &root, "--max-jobs", "0"];
                ok(nix.run("nix", &line(&[&build, &options], &installable)).await?).with_context(what)?;
                store.holds(&closure).with_context(what)?;
            }
            Ok(())
        })
        .await;
}
