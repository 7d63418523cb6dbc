//! `run`: start a builder, follow what it does, look at the queue, cancel.

use super::{
    Said,
    api::{Api, query, segment},
};
use anyhow::bail;
use clap::Subcommand;
use iglu_api::{
    Reference, ansi, format,
    run::{LogPart, RunDetail, RunRow, RunStart, RunStarted, RunState},
};
use serde_json::json;
use std::{
    io::{ErrorKind, IsTerminal, Write},
    time::Duration,
};

/// How often a run that is followed is looked at.
const LOOK: Duration = Duration::from_millis(400);
/// Lines that are asked for at a time.
const LINES: u64 = 5000;

#[derive(Subcommand)]
pub enum RunCommand {
    /// Put a run of a builder into the queue
    Start {
        /// Name of the builder
        builder: String,
        /// Branch, tag or commit instead of the builder's own
        #[arg(long, value_name = "REF")]
        reference: Option<String>,
        /// Runs with a higher one go first
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        priority: i32,
        /// Print the log as it comes, and end as the run ends
        #[arg(long)]
        follow: bool,
    },
    /// Print the newest runs of a builder; without one, the queue
    List {
        /// Name of the builder
        builder: Option<String>,
    },
    /// Print where a run is, its derivations and what it pushed
    Show {
        /// Number of the run
        run: u64,
    },
    /// Print the log of a run
    Log {
        /// Number of the run
        run: u64,
        /// Go on until the run ends, and end as it does
        #[arg(long)]
        follow: bool,
    },
    /// End a run
    Cancel {
        /// Number of the run
        run: u64,
    },
}

pub async fn perform(api: &Api, command: RunCommand) -> Said {
    match command {
        RunCommand::Start { builder, reference, priority, follow } => {
            let reference = reference.as_deref().map(Reference::parse).transpose()?;
            let start = RunStart { reference, priority };
            let RunStarted { id } = api.post(&format!("builders/{}/runs", segment(&builder)), start).await?;
            if follow {
                eprintln!("run {id} of {builder} is in the queue");
                return followed(api, id, true).await;
            }
            Ok((json!({ "run": id }), format!("run {id} of {builder} is in the queue")))
        }
        RunCommand::List { builder } => {
            let path = builder.map_or_else(|| "queue".to_owned(), |name| format!("builders/{}/runs", segment(&name)));
            let runs: Vec<RunRow> = api.get(&path).await?;
            let lines: Vec<String> = runs.iter().map(in_a_line).collect();
            Ok((json!({ "runs": runs }), lines.join("\n")))
        }
        RunCommand::Show { run } => {
            let detail: RunDetail = api.get(&format!("runs/{run}")).await?;
            let mut lines = vec![in_a_line(&detail.run)];
            if !detail.run.reason.is_empty() {
                lines.push(detail.run.reason.clone());
            }
            lines.extend(detail.derivations.iter().map(|derivation| {
                let reason =
                    if derivation.reason.is_empty() { String::new() } else { format!(": {}", derivation.reason) };
                format!("  {} {}{reason}", derivation.state.as_str().replace('_', " "), derivation.name)
            }));
            lines.extend(
                detail.pushed.iter().map(|path| format!("  pushed {}, {}", path.path, format::bytes(path.nar_size))),
            );
            Ok((json!({ "run": detail }), lines.join("\n")))
        }
        RunCommand::Log { run, follow } => followed(api, run, follow).await,
        RunCommand::Cancel { run } => {
            let () = api.post(&format!("runs/{run}/cancel"), ()).await?;
            Ok((json!({ "run": run }), format!("run {run} ends")))
        }
    }
}

/// Prints a log, to the end of the run if asked to. A run that did not succeed is an error then.
async fn followed(api: &Api, id: u64, to_the_end: bool) -> Said {
    let mut out = std::io::stdout();
    let is_terminal = out.is_terminal();
    let mut is_read = true;
    let mut first = 0;
    let (mut state, mut hint) = (RunState::Queued, String::new());
    loop {
        // Asked before the log, so that the log is whole when it is over.
        let detail: RunDetail = api.get(&format!("runs/{id}")).await?;
        if to_the_end && detail.run.state != state {
            state = detail.run.state;
            eprintln!("run {id} is {}", state.word());
        }
        if to_the_end && detail.run.state == RunState::Queued && detail.run.reason != hint {
            hint.clone_from(&detail.run.reason);
            eprintln!("{hint}");
        }
        loop {
            let wanted = query(&[("first", &first.to_string()), ("most", &LINES.to_string())]);
            let part: LogPart = api.get(&format!("runs/{id}/log?{wanted}")).await?;
            for line in &part.lines {
                let text = if is_terminal { ansi::for_terminal(&line.text) } else { ansi::plain(&line.text) };
                // Whoever read it has read enough; how the run ends is still the answer.
                match if is_read { writeln!(out, "{text}") } else { Ok(()) } {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => is_read = false,
                    written => written?,
                }
            }
            first = part.first + part.lines.len() as u64;
            if first >= part.line_count || !is_read {
                break;
            }
        }
        if is_read {
            out.flush()?;
        }
        if detail.run.state.is_over() || !to_the_end {
            if to_the_end && detail.run.state != RunState::Succeeded {
                bail!("run {id} is {}: {}", detail.run.state.word(), detail.run.reason);
            }
            return Ok((json!({ "run": detail }), String::new()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub fn in_a_line(run: &RunRow) -> String {
    let commit = run.commit.as_deref().map(|commit| format!(" {}", &commit[..commit.len().min(10)]));
    let node = run.node.as_deref().map(|node| format!(" on {node}"));
    let reason = if run.reason.is_empty() { String::new() } else { format!(": {}", run.reason) };
    format!(
        "run {} of {}: {}, {}{}, {} by {}{}{reason}",
        run.id,
        run.builder,
        run.state.word(),
        run.reference,
        commit.unwrap_or_default(),
        run.trigger.as_str(),
        run.triggered_by,
        node.unwrap_or_default(),
    )
}
