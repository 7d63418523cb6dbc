//! A path in and out of a cache that is made for it, by the way that clients take.

use super::{Findings, outside::Server};
use crate::verb::Api;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use iglu_api::{
    cache::{CacheCreate, CacheDetail, Permission, Visibility},
    instance::AuditPage,
    name::CacheName,
    pin::{Keep, PinCreate},
    token::{CreatedToken, TokenCreate},
};
use iglu_core::{Core, secret};
use nix_compat::{Compression, ContentAddress, NarInfo, NixHash, Sha256, StorePath, VerifyingKey, nar};
use reqwest::{Method, StatusCode};
use std::{net::IpAddr, time::Duration};
use zeroize::Zeroizing;

/// Larger than what proxies take that nobody told how large NARs are.
const SIZE: usize = 2 << 20;
/// How long a running server may take to know of a cache that was made beside it.
const NOTICE: Duration = Duration::from_secs(5);
/// The token is gone soon, even where this program is.
const TOKEN_TIME: i64 = 10 * 60 * 1000;

/// What is said where nothing better is known.
const LOOK: &str = "the log of the server says more";

/// Pushes and pulls by the server, and takes everything away again.
pub async fn examine(core: &Core, server: &Server, findings: &mut Findings) {
    let api = Api::here(core);
    let made = async {
        let name = CacheName::parse(&format!("doctor-{}", &secret::fresh("")[..12]))?;
        let cache: CacheDetail = api.post("caches", CacheCreate::new(name.clone(), Visibility::Private)).await?;
        anyhow::Ok((name, cache))
    };
    let (name, cache) = match made.await {
        Ok(made) => made,
        Err(error) => return findings.bad("push and pull", format!("making a cache for it: {error:#}"), LOOK),
    };
    let done = async {
        let create = TokenCreate {
            name: "doctor".to_owned(),
            cache: Some(name.clone()),
            scope: Permission::Admin,
            expires_at: Some(core.now().plus(TOKEN_TIME)),
            is_of_cache: true,
        };
        let token: CreatedToken = api.post("tokens", create).await?;
        let trip = Trip { server, base: format!("{}/{name}", server.url), token: Zeroizing::new(token.token) };
        let path = trip.pushed_and_pulled(&cache).await?;
        let address = trip.seen_from(&api, &name, &path).await?;
        anyhow::Ok(address)
    }
    .await;
    match done {
        Ok(address) => {
            findings.good("push and pull", format!("{} MiB went in and out, signed", SIZE >> 20));
            proxy(server, &address, findings);
        }
        Err(error) => {
            let cure = match error.downcast_ref::<Told>() {
                Some(told) => told.cure,
                None => LOOK,
            };
            findings.bad("push and pull", format!("{error:#}"), cure);
        }
    }
    if let Err(error) = api.delete::<()>(&format!("caches/{name}")).await {
        findings.odd(
            "tidying",
            format!("cache {name} stays: {error:#}"),
            &format!("iglu admin cache remove {name} --yes"),
        );
    }
}

/// Whether the server knows who asks, behind its proxy.
fn proxy(server: &Server, address: &str, findings: &mut Findings) {
    let is_loopback = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    if is_loopback && !server.is_here {
        let cure = "let the proxy send X-Forwarded-For, and name its network with --trusted-proxies: limits of logins count by address";
        findings.odd("clients", format!("everybody seems to come from {address}"), cure);
    } else {
        findings.good("clients", format!("this machine is seen as {address}"));
    }
}

/// A refusal of which is known what helps.
#[derive(Debug)]
struct Told {
    message: String,
    cure: &'static str,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Told {}

struct Trip<'a> {
    server: &'a Server,
    /// The cache's URL below the public one.
    base: String,
    token: Zeroizing<String>,
}

