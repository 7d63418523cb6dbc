//! The grammar of narinfos as clients parse it, and what is refused beyond that.

use nix_compat::narinfo::{Field, NarInfo, NarInfoError, is_relative_nar_url};
use nix_compat::{Compression, Sha256, SigningKey, StorePath};

const PATH: &str = "/nix/store/5cil4z0s59ii1splw7bhxf230bfdxfq5-greeting.txt";
const BASE_NAME: &str = "5cil4z0s59ii1splw7bhxf230bfdxfq5-greeting.txt";
const OTHER: &str = "wcxhn129wcxm11iv06235mw5mxy1yn4b-pointer";
const HASH: &str = "sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";
const HEX: &str = "sha256:1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";

fn minimal() -> String {
    format!("StorePath: {PATH}\nURL: nar/x.nar\nNarHash: {HASH}\nNarSize: 120\n")
}

/// The minimal narinfo with more lines in front.
fn with(lines: &str) -> Result<NarInfo, NarInfoError> {
    NarInfo::parse(format!("{lines}{}", minimal()).as_bytes())
}

/// The minimal narinfo with one line replaced.
fn replacing(field: &str, line: &str) -> Result<NarInfo, NarInfoError> {
    let mut text = String::new();
    for old in minimal().lines() {
        let old = if old.starts_with(&format!("{field}:")) { line } else { old };
        text.push_str(old);
        text.push('\n');
    }
    NarInfo::parse(text.as_bytes())
}

fn invalid(result: Result<NarInfo, NarInfoError>) -> Field {
    match result {
        Err(NarInfoError::InvalidField { field, .. }) => field,
        other => panic!("expected an invalid field, got {other:?}"),
    }
}

#[test]
fn minimal_fields_and_defaults() {
    let narinfo = with("").unwrap();
    assert_eq!(narinfo.compression, Compression::Bzip2);
    assert_eq!((narinfo.file_hash, narinfo.file_size), (None, None));
    assert!(narinfo.references.is_empty() && narinfo.signatures.is_empty());
    assert_eq!(with("Compression: \n").unwrap().compression, Compression::Bzip2);
    assert_eq!(
        narinfo.to_text(),
        format!("StorePath: {PATH}\nURL: nar/x.nar\nCompression: bzip2\nNarHash: {HASH}\nNarSize: 120\nReferences: \n")
    );
}

#[test]
fn grammar() {
    // Last line without LF.
    let text = minimal();
    let unended = NarInfo::parse(text.trim_end().as_bytes());
    assert_eq!(unended, Err(NarInfoError::NoLineEnd { line: 4, key: "NarSize" }));
    assert_eq!(NarInfo::parse(b"StorePath:"), Err(NarInfoError::NoLineEnd { line: 1, key: "StorePath" }));
    assert_eq!(NarInfo::parse(b"StorePath: "), Err(NarInfoError::NoLineEnd { line: 1, key: "StorePath" }));
    // CRLF.
    let crlf = NarInfo::parse(text.replace('\n', "\r\n").as_bytes());
    assert_eq!(crlf, Err(NarInfoError::InvalidCharacter { line: 1, key: "StorePath" }));
    // An empty value without the blank would swallow the next line.
    assert_eq!(with("References:\n"), Err(NarInfoError::NoBlank { line: 1, key: "References" }));
    assert_eq!(with("CA:\n"), Err(NarInfoError::NoBlank { line: 1, key: "CA" }));
    assert_eq!(with("References: \n").unwrap().references, []);
    // Without the blank the first character would be dropped.
    assert_eq!(replacing("NarSize", "NarSize:1248"), Err(NarInfoError::NoBlank { line: 4, key: "NarSize" }));
    assert_eq!(with("Foo:bar\n"), Err(NarInfoError::NoBlank { line: 1, key: "unknown field" }));
    // A tab as separator works.
    assert_eq!(replacing("NarSize", "NarSize:\t1248").unwrap().nar_size, 1248);
    // Blank lines.
    assert_eq!(with("\n"), Err(NarInfoError::InvalidKey { line: 1 }));
    assert_eq!(NarInfo::parse(format!("{text}\n").as_bytes()), Err(NarInfoError::NoColon { line: 5 }));
    // No colon, HTML, empty body, byte order mark.
    assert_eq!(NarInfo::parse(b"404"), Err(NarInfoError::NoColon { line: 1 }));
    assert!(NarInfo::parse(b"<!DOCTYPE html>\n<a href=\"https://x\">x</a>\n").is_err());
    assert_eq!(NarInfo::parse(b""), Err(NarInfoError::Missing { field: Field::NarSize }));
    assert_eq!(with("\u{feff}"), Err(NarInfoError::InvalidKey { line: 1 }));
    assert_eq!(with(": x\n"), Err(NarInfoError::InvalidKey { line: 1 }));
    // Unknown fields, comments, any order.
    let unknown = with("Foo: a\n# comment: x: y\nFoo: b\nstorepath: c\n").unwrap();
    let fields: Vec<_> = unknown.unknown_fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(fields, [("Foo", "a"), ("# comment", "x: y"), ("Foo", "b"), ("storepath", "c")]);
    assert!(!unknown.to_text().contains("Foo"));
    let reversed: String = minimal().lines().rev().map(|line| format!("{line}\n")).collect();
    assert_eq!(NarInfo::parse(reversed.as_bytes()), with(""));
    // Control characters and bytes outside ASCII anywhere.
    for line in ["Foo: a\x00b\n", "Foo: a\tb\n", "Foo: \x7f\n", "Foo: \u{e9}\n"] {
        assert_eq!(with(line), Err(NarInfoError::InvalidCharacter { line: 1, key: "unknown field" }), "{line:?}");
    }
    let invalid_utf8 = [b"Foo: \xff\n", minimal().as_bytes()].concat();
    assert!(matches!(NarInfo::parse(&invalid_utf8), Err(NarInfoError::InvalidCharacter { .. })));
}

