//! The upload of one store path: metadata in a header or before the NAR, and the NAR itself as a stream without length.

use std::io::Cursor;

use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::wire::{NarInfo, UploadResult};
use super::{Client, Error, Faults, Flavour};
use crate::body::{Broken, streamed};
use crate::digest;
use crate::object::Object;

/// Metadata of this many bytes and more goes before the NAR, since servers limit their headers.
const HEADER_LIMIT: usize = 4096;

/// Where the metadata goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preamble {
    /// Before the NAR if it is long, otherwise into the header.
    #[default]
    IfLong,
    /// Always before the NAR, as by the client's `--force-preamble`.
    Always,
}

type Stream = Box<dyn AsyncRead + Send + Unpin>;

impl Client {
    /// upload-path, whether or not the cache has it. The NAR is read twice: hash and size go before it. `None` where
    /// the answer has no body that the client could show.
    pub async fn upload_path(
        &self,
        cache: &str,
        object: &Object,
        preamble: Preamble,
        faults: &Faults,
    ) -> Result<Option<UploadResult>, Error> {
        let broken = |cause: std::io::Error| Error::Nar { path: object.path.clone(), cause: cause.to_string() };
        let (sha256, size) = object.measure().await.map_err(broken)?;
        let info = claims(self.flavour, cache, object, sha256, size, faults);
        let nar = spoilt(Box::new(object.nar.open().map_err(broken)?), faults);
        self.upload_stream(&info, nar, preamble, faults).await
    }

    /// upload-path with anything as metadata and anything as NAR.
    pub async fn upload_stream(
        &self,
        info: &NarInfo,
        nar: impl AsyncRead + Send + Unpin + 'static,
        preamble: Preamble,
        faults: &Faults,
    ) -> Result<Option<UploadResult>, Error> {
        let call = "upload-path";
        let cause = |error: serde_json::Error| Error::Decode { call, cause: error.to_string() };
        let json = serde_json::to_string(info).map_err(cause)?;
        let request = self.request(Method::PUT, "_api/v1/upload-path");
        let announced = announced(json.len(), preamble, faults);
        // JSON may have characters beyond ASCII, which a header carries as the bytes that they are.
        let (request, body) = match announced {
            Some(size) => {
                let whole = Cursor::new(json.into_bytes()).chain(nar);
                (request.header(self.flavour.preamble_header(), size), streamed(whole).0)
            }
            None => (request.header(self.flavour.nar_info_header(), json.as_bytes()), streamed(nar).0),
        };
        let reply = self.send(call, request, body).await?;
        Ok(serde_json::from_slice(&reply.body).ok())
    }
}

/// The value of the preamble's header, or `None` where the metadata goes into a header itself.
fn announced(len: usize, preamble: Preamble, faults: &Faults) -> Option<String> {
    if let Some(text) = &faults.preamble_size {
        return Some(text.clone());
    }
    let needed = len >= HEADER_LIMIT || preamble == Preamble::Always || faults.preamble_off_by != 0;
    needed.then(|| (len as u64).saturating_add_signed(faults.preamble_off_by).to_string())
}

/// What the client says about a path, spoilt as the switches say.
fn claims(flavour: Flavour, cache: &str, object: &Object, sha256: [u8; 32], size: u64, faults: &Faults) -> NarInfo {
    let mut sha256 = sha256;
    if faults.wrong_nar_hash {
        sha256[7] ^= 1;
    }
    NarInfo {
        cache: cache.to_owned(),
        store_path_hash: object.hash().to_owned(),
        store_path: object.path.clone(),
        references: object.references.clone(),
        system: None,
        deriver: None,
        sigs: object.sigs.clone(),
        ca: object.ca.clone().filter(|_| flavour == Flavour::Attic),
        nar_hash: format!("sha256:{}", digest::hex(&sha256)),
        nar_size: size.saturating_add_signed(faults.nar_size_off_by),
    }
}

fn spoilt(nar: Stream, faults: &Faults) -> Stream {
    match (faults.break_after, faults.end_after) {
        (Some(size), _) => Box::new(nar.take(size).chain(Broken)),
        (None, Some(size)) => Box::new(nar.take(size)),
        (None, None) if faults.extra.is_empty() => nar,
        (None, None) => Box::new(nar.chain(Cursor::new(faults.extra.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_metadata_goes_before_the_nar() {
        let none = Faults::default();
        assert_eq!(announced(4095, Preamble::IfLong, &none), None);
        assert_eq!(announced(4096, Preamble::IfLong, &none).as_deref(), Some("4096"));
        assert_eq!(announced(5, Preamble::Always, &none).as_deref(), Some("5"));
        let lies = |off_by| Faults { preamble_off_by: off_by, ..Faults::default() };
        assert_eq!(announced(300, Preamble::IfLong, &lies(-1)).as_deref(), Some("299"));
        assert_eq!(announced(300, Preamble::IfLong, &lies(-999)).as_deref(), Some("0"));
    }

    #[tokio::test]
    async fn claims_are_true_unless_spoilt() {
        let nar = crate::nar::archive(&crate::nar::regular(b"hello\n"));
        let object = Object { ca: Some("text:x".to_owned()), ..Object::bytes("hello", 1, nar) };
        let (sha256, size) = object.measure().await.unwrap();
        let claimed = |flavour, faults: &Faults| claims(flavour, "main", &object, sha256, size, faults);
        let honest = claimed(Flavour::Attic, &Faults::default());
        let hash = "sha256:1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13";
        assert_eq!((honest.nar_hash.as_str(), honest.nar_size), (hash, 120));
        assert_eq!((honest.ca.as_deref(), claimed(Flavour::Celler, &Faults::default()).ca), (Some("text:x"), None));
        let json = serde_json::to_string(&honest).unwrap();
        assert!(json.contains(r#""references":[],"system":null,"deriver":null,"sigs":[]"#), "{json}");
        let wrong = Faults { wrong_nar_hash: true, nar_size_off_by: -8, ..Faults::default() };
        let wrong = claimed(Flavour::Attic, &wrong);
        assert_eq!((wrong.nar_hash == hash, wrong.nar_size), (false, 112));
    }

    #[tokio::test]
    async fn bodies_are_cut_where_told() {
        let read = |faults: Faults| async move {
            let mut out = Vec::new();
            let ended = spoilt(Box::new(Cursor::new(b"0123456789".to_vec())), &faults).read_to_end(&mut out).await;
            (out, ended.is_ok())
        };
        assert_eq!(read(Faults::default()).await, (b"0123456789".to_vec(), true));
        assert_eq!(read(Faults { end_after: Some(3), ..Faults::default() }).await, (b"012".to_vec(), true));
        assert_eq!(read(Faults { break_after: Some(3), ..Faults::default() }).await, (b"012".to_vec(), false));
        let extra = Faults { extra: b"x".to_vec(), ..Faults::default() };
        assert_eq!(read(extra).await, (b"0123456789x".to_vec(), true));
    }
}
