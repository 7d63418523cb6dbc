//! Certificates as a private authority hands them out, made by openssl.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// A key of its own, without a password.
const KEY: [&str; 8] = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days"];

/// Makes `ca.pem` and `ca.key` in the folder.
pub fn authority(folder: &Path) -> anyhow::Result<()> {
    openssl(folder, &[&KEY[..], &["2", "-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem"]].concat())
}

/// Makes `server.pem` and `server.key` for localhost by that authority, good for so many days.
pub fn for_localhost(folder: &Path, days: i32) -> anyhow::Result<()> {
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let days = days.to_string();
    let server = [&days, "-subj", "/CN=localhost", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"];
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem"];
    openssl(folder, &[&KEY[..], &server, &signed].concat())
}

fn openssl(folder: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl").args(args).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.context("cannot start openssl")?;
    if !output.status.success() {
        bail!("openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
