//! What Nix tells of store paths, read out of the forms that its releases print.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::NixRelease;

/// A store path as one Nix knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// `/nix/store/HASH-NAME`.
    pub path: String,
    /// SHA-256 of the NAR in Nix's base 32, without a prefix.
    pub nar_hash: String,
    /// Bytes of the NAR.
    pub nar_size: u64,
    /// Base names, sorted; holds the path itself if it refers to itself.
    pub references: Vec<String>,
    /// Base name of the derivation.
    pub deriver: Option<String>,
    /// Names of the keys that signed it, sorted.
    pub signers: Vec<String>,
    /// Where its files are: differs from `path` when the store lies below another root.
    pub location: PathBuf,
}

impl PathInfo {
    /// Reads what `nix path-info --json` prints.
    pub fn parse(json: &str, release: &NixRelease) -> anyhow::Result<Vec<Self>> {
        match &serde_json::from_str(json)? {
            Value::Array(infos) => infos.iter().map(|info| Self::one(None, info, release)).collect(),
            // Newer releases answer with an object keyed by path.
            Value::Object(infos) => infos.iter().map(|(path, info)| Self::one(Some(path), info, release)).collect(),
            other => bail!("path-info answered {other}"),
        }
    }

    fn one(path: Option<&str>, info: &Value, release: &NixRelease) -> anyhow::Result<Self> {
        let text = |name: &str| info.get(name).and_then(Value::as_str);
        let list =
            |name: &str| info.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let path = path.or(text("path")).context("path-info without a path")?.to_owned();
        let base = |path: &str| crate::digest::base_name(path).to_owned();
        info.get("references").context("path-info without references")?;
        let mut references: Vec<String> = list("references").map(base).collect();
        references.sort();
        let mut signers: Vec<String> =
            list("signatures").filter_map(|sig| Some(sig.split_once(':')?.0.to_owned())).collect();
        signers.sort();
        Ok(Self {
            nar_hash: plain_nix32(text("narHash").context("path-info without narHash")?)?,
            nar_size: info["narSize"].as_u64().context("path-info without narSize")?,
            references,
            deriver: text("deriver").map(base),
            signers,
            location: release.locate(&path),
            path,
        })
    }
}

/// `sha256:NIX32` or `sha256-BASE64` as base 32 without a prefix.
fn plain_nix32(text: &str) -> anyhow::Result<String> {
    use base64::Engine as _;
    if let Some(digits) = text.strip_prefix("sha256:") {
        return Ok(digits.to_owned());
    }
    let digits = text.strip_prefix("sha256-").with_context(|| format!("{text} is no SHA-256"))?;
    Ok(crate::digest::nix32(&base64::engine::general_purpose::STANDARD.decode(digits)?))
}
