//! What `deploy/` holds, held against the programs that would read it, as far as they are here.

#![allow(clippy::unwrap_used)]

mod chart;
mod containers;
mod nixos;
mod prometheus;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a program in the project's folder; its output, and whether it succeeded.
fn run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    (output.status.success(), said(&output))
}
