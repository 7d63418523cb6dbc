//! The fenced blocks of README and `docs/`, decisions aside.

use std::fmt;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The file, from the project's root on.
    pub page: String,
    pub line: usize,
    pub language: String,
    /// What stands behind the language.
    info: String,
    pub text: String,
}

impl Block {
    /// Why it is not run.
    pub fn not_run(&self) -> Option<&str> {
        self.info.strip_prefix("not-run=\"")?.strip_suffix('"')
    }

    /// Whether it goes on for as long as the page is followed.
    pub fn is_background(&self) -> bool {
        self.info == "background"
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.page, self.line)
    }
}

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "adr") {
            pages(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

/// All of them, page by page.
pub fn blocks() -> Vec<Block> {
    let mut found = vec![root().join("README.md")];
    pages(&root().join("docs"), &mut found);
    found.sort();
    found.iter().flat_map(|page| of_page(page)).collect()
}

fn of_page(page: &Path) -> Vec<Block> {
    let name = page.strip_prefix(root()).unwrap().display().to_string();
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in (1..).zip(std::fs::read_to_string(page).unwrap().lines()) {
        let indent = line.len() - line.trim_start().len();
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                let (language, info) = info.split_once(' ').unwrap_or((info, ""));
                let (language, info) = (language.to_owned(), info.to_owned());
                open = Some((indent, Block { page: name.clone(), line: number, language, info, text: String::new() }));
            }
            (Some(_), Some("")) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), _) => {
                block.text += line.get(*indent..).unwrap_or("");
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{name}: a block that does not end");
    blocks
}
