//! Keys and documents of realisations that are read are written in a form that reads as the same.
//!
//! The input is the key's URL path, a line end and the document.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix_compat::{Realisation, RealisationKey};

fn parse_url_path(path: &str) -> Option<RealisationKey> {
    let (folder, rest) = path.split_once('/')?;
    match folder {
        "realisations" => RealisationKey::parse_legacy(rest).ok(),
        "build-trace-v2" => RealisationKey::parse_build_trace(rest).ok(),
        _ => None,
    }
}

fuzz_target!(|input: &[u8]| {
    let (path, json) = input.split_at(input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len()));
    let Ok(path) = std::str::from_utf8(path) else { return };
    if let Ok(key) = RealisationKey::parse(path) {
        assert_eq!(key.to_string(), path);
    }
    let Some(key) = parse_url_path(path) else { return };
    assert_eq!(key.to_url_path(), path);
    assert_eq!(RealisationKey::parse(&key.to_string()), Ok(key.clone()));
    match Realisation::parse(&key, json) {
        Ok(realisation) => {
            let written = realisation.to_json(&key);
            assert_eq!(Realisation::parse(&key, written.as_bytes()), Ok(realisation));
        }
        Err(error) => assert!(error.to_string().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())),
    }
});
