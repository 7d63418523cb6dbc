//! What no view may contain, read from the sources.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn nowhere(forbidden: &str, why: &str) {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 30, "the sources were not found");
    for (path, text) in found {
        assert!(!text.contains(forbidden), "{path} contains {forbidden:?}: {why}");
    }
}

#[test]
fn text_areas_are_not_written_as_views() {
    nowhere("<textarea", "Leptos 0.8 does not escape a text area's children when it renders on the server");
}

#[test]
fn nothing_is_styled_inline() {
    nowhere(" style=", "the pages' policy refuses style attributes");
}

#[test]
fn no_markup_is_taken_from_text() {
    nowhere("inner_html", "it would not be escaped");
}

#[test]
fn titles_are_texts() {
    nowhere("<Title text=move", "the text is read after the page's reactive values are gone, and the page then fails");
}
