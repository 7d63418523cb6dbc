//! The JSON of the attic API, decoded as the client does: unknown fields are ignored, and nearly all are optional.

use serde::{Deserialize, Serialize};

/// How long paths are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Retention {
    /// As the server is configured.
    Global,
    /// Seconds since the last access; 0 turns collection by time off.
    Period(u32),
}

/// Where a cache's signing key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Keypair {
    /// The server makes a new one.
    Generate,
    /// `NAME:` and base64 of 64 bytes, secret and then public key.
    Keypair(String),
}

/// The answer of cache-config: nothing in it is required.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CacheConfig {
    /// Full URL of the cache.
    pub substituter_endpoint: Option<String>,
    /// Where pushes continue; ends in a slash.
    pub api_endpoint: Option<String>,
    /// `NAME:BASE64`.
    pub public_key: Option<String>,
    /// Whether anyone may pull.
    pub is_public: Option<bool>,
    /// `/nix/store`.
    pub store_dir: Option<String>,
    /// For Nix: lower is asked first.
    pub priority: Option<i32>,
    /// Paths signed by a key of one of these names are not pushed.
    pub upstream_cache_key_names: Option<Vec<String>>,
    /// How long paths are kept.
    pub retention_period: Option<Retention>,
}

/// The body of create; by default what the command line sends without options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreateCache {
    /// Where the key comes from.
    pub keypair: Keypair,
    /// Whether anyone may pull.
    pub is_public: bool,
    /// `/nix/store`.
    pub store_dir: String,
    /// For Nix: lower is asked first.
    pub priority: i32,
    /// Names of keys whose paths need not be pushed.
    pub upstream_cache_key_names: Vec<String>,
}

impl Default for CreateCache {
    fn default() -> Self {
        Self {
            keypair: Keypair::Generate,
            is_public: false,
            store_dir: "/nix/store".to_owned(),
            priority: 41,
            upstream_cache_key_names: vec!["cache.nixos.org-1".to_owned()],
        }
    }
}

/// The body of configure, as the command line sends it: the retention is always there, `"Global"` unless the user
/// gives a period. Without any change it is what `--reset-retention-period` sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigureCache {
    /// A new key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keypair: Option<Keypair>,
    /// Whether anyone may pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    /// Another store directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_dir: Option<String>,
    /// For Nix: lower is asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Names of keys whose paths need not be pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_cache_key_names: Option<Vec<String>>,
    /// How long paths are kept.
    pub retention_period: Retention,
}

impl Default for ConfigureCache {
    fn default() -> Self {
        Self {
            keypair: None,
            is_public: None,
            store_dir: None,
            priority: None,
            upstream_cache_key_names: None,
            retention_period: Retention::Global,
        }
    }
}

/// The body of get-missing-paths.
#[derive(Debug, Clone, Serialize)]
pub struct GetMissingPaths {
    /// The cache's name.
    pub cache: String,
    /// 32 characters each.
    pub store_path_hashes: Vec<String>,
}

/// The answer of get-missing-paths.
#[derive(Debug, Clone, Deserialize)]
pub struct MissingPaths {
    /// A part of what was asked for.
    pub missing_paths: Vec<String>,
}

/// What upload-path says about a store path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NarInfo {
    /// The cache's name.
    pub cache: String,
    /// 32 characters.
    pub store_path_hash: String,
    /// With the store directory.
    pub store_path: String,
    /// Base names.
    pub references: Vec<String>,
    /// Always null today.
    pub system: Option<String>,
    /// Always null today.
    pub deriver: Option<String>,
    /// `NAME:BASE64` each: what the local store has.
    pub sigs: Vec<String>,
    /// The content address as Nix renders it.
    pub ca: Option<String>,
    /// `sha256:` and 64 hex digits.
    pub nar_hash: String,
    /// Uncompressed bytes.
    pub nar_size: u64,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum UploadKind {
    /// The server had the content already.
    Deduplicated,
    /// The server stored it, or says something that the client does not know.
    #[serde(other)]
    Uploaded,
}

/// The answer of upload-path, where there is one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UploadResult {
    /// What became of it.
    pub kind: UploadKind,
    /// Compressed bytes.
    pub file_size: Option<u64>,
    /// How much of it was there already, from 0 to 1.
    pub frac_deduplicated: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_always_carries_a_retention() {
        let text = |body: &ConfigureCache| serde_json::to_string(body).unwrap();
        let quiet = ConfigureCache { priority: Some(7), ..ConfigureCache::default() };
        assert_eq!(text(&quiet), r#"{"priority":7,"retention_period":"Global"}"#);
        let period = ConfigureCache { retention_period: Retention::Period(60), ..ConfigureCache::default() };
        assert_eq!(text(&period), r#"{"retention_period":{"Period":60}}"#);
    }

    #[test]
    fn creation_has_the_defaults_of_the_command_line() {
        assert_eq!(
            serde_json::to_string(&CreateCache::default()).unwrap(),
            r#"{"keypair":"Generate","is_public":false,"store_dir":"/nix/store","priority":41,"#.to_owned()
                + r#""upstream_cache_key_names":["cache.nixos.org-1"]}"#
        );
        assert_eq!(serde_json::to_string(&Keypair::Keypair("a:b".to_owned())).unwrap(), r#"{"Keypair":"a:b"}"#);
    }

    #[test]
    fn answers_may_be_nearly_empty() {
        let config: CacheConfig = serde_json::from_str(r#"{"more":1}"#).unwrap();
        assert_eq!((config.api_endpoint, config.retention_period), (None, None));
        let config: CacheConfig = serde_json::from_str(r#"{"retention_period":{"Period":5}}"#).unwrap();
        assert_eq!(config.retention_period, Some(Retention::Period(5)));
        assert!(serde_json::from_str::<CacheConfig>(r#"{"retention_period":5}"#).is_err());
        let result: UploadResult = serde_json::from_str(r#"{"kind":"Chunked","frac_deduplicated":null}"#).unwrap();
        assert_eq!((result.kind, result.file_size), (UploadKind::Uploaded, None));
        let result: UploadResult = serde_json::from_str(r#"{"kind":"Deduplicated","file_size":5}"#).unwrap();
        assert_eq!((result.kind, result.file_size), (UploadKind::Deduplicated, Some(5)));
    }
}
