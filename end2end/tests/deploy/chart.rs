//! The Helm chart: what it renders of each file of values, by the schemas of Kubernetes and by rules of ours.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{root, run, said};

const VALUES: [&str; 3] = ["embedded", "replicas", "full"];

/// What is rendered, as text.
fn rendered(args: &[&str]) -> (bool, String) {
    let all = [&["template", "test", "deploy/helm/iglu", "--namespace", "nix"], args].concat();
    run("scripts/helm.sh", &all)
}

fn with(values: &str) -> String {
    let file = format!("deploy/helm/iglu/ci/{values}.yaml");
    let (is_well, text) = rendered(&["--values", &file]);
    assert!(is_well, "{values}: {text}");
    text
}

fn python(name: &str) -> PathBuf {
    let made = Command::new(root().join("scripts/python-env.sh")).arg(name).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
}

/// The documents of a text of YAML.
fn documents(text: &str) -> Vec<Value> {
    let program =
        "import sys, json, yaml; json.dump([one for one in yaml.safe_load_all(sys.stdin) if one], sys.stdout)";
    let mut child = Command::new(python("kubernetes").join("python"));
    child.args(["-c", program]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The pods of all kinds that make some: the kind, and what a pod is.
fn pods(documents: &[Value]) -> Vec<(String, &Value)> {
    let named = documents.iter().map(|one| (format!("{} {}", one["kind"], one["metadata"]["name"]), one));
    named.filter_map(|(name, one)| Some((name, one.pointer("/spec/template/spec")?))).collect()
}

#[test]
fn kubernetes_takes_what_every_file_of_values_makes() {
    let folder = tempfile::tempdir().unwrap();
    let judge = python("kubernetes").join("kubernetes-validate");
    for values in VALUES {
        let chosen = format!("deploy/helm/iglu/ci/{values}.yaml");
        let (is_well, linted) = run("scripts/helm.sh", &["lint", "deploy/helm/iglu", "--strict", "--values", &chosen]);
        assert!(is_well, "{linted}");
        let file = folder.path().join(format!("{values}.yaml"));
        std::fs::write(&file, with(values)).unwrap();
        for release in ["1.25.0", "1.37.0"] {
            let args = ["--strict", "--kubernetes-version", release, file.to_str().unwrap()];
            let output = Command::new(&judge).args(args).output().unwrap();
            let told = said(&output);
            assert!(output.status.success(), "{values} {release}: {told}");
            // Nobody ships schemas of the operator's kinds.
            let unknown = told.lines().filter(|line| line.contains("Couldn't find schema")).count();
            let theirs =
                documents(&with(values)).iter().filter(|one| one["apiVersion"] == "monitoring.coreos.com/v1").count();
            assert_eq!(unknown, theirs, "{told}");
        }
    }
    let wrong = with("embedded").replace("containerPort: 8080", "containerPort: http");
    std::fs::write(folder.path().join("wrong.yaml"), wrong).unwrap();
    let file = folder.path().join("wrong.yaml");
    let output = Command::new(&judge).args(["--strict", file.to_str().unwrap()]).output().unwrap();
    assert!(!output.status.success(), "the judge sleeps");
}

/// The rules of the Pod Security Standards, level "restricted", and a few of ours.
#[test]
fn pods_may_do_nothing() {
    for values in VALUES {
        let documents = documents(&with(values));
        let pods = pods(&documents);
        assert!(!pods.is_empty());
        for (name, pod) in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{values}: {name}");
            assert!(security["runAsUser"].as_u64().unwrap() > 0, "{values}: {name}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{values}: {name}");
            for word in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.get(word).is_none(), "{values}: {name}: {word}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{values}: {name}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{values}: {name}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{values}: {name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{values}: {name}");
                assert!(!container["image"].as_str().unwrap().ends_with(":latest"), "{values}: {name}");
                let secrets = container["env"].as_array().unwrap().iter().filter(|one| {
                    let name = one["name"].as_str().unwrap();
                    ["KEY", "SECRET", "DATABASE_URL"].iter().any(|word| name.contains(word))
                });
                for secret in secrets {
                    assert!(secret.get("value").is_none(), "{values}: {name}: {secret}");
                }
            }
            for volume in pod["volumes"].as_array().unwrap() {
                assert!(volume.get("hostPath").is_none(), "{values}: {name}");
            }
        }
        // Rights are those of one namespace, and no more than a node needs.
        let kinds: BTreeSet<&str> = documents.iter().filter_map(|one| one["kind"].as_str()).collect();
        assert!(!kinds.contains("ClusterRole") && !kinds.contains("ClusterRoleBinding"), "{kinds:?}");
        for role in documents.iter().filter(|one| one["kind"] == "Role") {
            assert!(!role.to_string().contains('*'), "{role}");
        }
    }
}

