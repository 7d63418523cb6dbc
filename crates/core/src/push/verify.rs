//! Reads staged files back and puts what was claimed of them to the proof: file hash and size, and the NAR inside. One pass, fixed
//! memory, off the async threads.

use super::{
    Claim, Found, NarFile, Pushes,
    proof::{Contents, Proof, Refusal},
};
use crate::{blob::Source, codec, error::Result};
use nix_compat::nixhash::Sha256;
use sha2::Digest;
use std::{
    collections::VecDeque,
    fmt::Display,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

const READ_SIZE: usize = 128 * 1024;
/// Bytes that a file may have beyond its NAR and an eighth of it, for the frames of codecs.
const LARGEST_SURPLUS: u64 = 64 << 10;
/// Bytes that a NAR may have: a small file can unpack for hours, and meanwhile others wait for their turn.
const LARGEST_NAR: u64 = 1 << 40;

impl Pushes<'_> {
    /// Reads `parts` in order and checks them against `claim`. With `assembled`, their bytes are also written to that one
    /// file.
    pub(super) async fn verify(&self, claim: &Claim, parts: Vec<Source>, assembled: Option<PathBuf>) -> Result<Found> {
        let claim = claim.clone();
        let permit = self.0.verify_permits.clone().acquire_owned().await;
        let found = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            verify(&claim, parts, assembled.as_deref())
        });
        found.await?.map_err(|refusal| self.refusal(refusal))
    }
}

fn verify(claim: &Claim, parts: Vec<Source>, assembled: Option<&Path>) -> Result<Found, Refusal> {
    check_sizes(claim, &parts)?;
    let copy = match assembled {
        Some(path) => Some(File::create(path).map_err(Refusal::Storage)?),
        None => None,
    };
    let mut source = BufReader::with_capacity(READ_SIZE, Parts::new(parts, copy));
    let inspected = inspect(claim, &mut source);
    // A damaged file mostly fails to unpack too: the file hash is the better news, so the rest is read for it.
    io::copy(&mut source, &mut io::sink()).map_err(Refusal::Storage)?;
    let parts = source.into_inner();
    let file_hash = Sha256::from_bytes(parts.digest.finalize().into());
    let file_size = parts.size;

    let path = &claim.store_path;
    if let Some(claimed) = claim.file_size.filter(|claimed| *claimed != file_size) {
        return Err(Refusal::Claim(format!(
            "file size of {path}: {file_size} bytes arrived, {claimed} were announced"
        )));
    }
    if let Some(claimed) = claim.file_hash.filter(|claimed| *claimed != file_hash) {
        return Err(Refusal::Claim(format!("file hash of {path} is {file_hash}, not {claimed} as announced")));
    }
    let contents = inspected?;
    let file = NarFile { hash: file_hash, size: file_size, compression: claim.compression };
    Ok(Found { file: Some(file), contents })
}

/// Bytes that the file of a NAR of `nar_size` bytes may have.
pub(super) fn largest_file(nar_size: u64) -> u64 {
    nar_size.saturating_add(nar_size / 8).saturating_add(LARGEST_SURPLUS)
}

/// What is known before a byte is unpacked. Files are shared with whoever pushes the same NAR: one that is mostly padding would be
/// everybody's burden.
fn check_sizes(claim: &Claim, parts: &[Source]) -> Result<(), Refusal> {
    let mut file_size = 0;
    for part in parts {
        file_size += part.size().map_err(Refusal::Storage)?;
    }
    let Claim { store_path: path, nar_size, .. } = claim;
    if *nar_size > LARGEST_NAR {
        return Err(Refusal::Claim(format!("NAR of {path} is too large: {nar_size} bytes, of at most {LARGEST_NAR}")));
    }
    if file_size > largest_file(*nar_size) {
        return Err(Refusal::Claim(format!("file of {path} is padded: {file_size} bytes for a NAR of {nar_size}")));
    }
    Ok(())
}

fn inspect(claim: &Claim, source: &mut BufReader<Parts>) -> Result<Contents, Refusal> {
    let mut proof = Proof::new(claim.clone());
    let Claim { store_path, compression, .. } = claim;
    let unpackable =
        |why: &dyn Display| Refusal::Claim(format!("file of {store_path} cannot be unpacked as {compression}: {why}"));
    let mut decoder = codec::decoder(*compression, &mut *source)
        .ok_or_else(|| Refusal::Claim(format!("compression {compression} is not taken here; use zstd, xz or none")))?;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let read = decoder.read(&mut buffer).map_err(|error| unpackable(&error))?;
        if read == 0 {
            break;
        }
        proof.feed(&buffer[..read])?;
    }
    drop(decoder);
    // A codec of one member stops at its end, whatever stands behind it.
    if !source.fill_buf().map_err(Refusal::Storage)?.is_empty() {
        return Err(unpackable(&"more stands behind its end"));
    }
    proof.finish()
}

/// The parts of an upload as one stream, hashed and perhaps copied as they are read.
struct Parts {
    waiting: VecDeque<Source>,
    current: Option<Box<dyn Read + Send>>,
    copy: Option<File>,
    digest: sha2::Sha256,
    size: u64,
}

impl Parts {
    fn new(parts: Vec<Source>, copy: Option<File>) -> Parts {
        Parts { waiting: parts.into(), current: None, copy, digest: sha2::Sha256::new(), size: 0 }
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.current {
                let read = file.read(buffer)?;
                if read > 0 {
                    self.digest.update(&buffer[..read]);
                    self.size += read as u64;
                    if let Some(copy) = &mut self.copy {
                        copy.write_all(&buffer[..read])?;
                    }
                    return Ok(read);
                }
            }
            match self.waiting.pop_front() {
                Some(part) => self.current = Some(part.open()?),
                None => return Ok(0),
            }
        }
    }
}
