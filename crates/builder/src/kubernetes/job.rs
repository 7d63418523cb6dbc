//! What a run becomes in a cluster: a Job of one pod, and the Secret that tells the pod what to do. Pure; asks nobody anything.

use crate::KubernetesConfig;
use iglu_api::node::Assignment;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            AppArmorProfile, Capabilities, Container, EmptyDirVolumeSource, EnvVar, PodSecurityContext, PodSpec,
            ResourceRequirements, SeccompProfile, Secret, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The node whose Jobs these are.
pub const NODE_LABEL: &str = "iglu.dev/node";
/// Which run of which builder it is, for whoever looks at the cluster.
const RUN_LABEL: &str = "iglu.dev/run";
const BUILDER_ANNOTATION: &str = "iglu.dev/builder";
/// A hash of the run's lease: a Job with another one belongs to a run that is over.
pub const LEASE_ANNOTATION: &str = "iglu.dev/lease";
/// The container that a template may say more about.
const CONTAINER: &str = "iglu";
/// The key in the Secret, and the name of the file in the pod.
pub const ASSIGNMENT: &str = "assignment.json";
const ASSIGNMENT_FOLDER: &str = "/assignment";
const STATE_FOLDER: &str = "/work";
/// Nobody: who a pod is, unless a template says otherwise.
const USER: i64 = 65534;
/// What the node itself may use beside its run, in MiB.
const OWN_MEMORY: u64 = 512;
/// Memory that a pod asks for at least, in MiB; it may use as much as its builder says.
const ASKED_MEMORY: u64 = 1024;
/// How long a finished Job stays where nobody removed it, in seconds.
const KEPT: i32 = 600;
/// How long a pod may take to begin and to end, on top of the time that its run may take, in seconds.
pub const STARTING: i64 = 20 * 60;

/// Reads a template: a Job in YAML or JSON of which everything but what it wants to say is left out.
///
/// A field that a Job does not have is an error, instead of a wish that nobody hears.
pub fn parse(text: &str) -> Result<Job, String> {
    let written: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| first_line(&error))?;
    if written.is_null() {
        return Ok(Job::default());
    }
    let mut whole = written.clone();
    // What Kubernetes requires and every template would repeat.
    for (name, value) in [("apiVersion", "batch/v1"), ("kind", "Job")] {
        whole.as_object_mut().ok_or("a template is a Job")?.entry(name).or_insert_with(|| value.into());
    }
    complete(&mut whole);
    let job: Job = serde_json::from_value(whole).map_err(|error| first_line(&error))?;
    let understood = serde_json::to_value(&job).map_err(|error| error.to_string())?;
    match unknown(&written, &understood, String::new()) {
        Some(field) => Err(format!("a Job has no field {field}")),
        None => Ok(job),
    }
}

/// Names the container where a template left that out: it is the only one that is ours.
fn complete(whole: &mut serde_json::Value) {
    let pod = &mut whole["spec"]["template"]["spec"];
    if pod.is_object() && pod["containers"].is_null() {
        pod["containers"] = serde_json::json!([]);
    }
}

fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The first field that was written and not understood.
fn unknown(written: &serde_json::Value, understood: &serde_json::Value, at: String) -> Option<String> {
    use serde_json::Value::{Array, Object};
    match (written, understood) {
        (Object(written), Object(understood)) => written.iter().find_map(|(name, value)| {
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            match understood.get(name) {
                Some(other) => unknown(value, other, at),
                // Nothing and nothing at all are the same.
                None if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) => None,
                None if value.as_array().is_some_and(Vec::is_empty) => None,
                None => Some(at),
            }
        }),
        (Array(written), Array(understood)) => {
            let pairs = written.iter().zip(understood).enumerate();
            pairs.map(|(index, (one, other))| unknown(one, other, format!("{at}[{index}]"))).find_map(|found| found)
        }
        _ => None,
    }
}

/// The architecture of a node as Kubernetes names it, by Nix's name of its system.
pub fn architecture(system: &str) -> Option<&'static str> {
    match system {
        "x86_64-linux" => Some("amd64"),
        "aarch64-linux" => Some("arm64"),
        "i686-linux" => Some("386"),
        "armv7l-linux" => Some("arm"),
        "riscv64-linux" => Some("riscv64"),
        "powerpc64le-linux" => Some("ppc64le"),
        _ => None,
    }
}

/// The value of [`NODE_LABEL`]: nodes of several servers may share a namespace.
pub fn owner(server: &str, node: &str) -> String {
    short_hash(&format!("{server}\n{node}"))
}

