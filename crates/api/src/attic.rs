//! The words of the attic protocol as far as they are JSON: owns their fields and the check of what a push tells about
//! a store path; parses no JSON itself.
//!
//! Bodies of clients may have fields that are not known here; they are ignored.

use crate::bounded;
use nix_compat::store_path::{StorePath, StorePathHash};
use nix_compat::{ContentAddress, Sha256, Signature};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the client tells about a store path whose NAR it sends, as it stands in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPathInfo {
    /// Name of the cache.
    pub cache: String,
    /// The 32 digits at the beginning of the store path's name.
    pub store_path_hash: String,
    /// With the store directory.
    pub store_path: String,
    /// Base names.
    #[serde(default, deserialize_with = "bounded::list::<_, 100_000>")]
    pub references: Vec<String>,
    /// Clients of today always leave it null.
    #[serde(default)]
    pub system: Option<String>,
    /// Clients of today always leave it null.
    #[serde(default)]
    pub deriver: Option<String>,
    /// Each as `name:base64`.
    #[serde(default, deserialize_with = "bounded::list::<_, 1024>")]
    pub sigs: Vec<String>,
    #[serde(default)]
    pub ca: Option<String>,
    /// `sha256:` and 64 hex digits.
    pub nar_hash: String,
    /// Bytes of the NAR, which is sent uncompressed.
    pub nar_size: u64,
}

/// An [`UploadPathInfo`] whose every field was checked by itself; the NAR has yet to prove hash and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// As the client wrote it. Attic's rules for names are wider than those of [`CacheName`](crate::CacheName).
    pub cache: String,
    pub store_path: StorePath,
    pub nar_hash: Sha256,
    /// More than 0.
    pub nar_size: u64,
    /// Sorted, without duplicates; may have the path itself.
    pub references: Vec<StorePath>,
    pub deriver: Option<StorePath>,
    /// Sorted, without duplicates. Malformed ones are left out: a client must not be kept from pushing by a signature
    /// that another tool spoilt.
    pub signatures: Vec<Signature>,
    pub ca: Option<ContentAddress>,
}

/// Why an [`UploadPathInfo`] was refused: one line that names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUpload {
    /// The field's name in JSON.
    pub field: &'static str,
    /// What is wrong with its value.
    pub reason: String,
}

impl InvalidUpload {
    fn new(field: &'static str, reason: impl ToString) -> InvalidUpload {
        InvalidUpload { field, reason: reason.to_string() }
    }
}

impl fmt::Display for InvalidUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is invalid: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidUpload {}

impl TryFrom<UploadPathInfo> for Upload {
    type Error = InvalidUpload;

    fn try_from(info: UploadPathInfo) -> Result<Upload, InvalidUpload> {
        let store_path =
            StorePath::parse_absolute(&info.store_path).map_err(|error| InvalidUpload::new("store_path", error))?;
        if StorePathHash::parse(&info.store_path_hash) != Ok(store_path.hash()) {
            return Err(InvalidUpload::new("store_path_hash", "it is not the one of store_path"));
        }
        let nar_hash = Sha256::parse(&info.nar_hash).map_err(|error| InvalidUpload::new("nar_hash", error))?;
        if info.nar_size == 0 {
            return Err(InvalidUpload::new("nar_size", "it is zero"));
        }
        let references = info.references.iter().map(|reference| any_path("references", reference));
        let mut references = references.collect::<Result<Vec<_>, _>>()?;
        references.sort_unstable();
        references.dedup();
        let deriver = info.deriver.filter(|deriver| !matches!(deriver.as_str(), "" | "unknown-deriver"));
        let deriver = deriver.map(|deriver| any_path("deriver", &deriver)).transpose()?;
        let mut signatures: Vec<_> = info.sigs.iter().filter_map(|text| Signature::parse(text).ok()).collect();
        signatures.sort_unstable();
        signatures.dedup();
        let ca = info.ca.filter(|ca| !ca.is_empty());
        let ca =
            ca.map(|ca| ContentAddress::parse(&ca).map_err(|error| InvalidUpload::new("ca", error))).transpose()?;
        Ok(Upload {
            cache: info.cache,
            store_path,
            nar_hash,
            nar_size: info.nar_size,
            references,
            deriver,
            signatures,
            ca,
        })
    }
}

