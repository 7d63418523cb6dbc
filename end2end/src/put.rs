//! Pushing one store path by hand the way `nix copy` does, so that a test can spoil any single thing about it.
//! Holds whole NARs in memory: for small ones.

use async_compression::tokio::bufread::{
    BrotliDecoder, BrotliEncoder, BzDecoder, BzEncoder, GzipDecoder, GzipEncoder, XzDecoder, XzEncoder, ZstdDecoder,
    ZstdEncoder,
};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::digest;
use crate::http::{Credentials, Http, Reply};

/// Compresses in memory; `name` is as in the narinfo's `Compression`.
pub async fn compress(name: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    match name {
        "none" => Ok(bytes.to_vec()),
        "xz" => all(XzEncoder::new(bytes)).await,
        "zstd" => all(ZstdEncoder::new(bytes)).await,
        "bzip2" => all(BzEncoder::new(bytes)).await,
        "gzip" => all(GzipEncoder::new(bytes)).await,
        "br" => all(BrotliEncoder::new(bytes)).await,
        _ => anyhow::bail!("no compressor for {name}"),
    }
}

/// Decompresses in memory, across all members of the stream; knows each compression that Nix writes and tests use.
pub async fn decompress(name: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    match name {
        "none" => Ok(bytes.to_vec()),
        "xz" => {
            let mut decoder = XzDecoder::new(bytes);
            decoder.multiple_members(true);
            all(decoder).await
        }
        "zstd" => {
            let mut decoder = ZstdDecoder::new(bytes);
            decoder.multiple_members(true);
            all(decoder).await
        }
        "gzip" => {
            let mut decoder = GzipDecoder::new(bytes);
            decoder.multiple_members(true);
            all(decoder).await
        }
        "bzip2" => {
            let mut decoder = BzDecoder::new(bytes);
            decoder.multiple_members(true);
            all(decoder).await
        }
        "br" => all(BrotliDecoder::new(bytes)).await,
        _ => anyhow::bail!("no decompressor for {name}"),
    }
}

async fn all(mut reader: impl AsyncRead + Unpin) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.read_to_end(&mut out).await?;
    Ok(out)
}

/// The lines of a narinfo in order, right or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narinfo(pub Vec<(String, String)>);

impl Narinfo {
    /// Reads an answer of the server, as strictly as clients do: each line is `Key: value`, the last one ends too.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let body = text.strip_suffix('\n').ok_or_else(|| anyhow::anyhow!("the last line does not end: {text:?}"))?;
        let line = |line: &str| {
            let (key, value) =
                line.split_once(": ").ok_or_else(|| anyhow::anyhow!("not a line of a narinfo: {line:?}"))?;
            anyhow::ensure!(!line.contains('\r'), "carriage return in {line:?}");
            Ok((key.to_owned(), value.to_owned()))
        };
        Ok(Self(body.split('\n').map(line).collect::<anyhow::Result<_>>()?))
    }

    /// The first value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub fn all(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
    }

    /// Sets a field, adding it at the end if it is not there.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => value.clone_into(old),
            None => return self.and(key, value),
        }
        self
    }

    /// Adds a line, even if the field is already there.
    pub fn and(mut self, key: &str, value: &str) -> Self {
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Removes a field.
    pub fn without(mut self, key: &str) -> Self {
        self.0.retain(|(name, _)| name != key);
        self
    }

    /// The text to send.
    pub fn text(&self) -> String {
        self.0.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
    }
}

/// A store path with its NAR, compressed file and truthful narinfo.
#[derive(Debug, Clone)]
pub struct Draft {
    /// `/nix/store/HASH-NAME`.
    pub path: String,
    /// The uncompressed NAR.
    pub nar: Vec<u8>,
    /// The bytes to send.
    pub file: Vec<u8>,
    /// The name to send them under: `nar/HASH.nar.EXT`.
    pub url: String,
    /// What is true of all that.
    pub narinfo: Narinfo,
}

impl Draft {
    /// A path that no build made. `references` are store paths.
    pub async fn new(
        name: &str,
        seed: u64,
        nar: Vec<u8>,
        compression: &str,
        references: &[&str],
    ) -> anyhow::Result<Self> {
        let file = compress(compression, &nar).await?;
        Ok(Self::of(digest::made_up_path(name, seed), nar, file, compression, references))
    }

