//! What the real Nix does with a cache, with every release that there is: this machine's, and those in chroots when
//! IGLU_NIX_ROOTS names their folder. A failure names the release.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use iglu_end2end::nix::{self, FreshStore, Nix, NixRelease, said};
use iglu_end2end::scene::{Scene, line, netrc, ok, refused};
use iglu_end2end::server::{self, Setup};
use iglu_end2end::tls_proxy::TlsProxy;

/// Runs a scenario with each release, all of them whatever becomes of the first, and fails with all that went wrong.
async fn with_each<F>(scenario: impl Fn(NixRelease) -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut failures = String::new();
    for release in NixRelease::all().unwrap() {
        let version = release.version().await.unwrap();
        println!("with {release} {version:?}");
        if let Err(error) = scenario(release.clone()).await {
            failures += &format!("\n--- {release} {version:?}: {error:#}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_release_pushes_every_other_pulls() {
    let releases = NixRelease::all().unwrap();
    with_each(async |pusher| {
        let scene = Scene::new(pusher).await?;
        let (top, closure) = nix::many_of(&scene.release, "mixed").await?;
        let (chain, links) = nix::chain_of(&scene.release, "mixed").await?;
        scene.push("?compression=zstd", &[&top, &chain]).await?;
        for puller in &releases {
            let store = FreshStore::of(puller)?;
            let client = Nix::of(puller)?;
            let what = || format!("pulled by {puller}");
            ok(client.substitute(&store, scene.uri(), scene.key(), &[&top, &chain]).await?).with_context(what)?;
            store.holds(&closure).and_then(|()| store.holds(&links)).with_context(what)?;
            ok(client.verify(&store, scene.key(), &top).await?).with_context(what)?;
            // What another release has pushed is not uploaded again.
            let again = Nix::of(puller)?.with_netrc(&netrc(&scene.pull))?;
            let built = nix::chain_of(puller, "mixed").await?.0;
            ensure!(built == chain, "{puller} builds {built}, not {chain}");
            ok(again.copy_to(scene.uri(), &[&built]).await?).with_context(what)?;
        }
        Ok(())
    })
    .await;
}

/// Releases from 2.32 on compress the small files that they upload, and say so in a header; older ones read them.
#[tokio::test(flavor = "multi_thread")]
async fn small_files_may_come_compressed() {
    let releases = NixRelease::all().unwrap();
    with_each(async |release| {
        if release.version().await? < (2, 32) {
            return Ok(());
        }
        let scene = Scene::new(release).await?;
        let (path, closure) = scene.shape("talking").await?;
        for (narinfo, listing, log) in [("gzip", "br", "zstd"), ("zstd", "gzip", "br"), ("br", "zstd", "gzip")] {
            let parameters = format!("?narinfo-compression={narinfo}&ls-compression={listing}&log-compression={log}");
            scene.push(&format!("{parameters}&write-nar-listing=true"), &[&path]).await?;
            let pusher = scene.holder(&scene.push)?;
            let target = format!("{}{parameters}", scene.uri());
            let installable = scene.installable(&pusher, "talking")?;
            ok(pusher.run("nix", &line(&[&["store", "copy-log", "--to", &target]], &installable)).await?)
                .with_context(|| format!("copy-log with {log}"))?;
        }
        for reader in &releases {
            let what = || format!("read by {reader}");
            let store = FreshStore::of(reader)?;
            let got = Nix::of(reader)?.substitute(&store, scene.uri(), scene.key(), &[&path]).await?;
            ok(got).with_context(what)?;
            store.holds(&closure).with_context(what)?;
            let shown =
                Nix::of(reader)?.must("nix", &["log", "--store", scene.uri(), &path]).await.with_context(what)?;
            ensure!(shown == "first line of talking\nlast line of talking\n", "{reader}: {shown:?}");
        }
        Ok(())
    })
    .await;
}

/// A store name may hold `?`, `=` and `+`, which mean something else in a URL.
async fn odd_names(scene: &Scene, pusher: Nix, puller: impl Fn() -> anyhow::Result<Nix>) -> anyhow::Result<()> {
    let (path, closure) = scene.shape("odd").await?;
    ensure!(path.contains("q?x=1+y"), "{path}");
    ok(pusher.copy_to(scene.uri(), &[&path]).await?).context("push")?;
    scene.pulls_back(&puller()?, scene.uri(), &[&path], &closure).await?;
    let shown = puller()?.must("nix", &["store", "cat", "--store", scene.uri(), &format!("{path}/self")]).await?;
    ensure!(shown == format!("I am {path}\n"), "{shown:?}");

    let installable = scene.installable(&pusher, "odd")?;
    let copied = pusher.run("nix", &line(&[&["store", "copy-log", "--to", scene.uri()]], &installable)).await?;
    ok(copied).context("copy-log")?;
    let shown = puller()?.must("nix", &["log", "--store", scene.uri(), &path]).await?;
    ensure!(shown == "an odd name: odd\n", "{shown:?}");
    let deriver = closure[0].deriver.clone().context("a build without deriver")?;
    for name in [deriver.clone(), deriver.replace('+', "%2B"), deriver.replace('?', "%3F").replace('=', "%3D")] {
        let served = scene.get(&format!("log/{name}")).await?;
        ensure!(served.text() == shown, "{name}: {} {:?}", served.status, served.text());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_may_hold_what_means_something_in_a_url() {
    with_each(async |release| {
        let scene = Scene::new(release).await?;
        odd_names(&scene, scene.holder(&scene.push)?, || scene.stranger()).await
    })
    .await;
}

/// A server that knows itself by the proxy's address, and the proxy.
async fn behind_a_proxy(release: NixRelease) -> anyhow::Result<(Scene, TlsProxy)> {
    let port = server::free_port()?;
    let server = Setup::default().with_public_url(&format!("https://localhost:{port}")).start().await?;
    let proxy = TlsProxy::start(port, &server.address()).await?;
    Ok((Scene::on(server, release, true)?, proxy))
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_speaks_tls_and_http2_and_holds_nothing_back() {
    with_each(async |release| {
        let (scene, proxy) = behind_a_proxy(release).await?;
        ensure!(scene.uri() == format!("{}/main", proxy.url()), "{:?}", scene.cache);
        let authority = proxy.authority()?;
        let (many, parts) = nix::many_of(&scene.release, "proxy").await?;
        let (bulky, file) = scene.shape("bulky").await?;

        let target = format!("{}?compression=none", scene.uri());
        let pusher = scene.holder(&scene.push)?.with_certificates(&authority)?;
        ok(pusher.copy_to(&target, &[&many, &bulky]).await?).context("push")?;
        let puller = scene.holder(&scene.pull)?.with_certificates(&authority)?;
        let closure = [parts, file].concat();
        scene.pulls_back(&puller, scene.uri(), &[&many, &bulky], &closure).await?;

        let accesses = proxy.accesses()?;
        let connections: BTreeSet<u64> = accesses.iter().map(|access| access.connection).collect();
        println!("{} requests on {} connections", accesses.len(), connections.len());
        ensure!(accesses.len() > 4 * closure.len(), "only {} requests were seen", accesses.len());
        for access in &accesses {
            ensure!(access.protocol == "HTTP/2.0" && access.status < 500, "{access:?}");
        }
        ensure!(!proxy.errors().contains("buffered to a temporary file"), "{}", proxy.errors());

        let store = FreshStore::of(&scene.release)?;
        let wary = scene.holder(&scene.pull)?.with("download-attempts", "1");
        let got = wary.substitute(&store, scene.uri(), scene.key(), &[&many]).await?;
        refused(got, "a certificate of an unknown authority was good enough")
    })
    .await;
}

/// The refusal comes while a large body is on its way, and has to arrive as what it is: a proxy that is cut off in the
/// middle of sending makes a 502 of it, which clients take for a passing trouble.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_passes_an_early_refusal_on() {
    with_each(async |release| {
        let (scene, proxy) = behind_a_proxy(release).await?;
        let authority = proxy.authority()?;
        let (bulky, _) = scene.shape("bulky").await?;
        let target = format!("{}?compression=none", scene.uri());
        for _ in 0..5 {
            let reader = scene.holder(&scene.pull)?.with_certificates(&authority)?;
            let denied = reader.copy_to(&target, &[&bulky]).await?;
            ensure!(said(&denied).contains("403"), "{}", said(&denied));
            refused(denied, "pushed with a reader's token")?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_leaves_names_as_they_are() {
    with_each(async |release| {
        let (scene, proxy) = behind_a_proxy(release).await?;
        let authority = proxy.authority()?;
        let pusher = scene.holder(&scene.push)?.with_certificates(&authority)?;
        odd_names(&scene, pusher, || scene.holder(&scene.pull)?.with_certificates(&authority)).await
    })
    .await;
}
