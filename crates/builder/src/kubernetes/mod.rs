//! Runs as Jobs of a Kubernetes cluster: a Job for each, whose pod is a node for that run alone. What happens in the run the pod tells
//! the server itself; here its Job is made, kept until the pod speaks, watched and removed. Owns the only client of the cluster.

mod job;
mod stage;
#[cfg(test)]
mod tests;

use crate::{
    KubernetesConfig, NodeError,
    run::Failure,
    server::{Patience, Server, ServerError, patiently},
};
use iglu_api::node::{Assignment, Outcome, Report, RunEvent};
pub use job::{architecture, parse};
use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::Job,
        core::v1::{Pod, Secret},
    },
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, LogParams, PostParams},
};
use stage::{Stage, stage};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a Job is looked at, and the lease of its run kept while no pod does that.
const LOOK: Duration = Duration::from_secs(2);
/// Lines of a pod's log that are told where it could not begin its run.
const LINES: i64 = 5;

/// The Jobs of one node.
pub struct Jobs {
    client: Client,
    namespace: String,
    config: KubernetesConfig,
    /// The value of the label that tells them from others' Jobs; known when the server said who this node is.
    owner: std::sync::OnceLock<String>,
    look: Duration,
}

/// What the cluster said, in words.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the cluster refuses ({}): {}", status.code, status.message),
        other => {
            let causes = std::iter::successors(std::error::Error::source(other), |cause| cause.source());
            let innermost = causes.last().map(ToString::to_string).unwrap_or_else(|| other.to_string());
            format!("the cluster cannot be asked: {innermost}")
        }
    }
}

/// Whether asking again can help.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || matches!(status.code, 408 | 429),
        _ => true,
    }
}

fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn is_there_already(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

impl Jobs {
    /// Finds the cluster: the one that this program runs in, or that of `KUBECONFIG`.
    pub async fn connect(config: &KubernetesConfig) -> Result<Jobs, NodeError> {
        let wrong = |why: String| NodeError::Program { program: "Kubernetes", why };
        // The client of the server installs it too, whoever comes first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.map_err(|error| wrong(error.to_string()))?;
        let jobs = Jobs::with(client, config);
        // What cannot even list its Jobs would lose every run that it takes.
        jobs.jobs().list(&ListParams::default().limit(1)).await.map_err(|error| wrong(words(&error)))?;
        Ok(jobs)
    }

    fn with(client: Client, config: &KubernetesConfig) -> Jobs {
        let namespace = config.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        Jobs { client, namespace, config: config.clone(), owner: std::sync::OnceLock::new(), look: LOOK }
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn owner(&self) -> &str {
        self.owner.get().map_or("", String::as_str)
    }

    /// Notes who this node is, and finds what it began in an earlier life: these runs go on.
    pub async fn adopt(&self, server: &str, node: &str) -> Result<Vec<Assignment>, kube::Error> {
        let owner = self.owner.get_or_init(|| job::owner(server, node));
        let ours = ListParams::default().labels(&format!("{}={owner}", job::NODE_LABEL));
        let mut found = Vec::new();
        for job in self.jobs().list(&ours).await?.items {
            let name = job.metadata.name.clone().unwrap_or_default();
            match self.secrets().get(&name).await {
                Ok(secret) => match assignment_of(&secret) {
                    Some(assignment) => found.push(assignment),
                    None => self.remove(&name).await,
                },
                Err(error) if is_absent(&error) => self.remove(&name).await,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Executes a run as a Job, or goes on with one. `None` where the pod told the server how it ended.
    pub async fn execute(
        &self,
        server: &Server,
        assignment: &Assignment,
        mut ended: watch::Receiver<bool>,
    ) -> Result<Option<Outcome>, Failure> {
        let name = job::name(self.owner(), assignment);
        let told = tokio::select! {
            told = self.follow(server, &name, assignment) => told,
            // The Job goes on; whoever comes next under this name finds it.
            _ = ended.wait_for(|ended| *ended) => return Err(Failure::Failed("this node ends; the Job goes on".to_owned())),
        };
        self.remove(&name).await;
        told
    }

    async fn follow(&self, server: &Server, name: &str, assignment: &Assignment) -> Result<Option<Outcome>, Failure> {
        if let Err((outcome, why)) = self.create(server, name, assignment).await? {
            return self.finish(server, assignment, outcome, why).await;
        }
        let until = Instant::now() + Duration::from_secs(job::STARTING.unsigned_abs());
        loop {
            let at = match self.look(name).await {
                Ok(at) => at,
                Err(error) if is_absent(&error) => Stage::Died("somebody removed its Job".to_owned()),
                Err(error) => {
                    tracing::warn!(run = assignment.run, error = words(&error), "looking at its Job; trying again");
                    // Whether it began is not known: a pod that did keeps its lease itself.
                    Stage::Waiting("the cluster does not answer".to_owned())
                }
            };
            let ended = match at {
                Stage::Waiting(why) if Instant::now() > until => {
                    (Outcome::Failed, format!("its pod did not start within {} minutes: {why}", job::STARTING / 60))
                }
                Stage::Waiting(why) => {
                    if keep(server, assignment, &why).await?.cancel {
                        (Outcome::Cancelled, "cancelled".to_owned())
                    } else {
                        tokio::time::sleep(self.look).await;
                        continue;
                    }
                }
                Stage::Working => {
                    tokio::time::sleep(self.look).await;
                    continue;
                }
                Stage::Done => return Ok(None),
                Stage::Impossible(why) => (Outcome::Failed, format!("its pod cannot start: {why}")),
                Stage::TooLong => (
                    Outcome::TimedOut,
                    format!("it took longer than {} minutes", assignment.spec.limits.timeout_minutes),
                ),
                Stage::OutOfMemory => (
                    Outcome::Failed,
                    format!("its pod used more than {} MiB of memory", assignment.spec.limits.memory_mib),
                ),
                Stage::Unfit => {
                    (Outcome::Failed, format!("its pod cannot execute runs: {}", self.last_words(name).await))
                }
                // The lease ends, and the run is queued again.
                Stage::Died(why) => return Err(Failure::Failed(why)),
            };
            return self.finish(server, assignment, ended.0, ended.1).await;
        }
    }

    /// Makes the Job and its Secret, however often the cluster has to be asked. The inner error is how the run ends without them.
    async fn create(
        &self,
        server: &Server,
        name: &str,
        assignment: &Assignment,
    ) -> Result<Result<(), (Outcome, String)>, Failure> {
        let mut patience = Patience::new();
        loop {
            let error = match self.create_once(name, assignment).await {
                Ok(()) => return Ok(Ok(())),
                Err(Refusal::Cluster(error)) if is_passing(&error) => error,
                Err(Refusal::Cluster(error)) => return Ok(Err((Outcome::Failed, words(&error)))),
                Err(Refusal::Another) => {
                    return Err(Failure::Failed(format!("there is another Job {name}, of a run that is over")));
                }
            };
            let why = words(&error);
            if keep(server, assignment, &why).await?.cancel {
                return Ok(Err((Outcome::Cancelled, "cancelled".to_owned())));
            }
            if !patience.waits(&ServerError::Unreachable(why.clone())).await {
                return Ok(Err((Outcome::Failed, why)));
            }
        }
    }

    async fn create_once(&self, name: &str, assignment: &Assignment) -> Result<(), Refusal> {
        let job = job::job(&self.config, self.owner(), assignment);
        let made = match self.jobs().create(&PostParams::default(), &job).await {
            Ok(made) => made,
            Err(error) if is_there_already(&error) => {
                // Made before this node was killed, or where the answer was lost.
                let there = self.jobs().get(name).await?;
                let lease = there.metadata.annotations.as_ref().and_then(|all| all.get(job::LEASE_ANNOTATION));
                if lease != Some(&job::lease_hash(assignment)) {
                    return Err(Refusal::Another);
                }
                there
            }
            Err(error) => return Err(error.into()),
        };
        let secret = job::secret(&made, self.owner(), assignment).map_err(kube::Error::SerdeError)?;
        match self.secrets().create(&PostParams::default(), &secret).await {
            Err(error) if is_there_already(&error) => Ok(()),
            made => Ok(made.map(drop)?),
        }
    }

    async fn look(&self, name: &str) -> Result<Stage, kube::Error> {
        let job = self.jobs().get(name).await?;
        Ok(stage(&job, &self.pods_of(name).await?))
    }

    async fn pods_of(&self, name: &str) -> Result<Vec<Pod>, kube::Error> {
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
        Ok(self.pods().list(&of_job).await?.items)
    }

    /// The end of the log of a Job's pod.
    async fn last_words(&self, name: &str) -> String {
        let read = async {
            let pod = self.pods_of(name).await?.into_iter().next_back();
            let pod = pod.and_then(|pod| pod.metadata.name).unwrap_or_default();
            let end = LogParams { container: Some("iglu".to_owned()), tail_lines: Some(LINES), ..LogParams::default() };
            self.pods().logs(&pod, &end).await
        };
        match read.await {
            Ok(log) if !log.trim().is_empty() => log.trim().chars().take(1500).collect(),
            Ok(_) => "its log is empty".to_owned(),
            Err(error) => format!("its log cannot be read: {}", words(&error)),
        }
    }

    /// Ends a run whose pod cannot.
    async fn finish(
        &self,
        server: &Server,
        assignment: &Assignment,
        outcome: Outcome,
        reason: String,
    ) -> Result<Option<Outcome>, Failure> {
        let lease = assignment.lease.clone();
        let nothing = Report { lease: lease.clone(), first: 0, events: Vec::new(), waiting: String::new() };
        let first = patiently!(server.report(assignment.run, &nothing))?.next;
        let line = RunEvent::Line { derivation: None, text: reason.clone() };
        let events = vec![line, RunEvent::Finished { outcome, reason }];
        let report = Report { lease, first, events, waiting: String::new() };
        patiently!(server.report(assignment.run, &report))?;
        Ok(Some(outcome))
    }

    /// Removes a Job with its pod, and the Secret at once. What stays because the cluster does not answer ends by its own deadlines.
    async fn remove(&self, name: &str) {
        let (secret, job) = (
            self.secrets().delete(name, &DeleteParams::default()).await.map(drop),
            self.jobs().delete(name, &DeleteParams::background()).await.map(drop),
        );
        for error in [secret, job].into_iter().filter_map(Result::err).filter(|error| !is_absent(error)) {
            tracing::warn!(name, error = words(&error), "removing a Job");
        }
    }
}

/// Why a Job could not be made.
enum Refusal {
    Cluster(kube::Error),
    /// One of this name belongs to another run.
    Another,
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Refusal {
        Refusal::Cluster(error)
    }
}

/// Keeps the lease of a run that nobody executes yet, and says why.
async fn keep(server: &Server, assignment: &Assignment, waiting: &str) -> Result<iglu_api::node::Heard, ServerError> {
    let report = Report { lease: assignment.lease.clone(), first: 0, events: Vec::new(), waiting: waiting.to_owned() };
    patiently!(server.report(assignment.run, &report))
}

fn assignment_of(secret: &Secret) -> Option<Assignment> {
    let ByteString(bytes) = secret.data.as_ref()?.get(job::ASSIGNMENT)?;
    serde_json::from_slice(bytes).ok()
}
