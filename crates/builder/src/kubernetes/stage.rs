//! How far a Job is, from what the cluster says of it and of its pod. Pure.

use crate::HOPELESS;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};

/// Reasons of waiting containers that no time mends.
const NEVER: [&str; 3] = ["InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"];

/// How far a Job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing runs yet, and why.
    Waiting(String),
    /// It will never begin, and why.
    Impossible(String),
    /// The pod tells the server itself what happens.
    Working,
    /// The pod told everything.
    Done,
    /// The pod took longer than its Job may.
    TooLong,
    /// It used more memory than it may.
    OutOfMemory,
    /// It cannot execute runs; its log says why.
    Unfit,
    /// It ended before the run did, through no fault of the run: another attempt may do.
    Died(String),
}

/// How far a Job is whose pods these are.
pub fn stage(job: &Job, pods: &[Pod]) -> Stage {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let has = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
    if has("Complete").is_some() {
        return Stage::Done;
    }
    let pod = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone());
    let failed = has("Failed");
    let Some(status) = pod.and_then(|pod| pod.status.as_ref()) else {
        return match failed {
            Some(failed) => ended(failed.reason.as_deref(), "its pod is gone"),
            None => Stage::Waiting("the cluster has no pod for it yet".to_owned()),
        };
    };
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let ours = containers.iter().find(|container| container.name == "iglu");
    if let Some(ended) = ours.and_then(terminated) {
        return ended;
    }
    let phase = status.phase.as_deref().unwrap_or_default();
    let said = status.reason.as_deref().or(failed.and_then(|failed| failed.reason.as_deref()));
    if failed.is_some() || phase == "Failed" {
        return ended(said, status.message.as_deref().unwrap_or("its pod failed"));
    }
    if phase == "Running" {
        return Stage::Working;
    }
    if let Some(waiting) = ours.and_then(|ours| ours.state.as_ref()).and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let why = worded(reason, waiting.message.as_deref());
        return if NEVER.contains(&reason) { Stage::Impossible(why) } else { Stage::Waiting(why) };
    }
    let unscheduled =
        status.conditions.as_deref().unwrap_or_default().iter().find(|condition| condition.status == "False");
    Stage::Waiting(unscheduled.map_or_else(
        || "its pod is pending".to_owned(),
        |condition| worded(condition.reason.as_deref().unwrap_or(&condition.type_), condition.message.as_deref()),
    ))
}

fn terminated(container: &ContainerStatus) -> Option<Stage> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(match (ended.exit_code, reason) {
        (_, "OOMKilled") => Stage::OutOfMemory,
        (0, _) => Stage::Done,
        (code, _) if code == i32::from(HOPELESS) => Stage::Unfit,
        (code, reason) => Stage::Died(worded(&format!("{reason}, exit code {code}"), ended.message.as_deref())),
    })
}

fn ended(reason: Option<&str>, words: &str) -> Stage {
    match reason {
        Some("DeadlineExceeded") => Stage::TooLong,
        Some(reason) => Stage::Died(worded(reason, Some(words))),
        None => Stage::Died(words.to_owned()),
    }
}

fn worded(reason: &str, message: Option<&str>) -> String {
    let message = message.map(|message| message.lines().next().unwrap_or_default()).unwrap_or_default();
    let words = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
    words.chars().take(400).collect()
}
