//! Reading as the Nix protocol wants it, request by request.

use std::time::Duration;

use http::Method;
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Http, Raw};
use iglu_end2end::nar;
use iglu_end2end::put::{Draft, Narinfo, decompress};
use iglu_end2end::scene::Scene;
use nix_compat::signing::{Signature, VerifyingKey};

use crate::{LIKE_NIX, ask, open, pushed, small};

#[tokio::test]
async fn nix_01_cache_info_is_three_lines() {
    let check = Check::new("nix 17.1", "nix-cache-info is three lines with an integer priority");
    check
        .over_http(async {
            let scene = open().await;
            let reply = ask(&scene, "nix-cache-info", &[]).await;
            assert_eq!((reply.status.as_u16(), reply.media_type()), (200, Some("text/x-nix-cache-info")));
            let text = reply.text();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[..2], ["StoreDir: /nix/store", "WantMassQuery: 1"]);
            let priority: i32 = lines[2].strip_prefix("Priority: ").unwrap().parse().unwrap();
            assert!(priority > 40, "asked before cache.nixos.org by default: {priority}");
            assert_eq!((lines.len(), text.ends_with('\n'), text.contains('\r')), (3, true, false));

            scene.server.admin(&["cache", "create", "first", "--priority", "7"], "").unwrap();
            let url = format!("{}/first/nix-cache-info", scene.server.url());
            let reply = scene.server.http().get(&url).await.unwrap();
            assert!(reply.text().ends_with("\nPriority: 7\n"), "{}", reply.text());
        })
        .await;
}

