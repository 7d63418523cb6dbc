//! Narinfos made from what databases say: owns which spellings are understood and what may be left out.

use nix_compat::{
    compression::Compression,
    content_address::ContentAddress,
    narinfo::{NarInfo, UNKNOWN_DERIVER},
    nixhash::{HashAlgo, NixHash, Sha256},
    signing::Signature,
    store_path::{STORE_DIR, StorePath},
};

/// What a database says of a path, in its own spellings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// `/nix/store/HASH-NAME`.
    pub store_path: String,
    pub compression: String,
    /// With or without algorithm; hex, base 32 or base 64.
    pub nar_hash: String,
    pub nar_size: u64,
    pub file_hash: Option<String>,
    pub file_size: Option<u64>,
    /// Base names or absolute.
    pub references: Vec<String>,
    pub deriver: Option<String>,
    pub system: Option<String>,
    pub signatures: Vec<String>,
    pub ca: Option<String>,
}

impl Told {
    /// The narinfo, or why there can be none. What only describes (deriver, system) or only adds trust (signatures, content
    /// address) is left out where it cannot be read.
    pub fn narinfo(self) -> Result<NarInfo, String> {
        let path = &self.store_path;
        let store_path =
            StorePath::parse_absolute(path).map_err(|error| format!("the store path is wrong: {error}"))?;
        let compression = compression(&self.compression)?;
        let nar_hash = sha256(&self.nar_hash).ok_or_else(|| format!("its NAR hash {} is none", self.nar_hash))?;
        if self.nar_size == 0 {
            return Err("its NAR size is 0".to_owned());
        }
        let url = format!("nar/{}.nar{}", store_path.hash(), compression.extension());
        let mut narinfo = NarInfo::new(store_path, url, compression, nar_hash, self.nar_size);
        for reference in &self.references {
            let reference = base_name(reference).map_err(|()| format!("its reference {reference} is no store path"))?;
            narinfo.references.push(reference);
        }
        narinfo.references.sort_unstable();
        narinfo.references.dedup();
        narinfo.file_hash = self.file_hash.as_deref().and_then(sha256);
        narinfo.file_size = self.file_size;
        narinfo.deriver =
            self.deriver.filter(|deriver| deriver != UNKNOWN_DERIVER).and_then(|deriver| base_name(&deriver).ok());
        let printable = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        narinfo.system = self.system.filter(printable);
        for signature in self.signatures {
            match Signature::parse(&signature) {
                Ok(signature) => narinfo.signatures.push(signature),
                Err(_) => narinfo.malformed_signatures.push(signature),
            }
        }
        narinfo.signatures.sort_unstable();
        narinfo.signatures.dedup();
        narinfo.ca = self.ca.and_then(|ca| ContentAddress::parse(&ca).ok());
        Ok(narinfo)
    }
}

/// A compression by its name in narinfos, or by the file extension that cachix calls zstd by.
pub(crate) fn compression(name: &str) -> Result<Compression, String> {
    match name {
        "zst" => Ok(Compression::Zstd),
        name => Compression::parse(name).map_err(|_| format!("its compression {name} is unknown")),
    }
}

/// Whether a file name stays below the place it is looked for in.
pub(crate) fn is_relative(name: &str) -> bool {
    !name.contains('\\') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn sha256(text: &str) -> Option<Sha256> {
    if text.contains([':', '-']) {
        return Sha256::parse(text).ok();
    }
    NixHash::parse_digits(HashAlgo::Sha256, text).ok()?.as_sha256()
}

fn base_name(text: &str) -> Result<StorePath, ()> {
    let name = text.strip_prefix(STORE_DIR).map_or(text, |rest| rest.trim_start_matches('/'));
    StorePath::parse(name).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told {
            store_path: "/nix/store/0c5b8vw40dy178xlpddw65q9gf1h2186-leaf".to_owned(),
            compression: "zstd".to_owned(),
            nar_hash: format!("sha256:{}", "00".repeat(32)),
            nar_size: 8,
            ..Told::default()
        }
    }

    #[test]
    fn every_spelling_of_a_hash() {
        let want = Sha256::digest(b"x");
        for text in
            [want.to_hex(), want.to_nix32(), want.to_sri(), want.to_string(), format!("sha256:{}", want.to_hex())]
        {
            assert_eq!(Told { nar_hash: text.clone(), ..told() }.narinfo().unwrap().nar_hash, want, "{text}");
        }
        assert!(Told { nar_hash: "md5:00".to_owned(), ..told() }.narinfo().is_err());
    }

    #[test]
    fn what_only_describes_may_be_wrong() {
        let narinfo = Told {
            deriver: Some("nonsense".to_owned()),
            system: Some("a\nb".to_owned()),
            signatures: vec!["nonsense".to_owned()],
            ca: Some("nonsense".to_owned()),
            references: vec![told().store_path, "0c5b8vw40dy178xlpddw65q9gf1h2186-leaf".to_owned()],
            ..told()
        };
        let narinfo = narinfo.narinfo().unwrap();
        assert_eq!((narinfo.deriver, narinfo.system, narinfo.ca), (None, None, None));
        assert_eq!(narinfo.references.len(), 1);
        assert_eq!(narinfo.malformed_signatures, ["nonsense"]);
    }

    #[test]
    fn what_a_path_is_made_of_must_be_right() {
        for wrong in [
            Told { store_path: "/gnu/store/0c5b8vw40dy178xlpddw65q9gf1h2186-leaf".to_owned(), ..told() },
            Told { compression: "zip".to_owned(), ..told() },
            Told { nar_size: 0, ..told() },
            Told { references: vec!["x".to_owned()], ..told() },
        ] {
            assert!(wrong.narinfo().is_err());
        }
    }
}
