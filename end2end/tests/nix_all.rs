//! What the real Nix does with a cache, with every release that there is: this machine's, and those in chroots when
//! IGLU_NIX_ROOTS names their folder. A failure names the release.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Output;

use anyhow::{Context as _, ensure};
use http::Method;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Reply};
use iglu_end2end::nix::{self, FreshStore, Nix, NixRelease, PathInfo, said};
use iglu_end2end::server::{self, CacheShown, Scope, Server, Setup};
use iglu_end2end::tls_proxy::TlsProxy;
use nix_compat::signing::SigningKey;
use serde_json::Value;

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

/// A server with one cache, and a release of Nix that uses it.
struct Scene {
    release: NixRelease,
    server: Server,
    cache: CacheShown,
    push: String,
    pull: String,
}

impl Scene {
    async fn new(release: NixRelease) -> anyhow::Result<Self> {
        Self::on(Server::start().await?, release, false)
    }

    async fn private(release: NixRelease) -> anyhow::Result<Self> {
        Self::on(Server::start().await?, release, true)
    }

    fn on(server: Server, release: NixRelease, private: bool) -> anyhow::Result<Self> {
        let cache = server.cache("main", private)?;
        let (push, pull) = (server.token("main", Scope::Push)?, server.token("main", Scope::Pull)?);
        Ok(Self { release, server, cache, push, pull })
    }

    fn key(&self) -> &str {
        &self.cache.public_keys[0]
    }

    fn uri(&self) -> &str {
        &self.cache.uri
    }

    /// A client that remembers nothing and has no credentials.
    fn stranger(&self) -> anyhow::Result<Nix> {
        Nix::of(&self.release)
    }

    /// A client with a token for this server.
    fn holder(&self, token: &str) -> anyhow::Result<Nix> {
        self.stranger()?.with_netrc(&netrc(token))
    }

    async fn push(&self, parameters: &str, paths: &[&str]) -> anyhow::Result<()> {
        let target = format!("{}{parameters}", self.uri());
        ok(self.holder(&self.push)?.copy_to(&target, paths).await?).with_context(|| format!("push to {target}"))
    }

    /// Pulls into a new store that trusts nothing but the cache's key, and compares every file.
    async fn pulls_back(&self, client: &Nix, uri: &str, paths: &[&str], closure: &[PathInfo]) -> anyhow::Result<()> {
        let store = FreshStore::of(&self.release)?;
        ok(client.substitute(&store, uri, self.key(), paths).await?).with_context(|| format!("pull from {uri}"))?;
        store.holds(closure)?;
        for path in paths {
            ok(client.verify(&store, self.key(), path).await?).context("verify")?;
        }
        Ok(())
    }

    /// The attribute of `shapes.nix` with its closure, built where it is not there yet.
    async fn shape(&self, attr: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
        let nix = self.stranger()?;
        let built = nix.build(&nix::expression("shapes.nix"), Some(attr), &[("tag", attr)]).await?;
        let path = built.first().context("nix-build printed no path")?.clone();
        let closure = nix.closure(&path).await?;
        Ok((path, closure))
    }

    /// What `nix` takes to mean an attribute of `shapes.nix` and not its output.
    fn installable(&self, nix: &Nix, attr: &str) -> anyhow::Result<Vec<String>> {
        let file = nix.place(&nix::expression("shapes.nix"))?;
        Ok(["--file", &file, "--argstr", "tag", attr, attr].map(str::to_owned).to_vec())
    }

    /// A GET below the cache's URL.
    async fn get(&self, name: &str) -> anyhow::Result<Reply> {
        let credentials = Credentials::Basic(String::new(), self.pull.clone());
        let url = format!("{}/main/{name}", self.server.url());
        self.server.http().call(Method::GET, &url, &credentials, &[], "").await
    }

    async fn get_json(&self, name: &str) -> anyhow::Result<Value> {
        let reply = self.get(name).await?;
        ensure!(reply.status == 200, "GET {name}: {} {}", reply.status, reply.text());
        serde_json::from_slice(&reply.body).with_context(|| format!("{name} is {:?}", reply.text()))
    }
}

fn netrc(token: &str) -> String {
    ["127.0.0.1", "localhost"].map(|machine| format!("machine {machine} login ci password {token}\n")).concat()
}

fn ok(output: Output) -> anyhow::Result<()> {
    ensure!(output.status.success(), "{}: {}", output.status, said(&output));
    Ok(())
}

fn refused(output: Output, what: &str) -> anyhow::Result<()> {
    ensure!(!output.status.success(), "{what}: {}", said(&output));
    Ok(())
}

