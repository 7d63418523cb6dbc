//! PUT of narinfos and NAR files whose text or claims are wrong.

use std::time::Duration;

use nix_compat::signing::SigningKey;

use crate::{door, mentioning, refused_narinfo, small};
use iglu_end2end::digest::{self};
use iglu_end2end::http::{Raw, request};
use iglu_end2end::nar;
use iglu_end2end::put::{Draft, Narinfo};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::Scope;

#[tokio::test(flavor = "multi_thread")]
async fn narinfos_that_are_not_true() {
    let door = door().await;
    let mut seed = 0;
    let zeros = format!("sha256:{}", "0".repeat(52));
    type Spoil = Box<dyn Fn(&Draft) -> Narinfo>;
    let cases: Vec<(&str, Spoil, &[&str])> = vec![
        (
            "NAR hash",
            Box::new({
                let zeros = zeros.clone();
                move |d| d.narinfo.clone().with("NarHash", &zeros)
            }),
            &["nar", "hash"],
        ),
        ("NAR size", Box::new(|d| d.narinfo.clone().with("NarSize", &(d.nar.len() + 8).to_string())), &["nar", "size"]),
        ("smaller NAR size", Box::new(|d| d.narinfo.clone().with("NarSize", "96")), &["nar", "size"]),
        ("file hash", Box::new(move |d| d.narinfo.clone().with("FileHash", &zeros)), &["file", "hash"]),
        (
            "file size",
            Box::new(|d| d.narinfo.clone().with("FileSize", &(d.file.len() + 1).to_string())),
            &["file", "size"],
        ),
        ("another compression", Box::new(|d| d.narinfo.clone().with("Compression", "xz")), &["xz"]),
        ("unknown compression", Box::new(|d| d.narinfo.clone().with("Compression", "zst")), &["zst"]),
        (
            "content address",
            Box::new(|d| {
                let hash = d.narinfo.get("NarHash").unwrap();
                d.narinfo.clone().and("CA", &format!("fixed:r:{hash}"))
            }),
            &["content address"],
        ),
        ("content address that is none", Box::new(|d| d.narinfo.clone().and("CA", "fixed:r:what")), &["ca"]),
        (
            "missing reference",
            Box::new(|d| d.narinfo.clone().with("References", digest::base_name(&digest::made_up_path("not-here", 1)))),
            &["not-here"],
        ),
        (
            "reference that the NAR does not have",
            Box::new(|d| {
                let other = digest::made_up_path("unmentioned", 1);
                d.narinfo.clone().with("References", digest::base_name(&other))
            }),
            &["unmentioned"],
        ),
        (
            "two missing references",
            Box::new(|d| {
                let base = |name: &str| digest::base_name(&digest::made_up_path(name, 1)).to_owned();
                d.narinfo.clone().with("References", &format!("{} {}", base("gone"), base("lost")))
            }),
            &["gone", "lost"],
        ),
    ];
    for (what, spoil, words) in cases {
        seed += 1;
        let draft =
            Draft::new("untrue", seed, mentioning(&["not-here", "gone", "lost"], seed), "zstd", &[]).await.unwrap();
        assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
        let refusal = refused_narinfo(&door, &draft, &spoil(&draft), what).await;
        assert!(refusal.says(words), "{what}: {}", refusal.text);
        // What is true is taken afterwards; the file need not come again.
        let reply = door.putter.put_narinfo(&draft, &draft.narinfo).await.unwrap();
        assert!(reply.status.is_success(), "{what}, then the truth: {}", reply.text());
        door.has(draft.hash()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn narinfos_of_wrong_form() {
    let door = door().await;
    let draft = Draft::new("form", 1, small(1), "xz", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let good = &draft.narinfo;
    let twice = |field: &str| good.clone().and(field, good.get(field).unwrap());
    let file = draft.url.strip_prefix("nar/").unwrap();
    let host = door.server.address();
    let narinfos = [
        ("no store path", good.clone().without("StorePath")),
        ("another store path", good.clone().with("StorePath", &digest::made_up_path("form", 2))),
        ("store path without directory", good.clone().with("StorePath", digest::base_name(&draft.path))),
        ("store path elsewhere", good.clone().with("StorePath", &draft.path.replace("/nix/", "/gnu/"))),
        ("store path without a name", good.clone().with("StorePath", &draft.path[..draft.path.len() - 5])),
        ("no URL", good.clone().without("URL")),
        ("absolute URL", good.clone().with("URL", &format!("http://{host}/main/{}", draft.url))),
        ("URL on another host", good.clone().with("URL", &format!("//example.org/{}", draft.url))),
        ("URL with a slash at first", good.clone().with("URL", &format!("/{}", draft.url))),
        ("URL outside nar/", good.clone().with("URL", file)),
        ("URL that climbs", good.clone().with("URL", &format!("nar/../{}", draft.url))),
        ("URL that climbs out", good.clone().with("URL", &format!("../main/{}", draft.url))),
        ("URL of a file that is not there", good.clone().with("URL", &format!("nar/{}.nar.xz", "0".repeat(52)))),
        ("URL that is a file name of the system", good.clone().with("URL", "nar/..%2f..%2fetc%2fpasswd")),
        ("no NAR hash", good.clone().without("NarHash")),
        ("NAR hash without algorithm", good.clone().with("NarHash", &"0".repeat(52))),
        ("NAR hash of another algorithm", good.clone().with("NarHash", &format!("md5:{}", "0".repeat(32)))),
        ("NAR hash with impossible digit", good.clone().with("NarHash", &format!("sha256:{}", "z".repeat(52)))),
        ("no NAR size", good.clone().without("NarSize")),
        ("NAR size 0", good.clone().with("NarSize", "0")),
        ("negative NAR size", good.clone().with("NarSize", "-5")),
        ("NAR size over 64 bits", good.clone().with("NarSize", "99999999999999999999999999")),
        ("reference as a full path", good.clone().with("References", &digest::made_up_path("x", 1))),
        ("reference of bad form", good.clone().with("References", "nonsense")),
        ("deriver as a full path", good.clone().and("Deriver", &digest::made_up_path("x.drv", 1))),
        ("store path twice", twice("StorePath")),
        ("URL twice", twice("URL")),
        ("NAR hash twice", twice("NarHash")),
        ("control character", good.clone().and("Note", "bell\u{7}")),
    ];
    for (what, narinfo) in &narinfos {
        // Unknown fields are dropped, so a control character there may go with its field.
        if *what == "control character" {
            let reply = door.putter.put_narinfo(&draft, narinfo).await.unwrap();
            assert!(reply.status == 400 || reply.status.is_success(), "{what}: {}", reply.status);
            continue;
        }
        refused_narinfo(&door, &draft, narinfo, what).await;
    }

    let other = Draft::new("text", 1, small(3), "xz", &[]).await.unwrap();
    assert!(door.putter.put_file(&other).await.unwrap().status.is_success());
    let text = other.narinfo.text();
    let texts: [(&str, Vec<u8>); 9] = [
        ("nothing", Vec::new()),
        ("a page", b"<html><body>hello</body></html>\n".to_vec()),
        ("CRLF", text.replace('\n', "\r\n").into()),
        ("no line end", text.trim_end().into()),
        ("references without a blank", text.replace("References: \n", "References:\n").into()),
        ("an empty line", text.replace("URL:", "\nURL:").into()),
        ("byte order mark", format!("\u{feff}{text}").into()),
        ("not UTF-8", [text.as_bytes(), b"Note: \xff\xfe\xc3\n"].concat()),
        ("null bytes", vec![0; 1000]),
    ];
    let name = format!("{}.narinfo", other.hash());
    for (what, body) in texts {
        let reply = door.putter.put(&name, "text/x-nix-narinfo", body).await.unwrap();
        if what == "not UTF-8" && reply.status.is_success() {
            continue;
        }
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
        Refusal::of(&reply).unwrap_or_else(|error| panic!("{what}: {error}"));
        door.has_not(other.hash(), what).await;
    }
    let head = format!(
        "PUT /main/{name} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {}\r\n\
         Content-Length: 20000000\r\nExpect: 100-continue\r\n\r\n",
        door.putter.credentials.header().unwrap()
    );
    let mut raw = Raw::connect(&host).await.unwrap();
    raw.write(head).await.unwrap();
    let answer = raw.head(Duration::from_secs(1)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "20 MB of narinfo: {answer}");
    for hash in ["0".repeat(31), "e".repeat(32), "0".repeat(33)] {
        let reply =
            door.putter.put(&format!("{hash}.narinfo"), "text/x-nix-narinfo", text.clone().into_bytes()).await.unwrap();
        assert!(matches!(reply.status.as_u16(), 400 | 404), "{hash}: {}", reply.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_taken_in_each_spelling_and_written_in_one() {
    let door = door().await;
    use base64::Engine as _;
    use sha2::Digest as _;
    for seed in 0..4 {
        let draft = Draft::new("spelling", seed, small(seed), "none", &[]).await.unwrap();
        let sum = sha2::Sha256::digest(&draft.nar);
        let base64 = base64::engine::general_purpose::STANDARD.encode(sum);
        let spelled = match seed {
            0 => format!("sha256:{}", digest::hex(&sum)),
            1 => format!("sha256:{}", digest::hex(&sum).to_uppercase()),
            2 => format!("sha256:{base64}"),
            _ => format!("sha256-{base64}"),
        };
        assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
        let narinfo = draft.narinfo.clone().with("NarHash", &spelled).with("FileHash", &spelled);
        let reply = door.putter.put_narinfo(&draft, &narinfo).await.unwrap();
        assert!(reply.status.is_success(), "{spelled}: {}", reply.text());
        let served = door.putter.narinfo(draft.hash()).await.unwrap().unwrap();
        assert_eq!(served.get("NarHash"), draft.narinfo.get("NarHash"));
        assert_eq!(served.get("FileHash"), draft.narinfo.get("FileHash"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_addresses_are_recomputed() {
    let door = door().await;
    let nar = nar::archive(&nar::regular(b"hello\n"));
    let path = "/nix/store/5cil4z0s59ii1splw7bhxf230bfdxfq5-greeting.txt";
    let draft = Draft::of(path.to_owned(), nar.clone(), nar, "none", &[]);
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let hash = draft.narinfo.get("NarHash").unwrap().to_owned();
    for wrong in [format!("text:{hash}"), format!("fixed:{hash}"), format!("fixed:r:sha256:{}", "0".repeat(52))] {
        refused_narinfo(&door, &draft, &draft.narinfo.clone().and("CA", &wrong), &wrong).await;
    }
    let right = format!("fixed:r:{hash}");
    let reply = door.putter.put_narinfo(&draft, &draft.narinfo.clone().and("CA", &right)).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    assert_eq!(door.putter.narinfo(draft.hash()).await.unwrap().unwrap().get("CA"), Some(right.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_that_do_not_hold() {
    let door = door().await;
    let name = door.key.split_once(':').unwrap().0.to_owned();
    let forged = SigningKey::from_seed(&name, [8; 32]).unwrap();
    let draft = Draft::new("forged", 1, small(1), "none", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let sig = forged.sign(&draft.fingerprint()).to_string();
    let what = "in the name of the cache's key";
    let refusal = refused_narinfo(&door, &draft, &draft.narinfo.clone().and("Sig", &sig), what).await;
    assert!(refusal.says(&["signature", &name]), "{}", refusal.text);

    // A stranger's signature is kept, since nobody here can tell whether it holds. What is no signature at all is dropped:
    // newer clients refuse a whole narinfo for one such line.
    let stranger = SigningKey::from_seed("stranger-1", [7; 32]).unwrap();
    let sig = stranger.sign(&draft.fingerprint()).to_string();
    let narinfo = draft.narinfo.clone().and("Sig", &sig).and("Sig", "nonsense").and("Sig", "key-1:");
    let narinfo = narinfo.and("Sig", "key-1:AAAA").and("Sig", &format!("key-1:{}", "*".repeat(88)));
    let reply = door.putter.put_narinfo(&draft, &narinfo).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    let served = door.putter.narinfo(draft.hash()).await.unwrap().unwrap();
    let [ours, theirs] = served.all("Sig")[..] else { panic!("{served:?}") };
    assert!(ours.starts_with(&format!("{name}:")), "{ours}");
    assert_eq!(theirs, sig);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_named_by_their_hash() {
    let door = door().await;
    let draft = Draft::new("named", 1, small(1), "zstd", &[]).await.unwrap();
    let other = digest::sha256_nix32(b"something else");
    let names = [
        (format!("nar/{other}.nar.zst"), 400),
        (format!("nar/{}.nar.zst", "e".repeat(52)), 400),
        (format!("nar/{}", &draft.url[4..20]), 400),
        (format!("{}/x", draft.url), 400),
        ("nar/..%2fx.nar".to_owned(), 400),
    ];
    for (name, status) in names {
        let reply = door.putter.put(&name, "application/x-nix-nar", draft.file.clone()).await.unwrap();
        assert!(reply.status == status || reply.status == 404, "{name}: {}", reply.status);
        let head = request(http::Method::HEAD, &door.putter.url(&name), &door.putter.credentials, &[], "").unwrap();
        assert_eq!(door.putter.http.send(head).await.unwrap().status, 404, "{name}");
    }
    // The narinfo before its file.
    let reply = door.putter.put_narinfo(&draft, &draft.narinfo).await.unwrap();
    assert_eq!(reply.status, 400);
    assert!(Refusal::of(&reply).unwrap().says(&[&draft.url]), "{}", reply.text());
    door.has_not(draft.hash(), "narinfo without its file").await;
    // A file of another cache is no file of this one.
    door.server.cache("other", false).unwrap();
    let token = door.server.token("other", Scope::Push).unwrap();
    door.server.putter("other", &token).push(&draft).await.unwrap();
    let reply = door.putter.put_narinfo(&draft, &draft.narinfo).await.unwrap();
    assert_eq!(reply.status, 400, "claimed by its hash alone");
    let head = request(http::Method::HEAD, &door.putter.url(&draft.url), &door.putter.credentials, &[], "").unwrap();
    assert_eq!(door.putter.http.send(head).await.unwrap().status, 404, "tells what another cache has");
    for _ in 0..2 {
        door.putter.push(&draft).await.unwrap();
    }
    door.has(draft.hash()).await;
}
