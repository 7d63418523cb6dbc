//! One run on this node, from checkout to its last word.

use crate::{
    build::Build,
    checkout::{Source, checkout},
    evaluate::evaluate,
    process::Started,
    push::Pusher,
    report::{Reporter, Stop},
    sandbox::{Room, Sandbox},
    server::{Server, ServerError, patiently},
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
    let started = Started::default();
    // Whatever is dropped here kills what it started.
    let end = tokio::select! {
        done = work(&server, sandbox, &folder, &assignment, &reporter, &started) => match done {
            Ok(outcome) => Some((outcome, String::new())),
            Err(failure) => Some((Outcome::Failed, failure.to_string())),
        },
        () = tokio::time::sleep(timeout) => {
            Some((Outcome::TimedOut, format!("it took longer than {} minutes", limits.timeout_minutes)))
        }
        () = started.over(u64::from(limits.memory_mib) << 20) => {
            Some((Outcome::Failed, format!("it used more than {} MiB of memory", limits.memory_mib)))
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
    started: &Started,
) -> Result<Outcome, Failure> {
    let spec = &assignment.spec;
    let mut substituters = vec![server.cache_uri(assignment.cache.as_str())];
    substituters.extend(spec.substituters.iter().cloned());
    let mut keys = assignment.cache_keys.clone();
    keys.extend(spec.trusted_keys.iter().cloned());
    let config = sandbox.nix_config(&substituters, &keys, spec.limits.cores, spec.limits.jobs);
    let store = sandbox.store_for(assignment.cache.as_str())?;
    let room = Room { started: started.clone(), ..sandbox.room(folder, &store, config) };
    let netrc = format!("machine {} login iglu password {}\n", server.host(), assignment.pull_token);
    sandbox.file(&folder.join("home/netrc"), &netrc, 0o600)?;
    let source = Source {
        repository: &spec.repository,
        reference: &assignment.reference,
        credential: assignment.credential.as_ref(),
        full_history: spec.full_history,
    };
    let (commit, subject) = checkout(sandbox, &room, &source, reporter).await?;
    reporter.tell(&RunEvent::Commit { commit: commit.clone(), subject });
    if assignment.unless_commit.as_deref() == Some(commit.as_str()) {
        return Ok(Outcome::Unchanged);
    }
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
    let build = Build { sandbox, room: &room, reporter, pusher: &pusher, keep_going: spec.keep_going };
    if let What::Command { command } = &spec.what {
        let made = build.command(command).await?;
        pusher.push(&made).await?;
        pin(&pusher, assignment, made.iter().map(|path| ("result", path.as_str()))).await?;
        return Ok(Outcome::Succeeded);
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
        patiently!(server.failed_before(assignment.run, &asked))?.into_iter().collect()
    };
    reporter.note(&format!("building {} derivations and what they need", drvs.len()));
    build.derivations(&drvs, &failed_before).await?;
    let mut made = Vec::new();
    if spec.keep_runs > 0 {
        for one in &wanted {
            made.extend(named_outputs(&one.attribute, build.outputs(&one.drv).await));
        }
    }
    pin(&pusher, assignment, made.iter().map(|(attribute, path)| (attribute.as_str(), path.as_str()))).await?;
    Ok(Outcome::Succeeded)
}

/// The outputs of a derivation under the names of their pins: the attribute for the first of them, with `.dev` and the like for others.
fn named_outputs(attribute: &str, mut outputs: Vec<String>) -> Vec<(String, String)> {
    // The first one's name is what the others' names begin with.
    outputs.sort_by_key(String::len);
    let first = outputs.first().map_or(0, String::len);
    let name = |path: &str| match path.get(first..).unwrap_or_default().trim_start_matches('-') {
        "" => attribute.to_owned(),
        output => format!("{attribute}.{output}"),
    };
    outputs.into_iter().map(|path| (name(&path), path)).collect()
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
        patiently!(pusher.server.pin(&pusher.cache, &pin))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_have_names_of_their_own() {
        let store = |name: &str| format!("/nix/store/agsnpn3hxj60ylk8aclmlxm7h3fn5v6x-{name}");
        let named = named_outputs("report", vec![store("report-demo-doc"), store("report-demo")]);
        assert_eq!(
            named,
            [("report".to_owned(), store("report-demo")), ("report.doc".to_owned(), store("report-demo-doc"))]
        );
        assert!(named_outputs("none", Vec::new()).is_empty());
    }
}