/// A base name, or a path with the store directory as forks of the client may send it.
fn any_path(field: &'static str, text: &str) -> Result<StorePath, InvalidUpload> {
    let path = if text.starts_with('/') { StorePath::parse_absolute(text) } else { StorePath::parse(text) };
    path.map_err(|error| InvalidUpload::new(field, error))
}

/// The answer to an upload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadResult {
    pub kind: UploadKind,
    /// Bytes as stored, if told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
    /// Which part, from 0 to 1, was there before.
    #[serde(default)]
    pub frac_deduplicated: Option<f64>,
}

/// Whether the NAR was new. Clients read words they do not know as `Uploaded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadKind {
    Deduplicated,
    #[serde(other)]
    Uploaded,
}

/// A cache's configuration: the answer that tells it, and with fewer fields the request that changes it, where what is
/// absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheConfig {
    /// URL of the cache for Nix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub substituter_endpoint: Option<String>,
    /// URL that paths like `_api/v1/upload-path` are relative to; must end in a slash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_endpoint: Option<String>,
    /// `name:base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Only in requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keypair: Option<Keypair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Clients do not push what is signed by a key of one of these names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_cache_key_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_period: Option<RetentionPeriod>,
}

/// What a new cache is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCache {
    pub keypair: Keypair,
    pub is_public: bool,
    pub store_dir: String,
    pub priority: i32,
    #[serde(default)]
    pub upstream_cache_key_names: Vec<String>,
}

/// The key of a cache: a new one, or `name:base64` of the secret and the public half. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keypair {
    Generate,
    Keypair(String),
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Keypair::Generate => "Generate",
            Keypair::Keypair(_) => "Keypair(..)",
        })
    }
}

/// How long paths stay after they were last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetentionPeriod {
    /// As the server has it for all caches. Current clients send it along with any change of another field, so there
    /// it means nothing.
    Global,
    /// Seconds; 0 keeps everything.
    Period(u32),
}

/// Asks which paths the cache does not have; clients send whole closures at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetMissingPaths {
    pub cache: String,
    pub store_path_hashes: Vec<StorePathHash>,
}

/// Those of the paths asked for that the client is to upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPaths {
    pub missing_paths: Vec<StorePathHash>,
}

