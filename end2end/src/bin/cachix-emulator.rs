//! Acts like the cachix client of any release, from the command line: pushes real store paths with their closure, or
//! made-up ones, and makes the calls besides. Prints one JSON line per pushed path.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use iglu_end2end::cachix::wire::{self, Keep, Pin};
use iglu_end2end::cachix::{Client, Profile, PushOptions, Signer};
use iglu_end2end::nix::Nix;
use iglu_end2end::object::Object;

/// An emulator of the cachix client, for tests.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Command,
}

/// Who asks whom.
#[derive(clap::Args)]
struct Server {
    /// Address of the server, as the client's --host.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080")]
    host: String,
    /// IP and port at which every host name is reached, as if DNS said so.
    #[arg(long, global = true)]
    reach: Option<String>,
    /// Token; without one the call is anonymous.
    #[arg(long, global = true, env = "CACHIX_AUTH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Name of the cache.
    #[arg(long, global = true, default_value = "main")]
    cache: String,
    /// Which release to act like.
    #[arg(long, global = true, default_value = "1.11.1")]
    release: Profile,
}

#[derive(Subcommand)]
enum Command {
    /// Push store paths with everything they need.
    Push(Push),
    /// Register a public key, base64 of 32 bytes.
    Key {
        /// The key.
        public_key: String,
    },
    /// Pin a store path.
    Pin {
        /// The pin's name.
        name: String,
        /// The store path.
        path: String,
        /// A file inside it.
        #[arg(long)]
        artifact: Vec<String>,
        /// Keep revisions of so many days.
        #[arg(long, group = "keep")]
        keep_days: Option<u64>,
        /// Keep so many revisions.
        #[arg(long, group = "keep")]
        keep_revisions: Option<u64>,
        /// Keep all revisions.
        #[arg(long, group = "keep")]
        keep_forever: bool,
    },
    /// List pins.
    Pins,
    /// Show the cache, and whether it has a path.
    Doctor {
        /// Hash part of a store path.
        hash: Option<String>,
    },
}

#[derive(clap::Args)]
struct Push {
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
    /// Bytes per part; those of the release unless given.
    #[arg(long)]
    chunk_size: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    Zstd,
    Xz,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { server: Server { host, reach, token, cache, release }, command } = Args::parse();
    let mut client = Client::new(release, &host, token.as_deref());
    if let Some(address) = reach {
        client = client.reaching(&address)?;
    }
    match command {
        Command::Push(args) => push(client, &cache, args).await?,
        Command::Key { public_key } => client.key(&cache, &public_key).await?,
        Command::Pin { name, path, artifact, keep_days, keep_revisions, keep_forever } => {
            let keep = keep_days
                .map(Keep::Days)
                .or(keep_revisions.map(Keep::Revisions))
                .or(keep_forever.then_some(Keep::Forever));
            client.pin(&cache, &Pin { name, store_path: path, artifacts: artifact, keep }).await?;
        }
        Command::Pins => {
            for pin in client.pins(&cache).await? {
                println!("{} {}", pin.last_revision.store_path, pin.name);
            }
        }
        Command::Doctor { hash } => println!("{:#?}", client.doctor(&cache, hash.as_deref()).await?),
    }
    Ok(())
}

async fn push(mut client: Client, cache: &str, args: Push) -> anyhow::Result<()> {
    let mut objects: Vec<Object> = Vec::new();
    for i in 0..args.synthetic.unwrap_or(0) {
        let seed = args.seed.wrapping_mul(1_000_000).wrapping_add(i);
        let object = Object::synthetic(&format!("synthetic-{i}"), args.size, seed);
        let object = match objects.last() {
            Some(before) => object.referring_to(&before.path),
            None => object,
        };
        objects.push(object);
    }
    for path in &args.paths {
        for info in Nix::new()?.closure(path).await? {
            if objects.iter().all(|object| object.path != info.path) {
                objects.push(Object::stored(&info));
            }
        }
    }
    let signer = match args.signing_key {
        Some(file) => {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            Some(Signer::parse(&text)?)
        }
        None => None,
    };
    let options = PushOptions {
        compression: args.compression.map(|compression| match compression {
            Compression::Zstd => wire::Compression::Zstd,
            Compression::Xz => wire::Compression::Xz,
        }),
        signer,
        ..PushOptions::default()
    };
    if let Some(size) = args.chunk_size {
        client.profile.chunk_size = size;
    }
    let report = client.push(cache, &objects, &options).await?;
    for pushed in &report.pushed {
        println!("{}", serde_json::to_string(pushed)?);
    }
    eprintln!("{} of {} paths pushed to {cache}", report.pushed.len(), objects.len());
    Ok(())
}
