//! What an operator can set: by flag, by environment variable, or in a TOML file, in this order.

use anyhow::{Context, bail};
use clap::Args;
use iglu_api::{Timestamp, instance::Setting};
use iglu_core::{BucketSettings, Location, Opening, Serving, StorageSettings, Uploading, secret::MasterKey};
use ipnet::IpNet;
use serde::Deserialize;
use std::{fs, net::SocketAddr, path::PathBuf};

/// The settings that every command shares.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Folder of the database, the NAR files and the master key
    #[arg(long, env = "IGLU_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,

    /// PostgreSQL to use instead of SQLite: postgres://user@host/database
    #[arg(long, env = "IGLU_DATABASE_URL", value_name = "URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,

    /// File with the master key (64 hex digits); by default DIR/master.key, made at the first start
    #[arg(long, env = "IGLU_MASTER_KEY_FILE", value_name = "FILE", global = true)]
    pub master_key_file: Option<PathBuf>,

    /// The master key itself, by environment only
    #[arg(skip)]
    #[serde(skip)]
    master_key: Option<MasterKey>,

    /// Where people and clients find this server, such as https://cache.example.org
    #[arg(long, env = "IGLU_PUBLIC_URL", value_name = "URL", global = true)]
    pub public_url: Option<String>,

    /// Domain whose labels are caches (wildcard DNS): NAME.cache.example.org
    #[arg(long, env = "IGLU_CACHE_DOMAIN", value_name = "DOMAIN", global = true)]
    pub cache_domain: Option<String>,

    /// Where NAR files are kept: a folder, or s3://bucket/prefix [default: DIR/storage]
    #[arg(long, env = "IGLU_STORAGE", value_name = "PLACE", global = true)]
    pub storage: Option<String>,

    /// Folder for what a request carries before it is stored [default: in the storage folder; DIR/scratch with S3]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Serve {
    /// This server reads them from the bucket
    #[default]
    Stream,
    /// Clients are led to the bucket
    Redirect,
}

/// Who takes parts that go to a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Upload {
    /// This server puts them into the bucket
    #[default]
    Proxy,
    /// Clients put them there, with URLs that are good for a day
    Presigned,
}

/// A time such as `90d`, `12h`, `30m` or `10s`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub i64);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong = || "write a number with d, h, m or s, such as 90d".to_owned();
        let end = text.len().checked_sub(1).filter(|end| text.is_char_boundary(*end)).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(end);
        let unit = match unit {
            "d" => Timestamp::DAY,
            "h" => Timestamp::HOUR,
            "m" => Timestamp::MINUTE,
            "s" => Timestamp::SECOND,
            _ => return Err(wrong()),
        };
        let number = number.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
        Ok(Span(i64::from(number) * unit))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        text.parse()
    }
}

/// The settings of the server.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeSettings {
    /// Address for pages, APIs and caches [default: 127.0.0.1:8080]
    #[arg(long, env = "IGLU_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Address for /live, /ready and /metrics [default: 127.0.0.1:9464]
    #[arg(long, env = "IGLU_OPS_LISTEN", value_name = "ADDR")]
    pub ops_listen: Option<SocketAddr>,

    /// Networks of proxies whose X-Forwarded-For is believed, with commas between [default: 127.0.0.0/8,::1/128]
    #[arg(long, env = "IGLU_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<IpNet>>,

    /// What to log: error, warn, info, debug, or a filter such as iglu_core=debug [default: info]
    #[arg(long, env = "IGLU_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// How to log [default: text]
    #[arg(long, env = "IGLU_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// How fast stored files are read again to find damage, in MiB a second; 0 for never [default: 10]
    #[arg(long, env = "IGLU_SCRUB_RATE", value_name = "MIB")]
    pub scrub_rate: Option<u32>,

    /// Connections at a time; who comes above that is told to come again [default: 8192]
    #[arg(long, env = "IGLU_CONNECTIONS", value_name = "COUNT")]
    pub connections: Option<u32>,

    /// Requests under way at a time, those that memory answers aside [default: 1024]
    #[arg(long, env = "IGLU_REQUESTS", value_name = "COUNT")]
    pub requests: Option<u32>,

    /// Open multipart uploads of one token or person [default: 1000]
    #[arg(long, env = "IGLU_OPEN_UPLOADS", value_name = "COUNT")]
    pub open_uploads: Option<u32>,

    /// How long requests go on being taken after /ready said no, until load balancers noticed, such as 10s [default: not at all]
    #[arg(long, env = "IGLU_DRAIN_DELAY", value_name = "TIME")]
    pub drain_delay: Option<Span>,

    /// How long requests under way may take once the server was told to end, such as 30s [default: 30s]
    #[arg(long, env = "IGLU_DRAIN", value_name = "TIME")]
    pub drain: Option<Span>,

    /// How long a node may be silent before its runs go to other nodes, such as 2m [default: 2m]
    #[arg(long, env = "IGLU_RUN_LEASE", value_name = "TIME")]
    pub run_lease: Option<Span>,

    /// Whether this server executes runs itself, with a node of its own beside it [default: true]
    #[arg(long, env = "IGLU_EMBEDDED_NODE", value_name = "BOOL")]
    pub embedded_node: Option<bool>,

    #[command(flatten)]
    pub node: NodeSettings,
}

