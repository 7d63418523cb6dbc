//! Who asks: credentials for web servers and buckets. Secrets are erased when dropped and appear in no message.

use crate::error::ImportError;
use object_store::{
    ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
};
use std::{fmt, sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// How long a connection may take to be made, and how long a server may be silent.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// Times that a question is asked again.
pub(crate) const RETRIES: usize = 4;

/// What a source may need to let us in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// For `http://` and `https://`. They are not sent along when another host is redirected to.
    pub credentials: Option<Credentials>,
    /// For `s3://`.
    pub s3: S3Access,
}

/// What an `Authorization` header is made of.
#[derive(Clone)]
pub enum Credentials {
    /// A token, as Iglu's and cachix's.
    Bearer(Zeroizing<String>),
    /// A name with a password, as in netrc files.
    Basic {
        /// The name; many servers take any.
        user: String,
        /// The password or token.
        password: Zeroizing<String>,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => f.write_str("Bearer"),
            Self::Basic { user, .. } => write!(f, "Basic({user})"),
        }
    }
}

/// How to reach a bucket. Without `access_key_id` the `AWS_…` variables of the environment say what is `None` here; with it they
/// are not asked, so that no half of other credentials comes in.
#[derive(Clone, Default)]
pub struct S3Access {
    /// `https://…` of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` where nobody names one.
    pub region: Option<String>,
    /// Name of the access key.
    pub access_key_id: Option<String>,
    /// The access key.
    pub secret_access_key: Option<Zeroizing<String>>,
    /// Asks without a signature: for buckets that everybody may read.
    pub anonymous: bool,
}

impl fmt::Debug for S3Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, region, access_key_id, secret_access_key: _, anonymous } = self;
        f.debug_struct("S3Access")
            .field("endpoint", endpoint)
            .field("region", region)
            .field("access_key_id", access_key_id)
            .field("anonymous", anonymous)
            .finish_non_exhaustive()
    }
}

/// A bucket and the folder in it that an `s3://` address names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub name: String,
    pub prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
}

impl Bucket {
    /// Reads `s3://bucket/prefix`, with `endpoint`, `region` and `scheme` in the query as in Nix's own addresses.
    pub fn parse(address: &str) -> Result<Self, ImportError> {
        let refused = |why: &str| Err(ImportError::place(address, why));
        let rest = address.strip_prefix("s3://").unwrap_or(address);
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        if name.is_empty() {
            return refused("no bucket is named; write s3://bucket/prefix");
        }
        let (mut endpoint, mut region, mut scheme) = (None, None, "https");
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("endpoint", value)) => endpoint = Some(value),
                Some(("region", value)) => region = Some(value.to_owned()),
                Some(("scheme", value @ ("http" | "https"))) => scheme = value,
                _ => return refused("of parameters only endpoint, region and scheme are known; leave out the others"),
            }
        }
        let endpoint =
            endpoint.map(|host| if host.contains("://") { host.to_owned() } else { format!("{scheme}://{host}") });
        Ok(Self { name: name.to_owned(), prefix: prefix.trim_matches('/').to_owned(), endpoint, region })
    }

    pub fn open(&self, access: &S3Access) -> Result<Arc<dyn ObjectStore>, ImportError> {
        let store = self.builder(access).build();
        let store: AmazonS3 = store.map_err(|error| ImportError::place(format!("s3://{}", self.name), error))?;
        Ok(Arc::new(store))
    }

    fn builder(&self, access: &S3Access) -> AmazonS3Builder {
        let own = access.access_key_id.is_some();
        let builder = if own { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
        let mut builder = builder
            .with_bucket_name(&self.name)
            .with_retry(RetryConfig {
                max_retries: RETRIES,
                retry_timeout: Duration::from_secs(120),
                ..RetryConfig::default()
            })
            .with_skip_signature(access.anonymous);
        let mut options = ClientOptions::new()
            .with_connect_timeout(CONNECT)
            .with_read_timeout(SILENCE)
            // A NAR of many gigabytes takes as long as it takes.
            .with_timeout_disabled();
        if let Some(endpoint) = self.endpoint.as_ref().or(access.endpoint.as_ref()) {
            options = options.with_allow_http(endpoint.starts_with("http://"));
            builder = builder.with_endpoint(endpoint);
        }
        builder = builder.with_client_options(options);
        if let Some(region) = self.region.as_ref().or(access.region.as_ref()) {
            builder = builder.with_region(region);
        }
        if let Some(id) = &access.access_key_id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &access.secret_access_key {
            builder = builder.with_secret_access_key(secret.as_str());
        }
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buckets() {
        let parse = |address: &str| Bucket::parse(address).unwrap();
        assert_eq!((parse("s3://b").name, parse("s3://b").prefix), ("b".to_owned(), String::new()));
        assert_eq!(parse("s3://b/one/two/").prefix, "one/two");
        let there = parse("s3://b/x?endpoint=store.example:9000&scheme=http&region=here");
        assert_eq!(there.endpoint.as_deref(), Some("http://store.example:9000"));
        assert_eq!(there.region.as_deref(), Some("here"));
        assert_eq!(parse("s3://b?endpoint=https://e").endpoint.as_deref(), Some("https://e"));
        for wrong in ["s3://", "s3:///x", "s3://b?profile=x", "s3://b?scheme=ftp", "s3://b?endpoint"] {
            assert!(Bucket::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let access = Access {
            credentials: Some(Credentials::Bearer("hush".to_owned().into())),
            s3: S3Access {
                access_key_id: Some("me".to_owned()),
                secret_access_key: Some("hush".to_owned().into()),
                ..S3Access::default()
            },
        };
        assert!(!format!("{access:?}").contains("hush"));
    }
}
