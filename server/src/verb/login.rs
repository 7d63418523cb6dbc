//! Which server verbs go to, and with what token: flags, variables, or what `iglu login` keeps for this person.

use super::api::Api;
use crate::out::say;
use anyhow::{Context, bail};
use clap::Args;
use iglu_api::cache::CacheSummary;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Longest token that is read, in bytes.
const LONGEST: u64 = 4096;

/// The server of a verb.
#[derive(Args)]
pub struct ServerFlags {
    /// The server's URL [default: the one of `iglu login`]
    #[arg(long, env = "IGLU_SERVER", value_name = "URL", global = true)]
    server: Option<String>,
    /// File with a token of it; IGLU_TOKEN has one too
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// `iglu login …`
#[derive(Args)]
pub struct LoginCommand {
    /// The URL of its pages
    server: String,
}

/// `iglu logout`
#[derive(Args)]
pub struct LogoutCommand {}

/// What is kept between verbs, in a file that nobody else reads.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    server: String,
    token: Zeroizing<String>,
}

impl ServerFlags {
    /// The server that is meant. A kept token goes to no other server than the one it was kept for.
    pub fn api(&self) -> anyhow::Result<Api> {
        let kept = Kept::load()?;
        let server = match (&self.server, &kept) {
            (Some(server), _) => tidy(server)?,
            (None, Some(kept)) => kept.server.clone(),
            (None, None) => {
                bail!("which server? `iglu login URL` remembers one; --server or IGLU_SERVER name one for this time")
            }
        };
        let token = match (&self.token_file, std::env::var("IGLU_TOKEN")) {
            (Some(file), _) => Some(read_token(file)?),
            (None, Ok(token)) => Some(Zeroizing::new(token.trim().to_owned())),
            (None, Err(_)) => kept.filter(|kept| kept.server == server).map(|kept| kept.token),
        };
        Api::there(server, token.filter(|token| !token.is_empty()))
    }
}

impl LoginCommand {
    /// Asks for the token, tries it, and keeps both.
    pub async fn run(self) -> anyhow::Result<()> {
        let server = tidy(&self.server)?;
        if io::stdin().is_terminal() {
            eprint!("A token of {server} (Tokens on its pages makes one), and Enter: ");
        }
        let mut line = Zeroizing::new(String::new());
        io::BufRead::read_line(&mut io::stdin().lock().take(LONGEST), &mut line).context("reading the token")?;
        let token = Zeroizing::new(line.trim().to_owned());
        if token.is_empty() {
            bail!("no token came; write it on standard input");
        }
        let api = Api::there(server.clone(), Some(token.clone()))?;
        let caches: Vec<CacheSummary> = api.get("caches").await?;
        Kept { server: server.clone(), token }.store()?;
        say!("{server}: the token is good, {} caches can be seen", caches.len());
        Ok(())
    }
}

impl LogoutCommand {
    pub fn run(self) -> anyhow::Result<()> {
        let file = file()?;
        match fs::remove_file(&file) {
            Ok(()) => say!("forgotten; the token itself lives on until it is revoked"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => say!("nothing was remembered"),
            Err(error) => return Err(error).with_context(|| format!("removing {}", file.display())),
        }
        Ok(())
    }
}

impl Kept {
    fn load() -> anyhow::Result<Option<Kept>> {
        let Ok(file) = file() else { return Ok(None) };
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(toml::from_str(&text).map_err(|_| {
                // Its text has the token: the parser's own words would show it.
                anyhow::anyhow!("{} is not as `iglu login` writes it; log in again", file.display())
            })?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
        }
    }

    /// Whole or not at all, and never readable by others.
    fn store(&self) -> anyhow::Result<()> {
        let file = file()?;
        let text = Zeroizing::new(toml::to_string(self)?);
        let written = || {
            let folder = file.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let new = folder.join(format!("login.toml.{}", std::process::id()));
            let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            let done = out.write_all(text.as_bytes()).and_then(|()| fs::rename(&new, &file));
            if done.is_err() {
                let _ = fs::remove_file(&new);
            }
            done
        };
        written().with_context(|| format!("writing {}", file.display()))
    }
}

fn file() -> anyhow::Result<PathBuf> {
    let folder = match std::env::var_os("XDG_CONFIG_HOME").filter(|folder| Path::new(folder).is_absolute()) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".config"),
    };
    Ok(folder.join("iglu/login.toml"))
}

fn read_token(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let read = || {
        let mut text = Zeroizing::new(String::new());
        fs::File::open(file)?.take(LONGEST).read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = read().with_context(|| format!("reading {}", file.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// The URL of a server as it is kept: with its scheme, without a slash behind.
fn tidy(server: &str) -> anyhow::Result<String> {
    let server = server.trim().trim_end_matches('/');
    let uri: axum::http::Uri = server.parse().with_context(|| format!("\"{server}\" is no URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.query().is_none() => Ok(server.to_owned()),
        _ => bail!("\"{server}\" is no http(s) URL; write it as https://iglu.example.org"),
    }
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn servers_are_named_by_url() {
        for (given, kept) in [
            ("https://iglu.example.org/", Some("https://iglu.example.org")),
            (" http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("https://example.org/iglu/", Some("https://example.org/iglu")),
            ("iglu.example.org", None),
            ("ftp://example.org", None),
            ("https://example.org/?a=b", None),
            ("", None),
        ] {
            assert_eq!(tidy(given).ok().as_deref(), kept, "{given}");
        }
    }
}
