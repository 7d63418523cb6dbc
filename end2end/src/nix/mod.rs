//! The real Nix, offline: each [`Nix`] is one client with its own HOME, and so with its own cache of narinfos.
//! May build into its release's store; everything else it writes lies in temporary folders.

mod client;
mod path_info;
mod release;
mod store;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, bail};

pub use client::Nix;
pub use path_info::PathInfo;
pub use release::NixRelease;
pub use store::{FreshStore, store_root, tree};

/// What a command printed, for messages.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A file of `end2end/nix`.
pub fn expression(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nix").join(name)
}

/// The closure of more than 120 paths that the copying tests share; built on first use.
pub async fn many(tag: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
    many_of(&NixRelease::Host, tag).await
}

/// The same in the store of another release.
pub async fn many_of(release: &NixRelease, tag: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
    let nix = Nix::of(release)?.patience(Duration::from_secs(600));
    let (top, closure) = built(&nix, "many.nix", None, tag).await?;
    if closure.len() < 121 {
        bail!("the closure has only {} paths", closure.len());
    }
    Ok((top, closure))
}

/// The chain leaf, mid, top, with symbolic links and a self-reference; built on first use.
pub async fn chain(tag: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
    chain_of(&NixRelease::Host, tag).await
}

/// The same in the store of another release.
pub async fn chain_of(release: &NixRelease, tag: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
    built(&Nix::of(release)?, "chain.nix", Some("top"), tag).await
}

async fn built(nix: &Nix, file: &str, attr: Option<&str>, tag: &str) -> anyhow::Result<(String, Vec<PathInfo>)> {
    let top = nix.build(&expression(file), attr, &[("tag", tag)]).await?;
    let top = top.first().context("nix-build printed no path")?.clone();
    let closure = nix.closure(&top).await?;
    Ok((top, closure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chain_has_the_shape_that_tests_rely_on() {
        let (top, closure) = chain("one").await.unwrap();
        assert_eq!(closure.len(), 3);
        let top = closure.iter().find(|info| info.path == top).unwrap();
        assert!(top.references.contains(&crate::digest::base_name(&top.path).to_owned()), "refers to itself");
        assert_eq!(top.references.len(), 3);
        assert!(tree(&top.location).unwrap()[Path::new("run")].starts_with("-> /nix/store/"));
    }

    #[tokio::test]
    async fn many_paths_have_some_depth() {
        let (_, closure) = many("one").await.unwrap();
        assert_eq!(closure.len(), 125);
        assert!(closure.iter().filter(|info| info.references.len() == 1).count() > 10);
    }
}
