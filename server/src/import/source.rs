//! Where an import reads from, as flags and variables say it.

use anyhow::{Context, bail};
use clap::Args;
use iglu_import::{Access, Credentials, ForeignCache, Location, S3Access};
use nix_compat::store_path::StorePath;
use std::{
    io::Read,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Longest list of paths that is read, in bytes.
const LONGEST_LIST: u64 = 256 << 20;
/// Longest file with a token or key, in bytes.
const LONGEST_SECRET: u64 = 4096;

/// The flags that name the source.
#[derive(Args, Debug)]
pub struct SourceFlags {
    /// A folder, http(s)://…, s3://bucket/prefix, or attic or typescript with their --from-database and --from-storage
    #[arg(long, value_name = "SOURCE")]
    from: String,

    /// Database of an attic or TypeScript server: a SQLite file or postgres://…
    #[arg(long, env = "IGLU_FROM_DATABASE", value_name = "URL", hide_env_values = true)]
    from_database: Option<String>,

    /// Storage of an attic or TypeScript server: a folder or s3://bucket
    #[arg(long, value_name = "PLACE")]
    from_storage: Option<String>,

    /// Which cache of an attic or TypeScript server [default: the only one, or the one of the same name]
    #[arg(long, value_name = "NAME")]
    from_cache: Option<String>,

    /// File with the token, or with --from-user the password, for http(s)
    #[arg(long, value_name = "FILE")]
    from_token_file: Option<PathBuf>,

    /// Name that belongs to the password in --from-token-file
    #[arg(long, value_name = "NAME", requires = "from_token_file")]
    from_user: Option<String>,

    /// URL of the S3 API of the source; AWS without it
    #[arg(long, env = "IGLU_FROM_S3_ENDPOINT", value_name = "URL")]
    from_s3_endpoint: Option<String>,

    /// Region of the source's bucket
    #[arg(long, env = "IGLU_FROM_S3_REGION", value_name = "REGION")]
    from_s3_region: Option<String>,

    /// The source's bucket may be read by everybody: ask without credentials
    #[arg(long)]
    from_s3_anonymous: bool,

    /// Path to begin with: it and all that it needs. May be given again; web servers other than Iglu need at least one
    #[arg(long, value_name = "STORE_PATH")]
    root: Vec<String>,

    /// File with such paths, one a line; - for standard input
    #[arg(long, value_name = "FILE")]
    roots_file: Option<PathBuf>,
}

impl SourceFlags {
    /// As people call it.
    pub fn name(&self) -> &str {
        &self.from
    }

    pub fn location(&self) -> anyhow::Result<Location> {
        let foreign = || match (&self.from_database, &self.from_storage) {
            (Some(database), Some(storage)) => Ok((database.clone(), storage.clone())),
            _ => bail!("--from {} needs --from-database and --from-storage", self.from),
        };
        let location = match self.from.as_str() {
            "attic" => {
                let (database, storage) = foreign()?;
                Location::Attic { database, storage }
            }
            "typescript" => {
                let (database, storage) = foreign()?;
                Location::Typescript { database, storage }
            }
            place => {
                let more = [("--from-storage", &self.from_storage), ("--from-cache", &self.from_cache)];
                if let Some((flag, _)) = more.iter().find(|(_, value)| value.is_some()) {
                    bail!(
                        "{flag} belongs to --from attic and --from typescript; for a folder of this name write ./{place}"
                    );
                }
                Location::StaticCache(place.to_owned())
            }
        };
        Ok(location)
    }

    pub fn access(&self) -> anyhow::Result<Access> {
        let credentials = match (&self.from_token_file, &self.from_user) {
            (Some(file), Some(user)) => Some(Credentials::Basic { user: user.clone(), password: read_secret(file)? }),
            (Some(file), None) => Some(Credentials::Bearer(read_secret(file)?)),
            (None, _) => None,
        };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (id, secret) = (variable("IGLU_FROM_S3_ACCESS_KEY_ID"), variable("IGLU_FROM_S3_SECRET_ACCESS_KEY"));
        if id.is_some() != secret.is_some() {
            bail!("IGLU_FROM_S3_ACCESS_KEY_ID and IGLU_FROM_S3_SECRET_ACCESS_KEY belong together; one is missing");
        }
        let s3 = S3Access {
            endpoint: self.from_s3_endpoint.clone(),
            region: self.from_s3_region.clone(),
            access_key_id: id,
            secret_access_key: secret.map(Zeroizing::new),
            anonymous: self.from_s3_anonymous,
        };
        Ok(Access { credentials, s3 })
    }

    /// The paths to begin with; none for all.
    pub fn roots(&self) -> anyhow::Result<Vec<StorePath>> {
        let mut text = self.root.join("\n");
        if let Some(file) = &self.roots_file {
            text.push('\n');
            text.push_str(&read(file, LONGEST_LIST)?);
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let path = |line: &str| {
            let path = if line.starts_with('/') { StorePath::parse_absolute(line) } else { StorePath::parse(line) };
            path.with_context(|| format!("\"{}\" is no store path", line.escape_default()))
        };
        let roots = lines.map(path).collect::<anyhow::Result<Vec<_>>>()?;
        if roots.is_empty() && self.roots_file.is_some() {
            bail!("--roots-file names no path");
        }
        Ok(roots)
    }

    /// The cache to read, of those that the source has.
    pub fn choose(&self, caches: Vec<ForeignCache>, target: &str) -> anyhow::Result<ForeignCache> {
        let names = caches.iter().map(|cache| cache.name.clone()).collect::<Vec<_>>().join(", ");
        let wanted = self.from_cache.as_deref();
        let chosen = match (wanted, caches.len()) {
            (None, 1) => caches.into_iter().next(),
            (wanted, _) => caches.into_iter().find(|cache| cache.name == wanted.unwrap_or(target)),
        };
        match (chosen, wanted) {
            (Some(chosen), _) => Ok(chosen),
            (None, _) if names.is_empty() => bail!("the source has no cache"),
            (None, Some(wanted)) => bail!("the source has no cache \"{wanted}\"; it has {names}"),
            (None, None) => bail!("the source has the caches {names}; name one with --from-cache"),
        }
    }
}

/// A secret from a file, without the line break behind it.
pub fn read_secret(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = Zeroizing::new(read(file, LONGEST_SECRET)?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A file, or standard input for `-`, if it is no longer than `limit` bytes.
fn read(file: &Path, limit: u64) -> anyhow::Result<String> {
    let shown = file.display();
    let mut source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).with_context(|| format!("reading {shown}"))?),
    };
    let mut text = String::new();
    (&mut source).take(limit).read_to_string(&mut text).with_context(|| format!("reading {shown}"))?;
    if text.len() as u64 == limit {
        bail!("{shown} is longer than {limit} bytes");
    }
    Ok(text)
}