/// How a node works, the server's own or one far away.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeSettings {
    /// Folder of the node: its stores, and runs while they last [default: node in the data folder, or here]
    #[arg(long, env = "IGLU_NODE_STATE", value_name = "DIR")]
    pub node_state: Option<PathBuf>,

    /// Runs that the node takes at a time [default: 1]
    #[arg(long, env = "IGLU_NODE_CAPACITY", value_name = "COUNT")]
    pub node_capacity: Option<u32>,

    /// Whether runs build with this machine's nix-daemon instead of stores of the node [default: false]
    #[arg(long, env = "IGLU_NODE_DAEMON", value_name = "BOOL")]
    pub node_daemon: Option<bool>,

    /// The user that runs are where the node is root, by number [default: 65534, nobody]
    #[arg(long, env = "IGLU_NODE_USER", value_name = "UID")]
    pub node_user: Option<u32>,

    /// More lines of nix.conf for runs, such as "sandbox-paths = /bin/sh"; may be given more than once
    #[arg(long, env = "IGLU_NODE_NIX_OPTIONS", value_name = "LINE", value_delimiter = '\n')]
    pub node_nix_options: Option<Vec<String>>,

    /// Image of the pods that runs are executed in, each as a Kubernetes Job; without it, runs are executed on this machine
    #[arg(long, env = "IGLU_NODE_KUBERNETES_IMAGE", value_name = "IMAGE")]
    pub node_kubernetes_image: Option<String>,

    /// Namespace of the Jobs [default: that of the account that asks]
    #[arg(long, env = "IGLU_NODE_KUBERNETES_NAMESPACE", value_name = "NAME")]
    pub node_kubernetes_namespace: Option<String>,

    /// File with what every Job says besides: a Job in YAML of which everything else is left out
    #[arg(long, env = "IGLU_NODE_KUBERNETES_TEMPLATE", value_name = "FILE")]
    pub node_kubernetes_template: Option<PathBuf>,

    /// URL under which pods find the server [default: that of its pages]
    #[arg(long, env = "IGLU_NODE_KUBERNETES_SERVER", value_name = "URL")]
    pub node_kubernetes_server: Option<String>,

    /// System of the pods, as Nix names it [default: this machine's]
    #[arg(long, env = "IGLU_NODE_KUBERNETES_SYSTEM", value_name = "SYSTEM")]
    pub node_kubernetes_system: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The file: every setting, by the name of its flag with underscores.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data: Option<PathBuf>,
    database_url: Option<String>,
    master_key_file: Option<PathBuf>,
    public_url: Option<String>,
    cache_domain: Option<String>,
    storage: Option<String>,
    scratch: Option<PathBuf>,
    s3_endpoint: Option<String>,
    s3_public_endpoint: Option<String>,
    s3_region: Option<String>,
    s3_virtual_hosted: Option<bool>,
    serve: Option<Serve>,
    upload: Option<Upload>,
    database_connections: Option<u32>,
    auto_migrate: Option<bool>,
    nar_grace: Option<Span>,
    scrub_rate: Option<u32>,
    connections: Option<u32>,
    requests: Option<u32>,
    open_uploads: Option<u32>,
    listen: Option<SocketAddr>,
    ops_listen: Option<SocketAddr>,
    trusted_proxies: Option<Vec<IpNet>>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    drain_delay: Option<Span>,
    drain: Option<Span>,
    run_lease: Option<Span>,
    embedded_node: Option<bool>,
    node_state: Option<PathBuf>,
    node_capacity: Option<u32>,
    node_daemon: Option<bool>,
    node_user: Option<u32>,
    node_nix_options: Option<Vec<String>>,
    node_kubernetes_image: Option<String>,
    node_kubernetes_namespace: Option<String>,
    node_kubernetes_template: Option<PathBuf>,
    node_kubernetes_server: Option<String>,
    node_kubernetes_system: Option<String>,
}

