//! Pushing in one request, as the attic protocol does: the NAR comes unpacked, and is put to the proof and compressed as it arrives.

use super::{
    Claim, Found, NarFile, Publish, Published, Pushes,
    proof::{Contents, Proof, Refusal},
};
use crate::{
    blob::{Kind, Writing, Written, in_blocks},
    caller::Caller,
    codec::Encoder,
    directory::Cache,
    error::{Error, Result},
};
use bytes::Bytes;
use futures_util::Stream;
use iglu_api::cache::PreferredCompression;
use nix_compat::compression::Compression;
use std::{io::ErrorKind, sync::Arc};

/// What became of a NAR that came whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    pub published: Published,
    /// Whether these bytes were here already, under this or another path.
    pub is_deduplicated: bool,
    /// Bytes of the compressed file that this request added.
    pub file_size: Option<u64>,
}

impl Pushes<'_> {
    /// Publishes the path that `claim` describes from its NAR. The whole body is read even where the NAR is here already: knowing
    /// a hash is no proof of having the bytes.
    pub async fn nar_stream<S>(&self, caller: &Caller, cache: &Arc<Cache>, claim: Claim, body: S) -> Result<Streamed>
    where
        S: Stream<Item = Result<Bytes>> + Unpin,
    {
        let core = self.0;
        core.storage_remembered()?;
        let allowed = cache.upload_limit(core.limits.nar_file_bytes)?;
        let stored = core.nar_is_stored(&claim.nar_hash).await?;
        let (compression, encoder) = match cache.compression {
            _ if stored => (Compression::None, None),
            PreferredCompression::Zstd => (Compression::Zstd, Some(Encoder::zstd(core.blob.begin(allowed)?))),
            PreferredCompression::Xz => (Compression::Xz, Some(Encoder::xz(core.blob.begin(allowed)?))),
        };
        let too_large = format!(
            "the file of {} has more than the {allowed} bytes that are allowed in cache \"{}\"",
            claim.store_path, cache.name
        );
        let taking = Taking { proof: Proof::new(claim.clone()), encoder, too_large: too_large.clone() };
        crate::failpoint::reach("stream.begun");
        // The proof knows how long the NAR may be.
        let taking = in_blocks(body, u64::MAX, taking, |taking, block| taking.feed(block)).await;
        let taking = taking.map_err(|error| match error {
            Error::Invalid { message, .. } => self.refused(message),
            error => error,
        })?;
        core.totals.push_bytes.add(claim.nar_size);
        let finished = tokio::task::spawn_blocking(move || taking.finish()).await?;
        let (contents, written) = finished.map_err(|refusal| match refusal {
            Refusal::Storage(error) if error.kind() == ErrorKind::FileTooLarge => Error::TooLarge(too_large),
            refusal => self.refusal(refusal),
        })?;
        crate::failpoint::reach("stream.finished");

        let mut found = Found { file: None, contents };
        if let Some(written) = written {
            found.file = Some(NarFile { hash: written.file_hash, size: written.size, compression });
            core.file_publish(Kind::Nar, written.scratch.path(), &written.file_hash, written.size).await?;
        }
        let file_size = found.file.map(|file| file.size);
        let (core, cache, by) = (core.clone(), cache.clone(), super::pushed_by(caller));
        // The work goes on when the client hangs up: what the database has, memory must learn.
        let published = tokio::spawn(async move {
            let publish =
                Publish { cache: &cache, claim: &claim, found: &found, pushed_by: &by, upload_id: None, hold: true };
            core.push().publish(&publish).await
        })
        .await??;
        Ok(Streamed { published, is_deduplicated: stored, file_size })
    }
}

/// A NAR on its way in.
struct Taking {
    proof: Proof,
    encoder: Option<Encoder<Writing>>,
    /// What is said where the packed file becomes too large.
    too_large: String,
}

impl Taking {
    fn feed(&mut self, block: &[u8]) -> Result<()> {
        self.proof.feed(block).map_err(|refusal| match refusal {
            Refusal::Claim(message) => Error::Invalid { field: "", message },
            Refusal::Storage(error) => Error::storage(error),
        })?;
        match &mut self.encoder {
            Some(encoder) => encoder.feed(block).map_err(|error| match error.kind() {
                ErrorKind::FileTooLarge => Error::TooLarge(self.too_large.clone()),
                _ => Error::storage(error),
            }),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<(Contents, Option<Written>), Refusal> {
        let contents = self.proof.finish()?;
        let written = match self.encoder {
            Some(encoder) => {
                let writing = encoder.finish().map_err(Refusal::Storage)?;
                Some(writing.finish())
            }
            None => None,
        };
        Ok((contents, written))
    }
}
