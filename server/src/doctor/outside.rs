//! What others see of the server: names, the way to it, its clock.

use super::Findings;
use iglu_core::Core;
use std::{net::IpAddr, time::Duration};

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// By so many seconds clocks may differ.
const SKEW: i64 = 10;

/// A server that answers at the public URL.
pub struct Server {
    pub client: reqwest::Client,
    pub url: String,
    /// Whether its name leads to this machine itself.
    pub is_here: bool,
}

/// Looks from outside. `None` where nobody is found.
pub async fn examine(core: &Core, findings: &mut Findings) -> Option<Server> {
    let url = core.public_url();
    let parsed = reqwest::Url::parse(&url).ok()?;
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = parsed.port_or_known_default().unwrap_or(80);
    let found = resolve(&host, port).await;
    if found.is_empty() {
        let cure = "make a DNS record of that name, or give the right one with --public-url or on the Admin page";
        findings.bad("name", format!("{host} leads nowhere"), cure);
        return None;
    }
    let is_here = found.iter().all(IpAddr::is_loopback);
    if is_here {
        let cure = "others cannot reach it there: set --public-url to the name that they use, unless it is for this machine alone";
        findings.odd("name", format!("{url} is this machine itself"), cure);
    } else {
        let list = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        findings.good("name", format!("{host} is {list}"));
        if parsed.scheme() == "http" {
            let cure = "let a proxy end TLS before it, or give --tls-certificate and --tls-key, and change the public URL to https://";
            findings.odd("secrecy", format!("tokens and passwords go to {url} in the open"), cure);
        }
    }
    if let Some(domain) = core.address().cache_domain() {
        let name = domain.split(':').next().unwrap_or(domain);
        let any = format!("doctor-{}.{name}", &iglu_core::secret::fresh("")[..8]);
        match resolve(&any, port).await.is_empty() {
            true => findings.bad(
                "cache domain",
                format!("{any} leads nowhere"),
                &format!("make a wildcard DNS record: *.{name}"),
            ),
            false => findings.good("cache domain", format!("*.{name} is there")),
        }
    }
    reached(core, url, is_here, findings).await
}

async fn resolve(host: &str, port: u16) -> Vec<IpAddr> {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
    let mut found: Vec<IpAddr> = found.into_iter().flatten().flatten().map(|address| address.ip()).collect();
    found.sort();
    found.dedup();
    found
}

async fn reached(core: &Core, url: String, is_here: bool, findings: &mut Findings) -> Option<Server> {
    // Fails where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client =
        reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build().ok()?;
    let reply = match client.get(format!("{url}/api/v1/openapi.json")).send().await {
        Ok(reply) => reply,
        Err(error) => {
            // The reason stands at the end of the chain: a certificate, a refused connection.
            let mut why: &dyn std::error::Error = &error;
            while let Some(source) = why.source() {
                why = source;
            }
            let cure = "is the server running, does the proxy lead to it, does a firewall let it through, is the certificate good?";
            findings.bad("way", format!("nothing answers at {url}: {why}"), cure);
            return None;
        }
    };
    let (status, date) = (reply.status(), reply.headers().get("date").cloned());
    let description: Option<serde_json::Value> = match reply.bytes().await {
        Ok(text) => serde_json::from_slice(&text).ok(),
        Err(_) => None,
    };
    let version =
        description.as_ref().filter(|_| status.is_success()).and_then(|json| json["info"]["version"].as_str());
    let Some(version) = version else {
        let cure = "another program answers there: look at the proxy, which has to lead all paths to Iglu";
        findings.bad("way", format!("{url} answers {status}, and not as Iglu would"), cure);
        return None;
    };
    if version == env!("CARGO_PKG_VERSION") {
        findings.good("way", format!("Iglu {version} answers at {url}"));
    } else {
        let told = format!("Iglu {version} answers at {url}, and this is {}", env!("CARGO_PKG_VERSION"));
        findings.odd("way", told, "ask with the program that serves");
    }
    let date = date.as_ref().and_then(|date| date.to_str().ok()).and_then(seconds_of);
    if let Some(date) = date {
        let skew = core.now().0 / 1000 - date;
        match skew.abs() > SKEW {
            true => findings.bad(
                "clock",
                format!("this machine's clock and the server's differ by {} s", skew.abs()),
                "keep all clocks right (NTP): what expires would expire at the wrong time",
            ),
            false => findings.good("clock", "the same here and at the server"),
        }
    }
    Some(Server { client, url, is_here })
}

/// Seconds since 1970 of an HTTP date.
fn seconds_of(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    i64::try_from(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
}