/// Where settings come from that no flag and no variable gives.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// TOML file with the same settings, by their names with underscores
    #[arg(long, env = "IGLU_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// Fills what flags and environment left open. An unknown key is refused with its line.
    pub fn fill(&self, store: &mut StoreSettings, serve: &mut ServeSettings) -> anyhow::Result<()> {
        let file: File = match &self.config {
            Some(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("reading the settings file {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("in the settings file {}", path.display()))?
            }
            None => File::default(),
        };
        macro_rules! fill {
            ($settings:expr; $($name:ident)*) => { $( $settings.$name = $settings.$name.take().or(file.$name); )* };
        }
        fill!(store; data database_url master_key_file public_url cache_domain storage scratch s3_endpoint s3_public_endpoint
            s3_region s3_virtual_hosted serve upload nar_grace database_connections auto_migrate);
        fill!(serve; listen ops_listen trusted_proxies log log_format scrub_rate connections requests open_uploads drain_delay drain run_lease embedded_node);
        fill!(serve.node; node_state node_capacity node_daemon node_user node_nix_options);
        fill!(serve.node; node_kubernetes_image node_kubernetes_namespace node_kubernetes_template);
        fill!(serve.node; node_kubernetes_server node_kubernetes_system);
        if let Ok(text) = std::env::var("IGLU_MASTER_KEY") {
            if store.master_key_file.is_some() {
                bail!("IGLU_MASTER_KEY and a master key file are both given; give one");
            }
            store.master_key = Some(MasterKey::parse(&text).context("in IGLU_MASTER_KEY")?);
        }
        Ok(())
    }
}

