//! Realisations and their keys in both forms.

use std::collections::BTreeMap;

use nix_compat::realisation::{
    MAX_DEPENDENT_REALISATIONS, MAX_SIGNATURES, Realisation, RealisationError, RealisationKey, RealisationKeyError,
};
use nix_compat::store_path::StorePathError;
use nix_compat::{Sha256, Signature, SigningKey, StorePath};
use proptest::prelude::*;

use crate::round_trips::{path, signature};

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const DRV: &str = "5cil4z0s59ii1splw7bhxf230bfdxfq5-hello-2.12.drv";
const OUT: &str = "wcxhn129wcxm11iv06235mw5mxy1yn4b-hello-2.12";

fn legacy() -> RealisationKey {
    RealisationKey::parse_legacy(&format!("sha256:{HEX}!out.doi")).unwrap()
}

fn build_trace() -> RealisationKey {
    RealisationKey::parse_build_trace(&format!("{DRV}/out.doi")).unwrap()
}

#[test]
fn keys() {
    let key = legacy();
    assert_eq!(key, RealisationKey::Legacy { drv_hash: Sha256::parse_hex(HEX).unwrap(), output: "out".into() });
    assert_eq!((key.output(), key.to_string()), ("out", format!("sha256:{HEX}!out")));
    assert_eq!(key.to_url_path(), format!("realisations/sha256:{HEX}!out.doi"));

    let key = build_trace();
    assert_eq!(key, RealisationKey::BuildTrace { drv_path: StorePath::parse(DRV).unwrap(), output: "out".into() });
    assert_eq!((key.output(), key.to_string()), ("out", format!("{DRV}/out")));
    assert_eq!(key.to_url_path(), format!("build-trace-v2/{DRV}/out.doi"));

    // Names with what URLs make much of.
    for name in ["a?b=c", "x+y", "out.doi", "lib-1.0_2"] {
        let key = RealisationKey::parse_legacy(&format!("sha256:{HEX}!{name}.doi")).unwrap();
        assert_eq!(key.output(), name);
        let drv = format!("5cil4z0s59ii1splw7bhxf230bfdxfq5-{name}.drv");
        let key = RealisationKey::parse_build_trace(&format!("{drv}/{name}.doi")).unwrap();
        assert_eq!(key.to_string(), format!("{drv}/{name}"));
    }
}

#[test]
fn malformed_legacy_keys() {
    let long = "n".repeat(212);
    for (name, error) in [
        ("", RealisationKeyError::NoExtension),
        (&format!("sha256:{HEX}!out"), RealisationKeyError::NoExtension),
        (&format!("sha256:{HEX}!out.DOI"), RealisationKeyError::NoExtension),
        (".doi", RealisationKeyError::InvalidHash),
        (&format!("{HEX}!out.doi"), RealisationKeyError::InvalidHash),
        (&format!("sha1:{HEX}!out.doi"), RealisationKeyError::InvalidHash),
        (&format!("sha256:{}!out.doi", &HEX[1..]), RealisationKeyError::InvalidHash),
        (&format!("sha256:0{HEX}!out.doi"), RealisationKeyError::InvalidHash),
        (&format!("sha256:{}!out.doi", HEX.to_uppercase()), RealisationKeyError::InvalidHash),
        (&format!("sha256:{}\u{e9}!out.doi", &HEX[2..]), RealisationKeyError::InvalidHash),
        (&format!("sha256:{HEX}.doi"), RealisationKeyError::NoOutput),
        (&format!("sha256:{HEX}%21out.doi"), RealisationKeyError::NoOutput),
        (&format!("sha256:{HEX}!.doi"), RealisationKeyError::InvalidOutput(StorePathError::NameEmpty)),
        (&format!("sha256:{HEX}!...doi"), RealisationKeyError::InvalidOutput(StorePathError::NameDotComponent)),
        (&format!("sha256:{HEX}!{long}.doi"), {
            RealisationKeyError::InvalidOutput(StorePathError::NameTooLong { len: 212 })
        }),
        (&format!("sha256:{HEX}!a!b.doi"), {
            RealisationKeyError::InvalidOutput(StorePathError::NameInvalidByte { byte: b'!' })
        }),
        (&format!("sha256:{HEX}!a/b.doi"), {
            RealisationKeyError::InvalidOutput(StorePathError::NameInvalidByte { byte: b'/' })
        }),
    ] {
        assert_eq!(RealisationKey::parse_legacy(name), Err(error), "{name}");
    }
}

