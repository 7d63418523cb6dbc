//! The rules for store paths, keys and signatures.

use nix_compat::signing::{KeyError, Signature, SigningKey, VerifyingKey};
use nix_compat::store_path::{StorePath, StorePathError, StorePathHash};
use proptest::prelude::*;

const HASH: &str = "5cil4z0s59ii1splw7bhxf230bfdxfq5";

#[test]
fn base_names() {
    let longest = "n".repeat(211);
    for name in ["a", "greeting.txt", "x-1.0+b_2?3=4", ".hidden", "...", "..a", ".a-b", "-", longest.as_str()] {
        let path = StorePath::parse(&format!("{HASH}-{name}")).unwrap();
        assert_eq!((path.hash().to_string().as_str(), path.name()), (HASH, name));
        assert_eq!(path.to_string(), format!("{HASH}-{name}"));
    }
    let parse = |text: &str| StorePath::parse(text).unwrap_err();
    assert_eq!(parse(&format!("{HASH}-{longest}n")), StorePathError::NameTooLong { len: 212 });
    assert_eq!(parse(&format!("{HASH}-")), StorePathError::NameEmpty);
    assert_eq!(parse(HASH), StorePathError::NoDash);
    assert_eq!(parse(&format!("{HASH}_x")), StorePathError::NoDash);
    assert_eq!(parse(&format!("{HASH}0-x")), StorePathError::NoDash);
    for name in [".", "..", ".-x", "..-x"] {
        assert_eq!(parse(&format!("{HASH}-{name}")), StorePathError::NameDotComponent, "{name}");
    }
    for (name, byte) in [("a b", b' '), ("a/b", b'/'), ("a\n", b'\n'), ("a:b", b':'), ("\u{e9}", 0xc3), ("a\0", 0)] {
        assert_eq!(parse(&format!("{HASH}-{name}")), StorePathError::NameInvalidByte { byte }, "{name:?}");
    }
    for text in ["", "x", &HASH[1..], "ecil4z0s59ii1splw7bhxf230bfdxfq5-x", "5CIL4z0s59ii1splw7bhxf230bfdxfq5-x"] {
        assert_eq!(parse(text), StorePathError::InvalidHash, "{text}");
    }
    assert_eq!(parse("\u{e9}cil4z0s59ii1splw7bhxf230bfdxf\u{e9}-x"), StorePathError::InvalidHash);
}

#[test]
fn absolute_paths() {
    let path = StorePath::parse(&format!("{HASH}-x")).unwrap();
    for text in [format!("/nix/store/{HASH}-x"), format!("/nix/store/{HASH}-x/")] {
        assert_eq!(StorePath::parse_absolute(&text), Ok(path.clone()));
    }
    assert_eq!(path.to_absolute(), format!("/nix/store/{HASH}-x"));
    for text in [
        format!("{HASH}-x"),
        format!("/nix/store{HASH}-x"),
        format!("/nix/store/{HASH}-x//"),
        format!("/nix/store/{HASH}-x/bin"),
        format!("/nix/store//{HASH}-x"),
        format!("/gnu/store/{HASH}-x"),
    ] {
        assert_eq!(StorePath::parse_absolute(&text), Err(StorePathError::NotInStoreDir), "{text}");
    }
    assert_eq!(StorePath::parse_absolute("/nix/store/"), Err(StorePathError::InvalidHash));
}

#[test]
fn derivations_and_serde() {
    let path = |name: &str| StorePath::parse(&format!("{HASH}-{name}")).unwrap();
    assert!(path("x.drv").is_derivation());
    assert!(!path("x.drv.txt").is_derivation());
    let json = serde_json::to_string(&path("x")).unwrap();
    assert_eq!(json, format!("\"{HASH}-x\""));
    assert_eq!(serde_json::from_str::<StorePath>(&json).unwrap(), path("x"));
    assert!(serde_json::from_str::<StorePath>("\"x\"").is_err());
    assert_eq!(serde_json::from_str::<StorePathHash>(&format!("\"{HASH}\"")).unwrap(), path("x").hash());
}

proptest! {
    #[test]
    fn order_is_that_of_the_text(
        texts in prop::collection::vec("[0-9abcdfghijklmnpqrsvwxyz]{32}-[A-Za-z0-9+=_?-]{1,3}", 2)
    ) {
        let paths: Vec<_> = texts.iter().map(|text| StorePath::parse(text).unwrap()).collect();
        prop_assert_eq!(paths[0].cmp(&paths[1]), texts[0].cmp(&texts[1]));
        prop_assert_eq!(paths[0].hash().cmp(&paths[1].hash()), texts[0][..32].cmp(&texts[1][..32]));
    }

    #[test]
    fn hash_parts_round_trip(bytes in any::<[u8; 20]>(), text in "[0-9abcdfghijklmnpqrsvwxyz]{32}") {
        let hash = StorePathHash::from_bytes(bytes);
        prop_assert_eq!(StorePathHash::parse(&hash.to_string()), Ok(hash));
        prop_assert_eq!(StorePathHash::parse(&text).unwrap().to_string(), text);
    }
}

#[test]
fn key_texts() {
    let key = SigningKey::from_seed("k-1", [7; 32]).unwrap();
    let secret = key.to_secret_text();
    assert_eq!(SigningKey::parse(&secret).unwrap().name(), "k-1");
    for name in ["", "a:b", "a b", "a\n", "\u{e9}"] {
        assert_eq!(SigningKey::from_seed(name, [7; 32]).unwrap_err(), KeyError::InvalidName, "{name:?}");
    }
    let swapped = format!("k-1:A{}", &secret[5..]);
    assert_eq!(SigningKey::parse(&swapped).unwrap_err(), KeyError::HalvesDiffer);
    assert_eq!(SigningKey::parse("k-1").unwrap_err(), KeyError::NoColon);
    let public = key.verifying_key();
    assert_eq!(VerifyingKey::parse(&format!(" {public}\n")), Ok(public.clone()));
    assert_eq!(VerifyingKey::parse(&secret), Err(KeyError::InvalidLength { expected: 32 }));
    assert_eq!(SigningKey::parse(&public.to_string()).unwrap_err(), KeyError::InvalidLength { expected: 64 });
    // The neutral element: anybody could sign under it.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(VerifyingKey::from_bytes("k-1", &weak), Err(KeyError::InvalidPublicKey));
}

#[test]
fn signature_texts() {
    let signature = SigningKey::from_seed("k-1", [7; 32]).unwrap().sign("text");
    let text = signature.to_string();
    let bare = text.trim_end_matches('=').to_owned();
    for spelling in [text.clone(), bare.clone(), format!("{text} "), format!("{bare}=")] {
        assert_eq!(Signature::parse(&spelling), Ok(signature.clone()), "{spelling:?}");
    }
    for (spelling, error) in [
        ("", KeyError::NoColon),
        ("garbage", KeyError::NoColon),
        (&text[4..], KeyError::NoColon),
        (&format!(":{}", &text[4..]), KeyError::InvalidName),
        (&format!("k 1:{}", &text[4..]), KeyError::InvalidName),
        ("k-1:", KeyError::InvalidBase64),
        ("k-1:==", KeyError::InvalidBase64),
        ("k-1:!!!!", KeyError::InvalidBase64),
        (&format!("{text}="), KeyError::InvalidBase64),
        (&format!("k-1:{}", &text[8..]), KeyError::InvalidLength { expected: 64 }),
        ("k-1:AAAA", KeyError::InvalidLength { expected: 64 }),
    ] {
        assert_eq!(Signature::parse(spelling), Err(error), "{spelling:?}");
    }
}
