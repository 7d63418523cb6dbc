//! The settings file: every flag of `iglu serve` by its name with underscores. What it says are the defaults of the flags, so that a
//! flag or a variable beats it and each value is read by the same code.

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command, error::ContextKind};
use iglu_api::instance::Setting;
use std::{fs, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The subcommand whose flags are settings too.
const SERVE: &str = "serve";
/// What is said where the file itself is found.
const NO_SETTINGS: [&str; 3] = ["config", "help", "version"];

/// The commands with what the file says. A key that is no setting, and a value that its flag would not take, are refused with their line.
pub fn with_file(mut command: Command, path: &Path) -> anyhow::Result<Command> {
    let place = || format!("in the settings file {}", path.display());
    let text = fs::read_to_string(path).with_context(|| format!("reading the settings file {}", path.display()))?;
    let table = DeTable::parse(&text).with_context(place)?.into_inner();
    for (key, value) in &table {
        let line =
            text[..key.span().start].lines().count().max(1) + usize::from(text[..key.span().start].ends_with('\n'));
        let at = || format!("{}, line {line}: {}", place(), key.get_ref());
        let arg = all(&command).find(|arg| arg.get_id() == key.get_ref().as_ref()).cloned();
        let Some(arg) = arg else { bail!("{}: there is no such setting{}", at(), meant(&command, key.get_ref())) };
        let values = values(value).with_context(at)?;
        taken(&arg, &values).map_err(|why| anyhow::anyhow!("{}: {why}", at()))?;
        command = told(command, &arg, &values);
    }
    Ok(command)
}

/// Every setting there is, as a flag.
pub fn all(command: &Command) -> impl Iterator<Item = &Arg> {
    let of_serve = command.find_subcommand(SERVE).into_iter().flat_map(Command::get_arguments);
    command.get_arguments().chain(of_serve).filter(|arg| !NO_SETTINGS.contains(&arg.get_id().as_str()))
}

/// Whether every command takes it.
#[cfg(test)]
pub fn is_shared(arg: &Arg) -> bool {
    use clap::CommandFactory;
    crate::Cli::command().get_arguments().any(|shared| shared.get_id() == arg.get_id())
}

/// A setting that is called nearly so.
fn meant(command: &Command, key: &str) -> String {
    let same = |name: &str| key.chars().zip(name.chars()).take_while(|(a, b)| a == b).count();
    let near = all(command).map(|arg| arg.get_id().as_str()).max_by_key(|name| same(name));
    near.filter(|name| same(name) >= 3).map(|name| format!("; {name} is one")).unwrap_or_default()
}

/// What stands behind the key, as it would be written behind a flag.
fn values(value: &Spanned<DeValue<'_>>) -> anyhow::Result<Vec<String>> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(on) => Ok(on.to_string()),
        _ => bail!("a setting is a text, a whole number, true or false, or a list of those"),
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().map(|value| one(value.get_ref())).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// Whether the flag would take it; else why not.
fn taken(arg: &Arg, values: &[String]) -> Result<(), String> {
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let line = values.iter().flat_map(|value| [flag.clone(), value.clone()]);
    // Alone: what it needs beside it is looked at when all is known.
    let alone = Arg::new(arg.get_id().clone())
        .long(arg.get_long().unwrap_or_default().to_owned())
        .value_parser(arg.get_value_parser().clone())
        .action(arg.get_action().clone());
    let alone = match arg.get_value_delimiter() {
        Some(delimiter) => alone.value_delimiter(delimiter),
        None => alone,
    };
    let command = Command::new("iglu").no_binary_name(true).disable_help_flag(true).arg(alone);
    command.try_get_matches_from(line).map(drop).map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string);
        let known = error.get(ContextKind::ValidValue).map(|values| format!("one of {values}"));
        let said = values.join(", ");
        format!("{said:?}: {}", why.or(known).unwrap_or_else(|| "this cannot be".to_owned()))
    })
}

