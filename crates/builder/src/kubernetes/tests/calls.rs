//! Every call of the cluster's API: that it is made, and what becomes of the run when it fails.

use super::*;
use crate::run::Failure;
use iglu_api::node::{Outcome, RunEvent};
use tokio::sync::watch;

fn made() -> Value {
    json!({ "metadata": { "name": NAME, "uid": "11-22" } })
}

fn a_job(status: Value) -> Value {
    json!({ "metadata": { "name": NAME, "uid": "11-22" }, "status": status })
}

fn a_job_with_lease(lease: &str) -> Value {
    json!({ "metadata": { "name": NAME, "uid": "11-22", "annotations": { "iglu.dev/lease": lease } } })
}

fn pods(statuses: &[Value]) -> Value {
    let pod = |status: &Value| json!({ "metadata": { "name": "the-pod" }, "status": status });
    json!({ "metadata": {}, "items": statuses.iter().map(pod).collect::<Vec<_>>() })
}

/// The status of a pod whose container is so.
fn container(phase: &str, state: Value) -> Value {
    let container =
        json!({ "name": "iglu", "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": "" });
    json!({ "phase": phase, "containerStatuses": [container] })
}

fn terminated(exit_code: i32, reason: &str) -> Value {
    container("Failed", json!({ "terminated": { "exitCode": exit_code, "reason": reason } }))
}

/// The calls up to a Job that is there with its Secret.
fn created() -> Vec<Call> {
    vec![call("POST jobs", 201, made()), call("POST secrets", 201, json!({}))]
}

fn looked(job: Value, pod: Option<Value>) -> Vec<Call> {
    vec![call("GET jobs/NAME", 200, a_job(job)), call("GET pods", 200, pods(&pod.into_iter().collect::<Vec<_>>()))]
}

/// The calls that remove everything.
fn removed() -> Vec<Call> {
    vec![call("DELETE secrets/NAME", 200, json!({})), call("DELETE jobs/NAME", 200, json!({}))]
}

fn complete() -> Vec<Call> {
    looked(json!({ "conditions": [{ "type": "Complete", "status": "True" }] }), None)
}

/// Executes the run with a cluster that answers so.
async fn execute(iglu: &Iglu, calls: Vec<Vec<Call>>) -> (Result<Option<Outcome>, Failure>, Vec<Value>) {
    let (jobs, script) = cluster(calls.into_iter().flatten().collect());
    let server = iglu.start().await;
    let (_ending, ended) = watch::channel(false);
    let assignment = assignment();
    let told = jobs.execute(&server, &assignment, ended);
    let told = tokio::time::timeout(Duration::from_secs(25), told)
        .await
        .expect("the cluster's answers did not come to an end");
    (told, script.await.expect("the script"))
}

/// How the run ended and with what words, where the node itself told that.
fn told(iglu: &Iglu) -> Option<(Outcome, String)> {
    iglu.heard().into_iter().flat_map(|report| report.events).find_map(|event| match event {
        RunEvent::Finished { outcome, reason } => Some((outcome, reason)),
        _ => None,
    })
}

