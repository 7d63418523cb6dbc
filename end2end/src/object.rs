//! What is pushed: a store path with its metadata, and where the bytes of its NAR come from.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio::process::{Child, ChildStdout, Command};

use crate::digest::{self, Counted};
use crate::nar::Synthetic;
use crate::nix::PathInfo;

/// Where a NAR comes from. It can be opened any number of times.
#[derive(Debug, Clone)]
pub enum Nar {
    /// The files at this place, archived by `nix-store --dump`.
    Files(PathBuf),
    /// One file that is made up while it is read.
    Synthetic {
        /// Its beginning.
        text: String,
        /// Bytes after the text.
        size: u64,
        /// Which content.
        seed: u64,
    },
    /// These bytes, whether or not they are a NAR.
    Bytes(Bytes),
}

/// An opened NAR.
#[derive(Debug)]
pub enum NarReader {
    /// A running `nix-store --dump`.
    Dump(Child, ChildStdout),
    /// A generator.
    Synthetic(Synthetic),
    /// What is left of the bytes.
    Bytes(Bytes),
}

impl Nar {
    /// Starts reading from the beginning.
    pub fn open(&self) -> std::io::Result<NarReader> {
        match self {
            Self::Files(place) => {
                let mut command = Command::new("nix-store");
                command.arg("--dump").arg(place).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
                let mut child = command.spawn()?;
                let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe to nix-store"))?;
                Ok(NarReader::Dump(child, stdout))
            }
            Self::Synthetic { text, size, seed } => Ok(NarReader::Synthetic(Synthetic::new(text, *size, *seed))),
            Self::Bytes(bytes) => Ok(NarReader::Bytes(bytes.clone())),
        }
    }
}

impl NarReader {
    /// To be called at the end of the stream: a dump that broke off also ends its stream.
    pub async fn finish(self) -> std::io::Result<()> {
        if let Self::Dump(mut child, _) = self {
            let status = child.wait().await?;
            if !status.success() {
                return Err(std::io::Error::other(format!("nix-store --dump: {status}")));
            }
        }
        Ok(())
    }
}

impl AsyncRead for NarReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Dump(_, stdout) => Pin::new(stdout).poll_read(cx, buf),
            Self::Synthetic(synthetic) => Pin::new(synthetic).poll_read(cx, buf),
            Self::Bytes(bytes) => {
                let n = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes.split_to(n));
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// A store path to push.
#[derive(Debug, Clone)]
pub struct Object {
    /// `/nix/store/HASH-NAME`.
    pub path: String,
    /// Base names, sorted.
    pub references: Vec<String>,
    /// Base name of the derivation.
    pub deriver: Option<String>,
    /// The content.
    pub nar: Nar,
    /// NAR hash (base 32) and size that the store knows; a client that counts refuses to end with others.
    pub known: Option<(String, u64)>,
    /// `NAME:BASE64` each: what the local store has. Only some clients send them.
    pub sigs: Vec<String>,
    /// The content address as Nix renders it. Only some clients send it.
    pub ca: Option<String>,
}

impl Object {
    /// A path of this machine's store.
    pub fn stored(info: &PathInfo) -> Self {
        Self {
            path: info.path.clone(),
            references: info.references.clone(),
            deriver: info.deriver.clone(),
            nar: Nar::Files(info.location.clone()),
            known: Some((info.nar_hash.clone(), info.nar_size)),
            sigs: Vec::new(),
            ca: None,
        }
    }

    /// A path that no build made, with content that does not compress. `size` is in bytes.
    pub fn synthetic(name: &str, size: u64, seed: u64) -> Self {
        Self { nar: Nar::Synthetic { text: String::new(), size, seed }, ..Self::bytes(name, seed, Bytes::new()) }
    }

    /// A path that no build made, with these bytes as its NAR.
    pub fn bytes(name: &str, seed: u64, nar: impl Into<Bytes>) -> Self {
        Self {
            path: digest::made_up_path(name, seed),
            references: Vec::new(),
            deriver: None,
            nar: Nar::Bytes(nar.into()),
            known: None,
            sigs: Vec::new(),
            ca: None,
        }
    }

    /// Adds a reference to another store path. A synthetic NAR then has the path in its text, as true references do.
    pub fn referring_to(mut self, path: &str) -> Self {
        if let Nar::Synthetic { text, .. } = &mut self.nar {
            text.push_str(path);
            text.push('\n');
        }
        self.references.push(digest::base_name(path).to_owned());
        self.references.sort();
        self
    }

    /// Adds a signature of the local store's, `NAME:BASE64`.
    pub fn signed(mut self, signature: &str) -> Self {
        self.sigs.push(signature.to_owned());
        self
    }

    /// Reads the whole NAR once: its SHA-256 and its size in bytes, for clients that must tell both beforehand.
    pub async fn measure(&self) -> std::io::Result<([u8; 32], u64)> {
        let mut counted = Counted::new(self.nar.open()?);
        tokio::io::copy_buf(&mut BufReader::with_capacity(128 * 1024, &mut counted), &mut tokio::io::sink()).await?;
        let (reader, sha256, size) = counted.finish();
        reader.finish().await?;
        Ok((sha256, size))
    }

    /// The 32 characters that its narinfo is named by.
    pub fn hash(&self) -> &str {
        digest::hash_part(&self.path)
    }
}
