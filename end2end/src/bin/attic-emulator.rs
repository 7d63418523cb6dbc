//! Pushes like the attic client, from the command line: store paths with their closure. Prints one line per path.

use clap::{Parser, Subcommand};
use iglu_end2end::attic::{Client, Preamble, PushOptions};
use iglu_end2end::nix::Nix;
use iglu_end2end::object::Object;

/// An emulator of the attic client, for tests.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Push store paths with everything they need.
    Push {
        /// Address of the server, as given to login: ends in a slash.
        endpoint: String,
        /// Name of the cache.
        cache: String,
        /// Token.
        token: String,
        /// Store paths.
        #[arg(required = true)]
        paths: Vec<String>,
        /// Act like the fork celler.
        #[arg(long)]
        celler: bool,
        /// Send the metadata before the NAR, however short it is.
        #[arg(long)]
        force_preamble: bool,
        /// Push also what a key of an upstream cache has signed.
        #[arg(long)]
        ignore_upstream_cache_filter: bool,
        /// Paths uploaded at once.
        #[arg(short, long, default_value_t = 5)]
        jobs: usize,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Push { endpoint, cache, token, paths, celler, force_preamble, ignore_upstream_cache_filter, jobs } =
        Args::parse().command;
    let mut objects: Vec<Object> = Vec::new();
    for path in &paths {
        for info in Nix::new()?.closure(path).await? {
            if objects.iter().all(|object| object.path != info.path) {
                objects.push(Object::stored(&info));
            }
        }
    }
    let mut client = Client::new(&endpoint, Some(&token))?;
    if celler {
        client = client.celler();
    }
    client.uploads_at_once = jobs;
    let preamble = if force_preamble { Preamble::Always } else { Preamble::IfLong };
    let options = PushOptions { ignore_upstream_cache_filter, preamble, ..PushOptions::default() };
    let report = client.push(&cache, &objects, &options).await?;
    for pushed in &report.pushed {
        let said = pushed.result.as_ref().map(|result| format!("{:?}", result.kind)).unwrap_or_default();
        println!("{} {said}", pushed.path);
    }
    for (path, error) in &report.failed {
        eprintln!("{path}: {error}");
    }
    eprintln!("{} of {} paths pushed to {cache}", report.pushed.len(), objects.len());
    report.whole()?;
    Ok(())
}
