//! What people do at a terminal: caches, paths, pins, keys, rules, people, tokens, builders, runs, nodes. Each verb is one or two calls of the API, to a server
//! (`iglu cache list`) or to the data here (`iglu admin cache list`).

mod api;
mod builder;
mod cache;
mod keeping;
mod key;
mod login;
mod path;
mod people;
mod run;

pub use api::Api;
pub use login::{LoginCommand, LogoutCommand};

use crate::out::say;
use clap::{Args, Subcommand};
use serde_json::Value;

/// What a verb prints, for programs and for people.
type Said = anyhow::Result<(Value, String)>;

/// The nouns, each with its verbs, here and at a server.
macro_rules! nouns {
    ($($(#[$about:meta])* $Noun:ident($command:path) = $perform:path),* $(,)?) => {
        #[derive(Subcommand)]
        pub enum Verb {
            $($(#[$about])* #[command(subcommand)] $Noun($command),)*
        }

        /// The same at a server.
        #[derive(Subcommand)]
        pub enum ServerVerb {
            $($(#[$about])* $Noun(At<$command>),)*
        }

        impl Verb {
            pub async fn perform(self, api: &Api) -> Said {
                match self {
                    $(Verb::$Noun(command) => $perform(api, command).await,)*
                }
            }
        }

        impl ServerVerb {
            fn split(self) -> (login::ServerFlags, Verb) {
                match self {
                    $(ServerVerb::$Noun(At { server, what }) => (server, Verb::$Noun(what)),)*
                }
            }
        }
    };
}

/// A verb and the server that it is for.
#[derive(Args)]
pub struct At<T: Subcommand> {
    #[command(flatten)]
    server: login::ServerFlags,
    #[command(subcommand)]
    what: T,
}

nouns! {
    /// Caches
    Cache(cache::CacheCommand) = cache::perform,
    /// Paths of caches
    Path(path::PathCommand) = path::perform,
    /// Names for paths that stay
    Pin(keeping::PinCommand) = keeping::pin,
    /// What caches keep, and for how long
    Retention(keeping::RetentionCommand) = keeping::retention,
    /// What may be pushed to caches
    Limits(keeping::LimitsCommand) = keeping::limits,
    /// Signing keys of caches
    Key(key::KeyCommand) = key::perform,
    /// Who may do what in caches
    Member(people::MemberCommand) = people::member,
    /// Tokens for clients and scripts
    Token(people::TokenCommand) = people::token,
    /// People who log in
    User(people::UserCommand) = people::user,
    /// What of which repository is built into which cache
    Builder(builder::BuilderCommand) = builder::perform,
    /// Executions of builders, and the queue
    Run(run::RunCommand) = run::perform,
    /// Who executes runs; `iglu node` is one
    Nodes(builder::NodesCommand) = builder::nodes,
}

/// Does it at a server, and prints what came of it.
pub async fn run(verb: ServerVerb) -> anyhow::Result<()> {
    let (server, verb) = verb.split();
    let api = server.api()?;
    let (json, text) = verb.perform(&api).await?;
    print(server.json, &json, &text);
    Ok(())
}

/// Prints one line of JSON, or words.
pub fn print(as_json: bool, json: &Value, text: &str) {
    if as_json {
        say!("{json}");
    } else if !text.is_empty() {
        say!("{text}");
    }
}
