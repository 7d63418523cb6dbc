//! Where data is, and how it is reached: what every command needs.

use super::Span;
use anyhow::{Context, bail};
use clap::Args;
use iglu_core::{BucketSettings, Location, Opening, Serving, StorageSettings, Uploading, secret::MasterKey};
use reqwest::Url;
use std::{fs, path::PathBuf};

/// The master key itself: by environment only, since what is typed is seen by others.
pub const MASTER_KEY: &str = "IGLU_MASTER_KEY";

/// What is given by environment only.
fn secret(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The settings that every command shares.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreSettings {
    /// Folder of the database, the NAR files and the master key [default: data]
    #[arg(long, env = "IGLU_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,

    /// PostgreSQL to use instead of SQLite: postgres://user@host/database
    #[arg(long, env = "IGLU_DATABASE_URL", value_name = "URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,

    /// File with the master key (64 hex digits), unless IGLU_MASTER_KEY is the key itself [default: DIR/master.key, made at the first start]
    #[arg(long, env = "IGLU_MASTER_KEY_FILE", value_name = "FILE", global = true)]
    pub master_key_file: Option<PathBuf>,

    /// Where people and clients find this server, such as https://cache.example.org
    #[arg(long, env = "IGLU_PUBLIC_URL", value_name = "URL", global = true)]
    pub public_url: Option<String>,

    /// Domain whose labels are caches (wildcard DNS): NAME.cache.example.org
    #[arg(long, env = "IGLU_CACHE_DOMAIN", value_name = "DOMAIN", global = true)]
    pub cache_domain: Option<String>,

    /// Where NAR files are kept: a folder, or s3://bucket/prefix [default: DIR/storage]
    #[arg(long, env = "IGLU_STORAGE", value_name = "PLACE", global = true)]
    pub storage: Option<String>,

    /// Folder for what a request carries before it goes to S3 [default: DIR/scratch]
    #[arg(long, env = "IGLU_SCRATCH", value_name = "DIR", global = true)]
    pub scratch: Option<PathBuf>,

    /// URL of the S3 API; AWS without it
    #[arg(long, env = "IGLU_S3_ENDPOINT", value_name = "URL", global = true)]
    pub s3_endpoint: Option<String>,

    /// Where clients reach the same S3 API, for the URLs that they get [default: the endpoint]
    #[arg(long, env = "IGLU_S3_PUBLIC_ENDPOINT", value_name = "URL", global = true)]
    pub s3_public_endpoint: Option<String>,

    /// Region of the bucket [default: us-east-1]
    #[arg(long, env = "IGLU_S3_REGION", value_name = "REGION", global = true)]
    pub s3_region: Option<String>,

    /// Whether the bucket stands in the host name: virtual-hosted instead of path style
    #[arg(long, env = "IGLU_S3_VIRTUAL_HOSTED", value_name = "BOOL", global = true)]
    pub s3_virtual_hosted: Option<bool>,

    /// Who sends NARs from S3 to those who pull [default: stream]
    #[arg(long, env = "IGLU_SERVE", value_name = "HOW", global = true)]
    pub serve: Option<Serve>,

    /// Who takes the parts of uploads to S3 [default: proxy]
    #[arg(long, env = "IGLU_UPLOAD", value_name = "HOW", global = true)]
    pub upload: Option<Upload>,

    /// Connections to PostgreSQL that requests share [default: 16]
    #[arg(long, env = "IGLU_DATABASE_CONNECTIONS", value_name = "COUNT", global = true)]
    pub database_connections: Option<u32>,

    /// Whether an older database schema is brought up to date by itself, or waits for `iglu migrate` [default: true]
    #[arg(long, env = "IGLU_AUTO_MIGRATE", value_name = "BOOL", global = true)]
    pub auto_migrate: Option<bool>,

    /// How long NARs that rules took out can still be read, such as 31d: longer than clients remember narinfos [default: 31d]
    #[arg(long, env = "IGLU_NAR_GRACE", value_name = "TIME", global = true)]
    pub nar_grace: Option<Span>,
}

/// Who sends NARs that lie in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Serve {
    /// This server reads them from the bucket
    #[default]
    Stream,
    /// Clients are led to the bucket
    Redirect,
}

/// Who takes parts that go to a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Upload {
    /// This server puts them into the bucket
    #[default]
    Proxy,
    /// Clients put them there, with URLs that are good for a day
    Presigned,
}

