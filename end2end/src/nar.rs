//! NARs made by hand: small ones, spoilt ones of each kind, and streams of any length. Owns no files.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::digest::Random;

/// A string as NARs hold it: length as 64-bit little endian, the bytes, zeros up to a multiple of 8.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// Several strings after each other.
pub fn strings(all: &[&[u8]]) -> Vec<u8> {
    all.iter().flat_map(|one| string(one)).collect()
}

/// The archive around a root node.
pub fn archive(node: &[u8]) -> Vec<u8> {
    [string(b"nix-archive-1").as_slice(), node].concat()
}

/// A regular file's node.
pub fn regular(content: &[u8]) -> Vec<u8> {
    strings(&[b"(", b"type", b"regular", b"contents", content, b")"])
}

/// An executable file's node.
pub fn executable(content: &[u8]) -> Vec<u8> {
    strings(&[b"(", b"type", b"regular", b"executable", b"", b"contents", content, b")"])
}

/// A symbolic link's node.
pub fn symlink(target: &[u8]) -> Vec<u8> {
    strings(&[b"(", b"type", b"symlink", b"target", target, b")"])
}

/// A directory's node, with its entries in the order given.
pub fn directory(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut out = strings(&[b"(", b"type", b"directory"]);
    for (name, node) in entries {
        out.extend(strings(&[b"entry", b"(", b"name", name, b"node"]));
        out.extend_from_slice(node);
        out.extend(string(b")"));
    }
    out.extend(string(b")"));
    out
}

/// A directory in a directory, `depth` times, with a file at the bottom.
pub fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(regular(b"deep"), |node, _| directory(&[(b"d".as_slice(), node)]))
}

/// One NAR for each rule of the format, breaking just that rule.
pub fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let file = || regular(b"x");
    let named = |name: &[u8]| archive(&directory(&[(name, file())]));
    let good = archive(&directory(&[(b"a".as_slice(), file()), (b"b".as_slice(), symlink(b"a"))]));
    let mut padding = archive(&regular(b"x"));
    let text = padding.windows(9).position(|window| window == b"\x01\0\0\0\0\0\0\0x").map_or(0, |at| at + 9);
    padding[text] = 1;
    let mut huge_tag = string(b"nix-archive-1");
    huge_tag.extend(u64::MAX.to_le_bytes());
    huge_tag.extend(b"(");
    let mut huge_file = archive(&strings(&[b"(", b"type", b"regular", b"contents"]));
    huge_file.extend((1_u64 << 62).to_le_bytes());
    huge_file.extend(b"short");
    let mut huge_name = archive(&strings(&[b"(", b"type", b"directory", b"entry", b"(", b"name"]));
    huge_name.extend((1_u64 << 40).to_le_bytes());
    vec![
        ("entries not sorted", archive(&directory(&[(b"b".as_slice(), file()), (b"a".as_slice(), file())]))),
        ("an entry twice", archive(&directory(&[(b"a".as_slice(), file()), (b"a".as_slice(), file())]))),
        ("empty name", named(b"")),
        ("name .", named(b".")),
        ("name ..", named(b"..")),
        ("slash in a name", named(b"a/b")),
        ("NUL in a name", named(b"a\0b")),
        ("name of 256 bytes", named(&[b'n'; 256])),
        ("empty link target", archive(&symlink(b""))),
        ("link target of 4096 bytes", archive(&symlink(&[b't'; 4096]))),
        ("NUL in a link target", archive(&symlink(b"a\0b"))),
        ("padding not zero", padding),
        ("wrong magic", [string(b"nix-archive-2"), file()].concat()),
        ("unknown node type", archive(&strings(&[b"(", b"type", b"device", b")"]))),
        (
            "executable with a value",
            archive(&strings(&[b"(", b"type", b"regular", b"executable", b"yes", b"contents", b"x", b")"])),
        ),
        (
            "executable after contents",
            archive(&strings(&[b"(", b"type", b"regular", b"contents", b"x", b"executable", b"", b")"])),
        ),
        ("contents twice", archive(&strings(&[b"(", b"type", b"regular", b"contents", b"x", b"contents", b"y", b")"]))),
        ("type missing", archive(&strings(&[b"(", b"regular", b"contents", b"x", b")"]))),
        ("entry without node", {
            archive(&strings(&[b"(", b"type", b"directory", b"entry", b"(", b"name", b"a", b")", b")"]))
        }),
        ("node before name", {
            let mut node = strings(&[b"(", b"type", b"directory", b"entry", b"(", b"node"]);
            node.extend(file());
            node.extend(strings(&[b"name", b"a", b")", b")"]));
            archive(&node)
        }),
        ("bytes after the end", [good.as_slice(), &[0; 8]].concat()),
        ("two archives", [good.as_slice(), good.as_slice()].concat()),
        ("cut short", good[..good.len() - 16].to_vec()),
        ("directories 64 deep", archive(&nested(64))),
        ("tag of 2^64-1 bytes", huge_tag),
        ("file of 2^62 bytes", huge_file),
        ("name of 2^40 bytes", huge_name),
        ("empty", Vec::new()),
        ("no archive", b"<html><body>not here</body></html>".to_vec()),
    ]
}

