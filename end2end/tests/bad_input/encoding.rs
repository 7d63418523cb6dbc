//! Content-Encoding on what stands beside NAR files: floods, windows, members, and words that mean nothing.

use std::time::{Duration, Instant};

use crate::probe::{Memory, refused, within};
use crate::{Door, door, pack};
use http::Method;
use iglu_end2end::digest;
use iglu_end2end::http::Reply;

const DRV: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-top-a.drv";

async fn put(door: &Door, name: &str, coding: &str, body: impl Into<bytes::Bytes>) -> Reply {
    door.send(Method::PUT, &format!("/main/{name}"), &[("Content-Encoding", coding)], body).await
}

async fn log(door: &Door) -> String {
    door.putter.get(&format!("log/{DRV}")).await.unwrap().text()
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_in_content_encodings_end_at_the_limit() {
    let door = door().await;
    let hash = digest::hash_part(&digest::made_up_path("flood", 1)).to_owned();
    let names = [
        format!("{hash}.narinfo"),
        format!("{hash}.ls"),
        format!("log/{DRV}"),
        format!("realisations/sha256:{}!out.doi", "0a".repeat(32)),
        format!("build-trace-v2/{DRV}/out.doi"),
        format!("debuginfo/{}.debug", "0b".repeat(20)),
        "nix-cache-info".to_owned(),
    ];
    for coding in pack::ALL {
        // gzip makes a thousandth of zeros at best: with more than 8 MiB its length alone would be refused.
        let flood = pack::flood(coding, b"StorePath: ", if coding == "gzip" { 7 << 30 } else { 10 << 30 }).await;
        for name in &names {
            // A whole GiB of log is read: by one that is fast and one that is not.
            if name.starts_with("log/") && !matches!(coding, "zstd" | "gzip") {
                continue;
            }
            let what = format!("{coding} as {name}");
            let (memory, begun) = (Memory::watch(&door.server), Instant::now());
            let reply = put(&door, name, coding, flood.clone()).await;
            let refusal = refused(&reply, 413, &what);
            assert!(refusal.says(&["allowed"]), "{what}: {}", refusal.text);
            within(begun, 8, &what);
            memory.must_be_flat(&door.server, &what);
        }
    }
    door.has_not(&hash, "flood").await;
    for name in &names[..6] {
        assert_eq!(door.putter.get(name).await.unwrap().status, 404, "{name}");
    }
    door.is_calm("floods").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_content_encodings_are_small() {
    let door = door().await;
    let name = format!("log/{DRV}");
    // A frame that asks for a window of 2^(10 + exponent) bytes, and fills it.
    for (exponent, taken) in [(11_u8, true), (17, false), (18, false), (21, false)] {
        let block = |last: u32| ((128 << 10) << 3 | 1 << 1 | last).to_le_bytes();
        let mut file = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3];
        for _ in 0..2400 {
            file.extend([block(0)[0], block(0)[1], block(0)[2], b'a']);
        }
        file.extend([block(1)[0], block(1)[1], block(1)[2], b'a']);
        let memory = Memory::watch(&door.server);
        let reply = put(&door, &name, "zstd", file).await;
        let what = format!("window of 2^{}", 10 + exponent);
        memory.must_be_flat(&door.server, &what);
        if taken {
            assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        } else {
            refused(&reply, 400, &what);
        }
    }
    let mut wide = pack::packed("xz", b"hello").await;
    pack::set_xz_dictionary(&mut wide, 40);
    refused(&put(&door, &name, "xz", wide).await, 400, "dictionary of 4 GiB");
    door.is_calm("windows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_a_content_encoding_counts() {
    let door = door().await;
    let name = format!("log/{DRV}");
    for coding in pack::ALL {
        if coding != "br" {
            let members = [pack::packed(coding, b"one\n").await, pack::packed(coding, b"two\n").await].concat();
            assert_eq!(put(&door, &name, coding, members).await.status, 200, "{coding}");
            assert_eq!(log(&door).await, "one\ntwo\n", "{coding}");
        }
        let good = pack::packed(coding, b"good\n").await;
        assert_eq!(put(&door, &name, coding, good.clone()).await.status, 200, "{coding}");
        let cut = good[..good.len() - 2].to_vec();
        let garbage = [good.as_slice(), b"garbage"].concat();
        for (what, body) in [("cut off", cut), ("garbage behind", garbage), ("none", b"hello, hello".to_vec())] {
            refused(&put(&door, &name, coding, body).await, 400, &format!("{coding}: {what}"));
            assert_eq!(log(&door).await, "good\n", "{coding}: {what} changed the log");
        }
    }
    door.is_calm("members").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_encodings_that_nobody_knows() {
    let door = door().await;
    let long = "x".repeat(10_000);
    for coding in ["compress", "deflate", "zst", "gzip, gzip", "gzip,br", "identity, gzip", "*", "gzip;q=1", &long] {
        for name in [format!("log/{DRV}"), format!("{}.narinfo", "0".repeat(32)), format!("{}.ls", "0".repeat(32))] {
            refused(&put(&door, &name, coding, "x").await, 415, coding);
        }
    }
    for coding in pack::ALL {
        let name = format!("nar/{}.nar", digest::sha256_nix32(b"x"));
        refused(&put(&door, &name, coding, "x").await, 415, &format!("a NAR file in {coding}"));
        assert_eq!(door.putter.get(&name).await.unwrap().status, 404);
    }
    door.is_calm("unknown encodings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_without_content() {
    let door = door().await;
    for coding in ["gzip", "bzip2", "xz", "zstd"] {
        let empty = pack::packed(coding, b"").await;
        let file = empty.repeat((1 << 20) / empty.len());
        let quiet = door.slowest().await;
        let begun = Instant::now();
        let name = format!("log/{DRV}");
        let attack = async || put(&door, &name, coding, file.clone()).await;
        let (slowest, first, second, third) = tokio::join!(door.slowest(), attack(), attack(), attack());
        // On a machine that is busy with other things everybody waits.
        assert!(slowest < quiet * 4 + Duration::from_secs(4), "{coding}: others waited {slowest:?}");
        for reply in [first, second, third] {
            assert!(matches!(reply.status.as_u16(), 200 | 400), "{coding}: {}", reply.text());
        }
        within(begun, 4, coding);
    }
    door.is_calm("empty members").await;
}