#[test]
fn repeated_and_missing_fields() {
    for field in Field::ALL {
        let value = match field {
            Field::StorePath => PATH,
            Field::Url => "nar/x.nar",
            Field::Compression => "xz",
            Field::FileHash | Field::NarHash => HASH,
            Field::FileSize | Field::NarSize => "120",
            Field::References => "",
            Field::Deriver => "unknown-deriver",
            Field::System => "x86_64-linux",
            Field::Sig => "garbage",
            Field::Ca => "",
        };
        let twice = with(&format!("{field}: {value}\n{field}: {value}\n"));
        if field == Field::Sig {
            assert_eq!(twice.unwrap().malformed_signatures, ["garbage", "garbage"]);
        } else {
            assert_eq!(twice, Err(NarInfoError::Repeated { field }));
        }
    }
    for field in [Field::StorePath, Field::Url, Field::NarHash, Field::NarSize] {
        let text: String = minimal()
            .lines()
            .filter(|line| !line.starts_with(field.as_str()))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(NarInfo::parse(text.as_bytes()), Err(NarInfoError::Missing { field }));
    }
}

#[test]
fn numbers() {
    for (text, size) in [("1", 1), ("+5", 5), ("007", 7), ("18446744073709551615", u64::MAX)] {
        assert_eq!(replacing("NarSize", &format!("NarSize: {text}")).unwrap().nar_size, size);
        assert_eq!(with(&format!("FileSize: {text}\n")).unwrap().file_size, Some(size));
    }
    for text in ["", " 1", "1 ", "-1", "0x10", "1.0", "18446744073709551616", "+", "one", "1_000"] {
        assert_eq!(invalid(replacing("NarSize", &format!("NarSize: {text}"))), Field::NarSize, "{text:?}");
        assert_eq!(invalid(with(&format!("FileSize: {text}\n"))), Field::FileSize, "{text:?}");
    }
    assert_eq!(invalid(replacing("NarSize", "NarSize: 0")), Field::NarSize);
    assert_eq!(with("FileSize: 0\n").unwrap().file_size, Some(0));
}

#[test]
fn hashes() {
    let hash = Sha256::parse(HASH).unwrap();
    for text in [HASH.to_owned(), HEX.to_owned(), HEX.to_uppercase().replace("SHA", "sha"), hash.to_sri()] {
        assert_eq!(replacing("NarHash", &format!("NarHash: {text}")).unwrap().nar_hash, hash);
        assert_eq!(with(&format!("FileHash: {text}\n")).unwrap().file_hash, Some(hash));
    }
    for text in ["", &HASH[7..], &HEX[7..], &format!("{HASH}0"), "sha1:kpcd173cq987hw957sx6m0868wv3x6d9", "sha256:"] {
        assert_eq!(invalid(replacing("NarHash", &format!("NarHash: {text}"))), Field::NarHash, "{text:?}");
        assert_eq!(invalid(with(&format!("FileHash: {text}\n"))), Field::FileHash, "{text:?}");
    }
    let error = replacing("NarHash", "NarHash: sha1:kpcd173cq987hw957sx6m0868wv3x6d9").unwrap_err();
    assert_eq!(error.to_string(), "narinfo field NarHash is invalid: hash algorithm is sha1, must be sha256");
}