/// What stands in [`LEASE_ANNOTATION`].
pub fn lease_hash(assignment: &Assignment) -> String {
    short_hash(&assignment.lease)
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a run's Job and of its Secret.
pub fn name(owner: &str, assignment: &Assignment) -> String {
    format!("iglu-{owner}-{}-{}", assignment.run, assignment.attempt)
}

/// The Job of a run. What a template says stays, but for what makes it this run's.
pub fn job(config: &KubernetesConfig, owner: &str, assignment: &Assignment) -> Job {
    let mut job = config.template.clone();
    let limits = assignment.spec.limits;
    mark(&mut job.metadata, owner, assignment);
    job.metadata.name = Some(name(owner, assignment));
    let spec: &mut JobSpec = job.spec.get_or_insert_default();
    spec.backoff_limit = Some(0);
    spec.completions = Some(1);
    spec.parallelism = Some(1);
    spec.ttl_seconds_after_finished.get_or_insert(KEPT);
    spec.active_deadline_seconds = Some(i64::from(limits.timeout_minutes) * 60 + STARTING);
    mark(spec.template.metadata.get_or_insert_default(), owner, assignment);
    let pod = spec.template.spec.get_or_insert_default();
    confine_pod(pod);
    if let Some(architecture) = architecture(&config.system) {
        let selector = pod.node_selector.get_or_insert_default();
        selector.entry("kubernetes.io/arch".to_owned()).or_insert_with(|| architecture.to_owned());
    }
    let volumes = pod.volumes.get_or_insert_default();
    volumes.push(Volume {
        name: "assignment".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name(owner, assignment)),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    for folder in ["state", "tmp"] {
        // A template may bring another volume of this name, such as a disk that is larger.
        if !volumes.iter().any(|volume| volume.name == folder) {
            let empty_dir = Some(EmptyDirVolumeSource::default());
            volumes.push(Volume { name: folder.to_owned(), empty_dir, ..Volume::default() });
        }
    }
    if !pod.containers.iter().any(|container| container.name == CONTAINER) {
        pod.containers.insert(0, Container { name: CONTAINER.to_owned(), ..Container::default() });
    }
    for container in pod.containers.iter_mut().filter(|container| container.name == CONTAINER) {
        fill(container, config, assignment);
    }
    job
}

fn mark(metadata: &mut ObjectMeta, owner: &str, assignment: &Assignment) {
    let labels = metadata.labels.get_or_insert_default();
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "iglu".to_owned());
    labels.insert(NODE_LABEL.to_owned(), owner.to_owned());
    labels.insert(RUN_LABEL.to_owned(), assignment.run.to_string());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(BUILDER_ANNOTATION.to_owned(), assignment.builder.to_string());
    annotations.insert(LEASE_ANNOTATION.to_owned(), lease_hash(assignment));
}

/// Nobody's pod, in a user namespace of its own, that the cluster's API does not know. Runs make namespaces below that, which the
/// usual profiles of container runtimes forbid.
fn confine_pod(pod: &mut PodSpec) {
    pod.restart_policy = Some("Never".to_owned());
    pod.automount_service_account_token.get_or_insert(false);
    pod.enable_service_links.get_or_insert(false);
    pod.host_users.get_or_insert(false);
    let context = pod.security_context.get_or_insert_with(|| PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        ..PodSecurityContext::default()
    });
    let unconfined = "Unconfined".to_owned();
    context
        .seccomp_profile
        .get_or_insert_with(|| SeccompProfile { type_: unconfined.clone(), localhost_profile: None });
    context.app_armor_profile.get_or_insert(AppArmorProfile { type_: unconfined, localhost_profile: None });
}

fn fill(container: &mut Container, config: &KubernetesConfig, assignment: &Assignment) {
    let limits = assignment.spec.limits;
    container.image.get_or_insert_with(|| config.image.clone());
    container.command = Some(vec!["iglu".to_owned()]);
    let mut args = vec!["node".to_owned(), "--server".to_owned(), config.server.clone()];
    args.extend(["--assignment".to_owned(), format!("{ASSIGNMENT_FOLDER}/{ASSIGNMENT}")]);
    args.extend(["--node-state".to_owned(), STATE_FOLDER.to_owned()]);
    for line in &config.nix_options {
        args.extend(["--node-nix-options".to_owned(), line.clone()]);
    }
    container.args = Some(args);
    let env = container.env.get_or_insert_default();
    if !env.iter().any(|variable| variable.name == "HOME") {
        env.push(EnvVar { name: "HOME".to_owned(), value: Some(STATE_FOLDER.to_owned()), value_from: None });
    }
    let mounts = container.volume_mounts.get_or_insert_default();
    for (volume, path) in [("assignment", ASSIGNMENT_FOLDER), ("state", STATE_FOLDER), ("tmp", "/tmp")] {
        if !mounts.iter().any(|mount| mount.mount_path == path) {
            mounts.push(VolumeMount {
                name: volume.to_owned(),
                mount_path: path.to_owned(),
                read_only: (volume == "assignment").then_some(true),
                ..VolumeMount::default()
            });
        }
    }
    let context = container.security_context.get_or_insert_with(|| SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    });
    context.proc_mount.get_or_insert_with(|| "Unmasked".to_owned());
    let resources: &mut ResourceRequirements = container.resources.get_or_insert_default();
    let (asked, most) = (resources.requests.get_or_insert_default(), &mut resources.limits);
    let put = |into: &mut BTreeMap<String, Quantity>, name: &str, value: String| {
        into.entry(name.to_owned()).or_insert(Quantity(value));
    };
    let cores = u64::from(limits.cores) * u64::from(limits.jobs.max(1));
    put(asked, "cpu", cores.max(1).to_string());
    if cores > 0 {
        put(most.get_or_insert_default(), "cpu", cores.to_string());
    }
    let memory = u64::from(limits.memory_mib);
    let whole = if memory > 0 { memory + OWN_MEMORY } else { u64::MAX };
    put(asked, "memory", format!("{}Mi", whole.min(ASKED_MEMORY)));
    if memory > 0 {
        put(most.get_or_insert_default(), "memory", format!("{whole}Mi"));
    }
}

/// What the pod is told, tokens and all. It goes with its Job.
pub fn secret(job: &Job, owner: &str, assignment: &Assignment) -> Result<Secret, serde_json::Error> {
    let mut metadata = ObjectMeta {
        name: job.metadata.name.clone(),
        owner_references: Some(vec![OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: job.metadata.name.clone().unwrap_or_default(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    mark(&mut metadata, owner, assignment);
    let text = serde_json::to_string(assignment)?;
    Ok(Secret {
        metadata,
        immutable: Some(true),
        string_data: Some(BTreeMap::from([(ASSIGNMENT.to_owned(), text)])),
        ..Secret::default()
    })
}