/// The settings in force for administrators to see, by their names in a file. What may hold a secret is only said to be set.
pub fn shown(store: &StoreSettings, serve: &ServeSettings) -> Vec<Setting> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| lines.push(Setting { name: name.to_owned(), value });
    let place = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let millis = |span: &Option<Span>| span.map(|Span(millis)| format!("{} d", millis / Timestamp::DAY));
    line("data", place(&store.data));
    line("database_url", store.database_url.as_ref().map(|_| "(hidden)".to_owned()));
    line("master_key_file", place(&store.master_key_file));
    line("master_key", store.master_key.as_ref().map(|_| "(hidden)".to_owned()));
    line("public_url", store.public_url.clone());
    line("cache_domain", store.cache_domain.clone());
    line("storage", store.storage.clone());
    line("scratch", place(&store.scratch));
    line("s3_endpoint", store.s3_endpoint.clone());
    line("s3_public_endpoint", store.s3_public_endpoint.clone());
    line("s3_region", store.s3_region.clone());
    line("s3_virtual_hosted", store.s3_virtual_hosted.map(|on| on.to_string()));
    line("serve", store.serve.map(|serve| format!("{serve:?}").to_lowercase()));
    line("upload", store.upload.map(|upload| format!("{upload:?}").to_lowercase()));
    line("database_connections", store.database_connections.map(|count| count.to_string()));
    line("auto_migrate", store.auto_migrate.map(|on| on.to_string()));
    line("nar_grace", millis(&store.nar_grace));
    line("listen", serve.listen.map(|address| address.to_string()));
    line("ops_listen", serve.ops_listen.map(|address| address.to_string()));
    let networks = |networks: &Vec<IpNet>| networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",");
    line("trusted_proxies", serve.trusted_proxies.as_ref().map(networks));
    line("log", serve.log.clone());
    line("log_format", serve.log_format.map(|format| format!("{format:?}").to_lowercase()));
    line("scrub_rate", serve.scrub_rate.map(|rate| rate.to_string()));
    line("connections", serve.connections.map(|count| count.to_string()));
    line("requests", serve.requests.map(|count| count.to_string()));
    line("open_uploads", serve.open_uploads.map(|count| count.to_string()));
    let seconds = |span: &Option<Span>| span.map(|Span(millis)| format!("{} s", millis / Timestamp::SECOND));
    line("drain_delay", seconds(&serve.drain_delay));
    line("drain", seconds(&serve.drain));
    line("run_lease", seconds(&serve.run_lease));
    line("embedded_node", serve.embedded_node.map(|on| on.to_string()));
    line("node_state", place(&serve.node.node_state));
    line("node_capacity", serve.node.node_capacity.map(|count| count.to_string()));
    line("node_daemon", serve.node.node_daemon.map(|on| on.to_string()));
    line("node_user", serve.node.node_user.map(|user| user.to_string()));
    line("node_nix_options", serve.node.node_nix_options.as_ref().map(|lines| lines.join("; ")));
    line("node_kubernetes_image", serve.node.node_kubernetes_image.clone());
    line("node_kubernetes_namespace", serve.node.node_kubernetes_namespace.clone());
    line("node_kubernetes_template", place(&serve.node.node_kubernetes_template));
    line("node_kubernetes_server", serve.node.node_kubernetes_server.clone());
    line("node_kubernetes_system", serve.node.node_kubernetes_system.clone());
    lines
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
        let secret = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
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
        match (&self.master_key, &self.master_key_file) {
            (Some(_), _) => "IGLU_MASTER_KEY".to_owned(),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => self.data().join("master.key").display().to_string(),
        }
    }

    /// Whether there is a master key without making one.
    pub fn has_master_key(&self) -> bool {
        let path = self.master_key_file.clone().unwrap_or_else(|| self.data().join("master.key"));
        self.master_key.is_some() || path.exists()
    }

    /// The master key, from where it was given, or the file in the data folder.
    pub fn master_key(&self) -> anyhow::Result<MasterKey> {
        match (&self.master_key, &self.master_key_file) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(path)) => {
                let text =
                    fs::read_to_string(path).with_context(|| format!("reading the master key {}", path.display()))?;
                MasterKey::parse(&text).with_context(|| format!("in {}", path.display()))
            }
            (None, None) => Ok(MasterKey::load_or_create(&self.data().join("master.key"))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> anyhow::Result<(StoreSettings, ServeSettings)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("iglu.toml");
        fs::write(&path, text)?;
        let (mut store, mut serve) = (StoreSettings::default(), ServeSettings::default());
        store.public_url = Some("https://flag.example.org".to_owned());
        ConfigFile { config: Some(path) }.fill(&mut store, &mut serve)?;
        Ok((store, serve))
    }

    #[test]
    fn a_flag_beats_the_file() {
        let (store, serve) =
            fill("public_url = \"https://file.example.org\"\nlisten = \"[::]:80\"\nlog_format = \"json\"\n").unwrap();
        assert_eq!(store.public_url.as_deref(), Some("https://flag.example.org"));
        assert_eq!(serve.listen, Some("[::]:80".parse().unwrap()));
        assert_eq!(serve.log_format, Some(LogFormat::Json));
    }

    #[test]
    fn spans() {
        assert_eq!("90d".parse(), Ok(Span(90 * Timestamp::DAY)));
        assert_eq!("12h".parse(), Ok(Span(12 * Timestamp::HOUR)));
        for wrong in ["", "d", "0d", "-1d", "90", "90x", "9é"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_of_the_storage() {
        let (store, _) =
            fill("storage = \"s3://nix/some/where\"\ns3_endpoint = \"http://127.0.0.1:9\"\nserve = \"redirect\"\n")
                .unwrap();
        let StorageSettings::Bucket { bucket, .. } = store.storage().unwrap() else { panic!("a bucket") };
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str()), ("nix", "some/where"));
        assert_eq!(bucket.serving, Serving::Redirect);
        assert!(matches!(store.storage_at("/srv/nars").unwrap(), StorageSettings::Folder(_)));
        for wrong in ["s3://", "gs://bucket", "http://x"] {
            assert!(store.storage_at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_key_is_shown_where_it_stands() {
        let error = format!("{:#}", fill("listen = \"127.0.0.1:80\"\nlisen = 3\n").unwrap_err());
        assert!(
            error.contains("line 2") && error.contains("^^^^^") && error.contains("unknown field `lisen`"),
            "{error}"
        );
    }
}
