//! The JSON of the cachix API, decoded as strictly as the client does: every declared field, unknown ones ignored.

use serde::{Deserialize, Serialize};

use crate::digest;

/// What the asking token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Permission {
    /// Pull.
    Read,
    /// Pull and push.
    Write,
    /// Everything.
    Admin,
}

/// A compression as the cache record spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Compression {
    /// xz.
    #[serde(rename = "XZ")]
    Xz,
    /// Zstandard.
    #[serde(rename = "ZSTD")]
    Zstd,
}

impl Compression {
    /// As the query of create spells it.
    pub fn query(self) -> &'static str {
        match self {
            Self::Xz => "xz",
            Self::Zstd => "zst",
        }
    }
}

/// The answer of getCache. All seven fields are required.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// The name that routes.
    pub name: String,
    /// Written verbatim into nix.conf as substituter.
    pub uri: String,
    /// False makes `use` ask for a token and write netrc.
    pub is_public: bool,
    /// Written verbatim into nix.conf as trusted keys.
    pub public_signing_keys: Vec<String>,
    /// Shown nowhere, never null.
    pub github_username: String,
    /// What the asking token may do.
    pub permission: Permission,
    /// What pushes are compressed with.
    pub preferred_compression_method: Compression,
}

/// The answer of create.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// A UUID in its 36-character form.
    pub nar_id: NarId,
    /// Any text.
    pub upload_id: String,
}

/// The body of part.
#[derive(Debug, Clone, Serialize)]
pub struct PartCreate {
    /// Padded base64.
    #[serde(rename = "contentMD5")]
    pub content_md5: String,
}

/// The answer of part.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartCreated {
    /// Where the part's bytes go: an absolute URL that carries its own authority.
    pub upload_url: String,
}

/// One part in complete.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompletedPart {
    /// From 1.
    pub part_number: u32,
    /// As received, quotes included.
    pub e_tag: String,
}

/// The body of complete.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Complete {
    /// Sorted by number; null if one part's answer had no ETag.
    pub parts: Option<Vec<CompletedPart>>,
    /// What is to be published.
    pub nar_info_create: NarInfoCreate,
}

/// What the client says about a store path.
#[derive(Debug, Clone, Serialize)]
pub struct NarInfoCreate {
    /// 32 characters.
    #[serde(rename = "cStoreHash")]
    pub store_hash: String,
    /// The base name after the hash part and its hyphen.
    #[serde(rename = "cStoreSuffix")]
    pub store_suffix: String,
    /// `sha256:` and base 32.
    #[serde(rename = "cNarHash")]
    pub nar_hash: String,
    /// Bytes.
    #[serde(rename = "cNarSize")]
    pub nar_size: u64,
    /// 64 hex digits without a prefix.
    #[serde(rename = "cFileHash")]
    pub file_hash: String,
    /// Bytes.
    #[serde(rename = "cFileSize")]
    pub file_size: u64,
    /// Base names, sorted.
    #[serde(rename = "cReferences")]
    pub references: Vec<String>,
    /// Base name, or `unknown-deriver`.
    #[serde(rename = "cDeriver")]
    pub deriver: String,
    /// Base64 of 64 bytes without a key name; null leaves signing to the server.
    #[serde(rename = "cSig")]
    pub sig: Option<String>,
}

/// The body of key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyCreate {
    /// Base64 of 32 bytes, without a name.
    pub public_key: String,
}

/// How long the revisions of a pin are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "tag", content = "contents")]
pub enum Keep {
    /// So many days.
    Days(u64),
    /// The last so many.
    Revisions(u64),
    /// Always.
    Forever,
}

/// The body of pin.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// Any text.
    pub name: String,
    /// `/nix/store/HASH-NAME`.
    pub store_path: String,
    /// Files inside it, as typed.
    pub artifacts: Vec<String>,
    /// Null leaves it to the server.
    pub keep: Option<Keep>,
}

