//! Files that are no NAR, or no proper compressed stream, by both doors.

use crate::{MIB, door, refused_narinfo, small};
use iglu_end2end::cachix::PushOptions;
use iglu_end2end::cachix::wire::Compression;
use iglu_end2end::digest::{self};
use iglu_end2end::nar;
use iglu_end2end::object::Object;
use iglu_end2end::put::{Draft, compress};
use iglu_end2end::refusal::Refusal;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn malformed_nars_of_each_kind() {
    let door = door().await;
    for (seed, (what, nar)) in nar::malformed().into_iter().enumerate() {
        let seed = seed as u64;
        for compression in ["zstd", "none"] {
            let draft = Draft::new("malformed", seed, nar.clone(), compression, &[]).await.unwrap();
            let file = door.putter.put_file(&draft).await.unwrap();
            assert!(file.status.is_success() || file.status == 400, "{what}: {}", file.status);
            // Sizes of 0 are refused for being 0; everything else for what it is.
            let size = nar.len().max(96).to_string();
            let refusal = refused_narinfo(&door, &draft, &draft.narinfo.clone().with("NarSize", &size), what).await;
            let about_the_nar = refusal.says(&["nar"]);
            assert!(about_the_nar, "{what}: {}", refusal.text);
        }
        let object = Object::bytes("malformed-cachix", seed, nar.clone());
        let options = PushOptions { compression: Some(Compression::Xz), ..PushOptions::default() };
        let pushed = door.client.push_one("main", &object, &options).await;
        let refusal = Refusal::of_call(pushed).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(refusal.status, 400, "{what}: {}", refusal.text);
        door.has_not(object.hash(), what).await;
    }
    assert!(door.server.peak_rss().unwrap() < 200 * MIB, "memory after a length that somebody claimed");
    // Just inside the limits.
    let inside = [
        ("63 deep", nar::archive(&nar::nested(63))),
        ("name of 255", nar::archive(&nar::directory(&[(&[b'n'; 255], nar::regular(b""))]))),
        ("target of 4095", nar::archive(&nar::symlink(&[b't'; 4095]))),
        ("names that are no text", nar::archive(&nar::directory(&[(b"\x01\n\xff", nar::regular(b""))]))),
        ("case hack", nar::archive(&nar::directory(&[(b"a~nix~case~hack~1", nar::regular(b""))]))),
    ];
    for (seed, (what, nar)) in inside.into_iter().enumerate() {
        let draft = Draft::new("well-formed", seed as u64, nar, "zstd", &[]).await.unwrap();
        door.putter.push(&draft).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        door.has(draft.hash()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_streams_of_bad_form() {
    let door = door().await;
    let nar = small(1);
    let zstd = compress("zstd", &nar).await.unwrap();
    let xz = compress("xz", &nar).await.unwrap();
    // One raw block in a frame that asks for a window of 2^31 bytes.
    let mut wide = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8];
    wide.extend(&(((nar.len() as u32) << 3) | 1).to_le_bytes()[..3]);
    wide.extend(&nar);
    let mut flipped = xz.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let cases = [
        ("zstd cut short", "zstd", zstd[..zstd.len() - 5].to_vec()),
        ("xz cut short", "xz", xz[..xz.len() - 5].to_vec()),
        ("xz with a flipped byte", "xz", flipped),
        ("bytes after zstd", "zstd", [zstd.as_slice(), b"more"].concat()),
        ("bytes after xz", "xz", [xz.as_slice(), b"morebyte"].concat()),
        ("zstd called xz", "xz", zstd.clone()),
        ("xz called zstd", "zstd", xz.clone()),
        ("nothing", "zstd", Vec::new()),
        ("window of 2 GiB", "zstd", wide),
        ("not compressed", "xz", nar.clone()),
    ];
    for (seed, (what, compression, file)) in cases.into_iter().enumerate() {
        let draft = Draft::of(digest::made_up_path("stream", seed as u64), nar.clone(), file, compression, &[]);
        let put = door.putter.put_file(&draft).await.unwrap();
        assert!(put.status.is_success() || put.status == 400, "{what}: {}", put.status);
        refused_narinfo(&door, &draft, &draft.narinfo, what).await;
    }
    // Several members after each other are one stream.
    let (front, back) = nar.split_at(1000);
    for (seed, compression) in ["zstd", "xz"].into_iter().enumerate() {
        let file = [compress(compression, front).await.unwrap(), compress(compression, back).await.unwrap()].concat();
        let draft = Draft::of(digest::made_up_path("members", seed as u64), nar.clone(), file, compression, &[]);
        door.putter.push(&draft).await.unwrap();
        door.has(draft.hash()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_file_that_unpacks_without_end() {
    let door = door().await;
    let mut bomb = nar::archive(&nar::strings(&[b"(", b"type", b"regular", b"contents"]));
    let zeros = 512 * MIB;
    bomb.extend(zeros.to_le_bytes());
    bomb.resize(bomb.len() + usize::try_from(zeros).unwrap(), 0);
    bomb.extend(nar::string(b")"));
    let file = compress("zstd", &bomb).await.unwrap();
    drop(bomb);
    let draft = Draft::of(digest::made_up_path("bomb", 1), small(1), file, "zstd", &[]);
    let begun = Instant::now();
    let put = door.putter.put_file(&draft).await.unwrap();
    assert!(put.status.is_success() || put.status == 400);
    let refusal = refused_narinfo(&door, &draft, &draft.narinfo, "bomb").await;
    assert!(refusal.says(&["nar"]), "{}", refusal.text);
    assert!(begun.elapsed() < Duration::from_secs(5), "unpacked to the end: {:?}", begun.elapsed());
    assert!(door.server.peak_rss().unwrap() < 200 * MIB);
}
