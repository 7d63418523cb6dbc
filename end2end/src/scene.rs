//! A server with one cache, and a release of Nix that uses it. Owns the server; builds into that release's store.

use std::process::Output;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::Value;

use crate::attic;
use crate::cachix;
use crate::http::{Credentials, Reply};
use crate::nix::{self, FreshStore, Nix, NixRelease, PathInfo, said};
use crate::put::Putter;
use crate::server::{CacheShown, Scope, Server, Setup};

/// A server with the cache `main`, two tokens for it, and a release of Nix.
#[derive(Debug)]
pub struct Scene {
    /// Which Nix.
    pub release: NixRelease,
    /// The server.
    pub server: Server,
    /// The cache.
    pub cache: CacheShown,
    /// A token that may push.
    pub push: String,
    /// A token that may only pull.
    pub pull: String,
}

impl Scene {
    /// With a public cache.
    pub async fn new(release: NixRelease) -> anyhow::Result<Self> {
        Self::on(Server::start().await?, release, false)
    }

    /// With a private cache.
    pub async fn private(release: NixRelease) -> anyhow::Result<Self> {
        Self::on(Server::start().await?, release, true)
    }

    /// With a public cache that has a host name of its own, `main.cache.test`.
    pub async fn with_host_names() -> anyhow::Result<Self> {
        Self::on(Setup::default().with_cache_domain("cache.test").start().await?, NixRelease::Host, false)
    }

    /// Makes the cache and the tokens on a server.
    pub fn on(server: Server, release: NixRelease, private: bool) -> anyhow::Result<Self> {
        let cache = server.cache("main", private)?;
        let (push, pull) = (server.token("main", Scope::Push)?, server.token("main", Scope::Pull)?);
        Ok(Self { release, server, cache, push, pull })
    }

    /// The cache's public key.
    pub fn key(&self) -> &str {
        self.cache.public_keys.first().map_or("", String::as_str)
    }

    /// The name of the cache's key.
    pub fn key_name(&self) -> &str {
        self.key().split(':').next().unwrap_or_default()
    }

    /// The cache's URL.
    pub fn uri(&self) -> &str {
        &self.cache.uri
    }

    /// A client that remembers nothing and has no credentials.
    pub fn stranger(&self) -> anyhow::Result<Nix> {
        Nix::of(&self.release)
    }

    /// A client with a token for this server.
    pub fn holder(&self, token: &str) -> anyhow::Result<Nix> {
        self.stranger()?.with_netrc(&netrc(token))
    }

    /// Pushes by PUT with the token that may.
    pub fn putter(&self) -> Putter {
        self.server.putter("main", &self.push)
    }

    /// A cachix client with the token that may push. It gives up at the first refusal of a path.
    pub fn cachix(&self, profile: cachix::Profile) -> cachix::Client {
        cachix::Client::new(profile.without_path_repeats(), &self.server.url(), Some(&self.push))
    }

    /// A cachix client that reaches every host name at this server.
    pub fn cachix_at(&self, host: &str, profile: cachix::Profile) -> anyhow::Result<cachix::Client> {
        let address = self.server.address();
        let port = address.split_once(':').context("an address without port")?.1;
        let host = format!("http://{host}:{port}");
        cachix::Client::new(profile.without_path_repeats(), &host, Some(&self.push)).reaching(&address)
    }

    /// An attic client with the token that may push.
    pub fn attic(&self, flavour: attic::Flavour) -> anyhow::Result<attic::Client> {
        Ok(self.attic_as(flavour, Some(&self.push))?)
    }

    /// An attic client with any token or none.
    pub fn attic_as(&self, flavour: attic::Flavour, token: Option<&str>) -> Result<attic::Client, attic::Error> {
        let client = attic::Client::new(&format!("{}/", self.server.url()), token)?;
        Ok(match flavour {
            attic::Flavour::Attic => client,
            attic::Flavour::Celler => client.celler(),
        })
    }

    /// `nix copy --to` with parameters of the URL, of paths that are in the store of the release.
    pub async fn push(&self, parameters: &str, paths: &[&str]) -> anyhow::Result<()> {
        let target = format!("{}{parameters}", self.uri());
        ok(self.holder(&self.push)?.copy_to(&target, paths).await?).with_context(|| format!("push to {target}"))
    }

    /// Pulls into a new store that trusts nothing but the cache's key, and compares every file.
    pub async fn pulls_back(
        &self,
        client: &Nix,
        uri: &str,
        paths: &[&str],
        closure: &[PathInfo],
    ) -> anyhow::Result<()> {
        let store = FreshStore::of(&self.release)?;
        ok(client.substitute(&store, uri, self.key(), paths).await?).with_context(|| format!("pull from {uri}"))?;
        store.holds(closure)?;
        for path in paths {
            ok(client.verify(&store, self.key(), path).await?).context("verify")?;
        }
        Ok(())
    }

    /// The attribute of `shapes.nix` with its closure, built where it is not there yet.
    pub async fn shape(&self, attr: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
        let nix = self.stranger()?;
        let built = nix.build(&nix::expression("shapes.nix"), Some(attr), &[("tag", attr)]).await?;
        let path = built.first().context("nix-build printed no path")?.clone();
        let closure = nix.closure(&path).await?;
        Ok((path, closure))
    }

    /// What `nix` takes to mean an attribute of `shapes.nix` and not its output.
    pub fn installable(&self, nix: &Nix, attr: &str) -> anyhow::Result<Vec<String>> {
        let file = nix.place(&nix::expression("shapes.nix"))?;
        Ok(["--file", &file, "--argstr", "tag", attr, attr].map(str::to_owned).to_vec())
    }

    /// A request below the cache's address on the server, with any headers.
    pub async fn ask(
        &self,
        method: Method,
        name: &str,
        credentials: &Credentials,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> anyhow::Result<Reply> {
        let url = format!("{}/main/{name}", self.server.url());
        self.server.http().call(method, &url, credentials, headers, body).await
    }

    /// A GET with the token that may pull.
    pub async fn get(&self, name: &str) -> anyhow::Result<Reply> {
        self.ask(Method::GET, name, &Credentials::Basic(String::new(), self.pull.clone()), &[], "").await
    }

    /// The JSON of a GET that has to succeed.
    pub async fn get_json(&self, name: &str) -> anyhow::Result<Value> {
        let reply = self.get(name).await?;
        ensure!(reply.status == 200, "GET {name}: {} {}", reply.status, reply.text());
        serde_json::from_slice(&reply.body).with_context(|| format!("{name} is {:?}", reply.text()))
    }
}

/// A netrc file with a token for this machine by each of its names.
pub fn netrc(token: &str) -> String {
    ["127.0.0.1", "localhost"].map(|machine| format!("machine {machine} login ci password {token}\n")).concat()
}

/// Fails unless the command succeeded.
pub fn ok(output: Output) -> anyhow::Result<()> {
    ensure!(output.status.success(), "{}: {}", output.status, said(&output));
    Ok(())
}

/// Fails if the command succeeded.
pub fn refused(output: Output, what: &str) -> anyhow::Result<()> {
    ensure!(!output.status.success(), "{what}: {}", said(&output));
    Ok(())
}

/// The arguments in one line of a command.
pub fn line<'a>(parts: &[&[&'a str]], installable: &'a [String]) -> Vec<&'a str> {
    parts.concat().into_iter().chain(installable.iter().map(String::as_str)).collect()
}
