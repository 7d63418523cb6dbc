//! HTTPS by this server itself: its certificate, taken anew when its files change, so that whoever renews it restarts nothing.

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use iglu_api::Timestamp;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);
/// From so long before its end on, a certificate is warned of, in milliseconds.
const SOON: i64 = 7 * Timestamp::DAY;

/// A certificate and its key, as their files have them now.
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<Loaded>,
}

struct Loaded {
    certified: Arc<CertifiedKey>,
    valid: (Timestamp, Timestamp),
    /// Which files they were, and in what state; a link that leads elsewhere changes it too.
    changed: [Option<State>; 2],
}

impl Certificate {
    /// Reads both files.
    pub fn load(chain: &Path, key: &Path) -> anyhow::Result<Arc<Certificate>> {
        let current = ArcSwap::from_pointee(read(chain, key)?);
        Ok(Arc::new(Certificate { chain: chain.to_owned(), key: key.to_owned(), current }))
    }

    /// What ends TLS with it.
    pub fn acceptor(self: &Arc<Self>) -> anyhow::Result<TlsAcceptor> {
        let builder = ServerConfig::builder_with_provider(ring::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().context("the versions of TLS")?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// When it ends.
    pub fn ends_at(&self) -> Timestamp {
        self.current.load().valid.1
    }

    /// What clients will say of it at this moment, and what helps. `None` where it is good.
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        let Loaded { valid: (begins, ends), .. } = **self.current.load();
        let cure = format!("renew it: {} is read again when it changes", self.chain.display());
        let days = |span: i64| span / Timestamp::DAY;
        match () {
            () if now.0 > ends.0 => Some(format!("the certificate expired {} days ago; {cure}", days(now.0 - ends.0))),
            () if now.0 < begins.0 => {
                Some("the certificate is not good yet; look at the clock of this machine, or wait".to_owned())
            }
            () if now.0 + SOON > ends.0 => {
                Some(format!("the certificate expires in {} days; {cure}", days(ends.0 - now.0)))
            }
            () => None,
        }
    }

    /// Looks at the files until the end. What cannot be used is said, and the certificate before it goes on.
    pub async fn keep(self: Arc<Self>, now: impl Fn() -> Timestamp, mut stopping: watch::Receiver<bool>) {
        let mut said = None;
        let mut refused = String::new();
        loop {
            let trouble = self.trouble(now());
            if trouble != said
                && let Some(trouble) = &trouble
            {
                tracing::warn!("{trouble}");
            }
            said = trouble;
            metrics::gauge!("iglu_certificate_expiry_timestamp_seconds").set(self.ends_at().0 as f64 / 1000.0);
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stopping.changed() => return,
            }
            let changed = changed(&self.chain, &self.key);
            if changed == self.current.load().changed {
                continue;
            }
            match read(&self.chain, &self.key) {
                Ok(loaded) => {
                    self.current.store(Arc::new(loaded));
                    refused.clear();
                    tracing::info!("the certificate was read again");
                }
                // Both files are rarely written at once: the next look may find them agree.
                Err(error) => {
                    let error = format!("{error:#}");
                    if error != refused {
                        tracing::warn!(error, "the new certificate cannot be used; the one before it goes on");
                    }
                    refused = error;
                }
            }
        }
    }
}

/// A file as the system knows it: device, number, size, and when it or what is said of it changed. Where files come from archives, the
/// time of their contents is always the same.
type State = (u64, u64, u64, i64, i64);

fn changed(chain: &Path, key: &Path) -> [Option<State>; 2] {
    let state = |meta: fs::Metadata| (meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec());
    [chain, key].map(|file| fs::metadata(file).map(state).ok())
}

fn read(chain: &Path, key: &Path) -> anyhow::Result<Loaded> {
    // Looked at first: what is written meanwhile is found at the next look.
    let changed = changed(chain, key);
    let place = || format!("the certificate {}", chain.display());
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).with_context(place)?;
    let Some(own) = certificates.first() else { bail!("{}: there is none in this file", place()) };
    let (_, parsed) = x509_parser::parse_x509_certificate(own).with_context(place)?;
    let millis = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp() * 1000);
    let valid = (millis(parsed.validity().not_before), millis(parsed.validity().not_after));
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| format!("the key {}", key.display()))?;
    let certified = CertifiedKey::from_der(certificates, secret, &ring::default_provider())
        .with_context(|| format!("{} with the key {}", place(), key.display()))?;
    Ok(Loaded { certified: Arc::new(certified), valid, changed })
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().certified.clone())
    }
}
