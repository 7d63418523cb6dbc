//! The calls of the API, one method each.

use http::Method;
use tokio::io::AsyncRead;

use super::client::Call;
use super::retry::Kind;
use super::{Client, Error, Upload, wire};

/// What `doctor` finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doctor {
    /// The cache's record.
    pub cache: wire::Cache,
    /// Whether the cache has the path that was asked about, if one was.
    pub present: Option<bool>,
}

impl Client {
    /// getCache.
    pub async fn cache(&self, name: &str) -> Result<wire::Cache, Error> {
        self.json(Call::new("getCache", Method::GET), &format!("cache/{name}"), None::<&()>).await
    }

    /// The bulk query: which of these hash parts the cache has not. In pieces, one after the other, where the release
    /// makes pieces.
    pub async fn missing(&self, cache: &str, hashes: &[String]) -> Result<Vec<String>, Error> {
        let Some(size) = self.profile.bulk_chunk else { return self.missing_once(cache, hashes).await };
        let mut missing = Vec::new();
        for chunk in hashes.chunks(size) {
            missing.extend(self.missing_once(cache, chunk).await?);
        }
        Ok(missing)
    }

    /// One bulk query with exactly these texts, even none.
    pub async fn missing_once(&self, cache: &str, hashes: &[String]) -> Result<Vec<String>, Error> {
        let call = Call::new("narinfo bulk", Method::POST).repeated_as(Kind::Bulk);
        self.json(call, &format!("cache/{cache}/narinfo"), Some(&hashes)).await
    }

    /// Whether the cache has a path, asked for by its hash part.
    pub async fn head_narinfo(&self, cache: &str, hash: &str) -> Result<bool, Error> {
        let call = Call::new("narinfo head", Method::HEAD);
        match self.reply(&call, &format!("cache/{cache}/{hash}.narinfo"), None::<&()>).await {
            Ok(_) => Ok(true),
            Err(Error::Status { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `doctor`: the cache's record, and whether it has the path with this hash part.
    pub async fn doctor(&self, cache: &str, hash: Option<&str>) -> Result<Doctor, Error> {
        let record = self.cache(cache).await?;
        let present = match hash {
            Some(hash) => Some(self.missing_once(cache, &[hash.to_owned()]).await?.is_empty()),
            None => None,
        };
        Ok(Doctor { cache: record, present })
    }

    /// Begins an upload.
    pub async fn create(&self, cache: &str, compression: wire::Compression) -> Result<wire::Created, Error> {
        let call = self.upload_call("create", cache, Kind::Single);
        let path = format!("cache/{cache}/multipart-nar?compression={}", compression.query());
        self.json(call, &path, None::<&()>).await
    }

    /// Asks where a part goes.
    pub async fn part(
        &self,
        cache: &str,
        upload: &wire::Created,
        number: u32,
        content_md5: &str,
    ) -> Result<wire::PartCreated, Error> {
        let call = self.upload_call("part", cache, Kind::Upload);
        let (id, upload_id) = (&upload.nar_id.0, escape(&upload.upload_id));
        let path = format!("cache/{cache}/multipart-nar/{id}?uploadId={upload_id}&partNumber={number}");
        self.json(call, &path, Some(&wire::PartCreate { content_md5: content_md5.to_owned() })).await
    }

    /// Ends an upload with the client's claims.
    pub async fn complete(&self, cache: &str, upload: &wire::Created, body: &wire::Complete) -> Result<(), Error> {
        let call = self.upload_call("complete", cache, Kind::Upload);
        let (id, upload_id) = (&upload.nar_id.0, escape(&upload.upload_id));
        let path = format!("cache/{cache}/multipart-nar/{id}/complete?uploadId={upload_id}");
        self.reply(&call, &path, Some(body)).await?;
        Ok(())
    }

    /// Gives an upload up.
    pub async fn abort(&self, cache: &str, upload: &wire::Created) -> Result<(), Error> {
        let call = self.upload_call("abort", cache, Kind::Upload);
        let (id, upload_id) = (&upload.nar_id.0, escape(&upload.upload_id));
        let path = format!("cache/{cache}/multipart-nar/{id}/abort?uploadId={upload_id}");
        self.reply(&call, &path, None::<&()>).await?;
        Ok(())
    }

    /// Before 1.3: sends a compressed NAR without a word about it; gives the reader back, at its end. `nar_size` is
    /// that of the uncompressed NAR and decides about the host.
    pub async fn post_nar<R>(
        &self,
        cache: &str,
        compression: wire::Compression,
        nar_size: u64,
        file: R,
    ) -> Result<R, Error>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        let profile = &self.profile;
        let label = profile.upload_host.label(cache, nar_size, profile.api_host_above);
        let path = match profile.upload {
            Upload::Whole { names_compression: false } => format!("cache/{cache}/nar"),
            _ => format!("cache/{cache}/nar?compression={}", compression.query()),
        };
        self.stream(&Call::new("nar", Method::POST).to(label), &path, file).await
    }

    /// Before 1.3: says what a NAR sent before is: the one with this file hash.
    pub async fn post_narinfo(&self, cache: &str, body: &wire::NarInfoCreate) -> Result<(), Error> {
        let path = format!("cache/{cache}/{}.narinfo", body.store_hash);
        self.reply(&Call::new("narinfo", Method::POST), &path, Some(body)).await?;
        Ok(())
    }

    /// `generate-keypair`: registers a public key, base64 of 32 bytes.
    pub async fn key(&self, cache: &str, public_key: &str) -> Result<(), Error> {
        let body = wire::KeyCreate { public_key: public_key.to_owned() };
        self.reply(&Call::new("key", Method::POST), &format!("cache/{cache}/key"), Some(&body)).await?;
        Ok(())
    }

    /// `pin`.
    pub async fn pin(&self, cache: &str, pin: &wire::Pin) -> Result<(), Error> {
        self.reply(&Call::new("pin", Method::POST), &format!("cache/{cache}/pin"), Some(pin)).await?;
        Ok(())
    }

    /// The pins of a cache. No release has a command for it; scripts ask.
    pub async fn pins(&self, cache: &str) -> Result<Vec<wire::Pinned>, Error> {
        self.json(Call::new("pins", Method::GET), &format!("cache/{cache}/pin"), None::<&()>).await
    }

    /// A call that goes where the release uploads to.
    fn upload_call(&self, name: &'static str, cache: &str, kind: Kind) -> Call {
        let label = self.profile.upload_host.label(cache, 0, self.profile.api_host_above);
        Call::new(name, Method::POST).repeated_as(kind).to(label)
    }
}

/// Percent-encodes everything but unreserved characters.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}
