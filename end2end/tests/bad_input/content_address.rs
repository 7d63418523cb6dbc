//! Content addresses that do not hold: each would crash the clients that meet it.

use nix_compat::content_address::ContentAddress;
use nix_compat::store_path::StorePath;

use crate::{door, mentioning, refused_narinfo, small};
use iglu_end2end::digest::{self, made_up_path};
use iglu_end2end::nar;
use iglu_end2end::put::Draft;

/// A NAR with a content address that must not be believed.
struct Case {
    what: &'static str,
    path: String,
    nar: Vec<u8>,
    ca: String,
    references: Vec<String>,
}

/// The path that a content address demands.
fn demanded(ca: &str, name: &str, references: &[&str], self_reference: bool) -> String {
    let references: Vec<StorePath> = references.iter().map(|path| StorePath::parse_absolute(path).unwrap()).collect();
    ContentAddress::parse(ca).unwrap().store_path(name, &references, self_reference).unwrap().to_absolute()
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", digest::sha256_nix32(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn content_addresses_that_crash_clients() {
    let door = door().await;
    let content = b"content\n";
    let file = nar::archive(&nar::regular(content));
    let executable = nar::archive(&nar::executable(content));
    let tree = nar::archive(&nar::directory(&[(b"a".as_slice(), nar::regular(content))]));
    let link = nar::archive(&nar::symlink(b"content"));
    let other = made_up_path("other", 1);
    let mention = mentioning(&["other"], 1);
    let flat = |bytes: &[u8]| format!("fixed:{}", sha256(bytes));
    let recursive = |nar: &[u8]| format!("fixed:r:{}", sha256(nar));
    let text = |bytes: &[u8]| format!("text:{}", sha256(bytes));
    let elsewhere = made_up_path("x", 1);
    let zeros = "0".repeat(52);
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |what: &'static str, path: &str, nar: &[u8], ca: &str, references: &[&str]| {
        let references = references.iter().map(|path| (*path).to_owned()).collect();
        cases.push(Case { what, path: path.to_owned(), nar: nar.to_vec(), ca: ca.to_owned(), references });
    };
    // Another path than the address demands.
    case("recursive, of another path", &elsewhere, &file, &recursive(&file), &[]);
    case("flat, of another path", &elsewhere, &file, &flat(content), &[]);
    case("text, of another path", &elsewhere, &file, &text(content), &[]);
    case(
        "another name",
        &demanded(&recursive(&file), "one", &[], false).replace("-one", "-two"),
        &file,
        &recursive(&file),
        &[],
    );
    case("recursive called flat", &demanded(&recursive(&file), "n", &[], false), &file, &flat(content), &[]);
    case("flat called recursive", &demanded(&flat(content), "n", &[], false), &file, &recursive(&file), &[]);
    case("text called recursive", &demanded(&text(content), "n", &[], false), &file, &recursive(&file), &[]);
    // The path is right, but the content is another.
    for (what, ca) in [
        ("recursive, of other content", format!("fixed:r:sha256:{zeros}")),
        ("flat, of other content", format!("fixed:sha256:{zeros}")),
        ("text, of other content", format!("text:sha256:{zeros}")),
        ("sha1, of other content", format!("fixed:r:sha1:{}", "0".repeat(40))),
        ("md5, of other content", format!("fixed:md5:{}", "0".repeat(32))),
        ("sha512, of other content", format!("fixed:sha512:{}", "0".repeat(128))),
        ("flat with the hash of the NAR", flat(&file)),
        ("recursive with the hash of the content", recursive(content)),
    ] {
        case(what, &demanded(&ca, "n", &[], false), &file, &ca, &[]);
    }
    // Of a kind of content that it cannot be of.
    for (what, nar) in [("executable", &executable), ("directory", &tree), ("link", &link)] {
        case(what, &demanded(&flat(content), "n", &[], false), nar, &flat(content), &[]);
        case(what, &demanded(&text(content), "n", &[], false), nar, &text(content), &[]);
    }
    // References where none can be, or others than the address counts.
    case("flat with a reference", &demanded(&flat(content), "n", &[], false), &file, &flat(content), &[&other]);
    case(
        "recursive, a reference too many",
        &demanded(&recursive(&mention), "n", &[], false),
        &mention,
        &recursive(&mention),
        &[&other],
    );
    case(
        "recursive, a reference too few",
        &demanded(&recursive(&mention), "n", &[&other], false),
        &mention,
        &recursive(&mention),
        &[],
    );
    let md5 = format!("fixed:r:md5:{}", "0".repeat(32));
    case("md5 with a reference", &demanded(&md5, "n", &[], false), &mention, &md5, &[&other]);
    let path = demanded(&text(content), "n", &[], false);
    case("text with itself", &path.clone(), &file, &text(content), &[&path]);
    let path = demanded(&flat(content), "n", &[], false);
    case("flat with itself", &path.clone(), &file, &flat(content), &[&path]);
    // Of no form.
    for (what, ca) in [
        ("git", format!("fixed:git:sha1:{}", "0".repeat(40))),
        ("git of sha256", format!("fixed:git:sha256:{zeros}")),
        ("text of sha1", format!("text:sha1:{}", "0".repeat(40))),
        ("text recursive", format!("text:r:sha256:{zeros}")),
        ("no algorithm", format!("fixed:r:{zeros}")),
        ("unknown algorithm", format!("fixed:r:crc32:{zeros}")),
        ("SRI", "fixed:r:sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned()),
        ("short", "fixed:r:sha256:00".to_owned()),
        ("impossible digit", format!("fixed:r:sha256:{}", "z".repeat(52))),
        ("unknown kind", format!("nar:sha256:{zeros}")),
        ("twice recursive", format!("fixed:r:r:sha256:{zeros}")),
        ("empty hash", "fixed:r:".to_owned()),
        ("a word", "fixed".to_owned()),
        ("endless", format!("fixed:r:sha256:{}", "0".repeat(1_000_000))),
    ] {
        case(what, &elsewhere, &file, &ca, &[]);
    }
    for (seed, Case { what, path, nar, ca, references }) in cases.into_iter().enumerate() {
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        let compression = if seed % 2 == 0 { "none" } else { "zstd" };
        let file = iglu_end2end::put::compress(compression, &nar).await.unwrap();
        let draft = Draft::of(path, nar, file, compression, &references);
        assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
        refused_narinfo(&door, &draft, &draft.narinfo.clone().and("CA", &ca), what).await;
    }
    let draft = Draft::new("twice", 1, small(1), "none", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let right = recursive(&draft.nar);
    refused_narinfo(&door, &draft, &draft.narinfo.clone().and("CA", &right).and("CA", &right), "two").await;
    door.is_calm("content addresses").await;
}