/// The body of a refusal. Clients show `error: message`; without all three fields they show the raw body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The HTTP status.
    pub code: u16,
    /// One of the protocol's words, such as `NoSuchCache`.
    pub error: String,
    /// A sentence for the person at the client.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix_compat::SigningKey;
    use serde_json::{Value, json};

    const HASH: &str = "5cil4z0s59ii1splw7bhxf230bfdxfq5";
    const REFERENCE: &str = "wcxhn129wcxm11iv06235mw5mxy1yn4b-pointer";
    const NAR_HEX: &str = "1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";

    fn info() -> Value {
        json!({
            "cache": "Team+ci",
            "store_path_hash": HASH,
            "store_path": format!("/nix/store/{HASH}-greeting.txt"),
            "references": [],
            "system": null,
            "deriver": null,
            "sigs": [],
            "ca": null,
            "nar_hash": format!("sha256:{NAR_HEX}"),
            "nar_size": 120,
        })
    }

    fn read(info: Value) -> Result<Upload, String> {
        let info: UploadPathInfo = serde_json::from_value(info).map_err(|error| error.to_string())?;
        Upload::try_from(info).map_err(|error| error.to_string())
    }

    fn with(field: &str, value: Value) -> Result<Upload, String> {
        let mut info = info();
        info[field] = value;
        read(info)
    }

    #[test]
    fn upload_as_clients_send_it() {
        let upload = read(info()).unwrap();
        assert_eq!(upload.cache, "Team+ci");
        assert_eq!(upload.store_path.to_string(), format!("{HASH}-greeting.txt"));
        assert_eq!((upload.nar_hash.to_hex().as_str(), upload.nar_size), (NAR_HEX, 120));
        assert!(upload.references.is_empty() && upload.signatures.is_empty());
        assert!(upload.deriver.is_none() && upload.ca.is_none());

        // Fields left out, and ones of tomorrow.
        let mut short = info();
        for field in ["references", "system", "deriver", "sigs", "ca"] {
            short.as_object_mut().unwrap().remove(field);
        }
        short["tomorrow"] = json!({"x": 1});
        assert_eq!(read(short), Ok(upload.clone()));

        // Every spelling of the hash.
        for nar_hash in
            [upload.nar_hash.to_string(), upload.nar_hash.to_sri(), format!("sha256:{}", NAR_HEX.to_uppercase())]
        {
            assert_eq!(with("nar_hash", json!(nar_hash)), Ok(upload.clone()), "{nar_hash}");
        }
    }

    #[test]
    fn upload_with_everything() {
        let own = format!("{HASH}-greeting.txt");
        let references = with("references", json!([REFERENCE, own, REFERENCE])).unwrap().references;
        assert_eq!(references.iter().map(ToString::to_string).collect::<Vec<_>>(), [own.as_str(), REFERENCE]);

        for deriver in [format!("{HASH}-x.drv"), format!("/nix/store/{HASH}-x.drv")] {
            let upload = with("deriver", json!(deriver)).unwrap();
            assert_eq!(upload.deriver.unwrap().to_string(), format!("{HASH}-x.drv"));
        }
        for none in ["", "unknown-deriver"] {
            assert_eq!(with("deriver", json!(none)).unwrap().deriver, None);
        }

        let signature = SigningKey::from_seed("k-1", [7; 32]).unwrap().sign("text");
        let sigs = json!(["garbage", signature, "k-1:AAAA", signature, ""]);
        assert_eq!(with("sigs", sigs).unwrap().signatures, [signature]);

        let ca = format!("fixed:r:sha256:{NAR_HEX}");
        assert_eq!(with("ca", json!(ca)).unwrap().ca, Some(ContentAddress::parse(&ca).unwrap()));
        assert_eq!(with("ca", json!("")).unwrap().ca, None);
    }

    #[test]
    fn refused_uploads() {
        for (field, value, why) in [
            ("store_path", json!(format!("{HASH}-x")), "store_path is invalid: path is not directly inside /nix/store"),
            (
                "store_path",
                json!(format!("/gnu/store/{HASH}-x")),
                "store_path is invalid: path is not directly inside /nix/store",
            ),
            (
                "store_path",
                json!(format!("/nix/store/{HASH}-x/bin")),
                "store_path is invalid: path is not directly inside /nix/store",
            ),
            (
                "store_path",
                json!(format!("/nix/store/{HASH}-\u{e9}")),
                "store_path is invalid: store path name has a byte 0xc3, which is not allowed",
            ),
            ("store_path_hash", json!(&REFERENCE[..32]), "store_path_hash is invalid: it is not the one of store_path"),
            ("store_path_hash", json!(""), "store_path_hash is invalid: it is not the one of store_path"),
            ("nar_hash", json!(NAR_HEX), "nar_hash is invalid: hash has no algorithm prefix"),
            ("nar_hash", json!("sha256:"), "nar_hash is invalid: sha256 hash cannot have 0 digits"),
            (
                "nar_hash",
                json!(format!("sha1:{}", &NAR_HEX[..40])),
                "nar_hash is invalid: hash algorithm is sha1, must be sha256",
            ),
            ("nar_size", json!(0), "nar_size is invalid: it is zero"),
            ("references", json!(["x"]), "references is invalid: store path does not begin with 32 nix32 digits"),
            ("deriver", json!("/x"), "deriver is invalid: path is not directly inside /nix/store"),
            ("ca", json!("x"), "ca is invalid: content address is neither text: nor fixed:"),
        ] {
            assert_eq!(with(field, value), Err(why.to_owned()));
        }
        for (field, value) in [
            ("nar_size", json!(-1)),
            ("nar_size", json!("120")),
            ("references", json!("x")),
            ("sigs", json!([1])),
            ("cache", json!(null)),
        ] {
            assert!(with(field, value).is_err(), "{field}");
        }
        for field in ["cache", "store_path_hash", "store_path", "nar_hash", "nar_size"] {
            let mut info = info();
            info.as_object_mut().unwrap().remove(field);
            assert_eq!(read(info), Err(format!("missing field `{field}`")));
        }
    }

    /// The value that this JSON is read as, which is written as the same JSON.
    fn both_ways<T: Serialize + serde::de::DeserializeOwned>(json: &Value) -> T {
        let value: T = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(&serde_json::to_value(&value).unwrap(), json);
        value
    }

    #[test]
    fn configurations() {
        let full = json!({
            "substituter_endpoint": "https://h/main",
            "api_endpoint": "https://h/",
            "public_key": "main-1:AAAA",
            "is_public": true,
            "store_dir": "/nix/store",
            "priority": -1,
            "upstream_cache_key_names": ["cache.nixos.org-1"],
            "retention_period": {"Period": 86400},
        });
        let config: CacheConfig = both_ways(&full);
        assert_eq!(config.retention_period, Some(RetentionPeriod::Period(86400)));
        assert_eq!(both_ways::<CacheConfig>(&json!({})), CacheConfig::default());
        let reset: CacheConfig = both_ways(&json!({"retention_period": "Global"}));
        assert_eq!(reset.retention_period, Some(RetentionPeriod::Global));
        let nulls = json!({"api_endpoint": null, "retention_period": null, "tomorrow": 1});
        assert_eq!(serde_json::from_value::<CacheConfig>(nulls).unwrap(), CacheConfig::default());
        for wrong in [json!("global"), json!({"Period": -1}), json!({"Period": 1, "x": 1}), json!(7)] {
            assert!(serde_json::from_value::<CacheConfig>(json!({"retention_period": wrong})).is_err());
        }
    }

    #[test]
    fn creations() {
        let mut body = json!({
            "keypair": "Generate",
            "is_public": false,
            "store_dir": "/nix/store",
            "priority": 41,
            "upstream_cache_key_names": ["cache.nixos.org-1"],
        });
        assert_eq!(both_ways::<CreateCache>(&body).keypair, Keypair::Generate);
        body["keypair"] = json!({"Keypair": "main-1:c2VjcmV0"});
        let create: CreateCache = both_ways(&body);
        assert_eq!(create.keypair, Keypair::Keypair("main-1:c2VjcmV0".to_owned()));
        assert!(!format!("{create:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn missing_paths() {
        let asked: GetMissingPaths = both_ways(&json!({"cache": "main", "store_path_hashes": [HASH]}));
        assert_eq!(asked.store_path_hashes[0].to_string(), HASH);
        both_ways::<MissingPaths>(&json!({"missing_paths": [HASH, HASH]}));
        let wrong = json!({"cache": "main", "store_path_hashes": [HASH.to_uppercase()]});
        assert!(serde_json::from_value::<GetMissingPaths>(wrong).is_err());
    }

    #[test]
    fn answers() {
        let full: UploadResult =
            both_ways(&json!({"kind": "Deduplicated", "file_size": 48213, "frac_deduplicated": 0.5}));
        assert_eq!(full.kind, UploadKind::Deduplicated);
        let short: UploadResult = both_ways(&json!({"kind": "Uploaded", "frac_deduplicated": null}));
        assert_eq!(short, UploadResult { kind: UploadKind::Uploaded, file_size: None, frac_deduplicated: None });
        let unknown: UploadResult = serde_json::from_value(json!({"kind": "Teleported"})).unwrap();
        assert_eq!(unknown, short);
        let error: ErrorBody =
            both_ways(&json!({"code": 404, "error": "NoSuchCache", "message": "There is no such cache."}));
        assert_eq!(error.code, 404);
    }
}
