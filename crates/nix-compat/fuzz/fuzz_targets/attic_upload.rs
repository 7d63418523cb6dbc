//! What a push of the attic protocol tells is checked without a panic, and means the same once it is spelt plainly.

#![no_main]

use iglu_api::attic::{Upload, UploadPathInfo};
use libfuzzer_sys::fuzz_target;

/// The same in the one spelling of each field.
fn spell(upload: &Upload) -> UploadPathInfo {
    UploadPathInfo {
        cache: upload.cache.clone(),
        store_path_hash: upload.store_path.hash().to_string(),
        store_path: upload.store_path.to_absolute(),
        references: upload.references.iter().map(ToString::to_string).collect(),
        system: None,
        deriver: upload.deriver.as_ref().map(ToString::to_string),
        sigs: upload.signatures.iter().map(ToString::to_string).collect(),
        ca: upload.ca.as_ref().map(ToString::to_string),
        nar_hash: upload.nar_hash.to_string(),
        nar_size: upload.nar_size,
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(info) = serde_json::from_slice::<UploadPathInfo>(input) else { return };
    match Upload::try_from(info) {
        Ok(upload) => {
            let json = serde_json::to_vec(&spell(&upload)).unwrap_or_default();
            let again = serde_json::from_slice::<UploadPathInfo>(&json).ok().map(Upload::try_from);
            assert_eq!(again, Some(Ok(upload)));
        }
        Err(error) => assert!(error.to_string().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())),
    }
});