impl Trip<'_> {
    async fn ask(&self, method: Method, name: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let url = format!("{}/{name}", self.base);
        let request =
            self.server.client.request(method, &url).basic_auth("doctor", Some(self.token.as_str())).body(body);
        let reply = request.send().await.with_context(|| format!("asking {url}"))?;
        let status = reply.status();
        Ok((status, reply.bytes().await.with_context(|| format!("reading {url}"))?))
    }

    async fn put(&self, name: &str, body: impl Into<Bytes>) -> anyhow::Result<()> {
        let (status, told) = self.ask(Method::PUT, name, body.into()).await?;
        let told = String::from_utf8_lossy(&told[..told.len().min(300)]).into_owned();
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::PAYLOAD_TOO_LARGE => Err(Told {
                message: format!("a file of {} MiB is too large for the proxy", SIZE >> 20),
                cure: "let it take bodies of any size (nginx: client_max_body_size 0)",
            }
            .into()),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::FORBIDDEN => Err(Told {
                message: format!("PUT of {name} is refused: {status} {told}"),
                cure: "where this is the proxy's word, let it take every method",
            }
            .into()),
            status => bail!("PUT of {name}: {status} {told}"),
        }
    }

    async fn get(&self, name: &str) -> anyhow::Result<Bytes> {
        let (status, told) = self.ask(Method::GET, name, Bytes::new()).await?;
        ensure!(
            status.is_success(),
            "GET of {name}: {status} {}",
            String::from_utf8_lossy(&told[..told.len().min(300)])
        );
        Ok(told)
    }

    /// The server serves the database that the cache was made in.
    async fn is_known(&self) -> anyhow::Result<()> {
        let started = tokio::time::Instant::now();
        loop {
            let error = match self.get("nix-cache-info").await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if started.elapsed() > NOTICE {
                let message = format!("the server does not know a cache that was made a moment ago: {error:#}");
                let cure = "it serves another database, or the proxy does not hand on the Authorization header: give both the same settings";
                return Err(Told { message, cure }.into());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// The path that went in and out.
    async fn pushed_and_pulled(&self, cache: &CacheDetail) -> anyhow::Result<StorePath> {
        self.is_known().await?;
        let content: Vec<u8> = secret::fresh("").bytes().cycle().take(SIZE).collect();
        let mut writer = nar::Writer::new(Vec::new())?;
        writer.file(false, content.len() as u64, content.as_slice())?;
        let archive = Bytes::from(writer.finish()?);
        let hash = Sha256::digest(&archive);
        let ca = ContentAddress::Fixed { recursive: true, hash: NixHash::from(hash) };
        let path = ca.store_path("iglu-doctor", &[], false)?;
        let url = format!("nar/{}.nar", hash.to_nix32());
        let mut info = NarInfo::new(path.clone(), url.clone(), Compression::None, hash, archive.len() as u64);
        (info.file_hash, info.file_size, info.ca) = (Some(hash), Some(archive.len() as u64), Some(ca));
        self.put(&url, archive.clone()).await?;
        let narinfo = format!("{}.narinfo", path.hash());
        self.put(&narinfo, info.to_text()).await?;

        let served = NarInfo::parse(&self.get(&narinfo).await?)?;
        let keys = cache.public_keys.iter().filter_map(|key| VerifyingKey::parse(key).ok());
        let fingerprint = served.fingerprint();
        let is_signed =
            keys.into_iter().any(|key| served.signatures.iter().any(|signature| key.verify(&fingerprint, signature)));
        ensure!(
            is_signed,
            "what the server serves is not signed with the cache's key; has it the same master key as this program?"
        );
        ensure!(self.get(&served.url).await? == archive, "the server sends other bytes than it was sent");
        Ok(path)
    }

    /// The address that the server believes this machine to have: as its audit log has it for something done by the way of clients.
    async fn seen_from(&self, here: &Api, cache: &CacheName, path: &StorePath) -> anyhow::Result<String> {
        let there = Api::there(self.server.url.clone(), Some(self.token.clone()))?;
        let pin = PinCreate {
            name: "doctor".to_owned(),
            store_path: path.to_absolute(),
            artifacts: Vec::new(),
            keep: Keep::Forever,
        };
        let () = there.post(&format!("caches/{cache}/pins"), pin).await?;
        let audit: AuditPage = here.get(&format!("caches/{cache}/audit?search=pin")).await?;
        let row = audit.rows.first().context("the audit log does not have the pin")?;
        Ok(row.address.clone())
    }
}