#[test]
fn malformed_build_trace_keys() {
    for (rest, error) in [
        ("", RealisationKeyError::NoExtension),
        (&format!("{DRV}/out"), RealisationKeyError::NoExtension),
        (&format!("{DRV}.doi"), RealisationKeyError::NoOutput),
        (&format!("{OUT}/out.doi"), RealisationKeyError::NotADerivation),
        (&format!("/{DRV}/out.doi"), RealisationKeyError::InvalidDerivation(StorePathError::InvalidHash)),
        (&format!("{DRV}/.doi"), RealisationKeyError::InvalidOutput(StorePathError::NameEmpty)),
        (&format!("{DRV}/a/b.doi"), {
            RealisationKeyError::InvalidOutput(StorePathError::NameInvalidByte { byte: b'/' })
        }),
    ] {
        assert_eq!(RealisationKey::parse_build_trace(rest), Err(error), "{rest}");
    }
}

#[test]
fn legacy_document() {
    let signature = SigningKey::from_seed("k-1", [7; 32]).unwrap().sign("text");
    let json = format!(
        concat!(
            r#"{{"dependentRealisations":{{"sha256:{}!dev":"{}"}},"id":"sha256:{}!out","outPath":"{}","#,
            r#""signatures":["{}"]}}"#
        ),
        HEX, OUT, HEX, OUT, signature
    );
    let realisation = Realisation::parse(&legacy(), json.as_bytes()).unwrap();
    assert_eq!(realisation.out_path.to_string(), OUT);
    assert_eq!(realisation.signatures, [signature]);
    let dependency = RealisationKey::parse(&format!("sha256:{HEX}!dev")).unwrap();
    assert_eq!(realisation.dependent_realisations.get(&dependency), Some(&realisation.out_path));
    assert_eq!(realisation.to_json(&legacy()), json);

    // What clients may leave out, and what they may add.
    let short = format!(r#"{{"outPath":"{OUT}","new":[{{}}],"id":"sha256:{HEX}!out"}}"#);
    let realisation = Realisation::parse(&legacy(), short.as_bytes()).unwrap();
    assert!(realisation.signatures.is_empty() && realisation.dependent_realisations.is_empty());
    let full = format!(r#"{{"dependentRealisations":{{}},"id":"sha256:{HEX}!out","outPath":"{OUT}","signatures":[]}}"#);
    assert_eq!(realisation.to_json(&legacy()), full);
}

#[test]
fn build_trace_document() {
    let signatures = ["a-1", "b-1"].map(|name| SigningKey::from_seed(name, [7; 32]).unwrap().sign("text"));
    let halves = signatures.clone().map(|signature| {
        let text = signature.to_string();
        let (key_name, sig) = text.split_once(':').unwrap();
        format!(r#"{{"keyName":"{key_name}","sig":"{sig}"}}"#)
    });
    let json = format!(r#"{{"outPath":"{OUT}","signatures":[{},{}]}}"#, halves[0], halves[1]);
    let realisation = Realisation::parse(&build_trace(), json.as_bytes()).unwrap();
    assert_eq!(realisation.signatures, signatures);
    assert_eq!(realisation.to_json(&build_trace()), json);

    // Either spelling of a signature, in any order, repeated, and malformed ones.
    let mixed = format!(
        r#"{{"signatures":["{}",{},{},"garbage","",{{"keyName":"x:{}","sig":"{}"}}],"outPath":"{OUT}","id":"other"}}"#,
        signatures[1],
        halves[0],
        halves[1],
        &signatures[0].to_string()[4..40],
        &signatures[0].to_string()[40..],
    );
    assert_eq!(Realisation::parse(&build_trace(), mixed.as_bytes()), Ok(realisation));
}

#[test]
fn malformed_documents() {
    let invalid = |json: &str, key: &RealisationKey| Realisation::parse(key, json.as_bytes()).unwrap_err();
    let id = format!(r#""id":"sha256:{HEX}!out""#);
    for json in [
        "",
        "{",
        "null",
        "\u{feff}{}",
        &format!(r#"{{{id},"outPath":"{OUT}"}}x"#),
        &format!(r#"{{{id},"outPath":1}}"#),
        &format!(r#"{{{id},"outPath":"{OUT}","outPath":"{OUT}"}}"#),
        &format!(r#"{{{id},"outPath":"{OUT}","signatures":{{}}}}"#),
        &format!(r#"{{{id},"outPath":"{OUT}","signatures":[1]}}"#),
        &format!(r#"{{{id},"outPath":"{OUT}","signatures":[{{"keyName":"x"}}]}}"#),
        &format!(r#"{{{id},"outPath":"{OUT}","dependentRealisations":[]}}"#),
        &format!(r#"{{{id},"outPath":"{OUT}","x":{}"#, "[".repeat(10_000)),
    ] {
        assert!(matches!(invalid(json, &legacy()), RealisationError::InvalidJson { .. }), "{json}");
    }
    assert_eq!(invalid(&format!(r#"{{{id}}}"#), &legacy()), RealisationError::Missing { field: "outPath" });
    let without_id = format!(r#"{{"outPath":"{OUT}"}}"#);
    assert_eq!(invalid(&without_id, &legacy()), RealisationError::Missing { field: "id" });
    assert!(Realisation::parse(&build_trace(), without_id.as_bytes()).is_ok());
    for other in [format!("sha256:{HEX}!dev"), format!("sha256:{}!out", HEX.to_uppercase()), "out".to_owned()] {
        let json = format!(r#"{{"id":"{other}","outPath":"{OUT}"}}"#);
        assert_eq!(invalid(&json, &legacy()), RealisationError::WrongId, "{other}");
    }
    let json = format!(r#"{{{id},"outPath":"/nix/store/{OUT}"}}"#);
    let error = RealisationError::InvalidPath { field: "outPath", error: StorePathError::InvalidHash };
    assert_eq!(invalid(&json, &legacy()), error);
    assert!(error.to_string().starts_with("outPath of the realisation has no valid store path"));
    let json = format!(r#"{{{id},"outPath":"{OUT}","dependentRealisations":{{"x":"{OUT}"}}}}"#);
    let error = RealisationError::InvalidDependency(RealisationKeyError::InvalidHash);
    assert_eq!(invalid(&json, &legacy()), error);
    let json = format!(r#"{{{id},"outPath":"{OUT}","dependentRealisations":{{"sha256:{HEX}!out":"x"}}}}"#);
    assert!(matches!(invalid(&json, &legacy()), RealisationError::InvalidPath { .. }));
}

#[test]
fn document_limits() {
    let id = format!(r#""id":"sha256:{HEX}!out","outPath":"{OUT}""#);
    let signatures = |count: usize| format!(r#"{{{id},"signatures":[{}]}}"#, vec![r#""x""#; count].join(","));
    assert!(Realisation::parse(&legacy(), signatures(MAX_SIGNATURES).as_bytes()).is_ok());
    let error = Realisation::parse(&legacy(), signatures(MAX_SIGNATURES + 1).as_bytes());
    assert_eq!(error, Err(RealisationError::TooMany { field: "signatures", max: MAX_SIGNATURES }));
    let dependencies = |count: usize| {
        let entries: Vec<_> = (0..count).map(|index| format!(r#""sha256:{HEX}!o{index}":"{OUT}""#)).collect();
        format!(r#"{{{id},"dependentRealisations":{{{}}}}}"#, entries.join(","))
    };
    assert!(Realisation::parse(&legacy(), dependencies(MAX_DEPENDENT_REALISATIONS).as_bytes()).is_ok());
    let error = Realisation::parse(&legacy(), dependencies(MAX_DEPENDENT_REALISATIONS + 1).as_bytes());
    assert!(matches!(error, Err(RealisationError::TooMany { field: "dependentRealisations", .. })));
}

fn output() -> impl Strategy<Value = Box<str>> {
    "[a-zA-Z0-9+_?=][a-zA-Z0-9+_?=.-]{0,30}".prop_map(Box::from)
}

fn legacy_key() -> impl Strategy<Value = RealisationKey> {
    (any::<[u8; 32]>(), output())
        .prop_map(|(hash, output)| RealisationKey::Legacy { drv_hash: Sha256::from_bytes(hash), output })
}

fn build_trace_key() -> impl Strategy<Value = RealisationKey> {
    (path(), output()).prop_map(|(path, output)| {
        let drv_path = StorePath::new(path.hash(), &format!("{}.drv", path.name())).unwrap();
        RealisationKey::BuildTrace { drv_path, output }
    })
}

proptest! {
    #[test]
    fn round_trips(
        legacy in legacy_key(),
        build_trace in build_trace_key(),
        out_path in path(),
        signatures in prop::collection::btree_set(signature(), 0..4),
        dependent_realisations in prop::collection::btree_map(legacy_key(), path(), 0..4),
    ) {
        for key in [&legacy, &build_trace] {
            prop_assert_eq!(&RealisationKey::parse(&key.to_string()).unwrap(), key);
        }
        let file_name = legacy.to_url_path();
        prop_assert_eq!(RealisationKey::parse_legacy(file_name.strip_prefix("realisations/").unwrap()).unwrap(), legacy.clone());
        let rest = build_trace.to_url_path();
        prop_assert_eq!(RealisationKey::parse_build_trace(rest.strip_prefix("build-trace-v2/").unwrap()).unwrap(), build_trace.clone());

        let signatures: Vec<Signature> = signatures.into_iter().collect();
        let mut realisation = Realisation { out_path, signatures, dependent_realisations };
        prop_assert_eq!(&Realisation::parse(&legacy, realisation.to_json(&legacy).as_bytes()).unwrap(), &realisation);
        let json = realisation.to_json(&build_trace);
        realisation.dependent_realisations = BTreeMap::new();
        prop_assert_eq!(&Realisation::parse(&build_trace, json.as_bytes()).unwrap(), &realisation);
    }
}