    /// A path of which everything is given.
    pub fn of(path: String, nar: Vec<u8>, file: Vec<u8>, compression: &str, references: &[&str]) -> Self {
        let extension = match compression {
            "xz" => ".xz",
            "zstd" => ".zst",
            "bzip2" => ".bz2",
            _ => "",
        };
        let file_hash = digest::sha256_nix32(&file);
        let url = format!("nar/{file_hash}.nar{extension}");
        let mut references: Vec<&str> = references.iter().map(|path| digest::base_name(path)).collect();
        references.sort_unstable();
        let fields = [
            ("StorePath", path.clone()),
            ("URL", url.clone()),
            ("Compression", compression.to_owned()),
            ("FileHash", format!("sha256:{file_hash}")),
            ("FileSize", file.len().to_string()),
            ("NarHash", format!("sha256:{}", digest::sha256_nix32(&nar))),
            ("NarSize", nar.len().to_string()),
            ("References", references.join(" ")),
        ];
        let narinfo = Narinfo(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        Self { path, nar, file, url, narinfo }
    }

    /// The 32 characters that its narinfo is named by.
    pub fn hash(&self) -> &str {
        digest::hash_part(&self.path)
    }

    /// What clients verify: the text that signatures cover.
    pub fn fingerprint(&self) -> String {
        let field = |name: &str| self.narinfo.get(name).unwrap_or_default();
        let references: Vec<String> =
            field("References").split_ascii_whitespace().map(|base| format!("/nix/store/{base}")).collect();
        format!("1;{};{};{};{}", self.path, field("NarHash"), field("NarSize"), references.join(","))
    }
}

/// Puts drafts into one cache.
#[derive(Debug, Clone)]
pub struct Putter {
    /// Shared connections.
    pub http: Http,
    /// The cache's base URL, without a slash at the end.
    pub cache: String,
    /// What each request carries.
    pub credentials: Credentials,
}

impl Putter {
    /// A putter with connections of its own, that sends the token as netrc would.
    pub fn new(cache: &str, token: &str) -> Self {
        let credentials = Credentials::Basic("anyone".to_owned(), token.to_owned());
        Self { http: Http::new(), cache: cache.trim_end_matches('/').to_owned(), credentials }
    }

    /// The URL of a file of this cache.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.cache)
    }

    /// PUT of any file.
    pub async fn put(&self, name: &str, media_type: &str, body: Vec<u8>) -> anyhow::Result<Reply> {
        self.http.call(Method::PUT, &self.url(name), &self.credentials, &[("content-type", media_type)], body).await
    }

    /// GET with the same credentials.
    pub async fn get(&self, name: &str) -> anyhow::Result<Reply> {
        self.http.call(Method::GET, &self.url(name), &self.credentials, &[], Vec::new()).await
    }

    /// PUT of the draft's file.
    pub async fn put_file(&self, draft: &Draft) -> anyhow::Result<Reply> {
        self.put(&draft.url, "application/x-nix-nar", draft.file.clone()).await
    }

    /// PUT of a narinfo for the draft's hash part.
    pub async fn put_narinfo(&self, draft: &Draft, narinfo: &Narinfo) -> anyhow::Result<Reply> {
        self.put(&format!("{}.narinfo", draft.hash()), "text/x-nix-narinfo", narinfo.text().into_bytes()).await
    }

    /// File and narinfo; fails unless both were taken.
    pub async fn push(&self, draft: &Draft) -> anyhow::Result<()> {
        for reply in [self.put_file(draft).await?, self.put_narinfo(draft, &draft.narinfo).await?] {
            anyhow::ensure!(matches!(reply.status.as_u16(), 200 | 201 | 204), "{}: {}", reply.status, reply.text());
        }
        Ok(())
    }

    /// The narinfo that the cache serves, or `None` where it answers 404.
    pub async fn narinfo(&self, hash: &str) -> anyhow::Result<Option<Narinfo>> {
        let reply = self.get(&format!("{hash}.narinfo")).await?;
        match reply.status.as_u16() {
            200 => Ok(Some(Narinfo::parse(&reply.text())?)),
            404 => Ok(None),
            status => anyhow::bail!("GET {hash}.narinfo: {status}: {}", reply.text()),
        }
    }

    /// Downloads what a narinfo points to and checks every number of it, as no client does in full.
    pub async fn check(&self, narinfo: &Narinfo) -> anyhow::Result<Vec<u8>> {
        let field = |name: &str| narinfo.get(name).ok_or_else(|| anyhow::anyhow!("narinfo without {name}"));
        let reply = self.get(field("URL")?).await?;
        anyhow::ensure!(reply.status == 200, "GET {}: {}", field("URL")?, reply.status);
        let same = |what: &str, found: String, told: &str| {
            anyhow::ensure!(found == told, "{what} of {} is {found}, told {told}", field("StorePath")?);
            Ok(())
        };
        same("file size", reply.body.len().to_string(), field("FileSize")?)?;
        same("file hash", format!("sha256:{}", digest::sha256_nix32(&reply.body)), field("FileHash")?)?;
        let nar = decompress(field("Compression")?, &reply.body).await?;
        same("NAR size", nar.len().to_string(), field("NarSize")?)?;
        same("NAR hash", format!("sha256:{}", digest::sha256_nix32(&nar)), field("NarHash")?)?;
        Ok(nar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drafts_are_truthful() {
        let nar = crate::nar::archive(&crate::nar::regular(b"hello\n"));
        for compression in ["none", "xz", "zstd"] {
            let draft = Draft::new("hello", 1, nar.clone(), compression, &[]).await.unwrap();
            assert_eq!(decompress(compression, &draft.file).await.unwrap(), nar);
            assert_eq!(Narinfo::parse(&draft.narinfo.text()).unwrap(), draft.narinfo);
            assert!(draft.narinfo.text().ends_with("References: \n"));
            assert!(draft.fingerprint().ends_with(";120;"));
        }
    }

    #[test]
    fn narinfos_of_bad_form_are_refused() {
        for bad in ["A: b", "A: b\r\n", "A:b\n", "References:\n", "A: b\n\nC: d\n"] {
            assert!(Narinfo::parse(bad).is_err(), "{bad:?}");
        }
    }
}