#[tokio::test]
async fn a_run_is_a_job_and_its_secret_and_both_go() {
    let iglu = Iglu::default();
    let waiting = container("Pending", json!({ "waiting": { "reason": "ErrImagePull", "message": "no such host" } }));
    let unscheduled = json!({ "phase": "Pending", "conditions":
        [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available" }] });
    let calls = vec![
        created(),
        looked(json!({}), None),
        looked(json!({}), Some(unscheduled)),
        looked(json!({}), Some(waiting)),
        looked(json!({ "active": 1 }), Some(container("Running", json!({ "running": {} })))),
        complete(),
        removed(),
    ];
    let (ended, bodies) = execute(&iglu, calls).await;
    assert_eq!(ended.unwrap(), None, "the pod told how it ended");
    assert_eq!(told(&iglu), None);
    let waited: Vec<String> = iglu.heard().into_iter().map(|report| report.waiting).collect();
    let expected =
        ["the cluster has no pod for it yet", "Unschedulable: 0/3 nodes are available", "ErrImagePull: no such host"];
    assert_eq!(waited, expected);
    // The Secret goes with its Job, whoever removes that; the pod learns all it needs from it.
    assert_eq!(bodies[1]["metadata"]["ownerReferences"][0]["uid"], "11-22");
    let given: Assignment = serde_json::from_str(bodies[1]["stringData"]["assignment.json"].as_str().unwrap()).unwrap();
    assert_eq!(given, assignment());
    assert!(!bodies[0].to_string().contains("iglu_run_secret"), "the Job itself has no secret");
    assert_eq!(bodies.last().unwrap()["propagationPolicy"], "Background");
}

#[tokio::test]
async fn a_job_that_the_cluster_refuses_fails_the_run() {
    for status in [400, 403, 422] {
        let iglu = Iglu::default();
        let message = "jobs.batch is forbidden: exceeded quota";
        let calls = vec![vec![call("POST jobs", status, refusal(status, message))], removed()];
        let (ended, _) = execute(&iglu, calls).await;
        assert_eq!(ended.unwrap(), Some(Outcome::Failed));
        assert_eq!(told(&iglu), Some((Outcome::Failed, format!("the cluster refuses ({status}): {message}"))));
    }
}

#[tokio::test]
async fn a_secret_that_the_cluster_refuses_fails_the_run_and_the_job_goes() {
    let iglu = Iglu::default();
    let refused = call("POST secrets", 403, refusal(403, "secrets is forbidden"));
    let (ended, _) = execute(&iglu, vec![vec![call("POST jobs", 201, made()), refused], removed()]).await;
    assert_eq!(ended.unwrap(), Some(Outcome::Failed));
    assert_eq!(told(&iglu).unwrap().1, "the cluster refuses (403): secrets is forbidden");
}

#[tokio::test]
async fn a_cluster_that_is_away_is_asked_again() {
    let iglu = Iglu::default();
    let ours = a_job_with_lease(&job::lease_hash(&assignment()));
    let calls = vec![
        vec![
            call("POST jobs", 503, refusal(503, "the server is currently unable to handle the request")),
            broken("POST jobs"),
            // The answer was lost; the Job is there.
            call("POST jobs", 409, refusal(409, "already exists")),
            call("GET jobs/NAME", 200, ours.clone()),
            call("POST secrets", 500, refusal(500, "etcdserver: leader changed")),
            call("POST jobs", 409, refusal(409, "already exists")),
            call("GET jobs/NAME", 200, ours),
            call("POST secrets", 409, refusal(409, "already exists")),
            broken("GET jobs/NAME"),
            call("GET jobs/NAME", 200, a_job(json!({}))),
            call("GET pods", 429, refusal(429, "too many requests")),
        ],
        complete(),
        removed(),
    ];
    let (ended, _) = execute(&iglu, calls).await;
    assert_eq!(ended.unwrap(), None);
    let waited: Vec<String> = iglu.heard().into_iter().map(|report| report.waiting).collect();
    assert_eq!(waited[0], "the cluster refuses (503): the server is currently unable to handle the request");
    assert_eq!(waited[1], "the cluster cannot be asked: connection reset by peer");
    assert_eq!(waited[2], "the cluster refuses (500): etcdserver: leader changed");
    assert_eq!(waited[3..], ["the cluster does not answer", "the cluster does not answer"]);
}

#[tokio::test]
async fn a_job_of_another_run_is_not_taken_for_this_one() {
    let iglu = Iglu::default();
    let another = vec![
        call("POST jobs", 409, refusal(409, "already exists")),
        call("GET jobs/NAME", 200, a_job_with_lease("0123456789abcdef")),
    ];
    let (ended, _) = execute(&iglu, vec![another, removed()]).await;
    assert!(ended.unwrap_err().to_string().contains("of a run that is over"));
    assert_eq!(told(&iglu), None, "the lease ends, and the next attempt has another name");
}

/// Pods that ended, and what becomes of the run.
#[tokio::test]
async fn every_end_of_a_pod_has_its_meaning() {
    let failed = |reason: &str| json!({ "conditions": [{ "type": "Failed", "status": "True", "reason": reason }] });
    let impossible = json!({ "waiting": { "reason": "InvalidImageName", "message": "couldn't parse image name" } });
    let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory." });
    let ends = [
        (
            looked(failed("BackoffLimitExceeded"), Some(terminated(137, "OOMKilled"))),
            Some((Outcome::Failed, "its pod used more than 4096 MiB of memory")),
        ),
        (looked(failed("DeadlineExceeded"), None), Some((Outcome::TimedOut, "it took longer than 30 minutes"))),
        (
            looked(failed("DeadlineExceeded"), Some(container("Failed", json!({})))),
            Some((Outcome::TimedOut, "it took longer than 30 minutes")),
        ),
        (
            looked(json!({}), Some(container("Pending", impossible))),
            Some((Outcome::Failed, "its pod cannot start: InvalidImageName: couldn't parse image name")),
        ),
        // No fault of the run: the lease ends, and it is queued again.
        (looked(json!({}), Some(evicted)), None),
        (looked(failed("BackoffLimitExceeded"), Some(terminated(1, "Error"))), None),
        (looked(failed("BackoffLimitExceeded"), None), None),
        (vec![call("GET jobs/NAME", 404, refusal(404, "not found"))], None),
    ];
    for (at, (looked, expected)) in ends.into_iter().enumerate() {
        let iglu = Iglu::default();
        let (ended, _) = execute(&iglu, vec![created(), looked, removed()]).await;
        assert_eq!(told(&iglu), expected.map(|(outcome, words)| (outcome, words.to_owned())), "end {at}");
        match expected {
            Some((outcome, _)) => assert_eq!(ended.unwrap(), Some(outcome), "end {at}"),
            None => assert!(matches!(ended, Err(Failure::Failed(_))), "end {at}"),
        }
    }
}

#[tokio::test]
async fn a_pod_that_cannot_execute_runs_says_why() {
    let log = "INFO began\niglu: bwrap is not there, or does not work: install bubblewrap\n";
    for (answer, expected) in [
        (
            call("GET pods/the-pod/log", 200, json!(log)),
            "INFO began\niglu: bwrap is not there, or does not work: install bubblewrap",
        ),
        (call("GET pods/the-pod/log", 200, json!("")), "its log is empty"),
        (
            call("GET pods/the-pod/log", 500, refusal(500, "kubelet is away")),
            "its log cannot be read: the cluster refuses (500): kubelet is away",
        ),
    ] {
        let iglu = Iglu::default();
        let status = terminated(3, "Error");
        let read = vec![call("GET pods", 200, pods(std::slice::from_ref(&status))), answer];
        let (ended, _) = execute(&iglu, vec![created(), looked(json!({}), Some(status)), read, removed()]).await;
        assert_eq!(ended.unwrap(), Some(Outcome::Failed));
        assert_eq!(told(&iglu).unwrap().1, format!("its pod cannot execute runs: {expected}"));
    }
}

#[tokio::test]
async fn what_is_cancelled_before_its_pod_begins_ends_at_once() {
    let iglu = Iglu { cancel_from: Some(2), ..Iglu::default() };
    let calls = vec![created(), looked(json!({}), None), looked(json!({}), None), removed()];
    let (ended, _) = execute(&iglu, calls).await;
    assert_eq!(ended.unwrap(), Some(Outcome::Cancelled));
    assert_eq!(told(&iglu), Some((Outcome::Cancelled, "cancelled".to_owned())));
}

#[tokio::test]
async fn the_job_of_a_run_that_another_node_has_goes() {
    let iglu = Iglu { lost_from: Some(1), ..Iglu::default() };
    let (ended, _) = execute(&iglu, vec![created(), looked(json!({}), None), removed()]).await;
    assert!(matches!(ended, Err(Failure::Server(_))));
}

#[tokio::test]
async fn what_cannot_be_removed_changes_nothing_about_the_run() {
    let cannot = vec![
        call("DELETE secrets/NAME", 404, refusal(404, "not found")),
        call("DELETE jobs/NAME", 500, refusal(500, "etcdserver: request timed out")),
    ];
    let (ended, _) = execute(&Iglu::default(), vec![created(), complete(), cannot]).await;
    assert_eq!(ended.unwrap(), None);
}

#[tokio::test]
async fn a_node_that_ends_leaves_its_jobs_and_finds_them_again() {
    let (jobs, script) = cluster(vec![
        call("POST jobs", 201, made()),
        call("POST secrets", 201, json!({})),
        call("GET jobs/NAME", 200, a_job(json!({ "active": 1 }))),
        call("GET pods", 200, pods(&[container("Running", json!({ "running": {} }))])),
    ]);
    let server = Iglu::default().start().await;
    let (ending, ended) = watch::channel(false);
    let jobs = Jobs { look: Duration::from_secs(60), ..jobs };
    let executing = tokio::spawn(async move { jobs.execute(&server, &assignment(), ended).await });
    script.await.expect("the script");
    ending.send_replace(true);
    assert!(executing.await.unwrap().unwrap_err().to_string().contains("the Job goes on"));

    let text = serde_json::to_string(&assignment()).unwrap();
    let data = data_of(&text);
    let list = json!({ "metadata": {}, "items": [made(), made(), made()] });
    let (jobs, script) = cluster(vec![
        call("GET jobs", 200, list),
        call("GET secrets/NAME", 200, json!({ "metadata": {}, "data": { "assignment.json": data } })),
        // Two that cannot go on: one without a Secret, one of another version.
        call("GET secrets/NAME", 404, refusal(404, "not found")),
        call("DELETE secrets/NAME", 404, refusal(404, "not found")),
        call("DELETE jobs/NAME", 200, json!({})),
        call("GET secrets/NAME", 200, json!({ "metadata": {}, "data": { "assignment.json": data_of("{}") } })),
        call("DELETE secrets/NAME", 200, json!({})),
        call("DELETE jobs/NAME", 200, json!({})),
    ]);
    assert_eq!(jobs.adopt("https://iglu.example", "cluster").await.unwrap(), [assignment()]);
    script.await.expect("the script");

    let (jobs, script) = cluster(vec![call("GET jobs", 403, refusal(403, "jobs.batch is forbidden"))]);
    assert!(jobs.adopt("https://iglu.example", "cluster").await.is_err());
    script.await.expect("the script");
    let (jobs, script) = cluster(vec![
        call("GET jobs", 200, json!({ "metadata": {}, "items": [made()] })),
        call("GET secrets/NAME", 403, refusal(403, "secrets is forbidden")),
    ]);
    assert!(jobs.adopt("https://iglu.example", "cluster").await.is_err());
    script.await.expect("the script");
}

/// As a Secret's data are written.
fn data_of(text: &str) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap()
}