/// One pin in the answer of pins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// As given.
    pub name: String,
    /// ISO 8601.
    pub created_on: Option<String>,
    /// What the name stands for now.
    pub last_revision: Revision,
}

/// One revision of a pin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// `/nix/store/HASH-NAME`.
    pub store_path: String,
}

impl NarInfoCreate {
    /// What is true of a store path with this NAR, compressed to this file; without references, deriver and signature.
    pub fn of(path: &str, nar: &[u8], file: &[u8]) -> Self {
        Self {
            store_hash: digest::hash_part(path).to_owned(),
            store_suffix: digest::base_name(path).get(33..).unwrap_or_default().to_owned(),
            nar_hash: format!("sha256:{}", digest::sha256_nix32(nar)),
            nar_size: nar.len() as u64,
            file_hash: digest::sha256_hex(file),
            file_size: file.len() as u64,
            references: Vec::new(),
            deriver: "unknown-deriver".to_owned(),
            sig: None,
        }
    }
}

/// The id of an upload. The client decodes it as a UUID and fails on any other text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NarId(pub String);

impl TryFrom<String> for NarId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let well_formed = text.len() == 36
            && text.char_indices().all(|(i, c)| match i {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            });
        if well_formed { Ok(Self(text)) } else { Err(format!("{text} is no UUID")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: &str = r#"{"name":"main","uri":"https://main.example.org","isPublic":true,
        "publicSigningKeys":["main-1:A6E="],"githubUsername":"","permission":"Write",
        "preferredCompressionMethod":"ZSTD","extra":[1]}"#;

    #[test]
    fn cache_needs_each_of_its_seven_fields() {
        let cache: Cache = serde_json::from_str(CACHE).unwrap();
        assert_eq!((cache.permission, cache.preferred_compression_method), (Permission::Write, Compression::Zstd));
        let whole: serde_json::Value = serde_json::from_str(CACHE).unwrap();
        for field in whole.as_object().unwrap().keys().filter(|field| *field != "extra") {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(field);
            assert!(serde_json::from_value::<Cache>(part).is_err(), "{field}");
        }
        assert!(serde_json::from_str::<Cache>(&CACHE.replace("ZSTD", "zstd")).is_err());
        assert!(serde_json::from_str::<Cache>(&CACHE.replace("Write", "write")).is_err());
    }

    #[test]
    fn nar_id_must_be_a_uuid() {
        let decode = |id: &str| serde_json::from_str::<Created>(&format!(r#"{{"narId":"{id}","uploadId":"u"}}"#));
        assert!(decode("7b1c2f1e-3c9d-4b8a-9a53-0f1f6f2f9f10").is_ok());
        assert!(decode("7b1c2f1e3c9d4b8a9a530f1f6f2f9f10").is_err());
        assert!(decode("42").is_err());
    }

    #[test]
    fn pins_tell_how_long_in_four_forms() {
        let text = |keep| {
            let pin = Pin { name: "a".to_owned(), store_path: "/x".to_owned(), artifacts: Vec::new(), keep };
            serde_json::to_string(&pin).unwrap()
        };
        for (keep, json) in [
            (None, "null"),
            (Some(Keep::Days(3)), r#"{"tag":"Days","contents":3}"#),
            (Some(Keep::Revisions(5)), r#"{"tag":"Revisions","contents":5}"#),
            (Some(Keep::Forever), r#"{"tag":"Forever"}"#),
        ] {
            assert_eq!(text(keep), format!(r#"{{"name":"a","storePath":"/x","artifacts":[],"keep":{json}}}"#));
        }
    }

    #[test]
    fn absent_optionals_are_sent_as_null() {
        let info = NarInfoCreate::of("/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt", b"", b"");
        let text = serde_json::to_string(&Complete { parts: None, nar_info_create: info }).unwrap();
        assert!(text.starts_with(r#"{"parts":null,"narInfoCreate":{"cStoreHash":"i9pm"#), "{text}");
        assert!(text.ends_with(r#""cReferences":[],"cDeriver":"unknown-deriver","cSig":null}}"#), "{text}");
    }
}