/// Names that one object says of another exist.
#[test]
fn its_parts_find_each_other() {
    for values in VALUES {
        let documents = documents(&with(values));
        let named = |kind: &str| -> Vec<&str> {
            documents
                .iter()
                .filter(|one| one["kind"] == kind)
                .filter_map(|one| one["metadata"]["name"].as_str())
                .collect()
        };
        for one in documents.iter().filter(|one| one["kind"] == "Service") {
            let selector = one["spec"]["selector"].as_object().unwrap();
            let finds = documents.iter().filter(|one| one["kind"] == "Deployment").any(|deployment| {
                let labels = &deployment["spec"]["template"]["metadata"]["labels"];
                selector.iter().all(|(name, value)| labels[name] == *value)
            });
            assert!(finds, "{values}: {one}");
        }
        for (name, pod) in pods(&documents) {
            if let Some(account) = pod["serviceAccountName"].as_str() {
                assert!(named("ServiceAccount").contains(&account), "{values}: {name}: {account}");
            }
            for volume in pod["volumes"].as_array().unwrap() {
                if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                    assert!(named("PersistentVolumeClaim").contains(&claim), "{values}: {claim}");
                }
            }
        }
    }
    // Every setting that the chart gives is one of the server's.
    let full = with("full");
    let (_, serve) = run(iglu_end2end::server::binary().unwrap().to_str().unwrap(), &["serve", "--help"]);
    let (_, node) = run(iglu_end2end::server::binary().unwrap().to_str().unwrap(), &["node", "--help"]);
    let by_environment = ["IGLU_MASTER_KEY", "IGLU_S3_ACCESS_KEY_ID", "IGLU_S3_SECRET_ACCESS_KEY"];
    let documents = documents(&full);
    let mut count = 0;
    for (_, pod) in pods(&documents) {
        for variable in pod["containers"][0]["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            let is_known = by_environment.contains(&name)
                || serve.contains(&format!("[env: {name}"))
                || node.contains(&format!("[env: {name}"));
            assert!(is_known, "{name} is no setting");
            count += 1;
        }
    }
    assert!(count > 20);
}

#[test]
fn what_would_not_work_is_refused_with_a_reason() {
    let url = "publicUrl=https://cache.example.org";
    for (values, reason) in [
        (vec![], "publicUrl is missing"),
        (vec![url, "mode=replicas"], "needs database.existingSecret"),
        (vec![url, "mode=replicas", "database.existingSecret=x"], "needs storage.url"),
        (
            vec![url, "mode=replicas", "database.existingSecret=x", "storage.url=s3://x"],
            "needs masterKey.existingSecret",
        ),
        (vec![url, "autoscaling.enabled=true"], "autoscaling needs mode"),
        (vec![url, "runner.enabled=true"], "needs runner.existingSecret"),
    ] {
        let sets: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        let (is_well, text) = rendered(&sets);
        assert!(!is_well && text.contains(reason), "{values:?}: {text}");
    }
}