/// The commands with a default for this setting, wherever it is taken.
fn told(command: Command, arg: &Arg, values: &[String]) -> Command {
    let id = arg.get_id().as_str();
    let knows = |command: &Command| command.get_arguments().any(|arg| arg.get_id() == id);
    let names: Vec<String> =
        command.get_subcommands().filter(|sub| knows(sub)).map(|sub| sub.get_name().to_owned()).collect();
    let tell = |arg: Arg| arg.default_values(values.to_owned()).hide_default_value(true);
    let command = if knows(&command) { command.mut_arg(id, tell) } else { command };
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, |sub| sub.mut_arg(id, tell)))
}

/// What a flag is for, and what holds without it.
pub fn about(arg: &Arg) -> (String, Option<String>) {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match help.rsplit_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches(']').to_owned())),
        None => (help, None),
    }
}

/// The settings in force for administrators to see, by their names in a file. What may hold a secret is only said to be set.
pub fn shown(command: &Command, matches: &ArgMatches) -> Vec<Setting> {
    let matches = matches.subcommand_matches(SERVE).unwrap_or(matches);
    let show = |arg: &Arg| {
        let raw = matches.try_get_raw(arg.get_id().as_str()).ok().flatten();
        let value = raw.map(|values| values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(", "));
        let value = if arg.is_hide_env_values_set() { value.map(|_| "(hidden)".to_owned()) } else { value };
        Setting { name: arg.get_id().to_string(), value, default: about(arg).1 }
    };
    let mut lines: Vec<Setting> = all(command).map(show).collect();
    let master_key = std::env::var_os("IGLU_MASTER_KEY").map(|_| "(hidden)".to_owned());
    lines.push(Setting { name: "master_key".to_owned(), value: master_key, default: None });
    lines
}

#[cfg(test)]
mod tests {
    use crate::Cli;
    use clap::{CommandFactory, FromArgMatches};

    /// What comes of a file and a command line.
    fn parsed(text: &str, line: &[&str]) -> anyhow::Result<(crate::StoreSettings, crate::ServeSettings)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("iglu.toml");
        std::fs::write(&path, text)?;
        let command = super::with_file(Cli::command(), &path)?;
        let cli = Cli::from_arg_matches(&command.try_get_matches_from(line)?)?;
        let crate::Command::Serve(serve) = cli.command else { panic!("not serve") };
        Ok((cli.store, *serve))
    }

    #[test]
    fn a_flag_beats_the_file() {
        let text = "public_url = \"https://file.example.org\"\nlisten = \"[::]:80\"\nlog_format = \"json\"\nconnections = 12\n\
                    auto_migrate = false\ntrusted_proxies = [\"10.0.0.0/8\", \"::1/128\"]\n";
        let (store, serve) = parsed(text, &["iglu", "serve"]).unwrap();
        assert_eq!(store.public_url.as_deref(), Some("https://file.example.org"));
        assert_eq!((serve.connections, store.auto_migrate), (Some(12), Some(false)));
        assert_eq!(serve.listen, Some("[::]:80".parse().unwrap()));
        assert_eq!(serve.log_format, Some(super::super::LogFormat::Json));
        assert_eq!(serve.trusted_proxies.map(|networks| networks.len()), Some(2));
        for line in [
            ["iglu", "serve", "--public-url", "https://flag.example.org"],
            ["iglu", "--public-url", "https://flag.example.org", "serve"],
        ] {
            let (store, _) = parsed(text, &line).unwrap();
            assert_eq!(store.public_url.as_deref(), Some("https://flag.example.org"), "{line:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_stands() {
        for (text, parts) in [
            ("listen = \"127.0.0.1:80\"\nlisen = 3\n", ["line 2", "lisen", "listen is one"]),
            ("\n\nlog_format = \"xml\"\n", ["line 3", "log_format", "text, json"]),
            ("connections = 1.5\n", ["line 1", "connections", "whole number"]),
            ("connections = -1\n", ["line 1", "\"-1\"", "connections"]),
            ("drain = \"soon\"\n", ["line 1", "soon", "such as 90d"]),
            ("auto_migrate = \"maybe\"\n", ["line 1", "maybe", "true, false"]),
            ("config = \"x\"\n", ["line 1", "config", "no such setting"]),
            ("listen = \n", ["TOML parse error", "line 1", "listen"]),
            ("[server]\nlisten = 3\n", ["line 1", "server", "no such setting"]),
        ] {
            let error = format!("{:#}", parsed(text, &["iglu", "serve"]).unwrap_err());
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }
}
