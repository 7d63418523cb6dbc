//! Pushes like the cachix client, from the command line: real store paths with their closure, or made-up ones.
//! Prints one JSON line per pushed path.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use iglu_end2end::cachix::{Client, Object, Profile, PushOptions, Signer, wire};
use iglu_end2end::nix::Nix;

/// An emulator of the cachix client, for tests.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Push store paths with everything they need.
    Push {
        /// Address of the server, as the client's --host.
        #[arg(long)]
        host: String,
        /// Token; without one the push is anonymous.
        #[arg(long, env = "CACHIX_AUTH_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// Name of the cache.
        #[arg(long)]
        cache: String,
        /// Store paths.
        #[arg(required_unless_present = "synthetic")]
        paths: Vec<String>,
        /// Push this many made-up paths instead; each refers to the one before it.
        #[arg(long)]
        synthetic: Option<u64>,
        /// Bytes of content of each made-up path.
        #[arg(long, default_value_t = 4096)]
        size: u64,
        /// Makes the made-up paths differ from those of other runs.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// File with the client's own signing key.
        #[arg(long)]
        signing_key: Option<PathBuf>,
        /// Compression; what the cache prefers unless given.
        #[arg(long)]
        compression: Option<Compression>,
        /// Bytes per part.
        #[arg(long, default_value_t = 32 * 1024 * 1024)]
        chunk_size: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    Zstd,
    Xz,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Push { host, token, cache, paths, synthetic, size, seed, signing_key, compression, chunk_size } =
        Args::parse().command;
    let mut objects: Vec<Object> = Vec::new();
    if let Some(count) = synthetic {
        for i in 0..count {
            let object =
                Object::synthetic(&format!("synthetic-{i}"), size, seed.wrapping_mul(1_000_000).wrapping_add(i));
            let object = match objects.last() {
                Some(before) => object.referring_to(&before.path),
                None => object,
            };
            objects.push(object);
        }
    }
    for path in &paths {
        for info in Nix::new()?.closure(path).await? {
            if objects.iter().all(|object| object.path != info.path) {
                objects.push(Object::stored(&info));
            }
        }
    }
    let signer = match signing_key {
        Some(file) => {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            Some(Signer::parse(&text)?)
        }
        None => None,
    };
    let options = PushOptions {
        compression: compression.map(|compression| match compression {
            Compression::Zstd => wire::Compression::Zstd,
            Compression::Xz => wire::Compression::Xz,
        }),
        signer,
        ..PushOptions::default()
    };
    let client = Client::new(Profile::v1_11_1().with_chunk_size(chunk_size), &host, token.as_deref());
    let report = client.push(&cache, &objects, &options).await?;
    for pushed in &report.pushed {
        println!("{}", serde_json::to_string(pushed)?);
    }
    eprintln!("{} of {} paths pushed to {cache}", report.pushed.len(), objects.len());
    Ok(())
}
