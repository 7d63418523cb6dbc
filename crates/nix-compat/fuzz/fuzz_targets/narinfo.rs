//! Whatever reads as a narinfo is written in a form that reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nix_compat::{CacheInfo, NarInfo};

fuzz_target!(|input: &[u8]| {
    if let Ok(mut narinfo) = NarInfo::parse(input) {
        let text = narinfo.to_text();
        narinfo.unknown_fields.clear();
        narinfo.malformed_signatures.clear();
        assert_eq!(NarInfo::parse(text.as_bytes()).as_ref(), Ok(&narinfo));
        assert_eq!(narinfo.to_text(), text);
    }
    let _ = CacheInfo::parse(input);
});
