//! Signatures with a key of the client's own. Knows the key, and nothing of the network.

use std::sync::Arc;

use nix_compat::signing::SigningKey;

/// Signs with a key of the client's own. The key's name is not sent.
#[derive(Clone)]
pub struct Signer(Arc<SigningKey>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads `CACHIX_SIGNING_KEY`: base64 of seed and public key, with or without a name before it.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let named = if text.contains(':') { text.to_owned() } else { format!("client:{text}") };
        Ok(Self(Arc::new(SigningKey::parse(&named)?)))
    }

    /// Base64 of the signature over what Nix verifies. `references` are base names, sorted.
    pub fn sign(&self, path: &str, nar_hash: &str, nar_size: u64, references: &[String]) -> String {
        let references: Vec<String> = references.iter().map(|base| format!("/nix/store/{base}")).collect();
        let text = self.0.sign(&format!("1;{path};{nar_hash};{nar_size};{}", references.join(","))).to_string();
        text.split_once(':').map(|(_, signature)| signature.to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
    const PATH: &str = "/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt";
    const HASH: &str = "sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";

    #[test]
    fn signatures_equal_the_documented_ones() {
        for secret in [SECRET.to_owned(), format!("some-name:{SECRET}\n")] {
            let signer = Signer::parse(&secret).unwrap();
            assert_eq!(
                signer.sign(PATH, HASH, 120, &[]),
                "GEOKzKtcQQJDLaxdPZSYOX9BZhkCHZvHNMGx2KTS4/m5mZ8ROkYezx0mTXp01O+i7x0dWcBJBmLqSdnNjSGmCw=="
            );
            assert_eq!(
                signer.sign(PATH, HASH, 120, &[digest::base_name(PATH).to_owned()]),
                "7XPm1uUkLvbcdSk/S0tLh5iLxKQ3PCPjFNI6hGMj3L3ngRR95wgP+dC1VG86lpPxmRWj26Pi1dPBl/iopaJaDQ=="
            );
        }
    }
}
