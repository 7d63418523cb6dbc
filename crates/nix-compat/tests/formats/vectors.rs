//! Published vectors, all of them cross-checked against Nix itself.

use data_encoding::{BASE64, HEXLOWER};
use nix_compat::content_address::{ContentAddress, verify_content_address};
use nix_compat::inspect::{Inspect, NarFacts, NarInspector};
use nix_compat::nixhash::{HashAlgo, NixHash, Sha256};
use nix_compat::signing::{Signature, SigningKey, VerifyingKey, fingerprint};
use nix_compat::store_path::{StorePath, StorePathHash};
use nix_compat::{Compression, NarInfo, nixbase32};

use crate::tree::Tree;

const HELLO_HEX: &str = "1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";
const HELLO: &str = "sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw";
const GREETING: &str = "5cil4z0s59ii1splw7bhxf230bfdxfq5-greeting.txt";
const POINTER: &str = "wcxhn129wcxm11iv06235mw5mxy1yn4b-pointer";
const POINTER_TEXT: &str = "ce6fc87dbabceffe7fa33612db4a8c2c209dc31ea01f4f209b0bab4560bfc1b6";
const POINTER_NAR: &str = "sha256:1a40fs4s4jbmnbaqb9sw98p8mrf5qsfhmbm5kwlaamlh7528w6h8";
const SECRET: &str =
    "test-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
const PUBLIC: &str = "test-key-1:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const GREETING_SIG: &str =
    "test-key-1:s8taqMwPSvuDOmkWml44eHEvofUht7p/lfIWmz3Pm79jpwCwL4aXHu3iKdBgvrKe2h3k5s7Uw8viB8Mw8NCmAQ==";
const POINTER_SIG: &str =
    "test-key-1:Wci7E7z9pac+ioI3beldzZRZdXD6UpU9QMR+VG8XpXxjUDETdTrukLejTfLaO5B86wdzqD2k7kDOUI0ynM0zAQ==";

fn path(base_name: &str) -> StorePath {
    StorePath::parse(base_name).unwrap()
}

fn inspect(nar: &[u8], inspect: Inspect) -> (NarFacts, String) {
    let mut inspector = NarInspector::new(inspect, Vec::new());
    inspector.feed(nar).unwrap();
    let (facts, listing) = inspector.finish().unwrap();
    (facts, String::from_utf8(listing).unwrap())
}

