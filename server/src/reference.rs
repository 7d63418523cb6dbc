//! What `docs/reference` says of settings, commands and metrics is made from the code; `IGLU_BLESS=1` writes it anew.

use crate::{Cli, metrics, settings};
use clap::{Arg, Command, CommandFactory};
use std::{fmt::Write, path::Path};

/// Compares a page with what the code says.
fn is_kept(name: &str, made: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name);
    if std::env::var_os("IGLU_BLESS").is_some() {
        std::fs::write(&file, made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == made,
        "docs/reference/{name} is not what the code says: run this test with IGLU_BLESS=1 and look at it"
    );
}

/// What a flag is for, and what holds without it.
fn about(arg: &Arg) -> (String, String) {
    let (meaning, default) = settings::about(arg);
    let default = default.unwrap_or_default();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    let is_choice = !values.is_empty() && values.iter().all(|value| value != "`true`");
    (if is_choice { format!("{meaning}: {}", values.join(", ")) } else { meaning }, default)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn settings_are_described() {
    let command = Cli::command();
    let mut page = "# Settings, one by one\n\nA flag beats the variable, the variable beats the file. The variable of `--public-url` is `IGLU_PUBLIC_URL`, and in the \
                    file it is `public_url`; so it is with all of them. The file is what `--config FILE` or `IGLU_CONFIG` names. [What they are \
                    for](../operations/settings.md)\n\n| flag | without it | meaning |\n|---|---|---|\n"
        .to_owned();
    for arg in settings::all(&command) {
        let (meaning, default) = about(arg);
        assert!(!meaning.is_empty(), "{}", arg.get_id());
        let (flag, id) = (arg.get_long().unwrap_or_default(), arg.get_id().as_str());
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        assert_eq!((flag.replace('-', "_").as_str(), variable), (id, Some(format!("IGLU_{}", id.to_uppercase()))));
        let _ = writeln!(page, "| `--{flag}` | {} | {} |", cell(&default), cell(&meaning));
    }
    // Read where they are needed; whoever lists processes sees flags.
    page += "\nSecrets come by variables alone, since everybody on a machine can see flags:\n\n\
             | variable | meaning |\n|---|---|\n\
             | `IGLU_MASTER_KEY` | The master key itself, instead of `--master-key-file` |\n\
             | `IGLU_S3_ACCESS_KEY_ID`, `IGLU_S3_SECRET_ACCESS_KEY` | Credentials of the bucket; without them, what AWS programs find |\n\
             | `IGLU_TOKEN` | The token of verbs that go to a server, with `IGLU_SERVER` for its address |\n\
             | `IGLU_NODE_TOKEN` | The secret of `iglu node` |\n\
             | `IGLU_FROM_DATABASE`, `IGLU_FROM_S3_ACCESS_KEY_ID`, `IGLU_FROM_S3_SECRET_ACCESS_KEY` | What `iglu import` reads from |\n";
    is_kept("settings.md", &page);
}

#[test]
fn commands_are_described() {
    fn describe(page: &mut String, command: &Command, path: &str, depth: usize) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{path}");
        let _ = write!(page, "{} `{path}`\n\n{about}.\n\n", "#".repeat(depth.min(4)));
        // What every command takes is said once.
        let own = command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
        let own: Vec<&Arg> = own.filter(|arg| !settings::is_shared(arg) && !arg.is_hide_set()).collect();
        if !own.is_empty() && path != "iglu serve" {
            for arg in own {
                let (meaning, default) = super::reference::about(arg);
                assert!(!meaning.is_empty(), "{path}: {}", arg.get_id());
                let value =
                    arg.get_value_names().map(|names| names[0].to_string()).filter(|_| arg.get_action().takes_values());
                let name = match (arg.get_long(), &value) {
                    (Some(long), Some(value)) => format!("--{long} {value}"),
                    (Some(long), None) => format!("--{long}"),
                    (None, _) => value.unwrap_or_default(),
                };
                let default = if default.is_empty() { default } else { format!("; without it: {default}") };
                let needed = if arg.is_required_set() { ", needed" } else { "" };
                let _ = writeln!(page, "- `{name}`{needed}: {meaning}{default}");
            }
            page.push('\n');
        }
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
            // The verbs at a server are the verbs here.
            if path == "iglu admin" && Cli::command().find_subcommand(sub.get_name()).is_some() {
                continue;
            }
            describe(page, sub, &format!("{path} {}", sub.get_name()), depth + 1);
        }
    }
    let mut page = "# Commands\n\nCommands on the data here take the [settings](settings.md) that say where it is. `iglu admin` takes every noun and verb that goes \
                    to a server otherwise. `--help` behind any of them says the same as this page.\n\n"
        .to_owned();
    for sub in Cli::command().get_subcommands().filter(|sub| sub.get_name() != "help") {
        describe(&mut page, sub, &format!("iglu {}", sub.get_name()), 2);
    }
    is_kept("commands.md", &format!("{}\n", page.trim_end()));
}

#[test]
fn metrics_are_described() {
    let mut page = "# Metrics\n\nAt `/metrics` of the second listener, in Prometheus' text format. [What to watch](../operations/monitoring.md)\n\n\
                    | name | kind | meaning |\n|---|---|---|\n"
        .to_owned();
    for (name, kind, meaning) in metrics::described() {
        let _ = writeln!(page, "| `{name}` | {kind} | {} |", cell(meaning));
    }
    is_kept("metrics.md", &page);
}
