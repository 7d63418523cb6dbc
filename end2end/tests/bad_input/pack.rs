//! Compressed streams that unpack to far more than they hold, made in milliseconds: one packed unit, again and again. Owns
//! nothing but memory for the packed bytes.

use std::io::Cursor;

use async_compression::Level;
use async_compression::tokio::write::{BrotliEncoder, BzEncoder, GzipEncoder, XzEncoder, ZstdEncoder};
use iglu_end2end::nar;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Every compression that NAR files may have here, as the narinfo names them, without `none`.
pub const ALL: [&str; 5] = ["zstd", "xz", "bzip2", "gzip", "br"];

/// Zeros that one unit unpacks to.
const UNIT: usize = 16 << 20;

fn encoder<'a>(name: &str, out: &'a mut Cursor<Vec<u8>>) -> Box<dyn AsyncWrite + Unpin + 'a> {
    match name {
        "zstd" => Box::new(ZstdEncoder::new(out)),
        "xz" => Box::new(XzEncoder::with_quality(out, Level::Precise(1))),
        "bzip2" => Box::new(BzEncoder::new(out)),
        "gzip" => Box::new(GzipEncoder::with_quality(out, Level::Best)),
        "br" => Box::new(BrotliEncoder::with_quality(out, Level::Precise(2))),
        _ => panic!("no compressor for {name}"),
    }
}

/// The bytes as one member.
pub async fn packed(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let mut encoder = encoder(name, &mut out);
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    drop(encoder);
    out.into_inner()
}

/// `head`, at least `size` zeros, and no end of a NAR: whoever reads to the end is lost.
pub async fn flood(name: &str, head: &[u8], size: u64) -> Vec<u8> {
    let times = size.div_ceil(UNIT as u64) as usize;
    match name {
        // A block of zstd that says "this byte, 128 KiB of it" is four bytes.
        "zstd" => {
            let mut file = packed("zstd", head).await;
            file.extend([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]);
            let block = |last: u32| ((128 << 10) << 3 | 1 << 1 | last).to_le_bytes();
            let again = [block(0)[0], block(0)[1], block(0)[2], 0];
            let count = usize::try_from(size / (128 << 10)).unwrap();
            file.extend(again.repeat(count));
            file.extend([block(1)[0], block(1)[1], block(1)[2], 0]);
            file
        }
        "br" => brotli_flood(head, times).await,
        _ => {
            let mut file = packed(name, head).await;
            file.extend(packed(name, &vec![0; UNIT]).await.repeat(times));
            file
        }
    }
}

/// Brotli knows no members, but what it makes of the third equal piece it also makes of the fourth.
async fn brotli_flood(head: &[u8], times: usize) -> Vec<u8> {
    let zeros = vec![0; UNIT];
    let mut encoder = BrotliEncoder::with_quality(Cursor::new(Vec::new()), Level::Precise(2));
    let mut lengths = Vec::new();
    for piece in [head, &zeros, &zeros, &zeros] {
        encoder.write_all(piece).await.unwrap();
        encoder.flush().await.unwrap();
        lengths.push(encoder.get_ref().get_ref().len());
    }
    let whole = encoder.into_inner().into_inner();
    let unit = whole[lengths[2]..lengths[3]].to_vec();
    let mut file = whole[..lengths[3]].to_vec();
    file.extend(unit.repeat(times));
    // An empty last metablock.
    file.push(0x03);
    file
}

/// The beginning of a NAR with one file of this length.
pub fn nar_head(size: u64) -> Vec<u8> {
    let mut head = nar::archive(&nar::strings(&[b"(", b"type", b"regular", b"contents"]));
    head.extend(size.to_le_bytes());
    head
}

/// One frame of zstd with a window of 2^27 bytes, the largest that Nix takes.
pub async fn wide_zstd(bytes: &[u8]) -> Vec<u8> {
    use async_compression::zstd::CParameter;
    let mut out = Cursor::new(Vec::new());
    let parameters = [CParameter::window_log(27), CParameter::enable_long_distance_matching(true)];
    let mut encoder = ZstdEncoder::with_quality_and_params(&mut out, Level::Precise(1), &parameters);
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    out.into_inner()
}

/// Makes an xz file ask for another dictionary: 40 stands for 4 GiB, 30 for 128 MiB.
pub fn set_xz_dictionary(file: &mut [u8], size: u8) {
    // The stream's header has 12 bytes; the block's then has its size, flags, filter, length of properties, and this.
    assert_eq!(file[12..16], [2, 0, 0x21, 1]);
    file[16] = size;
    let sum = crc32(&file[12..20]);
    file[20..24].copy_from_slice(&sum.to_le_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}
