//! What becomes of one path or side file of the source: taken, here already, or left out with the reason.

use bytes::Bytes;
use futures_util::StreamExt;
use iglu_core::{Cache, Caller, Core, Error, build_log, push::Published};
use iglu_import::{Broken, Bytestream, Extent, ForeignPath, SideFile, SideKind, Source};
use nix_compat::{
    narinfo::NarInfo,
    realisation::{self, RealisationKey},
    signing::VerifyingKey,
    store_path::StorePath,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Times that a NAR is asked for again whose download broke off.
const RETRIES: u32 = 3;
/// Before it is asked for again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The source does not have it, or says of it what cannot be.
    Source,
    /// Its bytes did not come whole, however often they were asked for.
    Download,
    /// Its bytes are not what the source says, or are not stored here.
    Refused,
    /// None of the keys that are trusted signed it.
    Untrusted,
    /// Something refers to it, and the source does not have it. It may be elsewhere.
    Absent,
    /// The source broke off: nothing is known of the rest.
    Rest,
}

/// What became of a path.
#[derive(Debug)]
pub enum Taken {
    New {
        /// Nobody has signed it for the source.
        is_unsigned: bool,
    },
    Present {
        is_same: bool,
        gained: bool,
    },
    Left {
        what: String,
        why: String,
        reason: Reason,
    },
}

/// What became of a side file.
#[derive(Debug)]
pub enum SideTaken {
    New,
    Present,
    Left { what: String, why: String, is_rest: bool },
}

/// Takes from one source.
#[derive(Clone)]
pub struct Taker {
    pub core: Core,
    pub source: Source,
    pub trusted: Arc<[VerifyingKey]>,
    /// Bytes of NAR files that came.
    pub bytes: Arc<AtomicU64>,
}

