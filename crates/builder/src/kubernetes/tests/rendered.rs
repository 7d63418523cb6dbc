//! What Jobs and Secrets look like: what templates may say, and that Kubernetes takes them.

use super::*;
use k8s_openapi::api::batch::v1::Job;
use std::{path::Path, process::Command};

/// What an administrator with wishes writes.
const WISHES: &str = r#"
metadata:
  labels: { team: build }
spec:
  ttlSecondsAfterFinished: 60
  template:
    metadata:
      annotations: { "cluster-autoscaler.kubernetes.io/safe-to-evict": "false" }
    spec:
      priorityClassName: low
      serviceAccountName: builds
      imagePullSecrets: [{ name: registry }]
      nodeSelector: { pool: builds }
      tolerations: [{ key: builds, operator: Exists, effect: NoSchedule }]
      securityContext: { runAsUser: 2000, runAsGroup: 2000, fsGroup: 2000 }
      containers:
        - name: iglu
          env: [{ name: NIX_SSL_CERT_FILE, value: /etc/ssl/ours.crt }]
          resources: { requests: { memory: 2Gi, ephemeral-storage: 20Gi } }
        - name: beside
          image: registry.example/beside:1
      volumes:
        - name: state
          ephemeral: { volumeClaimTemplate: { spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 50Gi } } } } }
"#;

fn rendered(template: &str) -> Value {
    serde_json::to_value(job::job(&config(template), "4bda3cc5b2891492", &assignment())).unwrap()
}

#[test]
fn a_job_is_bounded_and_confined_and_its_runs_limits_act() {
    let job = rendered("");
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(job["metadata"]["name"], NAME);
    assert_eq!(job["spec"]["backoffLimit"], 0, "the queue tries again, and nobody else");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 30 * 60 + 20 * 60);
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["hostUsers"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    assert_eq!(container["resources"]["limits"], json!({ "cpu": "6", "memory": "4608Mi" }));
    assert_eq!(container["resources"]["requests"], json!({ "cpu": "6", "memory": "1024Mi" }));
    assert_eq!(pod["nodeSelector"]["kubernetes.io/arch"], "amd64");
    let args: Vec<&str> = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let expected = "node --server https://iglu.example --assignment /assignment/assignment.json --node-state /work --node-nix-options cores = 2";
    assert_eq!(args.join(" "), expected);

    let mut free = assignment();
    (free.spec.limits.cores, free.spec.limits.memory_mib) = (0, 0);
    let free = serde_json::to_value(job::job(&config(""), "x", &free)).unwrap();
    let resources = &free["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(resources["limits"], Value::Null);
    assert_eq!(resources["requests"], json!({ "cpu": "1", "memory": "1024Mi" }));
}

#[test]
fn a_template_is_heard_and_cannot_undo_what_makes_a_job_this_runs() {
    let job = rendered(WISHES);
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(job["metadata"]["labels"]["team"], "build");
    assert_eq!(job["metadata"]["labels"]["app.kubernetes.io/managed-by"], "iglu");
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 60);
    assert_eq!(pod["tolerations"][0]["key"], "builds");
    assert_eq!(pod["nodeSelector"], json!({ "pool": "builds", "kubernetes.io/arch": "amd64" }));
    assert_eq!(pod["securityContext"]["runAsUser"], 2000);
    assert_eq!(pod["containers"].as_array().unwrap().len(), 2);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/iglu:1");
    assert_eq!(container["resources"]["requests"], json!({ "cpu": "6", "memory": "2Gi", "ephemeral-storage": "20Gi" }));
    assert_eq!(container["resources"]["limits"]["memory"], "4608Mi");
    assert_eq!(pod["containers"][1]["volumeMounts"], Value::Null, "only the node's container sees the tokens");
    let state: Vec<&Value> =
        pod["volumes"].as_array().unwrap().iter().filter(|volume| volume["name"] == "state").collect();
    assert!(state.len() == 1 && state[0]["ephemeral"].is_object(), "{state:?}");

    let bold = "spec: { backoffLimit: 5, parallelism: 9, template: { spec: { restartPolicy: Always, containers: [{ name: iglu, command: [sh] }] } } }";
    let bold = rendered(bold);
    assert_eq!((&bold["spec"]["backoffLimit"], &bold["spec"]["parallelism"]), (&json!(0), &json!(1)));
    assert_eq!(bold["spec"]["template"]["spec"]["restartPolicy"], "Never");
    assert_eq!(bold["spec"]["template"]["spec"]["containers"][0]["command"], json!(["iglu"]));
}

#[test]
fn a_template_with_a_mistake_is_refused_in_one_line() {
    assert_eq!(super::super::parse("").unwrap(), Job::default());
    assert_eq!(super::super::parse("# nothing\n").unwrap(), Job::default());
    for (text, expected) in [
        (
            "spec: { template: { spec: { tolleration: [] , tolerations: [{ keys: a }] } } }",
            "a Job has no field spec.template.spec.tolerations[0].keys",
        ),
        (
            "spec: { template: { spec: { nodeselector: { a: b } } } }",
            "a Job has no field spec.template.spec.nodeselector",
        ),
        (
            "spec: { template: { spec: { containers: [{ name: iglu, resources: { limit: { cpu: 1 } } }] } } }",
            "a Job has no field spec.template.spec.containers[0].resources.limit",
        ),
        ("spec: { backoffLimit: many }", "invalid type"),
        ("kind: Pod", "invalid"),
        ("- a list", "a template is a Job"),
        ("{ unclosed: ", ""),
    ] {
        let error = super::super::parse(text).unwrap_err();
        assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
    }
}

#[test]
fn names_fit_and_tell_nodes_apart() {
    let long = "n".repeat(60);
    let owner = job::owner("https://iglu.example", &long);
    let mut late = assignment();
    (late.run, late.attempt) = (u64::MAX, 3);
    assert!(job::name(&owner, &late).len() <= 63, "a name of a pod's label");
    assert_ne!(job::owner("https://a.example", "n"), job::owner("https://b.example", "n"));
    assert_eq!(job::name(&job::owner("https://iglu.example", "cluster"), &assignment()), NAME);
}

/// By the schemas of the oldest and the newest release that are told of.
#[test]
fn kubernetes_takes_what_is_rendered() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, value: &Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    put("plain.json", &rendered(""));
    put("wishes.json", &rendered(WISHES));
    let made = job::job(&config(""), "4bda3cc5b2891492", &assignment());
    put("secret.json", &serde_json::to_value(job::secret(&made, "4bda3cc5b2891492", &assignment()).unwrap()).unwrap());
    let mut wrong = rendered("");
    wrong["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] = json!(5);
    put("wrong.json", &wrong);

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let made = Command::new(root.join("scripts/python-env.sh")).arg("kubernetes").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let program = Path::new(String::from_utf8(made.stdout).unwrap().trim()).join("kubernetes-validate");
    let judge = |release: &str, name: &str| {
        let mut command = Command::new(&program);
        command.args(["--strict", "--kubernetes-version", release]).arg(folder.path().join(name)).output().unwrap()
    };
    for release in ["1.33.0", "1.37.0"] {
        for name in ["plain.json", "wishes.json", "secret.json"] {
            let judged = judge(release, name);
            let said = String::from_utf8_lossy(&judged.stdout) + String::from_utf8_lossy(&judged.stderr);
            assert!(judged.status.success(), "{release} {name}: {said}");
        }
        assert!(!judge(release, "wrong.json").status.success(), "the judge sleeps");
    }
}
