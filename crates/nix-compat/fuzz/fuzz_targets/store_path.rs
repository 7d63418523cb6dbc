//! Store paths, content addresses, keys and signatures are written as they were read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix_compat::{ContentAddress, Signature, SigningKey, StorePath, VerifyingKey};

fuzz_target!(|text: &str| {
    if let Ok(path) = StorePath::parse(text) {
        assert_eq!(path.to_string(), text);
        assert_eq!(StorePath::parse_absolute(&path.to_absolute()), Ok(path));
    }
    if let Ok(path) = StorePath::parse_absolute(text) {
        assert_eq!(path.to_absolute(), text.strip_suffix('/').unwrap_or(text));
    }
    if let Ok(ca) = ContentAddress::parse(text) {
        assert_eq!(ContentAddress::parse(&ca.to_string()), Ok(ca));
    }
    if let Ok(signature) = Signature::parse(text) {
        assert_eq!(Signature::parse(&signature.to_string()), Ok(signature));
    }
    if let Ok(key) = VerifyingKey::parse(text) {
        assert_eq!(VerifyingKey::parse(&key.to_string()), Ok(key));
    }
    let _ = SigningKey::parse(text);
});