#[test]
fn paths() {
    let slash = replacing("StorePath", &format!("StorePath: {PATH}/")).unwrap();
    assert_eq!(slash.store_path.to_absolute(), PATH);
    for text in ["", BASE_NAME, "/nix/store", "/other/5cil4z0s59ii1splw7bhxf230bfdxfq5-greeting.txt", "/nix/store/x"] {
        assert_eq!(invalid(replacing("StorePath", &format!("StorePath: {text}"))), Field::StorePath, "{text:?}");
    }
    let own = StorePath::parse(BASE_NAME).unwrap();
    let other = StorePath::parse(OTHER).unwrap();
    let narinfo = with(&format!("References:  {OTHER}  {BASE_NAME} {OTHER} \n")).unwrap();
    assert_eq!(narinfo.references, [own, other.clone()]);
    assert!(narinfo.has_self_reference());
    assert!(narinfo.to_text().contains(&format!("\nReferences: {BASE_NAME} {OTHER}\n")));
    assert_eq!(invalid(with(&format!("References: {PATH}\n"))), Field::References);
    let tab = with(&format!("References: {BASE_NAME}\t{OTHER}\n"));
    assert_eq!(tab, Err(NarInfoError::InvalidCharacter { line: 1, key: "References" }));

    assert_eq!(with("Deriver: unknown-deriver\n").unwrap().deriver, None);
    assert_eq!(with(&format!("Deriver: {OTHER}\n")).unwrap().deriver, Some(other));
    for text in ["", PATH, "x.drv"] {
        assert_eq!(invalid(with(&format!("Deriver: {text}\n"))), Field::Deriver, "{text:?}");
    }
}

#[test]
fn other_fields() {
    for compression in Compression::ALL {
        assert_eq!(with(&format!("Compression: {compression}\n")).unwrap().compression, compression);
    }
    for text in ["zst", "XZ", "xz ", "compress"] {
        assert_eq!(invalid(with(&format!("Compression: {text}\n"))), Field::Compression);
    }
    for text in ["", "nar/a b"] {
        assert_eq!(invalid(replacing("URL", &format!("URL: {text}"))), Field::Url);
    }
    assert_eq!(with("CA: \n").unwrap().ca, None);
    let ca = format!("fixed:r:{HASH}");
    assert_eq!(with(&format!("CA: {ca}\n")).unwrap().ca.unwrap().to_string(), ca);
    for text in
        ["x", "fixed:", "fixed:git:sha1:kpcd173cq987hw957sx6m0868wv3x6d9", "text:sha1:kpcd173cq987hw957sx6m0868wv3x6d9"]
    {
        assert_eq!(invalid(with(&format!("CA: {text}\n"))), Field::Ca, "{text:?}");
    }
    let system = with("System: x86_64-linux\n").unwrap();
    assert!(system.to_text().contains("\nSystem: x86_64-linux\n"));
    assert_eq!(with("System: \n").unwrap().system, None);
}

#[test]
fn signatures() {
    let sign = |name: &str| SigningKey::from_seed(name, [3; 32]).unwrap().sign("x");
    let (a, b) = (sign("a-1"), sign("b-1"));
    let lines = format!("Sig: {b}\nSig: \nSig: {a}\nSig: nonsense\nSig: {b}\nSig: c:AAAA\n");
    let narinfo = with(&lines).unwrap();
    assert_eq!(narinfo.signatures, [a.clone(), b.clone()]);
    assert_eq!(narinfo.malformed_signatures, ["", "nonsense", "c:AAAA"]);
    assert!(narinfo.to_text().ends_with(&format!("References: \nSig: {a}\nSig: {b}\n")));
}

#[test]
fn all_fields_in_order() {
    let signature = SigningKey::from_seed("k", [3; 32]).unwrap().sign("x");
    let text = format!(
        "StorePath: {PATH}\nURL: nar/x.nar.xz\nCompression: xz\nFileHash: {HASH}\nFileSize: 99\nNarHash: {HASH}\n\
         NarSize: 120\nReferences: {BASE_NAME} {OTHER}\nDeriver: {OTHER}.drv\nSystem: x86_64-linux\nSig: {signature}\n\
         CA: fixed:r:{HASH}\n"
    );
    assert_eq!(NarInfo::parse(text.as_bytes()).unwrap().to_text(), text);
}

#[test]
fn relative_urls() {
    for url in ["nar/x", "nar/04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw.nar.zst", "nar/A-b_c+d.nar"] {
        assert!(is_relative_nar_url(url), "{url}");
    }
    let long = format!("nar/{}", "x".repeat(256));
    for url in [
        "",
        "x.nar",
        "nar",
        "nar/",
        "nar//x",
        "nar/x/y",
        "nar/..",
        "nar/.",
        "nar/.x",
        "nar/a..b",
        "/nar/x",
        "//host/nar/x",
        "./nar/x",
        "../nar/x",
        "https://host/nar/x",
        "nar/x?q=1",
        "nar/x#f",
        "nar/x%2f",
        "nar/x y",
        "nar/x:y",
        "nar/x\\y",
        "nar/\u{e9}",
        "Nar/x",
        &long,
    ] {
        assert!(!is_relative_nar_url(url), "{url}");
    }
}
