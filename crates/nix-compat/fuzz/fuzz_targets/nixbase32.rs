//! Each byte string has one text and each accepted text is the one of its bytes; the same for hashes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix_compat::{NixHash, nixbase32};

fuzz_target!(|input: &[u8]| {
    assert_eq!(nixbase32::decode(nixbase32::encode(input)).as_deref(), Ok(input));
    if let Ok(bytes) = nixbase32::decode(input) {
        assert_eq!(nixbase32::encode(&bytes).as_bytes(), input);
    }
    if let Ok(hash) = std::str::from_utf8(input).map_err(drop).and_then(|text| NixHash::parse(text).map_err(drop)) {
        assert_eq!(NixHash::parse(&hash.to_string()), Ok(hash.clone()));
        assert_eq!(NixHash::parse(&hash.to_sri()), Ok(hash));
    }
});
