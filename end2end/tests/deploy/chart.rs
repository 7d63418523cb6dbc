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

/// The documents that a few values make, beside the one that every installation has.
fn set(values: &[&str]) -> Vec<Value> {
    let all = [&["publicUrl=https://cache.example.org"], values].concat();
    let sets: Vec<&str> = all.iter().flat_map(|value| ["--set", value]).collect();
    let (is_well, text) = rendered(&sets);
    assert!(is_well, "{values:?}: {text}");
    documents(&text)
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
    let pod = |one: &Value| match one["kind"].as_str() {
        Some("Pod") => "/spec",
        Some("CronJob") => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    named.filter_map(|(name, one)| Some((name, one.pointer(pod(one))?))).collect()
}

/// The one object of a kind and a name.
fn named<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut all = documents.iter().filter(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    all.next().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// A list that may be left out.
fn list(value: &Value) -> Vec<&Value> {
    value.as_array().into_iter().flatten().collect()
}

/// What a variable of a pod's first container is.
fn variable<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    list(&pod["containers"][0]["env"]).into_iter().find(|one| one["name"] == name)
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
            let containers = list(&pod["initContainers"]).into_iter().chain(list(&pod["containers"]));
            for container in containers {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{values}: {name}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{values}: {name}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{values}: {name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{values}: {name}");
                assert!(!container["image"].as_str().unwrap().ends_with(":latest"), "{values}: {name}");
                let secrets = list(&container["env"]).into_iter().filter(|one| {
                    let name = one["name"].as_str().unwrap();
                    ["KEY", "SECRET", "DATABASE_URL"].iter().any(|word| name.contains(word))
                });
                for secret in secrets {
                    assert!(secret.get("value").is_none(), "{values}: {name}: {secret}");
                }
            }
            for volume in list(&pod["volumes"]) {
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
        let names = |kind: &str| -> Vec<&str> {
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
                assert!(names("ServiceAccount").contains(&account), "{values}: {name}: {account}");
            }
            for volume in list(&pod["volumes"]) {
                if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                    assert!(names("PersistentVolumeClaim").contains(&claim), "{values}: {claim}");
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
        for variable in list(&pod["containers"][0]["env"]) {
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
        // Its Role may read every Secret there.
        (vec![url, "runner.enabled=true", "runner.existingSecret=x"], "needs runner.namespace"),
        (vec![url, "runner.enabled=true", "runner.existingSecret=x", "runner.namespace=nix"], "needs runner.namespace"),
        (vec![url, "metrics.serviceMonitor.enabled=true"], "needs networkPolicy.metricsFrom"),
        // What is written wrong, by values.schema.json.
        (vec![url, "mode=many"], "at '/mode'"),
        (vec![url, "replicas=3"], "additional properties 'replicas'"),
        (vec![url, "storage.serv=redirect"], "additional properties 'serv'"),
        (vec![url, "storage.serve=other"], "at '/storage/serve'"),
        (vec!["publicUrl=cache.example.org"], "at '/publicUrl'"),
        (vec![url, "drainSeconds=5m"], "at '/drainSeconds'"),
        (vec![url, "storage.scratchSize=20GB"], "at '/storage/scratchSize'"),
        (vec![url, "trustedProxies={10.0.0.1}"], "at '/trustedProxies/0'"),
        (vec![url, "backup.keep=0"], "at '/backup/keep'"),
    ] {
        let sets: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        let (is_well, text) = rendered(&sets);
        assert!(!is_well && text.contains(reason), "{values:?}: {text}");
    }
    // Who looks at no schema is told too.
    let (is_well, text) = rendered(&["--set", url, "--set", "mode=many", "--skip-schema-validation"]);
    assert!(!is_well && text.contains("write embedded or replicas"), "{text}");
}

/// A value that the schema does not know could not be set, and one that only the schema knows would do nothing.
#[test]
fn the_schema_says_all_values_and_no_more() {
    fn compare(at: &str, values: &Value, schema: &Value) {
        let Some(known) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], false, "{at}");
        let known: BTreeSet<&str> = known.keys().map(String::as_str).collect();
        let mut given: BTreeSet<&str> = values.as_object().unwrap().keys().map(String::as_str).collect();
        if at.is_empty() {
            // For a chart that this one is a part of.
            given.extend(["enabled", "global"]);
        }
        // Kinds of Kubernetes' own have parts that the chart says nothing of.
        assert!(given == known || at.ends_with("/resources"), "{at}: {given:?} and {known:?}");
        for (name, value) in values.as_object().unwrap() {
            compare(&format!("{at}/{name}"), value, &schema["properties"][name]);
        }
    }
    let folder = root().join("deploy/helm/iglu");
    let values = documents(&std::fs::read_to_string(folder.join("values.yaml")).unwrap());
    let schema = std::fs::read_to_string(folder.join("values.schema.json")).unwrap();
    compare("", &values[0], &serde_json::from_str(&schema).unwrap());
}

const REPLICAS: [&str; 4] =
    ["mode=replicas", "database.existingSecret=db", "storage.url=s3://x", "masterKey.existingSecret=x"];

fn replicas(values: &[&str]) -> Vec<Value> {
    set(&[&REPLICAS[..], values].concat())
}

/// One pod alone is not waited for by others; the grace period is that of the same numbers.
#[test]
fn pods_end_in_time() {
    for (documents, drain, delay, grace) in [
        (set(&[]), "30s", None, 60),
        (set(&["drainSeconds=0"]), "1s", None, 31),
        (replicas(&[]), "300s", Some("10s"), 340),
        (replicas(&["drainSeconds=0", "drainDelaySeconds=0"]), "1s", None, 31),
    ] {
        let pod = &named(&documents, "Deployment", "test-iglu")["spec"]["template"]["spec"];
        assert_eq!(variable(pod, "IGLU_DRAIN").unwrap()["value"], drain);
        assert_eq!(variable(pod, "IGLU_DRAIN_DELAY").and_then(|one| one["value"].as_str()), delay);
        assert_eq!(pod["terminationGracePeriodSeconds"], grace);
        // A hiccup of the database is the same for every pod, and no reason to take all of them away.
        assert_eq!(pod["containers"][0]["readinessProbe"]["httpGet"]["path"], "/serving");
    }
}

/// It gets the one secret that it needs, and is there whenever servers wait for it.
#[test]
fn the_migration_knows_only_the_database() {
    let by_itself = |documents: &[Value]| documents.iter().any(|one| one["kind"] == "Job");
    assert!(!by_itself(&set(&["database.autoMigrate=false"])));
    assert!(!by_itself(&replicas(&[])));
    let alone = set(&["database.existingSecret=db", "database.autoMigrate=false", "nodeSelector.pool=cache"]);
    let owner = "database.migrationSecret=owner";
    let several = replicas(&["database.autoMigrate=false", owner, "nodeSelector.pool=cache"]);
    for (documents, secret) in [(alone, "db"), (several, "owner")] {
        let pod = &named(&documents, "Job", "test-iglu-migrate")["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(list(&container["env"]).len(), 1);
        let url = variable(pod, "IGLU_DATABASE_URL").unwrap();
        assert_eq!(url["valueFrom"]["secretKeyRef"]["name"], secret);
        assert!(container.get("envFrom").is_none());
        assert_eq!(pod["nodeSelector"]["pool"], "cache");
    }
}

#[test]
fn secrets_may_have_other_keys() {
    let text = with("full");
    for key in ["iglu-database, key: uri", "iglu-master-key, key: key", "iglu-s3, key: id", "key: token"] {
        assert!(text.contains(key), "{key}");
    }
}

/// Bounding who comes in does not cut off the chart's own node, nor its Jobs.
#[test]
fn the_node_and_its_jobs_get_through() {
    let documents = documents(&with("full"));
    let policy = &named(&documents, "NetworkPolicy", "test-iglu")["spec"];
    let from = list(&policy["ingress"][0]["from"]);
    let node = &named(&documents, "Deployment", "test-iglu-runner")["spec"]["selector"]["matchLabels"];
    assert!(from.iter().any(|one| one["podSelector"]["matchLabels"] == *node), "{from:?}");
    let builds = serde_json::json!({ "kubernetes.io/metadata.name": "builds" });
    let jobs = from.iter().find(|one| one["namespaceSelector"]["matchLabels"] == builds);
    assert_eq!(jobs.unwrap()["podSelector"]["matchLabels"]["app.kubernetes.io/managed-by"], "iglu");
    assert_eq!(policy["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    assert_eq!(policy["egress"][0]["ports"][0]["port"], 53);
    // Without bounds there are none for anybody.
    let policy = set(&["runner.enabled=true", "runner.existingSecret=x", "runner.namespace=builds"]);
    let policy = &named(&policy, "NetworkPolicy", "test-iglu")["spec"];
    assert!(policy["ingress"][0].get("from").is_none() && policy.get("egress").is_none(), "{policy}");
}

#[test]
fn what_is_in_flight_has_a_place() {
    let data = |documents: &[Value]| {
        let pod = &named(documents, "Deployment", "test-iglu")["spec"]["template"]["spec"];
        pod["volumes"][0].clone()
    };
    assert_eq!(data(&replicas(&[]))["emptyDir"]["sizeLimit"], "20Gi");
    let volume = data(&replicas(&["storage.scratchStorageClass=fast", "storage.scratchSize=50Gi"]));
    let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
    assert_eq!(claim["storageClassName"], "fast");
    assert_eq!(claim["resources"]["requests"]["storage"], "50Gi");
    assert_eq!(data(&set(&[]))["persistentVolumeClaim"]["claimName"], "test-iglu");
}

/// As many pods as there may be, and the one more of an upgrade, leave PostgreSQL's 100 connections some for others.
#[test]
fn pods_do_not_take_all_connections() {
    let documents = replicas(&["autoscaling.enabled=true"]);
    let most = named(&documents, "HorizontalPodAutoscaler", "test-iglu")["spec"]["maxReplicas"].as_u64().unwrap();
    let pod = &named(&documents, "Deployment", "test-iglu")["spec"]["template"]["spec"];
    let each: u64 = variable(pod, "IGLU_DATABASE_CONNECTIONS").unwrap()["value"].as_str().unwrap().parse().unwrap();
    // Three are kept for its superuser.
    assert!((most + 1) * (each + 3) <= 97);
}

/// The script of the CronJob, with a program that fails when it is told to.
#[test]
fn old_backups_go_and_broken_ones_too() {
    let documents = set(&["backup.enabled=true", "backup.keep=2"]);
    let job = named(&documents, "CronJob", "test-iglu-backup");
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let command = &pod["containers"][0]["command"];
    assert!(command[0] == "/bin/sh" && command[1] == "-euc", "{command}");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let script = command[2].as_str().unwrap().replace("/backup\n", &format!("{place}\n"));
    for (name, is_whole) in [("2001-01-01", true), ("2001-01-02", true), ("2001-01-03", false), ("other", false)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        if is_whole {
            std::fs::write(folder.path().join(name).join("backup.json"), "{}").unwrap();
        }
    }
    // Two days old, as `find` sees it.
    let broken = ["2001-01-03", "other"].map(|name| format!("{place}/{name}"));
    let (is_well, said) = run("touch", &["-d", "2 days ago", &broken[0], &broken[1]]);
    assert!(is_well, "{said}");
    let left = || -> BTreeSet<String> {
        let all = std::fs::read_dir(folder.path()).unwrap();
        all.map(|one| one.unwrap().file_name().into_string().unwrap()).collect()
    };
    let program = |ends: &str| format!("iglu() {{ mkdir -p \"$2\"; {ends}; }}\n{script}");
    let (is_well, _) = run("sh", &["-euc", &program("return 1")]);
    assert!(!is_well);
    assert_eq!(left().len(), 5, "a failed one takes nothing away");
    let (is_well, said) = run("sh", &["-euc", &program("touch \"$2/backup.json\"")]);
    assert!(is_well, "{said}");
    let left = left();
    // The new one, the one before, what failed a moment ago (in the same second it is the new one), and what is somebody else's.
    assert!(left.contains("2001-01-02") && left.contains("other"), "{left:?}");
    assert!(!left.contains("2001-01-01") && !left.contains("2001-01-03"), "{left:?}");
    // The volume of the data is on the server's machine; without SQLite it is not needed.
    assert!(pod["affinity"]["podAffinity"].is_object());
    let documents = replicas(&["backup.enabled=true"]);
    let pod = &named(&documents, "CronJob", "test-iglu-backup")["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert!(pod.get("affinity").is_none() && list(&pod["volumes"]).len() == 1);
}