/// A NAR of one regular file, made while it is read: some text, then bytes that do not compress.
#[derive(Debug)]
pub struct Synthetic {
    random: Random,
    pending: Vec<u8>,
    at: usize,
    content_left: u64,
    size: u64,
    ended: bool,
}

impl Synthetic {
    /// The file has `text` and then `size` bytes that depend on `seed` alone.
    pub fn new(text: &str, size: u64, seed: u64) -> Self {
        let whole = text.len() as u64 + size;
        let mut pending = archive(&strings(&[b"(", b"type", b"regular", b"contents"]));
        pending.extend(whole.to_le_bytes());
        pending.extend(text.as_bytes());
        Self { random: Random::new(seed), pending, at: 0, content_left: size, size: whole, ended: false }
    }

    fn refill(&mut self) {
        self.pending.clear();
        self.at = 0;
        if self.content_left > 0 {
            let block = self.content_left.min(128 * 1024);
            while (self.pending.len() as u64) < block {
                self.pending.extend_from_slice(&self.random.next_u64().to_le_bytes());
            }
            self.pending.truncate(usize::try_from(block).unwrap_or(usize::MAX));
            self.content_left -= block;
        } else if !self.ended {
            let padding = (self.size.next_multiple_of(8) - self.size) as usize;
            self.pending.resize(padding, 0);
            self.pending.extend(string(b")"));
            self.ended = true;
        }
    }
}

impl AsyncRead for Synthetic {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.at == self.pending.len() {
            self.refill();
        }
        let left = &self.pending[self.at..];
        let n = left.len().min(buf.remaining());
        buf.put_slice(&left[..n]);
        self.at += n;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256_nix32;
    use tokio::io::AsyncReadExt as _;

    #[test]
    fn hand_made_nars_equal_those_of_nix() {
        let sum = |node: Vec<u8>| {
            let nar = archive(&node);
            (sha256_nix32(&nar), nar.len())
        };
        let want = |hash: &str, len| (hash.to_owned(), len);
        assert_eq!(sum(regular(b"hello\n")), want("04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw", 120));
        assert_eq!(sum(regular(b"")), want("0ip26j2h11n1kgkz36rl4akv694yz65hr72q4kv4b3lxcbi65b3p", 112));
        assert_eq!(sum(executable(b"")), want("146m62fh059g7arnrjh6a7yh4q879r36fsm4a5c4dbd6ja2hpq1l", 144));
        assert_eq!(sum(directory(&[])), want("0sjjj9z1dhilhpc8pq4154czrb79z9cm044jvn75kxcjv6v5l2m5", 96));
        assert_eq!(sum(symlink(b"x")), want("1d6zyhr3yvx7xayifvpkf2x46qrym7xllznh96652dkln231x55v", 120));
        let tree = directory(&[
            (b"Z".as_slice(), regular(b"12345678")),
            (b"a.b", regular(b"123456789")),
            (b"bin", directory(&[(b"run".as_slice(), executable(b"#!/bin/sh\n"))])),
            (b"empty", regular(b"")),
            (b"link", symlink(b"bin/run")),
        ]);
        assert_eq!(sum(tree), want("0d421hikwfkhfxvcggdwjkdq5mjpiyfy3q9gavimxqfbksryiiwm", 1264));
    }

    #[tokio::test]
    async fn synthetic_stream_is_a_nar_of_its_content() {
        for (text, size) in [("", 0_u64), ("", 1), ("abc", 7), ("", 8), ("hello", 131_072), ("x", 200_001)] {
            let mut got = Vec::new();
            Synthetic::new(text, size, 7).read_to_end(&mut got).await.unwrap();
            let content = &got[archive(&strings(&[b"(", b"type", b"regular", b"contents"])).len() + 8..];
            let content = &content[..text.len() + usize::try_from(size).unwrap()];
            assert!(content.starts_with(text.as_bytes()));
            assert_eq!(got, archive(&regular(content)), "{size}");
        }
    }

    #[test]
    fn each_malformed_nar_is_different() {
        let all = malformed();
        for (i, (name, nar)) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|(other, earlier)| other != name && earlier != nar), "{name}");
        }
    }
}