/// The arguments in one line of a command.
fn line<'a>(parts: &[&[&'a str]], installable: &'a [String]) -> Vec<&'a str> {
    parts.concat().into_iter().chain(installable.iter().map(String::as_str)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_goes_in_and_comes_back_in_each_compression() {
    with_each(async |release| {
        let server = Server::start().await?;
        for compression in ["none", "xz", "zstd", "gzip", "bzip2", "br"] {
            let cache = server.cache(compression, false)?;
            let (push, pull) = (server.token(compression, Scope::Push)?, server.token(compression, Scope::Pull)?);
            let client = |token: &str| Nix::of(&release)?.with_netrc(&netrc(token));
            let (top, mut closure) = nix::chain_of(&release, compression).await?;
            let several = Nix::of(&release)?
                .build(&nix::expression("shapes.nix"), Some("several.all"), &[("tag", compression)])
                .await?;
            ensure!(several.len() == 3, "{several:?}");
            for path in &several {
                let known: BTreeSet<String> = closure.iter().map(|info| info.path.clone()).collect();
                let more = Nix::of(&release)?.closure(path).await?;
                closure.extend(more.into_iter().filter(|info| !known.contains(&info.path)));
            }
            ensure!(closure.len() == 6, "{closure:?}");
            let paths: Vec<&str> = [&top].into_iter().chain(&several).map(String::as_str).collect();

            let target = format!("{}?compression={compression}", cache.uri);
            ok(client(&push)?.copy_to(&target, &paths).await?).with_context(|| format!("push with {compression}"))?;
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
            let store = FreshStore::of(&release)?;
            let puller = Nix::of(&release)?;
            ok(puller.substitute(&store, &cache.uri, key, &paths).await?)
                .with_context(|| format!("pull with {compression}"))?;
            store.holds(&closure)?;
            ok(puller.verify(&store, key, &top).await?).context("verify")?;

            let name = key.split_once(':').context("a key without name")?.0;
            let other = SigningKey::from_seed(name, [9; 32])?.verifying_key().to_string();
            let wary = FreshStore::of(&release)?;
            let got = Nix::of(&release)?.substitute(&wary, &cache.uri, &other, &paths).await?;
            refused(got, "another key of the same name was good enough")?;
            ensure!(!wary.locate(&top).exists());
        }
        Ok(())
    })
    .await;
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

#[tokio::test(flavor = "multi_thread")]
async fn build_logs_are_kept_and_shown() {
    with_each(async |release| {
        let scene = Scene::private(release).await?;
        let (path, closure) = scene.shape("talking").await?;
        let deriver = closure[0].deriver.clone().context("a build without deriver")?;
        let log = "first line of talking\nlast line of talking\n";
        let pusher = scene.holder(&scene.push)?;
        let installable = scene.installable(&pusher, "talking")?;
        // The log may come before the path.
        for _ in 0..2 {
            let copied = pusher.run("nix", &line(&[&["store", "copy-log", "--to", scene.uri()]], &installable)).await?;
            ok(copied).context("copy-log")?;
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
        let denied = scene.holder(&scene.pull)?;
        let copied = denied.run("nix", &line(&[&["store", "copy-log", "--to", scene.uri()]], &installable)).await?;
        refused(copied, "a token without the right to write left a log")?;

        // An empty log is a log.
        let (_, closure) = scene.shape("silent").await?;
        let installable = scene.installable(&pusher, "silent")?;
        ok(pusher.run("nix", &line(&[&["store", "copy-log", "--to", scene.uri()]], &installable)).await?)
            .context("copy-log of an empty log")?;
        let deriver = closure[0].deriver.clone().context("a build without deriver")?;
        let served = scene.get(&format!("log/{deriver}")).await?;
        ensure!(served.status == 200 && served.body.is_empty(), "{} {:?}", served.status, served.text());
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_named_by_content_are_found_by_their_derivation() {
    let releases = NixRelease::all().unwrap();
    with_each(async |release| {
        let scene = Scene::new(release).await?;
        let with_content = |nix: Nix| nix.with("extra-experimental-features", "ca-derivations");
        let pusher = with_content(scene.holder(&scene.push)?);
        let args = [("tag", "above")];
        let built = pusher.build(&nix::expression("shapes.nix"), Some("above"), &args).await?;
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
        }

        // Without the realisations a client cannot know the paths, and it may not build.
        for puller in &releases {
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

#[tokio::test(flavor = "multi_thread")]
async fn commands_read_the_cache() {
    with_each(async |release| {
        let scene = Scene::new(release).await?;
        let (top, closure) = nix::chain_of(&scene.release, "commands").await?;
        scene.push("?compression=br", &[&top]).await?;
        let signer = scene.key().split(':').next().unwrap_or_default();
        // The same with and without a slash at the end.
        for uri in [scene.uri().to_owned(), format!("{}/", scene.uri())] {
            let mut told = scene.stranger()?.closure_in(&uri, &top).await?;
            ensure!(told.len() == closure.len(), "{told:?}");
            told.iter_mut().for_each(|told| told.references.sort());
            for info in &closure {
                let told = told.iter().find(|told| told.path == info.path).context("a path is not told of")?;
                let signed = PathInfo { signers: vec![signer.to_owned()], ..info.clone() };
                ensure!(*told == signed, "{told:?} is not {signed:?}");
            }
        }

        let text = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            let nix = scene.stranger();
            async move { nix?.must("nix", &args).await }
        };
        let listed = text(&["store", "ls", "-lR", "--store", scene.uri(), &top]).await?;
        for name in ["./run", "./zeros", "./self"] {
            ensure!(listed.contains(name), "{listed}");
        }
        let shown = text(&["store", "cat", "--store", scene.uri(), &format!("{top}/self")]).await?;
        ensure!(shown == format!("I am {top}\n"), "{shown:?}");

        let store = FreshStore::of(&scene.release)?;
        let nix = scene.stranger()?;
        let to = nix.root_of(&store)?;
        let from = ["copy", "--from", scene.uri(), "--to", &to, &top, "--option", "trusted-public-keys", scene.key()];
        nix.must("nix", &from).await?;
        store.holds(&closure)?;

        let missing = "/nix/store/00000000000000000000000000000000-missing";
        let absent = scene.stranger()?.run("nix", &["path-info", "--store", scene.uri(), missing]).await?;
        refused(absent, "a path that is not there is told of")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_added_to_what_is_there() {
    with_each(async |release| {
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
        let own = scene.key().split(':').next().unwrap_or_default();
        let mut signers = vec!["builder-1", "reviewer-1", own];
        signers.sort_unstable();
        for told in scene.stranger()?.closure_in(scene.uri(), &top).await? {
            ensure!(told.signers == signers, "{} is signed by {:?}", told.path, told.signers);
        }
        for key in [&first.verifying_key().to_string(), &second.verifying_key().to_string(), scene.key()] {
            let store = FreshStore::of(&scene.release)?;
            let got = scene.stranger()?.substitute(&store, scene.uri(), key, &[&top]).await?;
            ok(got).with_context(|| format!("trusting {key}"))?;
            store.holds(&closure)?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_cache_opens_to_a_token_in_any_form() {
    with_each(async |release| {
        let scene = Scene::private(release).await?;
        let (top, closure) = nix::chain_of(&scene.release, "private").await?;
        let strangers = || -> anyhow::Result<[Nix; 2]> { Ok([scene.stranger()?, scene.holder("iglu_nonsense")?]) };
        for nix in strangers()? {
            refused(nix.copy_to(scene.uri(), &[&top]).await?, "pushed without a token")?;
        }
        refused(scene.holder(&scene.pull)?.copy_to(scene.uri(), &[&top]).await?, "pushed with a reader's token")?;
        scene.push("", &[&top]).await?;

        for netrc in ["password TOKEN", "login ci password TOKEN", "login someone@example.org\n  password TOKEN"] {
            let nix = scene.stranger()?;
            let nix = nix.with_netrc(&format!("machine 127.0.0.1 {}\n", netrc.replace("TOKEN", &scene.pull)))?;
            scene.pulls_back(&nix, scene.uri(), &[&top], &closure).await.with_context(|| format!("netrc {netrc:?}"))?;
        }
        let with_user = scene.uri().replacen("://", &format!("://anyone:{}@", scene.pull), 1);
        scene.pulls_back(&scene.stranger()?, &with_user, &[&top], &closure).await?;

        for nix in strangers()? {
            let store = FreshStore::of(&scene.release)?;
            let got = nix.substitute(&store, scene.uri(), scene.key(), &[&top]).await?;
            refused(got, "pulled without a token")?;
            ensure!(!store.locate(&top).exists());
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_information_is_found_by_build_id() {
    with_each(async |release| {
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
        for name in [format!("debuginfo/{id}"), format!("debuginfo/{id}.debug")] {
            let entry = scene.get_json(&name).await?;
            ensure!(entry["member"] == member, "{name} is {entry}");
            let archive = entry["archive"].as_str().context("an entry without archive")?;
            let file = scene.get(archive.strip_prefix("../").context("an archive elsewhere")?).await?;
            ensure!(file.status == 200 && !file.body.is_empty(), "{archive}: {}", file.status);
        }
        // A second push asks whether the entry is there.
        scene.push("?index-debug-info=true&compression=zstd", &[&path]).await
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
async fn listings_tell_what_is_in_a_nar() {
    with_each(async |release| {
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
