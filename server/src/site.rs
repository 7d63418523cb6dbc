//! The built site: wasm, script, style, fonts. Inside the binary with the feature `embed`, else from the site folder that
//! cargo-leptos fills.

use anyhow::Context;
use bytes::Bytes;
use leptos::prelude::LeptosOptions;
use std::collections::BTreeMap;

/// Leptos' settings for the running server; they are the same wherever it runs, so that no file must be shipped.
const SETTINGS: &str = include_str!("../../Leptos.toml");
const FALLBACK_TYPE: &str = "application/octet-stream";

/// A file in its plain and compressed forms.
#[derive(Clone)]
pub struct File {
    pub bytes: Bytes,
    pub brotli: Option<Bytes>,
    pub gzip: Option<Bytes>,
    pub media_type: &'static str,
}

pub struct Site {
    pub options: LeptosOptions,
    files: BTreeMap<String, File>,
    version: String,
}

impl Site {
    /// Loads all files; a server without its site shows pages that never come alive, so none is an error.
    pub fn load() -> anyhow::Result<Site> {
        let options = leptos::config::get_config_from_str(SETTINGS).context("Leptos.toml")?;
        let mut plain = read_files(&options)?;
        let mut version = blake3::Hasher::new();
        let mut files = BTreeMap::new();
        let names: Vec<String> =
            plain.keys().filter(|name| !name.ends_with(".br") && !name.ends_with(".gz")).cloned().collect();
        for name in names {
            let (brotli, gzip) = (plain.remove(&format!("{name}.br")), plain.remove(&format!("{name}.gz")));
            let Some(bytes) = plain.remove(&name) else { continue };
            version.update(name.as_bytes()).update(&bytes);
            let media_type = media_type(&name);
            files.insert(name, File { bytes, brotli, gzip, media_type });
        }
        let version = version.finalize().to_hex()[..12].to_owned();
        Ok(Site { options, files, version })
    }

    /// Where pages find versioned files.
    pub fn asset_root(&self) -> String {
        format!("/assets/{}", self.version)
    }

    /// A file by its path in the site folder.
    #[cfg(feature = "embed")]
    pub fn asset(&self, path: &str) -> Option<File> {
        self.files.get(path).cloned()
    }

    /// A file by its path in the site folder; read anew each time, since a development build of the style replaces it.
    #[cfg(not(feature = "embed"))]
    pub fn asset(&self, path: &str) -> Option<File> {
        let known = self.files.get(path)?;
        let bytes = std::fs::read(site_folder(&self.options).join(path)).ok()?;
        if bytes == known.bytes {
            Some(known.clone())
        } else {
            Some(File { bytes: bytes.into(), brotli: None, gzip: None, ..*known })
        }
    }

    /// A file that is found at the root: favicon, fonts, robots.txt.
    pub fn public_file(&self, path: &str) -> Option<File> {
        if path.starts_with(&*self.options.site_pkg_dir) { None } else { self.asset(path) }
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("wasm") => "application/wasm",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        Some("png") => "image/png",
        Some("html") => "text/html; charset=utf-8",
        _ => FALLBACK_TYPE,
    }
}

#[cfg(feature = "embed")]
fn read_files(_: &LeptosOptions) -> anyhow::Result<BTreeMap<String, Bytes>> {
    #[derive(rust_embed::RustEmbed)]
    #[folder = "../target/site"]
    struct Embedded;

    let files: BTreeMap<_, _> = Embedded::iter()
        .filter_map(|name| {
            let bytes = match Embedded::get(&name)?.data {
                std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                std::borrow::Cow::Owned(bytes) => bytes.into(),
            };
            Some((name.into_owned(), bytes))
        })
        .collect();
    anyhow::ensure!(!files.is_empty(), "this binary was built before its site");
    Ok(files)
}

/// The workspace's folder for a development build, whatever folder it was started in.
#[cfg(not(feature = "embed"))]
fn site_folder(options: &LeptosOptions) -> std::path::PathBuf {
    std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(&*options.site_root)
}

#[cfg(not(feature = "embed"))]
fn read_files(options: &LeptosOptions) -> anyhow::Result<BTreeMap<String, Bytes>> {
    use std::path::Path;

    fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, Bytes>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                read(root, &path, files)?;
            } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                files.insert(name.to_owned(), std::fs::read(&path)?.into());
            }
        }
        Ok(())
    }

    let root = site_folder(options);
    let mut files = BTreeMap::new();
    if let Err(error) = read(&root, &root, &mut files) {
        tracing::warn!(%error, folder = %root.display(), "no built site; pages are shown without style and script");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    /// cargo-leptos reads one file, the server the other.
    #[test]
    fn both_leptos_sections_are_equal() {
        let section = |text: &str| {
            let value: toml::Value = toml::from_str(text).unwrap();
            value["workspace"]["metadata"]["leptos"].clone()
        };
        let cargo = section(include_str!("../../Cargo.toml"));
        assert_eq!(section(super::SETTINGS), cargo);
        assert!(cargo.as_array().is_some_and(|projects| projects.len() == 1));
    }
}