#[test]
fn digests_in_hex_and_nix32() {
    let vectors = [
        (
            HashAlgo::Sha256,
            "",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
        ),
        (
            HashAlgo::Sha256,
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
        ),
        (HashAlgo::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d", "kpcd173cq987hw957sx6m0868wv3x6d9"),
        (HashAlgo::Md5, "abc", "900150983cd24fb0d6963f7d28e17f72", "3jgzhjhz9zjvbb0kyj7jc500ch"),
    ];
    for (algo, data, hex, nix32) in vectors {
        let hash = NixHash::digest_of(algo, data.as_bytes());
        assert_eq!((hash.to_hex().as_str(), hash.to_nix32().as_str()), (hex, nix32));
        for digits in [hex.to_owned(), hex.to_uppercase(), nix32.to_owned()] {
            assert_eq!(NixHash::parse(&format!("{algo}:{digits}")), Ok(hash.clone()));
        }
        assert_eq!(NixHash::parse(&hash.to_sri()), Ok(hash));
    }
    let sha512 = NixHash::digest_of(HashAlgo::Sha512, b"abc");
    assert!(sha512.to_hex().starts_with("ddaf35a1") && sha512.to_hex().ends_with("a54ca49f"));
    assert_eq!(
        sha512.to_string(),
        "sha512:2gs8k559z4rlahfx0y688s49m2vvszylcikrfinm30ly9rak69236nkam5ydvly1ai7xac99vxfc4ii84hawjbk876blyk1jfhkbbyx"
    );
}

#[test]
fn sri() {
    for (data, sri) in [
        ("", "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ("abc", "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
    ] {
        let hash = Sha256::digest(data.as_bytes());
        assert_eq!(hash.to_sri(), sri);
        for spelling in [sri.to_owned(), sri.replace('-', ":"), sri.replace('=', "")] {
            assert_eq!(Sha256::parse(&spelling), Ok(hash), "{spelling}");
        }
    }
}

#[test]
fn twenty_bytes() {
    let bytes: Vec<u8> = (0..20).collect();
    assert_eq!(nixbase32::encode(&bytes), "2c91240g1q6hq2qa1440f1h50h1h4080");
    let folded = StorePathHash::fold(&Sha256::digest(b""));
    assert_eq!(HEXLOWER.encode(folded.as_bytes()), "872b570e3c69850fe2a94c9d996fb92427ae41e4");
    assert_eq!(folded.to_string(), "wi0sw9r4p5prk7acm7i0z1b97h75faw7");
}

#[test]
fn nar_bytes() {
    let expected = "0d000000000000006e69782d617263686976652d31000000010000000000000028000000000000000400000000000000\
                    7479706500000000070000000000000072656775\
                    6c617200\
                    0800000000000000636f6e74656e7473060000000000000068656c6c6f0a000001000000000000002900000000000000";
    let nar = Tree::file("hello\n").to_nar();
    assert_eq!(HEXLOWER.encode(&nar), expected);
    let hash = Sha256::digest(&nar);
    assert_eq!((hash.to_hex().as_str(), hash.to_string().as_str(), nar.len()), (HELLO_HEX, HELLO, 120));
}

#[test]
fn nar_hashes() {
    for (tree, nix32, size) in [
        (Tree::file(""), "0ip26j2h11n1kgkz36rl4akv694yz65hr72q4kv4b3lxcbi65b3p", 112),
        (Tree::executable(""), "146m62fh059g7arnrjh6a7yh4q879r36fsm4a5c4dbd6ja2hpq1l", 144),
        (Tree::directory::<&str>([]), "0sjjj9z1dhilhpc8pq4154czrb79z9cm044jvn75kxcjv6v5l2m5", 96),
        (Tree::symlink("x"), "1d6zyhr3yvx7xayifvpkf2x46qrym7xllznh96652dkln231x55v", 120),
    ] {
        let (facts, _) = inspect(&tree.to_nar(), Inspect::default());
        assert_eq!((facts.nar_hash.to_nix32().as_str(), facts.nar_size), (nix32, size));
    }
}

#[test]
fn tree_with_listing() {
    let tree = Tree::directory([
        ("Z", Tree::file("12345678")),
        ("a.b", Tree::file("123456789")),
        ("bin", Tree::directory([("run", Tree::executable("#!/bin/sh\n"))])),
        ("empty", Tree::file("")),
        ("link", Tree::symlink("bin/run")),
    ]);
    let (facts, listing) = inspect(&tree.to_nar(), Inspect::new(1264));
    assert_eq!(facts.nar_size, 1264);
    assert_eq!(facts.nar_hash.to_nix32(), "0d421hikwfkhfxvcggdwjkdq5mjpiyfy3q9gavimxqfbksryiiwm");
    let expected = concat!(
        r#"{"version":1,"root":{"type":"directory","entries":{"Z":{"type":"regular","size":8,"narOffset":232},"#,
        r#""a.b":{"type":"regular","size":9,"narOffset":424},"bin":{"type":"directory","entries":{"run":"#,
        r#"{"type":"regular","size":10,"executable":true,"narOffset":792}}},"empty":{"type":"regular","#,
        r#""size":0,"narOffset":1024},"link":{"type":"symlink","target":"bin/run"}}}}"#,
    );
    assert_eq!(listing, expected);
    let ca = ContentAddress::Fixed { recursive: true, hash: facts.nar_hash.into() };
    assert_eq!(ca.store_path("tree", &[], false), Ok(path("idj1j73frc03fp07b0sm31048g74967n-tree")));
}

#[test]
fn recursive_flat_and_text_paths() {
    let nar = Tree::file("hello\n").to_nar();
    let recursive = ContentAddress::parse(&format!("fixed:r:{HELLO}")).unwrap();
    assert_eq!(recursive.to_string(), format!("fixed:r:{HELLO}"));
    assert_eq!(recursive.store_path("greeting.txt", &[], false), Ok(path(GREETING)));
    let (facts, _) = inspect(&nar, Inspect::default().with_content_address(&recursive, &path(GREETING)));
    assert_eq!(verify_content_address(&recursive, &path(GREETING), &[], &facts), Ok(()));

    let content = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let flat = ContentAddress::parse(&format!("fixed:sha256:{content}")).unwrap();
    let inner = Sha256::digest(format!("fixed:out:sha256:{content}:").as_bytes());
    assert_eq!(inner.to_hex(), "bc101cf2ad0f504c5dd74b9cce0a732e7157bfbddd2afec191aa0eecd3e252a9");
    let flat_path = path("l8hw3bg21781n8glp7qbh5xmjacfkqy0-greeting.txt");
    assert_eq!(flat.store_path("greeting.txt", &[], false), Ok(flat_path.clone()));
    let (facts, _) = inspect(&nar, Inspect::default().with_content_address(&flat, &flat_path));
    assert_eq!(verify_content_address(&flat, &flat_path, &[], &facts), Ok(()));

    let text = ContentAddress::Text { sha256: Sha256::parse_hex(POINTER_TEXT).unwrap() };
    assert_eq!(text.to_string(), "text:sha256:1dn1pxh4baqbkch4y7x03v1rs81cii5dn4inldzzxvxwp9ywhvyf");
    let references = [path(GREETING)];
    assert_eq!(text.store_path("pointer", &references, false), Ok(path(POINTER)));
    let nar = Tree::file(format!("/nix/store/{GREETING}\n")).to_nar();
    let wanted = Inspect::new(176).with_content_address(&text, &path(POINTER)).with_candidates([path(GREETING).hash()]);
    let (facts, _) = inspect(&nar, wanted);
    assert_eq!((facts.nar_hash.to_string().as_str(), facts.nar_size), (POINTER_NAR, 176));
    assert!(facts.references.contains(&path(GREETING).hash()));
    assert_eq!(verify_content_address(&text, &path(POINTER), &references, &facts), Ok(()));
}

fn test_key(name: &str) -> SigningKey {
    let mut seed = [0; 32];
    for (index, byte) in (0..).zip(&mut seed) {
        *byte = index;
    }
    SigningKey::from_seed(name, seed).unwrap()
}

#[test]
fn keys_and_signatures() {
    let key = test_key("test-key-1");
    assert_eq!(key.to_secret_text().as_str(), SECRET);
    assert_eq!(key.verifying_key().to_string(), PUBLIC);
    assert_eq!(SigningKey::parse(&format!("{SECRET}\n")).unwrap().to_seed(), key.to_seed());
    assert!(!format!("{key:?}").contains("AAEC"));

    let greeting = fingerprint(&path(GREETING), &Sha256::parse(HELLO).unwrap(), 120, &[]);
    assert_eq!(greeting, format!("1;/nix/store/{GREETING};{HELLO};120;"));
    assert_eq!(key.sign(&greeting).to_string(), GREETING_SIG);

    let pointer = fingerprint(&path(POINTER), &Sha256::parse(POINTER_NAR).unwrap(), 176, &[path(GREETING)]);
    assert_eq!(pointer, format!("1;/nix/store/{POINTER};{POINTER_NAR};176;/nix/store/{GREETING}"));
    assert_eq!(key.sign(&pointer).to_string(), POINTER_SIG);

    let public = VerifyingKey::parse(PUBLIC).unwrap();
    let signature = Signature::parse(POINTER_SIG).unwrap();
    assert!(public.verify(&pointer, &signature) && public.verify_raw(&pointer, &signature.bytes));
    assert!(!public.verify(&greeting, &signature));
    let renamed = Signature { key_name: "other-1".to_owned(), ..signature };
    assert!(!public.verify(&pointer, &renamed) && public.verify_raw(&pointer, &renamed.bytes));
}

#[test]
fn reference_narinfo() {
    let text = format!(
        "StorePath: /nix/store/{POINTER}\n\
         URL: nar/1a40fs4s4jbmnbaqb9sw98p8mrf5qsfhmbm5kwlaamlh7528w6h8.nar\n\
         Compression: none\n\
         FileHash: {POINTER_NAR}\n\
         FileSize: 176\n\
         NarHash: {POINTER_NAR}\n\
         NarSize: 176\n\
         References: {GREETING}\n\
         Sig: {POINTER_SIG}\n\
         CA: text:sha256:1dn1pxh4baqbkch4y7x03v1rs81cii5dn4inldzzxvxwp9ywhvyf\n"
    );
    let narinfo = NarInfo::parse(text.as_bytes()).unwrap();
    assert_eq!(narinfo.to_text(), text);
    assert_eq!(narinfo.compression, Compression::None);
    assert_eq!((narinfo.file_size, narinfo.nar_size), (Some(176), 176));
    assert!(VerifyingKey::parse(PUBLIC).unwrap().verify(&narinfo.fingerprint(), &narinfo.signatures[0]));
}

#[test]
fn cachix_upload() {
    let hello = path("i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt");
    let nar_hash = Sha256::parse_hex(HELLO_HEX).unwrap();
    let ca = ContentAddress::Fixed { recursive: true, hash: nar_hash.into() };
    assert_eq!(ca.store_path("hello.txt", &[], false), Ok(hello.clone()));

    let file = HEXLOWER
        .decode(
            b"fd377a585a000004e6d6b4460200210116000000742fe5a3e0007700425d000680361fefa6cebf76ba1a7a4f2beaa45324eda1230471\
              ff5bbf9769baf329be2449a4705d8f300b47281333bd17b3b33cae387d94ec46a6fb1c1f66e4d82a01c97c00000057256c680ff3aa9f\
              00015e78ff3c605a1fb6f37d010000000004595a",
        )
        .unwrap();
    assert_eq!((file.len(), Compression::sniff(&file)), (128, Some(Compression::Xz)));
    let file_hash = Sha256::parse_hex("8ae07f3ef389e3d88f93de106ce9c6a705f8667b8a2b6c588e20f549ff37ed9d").unwrap();
    assert_eq!(Sha256::digest(&file), file_hash);
    let md5 = |data: &[u8]| BASE64.encode(NixHash::digest_of(HashAlgo::Md5, data).digest());
    assert_eq!(md5(&file), "NoUxabmTwPKF8GZRJ6gQ2A==");
    assert_eq!(md5(b""), "1B2M2Y8AsgTpgAmY7PhCfg==");

    let key = test_key("cache.example.org-1");
    let sign =
        |references: &[StorePath]| BASE64.encode(&key.sign(&fingerprint(&hello, &nar_hash, 120, references)).bytes);
    assert_eq!(sign(&[]), "GEOKzKtcQQJDLaxdPZSYOX9BZhkCHZvHNMGx2KTS4/m5mZ8ROkYezx0mTXp01O+i7x0dWcBJBmLqSdnNjSGmCw==");
    assert_eq!(
        sign(std::slice::from_ref(&hello)),
        "7XPm1uUkLvbcdSk/S0tLh5iLxKQ3PCPjFNI6hGMj3L3ngRR95wgP+dC1VG86lpPxmRWj26Pi1dPBl/iopaJaDQ=="
    );
}

/// Made by `nix store make-content-addressed` of Nix 2.8.
#[test]
fn self_referencing_content_address() {
    let me = path("y6zj5bqb3i0wibl92q4k2r5i9jw2y71q-me");
    let ca = ContentAddress::parse("fixed:r:sha256:1150kk4f0jgdxyhq69nb6ajf8mfzv3xyc8xk049n4nv8igq2a6xj").unwrap();
    let tree = Tree::directory([
        ("bin", Tree::directory([("run", Tree::executable(format!("#!/nix/store/{me}/bin/sh\n/nix/store/{me}\n")))])),
        ("link", Tree::symlink(format!("/nix/store/{me}/bin/run"))),
        ("z", Tree::file(format!("x/nix/store/{me}"))),
    ]);
    let own = std::slice::from_ref(&me);
    assert_eq!(ca.store_path("me", &[], true), Ok(me.clone()));
    let wanted = Inspect::new(1056).with_content_address(&ca, &me).with_candidates([me.hash()]);
    let (facts, _) = inspect(&tree.to_nar(), wanted);
    assert_eq!(facts.nar_hash.to_sri(), "sha256-2WmqQIG6+u5dmTNsOMmN35f5bYxviG6UVDDq/6a5U+A=");
    assert!(facts.references.contains(&me.hash()));
    assert_eq!(verify_content_address(&ca, &me, own, &facts), Ok(()));
}