impl StoreSettings {
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from("data"))
    }

    pub fn location(&self) -> Location {
        match &self.database_url {
            Some(url) => Location::Postgres(url.clone()),
            None => Location::Sqlite(self.data().join("iglu.db")),
        }
    }

    /// How the database is opened.
    pub fn opening(&self) -> Opening {
        let usual = Opening::default();
        Opening {
            connections: self.database_connections.unwrap_or(usual.connections),
            migrates: self.auto_migrate.unwrap_or(usual.migrates),
        }
    }

    /// Where NAR files are kept.
    pub fn storage(&self) -> anyhow::Result<StorageSettings> {
        match &self.storage {
            Some(place) => self.storage_at(place),
            None => Ok(StorageSettings::Folder(self.data().join("storage"))),
        }
    }

    /// A place for NAR files: a folder, or a bucket that is reached as these settings say.
    pub fn storage_at(&self, place: &str) -> anyhow::Result<StorageSettings> {
        let Some(bucket) = place.strip_prefix("s3://") else {
            if place.contains("://") {
                bail!("storage \"{place}\" is neither a folder nor s3://bucket/prefix");
            }
            return Ok(StorageSettings::Folder(PathBuf::from(place)));
        };
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        if bucket.is_empty() {
            bail!("storage \"{place}\" names no bucket; write s3://bucket/prefix");
        }
        if !bucket.bytes().all(|letter| letter.is_ascii_alphanumeric() || b".-_".contains(&letter)) {
            bail!("storage \"{place}\": a bucket's name has letters, digits, dots and hyphens only");
        }
        for (flag, endpoint) in
            [("--s3-endpoint", &self.s3_endpoint), ("--s3-public-endpoint", &self.s3_public_endpoint)]
        {
            let is_good = |text: &String| {
                Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            };
            if let Some(endpoint) = endpoint.as_ref().filter(|text| !is_good(text)) {
                bail!("{flag} \"{endpoint}\" is no address; it begins with http:// or https://");
            }
        }
        let credentials = match (secret("IGLU_S3_ACCESS_KEY_ID"), secret("IGLU_S3_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ => bail!("IGLU_S3_ACCESS_KEY_ID and IGLU_S3_SECRET_ACCESS_KEY belong together; one is missing"),
        };
        Ok(StorageSettings::Bucket {
            bucket: BucketSettings {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                region: self.s3_region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
                endpoint: self.s3_endpoint.clone(),
                public_endpoint: self.s3_public_endpoint.clone(),
                credentials,
                virtual_hosted: self.s3_virtual_hosted.unwrap_or_default(),
                serving: match self.serve.unwrap_or_default() {
                    Serve::Stream => Serving::Stream,
                    Serve::Redirect => Serving::Redirect,
                },
                uploading: match self.upload.unwrap_or_default() {
                    Upload::Proxy => Uploading::Proxy,
                    Upload::Presigned => Uploading::Presigned,
                },
            },
            scratch: self.scratch.clone().unwrap_or_else(|| self.data().join("scratch")),
        })
    }

    /// Where the master key is kept, as people say it.
    pub fn master_key_place(&self) -> String {
        match (secret(MASTER_KEY), &self.master_key_file) {
            (Some(_), _) => MASTER_KEY.to_owned(),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => self.data().join("master.key").display().to_string(),
        }
    }

    /// Whether there is a master key without making one.
    pub fn has_master_key(&self) -> bool {
        let path = self.master_key_file.clone().unwrap_or_else(|| self.data().join("master.key"));
        secret(MASTER_KEY).is_some() || path.exists()
    }

    /// The master key, from where it was given, or the file in the data folder, which is made where there is none.
    pub fn master_key(&self) -> anyhow::Result<MasterKey> {
        match (secret(MASTER_KEY), &self.master_key_file) {
            (Some(_), Some(_)) => bail!("{MASTER_KEY} and a master key file are both given; give one"),
            (Some(text), None) => MasterKey::parse(&text).with_context(|| format!("in {MASTER_KEY}")),
            (None, Some(path)) => {
                let text =
                    fs::read_to_string(path).with_context(|| format!("reading the master key {}", path.display()))?;
                MasterKey::parse(&text).with_context(|| format!("in {}", path.display()))
            }
            (None, None) => {
                let path = self.data().join("master.key");
                MasterKey::load_or_create(&path).with_context(|| format!("the master key {}", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_storage() {
        let store = StoreSettings {
            storage: Some("s3://nix/some/where".to_owned()),
            s3_endpoint: Some("http://127.0.0.1:9".to_owned()),
            serve: Some(Serve::Redirect),
            ..StoreSettings::default()
        };
        let StorageSettings::Bucket { bucket, .. } = store.storage().unwrap() else { panic!("a bucket") };
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str()), ("nix", "some/where"));
        assert_eq!(bucket.serving, Serving::Redirect);
        assert!(matches!(store.storage_at("/srv/nars").unwrap(), StorageSettings::Folder(_)));
        for wrong in ["s3://", "gs://bucket", "http://x"] {
            assert!(store.storage_at(wrong).is_err(), "{wrong}");
        }
    }
}
