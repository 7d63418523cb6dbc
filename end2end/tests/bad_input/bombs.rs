//! NAR files that unpack to far more than was told, or need far more memory than they should, by each door.

use std::time::Instant;

use crate::probe::{Memory, refused, within};
use crate::{Door, door, pack, refused_narinfo, small};
use http::Method;
use iglu_end2end::cachix::wire::{Complete, Compression, NarInfoCreate};
use iglu_end2end::digest;
use iglu_end2end::put::Draft;
use iglu_end2end::refusal::Refusal;

/// Seconds that a refusal may take, on a machine that does other things too.
const SOON: u64 = 3;

/// A NAR file of 50 GiB (gzip cannot be so small: of 10) that says that its NAR is as large as itself.
async fn bomb(compression: &str, seed: u64) -> Draft {
    let size = if compression == "gzip" { 10 << 30 } else { 50 << 30 };
    let file = pack::flood(compression, &pack::nar_head(size), size).await;
    // Not so small that the file alone is too large for it.
    let told = file.len().next_multiple_of(8).to_string();
    let mut draft = Draft::of(digest::made_up_path("bomb", seed), small(seed), file, compression, &[]);
    draft.narinfo = draft.narinfo.with("NarSize", &told);
    draft
}

async fn refused_soon(door: &Door, draft: &Draft, what: &str) -> Refusal {
    let put = door.putter.put_file(draft).await.unwrap();
    assert!(put.status.is_success() || put.status == 400, "{what}: {}", put.text());
    let (memory, begun) = (Memory::watch(&door.server), Instant::now());
    let refusal = refused_narinfo(door, draft, &draft.narinfo, what).await;
    within(begun, SOON, what);
    memory.must_be_flat(&door.server, what);
    refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_by_put() {
    let door = door().await;
    for (seed, compression) in pack::ALL.into_iter().enumerate() {
        let draft = bomb(compression, seed as u64).await;
        let refusal = refused_soon(&door, &draft, compression).await;
        assert!(refusal.says(&["nar", "size"]), "{compression}: {}", refusal.text);
    }
    door.is_calm("bombs by PUT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_by_cachix() {
    let door = door().await;
    for (seed, compression) in [Compression::Zstd, Compression::Xz].into_iter().enumerate() {
        let name = if compression == Compression::Zstd { "zstd" } else { "xz" };
        let draft = bomb(name, 10 + seed as u64).await;
        let mut claims = NarInfoCreate::of(&draft.path, &draft.nar, &draft.file);
        claims.nar_size = draft.narinfo.get("NarSize").unwrap().parse().unwrap();
        let upload = door.client.create("main", compression).await.unwrap();
        let md5 = digest::md5_base64(&draft.file);
        let url = door.client.part("main", &upload, 1, &md5).await.unwrap().upload_url;
        door.client.put(&url, &md5, draft.file.clone().into()).await.unwrap();
        let (memory, begun) = (Memory::watch(&door.server), Instant::now());
        let complete = Complete { parts: None, nar_info_create: claims.clone() };
        let refusal = Refusal::of_call(door.client.complete("main", &upload, &complete).await).unwrap();
        assert_eq!(refusal.status, 400, "{name}: {}", refusal.text);
        within(begun, SOON, name);
        memory.must_be_flat(&door.server, name);
        door.has_not(draft.hash(), name).await;

        // As releases before 1.3 do it.
        let path = format!("/api/v1/cache/main/nar?compression={}", compression.query());
        assert_eq!(door.send(Method::POST, &path, &[], draft.file.clone()).await.status, 200);
        let (memory, begun) = (Memory::watch(&door.server), Instant::now());
        let path = format!("/api/v1/cache/main/{}.narinfo", draft.hash());
        let words = serde_json::to_string(&claims).unwrap();
        refused(&door.send(Method::POST, &path, &[], words).await, 400, name);
        within(begun, SOON, name);
        memory.must_be_flat(&door.server, name);
        door.has_not(draft.hash(), name).await;
    }
    door.is_calm("bombs by cachix").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_need_much_memory() {
    let door = door().await;
    let nar = small(1);
    // Windows of 2^28 and 2^41, and a frame that is its own window, of 1 GiB.
    let block = |last: u32| (((nar.len() as u32) << 3) | last).to_le_bytes();
    let frame = |head: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd], head, &block(1)[..3], &nar].concat();
    let mut dictionary = pack::packed("xz", &nar).await;
    pack::set_xz_dictionary(&mut dictionary, 40);
    let mut smaller = pack::packed("xz", &nar).await;
    pack::set_xz_dictionary(&mut smaller, 36);
    let cases = [
        ("window of 2^28", "zstd", frame(&[0x00, 18 << 3])),
        ("window of 2^41", "zstd", frame(&[0x00, 31 << 3])),
        ("single segment of 1 GiB", "zstd", frame(&[0xa0, 0, 0, 0, 0x40])),
        ("single segment of 2^64-1", "zstd", frame(&[0xe0, 255, 255, 255, 255, 255, 255, 255, 255])),
        ("frame that needs a dictionary", "zstd", frame(&[0x01, 11 << 3, 7])),
        ("dictionary of 4 GiB", "xz", dictionary),
        ("dictionary of 1 GiB", "xz", smaller),
        // A window of 2^30, as "large window brotli" has it.
        ("large window", "br", [&[0x11, 0x1e], nar.as_slice()].concat()),
    ];
    for (seed, (what, compression, file)) in cases.into_iter().enumerate() {
        let draft = Draft::of(digest::made_up_path("wide", seed as u64), nar.clone(), file, compression, &[]);
        refused_soon(&door, &draft, what).await;
    }
    door.is_calm("wide windows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_the_nar_in_a_file() {
    let door = door().await;
    let nar = small(2);
    let mut seed = 0;
    for compression in pack::ALL {
        let good = pack::packed(compression, &nar).await;
        let zeros = pack::packed(compression, &[0; 8]).await;
        let mut cases = vec![
            ("garbage", [good.as_slice(), b"garbage!"].concat()),
            ("a byte", [good.as_slice(), b"x"].concat()),
            ("cut off", good[..good.len() - 2].to_vec()),
            ("a second NAR inside", pack::packed(compression, &nar.repeat(2)).await),
            ("packed twice", pack::packed(compression, &good).await),
            ("much garbage", [good.as_slice(), &vec![b'x'; 4 << 20]].concat()),
        ];
        if compression != "br" {
            cases.push(("a member of zeros", [good.as_slice(), &zeros].concat()));
            cases.push(("the same again", good.repeat(2)));
        }
        for (what, file) in cases {
            seed += 1;
            let draft = Draft::of(digest::made_up_path("behind", seed), nar.clone(), file, compression, &[]);
            refused_soon(&door, &draft, &format!("{compression}: {what}")).await;
        }
        // In pieces it is whole, however small they are.
        if compression != "br" {
            let mut file = Vec::new();
            for piece in nar.chunks(97) {
                file.extend(pack::packed(compression, piece).await);
            }
            let path = digest::made_up_path("pieces", seed);
            let draft = Draft::of(path, nar.clone(), file, compression, &[]);
            door.putter.push(&draft).await.unwrap_or_else(|error| panic!("{compression}: {error}"));
            door.has(draft.hash()).await;
        }
    }
    door.is_calm("trailing bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_mostly_nothing() {
    let door = door().await;
    // Bytes that unpack to nothing would be downloaded by everybody, in other caches too that have the same NAR.
    let nothing = |kind: &str| -> Vec<u8> {
        match kind {
            "zstd" => [&[0x50, 0x2a, 0x4d, 0x18], &(4_u32 << 20).to_le_bytes()[..], &vec![0; 4 << 20]].concat(),
            "xz" => vec![0; 4 << 20],
            _ => Vec::new(),
        }
    };
    let mut seed = 0;
    for compression in ["zstd", "xz", "gzip", "bzip2"] {
        let nar = small(seed);
        seed += 1;
        let good = pack::packed(compression, &nar).await;
        let empty = pack::packed(compression, b"").await;
        let mut padded = good.clone();
        padded.extend(nothing(compression).repeat(2));
        if padded.len() == good.len() {
            padded.extend(empty.repeat((1 << 20) / empty.len()));
        }
        let draft = Draft::of(digest::made_up_path("padded", seed), nar.clone(), padded, compression, &[]);
        let put = door.putter.put_file(&draft).await.unwrap();
        assert!(put.status.is_success() || put.status == 400);
        let begun = Instant::now();
        refused_narinfo(&door, &draft, &draft.narinfo, &format!("{compression}, padded")).await;
        within(begun, SOON, &format!("{compression}, padded"));
        let draft = Draft::of(digest::made_up_path("padded", seed), nar, good, compression, &[]);
        door.putter.push(&draft).await.unwrap();
        door.has(draft.hash()).await;
    }
    door.is_calm("padded files").await;
}
