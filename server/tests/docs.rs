//! What the documents say is so: links lead somewhere, and messages are those that are printed.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files below a folder with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

fn pages() -> Vec<PathBuf> {
    let mut pages = files(&root().join("docs"), "md");
    pages.push(root().join("README.md"));
    assert!(pages.len() > 30, "{}", pages.len());
    pages
}

/// The text outside of blocks of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_fence && !is_code
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where a heading can be jumped to, as forges have it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = prose(&fs::read_to_string(&page).unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} is not there", page.display());
            if !place.is_empty() {
                let text = prose(&fs::read_to_string(&target).unwrap());
                let mut headings = text
                    .lines()
                    .filter_map(|line| line.strip_prefix('#'))
                    .map(|line| line.trim_start_matches('#').trim());
                assert!(
                    headings.any(|heading| anchor(heading) == place),
                    "{}: {link} has no such heading",
                    page.display()
                );
            }
        }
    }
    assert!(links > 80, "{links}");
}

/// What people search for is what is printed: each message that heads an entry of the page stands in the code.
#[test]
fn troubles_are_called_by_their_messages() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let sources = ["crates/core/src", "crates/api/src", "server/src"]
        .into_iter()
        .flat_map(|folder| files(&root().join(folder), "rs"));
    let code: String = sources.map(|path| fs::read_to_string(path).unwrap()).collect();
    let quoted: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("**`")?.split('`').next()).collect();
    assert!(quoted.len() > 10, "{quoted:?}");
    for message in quoted.into_iter().filter(|message| !message.starts_with('/')) {
        // The name of the right is put in while it runs.
        for part in message.split(" with pull ") {
            assert!(code.contains(part), "nothing prints {part:?}");
        }
    }
}
