//! What an operator can set: by flag, by environment variable, or in a TOML file, in this order.

use anyhow::{Context, bail};
use clap::Args;
use iglu_core::{Location, secret::MasterKey};
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
}

/// The settings of the server.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Address for pages, APIs and caches [default: 127.0.0.1:8080]
    #[arg(long, env = "IGLU_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Address for /live, /ready and /metrics [default: 127.0.0.1:9464]
    #[arg(long, env = "IGLU_OPS_LISTEN", value_name = "ADDR")]
    pub ops_listen: Option<SocketAddr>,

    /// What to log: error, warn, info, debug, or a filter such as iglu_core=debug [default: info]
    #[arg(long, env = "IGLU_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// How to log [default: text]
    #[arg(long, env = "IGLU_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
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
    listen: Option<SocketAddr>,
    ops_listen: Option<SocketAddr>,
    log: Option<String>,
    log_format: Option<LogFormat>,
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
            ($settings:ident: $($name:ident)*) => { $( $settings.$name = $settings.$name.take().or(file.$name); )* };
        }
        fill!(store: data database_url master_key_file public_url cache_domain);
        fill!(serve: listen ops_listen log log_format);
        if let Ok(text) = std::env::var("IGLU_MASTER_KEY") {
            if store.master_key_file.is_some() {
                bail!("IGLU_MASTER_KEY and a master key file are both given; give one");
            }
            store.master_key = Some(MasterKey::parse(&text).context("in IGLU_MASTER_KEY")?);
        }
        Ok(())
    }
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

    /// Folder of the objects.
    pub fn storage(&self) -> PathBuf {
        self.data().join("storage")
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
    fn an_unknown_key_is_shown_where_it_stands() {
        let error = format!("{:#}", fill("listen = \"127.0.0.1:80\"\nlisen = 3\n").unwrap_err());
        assert!(
            error.contains("line 2") && error.contains("^^^^^") && error.contains("unknown field `lisen`"),
            "{error}"
        );
    }
}
