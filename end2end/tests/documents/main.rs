//! README and `docs/` as somebody follows them: each command is run where it stands, each file is read by the program that it is for, and
//! what cannot be done here says why in its fence (`not-run="…"`).

#![allow(clippy::unwrap_used)]

mod block;
mod files;
mod follow;
mod world;

use block::blocks;

/// Languages of fences, and what becomes of them.
const LANGUAGES: [&str; 13] =
    ["sh", "console", "netrc", "nix.conf", "yaml", "json", "toml", "nginx", "caddyfile", "nix", "ini", "sql", "text"];

#[test]
fn every_block_is_run_or_says_why_not() {
    let blocks = blocks();
    assert!(blocks.len() > 50, "{}", blocks.len());
    let mut drawings = 0;
    for block in &blocks {
        assert!(LANGUAGES.contains(&block.language.as_str()), "{block}: what is \"{}\"?", block.language);
        if let Some(reason) = block.not_run() {
            assert!(reason.len() > 10, "{block}: why is it not run?");
        }
        drawings += usize::from(block.language == "text");
        let is_followed = follow::PAGES.iter().any(|page| page.name == block.page);
        let runs = matches!(block.language.as_str(), "sh" | "console" | "netrc") && block.not_run().is_none();
        assert!(!runs || is_followed, "{block}: nobody follows this page");
    }
    // Synopses and a diagram: nothing that somebody types.
    assert!(drawings <= 3, "{drawings}");
    for page in follow::PAGES {
        assert!(blocks.iter().any(|block| block.page == page.name), "{} has nothing to follow", page.name);
    }
}
