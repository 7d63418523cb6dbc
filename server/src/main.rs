//! Iglu: one program, its roles as subcommands.
#![cfg_attr(test, allow(clippy::unwrap_used))]
// `out::say` outlives a reader that reads no further.
#![warn(clippy::print_stdout)]

mod admin;
mod backup;
mod boot;
mod demo;
mod doctor;
mod embedded;
mod export;
mod health;
mod http;
mod import;
mod keep;
mod metrics;
mod node;
mod out;
mod progress;
#[cfg(test)]
mod reference;
mod settings;
mod signals;
mod site;
mod size;
mod telemetry;
mod transfer;
mod verb;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind, parser::ValueSource};
use settings::{ServeSettings, StoreSettings};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// How long threads that read or compute may take when the program ends.
const LAST_MOMENT: Duration = Duration::from_secs(1);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-hosted Nix binary cache
#[derive(Parser)]
#[command(name = "iglu", version, about, propagate_version = true)]
struct Cli {
    /// TOML file with settings, by their names with underscores
    #[arg(long, env = "IGLU_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    store: StoreSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server: pages, caches, APIs
    Serve(Box<ServeSettings>),
    /// Execute runs for a server, on this machine or far away from it
    Node(node::NodeCommand),
    /// The verbs below on the data here, beside a running or a stopped server
    Admin(admin::AdminCommand),
    /// Ask the server on this machine whether it is ready, for probes: ends with 0 or 1
    Health(health::HealthCommand),
    /// Look at what has to be right around a server: database, storage, names, clock, proxy, a push and a pull; and say what helps
    Doctor(doctor::DoctorCommand),
    /// Bring the database schema up to date before servers of this version are started
    Migrate,
    /// Write the database into a folder of portable files, beside a running or a stopped server
    Backup(backup::BackupCommand),
    /// Fill an empty database, of either engine, from such a folder
    Restore(backup::RestoreCommand),
    /// Look whether everything that the database names is there and whole
    Check(keep::CheckCommand),
    /// Take out of a cache what its rules say, or only say what that would be
    Gc(keep::GcCommand),
    /// Look at the storage, or copy it to another place
    Storage(keep::StorageCommand),
    /// Fill a cache from the store of another one: a static cache, attic, another Iglu
    Import(Box<import::ImportCommand>),
    /// Fill an empty data folder with a made-up year, to look at
    Demo(demo::DemoCommand),
    /// Write a cache into a folder, as a static binary cache
    Export(export::ExportCommand),
    /// Remember a server and a token of it, for the verbs that follow
    Login(verb::LoginCommand),
    /// Forget the server and its token
    Logout(verb::LogoutCommand),
    #[command(flatten)]
    Verb(verb::ServerVerb),
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // They say where data is that verbs at a server have nothing to do with: whoever writes them means something else.
    let mut of_data = Cli::command();
    let given = of_data
        .get_arguments()
        .find(|flag| matches.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine));
    if let (Command::Node(_) | Command::Verb(_) | Command::Login(_) | Command::Logout(_), Some(given)) =
        (&cli.command, given)
    {
        let message = format!(
            "--{} is about the data here, and this goes to a server; `iglu admin` takes it",
            given.get_long().unwrap_or_default()
        );
        of_data.error(ErrorKind::ArgumentConflict, message).exit();
    }
    let ended = match &cli.config {
        Some(path) => settings::with_file(Cli::command(), path).and_then(|command| {
            let matches = command.get_matches();
            run(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()), &matches)
        }),
        None => run(cli, &matches),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("iglu: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: Cli, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Cli { store, command, .. } = cli;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = match command {
        Command::Serve(serve) => {
            let shown = settings::shown(&Cli::command(), matches);
            runtime.block_on(boot::serve(store, *serve, shown)).map(|()| ExitCode::SUCCESS)
        }
        Command::Admin(admin) => runtime.block_on(admin::run(store, admin)).map(|()| ExitCode::SUCCESS),
        Command::Health(command) => runtime.block_on(command.run()),
        Command::Doctor(command) => runtime.block_on(doctor::run(store, command)),
        Command::Migrate => runtime.block_on(boot::migrate(store)).map(|()| ExitCode::SUCCESS),
        Command::Backup(command) => runtime.block_on(backup::run_backup(store, command)),
        Command::Restore(command) => runtime.block_on(backup::run_restore(store, command)),
        Command::Check(command) => runtime.block_on(keep::run_check(store, command)),
        Command::Gc(command) => runtime.block_on(keep::run_gc(store, command)),
        Command::Storage(command) => runtime.block_on(keep::run_storage(store, command)),
        Command::Import(command) => runtime.block_on(import::run(store, *command)),
        Command::Demo(command) => runtime.block_on(demo::run(store, command)).map(|()| ExitCode::SUCCESS),
        Command::Node(command) => runtime.block_on(node::run(command)),
        Command::Login(command) => runtime.block_on(command.run()).map(|()| ExitCode::SUCCESS),
        Command::Logout(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Verb(verb) => runtime.block_on(verb::run(verb)).map(|()| ExitCode::SUCCESS),
        Command::Export(command) => runtime.block_on(export::run(store, command)),
    };
    // Whoever still reads a large file, for a client that is gone or for a check, is not waited for.
    runtime.shutdown_timeout(LAST_MOMENT);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_well_formed() {
        Cli::command().debug_assert();
    }
}
