//! The files that both servers serve: pushed to Iglu, then written below a folder exactly as Iglu serves them.

use std::path::Path;

use anyhow::Context as _;
use iglu_end2end::digest::{Random, made_up_path};
use iglu_end2end::nar;
use iglu_end2end::put::{Draft, Putter, compress};
use tokio::task::JoinSet;

/// What there is to ask for, relative to a cache's URL.
#[derive(Debug, Default)]
pub struct Files {
    /// `HASH.narinfo` each.
    pub narinfos: Vec<String>,
    /// `nar/…` each.
    pub nars: Vec<String>,
    /// Compressed bytes in all.
    pub nar_bytes: u64,
}

/// Bytes of file content of path number `i`: many small, some middling, few large, as in a real closure.
fn size(i: u64) -> usize {
    match i % 15 {
        0 => 24 * 1024 * 1024,
        1..=4 => 2 * 1024 * 1024,
        _ => 150 * 1024,
    }
}

/// Pushes `count` paths with zstd NARs and writes what Iglu makes of them below `folder`.
pub async fn fill(putter: &Putter, folder: &Path, count: u64) -> anyhow::Result<Files> {
    std::fs::create_dir_all(folder.join("nar"))?;
    let mut files = Files::default();
    let paths: Vec<String> = (0..count).map(|i| made_up_path(&format!("bench-{i}-1.0"), i)).collect();
    let mut running = JoinSet::new();
    for (i, path) in (0..).zip(&paths) {
        // Everything refers to the first eight, which are pushed one by one so that they are there before.
        let references = if i < 8 { Vec::new() } else { paths[..8].to_vec() };
        running.spawn(push(putter.clone(), path.clone(), references, i));
        while running.len() >= if i < 8 { 1 } else { 2 } {
            let Some(done) = running.join_next().await else { break };
            export(putter, &done??, folder, &mut files).await?;
        }
    }
    while let Some(done) = running.join_next().await {
        export(putter, &done??, folder, &mut files).await?;
    }
    Ok(files)
}

async fn push(putter: Putter, path: String, references: Vec<String>, i: u64) -> anyhow::Result<String> {
    let content = [references.join("\n").into_bytes(), Random::new(i).bytes(size(i))].concat();
    let nar = nar::archive(&nar::regular(&content));
    let file = compress("zstd", &nar).await?;
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let draft = Draft::of(path, nar, file, "zstd", &references);
    putter.push(&draft).await.with_context(|| draft.path.clone())?;
    Ok(draft.hash().to_owned())
}

async fn export(putter: &Putter, hash: &str, folder: &Path, files: &mut Files) -> anyhow::Result<()> {
    let narinfo = putter.narinfo(hash).await?.with_context(|| format!("{hash} was pushed and is not there"))?;
    let url = narinfo.get("URL").context("narinfo without URL")?;
    let nar = putter.get(url).await?;
    anyhow::ensure!(nar.status == 200, "GET {url}: {}", nar.status);
    std::fs::write(folder.join(format!("{hash}.narinfo")), narinfo.text())?;
    std::fs::write(folder.join(url), &nar.body)?;
    files.nar_bytes += nar.body.len() as u64;
    files.narinfos.push(format!("{hash}.narinfo"));
    files.nars.push(url.to_owned());
    Ok(())
}