#[tokio::test]
async fn nix_02_head_has_the_status_of_get_and_no_body() {
    let check = Check::new("nix 17.2", "HEAD of a narinfo has the status of GET and no body; 404 for an unknown hash");
    check
        .over_http(async {
            let scene = open().await;
            let (draft, _) = pushed(&scene, "head", small(1), "zstd", &[]).await;
            let absent = digest::made_up_path("absent", 1);
            for (hash, status) in [(draft.hash(), "200"), (digest::hash_part(&absent), "404")] {
                let mut raw = Raw::connect(&scene.server.address()).await.unwrap();
                let mut heads = Vec::new();
                // Bytes of a body would stand where the second answer begins.
                for method in ["HEAD", "GET"] {
                    let host = scene.server.address();
                    raw.write(format!("{method} /main/{hash}.narinfo HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.unwrap();
                    let head = raw.head(Duration::from_secs(5)).await.unwrap();
                    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {hash}: {head}");
                    heads.push(head.to_lowercase());
                }
                let length =
                    |head: &str| head.lines().find(|line| line.starts_with("content-length")).map(str::to_owned);
                assert_eq!(length(&heads[0]), length(&heads[1]), "{heads:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn nix_03_narinfo_has_its_canonical_form() {
    let check = Check::new("nix 17.3", "narinfos are canonical: LF, a blank after `References:`, all fields in order");
    check
        .over_http(async {
            let scene = open().await;
            let (leaf, _) = pushed(&scene, "leaf", small(1), "xz", &[]).await;
            let contents = nar::archive(&nar::regular(leaf.path.as_bytes()));
            let draft = Draft::new("top", 2, contents, "zstd", &[&leaf.path]).await.unwrap();
            let deriver = "00bgd045z0d4icpbc2yyz4gx48ak44la-top.drv";
            // Sent in another order than the one that is served.
            let mut told = draft.narinfo.clone().with("Deriver", deriver);
            told.0.reverse();
            scene.putter().put_file(&draft).await.unwrap();
            assert_eq!(scene.putter().put_narinfo(&draft, &told).await.unwrap().status, 200);

            let order = ["StorePath", "URL", "Compression", "FileHash", "FileSize", "NarHash", "NarSize", "References"];
            let bare = ask(&scene, &format!("{}.narinfo", leaf.hash()), &[]).await.text();
            assert!(bare.contains("\nReferences: \nSig: "), "{bare}");
            let full = ask(&scene, &format!("{}.narinfo", draft.hash()), &[]).await;
            assert_eq!(full.media_type(), Some("text/x-nix-narinfo"));
            assert_eq!(full.header("content-length"), Some(full.body.len().to_string().as_str()));
            let (full, fields) = (full.text(), [&order[..], &["Deriver", "Sig"]].concat());
            assert!(full.contains(&format!("\nReferences: {}\n", digest::base_name(&leaf.path))), "{full}");
            for (text, order) in [(&bare, [&order[..], &["Sig"]].concat()), (&full, fields)] {
                assert!(text.ends_with('\n') && !text.contains('\r') && !text.contains("\n\n") && text.is_ascii());
                let narinfo = Narinfo::parse(text).unwrap();
                let fields: Vec<&str> = narinfo.0.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(fields, order, "{text}");
                let url = narinfo.get("URL").unwrap();
                let (name, _) = url.strip_prefix("nar/").unwrap().split_once(".nar").unwrap();
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{url}");
                for hash in ["FileHash", "NarHash"] {
                    let digits = narinfo.get(hash).unwrap().strip_prefix("sha256:").unwrap();
                    assert_eq!(digits.len(), 52, "{text}");
                }
                let key = VerifyingKey::parse(scene.key()).unwrap();
                let signature = Signature::parse(narinfo.get("Sig").unwrap()).unwrap();
                let signed = Draft { narinfo: narinfo.clone(), ..leaf.clone() };
                let signed = Draft { path: narinfo.get("StorePath").unwrap().to_owned(), ..signed };
                assert!(key.verify(&signed.fingerprint(), &signature), "{text}");
            }
        })
        .await;
}

#[tokio::test]
async fn nix_04_every_number_of_a_narinfo_is_true() {
    let check = Check::new("nix 17.4", "sizes and hashes of file and NAR are those of the bytes served");
    check
        .over_http(async {
            let scene = open().await;
            for compression in ["none", "xz", "zstd", "bzip2"] {
                let nar = nar::archive(&nar::directory(&[(b"a", nar::regular(compression.as_bytes()))]));
                let (draft, narinfo) = pushed(&scene, &format!("by-{compression}"), nar, compression, &[]).await;
                // Compares both sizes and both hashes.
                assert_eq!(scene.putter().check(&narinfo).await.unwrap(), draft.nar, "{compression}");
                let file = ask(&scene, narinfo.get("URL").unwrap(), &[]).await;
                assert_eq!(file.header("content-length"), narinfo.get("FileSize"), "{compression}");
                assert_eq!(file.body.len().to_string(), narinfo.get("FileSize").unwrap(), "{compression}");
            }
        })
        .await;
}

/// A path whose file has 300 000 bytes and more; its address and bytes.
async fn one_file(scene: &Scene) -> (String, Vec<u8>) {
    let nar = nar::archive(&nar::regular(&digest::Random::new(1).bytes(300_000)));
    let (draft, narinfo) = pushed(scene, "ranges", nar, "zstd", &[]).await;
    (narinfo.get("URL").unwrap().to_owned(), draft.file)
}

#[tokio::test]
async fn nix_09_nars_come_in_ranges() {
    let check =
        Check::new("nix 17.9", "a range of a NAR is 206 with exact Content-Range; Accept-Ranges with and without");
    check
        .over_http(async {
            let scene = open().await;
            let (url, file) = one_file(&scene).await;
            let whole = ask(&scene, &url, &[]).await;
            assert_eq!((whole.status.as_u16(), whole.header("accept-ranges")), (200, Some("bytes")));
            assert_eq!(whole.header("content-length"), Some(file.len().to_string().as_str()));
            assert!(whole.body == file, "not the bytes that were sent");
            let n = file.len();
            for from in [100, 0, 1, n / 2, n - 1] {
                let part = ask(&scene, &url, &[("range", &format!("bytes={from}-"))]).await;
                assert_eq!((part.status.as_u16(), part.header("accept-ranges")), (206, Some("bytes")), "{from}");
                assert_eq!(part.header("content-range"), Some(format!("bytes {from}-{}/{n}", n - 1).as_str()));
                assert_eq!(part.header("content-length"), Some((n - from).to_string().as_str()));
                assert!(part.body == file[from..], "{from}: other bytes");
            }
        })
        .await;
}

#[tokio::test]
async fn nix_10_range_beyond_the_end_is_416() {
    let check = Check::new("nix 17.10", "a range that begins at the end or behind it is 416 with the size");
    check
        .over_http(async {
            let scene = open().await;
            let (url, file) = one_file(&scene).await;
            let n = file.len();
            for range in [format!("bytes={n}-"), format!("bytes={}-", n + 1), format!("bytes={}-", u64::MAX)] {
                let beyond = ask(&scene, &url, &[("range", &range)]).await;
                assert_eq!(beyond.status, 416, "{range}");
                assert_eq!(beyond.header("content-range"), Some(format!("bytes */{n}").as_str()), "{range}");
            }
        })
        .await;
}

#[tokio::test]
async fn nix_12_nars_are_never_encoded() {
    let check = Check::new("nix 17.12", "a NAR has no Content-Encoding, whatever the client accepts");
    check
        .over_http(async {
            let scene = open().await;
            let zeros = nar::archive(&nar::regular(&[0; 200_000]));
            for compression in ["none", "zstd", "xz"] {
                let (_, narinfo) =
                    pushed(&scene, &format!("zeros-{compression}"), zeros.clone(), compression, &[]).await;
                let url = narinfo.get("URL").unwrap();
                let plain = ask(&scene, url, &[]).await;
                for offered in [LIKE_NIX, "deflate, gzip, br, zstd", "gzip", "*"] {
                    let reply = ask(&scene, url, &[("accept-encoding", offered)]).await;
                    assert_eq!((reply.status.as_u16(), reply.header("content-encoding")), (200, None), "{offered}");
                    assert!(reply.body == plain.body, "{compression} {offered}: other bytes");
                    assert_eq!(reply.header("content-length"), plain.header("content-length"), "{offered}");
                }
            }
        })
        .await;
}

#[tokio::test]
async fn nix_13_narinfos_are_encoded_only_as_asked_for() {
    let check =
        Check::new("nix 17.13", "a narinfo is plain, or encoded as gzip, br or zstd with Vary where that is accepted");
    check
        .over_http(async {
            let scene = open().await;
            let mut leaves = Vec::new();
            for seed in 0..60 {
                let draft = Draft::new("leaf", seed, small(seed), "none", &[]).await.unwrap();
                scene.putter().push(&draft).await.unwrap();
                leaves.push(draft.path);
            }
            let leaves: Vec<&str> = leaves.iter().map(String::as_str).collect();
            let contents = nar::archive(&nar::regular(leaves.join(" ").as_bytes()));
            let (long, _) = pushed(&scene, "long", contents, "zstd", &leaves).await;
            let (short, _) = pushed(&scene, "short", small(99), "zstd", &[]).await;
            for draft in [long, short] {
                let name = format!("{}.narinfo", draft.hash());
                let plain = ask(&scene, &name, &[]).await;
                assert_eq!((plain.status.as_u16(), plain.header("content-encoding")), (200, None));
                Narinfo::parse(&plain.text()).unwrap();
                for offered in
                    [LIKE_NIX, "deflate, gzip, br, zstd", "gzip", "br", "zstd", "deflate", "xz, bzip2", "*", "identity"]
                {
                    let reply = ask(&scene, &name, &[("accept-encoding", offered)]).await;
                    let body = match reply.header("content-encoding") {
                        None => reply.body.to_vec(),
                        Some(coding) => {
                            assert!(matches!(coding, "gzip" | "br" | "zstd"), "{offered}: {coding}");
                            assert!(offered.split(", ").any(|one| one == coding), "{offered}: {coding}");
                            let vary = reply.header("vary").unwrap_or_default().to_lowercase();
                            assert!(vary.contains("accept-encoding"), "{offered}: {vary}");
                            decompress(coding, &reply.body).await.unwrap()
                        }
                    };
                    assert_eq!(body, plain.body, "{offered}");
                }
            }
        })
        .await;
}

#[tokio::test]
async fn nix_15_unknown_and_ill_formed_hashes_are_404() {
    let check = Check::new("nix 17.15", "narinfos of unknown and of ill-formed hashes are 404, never 400 or 500");
    check
        .over_http(async {
            let scene = open().await;
            let (draft, _) = pushed(&scene, "there", small(1), "zstd", &[]).await;
            let zeros = "0".repeat(32);
            let names = [
                zeros.clone(),
                "e".repeat(32),
                "o".repeat(32),
                "u".repeat(32),
                "t".repeat(32),
                zeros[1..].to_owned(),
                format!("{zeros}0"),
                draft.hash().to_uppercase(),
                format!("{}-there", draft.hash()),
                "..%2f".to_owned(),
                "..%2f..%2fsecret".to_owned(),
                "%00".to_owned(),
                "%ff%fe".to_owned(),
                "a".repeat(5000),
                String::new(),
            ];
            for name in names {
                for method in [Method::GET, Method::HEAD] {
                    let file = format!("{name}.narinfo");
                    let reply = scene.ask(method.clone(), &file, &Credentials::None, &[], "").await.unwrap();
                    assert_eq!(reply.status, 404, "{method} {file}");
                    let kept = reply.header("cache-control").unwrap_or("no-store");
                    assert!(!kept.contains("immutable"), "{name}: {kept}");
                }
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_17_many_readers_keep_their_connections() {
    let check =
        Check::new("nix 17.17", "25 readers at once on kept connections: each answer is 200, no connection breaks");
    check
        .over_http(async {
            let scene = open().await;
            let (draft, _) = pushed(&scene, "popular", small(1), "zstd", &[]).await;
            let address = format!("{}/{}.narinfo", scene.uri(), draft.hash());
            let readers: Vec<_> = (0..25)
                .map(|_| {
                    let address = address.clone();
                    tokio::spawn(async move {
                        let http = Http::new();
                        for _ in 0..40 {
                            assert_eq!(http.get(&address).await.unwrap().status, 200);
                        }
                    })
                })
                .collect();
            for reader in readers {
                reader.await.unwrap();
            }
            // The same on one socket, where a closed connection would show.
            let mut raw = Raw::connect(&scene.server.address()).await.unwrap();
            for _ in 0..100 {
                let host = scene.server.address();
                raw.write(format!("HEAD /main/{}.narinfo HTTP/1.1\r\nHost: {host}\r\n\r\n", draft.hash()))
                    .await
                    .unwrap();
                let head = raw.head(Duration::from_secs(5)).await.unwrap();
                assert!(
                    head.starts_with("HTTP/1.1 200") && !head.to_lowercase().contains("connection: close"),
                    "{head}"
                );
            }
        })
        .await;
}