impl Taker {
    /// Takes a path as the source listed it. Fails only where going on makes no sense.
    pub async fn path(&self, cache: Arc<Cache>, found: Result<ForeignPath, Broken>) -> Result<Taken, Error> {
        let path = match found {
            Ok(path) => path,
            Err(broken) => {
                let reason = match broken.extent {
                    Extent::One => Reason::Source,
                    Extent::Absent => Reason::Absent,
                    Extent::Rest => Reason::Rest,
                };
                return Ok(Taken::Left { what: broken.what, why: broken.why, reason });
            }
        };
        let narinfo = &path.narinfo;
        let what = narinfo.store_path.to_absolute();
        let left = |why: String, reason| Ok(Taken::Left { what: what.clone(), why, reason });
        if let Some(why) = self.distrust(narinfo) {
            return left(why, Reason::Untrusted);
        }
        match self.core.push().present(&cache, narinfo).await {
            Ok(Some(present)) => return Ok(Taken::Present { is_same: present.is_same, gained: present.gained }),
            Ok(None) => {}
            Err(Error::Invalid { message, .. }) => return left(message, Reason::Refused),
            Err(error) => return Err(error),
        }
        let (mut tries, mut pause) = (0, FIRST_PAUSE);
        loop {
            let body = match self.source.nar(&path).await {
                Ok(body) => self.counted(body),
                Err(broken) => return left(broken.why, Reason::Source),
            };
            match self.core.push().import(&Caller::Operator, &cache, narinfo, body).await {
                Ok(Published::New { .. }) => {
                    let is_unsigned = narinfo.signatures.is_empty() && narinfo.ca.is_none();
                    return Ok(Taken::New { is_unsigned });
                }
                // Somebody pushed it meanwhile.
                Ok(Published::Existing) => return Ok(Taken::Present { is_same: true, gained: false }),
                Err(Error::Interrupted(_)) if tries < RETRIES => {
                    tries += 1;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(Error::Interrupted(why)) => return left(format!("{why}, {} times", tries + 1), Reason::Download),
                Err(Error::Invalid { message, .. } | Error::TooLarge(message)) => {
                    return left(message, Reason::Refused);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Why a path may not come in: none of the trusted keys vouches for it. A content address needs nobody to vouch for it; that it is
    /// true is proven from the bytes.
    fn distrust(&self, narinfo: &NarInfo) -> Option<String> {
        if self.trusted.is_empty() || narinfo.ca.is_some() {
            return None;
        }
        let fingerprint = narinfo.fingerprint();
        let is_good =
            |key: &VerifyingKey| narinfo.signatures.iter().any(|signature| key.verify(&fingerprint, signature));
        if self.trusted.iter().any(is_good) {
            return None;
        }
        let named = |key: &&VerifyingKey| narinfo.signatures.iter().any(|signature| signature.key_name == key.name());
        Some(match self.trusted.iter().find(named) {
            Some(key) => format!("its signature by {} is wrong", key.name()),
            None if narinfo.signatures.is_empty() => "it is not signed".to_owned(),
            None => "no trusted key signed it".to_owned(),
        })
    }

    fn counted(
        &self,
        body: Bytestream,
    ) -> impl futures_util::Stream<Item = Result<Bytes, Error>> + Unpin + Send + use<> {
        let bytes = self.bytes.clone();
        body.map(move |block| {
            let block = block.map_err(|error| Error::Interrupted(one_line(&error.to_string())))?;
            bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
            Ok(block)
        })
    }

    /// Takes a build log or a realisation, unless there is one.
    pub async fn side_file(&self, cache: Arc<Cache>, found: Result<SideFile, Broken>) -> Result<SideTaken, Error> {
        let file = match found {
            Ok(file) => file,
            Err(Broken { what, why, extent }) => {
                return Ok(SideTaken::Left { what, why, is_rest: extent == Extent::Rest });
            }
        };
        let what = format!("{}/{}", file.kind.folder(), file.name);
        let left = |why: String| Ok(SideTaken::Left { what: what.clone(), why, is_rest: false });
        let taken = match file.kind {
            SideKind::BuildLog => match StorePath::parse(&file.name) {
                Ok(drv) => self.log(&cache, &file, &drv).await,
                Err(error) => return left(error.to_string()),
            },
            SideKind::Realisation => match RealisationKey::parse_legacy(&file.name) {
                Ok(key) => self.realisation(&cache, &file, &key).await,
                Err(error) => return left(error.to_string()),
            },
            SideKind::BuildTrace => match RealisationKey::parse_build_trace(&file.name) {
                Ok(key) => self.realisation(&cache, &file, &key).await,
                Err(error) => return left(error.to_string()),
            },
        };
        match taken {
            Ok(true) => Ok(SideTaken::New),
            Ok(false) => Ok(SideTaken::Present),
            Err(Error::Invalid { message, .. } | Error::TooLarge(message) | Error::Interrupted(message)) => {
                left(message)
            }
            Err(error) => Err(error),
        }
    }

    async fn log(&self, cache: &Cache, file: &SideFile, drv: &StorePath) -> Result<bool, Error> {
        if self.core.build_log().get(cache, drv).await?.is_some() {
            return Ok(false);
        }
        let body = self.side_body(file).await?;
        self.core.build_log().put(&Caller::Operator, cache, drv, body).await.map(|()| true).map_err(|error| match error
        {
            Error::TooLarge(_) => Error::TooLarge(format!("it is longer than {} bytes", build_log::LONGEST)),
            error => error,
        })
    }

    async fn realisation(&self, cache: &Cache, file: &SideFile, key: &RealisationKey) -> Result<bool, Error> {
        if self.core.realisation().get(cache, key).await?.is_some() {
            return Ok(false);
        }
        let mut body = self.side_body(file).await?;
        let mut json = Vec::new();
        while let Some(block) = body.next().await.transpose()? {
            json.extend_from_slice(&block);
            if json.len() > realisation::MAX_DOCUMENT_LEN {
                let limit = realisation::MAX_DOCUMENT_LEN;
                return Err(Error::TooLarge(format!("it is longer than {limit} bytes")));
            }
        }
        self.core.realisation().put(&Caller::Operator, cache, key, &json).await.map(|()| true)
    }

    async fn side_body(
        &self,
        file: &SideFile,
    ) -> Result<impl futures_util::Stream<Item = Result<Bytes, Error>> + Unpin + Send + use<>, Error> {
        let body = self.source.side_file(file).await.map_err(|broken| Error::invalid("", broken.why))?;
        Ok(body.map(|block| block.map_err(|error| Error::Interrupted(one_line(&error.to_string())))))
    }
}

/// What a foreign server says may have many lines.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(500).collect()
}
