//! One run on this node, from checkout to its last word.

use crate::{
    build::Build,
    checkout::checkout,
    evaluate::evaluate,
    push::Pusher,
    report::{Reporter, Stop},
    sandbox::{Room, Sandbox},
    server::{Server, ServerError},
};
use iglu_api::{
    Timestamp,
    builder::What,
    node::{Assignment, FailedBefore, Outcome, RunEvent},
    pin::{Keep, PinCreate},
};
use std::{
    collections::HashSet,
    fs, io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// Why a run did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Failed(String),
    #[error("on this node: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Now, for what nodes tell of derivations.
#[allow(clippy::disallowed_methods, reason = "a node has no core and no clock of it")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Executes a run and tells the server everything about it. An error where the server does not want to hear it any more.
pub async fn execute(
    server: Server,
    sandbox: &Sandbox,
    assignment: Assignment,
    mut ended: watch::Receiver<bool>,
) -> Result<Outcome, Failure> {
    let folder = sandbox.runs().join(format!("{}-{}", assignment.run, assignment.attempt));
    let spool = folder.with_extension("events");
    // Left by an attempt of this number on a node that was killed.
    let clean = || {
        let _ = fs::remove_dir_all(&folder);
        let _ = fs::remove_dir_all(folder.with_extension("credential"));
        let _ = fs::remove_file(&spool);
    };
    clean();
    for below in ["", "home", "roots"] {
        sandbox.folder(&folder.join(below))?;
    }
    let limits = assignment.spec.limits;
    let (reporter, reader) = Reporter::new(&spool, u64::from(limits.log_mib) << 20)?;
    let shipping =
        tokio::spawn(reporter.clone().ship(server.clone(), assignment.run, assignment.lease.clone(), reader));
    let mut stopping = reporter.stopping();
    let timeout = Duration::from_secs(u64::from(limits.timeout_minutes) * 60);
    // Whatever is dropped here kills what it started.
    let end = tokio::select! {
        done = work(&server, sandbox, &folder, &assignment, &reporter) => match done {
            Ok(()) => Some((Outcome::Succeeded, String::new())),
            Err(failure) => Some((Outcome::Failed, failure.to_string())),
        },
        () = tokio::time::sleep(timeout) => {
            Some((Outcome::TimedOut, format!("it took longer than {} minutes", limits.timeout_minutes)))
        }
        stop = stopping.wait_for(Option::is_some) => match stop.ok().and_then(|stop| (*stop).clone()) {
            Some(Stop::Cancelled) => Some((Outcome::Cancelled, "cancelled".to_owned())),
            Some(Stop::LogLimit) => {
                Some((Outcome::Failed, format!("it wrote more than {} MiB into its log", limits.log_mib)))
            }
            Some(Stop::Lost) | None => None,
        },
        _ = ended.wait_for(|ended| *ended) => None,
    };
    let told = match end {
        Some((outcome, reason)) => {
            if !reason.is_empty() {
                reporter.note(&reason);
            }
            reporter.tell(&RunEvent::Finished { outcome, reason });
            match shipping.await {
                Ok(Ok(())) => Ok(outcome),
                Ok(Err(error)) => Err(error.into()),
                Err(error) => Err(Failure::Failed(error.to_string())),
            }
        }
        None => {
            shipping.abort();
            Err(Failure::Failed("the run is not this node's any more".to_owned()))
        }
    };
    clean();
    told
}

async fn work(
    server: &Server,
    sandbox: &Sandbox,
    folder: &std::path::Path,
    assignment: &Assignment,
    reporter: &Arc<Reporter>,
) -> Result<(), Failure> {
    let spec = &assignment.spec;
    let mut substituters = vec![assignment.cache_uri.clone()];
    substituters.extend(spec.substituters.iter().cloned());
    let mut keys = assignment.cache_keys.clone();
    keys.extend(spec.trusted_keys.iter().cloned());
    let config = sandbox.nix_config(&substituters, &keys, spec.limits.cores, spec.limits.jobs);
    let room = sandbox.room(folder, config);
    checkout(sandbox, &room, assignment, reporter).await?;
    // Nix reads the checkout as a repository of this machine; there is no other one to be seen.
    let room = Room { git_protocols: "https:http:ssh:file", ..room };
    let pusher = Pusher {
        sandbox,
        room: &room,
        server: server.with_token(&assignment.token),
        cache: assignment.cache.to_string(),
        reporter,
        pushed: std::sync::Mutex::new(HashSet::new()),
    };
    let memory = u64::from(spec.limits.memory_mib) << 20;
    let build = Build { sandbox, room: &room, reporter, pusher: &pusher, memory, keep_going: spec.keep_going };
    if let What::Command { command } = &spec.what {
        let made = build.command(command).await?;
        pusher.push(&made).await?;
        return pin(&pusher, assignment, made.iter().map(|path| ("result", path.as_str()))).await;
    }
    reporter.note("evaluating");
    let wanted = evaluate(sandbox, &room, &spec.what, &spec.systems, reporter).await?;
    let mut drvs: Vec<String> = Vec::new();
    for one in &wanted {
        if !drvs.contains(&one.drv) {
            drvs.push(one.drv.clone());
        }
    }
    let failed_before = if assignment.tries_again {
        HashSet::new()
    } else {
        let names = drvs.iter().map(|drv| drv.trim_start_matches("/nix/store/").to_owned()).collect();
        let asked = FailedBefore { lease: assignment.lease.clone(), drvs: names };
        server.failed_before(assignment.run, &asked).await?.into_iter().collect()
    };
    reporter.note(&format!("building {} derivations and what they need", drvs.len()));
    build.derivations(&drvs, &failed_before).await?;
    let mut made = Vec::new();
    if spec.keep_runs > 0 {
        for one in &wanted {
            let outputs = build.outputs(&one.drv).await;
            made.extend(outputs.into_iter().take(1).map(|path| (one.attribute.clone(), path)));
        }
    }
    pin(&pusher, assignment, made.iter().map(|(attribute, path)| (attribute.as_str(), path.as_str()))).await
}

/// Names what a run made, so that it stays while it is among the newest.
async fn pin(
    pusher: &Pusher<'_>,
    assignment: &Assignment,
    made: impl Iterator<Item = (&str, &str)>,
) -> Result<(), Failure> {
    if assignment.spec.keep_runs == 0 {
        return Ok(());
    }
    for (attribute, path) in made {
        let pin = PinCreate {
            name: format!("{}/{attribute}", assignment.builder),
            store_path: path.to_owned(),
            artifacts: Vec::new(),
            keep: Keep::Revisions(assignment.spec.keep_runs),
        };
        pusher.server.pin(&pusher.cache, &pin).await?;
    }
    Ok(())
}
